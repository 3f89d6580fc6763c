// What a socket sends for a room before its first join: it waits for that join, for half a
// second at most.

import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

import { assertRefused, element, ids, Member } from "../harness/member.mjs";
import { Roomkeeper } from "../harness/roomkeeper.mjs";
import { until, within } from "../harness/until.mjs";

const keeper = await Roomkeeper.start();

const WAIT = 500;

/** A socket that has not joined, and a witness in the room. */
async function start(options = {}) {
  const { code } = await keeper.room();
  const witness = await keeper.joined(code, { sync: "delta", username: "Witness" });
  return { code, witness, member: await keeper.member(options) };
}

/** Sends a message, and resolves with its answer and how long that took. */
async function ask(member, roomId, message) {
  const begun = performance.now();
  const answer = await member.ask("chat:message", { roomId, message });
  return { answer, took: performance.now() - begun };
}

/** The quickest of a few tries: a busy machine delays one, and not all. */
async function quickest(attempt) {
  let least = Infinity;
  for (let n = 0; n < 5 && least >= WAIT; n += 1) least = Math.min(least, await attempt());
  return least;
}

for (const transport of ["websocket", "polling"]) {
  test(`over ${transport}, a message sent before connecting is stored and delivered after the join`, async (t) => {
    const { code } = await keeper.room();
    const witness = await keeper.joined(code, { username: "Witness" });
    const member = new Member(keeper.gateway.url, { transport, io: { autoConnect: false } });
    t.after(() => member.close());
    const answered = member.ask("chat:message", { roomId: code, message: "typed while away" });
    member.socket.on("connect", () => member.socket.emit("join", {
      roomId: code, userId: member.userId, username: member.username,
    }));
    member.socket.connect();
    const answer = await answered;
    assert.equal(answer.success, true, JSON.stringify(answer));
    for (const one of [witness, member]) {
      await one.next("chat:message", ({ message }) => message === "typed while away");
    }
    assert.deepEqual((await keeper.messages(code)).map(({ message }) => message), ["typed while away"]);
    const order = member.inbox.map(({ event }) => event);
    assert.ok(order.indexOf("chat:history") < order.indexOf("chat:message"), `${order}`);
  });

  test(`over ${transport}, a message typed while disconnected arrives with the reconnect`, async () => {
    const { code, witness, member } = await start({
      transport, io: { reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 50 },
    });
    const join = () => member.socket.emit("join", {
      roomId: code, userId: member.userId, username: member.username,
    });
    join();
    member.socket.on("connect", join);
    await member.next("whiteboard:state");
    member.socket.io.engine.close();
    await member.next("disconnect");
    const texts = ["one", "two", "three"];
    for (const message of texts) member.tell("chat:message", { roomId: code, message });
    await until("all have come", () => witness.received("chat:message").length === 3);
    assert.deepEqual(witness.received("chat:message").map(({ message }) => message), texts);
    assert.deepEqual(member.received("error"), []);
  });
}

test("events of all kinds that waited are served in the order sent, before what follows the join", async () => {
  const { code, witness, member } = await start();
  const { userId, username } = member;
  const answers = [];
  const tell = (name, event, payload) => member.socket.emit(event, { roomId: code, ...payload },
    ({ success, error }) => answers.push(success ? name : `${name}: ${error}`));
  tell("typing", "chat:typing", {});
  tell("draw", "whiteboard-change", { elements: [element("a")] });
  tell("first", "chat:message", { message: "first" });
  tell("pointer", "whiteboard-pointer", { x: 1, y: 2 });
  tell("draw again", "whiteboard-change", { elements: [element("a", 2), element("b")] });
  tell("stop", "chat:stopTyping", {});
  tell("join", "join", { userId, username });
  tell("last", "chat:message", { message: "last" });
  await until("all are answered", () => answers.length === 8);
  assert.deepEqual(answers, ["join", "typing", "draw", "first", "pointer", "draw again", "stop", "last"]);
  await witness.next("chat:message", ({ message }) => message === "last");
  const told = witness.inbox.map(({ event }) => event)
    .filter((event) => /^(chat:|whiteboard-)/.test(event) && event !== "chat:history");
  assert.deepEqual(told, [
    "chat:typing", "whiteboard-update", "chat:message", "whiteboard-pointer", "whiteboard-update",
    "chat:stopTyping", "chat:message",
  ]);
  assert.deepEqual(ids(await keeper.board(code)), ["a", "b"]);
});

test("without a join an event waits for half a second and is then refused", async () => {
  const { code, member } = await start();
  member.tell("chat:message", { roomId: code, message: "no ack" });
  const { answer, took } = await ask(member, code, "nobody joins");
  assertRefused(answer, "NOT_JOINED");
  assert.ok(took > WAIT - 20, `refused after ${took} ms`);
  const error = await member.next("error");
  assert.deepEqual([error.code, error.event, error.roomId], ["NOT_JOINED", "chat:message", code]);
  // A join that comes later is the first all the same.
  const late = ask(member, code, "waits too");
  await member.join(code);
  assert.equal((await late).answer.success, true);
  assert.deepEqual((await keeper.messages(code)).map(({ message }) => message), ["waits too"]);
});

