// Many at once, and people who press a button twice.

import assert from "node:assert/strict";

import * as nemesis from "../harness/faults/nemesis.mjs";
import { isListing, row } from "../harness/faults/row.mjs";
import { Stage } from "../harness/faults/stage.mjs";

const stage = isListing ? undefined : await Stage.start();

row("sends repeated and in another order", async () => {
  const { duplicates, acknowledged } = await stage.play([], {
    rate: 250,
    before: 700,
    only: ["say", "sayTwice", "sayReordered", "drawTie", "drawShared", "openTab"],
  });
  assert.ok(duplicates > acknowledged / 10, `${duplicates} of ${acknowledged} were repeats`);
});

row(nemesis.rollingRestart.name, () => stage.play([nemesis.rollingRestart], { rate: 150 }));

row("2,000 clients reconnecting at once", async () => {
  const { resumes, joins } = await stage.play([nemesis.gatewaysKilled], {
    rooms: 100, users: 15, rate: 60, before: 60, only: ["say", "draw"],
  });
  assert.ok(joins >= 2_000, `${joins} clients`);
  assert.ok(resumes >= 1_400, `${resumes} came back from where they were`);
}, { timeout: 180_000 });
