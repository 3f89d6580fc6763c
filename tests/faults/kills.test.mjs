// kill -9 of each part while a crowd talks, draws, comes and goes.

import { test } from "node:test";

import * as nemesis from "../harness/faults/nemesis.mjs";
import { isListing, row } from "../harness/faults/row.mjs";
import { Stage } from "../harness/faults/stage.mjs";

const stage = isListing ? undefined : await Stage.start();

row("Redis killed, appendfsync everysec", () => stage.play([nemesis.redisKilled, nemesis.redisKilled]));

row("Redis killed, appendfsync always", async () => {
  await stage.keeper.redis.configure("appendfsync", "always");
  await stage.play([nemesis.redisKilled, nemesis.redisKilled]);
  await stage.keeper.redis.configure("appendfsync", "everysec");
});

// Fast enough that there always is a write half-way.
row("a service killed in mid-write", () =>
  stage.play([nemesis.serviceKilled, nemesis.serviceKilled, nemesis.serviceKilled], { rate: 250 }));

if (!isListing) {
  test("P2: a message is in history and feed with the same revision, or in neither", { timeout: 120_000 }, () =>
    stage.play([[nemesis.serviceKilled, nemesis.memoryFull], nemesis.redisKilled], {
      rate: 200, only: ["say", "sayTwice", "sayWithoutId", "drop"],
    }));
}

row("a gateway killed", () => stage.play([nemesis.gatewayKilled, nemesis.gatewayKilled]));

row("everything killed", () => stage.play([nemesis.allKilled]));
