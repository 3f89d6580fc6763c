// Coming back: from a position, with a request id.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";

import { assertRefused, element, ids } from "../harness/member.mjs";
import { Roomkeeper } from "../harness/roomkeeper.mjs";
import { until } from "../harness/until.mjs";

const keeper = await Roomkeeper.start();

/** Joins with `after` and resolves with `{history, state, member}`. */
async function resumed(code, after, options = {}) {
  const member = await keeper.joined(code, { sync: "delta", ...options, after });
  return {
    member,
    history: await member.next("chat:history"),
    state: await member.next("whiteboard:state"),
  };
}

test("resuming gives what changed after the position, and only that", async () => {
  const { code } = await keeper.room();
  const author = await keeper.joined(code, { sync: "delta" });
  await author.say(code, "before");
  await author.draw(code, [element("before"), element("doomed"), element("old")]);
  const absent = await keeper.joined(code, { sync: "delta" });
  const position = absent.positions.get(code);
  absent.close();

  const missed = [await author.say(code, "missed one"), await author.say(code, "missed two")];
  await author.draw(code, [element("old", 2), element("new")]);
  await author.draw(code, [element("doomed", 2, { isDeleted: true })]);

  const { history, state, member } = await resumed(code, position);
  assert.equal(history.reset, false);
  assert.notEqual(history.truncated, true);
  assert.deepEqual(history.messages, missed);
  assert.equal(history.count, 2);
  assert.equal(state.reset, false);
  const byId = (one, two) => one.id.localeCompare(two.id);
  assert.deepEqual(state.elements.sort(byId), [
    { id: "doomed", type: "rectangle", version: 2, versionNonce: 1000, isDeleted: true },
    element("new"),
    element("old", 2),
  ]);

  await author.say(code, "live again");
  await member.next("chat:message");
  member.assertUnbroken(code);
});

test("resuming where nothing was missed gives nothing, and says so", async () => {
  const { code } = await keeper.room();
  const author = await keeper.joined(code);
  await author.say(code, "hello");
  await author.draw(code, [element("a")]);
  const { epoch, revision } = await author.join(code);
  const { history, state } = await resumed(code, { epoch, revision });
  assert.deepEqual([history.reset, history.messages, history.count], [false, [], 0]);
  assert.deepEqual([state.reset, state.elements], [false, []]);
});

test("resuming gives up to 100 messages, and says when some have fallen off the list", async () => {
  const { code } = await keeper.room();
  const author = await keeper.joined(code);
  const start = author.positions.get(code);
  for (let n = 0; n < 100; n += 1) await author.say(code, `${n}`);
  const whole = await resumed(code, start);
  assert.equal(whole.history.reset, false);
  assert.notEqual(whole.history.truncated, true);
  assert.equal(whole.history.count, 100);

  await author.say(code, "100");
  const cut = await resumed(code, start);
  assert.equal(cut.history.reset, false);
  assert.equal(cut.history.truncated, true);
  assert.deepEqual(
    cut.history.messages.map(({ message }) => Number(message)),
    Array.from({ length: 100 }, (_, n) => n + 1),
  );

  const [, second] = whole.history.messages;
  const later = await resumed(code, { epoch: start.epoch, revision: second.revision });
  assert.notEqual(later.history.truncated, true, "none of what it lacks has fallen off");
  assert.equal(later.history.count, 99);
});

test("a position of another epoch, or one that the room has not reached, is answered with everything", async () => {
  const { code } = await keeper.room();
  const author = await keeper.joined(code);
  for (let n = 0; n < 60; n += 1) await author.say(code, `${n}`);
  await author.draw(code, [element("a"), element("gone")]);
  await author.draw(code, [element("gone", 2, { isDeleted: true })]);
  const { epoch, revision } = await author.join(code);
  const positions = [
    { epoch: epoch - 1, revision },
    { epoch: epoch + 1, revision: revision + 5 },
    { epoch, revision: revision + 1_000_000 },
  ];
  for (const after of positions) {
    const { history, state } = await resumed(code, after);
    assert.equal(history.reset, true);
    assert.equal(history.messages.at(-1).message, "59");
    assert.ok(history.count >= 50);
    assert.equal(state.reset, true);
    assert.deepEqual(state.elements, [element("a")]);
  }
});

