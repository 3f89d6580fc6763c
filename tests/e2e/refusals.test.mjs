// Bad input over Socket.io: each is refused with its code, stores nothing, and
// leaves the socket usable.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { assertRefused, element } from "../harness/member.mjs";
import { Polling } from "../harness/polling.mjs";
import { Roomkeeper } from "../harness/roomkeeper.mjs";
import { until } from "../harness/until.mjs";

const keeper = await Roomkeeper.start();

const EVENTS = [
  "join",
  "leave",
  "chat:message",
  "whiteboard-change",
  "chat:typing",
  "chat:stopTyping",
  "whiteboard-pointer",
];

/** Sends one event that must be refused, and proves that nothing came of it. */
async function refused(member, code, event, payload, ...codes) {
  const before = await keeper.stored(code);
  assertRefused(await member.ask(event, ...payload), ...codes);
  assert.equal(await keeper.stored(code), before, "something was stored");
}

/** Elements that have what each needs, and a field of a form that Excalidraw fails at. */
const badFields = () => ({
  "an index that is no key": element("b1", 1, { index: "zz" }),
  "an x that is a string": element("b2", 1, { x: "1" }),
  "points that are objects": element("b3", 1, { type: "freedraw", points: [{}, {}] }),
  "a name that is an object": element("b4", 1, { type: "frame", name: {} }),
  "boundElements that are a string": element("b5", 1, { boundElements: "x" }),
  "boundElements without ids": element("b6", 1, { boundElements: [{}] }),
  "groupIds that are a string": element("b7", 1, { groupIds: "x" }),
  "a strokeColor that is a number": element("b8", 1, { strokeColor: 7 }),
  "a text that is a number": element("b9", 1, { type: "text", text: 7 }),
  "a binding that is a string": element("b10", 1, { type: "arrow", startBinding: "x" }),
  "an isDeleted that is a string": element("b11", 1, { isDeleted: "yes" }),
  "a link that runs a script": element("b12", 1, { link: "javascript:alert(1)" }),
});

/** Elements that hold the fields that each needs, one of them in another form. */
const badRequired = () => ({
  "a type of a newer Excalidraw": element("r1", 1, { type: "stickynote" }),
  "an iframe": element("r2", 1, { type: "iframe" }),
  "a type that is a number": element("r3", 1, { type: 7 }),
  "a version below 0": element("r4", -1),
  "a version with a fraction": element("r5", 1.5),
  "a version that is a string": element("r6", "1"),
  "a version of 2^53": element("r7", 2 ** 53),
  "a versionNonce below 0": element("r8", 1, { versionNonce: -1 }),
  "a versionNonce that is an object": element("r9", 1, { versionNonce: {} }),
  "an id of 65 characters": element("x".repeat(65)),
  "an id of many characters": element("\n".repeat(10_000)),
  "an empty id": element(""),
  "an id that is a number": element(7),
});

const nested = (depth) => {
  let value = 1;
  for (let n = 0; n < depth; n += 1) value = [value];
  return value;
};

