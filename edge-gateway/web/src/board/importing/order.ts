/** Places on top of a board: Excalidraw's fractional indices above a given one. */

const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** So many indices, each above the one before; the first is above `last`, if there is a last. */
export function indicesAfter(last: string | undefined, count: number): string[] {
  const indices: string[] = [];
  let index = last;
  for (let n = 0; n < count; n += 1) {
    index = index === undefined ? "a0" : indexAfter(index);
    indices.push(index);
  }
  return indices;
}

/** As Excalidraw does, so that an index grows with the logarithm of the number of elements. */
function indexAfter(index: string): string {
  return incremented(index.slice(0, integerLength(index))) ?? `${index}V`;
}

/** The next integer part; there is none above the largest. */
function incremented(integer: string): string | undefined {
  const digits = [...integer.slice(1)];
  for (let i = digits.length - 1; i >= 0; i -= 1) {
    const next = DIGITS.indexOf(digits[i] ?? "0") + 1;
    if (next < DIGITS.length) {
      digits[i] = DIGITS.charAt(next);
      return integer.charAt(0) + digits.join("");
    }
    digits[i] = "0";
  }
  if (integer.startsWith("Z")) return "a0";
  if (integer.startsWith("z")) return undefined;
  const head = String.fromCharCode(integer.charCodeAt(0) + 1);
  // The first letter says how long the part is: from `a` on it grows, and below it shrinks.
  return head + (head > "a" ? `${digits.join("")}0` : digits.slice(1).join(""));
}

function integerLength(index: string): number {
  const head = index.charCodeAt(0);
  return index >= "a" ? head - "a".charCodeAt(0) + 2 : "Z".charCodeAt(0) - head + 2;
}
