// What is played in more than one test.

import assert from "node:assert/strict";

import { until } from "../until.mjs";
import { Crowd } from "./crowd.mjs";
import { SEED } from "./seed.mjs";

/** How long rooms live on a stage for `expiresInMidSession`, in milliseconds. */
export const LIFE = 3_000;

/** How long a session lives without being renewed, in milliseconds. */
export const LEASE = 30_000;

// How soon a killed gateway's people are gone.
const GONE_WITHIN = 45_000;

/** The names of those in a list of presence, sorted. */
export const named = (list) => list.map(({ username }) => username).sort();

/** Of three rooms that are used one is left alone: it ends at its time, and no other does. */
export async function expiresInMidSession(brief) {
  const rooms = [];
  for (let n = 0; n < 3; n += 1) rooms.push((await brief.keeper.room({ maxParticipants: 50 })).code);
  const crowd = new Crowd({ rooms, users: 4, urls: brief.urls, seed: SEED, name: "short-lived" });
  try {
    await crowd.allIn();
    crowd.begin(100);
    const [quiet, ...busy] = rooms;
    await until("they have talked", () => crowd.acknowledged > 60);
    const since = performance.now();
    crowd.avoid(quiet);
    const tabs = crowd.open(quiet);
    await until("the quiet room's people are told that it has expired", () =>
      tabs.every(({ state }) => state === "over" || state === "closed"), LIFE + 5_000);
    assert.ok(performance.now() - since >= LIFE - 1_000, "it ended before its time");
    for (const { reader, name } of tabs) {
      if (reader.position) assert.ok([undefined, "expired"].includes(reader.closed), `${name}: ${reader.closed}`);
    }
    assert.ok(tabs.some(({ reader }) => reader.closed === "expired"));
    for (const room of busy) {
      assert.ok(crowd.open(room).every(({ state }) => state !== "over"), "a busy room ended too");
    }
    crowd.rest();
    await until("the others expire too", () => crowd.open().every(({ state }) => state === "over"), LIFE + 5_000);
    for (const room of rooms) {
      await until(`nothing is left of ${room}`, async () => (await brief.keeper.traces(room)).length === 0, 60_000);
    }
    assert.deepEqual(crowd.complaints, []);
  } finally {
    crowd.dismiss();
  }
}

/** A gateway is killed: its people are gone in time and not before, and nobody else is. */
export async function peopleOfAKilledGateway(keeper) {
  const { code } = await keeper.room({ maxParticipants: 20 });
  const watcher = await keeper.joined(code, { gateway: 0, username: "Watcher", sync: "delta" });
  await keeper.joined(code, { gateway: 1, username: "Gone" });
  await keeper.joined(code, { gateway: 1, userId: "two", username: "Two Tabs" });
  await keeper.joined(code, { gateway: 0, userId: "two", username: "Two Tabs" });
  const left = await keeper.joined(code, { gateway: 0, username: "Left" });
  const lists = () => watcher.received("presence:update");
  const told = (names) => () => named(lists().at(-1) ?? []).join() === names.join();
  await until("all are there", told(["Gone", "Left", "Two Tabs", "Watcher"]));
  const all = lists().length;

  await left.leave(code);
  // At once, and then some for a busy machine: not with the end of a lease.
  await until("a leave is told", told(["Gone", "Two Tabs", "Watcher"]), 2_500);

  // When the leases end, where that can be read.
  const leases = await keeper.redis?.command("ZRANGE", `room:{${code}}:sessions`, "0", "-1", "WITHSCORES");
  const ends = leases?.filter((_, n) => n % 2 === 1).map(Number) ?? [];
  const killed = performance.now();
  await keeper.gateways[1].program.kill();
  await until("the dead are gone, and nobody else", told(["Two Tabs", "Watcher"]), GONE_WITHIN);
  // Renewed ten seconds before at most.
  const after = performance.now() - killed;
  assert.ok(after >= LEASE - 11_000, `gone after ${Math.round(after)} ms`);
  const now = await keeper.now();
  assert.ok(ends.length === 0 || ends.some((end) => end <= now), "gone before their leases");
  for (const list of lists().slice(all)) {
    assert.ok(named(list).includes("Two Tabs"), "the user with a tab elsewhere was gone");
  }
  assert.equal((await keeper.about(code)).participantCount, 2);
  watcher.assertUnbroken(code);
  keeper.gateways[1].program.start();
  await keeper.ready();
}
