/** Who this browser is: a random id that stays, and a name that may change. */

import { Limits } from "../protocol/payloads";
import { Remembered } from "./storage";
import { wellFormed } from "./text";
import { uuid } from "./uuid";

const ID = /^[\w-]{8,128}$/;

export const userId = new Remembered<string>("userId", (stored) => (ID.test(stored) ? stored : ""));

// Written at once, so that all tabs are one person.
if (!userId.value) userId.set(uuid());

export const username = new Remembered<string>("username", cleanName);

/** A name as the server takes it. */
export function cleanName(text: string): string {
  const clean = wellFormed(text).replace(/[\u0000-\u001f\u007f-\u009f]/g, " ").trim();
  return [...clean].slice(0, Limits.username).join("").trim();
}