for (const transport of ["websocket", "polling"]) {
  describe(`over ${transport}`, () => {
    test("no event takes null, a number, a string, a list or nothing as its payload", async () => {
      const { code } = await keeper.room();
      const member = await keeper.joined(code, { transport });
      const before = await keeper.stored(code);
      for (const event of EVENTS) {
        for (const payload of [[null], [7], ["text"], [[]], [[{ roomId: code }]], [true], []]) {
          const answer = await member.ask(event, ...payload);
          assertRefused(answer, "INVALID_ARGUMENT");
        }
      }
      assert.equal(await keeper.stored(code), before);
      await member.say(code, "still here");
      assert.equal((await member.next("chat:message")).message, "still here");
    });

    test("the same without an ack comes as error events", async () => {
      const { code } = await keeper.room();
      const member = await keeper.joined(code, { transport });
      for (const event of EVENTS) {
        for (const payload of [[null], [7], ["text"], [[]], []]) {
          member.tell(event, ...payload);
          const error = await member.next("error");
          assert.equal(error.code, "INVALID_ARGUMENT");
          assert.equal(error.event, event);
        }
      }
      await member.say(code, "still here");
    });

    test("a roomId that is no code is malformed, for every event", async () => {
      const { code } = await keeper.room();
      const member = await keeper.joined(code, { transport });
      const { userId, username } = member;
      const malformed = [
        undefined, null, 7, Number(code), true, {}, [code], "", "12345", "1234567", "12345a",
        " 12345", `${code} `, `${code}\n`, "１２３４５６", "-12345", "+12345", "*", "{123456}", "12345\u0000",
      ];
      const before = await keeper.stored(code);
      for (const event of EVENTS) {
        for (const roomId of malformed) {
          const answer = await member.ask(event, {
            roomId, userId, username, message: "hi", ts: 1, elements: [element("a")], x: 1, y: 1,
          });
          assertRefused(answer, "INVALID_ARGUMENT");
        }
      }
      assert.equal(await keeper.stored(code), before);
      await member.say(code, "still here");
    });

    test("a well-formed code of no living room is not found, and joining it makes none", async () => {
      const member = await keeper.member({ transport });
      const { userId, username } = member;
      for (const roomId of ["000000", "000123", "000999"]) {
        assertRefused(await member.ask("join", { roomId, userId, username }), "ROOM_NOT_FOUND");
        assert.deepEqual(await keeper.traces(roomId), []);
        assert.equal((await keeper.get(`/api/rooms/${roomId}`)).status, 404);
      }
      assert.deepEqual(member.received("chat:history"), []);
    });

    test("a deleted room is not found, and its members are members no more", async () => {
      const { code } = await keeper.room();
      const member = await keeper.joined(code, { transport });
      assert.equal((await keeper.delete(`/api/rooms/${code}`)).status, 200);
      await member.next("room:closed");
      const { userId, username } = member;
      assertRefused(
        await member.ask("chat:message", { roomId: code, userId, username, message: "hi" }),
        "NOT_JOINED", "ROOM_NOT_FOUND",
      );
      assertRefused(
        await member.ask("whiteboard-change", { roomId: code, elements: [element("a")] }),
        "NOT_JOINED", "ROOM_NOT_FOUND",
      );
      assertRefused(await member.ask("join", { roomId: code, userId, username }), "ROOM_NOT_FOUND");
      assert.deepEqual(await keeper.traces(code), []);
    });

    test("a userId is 1 to 128 characters of any scheme, without control characters", async () => {
      const { code } = await keeper.room({ maxParticipants: 100 });
      const member = await keeper.member({ transport });
      const bad = [undefined, null, 7, {}, [], true, "", "x".repeat(129), "a\nb", "a\u0000", "\u007f", "\u0085"];
      for (const userId of bad) {
        await refused(member, code, "join", [{ roomId: code, userId, username: "U" }], "INVALID_ARGUMENT");
      }
      for (const userId of ["x", "😀".repeat(128), "auth0|12 34", "me@example.org", "{a}:b/c\\\"'", "__proto__"]) {
        const other = await keeper.member({ transport });
        const answer = await other.ask("join", { roomId: code, userId, username: "U" });
        assert.equal(answer.success, true, `${userId}: ${JSON.stringify(answer)}`);
        assert.ok(answer.participants.some((user) => user.userId === userId));
      }
    });

    test("a username is 1 to 40 characters, counted as Unicode scalar values", async () => {
      const { code } = await keeper.room({ maxParticipants: 100 });
      const member = await keeper.member({ transport });
      const bad = [undefined, null, 7, {}, [], true, "", "x".repeat(41), "😀".repeat(41)];
      for (const username of bad) {
        await refused(
          member, code, "join", [{ roomId: code, userId: "u", username }], "INVALID_ARGUMENT",
        );
      }
      for (const username of [
        "\u200b\u200d\ufeff", "\u200b\u0000", "\u0001", "   ", "\n\u0085\u00a0", "a\u202eb", "\u2066a\u2069",
      ]) {
        await refused(
          member, code, "join", [{ roomId: code, userId: "u", username }], "INVALID_ARGUMENT",
        );
      }
      for (const username of ["x", "x".repeat(40), "😀".repeat(40), "Zoë", "👨\u200d👧", "O'Brien \"Q\" \\", "a\nb"]) {
        const answer = await member.ask("join", { roomId: code, userId: "u", username });
        assert.equal(answer.success, true, JSON.stringify(answer));
        assert.deepEqual(answer.participants, [{ userId: "u", username }]);
      }
    });

    test("fields are checked before the room is looked up", async () => {
      const member = await keeper.member({ transport });
      const join = { roomId: "000001", userId: "u", username: "U" };
      assertRefused(await member.ask("join", { ...join, username: "" }), "INVALID_ARGUMENT");
      assertRefused(await member.ask("join", { ...join, after: "yesterday" }), "INVALID_ARGUMENT");
      assertRefused(await member.ask("join", join), "ROOM_NOT_FOUND");
    });

    test("join refuses a sync or an after that it does not know", async () => {
      const { code } = await keeper.room();
      const member = await keeper.member({ transport });
      const join = { roomId: code, userId: "u", username: "U" };
      const bad = [
        { after: 7 }, { after: "x" }, { after: [] }, { after: {} }, { after: { epoch: 1 } },
        { after: { epoch: -1, revision: 1 } }, { after: { epoch: 1.5, revision: 1 } },
        { after: { epoch: "1", revision: "1" } }, { after: { epoch: 1, revision: 2 ** 60 } },
        { sync: 7 }, { sync: "some" }, { sync: {} },
      ];
      for (const more of bad) {
        await refused(member, code, "join", [{ ...join, ...more }], "INVALID_ARGUMENT");
      }
    });

    test("a chat message is 1 to 4,000 characters that are not all white space", async () => {
      const { code } = await keeper.room();
      const member = await keeper.joined(code, { transport });
      const bad = [
        undefined, null, 7, {}, [], true, "", " ", "\n\t \u3000", "x".repeat(4001), "😀".repeat(4001),
      ];
      for (const message of bad) {
        await refused(member, code, "chat:message", [{ roomId: code, message }], "INVALID_ARGUMENT");
      }
      await member.say(code, "x".repeat(4000));
      assert.deepEqual((await keeper.messages(code)).length, 1);
    });

    test("a requestId is a UUID", async () => {
      const { code } = await keeper.room();
      const member = await keeper.joined(code, { transport });
      for (const requestId of [7, {}, [], true, "", "x", "123e4567-e89b-12d3-a456"]) {
        for (const [event, more] of [
          ["chat:message", { message: "hi" }],
          ["whiteboard-change", { elements: [element("a")] }],
        ]) {
          await refused(
            member, code, event, [{ roomId: code, requestId, ...more }], "INVALID_ARGUMENT",
          );
        }
      }
    });

    test("P10: one bad element refuses the whole change", async () => {
      const { code } = await keeper.room();
      const member = await keeper.joined(code, { transport, sync: "delta" });
      const { id, type, version, versionNonce } = element("bad");
      const bad = {
        "no element": null,
        "a number": 7,
        "a string": "x",
        "a list": [],
        "an empty object": {},
        "no id": { type, version, versionNonce },
        "an empty id": { id: "", type, version, versionNonce },
        "an id of 65 characters": { id: "x".repeat(65), type, version, versionNonce },
        "an id that is a number": { id: 7, type, version, versionNonce },
        "no type": { id, version, versionNonce },
        "a type that is a number": { id, type: 7, version, versionNonce },
        "a type that Excalidraw does not have": { id, type: "spaceship", version, versionNonce },
        "an iframe": { id, type: "iframe", version, versionNonce },
        "no version": { id, type, versionNonce },
        "a version below 0": { id, type, version: -1, versionNonce },
        "a version with a fraction": { id, type, version: 1.5, versionNonce },
        "a version that is a string": { id, type, version: "1", versionNonce },
        "a version of null": { id, type, version: null, versionNonce },
        "a version of 2^53": { id, type, version: 2 ** 53, versionNonce },
        "no versionNonce": { id, type, version },
        "a versionNonce below 0": { id, type, version, versionNonce: -1 },
        "a versionNonce with a fraction": { id, type, version, versionNonce: 0.5 },
        "a versionNonce of 2^53": { id, type, version, versionNonce: 2 ** 53 },
        "an isDeleted that is no boolean": { id, type, version, versionNonce, isDeleted: "yes" },
        "a link that runs script": { ...element("bad"), link: "javascript:alert(1)" },
        "a link with white space before its scheme": { ...element("bad"), link: " \tjavascript:alert(1)" },
        "a link to data": { ...element("bad"), link: "data:text/html,x" },
        "an embeddable that runs script": {
          id, type: "embeddable", version, versionNonce, link: "javascript:alert(1)",
        },
        ...badFields(),
      };
      const before = await keeper.stored(code);
      for (const [what, one] of Object.entries(bad)) {
        const answer = await member.ask("whiteboard-change", {
          roomId: code, elements: [element("good"), one],
        });
        assert.equal(answer.success, false, `${what} was accepted`);
        assert.equal(answer.code, "INVALID_ARGUMENT", what);
      }
      assert.equal(await keeper.stored(code), before);
      await member.draw(code, [
        element("good"),
        element("largest", 2 ** 53 - 1, { versionNonce: 2 ** 53 - 1 }),
        element("x".repeat(64)),
        element("😀".repeat(64)),
        element("unlinked", 1, { link: null }),
        element("linked", 1, { link: "https://example.org/" }),
        element("mailed", 1, { link: "mailto:someone@example.org" }),
        element("embedded", 1, { type: "embeddable", link: "https://example.org/" }),
      ]);
      assert.equal((await keeper.board(code)).length, 8);
    });

    test("of a full client only an element with a bad field is left out, a required one or not", async () => {
      const { code } = await keeper.room();
      const full = await keeper.joined(code, { transport });
      const delta = await keeper.joined(code, { transport, sync: "delta" });
      const all = Object.entries({ ...badFields(), ...badRequired() });
      let version = 0;
      for (const [what, bad] of all) {
        version += 1;
        const good = element("good", version);
        const { accepted, rejected } = await full.draw(code, [bad, good]);
        assert.deepEqual({ accepted, rejected }, { accepted: 1, rejected: 1 }, what);
        assert.deepEqual((await delta.next("whiteboard-update")).elements, [good]);
        assert.deepEqual(await keeper.board(code), [good], what);
      }
      // Without anything else it is a change that changes nothing.
      const [bad] = Object.values(badFields());
      const { accepted, rejected, revision } = await full.draw(code, [bad]);
      assert.deepEqual({ accepted, rejected, revision }, { accepted: 0, rejected: 1, revision: undefined });
      // All of them in one scene.
      version += 1;
      const good = element("good", version);
      const scene = await full.draw(code, [...all.map(([, one]) => one), good]);
      assert.deepEqual([scene.accepted, scene.rejected], [1, all.length]);
      assert.deepEqual(await keeper.board(code), [good]);
      // An element that lacks a required field, or comes twice, refuses the whole change.
      const newer = element("newer", 1, { type: "stickynote" });
      for (const elements of [
        ...["id", "type", "version", "versionNonce"].flatMap((name) => [
          [element("new"), { ...bad, [name]: undefined }],
          [element("new"), { ...newer, [name]: null }],
        ]),
        ...[null, 7, "x", []].map((one) => [element("new"), newer, one]),
        [element("new"), bad, bad],
        [element("new"), newer, newer],
        [newer, element("newer")],
      ]) {
        await refused(full, code, "whiteboard-change", [{ roomId: code, elements }], "INVALID_ARGUMENT");
      }
      const said = keeper.services.map(({ program }) => program.log).join("");
      const lines = said.split("\n").filter((line) => line.includes("are left out") && line.includes(code));
      assert.equal(lines.length, all.length, "each element is logged once");
      assert.ok(lines.every((line) => line.length < 1_000), "a line is short");
    });

    test("an element with a bad field can be deleted", async () => {
      const { code } = await keeper.room();
      const member = await keeper.joined(code, { transport, sync: "delta" });
      await member.draw(code, [element("a")]);
      await member.draw(code, [element("a", 2, { index: "zz", x: "1", isDeleted: true })]);
      assert.deepEqual(await keeper.board(code), []);
    });

    test("what any release of Excalidraw wrote is welcome, and so is what it does not read", async () => {
      const { code } = await keeper.room();
      const member = await keeper.joined(code, { transport, sync: "delta" });
      const welcome = [
        { x: null, index: null, points: null, boundElements: null, groupIds: null, roundness: null },
        { index: "Zz", strokeWidth: "3", strokeSharpness: "round", boundElementIds: ["a"] },
        { customData: { points: [{}], x: "1" }, points: [{}], name: {}, mine: "x" },
        { type: "text", font: "20px Virgil", text: "a", baseline: 18, rawText: "a" },
        { type: "freedraw", points: [[0, 0], [1, 1, 0.5]], pressures: [0.5], simulatePressure: false },
        { type: "line", points: [], lastCommittedPoint: [1, 2] },
        { type: "arrow", startBinding: { elementId: "a", focus: 0.1, gap: 1, fixedPoint: null } },
        { type: "arrow", endBinding: { elementId: "a", mode: "orbit", fixedPoint: [0.5, 0.5] } },
        { type: "image", fileId: null, scale: [-1, 1], status: "saved", crop: null },
      ].map((fields, n) => element(`e${n}`, 1, fields));
      const { accepted } = await member.draw(code, welcome);
      assert.equal(accepted, welcome.length);
    });

    test("every type of Excalidraw but iframe is welcome", async () => {
      const { code } = await keeper.room();
      const member = await keeper.joined(code, { transport });
      const types = [
        "rectangle", "diamond", "ellipse", "arrow", "line", "freedraw", "text", "image", "frame",
        "magicframe", "embeddable",
      ];
      const { accepted } = await member.draw(code, types.map((type) => element(type, 1, { type })));
      assert.equal(accepted, types.length);
    });

    test("elements must be a list, without an id twice", async () => {
      const { code } = await keeper.room();
      const member = await keeper.joined(code, { transport });
      for (const elements of [undefined, null, 7, "x", {}, { 0: element("a") }]) {
        await refused(
          member, code, "whiteboard-change", [{ roomId: code, elements }], "INVALID_ARGUMENT",
        );
      }
      await refused(
        member, code, "whiteboard-change",
        [{ roomId: code, elements: [element("a"), element("b"), element("a", 2)] }],
        "INVALID_ARGUMENT",
      );
    });

    test("a change of more than 5,000 elements or 1 MiB is too large", async () => {
      const { code } = await keeper.room();
      const member = await keeper.joined(code, { transport });
      const many = Array.from({ length: 5001 }, (_, n) => element(`e${n}`));
      await refused(
        member, code, "whiteboard-change", [{ roomId: code, elements: many }], "PAYLOAD_TOO_LARGE",
      );
      const heavy = [element("a", 1, { text: "x".repeat(1024 * 1024) })];
      await refused(
        member, code, "whiteboard-change", [{ roomId: code, elements: heavy }], "PAYLOAD_TOO_LARGE",
      );
      const nearly = [element("a", 1, { text: "x".repeat(1000 * 1024) })];
      assert.equal((await member.draw(code, nearly)).accepted, 1);
    });

    test("JSON nested deeper than 64 is refused, and nesting below that is kept", async () => {
      const { code } = await keeper.room();
      const member = await keeper.joined(code, { transport });
      for (const depth of [65, 100, 1000]) {
        await refused(
          member, code, "whiteboard-change",
          [{ roomId: code, elements: [element("deep", 1, { customData: nested(depth) })] }],
          "INVALID_ARGUMENT",
        );
        await refused(
          member, code, "whiteboard-pointer", [{ roomId: code, x: 1, y: nested(depth) }],
          "INVALID_ARGUMENT", "PAYLOAD_TOO_LARGE",
        );
        await refused(
          member, code, "chat:message", [{ roomId: code, message: "hi", more: nested(depth) }],
          "INVALID_ARGUMENT",
        );
      }
      const fine = element("fine", 1, { customData: nested(50) });
      await member.draw(code, [fine]);
      assert.deepEqual(await keeper.board(code), [fine]);
    });

    test("a pointer carries at most 2 KiB, and coordinates", async () => {
      const { code } = await keeper.room();
      const member = await keeper.joined(code, { transport });
      assertRefused(
        await member.ask("whiteboard-pointer", { roomId: code, x: 1, y: 1, more: "x".repeat(2048) }),
        "INVALID_ARGUMENT", "PAYLOAD_TOO_LARGE",
      );
      const answer = await member.ask("whiteboard-pointer", {
        roomId: code, x: 1, y: 1, more: "x".repeat(1500),
      });
      assert.equal(answer.success, true);
    });

    test("another's userId is refused for every event that names one", async () => {
      const { code } = await keeper.room();
      const victim = await keeper.joined(code, { transport, username: "Victim" });
      const member = await keeper.joined(code, { transport });
      const claim = { roomId: code, userId: victim.userId, username: victim.username };
      const events = [
        ["join", claim],
        ["leave", claim],
        ["chat:message", { ...claim, message: "I am the victim", ts: 1 }],
        ["whiteboard-change", { ...claim, elements: [element("a")] }],
        ["chat:typing", claim],
        ["chat:stopTyping", claim],
        ["whiteboard-pointer", { ...claim, x: 1, y: 1 }],
      ];
      for (const [event, payload] of events) {
        await refused(member, code, event, [payload], "IDENTITY_MISMATCH");
      }
      await member.say(code, "as myself");
      assert.equal((await victim.next("chat:message")).userId, member.userId);
      assert.deepEqual(victim.received("chat:typing"), []);
      assert.deepEqual(victim.received("whiteboard-pointer"), []);
    });

    test("a missing userId and username are filled in", async () => {
      const { code } = await keeper.room();
      const member = await keeper.joined(code, { transport, username: "Ann" });
      const answer = await member.ask("chat:message", { roomId: code, message: "who am I" });
      assert.equal(answer.message.userId, member.userId);
      assert.equal(answer.message.username, "Ann");
    });

    test("an outsider can neither post nor overwrite nor signal", async () => {
      const { code } = await keeper.room();
      const insider = await keeper.joined(code, { transport });
      await insider.draw(code, [element("a", 5)]);
      const outsider = await keeper.member({ transport });
      const { userId, username } = outsider;
      const identity = { roomId: code, userId, username };
      for (const claim of [identity, { roomId: code }, { ...identity, userId: insider.userId }]) {
        for (const [event, more] of [
          ["chat:message", { message: "let me in" }],
          ["whiteboard-change", { elements: [element("a", 9, { isDeleted: true })] }],
          ["chat:typing", {}],
          ["chat:stopTyping", {}],
          ["whiteboard-pointer", { x: 1, y: 1 }],
        ]) {
          await refused(outsider, code, event, [{ ...claim, ...more }], "NOT_JOINED");
        }
      }
      await insider.say(code, "nobody came");
      await insider.next("chat:message");
      for (const event of ["chat:typing", "chat:stopTyping", "whiteboard-pointer"]) {
        assert.deepEqual(insider.received(event), []);
      }
      assert.equal(insider.received("chat:message").length, 1);
      assert.deepEqual(outsider.received("chat:message"), []);
    });

    test("a full room refuses a new user, never a returning one", async () => {
      const { code } = await keeper.room({ maxParticipants: 2 });
      const one = await keeper.joined(code, { transport });
      const two = await keeper.joined(code, { transport });
      const three = await keeper.member({ transport });
      const join = { roomId: code, userId: three.userId, username: three.username };
      await refused(three, code, "join", [join], "ROOM_FULL");
      assert.deepEqual(three.received("chat:history"), []);
      await keeper.joined(code, { transport, userId: one.userId });
      await one.join(code);
      await two.leave(code);
      await three.join(code);
      assert.equal((await keeper.about(code)).participantCount, 2);
    });

    test("a binary attachment is refused", async () => {
      const { code } = await keeper.room();
      const member = await keeper.joined(code, { transport });
      const binary = Buffer.from([1, 2, 3]);
      await refused(member, code, "chat:message", [{ roomId: code, message: binary }], "INVALID_ARGUMENT");
      await refused(
        member, code, "whiteboard-change",
        [{ roomId: code, elements: [element("a", 1, { data: binary })] }],
        "INVALID_ARGUMENT",
      );
      await member.say(code, "text passes");
    });

    test("up to 4 MiB are read and refused by name, beyond that the connection is closed", async () => {
      const { code } = await keeper.room();
      const member = await keeper.joined(code, { transport });
      const before = await keeper.stored(code);
      assertRefused(
        await member.ask("chat:message", { roomId: code, message: "x".repeat(3 * 1024 * 1024) }),
        "INVALID_ARGUMENT", "PAYLOAD_TOO_LARGE",
      );
      assertRefused(
        await member.ask("whiteboard-change", {
          roomId: code, elements: [element("a", 1, { text: "x".repeat(3.5 * 1024 * 1024) })],
        }),
        "PAYLOAD_TOO_LARGE",
      );
      assert.equal(await keeper.stored(code), before);
      await member.say(code, "still here");
      member.tell("chat:message", { roomId: code, message: "x".repeat(5 * 1024 * 1024) });
      await member.next("disconnect");
      const again = await keeper.joined(code, { transport });
      assert.equal((await again.next("chat:history")).count, 1);
    });

    test("what was refused is neither stored nor delivered to anybody", async () => {
      const { code } = await keeper.room();
      const member = await keeper.joined(code, { transport });
      const reader = await keeper.joined(code, { transport, sync: "delta" });
      for (const [event, more] of [
        ["chat:message", { message: "" }],
        ["whiteboard-change", { elements: [element("a"), {}] }],
        ["whiteboard-change", { elements: [element("a"), element("a")] }],
      ]) {
        assertRefused(await member.ask(event, { roomId: code, ...more }), "INVALID_ARGUMENT");
      }
      await member.say(code, "the first that passes");
      const { previous } = await reader.next("chat:message");
      assert.equal(previous, reader.positions.get(code).revision);
      assert.deepEqual(reader.received("whiteboard-update"), []);
    });
  });
}

