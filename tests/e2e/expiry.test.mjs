// A room lives for its time to live after the last activity, and then is gone whole.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";

import { assertRefused, element } from "../harness/member.mjs";
import { Roomkeeper } from "../harness/roomkeeper.mjs";
import { until } from "../harness/until.mjs";

const keeper = await Roomkeeper.start({ services: 2, gateways: 2, serviceEnv: { ROOM_TTL: "3s" } });

const gone = (code) =>
  until("the room is gone", async () => (await keeper.traces(code)).length === 0, 60_000);

test("a room untouched for its time to live is gone whole, and from the index", async () => {
  const { code } = await keeper.room();
  const here = await keeper.joined(code, { gateway: 0 });
  const there = await keeper.joined(code, { gateway: 1 });
  await here.say(code, "hello", { requestId: randomUUID() });
  await here.draw(code, [element("a")], { requestId: randomUUID() });
  if (keeper.redis) {
    const keys = await keeper.redis.keysOf(code);
    for (const name of ["", ":messages", ":whiteboard", ":changes", ":participants", ":sessions"]) {
      assert.ok(keys.includes(`room:{${code}}${name}`), `${name} in ${keys}`);
    }
  }

  for (const member of [here, there]) {
    assert.deepEqual(await member.next("room:closed"), { roomId: code, reason: "expired" });
  }
  await gone(code);
  assertRefused(await here.ask("chat:message", { roomId: code, message: "hi" }), "NOT_JOINED", "ROOM_NOT_FOUND");
  assertRefused(
    await here.ask("join", { roomId: code, userId: here.userId, username: here.username }),
    "ROOM_NOT_FOUND",
  );
});

test("an empty room that nobody watches expires too", async () => {
  const { code } = await keeper.room();
  assert.ok((await keeper.traces(code)).length > 0);
  await gone(code);
});

test("P5: each activity refreshes every key of the room to one instant", async () => {
  const { code } = await keeper.room();
  const member = await keeper.joined(code);
  await member.say(code, "one");
  await member.draw(code, [element("a"), element("b")]);
  const other = await keeper.member({ gateway: 1 });
  let last = await keeper.ends(code);
  for (const change of [
    () => member.say(code, "two"),
    () => member.draw(code, [element("a", 2, { isDeleted: true })]),
    () => other.join(code),
    () => other.leave(code),
    () => member.join(code, { username: "Renamed" }),
  ]) {
    // The instant moves when it moves by a hundredth of so short a time to live.
    await until("a refresh would show", async () => (await keeper.now()) > last - 3_000 + 31);
    await change();
    const next = await keeper.ends(code);
    assert.ok(next > last, `${change}`);
    last = next;
  }
});

test("a room that is talked in outlives its first time to live, with all it holds", async () => {
  const { code } = await keeper.room();
  const member = await keeper.joined(code);
  const watcher = await keeper.joined(code, { gateway: 1 });
  await member.draw(code, [element("a")]);
  const first = await keeper.ends(code);
  let n = 0;
  await until("the first instant has passed", async () => {
    await member.say(code, `${n}`);
    n += 1;
    return (await keeper.now()) > first + 500;
  });
  assert.deepEqual(watcher.received("room:closed"), []);
  assert.equal((await keeper.board(code)).length, 1);
  assert.equal((await keeper.messages(code)).length, Math.min(n, 100));
  assert.equal((await keeper.about(code)).participantCount, 2);
  await watcher.next("room:closed", ({ reason }) => reason === "expired");
  await gone(code);
});

if (keeper.redis) test("request keys outlive no room", async () => {
  const { code } = await keeper.room();
  const member = await keeper.joined(code);
  await member.say(code, "hello", { requestId: randomUUID() });
  const keys = (await keeper.redis.keysOf(code)).filter((key) => key.includes(":request:"));
  assert.ok(keys.length > 0);
  const instants = await keeper.redis.pipeline(keys.map((key) => ["PEXPIRETIME", key]));
  const room = await keeper.ends(code);
  // Two readings of the clock may lie a little apart.
  for (const at of instants) assert.ok(at > 0 && at <= room + 100, `${at} is after ${room}`);
});