test("a deleted room is not resumed", async () => {
  const { code } = await keeper.room();
  const member = await keeper.joined(code);
  const after = member.positions.get(code);
  await keeper.delete(`/api/rooms/${code}`);
  const again = await keeper.member();
  assertRefused(
    await again.ask("join", { roomId: code, userId: "u", username: "U", after }),
    "ROOM_NOT_FOUND",
  );
});

test("P7: a delta client that comes and goes while others write ends with all there is", async () => {
  const { code } = await keeper.room();
  const author = await keeper.joined(code, { sync: "delta" });
  // Whoever comes for the first time gets the newest fifty only.
  const first = await keeper.joined(code, { sync: "delta", userId: "roamer" });
  let after = first.positions.get(code);
  first.socket.disconnect();
  let writing = true;
  const said = [];
  const writer = (async () => {
    for (let n = 0; n < 80; n += 1) {
      said.push((await author.say(code, `${n}`)).message);
      await author.draw(code, [element(`e${n}`), element("shared", n + 1)]);
    }
    writing = false;
  })();

  const texts = [];
  const scene = new Map();
  const take = (member) => {
    for (const { event, args } of member.inbox) {
      if (event === "chat:history") texts.push(...args[0].messages.map(({ message }) => message));
      if (event === "chat:message") texts.push(args[0].message);
      if (event === "whiteboard:state" || event === "whiteboard-update") {
        for (const one of args[0].elements) scene.set(one.id, one);
      }
    }
  };
  do {
    const member = await keeper.joined(code, { sync: "delta", userId: "roamer", after });
    await member.next("chat:message").catch((error) => assert.ok(!writing, error));
    member.socket.disconnect();
    after = {
      epoch: member.positions.get(code).epoch,
      revision: member.assertUnbroken(code),
    };
    take(member);
  } while (writing && texts.length < 70);
  await writer;
  const last = await keeper.joined(code, { sync: "delta", userId: "roamer", after });
  take(last);
  assert.deepEqual(texts, said);
  const board = await keeper.board(code);
  assert.deepEqual([...scene.keys()].sort(), ids(board).sort());
  for (const one of board) assert.deepEqual(scene.get(one.id), one);
});

test("P3: a repeated requestId returns the first message and delivers nothing twice", async () => {
  const { code } = await keeper.room();
  const author = await keeper.joined(code, { sync: "delta" });
  const requestId = randomUUID();
  const request = { roomId: code, message: "once", requestId, ts: 1 };
  const first = await author.ask("chat:message", request);
  assert.equal(first.success, true);
  assert.equal(first.duplicate, false);
  assert.equal(first.message.requestId, requestId);
  const before = await keeper.stored(code);
  const again = await author.ask("chat:message", { ...request, ts: 2 });
  assert.deepEqual(again, { ...first, duplicate: true });
  const tab = await keeper.joined(code, { userId: author.userId, username: "Another Name" });
  const other = await tab.ask("chat:message", request);
  assert.deepEqual(other, { ...first, duplicate: true });
  assert.equal((await keeper.messages(code)).length, 1);
  assert.equal(JSON.parse(before)[0].length, 1);

  await author.say(code, "twice");
  await author.next("chat:message", ({ message }) => message === "twice");
  assert.deepEqual(author.received("chat:message").map(({ message }) => message), ["once", "twice"]);
  assert.equal(author.received("chat:message")[0].requestId, requestId);
  author.assertUnbroken(code);
});

