/** How full a board is. Pure. */

import { Limits, type WireElement } from "../protocol/payloads";

/** Shares of the limits from which a person who adds to the board is warned. */
const WARN_FROM = [0.95, 0.8];


/** How much there is on a board. */
export interface Fullness {
  elements: number;
  /** Bytes of the elements' JSON. */
  bytes: number;
}

const encoder = new TextEncoder();

/** The bytes of elements that were measured once. What is stored is replaced, and never changed in place. */
const measured = new WeakMap<WireElement, number>();

/** How many bytes an element takes on a board. */
export function bytesOf(element: WireElement): number {
  let bytes = measured.get(element);
  if (bytes === undefined) {
    bytes = encoder.encode(JSON.stringify(element)).length;
    measured.set(element, bytes);
  }
  return bytes;
}

/**
 * What is living on a board. Tombstones count against the limits of the server too, but it
 * drops the oldest of them where a newcomer needs the room.
 */
export function fullnessOf(elements: Iterable<WireElement>): Fullness {
  const fullness = { elements: 0, bytes: 0 };
  for (const element of elements) {
    if (element.isDeleted) continue;
    fullness.elements += 1;
    fullness.bytes += bytesOf(element);
  }
  return fullness;
}

/** The share of the limits from which a person is to be warned, or 0. */
export function warningAt({ elements, bytes }: Fullness): number {
  const share = Math.max(elements / Limits.boardElements, bytes / Limits.boardBytes);
  return WARN_FROM.find((warning) => share >= warning) ?? 0;
}

/** How full the board is, in words. */
export function inWords({ elements, bytes }: Fullness): string {
  const counted = `${elements.toLocaleString("en")} of ${Limits.boardElements.toLocaleString("en")} elements`;
  const weighed = `${(bytes / 2 ** 20).toFixed(1)} of ${Limits.boardBytes / 2 ** 20} MiB`;
  return `The board is nearly full: it holds ${counted} and ${weighed}. Delete what is not needed.`;
}
