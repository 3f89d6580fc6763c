// Large boards, many members, many rooms, hasty clients.

import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { test } from "node:test";

import { assertRefused, element, ids } from "../harness/member.mjs";
import { Roomkeeper } from "../harness/roomkeeper.mjs";
import { until, within } from "../harness/until.mjs";

const keeper = await Roomkeeper.start({ services: 2, gateways: 2 });

const countIs = (code, count) =>
  until(`${count} present in ${code}`, async () => (await keeper.about(code)).participantCount === count);

test("a board of almost 8 MiB reaches joiners, full members and readers whole", async () => {
  const { code } = await keeper.room();
  const drawer = await keeper.joined(code);
  const full = await keeper.joined(code, { gateway: 1 });
  const text = "x".repeat(1_000_000);
  const heavy = Array.from({ length: 8 }, (_, n) => element(`heavy-${n}`, 1, { text }));
  for (const one of heavy) {
    assert.equal((await drawer.draw(code, [one])).accepted, 1);
    // One board after the other: a socket for which too much waits is let go.
    await full.next("whiteboard-update", ({ elements }) => ids(elements).includes(one.id));
  }

  const before = await keeper.stored(code);
  assertRefused(
    await drawer.ask("whiteboard-change", { roomId: code, elements: [element("more", 1, { text })] }),
    "PAYLOAD_TOO_LARGE",
  );
  assert.equal(await keeper.stored(code), before);

  for (const options of [
    { transport: "websocket" },
    { transport: "polling", gateway: 1 },
    { transport: "websocket", sync: "delta", after: { epoch: 1, revision: 1 } },
  ]) {
    const late = await keeper.joined(code, options);
    const { elements } = await late.next("whiteboard:state");
    assert.deepEqual(ids(elements), ids(heavy));
    assert.ok(elements.every((one) => one.text.length === text.length));
    late.close();
  }
  assert.deepEqual(ids(full.received("whiteboard-update").at(-1).elements), ids(heavy));
  assert.deepEqual(ids(await keeper.board(code)), ids(heavy));

  await drawer.draw(code, [element("small")]);
  const { elements } = await full.next("whiteboard-update", (update) => update.elements.length === 9);
  assert.equal(elements.at(-1).id, "small");
});

test("a history of the longest messages reaches a joiner", async () => {
  const { code } = await keeper.room();
  const author = await keeper.joined(code);
  const text = "😀".repeat(4000);
  for (let n = 0; n < 100; n += 1) await author.say(code, text);
  const late = await keeper.joined(code, { gateway: 1, transport: "polling" });
  const history = await late.next("chat:history");
  assert.equal(history.count, 50);
  assert.ok(history.messages.every(({ message }) => message === text));
  assert.equal((await keeper.messages(code, 1)).length, 100);
});

test("a hundred members who join at once all know each other, and all hear", async () => {
  const { code } = await keeper.room({ maxParticipants: 100 });
  const members = await Promise.all(Array.from({ length: 100 }, (_, n) => keeper.member({ gateway: n % 2 })));
  await Promise.all(members.map((member) => member.join(code)));
  await members[0].say(code, "all here");
  for (const member of members) {
    await member.next("chat:message");
    await until("it knows all", () => member.received("presence:update").at(-1).length === 100);
  }
  const everybody = (member) =>
    JSON.stringify(member.received("presence:update").at(-1).map(({ userId }) => userId));
  for (const member of members) assert.equal(everybody(member), everybody(members[0]));
  const outsider = await keeper.member();
  assertRefused(
    await outsider.ask("join", { roomId: code, userId: "one too many", username: "X" }),
    "ROOM_FULL",
  );
  for (const member of members.slice(1)) member.close();
  await countIs(code, 1);
  await members[0].present(code, [members[0].username]);
});

test("one socket in forty rooms hears each, and leaves each", async () => {
  const rooms = await Promise.all(Array.from({ length: 40 }, () => keeper.room()));
  const member = await keeper.member();
  await Promise.all(rooms.map(({ code }) => member.join(code)));
  const author = await keeper.member({ gateway: 1 });
  for (const { code } of rooms) {
    await author.join(code);
    await author.say(code, code);
  }
  for (const { code } of rooms) {
    await member.next("chat:message", ({ roomId, message }) => roomId === code && message === code);
  }
  member.close();
  for (const { code } of rooms) await countIs(code, 1);
});

