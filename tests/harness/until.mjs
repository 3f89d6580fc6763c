// Waiting for something to become true, with a deadline: the tests never sleep.

import { setTimeout as pause } from "node:timers/promises";

/** How long anything may take before a test gives up on it, in milliseconds. */
export const DEADLINE = 15_000;

/**
 * Resolves with the first truthy answer of `probe`. What `probe` throws counts
 * as "not yet" and is told when the deadline has passed.
 */
export async function until(what, probe, deadline = DEADLINE) {
  const end = performance.now() + deadline;
  let problem;
  for (;;) {
    try {
      const answer = await probe();
      if (answer) return answer;
      problem = undefined;
    } catch (error) {
      problem = error;
    }
    if (performance.now() > end) {
      throw new Error(`not within ${deadline} ms: ${what}`, { cause: problem });
    }
    await pause(20);
  }
}

/** Resolves as `promise` does, or fails when the deadline passes first. */
export function within(what, promise, deadline = DEADLINE) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`not within ${deadline} ms: ${what()}`)),
      deadline,
    );
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