for (const [what, join, more] of [
  ["is refused", () => ({ roomId: "999999" }), "ROOM_NOT_FOUND"],
  ["is malformed", (code) => ({ roomId: code, username: "" }), "INVALID_ARGUMENT"],
  ["is for another room", async () => ({ roomId: (await keeper.room()).code }), undefined],
]) {
  test(`where the join ${what}, the events that waited for it are refused at once`, async () => {
    const least = await quickest(async () => {
      const { code, member } = await start();
      const payload = { userId: member.userId, username: member.username, ...(await join(code)) };
      const waiting = ask(member, code, "in vain");
      const joined = await member.ask("join", payload);
      if (more) assertRefused(joined, more);
      else assert.equal(joined.success, true, JSON.stringify(joined));
      const { answer, took } = await waiting;
      assertRefused(answer, "NOT_JOINED");
      assert.deepEqual(await keeper.messages(code), []);
      return took;
    });
    assert.ok(least < WAIT, `${least} ms`);
  });
}

test("after its first join a socket's events for other rooms are refused at once", async () => {
  const { code, member } = await start();
  const { code: other } = await keeper.room();
  await member.join(code);
  const least = await quickest(async () => {
    const { answer, took } = await ask(member, other, "elsewhere");
    assertRefused(answer, "NOT_JOINED");
    return took;
  });
  assert.ok(least < WAIT, `${least} ms`);
});

test("what names no room, and leave, wait for nothing", async () => {
  const { code, member } = await start();
  const waiting = ask(member, code, "waits");
  const least = await quickest(async () => {
    const begun = performance.now();
    assert.equal((await member.ask("leave", { roomId: code, userId: member.userId })).success, true);
    assertRefused(await member.ask("chat:message", { roomId: "12345", message: "x" }), "INVALID_ARGUMENT");
    assertRefused(await member.ask("nonsense", {}), "INVALID_ARGUMENT");
    return performance.now() - begun;
  });
  assert.ok(least < WAIT, `${least} ms`);
  await member.join(code);
  await waiting;
});

test("at most 64 events and 256 KiB wait, and what is beyond is refused", async () => {
  const { code, member } = await start();
  const asked = Array.from({ length: 70 }, (_, n) => ask(member, code, `${n}`));
  await member.join(code);
  const answers = (await Promise.all(asked)).map(({ answer }) => answer);
  for (const answer of answers.slice(64)) assertRefused(answer, "NOT_JOINED");
  const stored = Array.from({ length: 64 }, (_, n) => `${n}`);
  assert.ok(answers.slice(0, 64).every(({ success }) => success));
  assert.deepEqual((await keeper.messages(code)).map(({ message }) => message), stored);

  const drawer = await keeper.member();
  const drawing = (id, kib) => drawer.ask("whiteboard-change", {
    roomId: code, elements: [element(id, 1, { text: "x".repeat(kib << 10) })],
  });
  const drawings = [drawing("a", 150), drawing("b", 150), drawing("c", 50), drawing("d", 300)];
  await drawer.join(code);
  const [a, b, c, d] = await Promise.all(drawings);
  assert.ok(a.success && c.success, JSON.stringify([a, c]));
  assertRefused(b, "NOT_JOINED");
  assertRefused(d, "NOT_JOINED");
  assert.deepEqual(ids(await keeper.board(code)), ["a", "c"]);
});

test("the time for an answer begins when the wait for the join ends", async () => {
  // Longer ago than an answer may take, and the join itself within its time. A busy machine
  // may make the join late; then the round says nothing.
  const round = async () => {
    const { code, member } = await start();
    await keeper.service.program.freeze();
    const begun = performance.now();
    const waiting = ask(member, code, "patient");
    await pause(350);
    const joining = member.ask("join", { roomId: code, userId: member.userId, username: member.username });
    await pause(2_200 - (performance.now() - begun));
    keeper.service.program.signal("SIGCONT");
    const joined = await joining;
    const { answer, took } = await waiting;
    await keeper.ready();
    if (!joined.success || answer.code === "NOT_JOINED") return false;
    assert.equal(answer.success, true, `after ${took} ms: ${JSON.stringify(answer)}`);
    return true;
  };
  let says = false;
  for (let n = 0; n < 6 && !says; n += 1) says = await round();
  assert.ok(says, "no join came in time");
});

test("where the store hangs, all events that waited are answered within one call's time", async () => {
  // The service is stopped while they are served; where it was too late, the round says nothing.
  const round = async () => {
    const { code, member } = await start();
    const asked = Array.from({ length: 64 }, (_, n) => ask(member, code, `${n}`));
    await member.join(code);
    await keeper.service.program.freeze();
    const frozen = performance.now();
    const answers = await Promise.all(asked).finally(() => keeper.service.program.signal("SIGCONT"));
    const took = performance.now() - frozen;
    await keeper.ready();
    if (answers.every(({ answer }) => answer.success)) return false;
    assert.ok(took < 3_500, `${took} ms`);
    return true;
  };
  let says = false;
  for (let n = 0; n < 5 && !says; n += 1) says = await round();
  assert.ok(says, "no event was left when the service stopped");
});

test("a socket that goes while its events wait leaves nothing behind", async () => {
  const { code, witness, member } = await start();
  member.tell("chat:message", { roomId: code, message: "gone" });
  member.tell("whiteboard-change", { roomId: code, elements: [element("gone")] });
  // Sent after these, so they have arrived.
  await member.ask("leave", { roomId: code, userId: member.userId });
  member.close();
  await witness.say(code, "still here");
  assert.deepEqual((await keeper.messages(code)).map(({ message }) => message), ["still here"]);
  assert.deepEqual(await keeper.board(code), []);
});

test("a gateway that stops refuses what waits, and says so", async () => {
  const own = await Roomkeeper.start();
  const { code } = await own.room();
  const member = await own.member();
  const told = once(member.socket, "server:draining");
  const stopped = own.gateway.program.stop();
  await within(() => "it drains", told);
  const { answer } = await ask(member, code, "too late to join");
  assertRefused(answer, "NOT_JOINED");
  await stopped;
});
