/** Why elements of a drawing are not kept, counted, and in words. Pure. */

/** So many reasons fit a notice that can be read. */
const MOST_REASONS = 4;

/** A reason may quote a file, which may be long. */
const LONGEST_REASON = 80;

// Reasons for which elements are left out.
export const BOARD_FULL = "the board is full";
export const IMAGE = "images cannot be kept in a room yet";
export const TOO_LARGE = "larger than an element may be";

/** Counts what happened once more. */
export function count(counts: Map<string, number>, what: string): void {
  const short = what.length > LONGEST_REASON ? `${what.slice(0, LONGEST_REASON)}…` : what;
  counts.set(short, (counts.get(short) ?? 0) + 1);
}

/** Reasons and how often each holds, the most frequent ones first. */
export function reasons(counts: ReadonlyMap<string, number>): string {
  const sorted = [...counts].sort(([, a], [, b]) => b - a);
  const shown = sorted.slice(0, MOST_REASONS).map(([reason, n]) => `${reason} (${n})`);
  if (sorted.length > MOST_REASONS) shown.push("and others");
  return shown.join(", ");
}

/** How many elements are left out for any reason. */
export function sum(counts: ReadonlyMap<string, number>): number {
  return [...counts.values()].reduce((total, n) => total + n, 0);
}