test("a client that disconnects before its join is answered is not left behind", async () => {
  const { code } = await keeper.room({ maxParticipants: 100 });
  await Promise.all(Array.from({ length: 30 }, async (_, n) => {
    const member = await keeper.member({ gateway: n % 2 });
    const { userId, username } = member;
    member.tell("join", { roomId: code, userId, username });
    member.tell("chat:message", { roomId: code, message: `${n}` });
    member.close();
  }));
  const witness = await keeper.joined(code, { username: "Witness" });
  await witness.present(code, ["Witness"]);
  await countIs(code, 1);
});

test("joins and leaves in a hurry end as the last of them says", async () => {
  const { code } = await keeper.room();
  const member = await keeper.member();
  const { userId, username } = member;
  const sent = [];
  for (let n = 0; n < 20; n += 1) {
    sent.push(member.ask("join", { roomId: code, userId, username }));
    sent.push(member.ask("leave", { roomId: code, userId }));
  }
  for (const answer of await Promise.all(sent)) assert.equal(answer.success, true);
  await countIs(code, 0);
  assertRefused(await member.ask("chat:message", { roomId: code, message: "gone" }), "NOT_JOINED");
  await member.join(code);
  await member.say(code, "back");
  await member.next("chat:message");
  assert.equal(member.received("chat:message").length, 1);
});

test("a socket may change between full and delta by joining again", async () => {
  const { code } = await keeper.room();
  const drawer = await keeper.joined(code, { gateway: 1 });
  await drawer.draw(code, [element("a")]);
  const member = await keeper.joined(code);
  await drawer.draw(code, [element("b")]);
  assert.deepEqual(ids((await member.next("whiteboard-update")).elements), ["a", "b"]);
  await member.join(code, { sync: "delta" });
  await drawer.draw(code, [element("c")]);
  assert.deepEqual(ids((await member.next("whiteboard-update")).elements), ["c"]);
  member.assertUnbroken(code);
  await member.join(code);
  await drawer.draw(code, [element("d")]);
  assert.deepEqual(ids((await member.next("whiteboard-update")).elements), ["a", "b", "c", "d"]);
});

test("leaving one room and joining another at once mixes nothing up", async () => {
  const rooms = [await keeper.room(), await keeper.room()];
  const member = await keeper.member();
  const { userId, username } = member;
  const authors = await Promise.all(rooms.map(({ code }) => keeper.joined(code, { gateway: 1 })));
  for (let n = 0; n < 10; n += 1) {
    const [here, there] = n % 2 ? [0, 1] : [1, 0];
    const answers = await Promise.all([
      member.ask("leave", { roomId: rooms[here].code, userId }),
      member.ask("join", { roomId: rooms[there].code, userId, username }),
    ]);
    assert.ok(answers.every(({ success }) => success));
    await authors[here].say(rooms[here].code, `${n} unheard`);
    await authors[there].say(rooms[there].code, `${n} heard`);
    await member.next("chat:message", ({ message }) => message === `${n} heard`);
  }
  assert.ok(!member.received("chat:message").some(({ message }) => message.endsWith("unheard")));
});

const most = "/proc/sys/net/core/somaxconn";
const allowed = existsSync(most) ? Number(readFileSync(most, "utf8")) : 0;

test("a thousand who come at once all find a place to wait", {
  skip: allowed < 1_000 && "the system lets fewer wait",
}, async (t) => {
  const { program, port } = keeper.gateways[1];
  // Nobody is let in meanwhile; who finds no place has no connection.
  await program.freeze();
  t.after(() => program.signal("SIGCONT"));
  const sockets = Array.from({ length: 1_000 }, () => connect(port, "127.0.0.1"));
  t.after(() => sockets.forEach((socket) => socket.destroy()));
  await within(
    () => `${sockets.filter(({ connecting }) => connecting).length} find no place`,
    Promise.all(sockets.map((socket) => once(socket, "connect"))),
  );
  program.signal("SIGCONT");
  const answers = sockets.map(async (socket) => {
    socket.write("GET /healthz HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
    const [answer] = await once(socket, "data");
    assert.match(String(answer), /^HTTP\/1.1 200 /);
  });
  await within(() => "all are answered", Promise.all(answers));
});
