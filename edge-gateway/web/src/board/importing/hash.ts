/**
 * Numbers and ids that follow from a text.
 *
 * An import makes the ids, seeds and nonces that it needs from the content of the
 * file. So the same file gives the same elements in every browser and each time.
 * The hash (cyrb128) spreads well and protects nothing.
 */

function hashes(text: string): [number, number, number, number] {
  let [a, b, c, d] = [1779033703, 3144134277, 1013904242, 2773480762];
  for (let i = 0; i < text.length; i += 1) {
    const unit = text.charCodeAt(i);
    a = b ^ Math.imul(a ^ unit, 597399067);
    b = c ^ Math.imul(b ^ unit, 2869860233);
    c = d ^ Math.imul(c ^ unit, 951274213);
    d = a ^ Math.imul(d ^ unit, 2716044179);
  }
  a = Math.imul(c ^ (a >>> 18), 597399067);
  b = Math.imul(d ^ (b >>> 22), 2869860233);
  c = Math.imul(a ^ (c >>> 17), 951274213);
  d = Math.imul(b ^ (d >>> 19), 2716044179);
  return [(a ^ b ^ c ^ d) >>> 0, (b ^ a) >>> 0, (c ^ a) >>> 0, (d ^ a) >>> 0];
}

/** An integer, 1 to 2^31 - 1: what Excalidraw uses for seeds and nonces. */
export function numberFrom(text: string): number {
  return (hashes(text)[0] >>> 1) || 1;
}

/** An id of 28 letters and digits. */
export function idFrom(text: string): string {
  return hashes(text)
    .map((hash) => hash.toString(36).padStart(7, "0"))
    .join("");
}
