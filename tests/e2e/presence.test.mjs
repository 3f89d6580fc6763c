// Who is present: users, not sockets.

import assert from "node:assert/strict";
import { test } from "node:test";

import { assertRefused } from "../harness/member.mjs";
import { Roomkeeper } from "../harness/roomkeeper.mjs";
import { until } from "../harness/until.mjs";

const keeper = await Roomkeeper.start();

/** Fails unless every place that counts a room's users counts `count`. */
async function assertCount(code, count) {
  const { body } = await keeper.get(`/api/rooms/${code}/stats`);
  assert.equal(body.stats.participantCount, count);
  assert.equal(body.stats.room.participantCount, count);
  assert.equal((await keeper.about(code)).participantCount, count);
  if (keeper.redis) {
    assert.equal(await keeper.redis.command("HLEN", `room:{${code}}:participants`), count);
  }
}

const countIs = (code, count) =>
  until(`${count} present in ${code}`, async () => (await keeper.about(code)).participantCount === count);

test("two tabs are one participant, until both are closed", async () => {
  const { code } = await keeper.room();
  const watcher = await keeper.joined(code, { username: "Watcher" });
  const tab = await keeper.joined(code, { userId: "ann", username: "Ann" });
  const second = await keeper.joined(code, { userId: "ann", username: "Ann" });
  await assertCount(code, 2);
  await second.present(code, ["Watcher", "Ann"]);
  tab.close();
  await watcher.say(code, "one tab closed");
  await second.next("chat:message");
  await second.say(code, "still here");
  await assertCount(code, 2);
  second.close();
  await watcher.present(code, ["Watcher"]);
  await assertCount(code, 1);
  assert.ok(watcher.received("presence:update").every((list) =>
    new Set(list.map(({ userId }) => userId)).size === list.length));
});

test("leaving with one of two tabs leaves the user present", async () => {
  const { code } = await keeper.room();
  const tab = await keeper.joined(code, { userId: "ann", username: "Ann" });
  const second = await keeper.joined(code, { userId: "ann", username: "Ann" });
  await tab.leave(code);
  await assertCount(code, 1);
  await second.leave(code);
  await assertCount(code, 0);
});

test("five joins of one user count once", async () => {
  const { code } = await keeper.room();
  const member = await keeper.joined(code);
  for (let n = 0; n < 4; n += 1) {
    const { participants } = await member.join(code);
    assert.equal(participants.length, 1);
  }
  await assertCount(code, 1);
  await member.leave(code);
  await assertCount(code, 0);
});

test("a repeated join is answered whole, presence included", async () => {
  const { code } = await keeper.room();
  const member = await keeper.joined(code);
  const before = member.inbox.length;
  await member.join(code);
  assert.deepEqual(
    member.inbox.slice(before).map(({ event }) => event),
    ["chat:history", "whiteboard:state", "presence:update", "ack"],
  );
});

test("a drop in another room changes nothing here", async () => {
  const here = await keeper.room();
  const there = await keeper.room();
  const member = await keeper.joined(here.code, { userId: "ann" });
  const other = await keeper.joined(there.code, { userId: "ann" });
  other.close();
  await countIs(there.code, 0);
  await assertCount(here.code, 1);
  await member.join(there.code);
  await member.leave(there.code);
  await assertCount(here.code, 1);
  await assertCount(there.code, 0);
});

test("a disconnect leaves all rooms of the socket", async () => {
  const rooms = [await keeper.room(), await keeper.room(), await keeper.room()];
  const member = await keeper.member();
  for (const { code } of rooms) await member.join(code);
  member.close();
  for (const { code } of rooms) await countIs(code, 0);
});

test("a connection that is torn down without a word is a disconnect", async () => {
  const { code } = await keeper.room();
  const watcher = await keeper.joined(code, { username: "Watcher" });
  const member = await keeper.joined(code, { username: "Torn" });
  await watcher.present(code, ["Watcher", "Torn"]);
  member.socket.io.engine.transport.ws.terminate();
  await watcher.present(code, ["Watcher"]);
  await assertCount(code, 1);
});

test("the count never drifts while users come and go at once", async () => {
  const { code } = await keeper.room({ maxParticipants: 100 });
  const stays = await keeper.joined(code, { username: "Stays" });
  await Promise.all(Array.from({ length: 12 }, async (_, n) => {
    for (let round = 0; round < 4; round += 1) {
      const member = await keeper.joined(code, { userId: `user-${n % 6}`, username: `User ${n % 6}` });
      if (round % 2 === 0) await member.leave(code);
      member.close();
    }
  }));
  await countIs(code, 1);
  await assertCount(code, 1);
  await stays.present(code, ["Stays"]);
  if (!keeper.redis) return;
  const keys = await keeper.redis.pipeline(
    ["sessions", "session-users", "user-sessions"].map((name) => {
      const key = `room:{${code}}:${name}`;
      return name === "sessions" ? ["ZCARD", key] : ["HLEN", key];
    }),
  );
  assert.deepEqual(keys, [1, 1, 1]);
});

test("each user is listed once, in the order of their first join", async () => {
  const { code } = await keeper.room();
  const first = await keeper.joined(code, { username: "First" });
  await keeper.joined(code, { username: "Second" });
  await keeper.joined(code, { username: "Third" });
  await first.join(code);
  await keeper.joined(code, { userId: first.userId, username: "First" });
  const late = await keeper.joined(code, { username: "Fourth" });
  await late.present(code, ["First", "Second", "Third", "Fourth"]);
});

test("joining again with another name renames, with another userId is refused", async () => {
  const { code } = await keeper.room();
  const member = await keeper.joined(code, { username: "Before" });
  const watcher = await keeper.joined(code, { username: "Watcher" });
  const { participants } = await member.join(code, { username: "After" });
  assert.equal(participants[0].username, "After");
  await watcher.present(code, ["After", "Watcher"]);
  const { message } = await member.ask("chat:message", { roomId: code, message: "renamed" });
  assert.equal(message.username, "After");
  assertRefused(
    await member.ask("join", { roomId: code, userId: "somebody", username: "After" }),
    "IDENTITY_MISMATCH",
  );
  await member.say(code, "still myself");
  await assertCount(code, 2);
});

test("presence carries the room and the position as its second argument", async () => {
  const { code } = await keeper.room();
  const watcher = await keeper.joined(code, { sync: "delta" });
  await keeper.joined(code);
  const { args } = await until("presence has come", () =>
    watcher.inbox.filter(({ event }) => event === "presence:update")[1]);
  assert.deepEqual(Object.keys(args[1]).sort(), ["epoch", "previous", "revision", "roomId"]);
  assert.equal(args[1].roomId, code);
  watcher.assertUnbroken(code);
});
