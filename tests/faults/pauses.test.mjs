// SIGSTOP of each part for a while: it is there and says nothing.

import assert from "node:assert/strict";

import { gatewayStopped, redisStopped, serviceStopped } from "../harness/faults/nemesis.mjs";
import { isListing, row } from "../harness/faults/row.mjs";
import { Stage } from "../harness/faults/stage.mjs";

const stage = isListing ? undefined : await Stage.start();

for (const stopped of [redisStopped, serviceStopped, gatewayStopped]) {
  for (const seconds of [1, 5]) {
    const fault = stopped(seconds);
    row(fault.name, () => stage.play([fault]));
  }
}

row(redisStopped(10).name, async () => {
  const programs = [...stage.keeper.services, ...stage.keeper.gateways].map(({ program }) => program);
  const before = programs.map(({ pid }) => pid);
  const { acknowledged, crowd } = await stage.play([redisStopped(10)], { rate: 200 });
  assert.ok(acknowledged > 0);
  // That each write was answered in time, and that all was back in time, the play has checked.
  assert.ok(crowd.operations.some(({ attempts }) => attempts.some(({ answer }) => answer && !answer.success)));
  assert.deepEqual(programs.map(({ pid }) => pid), before);
  for (const program of programs) assert.ok(program.isRunning, `${program.name} has ended`);
});
