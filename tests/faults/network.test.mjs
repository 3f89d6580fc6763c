// A network that mutes, cuts, delays, truncates and splits what passes between
// gateways and services, and between services and Redis.

import assert from "node:assert/strict";

import { eventsLost, flapping, networkFaults } from "../harness/faults/nemesis.mjs";
import { isListing, row } from "../harness/faults/row.mjs";
import { randomFor } from "../harness/faults/seed.mjs";
import { Stage } from "../harness/faults/stage.mjs";
import { until } from "../harness/until.mjs";

const stage = isListing ? undefined : await Stage.start();

for (const fault of [...networkFaults, eventsLost, flapping]) row(fault.name, () => stage.play([fault]));

// Sooner than a comparison with the store, every four seconds, would find what the feed
// has lost most of the time, and long enough for a busy machine.
const PROMPT = 2_600;

// So many rounds that no comparison hides a loss in all of them.
const ROUNDS = 6;

row("a message while its room begins to be watched again", async () => {
  const { keeper, toRedis, toService } = stage;
  const random = randomFor("watched again");
  // The readers' gateway hears from the service behind a slow Redis alone.
  toService[0][1].cut();
  try {
    await keeper.ready();
    const rooms = await Promise.all(Array.from({ length: 30 }, () => keeper.room()));
    const author = await keeper.member({ gateway: 1 });
    for (const { code } of rooms) await author.join(code);
    const readers = await Promise.all(rooms.map(({ code }) => keeper.joined(code, { sync: "delta" })));
    toRedis[0].delay(120);
    for (let round = 0; round < ROUNDS; round += 1) {
      const heard = readers.map((reader) => reader.received("chat:message").length);
      const text = `round ${round}`;
      toService[0][0].cutOnce();
      // One message in each room, spread over the time in which they are watched again.
      const shuffled = rooms.map(({ code }) => ({ code, order: random.fraction() }))
        .sort((one, other) => one.order - other.order);
      for (const { code } of shuffled) {
        await author.say(code, text);
        await until("a little later", pauses(random.below(3)));
      }
      await until(`each room's reader hears ${text}`, () =>
        readers.every((reader, n) => reader.received("chat:message").length > heard[n]), PROMPT);
    }
    for (const [n, reader] of readers.entries()) reader.assertUnbroken(rooms[n].code);
    assert.equal(readers[0].received("chat:message").length, ROUNDS);
  } finally {
    toRedis[0].heal();
    toService[0][1].heal();
  }
});

/** A probe that is true after so many other requests: the pauses between writes. */
function pauses(requests) {
  let left = requests;
  return async () => {
    if (left === 0) return true;
    left -= 1;
    await stage.keeper.gateways[1].get("/healthz");
    return false;
  };
}