test("an unknown event is no harm", async () => {
  const { code } = await keeper.room();
  const member = await keeper.joined(code);
  member.tell("constructor", { roomId: code });
  const { event, roomId } = await member.next("error");
  assert.deepEqual({ event, roomId }, { event: "constructor", roomId: code });
  member.tell("chat:history", { roomId: code, messages: [] });
  member.tell("room:closed", { roomId: code });
  await member.say(code, "still here");
});

test("a JSON text that is none, or is nested without end, does not end the socket's room", async () => {
  const { code } = await keeper.room();
  const member = await keeper.joined(code);
  const raw = await Polling.connect(keeper.gateway.url);
  await raw.send(`421["join",{"roomId":"${code}","userId":"raw","username":"Raw"}]`);
  await raw.packet(/^431\[\{"success":true/);
  await raw.send(`422["chat:message",${"[".repeat(100_000)}${"]".repeat(100_000)}]`);
  assert.match(await raw.packet(/^432\[/), /"code":"INVALID_ARGUMENT"/);
  await raw.send(`423["chat:message",{"roomId":"${code}","message":"raw"}]`);
  assert.match(await raw.packet(/^433\[/), /"success":true/);
  assert.equal((await member.next("chat:message")).message, "raw");
});

// The embedded store cannot be held up from outside.
if (keeper.redis) test("the 257th outstanding event of a socket is refused, and the others are answered", async () => {
  const { code } = await keeper.room();
  const member = await keeper.joined(code);
  await keeper.redis.command("CLIENT", "PAUSE", "60000", "WRITE");
  let answered = 0;
  const asked = Array.from({ length: 300 }, async (_, n) => {
    const answer = await member.ask("chat:message", { roomId: code, message: `${n}` });
    answered += 1;
    return answer;
  });
  await until("those too many are refused", () => answered === 44)
    .finally(() => keeper.redis.command("CLIENT", "UNPAUSE"));
  const answers = await Promise.all(asked);
  const limited = answers.filter(({ success }) => !success);
  assert.equal(limited.length, 44);
  for (const answer of limited) {
    assertRefused(answer, "RATE_LIMITED");
    assert.equal(typeof answer.retryAfterMs, "number");
  }
  const accepted = answers.filter(({ success }) => success).map(({ message }) => message.message);
  assert.deepEqual(accepted, Array.from({ length: 256 }, (_, n) => `${n}`));
  await until("all have come", () => member.received("chat:message").length === 256);
  assert.deepEqual(member.received("chat:message").map(({ message }) => message), accepted);
  await member.say(code, "and on it goes");
});

test("a foreign Origin gets 403 before there is a session", async () => {
  const { code } = await keeper.room();
  const polling = await keeper.get("/socket.io/?EIO=4&transport=polling", {
    headers: { origin: "http://elsewhere.example" },
  });
  assert.equal(polling.status, 403);
  assert.equal(polling.body.success, false);
  await assert.rejects(keeper.member({
    transport: "websocket",
    io: { extraHeaders: { origin: "http://elsewhere.example" } },
  }));
  await assert.rejects(keeper.member({
    transport: "websocket",
    io: { extraHeaders: { origin: "null" } },
  }));
  const own = await keeper.joined(code, {
    transport: "websocket",
    io: { extraHeaders: { origin: keeper.gateway.url } },
  });
  await own.say(code, "from the gateway's own page");
});
