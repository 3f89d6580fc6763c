// Every fault, alone and mixed, for SOAK_MINUTES (20): `make soak`.
//
// One episode after the other, each with a crowd in new rooms, on one Redis, on a cluster
// or on a Redis with sentinels. An episode follows from the seed and its number alone:
// `SEED=… EPISODE=n make soak` plays it again.

import assert from "node:assert/strict";
import { test } from "node:test";

import { garbage, keyDeleted, LOGGED, wrongType } from "../harness/faults/damage.mjs";
import { clustered, watched } from "../harness/faults/failovers.mjs";
import * as nemesis from "../harness/faults/nemesis.mjs";
import { isListing, row } from "../harness/faults/row.mjs";
import { randomFor, SEED } from "../harness/faults/seed.mjs";
import { Stage } from "../harness/faults/stage.mjs";

const MINUTES = Number(process.env.SOAK_MINUTES ?? 20);
const ONLY = process.env.EPISODE;

const endings = [nemesis.hashDeleted, nemesis.roomDeleted, nemesis.roomExpires];

/** The stages: how often one is chosen, what is played on it, and what may end an episode. */
const STAGES = [
  {
    name: "one Redis",
    share: 3,
    options: { store: "redis", replica: true },
    gentle: [...nemesis.mendable, ...nemesis.long],
    harsh: [...nemesis.endings, nemesis.losingDemotion, keyDeleted, wrongType, garbage],
  },
  {
    name: "a cluster",
    share: 1,
    options: { store: "cluster" },
    // Its own faults as often as all others together.
    gentle: evenly(clustered, nemesis.ofPrograms),
    harsh: endings,
  },
  {
    name: "sentinels",
    share: 1,
    options: { store: "sentinel" },
    gentle: evenly(watched, nemesis.ofPrograms),
    harsh: endings,
  },
];

/** A list in which what is of one list is chosen as often as what is of the other. */
function evenly(one, other) {
  return [...one.flatMap((fault) => other.map(() => fault)), ...other.flatMap((fault) => one.map(() => fault))];
}

/** One to three faults at once that are not in each other's way. */
function group(random, gentle) {
  const chosen = [];
  for (let n = 1 + random.below(3); n > 0; n -= 1) {
    const fault = random.pick(gentle);
    const busy = new Set(chosen.flatMap(({ touches }) => touches));
    if (!fault.touches.some((part) => busy.has(part))) chosen.push(fault);
  }
  return chosen;
}

function episode(number) {
  const random = randomFor(`episode ${number}`);
  const where = random.pick(STAGES.flatMap((one) => Array(one.share).fill(one)));
  const { gentle, harsh } = where;
  const groups = Array.from({ length: 1 + random.below(3) }, () => group(random, gentle));
  // What takes rooms away comes last.
  if (random.chance(0.5)) groups.push([random.pick(harsh)]);
  return { where, groups, rate: 60 + random.below(140), name: `episode ${number}` };
}

for (const fault of nemesis.long) if (isListing) row(fault.name);

if (!isListing) {
  const stages = new Map();
  for (const { name, options } of STAGES) {
    stages.set(name, await Stage.start({ ...options, expected: LOGGED }));
  }
  const total = { episodes: 0 };
  const injected = new Map();
  const problems = [];

  const play = async (number) => {
    const { where, groups, ...options } = episode(number);
    const names = groups.map((faults) => faults.map(({ name }) => name).join(" + "));
    try {
      const { crowd, rooms, ...counts } = await stages.get(where.name).play(groups, options);
      for (const [name, count] of Object.entries(counts)) total[name] = (total[name] ?? 0) + count;
      for (const { name } of groups.flat()) injected.set(name, (injected.get(name) ?? 0) + 1);
      console.log(`episode ${number} on ${where.name}: ${names.join("; ")}: ${counts.acknowledged} acknowledged`);
    } catch (error) {
      problems.push(number);
      console.error(`episode ${number} on ${where.name}: ${names.join("; ")}\n${error.stack ?? error}`);
      console.error(`again: SEED=${SEED} EPISODE=${number} make soak`);
    }
    total.episodes += 1;
  };

  test(`every fault, alone and mixed, for ${MINUTES} minutes`, async () => {
    const end = performance.now() + MINUTES * 60_000;
    if (ONLY !== undefined) await play(Number(ONLY));
    else for (let number = 1; performance.now() < end; number += 1) await play(number);
    for (const [name, count] of [...injected].sort()) console.log(`  ${count} × ${name}`);
    console.log(`SEED=${SEED} ${Object.entries(total).map(([name, count]) => `${name}=${count}`).join(" ")}`);
    assert.deepEqual(problems, [], `episodes that failed; SEED=${SEED}`);
  });
}
