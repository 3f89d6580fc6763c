// What Redis itself does to those who use it.

import assert from "node:assert/strict";

import * as nemesis from "../harness/faults/nemesis.mjs";
import { isListing, row } from "../harness/faults/row.mjs";
import { Stage } from "../harness/faults/stage.mjs";

const stage = isListing ? undefined : await Stage.start({ replica: true });

for (const fault of [nemesis.clientPause, nemesis.debugSleep, nemesis.scriptFlush, nemesis.demotion]) {
  row(fault.name, () => stage.play([fault]));
}

row(nemesis.memoryFull.name, async () => {
  const { refused, crowd } = await stage.play([nemesis.memoryFull]);
  const codes = new Set(crowd.operations.flatMap(({ attempts }) =>
    attempts.flatMap(({ answer }) => (answer?.success ? [] : [answer?.code]))));
  assert.ok(codes.has("STORE_FULL"), `refusals: ${[...codes]}`);
  assert.ok(refused > 0);
});

row(nemesis.losingDemotion.name, async () => {
  const { lost, resets, rooms } = await stage.play([nemesis.losingDemotion]);
  assert.ok(lost > 0, "writes were lost, and the checker did not count them");
  assert.ok(resets > 0, "nobody was told that history forked");
  console.log(`${lost} acknowledged writes were lost in ${rooms.length} rooms, ${resets} readers began anew`);
});
