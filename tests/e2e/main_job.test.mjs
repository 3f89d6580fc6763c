// The main job, over both transports of Socket.io.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { assertRefused, element, ids } from "../harness/member.mjs";
import { Roomkeeper } from "../harness/roomkeeper.mjs";
import { until } from "../harness/until.mjs";

const keeper = await Roomkeeper.start();

for (const transport of ["websocket", "polling"]) {
  describe(`over ${transport}`, () => {
    test("P4: a late joiner gets exactly the newest 50 of 120 messages, oldest first", async () => {
      const { code } = await keeper.room();
      const author = await keeper.joined(code, { transport });
      for (let n = 1; n <= 120; n += 1) await author.say(code, `message ${n}`);

      const late = await keeper.joined(code, { transport });
      const history = await late.next("chat:history");
      assert.equal(history.roomId, code);
      assert.equal(history.count, 50);
      assert.deepEqual(
        history.messages.map(({ message }) => message),
        Array.from({ length: 50 }, (_, n) => `message ${71 + n}`),
      );

      const { body } = await keeper.get(`/api/rooms/${code}/messages?limit=200`);
      assert.equal(body.count, 100);
      assert.deepEqual(
        body.messages.map(({ message }) => message),
        Array.from({ length: 100 }, (_, n) => `message ${21 + n}`),
      );
      assert.deepEqual(body.messages.slice(50), history.messages);
    });

    test("join answers with history, board, presence and the ack, in this order", async () => {
      const { code } = await keeper.room();
      const member = await keeper.joined(code, { transport });
      assert.deepEqual(
        member.inbox.map(({ event }) => event),
        ["chat:history", "whiteboard:state", "presence:update", "ack"],
      );
    });

    test("an empty room's history and board are told too", async () => {
      const { code } = await keeper.room();
      const member = await keeper.joined(code, { transport });
      const history = await member.next("chat:history");
      assert.equal(history.roomId, code);
      assert.deepEqual(history.messages, []);
      assert.equal(history.count, 0);
      const state = await member.next("whiteboard:state");
      assert.equal(state.roomId, code);
      assert.deepEqual(state.elements, []);
    });

    test("the ack of join carries the room, the participants and the position", async () => {
      const room = await keeper.room({ name: "Kitchen", createdBy: "Ann", maxParticipants: 3 });
      const member = await keeper.member({ transport, username: "Bob" });
      const answer = await member.join(room.code);
      assert.deepEqual(answer.room, { ...room, participantCount: 1 });
      assert.deepEqual(answer.participants, [{ userId: member.userId, username: "Bob" }]);
      assert.equal(typeof answer.epoch, "number");
      assert.equal(typeof answer.revision, "number");
      assert.ok(answer.revision > answer.epoch, "joining is a change");
    });

    test("a message reaches every member, its sender too, as it is stored", async () => {
      const { code } = await keeper.room();
      const author = await keeper.joined(code, { transport, username: "Ann" });
      const reader = await keeper.joined(code, { transport });
      const acknowledged = await author.say(code, "hello", { ts: 1 });

      for (const member of [author, reader]) {
        const live = await member.next("chat:message");
        const { epoch, previous, ...message } = live;
        assert.equal(epoch, member.positions.get(code).epoch);
        assert.equal(typeof previous, "number");
        assert.deepEqual(message, acknowledged);
      }
      const [stored] = await keeper.messages(code);
      assert.deepEqual(stored, acknowledged);

      assert.deepEqual(
        Object.keys(stored).sort(),
        ["id", "message", "revision", "roomId", "timestamp", "ts", "userId", "username"],
      );
      assert.equal(stored.roomId, code);
      assert.equal(stored.userId, author.userId);
      assert.equal(stored.username, "Ann");
      assert.equal(stored.message, "hello");
      assert.equal(stored.ts, stored.timestamp);
      assert.ok(Math.abs(stored.ts - (await keeper.now())) < 60_000, "the server's time");
    });

    test("a message is delivered unchanged, white space and all", async () => {
      const { code } = await keeper.room();
      const author = await keeper.joined(code, { transport });
      const texts = [" padded \n", "👩‍👩‍👧 \u0000 \u2028 ﷽", "<b>&amp;</b>", "\ud83d\ude00".repeat(4000)];
      for (const text of texts) {
        await author.say(code, text);
        assert.equal((await author.next("chat:message")).message, text);
      }
      assert.deepEqual((await keeper.messages(code)).map(({ message }) => message), texts);
    });

    test("a whiteboard change reaches the others and not its sender", async () => {
      const { code } = await keeper.room();
      const drawer = await keeper.joined(code, { transport });
      const other = await keeper.joined(code, { transport });
      const delta = await keeper.joined(code, { transport, sync: "delta" });
      const answer = await drawer.draw(code, [element("a"), element("b")]);
      assert.equal(answer.accepted, 2);
      assert.equal(answer.rejected, 0);
      assert.equal(typeof answer.revision, "number");

      for (const member of [other, delta]) {
        const update = await member.next("whiteboard-update");
        assert.equal(update.roomId, code);
        assert.deepEqual(update.elements, [element("a"), element("b")]);
        assert.equal(update.revision, answer.revision);
      }
      await other.say(code, "drawn");
      await drawer.next("chat:message");
      assert.deepEqual(drawer.received("whiteboard-update"), []);
    });

    test("a late joiner gets the whole board", async () => {
      const { code } = await keeper.room();
      const drawer = await keeper.joined(code, { transport });
      await drawer.draw(code, [element("a", 1, { index: "a1" }), element("b", 1, { index: "a0" })]);
      await drawer.draw(code, [element("c", 1, { index: "a0V" })]);
      const late = await keeper.joined(code, { transport });
      const state = await late.next("whiteboard:state");
      assert.deepEqual(ids(state.elements), ["b", "c", "a"]);
      assert.deepEqual(await keeper.board(code), state.elements);
    });

    test("typing, its end and pointers reach the others, with the sender's identity", async () => {
      const { code } = await keeper.room();
      const sender = await keeper.joined(code, { transport, username: "Ann" });
      const reader = await keeper.joined(code, { transport });
      const { userId } = sender;
      const before = await keeper.stored(code);

      sender.tell("chat:typing", { roomId: code, userId, username: "Ann" });
      const typing = await reader.next("chat:typing");
      assert.deepEqual(typing, { roomId: code, userId, username: "Ann" });

      sender.tell("chat:stopTyping", { roomId: code });
      const stopped = await reader.next("chat:stopTyping");
      assert.deepEqual(stopped, { roomId: code, userId, username: "Ann" });

      const answer = await sender.ask("whiteboard-pointer", {
        roomId: code, x: 1.5, y: -2, button: "down", selected: ["a"],
      });
      assert.equal(answer.success, true);
      const pointer = await reader.next("whiteboard-pointer");
      assert.deepEqual(pointer, {
        roomId: code, x: 1.5, y: -2, button: "down", selected: ["a"], userId, username: "Ann",
      });

      assert.equal(await keeper.stored(code), before, "signals are not stored");
      await reader.say(code, "seen");
      await sender.next("chat:message");
      for (const event of ["chat:typing", "chat:stopTyping", "whiteboard-pointer"]) {
        assert.deepEqual(sender.received(event), [], `${event} came back to its sender`);
      }
    });

    test("presence tells who comes, who is renamed and who goes", async () => {
      const { code } = await keeper.room();
      const ann = await keeper.joined(code, { transport, username: "Ann" });
      await ann.present(code, ["Ann"]);
      const bob = await keeper.joined(code, { transport, username: "Bob" });
      await ann.present(code, ["Ann", "Bob"]);
      await bob.present(code, ["Ann", "Bob"]);
      await bob.join(code, { username: "Robert" });
      await ann.present(code, ["Ann", "Robert"]);
      await bob.leave(code);
      await ann.present(code, ["Ann"]);
      const eve = await keeper.joined(code, { transport, username: "Eve" });
      await ann.present(code, ["Ann", "Eve"]);
      eve.close();
      await ann.present(code, ["Ann"]);
      assert.equal((await keeper.about(code)).participantCount, 1);
    });

    test("nothing of a room is delivered after the ack of leave", async () => {
      const { code } = await keeper.room();
      const other = await keeper.room();
      const leaver = await keeper.joined(code, { transport });
      await leaver.join(other.code);
      const author = await keeper.joined(code, { transport });
      await author.join(other.code);

      await leaver.leave(code);
      const before = leaver.inbox.length;
      await author.say(code, "for members only");
      await author.draw(code, [element("a")]);
      author.tell("chat:typing", { roomId: code });
      await author.next("chat:message");
      await author.say(other.code, "the other room goes on");
      await leaver.next("chat:message", ({ roomId }) => roomId === other.code);
      const later = leaver.inbox.slice(before).filter(({ event, args }) =>
        (event === "presence:update" ? args[1] : args[0]).roomId === code);
      assert.deepEqual(later, []);

      assertRefused(await leaver.ask("chat:message", { roomId: code, message: "still?" }), "NOT_JOINED");
    });

    test("leave succeeds also where the socket has not joined", async () => {
      const { code } = await keeper.room();
      const member = await keeper.member({ transport });
      await member.leave(code);
      await member.join(code);
      await member.leave(code);
      await member.leave(code);
    });

    test("events of one socket take effect in the order sent, across their types", async () => {
      const { code } = await keeper.room();
      const member = await keeper.member({ transport });
      const { userId, username } = member;
      const identity = { roomId: code, userId, username };
      const answers = await Promise.all([
        member.ask("join", identity),
        member.ask("chat:message", { ...identity, message: "one", ts: 0 }),
        member.ask("whiteboard-change", { roomId: code, elements: [element("a")] }),
        member.ask("chat:message", { ...identity, message: "two", ts: 0 }),
        member.ask("whiteboard-change", { roomId: code, elements: [element("a", 2)] }),
        member.ask("chat:typing", identity),
        member.ask("leave", { roomId: code, userId }),
        member.ask("chat:message", { ...identity, message: "three", ts: 0 }),
      ]);
      assert.deepEqual(
        answers.map(({ success }) => success),
        [true, true, true, true, true, true, true, false],
      );
      assert.equal(answers[7].code, "NOT_JOINED");
      const revisions = [0, 1, 2, 3, 4].map((n) => answers[n].revision ?? answers[n].message.revision);
      assert.deepEqual(revisions, [...revisions].sort((a, b) => a - b));
      assert.deepEqual((await keeper.messages(code)).map(({ message }) => message), ["one", "two"]);
      assert.deepEqual(await keeper.board(code), [element("a", 2)]);
    });

    test("a socket may be in several rooms, and each event says of which it is", async () => {
      const first = await keeper.room();
      const second = await keeper.room();
      const member = await keeper.joined(first.code, { transport });
      await member.join(second.code);
      const other = await keeper.joined(second.code, { transport });
      await other.say(second.code, "second");
      assert.equal((await member.next("chat:message")).roomId, second.code);
      await member.say(first.code, "first");
      assert.equal((await member.next("chat:message")).roomId, first.code);
      assert.deepEqual(other.received("chat:message").map(({ roomId }) => roomId), [second.code]);
    });

    test("a refusal without an ack comes as an error event that names its cause", async () => {
      const { code } = await keeper.room();
      const member = await keeper.joined(code, { transport });
      member.tell("chat:message", { roomId: code, message: "" });
      const error = await member.next("error");
      assert.equal(error.code, "INVALID_ARGUMENT");
      assert.equal(error.event, "chat:message");
      assert.equal(error.roomId, code);
      assert.equal(typeof error.message, "string");
      await member.say(code, "still here");
    });
  });
}

test("members over websocket and polling hear each other", async () => {
  const { code } = await keeper.room();
  const one = await keeper.joined(code, { transport: "websocket" });
  const two = await keeper.joined(code, { transport: "polling" });
  await one.say(code, "from one");
  await two.next("chat:message", ({ message }) => message === "from one");
  await two.say(code, "from two");
  await one.next("chat:message", ({ message }) => message === "from two");
});

test("a client that begins with polling and upgrades stays the same member", async () => {
  const { code } = await keeper.room();
  const member = await keeper.member({
    io: { transports: ["polling", "websocket"], upgrade: true },
  });
  await member.join(code);
  await until("it is upgraded", () => member.socket.io.engine.transport.name === "websocket");
  await member.say(code, "upgraded");
  assert.equal((await member.next("chat:message")).message, "upgraded");
  assert.equal((await keeper.about(code)).participantCount, 1);
});

test("the transport pings every 15 s and waits 15 s", async () => {
  const { text } = await keeper.get("/socket.io/?EIO=4&transport=polling");
  const handshake = JSON.parse(text.slice(1));
  assert.equal(handshake.pingInterval, 15_000);
  assert.equal(handshake.pingTimeout, 15_000);
});
