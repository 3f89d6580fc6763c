// Somebody else has been at the keys of a room. That room says INTERNAL, or goes on with
// what is left; the others are served as ever.

import assert from "node:assert/strict";

import { garbage, keyDeleted, LOGGED, ROOMS, wrongType } from "../harness/faults/damage.mjs";
import { isListing, row } from "../harness/faults/row.mjs";
import { Stage } from "../harness/faults/stage.mjs";

const stage = isListing ? undefined : await Stage.start({ expected: LOGGED });

const LOAD = { rooms: ROOMS, users: 2, rate: 120, before: 150, afterwards: 100 };

// How often one process may tell of one room by itself: when it is read, renewed,
// compared, swept and ended.
const IN_THE_BACKGROUND = 5;

/** How many lines of level ERROR the programs have logged. */
function logged() {
  return [...stage.keeper.services, ...stage.keeper.gateways]
    .flatMap(({ program }) => program.log.split("\n"))
    .filter((line) => /\bERROR\b/.test(line)).length;
}

row(keyDeleted.name, () => stage.play([keyDeleted], LOAD));

for (const fault of [wrongType, garbage]) {
  row(fault.name, async () => {
    const before = logged();
    const { crowd } = await stage.play([fault], LOAD);
    const met = [...crowd.internal.values()].reduce((sum, count) => sum + count, 0);
    assert.ok(met > 0, "nobody met the damage");
    const most = met + ROOMS * IN_THE_BACKGROUND * stage.keeper.services.length;
    const lines = logged() - before;
    assert.ok(lines > 0 && lines <= most, `${lines} lines for ${met} refusals`);
  });
}