test("the same requestId many times at once is stored once", async () => {
  const { code } = await keeper.room();
  const author = await keeper.joined(code);
  const tab = await keeper.joined(code, { userId: author.userId });
  const requestId = randomUUID();
  const answers = await Promise.all(Array.from({ length: 20 }, (_, n) =>
    (n % 2 ? author : tab).ask("chat:message", { roomId: code, message: "once", requestId })));
  assert.equal(answers.filter(({ duplicate }) => duplicate === false).length, 1);
  assert.equal(new Set(answers.map(({ message }) => message.id)).size, 1);
  assert.equal((await keeper.messages(code)).length, 1);
});

test("the same requestId with other content, by another user or for another event is refused", async () => {
  const { code } = await keeper.room();
  const author = await keeper.joined(code);
  const other = await keeper.joined(code);
  const requestId = randomUUID();
  await author.say(code, "first", { requestId });
  const before = await keeper.stored(code);
  assertRefused(
    await author.ask("chat:message", { roomId: code, message: "second", requestId }),
    "INVALID_ARGUMENT",
  );
  assertRefused(
    await other.ask("chat:message", { roomId: code, message: "first", requestId }),
    "INVALID_ARGUMENT",
  );
  assertRefused(
    await author.ask("whiteboard-change", { roomId: code, elements: [element("a")], requestId }),
    "INVALID_ARGUMENT",
  );
  assert.equal(await keeper.stored(code), before);
});

test("a repeated whiteboard change returns its first outcome", async () => {
  const { code } = await keeper.room();
  const drawer = await keeper.joined(code);
  const delta = await keeper.joined(code, { sync: "delta" });
  const requestId = randomUUID();
  const elements = [element("a"), element("b")];
  const first = await drawer.draw(code, elements, { requestId });
  await drawer.draw(code, [element("a", 2)]);
  const again = await drawer.draw(code, elements, { requestId });
  assert.equal(again.duplicate, true);
  assert.equal(again.accepted, first.accepted);
  assert.equal(again.revision, first.revision);
  assert.deepEqual(await keeper.board(code), [element("a", 2), element("b")]);
  assertRefused(
    await drawer.ask("whiteboard-change", { roomId: code, elements: [element("a", 3)], requestId }),
    "INVALID_ARGUMENT",
  );
  await drawer.say(code, "that was all");
  await delta.next("chat:message");
  assert.equal(delta.received("whiteboard-update").length, 2);
  delta.assertUnbroken(code);
});

test("a duplicate, a read, a signal and a refusal are no activity, a change is", async () => {
  const { code } = await keeper.room();
  const member = await keeper.joined(code);
  await member.draw(code, [element("a")]);
  const requestId = randomUUID();
  await member.say(code, "hello", { requestId });
  const instant = () => keeper.ends(code);
  const before = await instant();
  const clock = () => keeper.now();
  // The instant moves when it moves by a second.
  const start = await clock();
  await until("a refresh would show", async () => (await clock()) > start + 1_001);
  await member.say(code, "hello", { requestId });
  await member.draw(code, [element("a")]);
  await member.ask("chat:typing", { roomId: code });
  await member.ask("whiteboard-pointer", { roomId: code, x: 1, y: 1 });
  await member.ask("chat:message", { roomId: code, message: "" });
  await keeper.stored(code);
  await keeper.get("/api/rooms");
  await keeper.get(`/api/rooms/${code}/stats`);
  await keeper.post("/api/rooms/join", { code, username: "Reader" });
  assert.equal(await instant(), before);

  let last = before;
  const other = await keeper.member();
  for (const change of [
    () => member.say(code, "again"),
    () => member.draw(code, [element("a", 2)]),
    () => other.join(code),
    () => other.leave(code),
  ]) {
    const now = await clock();
    await until("the clock has moved on", async () => (await clock()) > now + 1_001);
    await change();
    const next = await instant();
    assert.ok(next > last, `${change}`);
    last = next;
  }
});
