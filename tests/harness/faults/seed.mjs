// One seed from which all that a run chooses follows.

import { Random } from "../random.mjs";

/** The seed of this run: `SEED`, or a new one. */
export const SEED = Number(process.env.SEED ?? Date.now() % 2 ** 31);

/** A stream of random numbers of its own for each name. */
export function randomFor(name, seed = SEED) {
  // FNV-1a, so that near names and seeds give streams that have nothing in common.
  let hash = 0x811c9dc5 ^ seed;
  for (const byte of Buffer.from(`${seed}/${name}`)) hash = Math.imul(hash ^ byte, 0x01000193);
  return new Random(hash);
}

/**
 * A UUID of version 4 that follows from the seed, so that a replay sends the same
 * requests.
 */
export function uuid(random) {
  const bytes = random.bytes(16);
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = bytes.toString("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
