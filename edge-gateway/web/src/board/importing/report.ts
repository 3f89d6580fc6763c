/** What became of a file, in words. Pure. */

import { reasons, sum } from "../reasons";

/** What became of the elements of a file. */
export interface Report {
  file: string;
  /** How many the file holds. */
  total: number;
  /** How many the server has accepted. */
  accepted: number;
  /** Why others could not be kept, and how many. */
  left: ReadonlyMap<string, number>;
  /** What was taken from those that were kept, and how many. */
  dropped: ReadonlyMap<string, number>;
}

/** A report as a person reads it. */
export function inWords({ file, total, accepted, left, dropped }: Report): string {
  const lost = sum(left);
  return [
    accepted > 0 ? `Added what ${file} holds to the board.` : lost > 0 ? `Nothing of ${file} was added.` : `${file} holds nothing new.`,
    lost > 0 && `${lost} of ${total} could not be kept: ${reasons(left)}.`,
    ...[...dropped].map(([what, n]) => DROPPED[what]?.(n)),
  ].filter(Boolean).join(" ");
}

/** By what `sendable` names it. */
const DROPPED: Readonly<Record<string, (n: number) => string>> = {
  link: (n) => `${n === 1 ? "A link was" : `${n} links were`} left out: only web and mail addresses are kept.`,
  customData: (n) => `Data that nests too deeply was left out of ${n === 1 ? "an element" : `${n} elements`}.`,
};
