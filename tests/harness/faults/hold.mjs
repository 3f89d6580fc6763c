// The one place of the tests where time passes by design.

import { setTimeout as pass } from "node:timers/promises";

/**
 * Lets a fault last for so many milliseconds. Everything else in the tests waits
 * for a condition; how long a fault lasts is part of what it is: "a service that
 * is stopped for five seconds" has no event to wait for. `why` says it in words.
 */
export async function hold(milliseconds, why) {
  if (!why) throw new Error("say why time is to pass");
  await pass(milliseconds);
}
