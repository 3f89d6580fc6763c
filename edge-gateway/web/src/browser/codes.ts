/** Codes of rooms, as people write them. */

/** `123-456`, as a code is read and told. */
export function shownCode(code: string): string {
  return `${code.slice(0, 3)}-${code.slice(3)}`;
}

/**
 * The code in what somebody typed or pasted, or in an address: a code in any spelling, or a
 * link. The gateway reads the addresses of rooms by the same rule.
 */
export function codeIn(text: string): string | undefined {
  const linked = /\/r\/([^/?#\s]+)/.exec(text)?.[1];
  const digits = (linked === undefined ? text : decoded(linked)).replace(/[\s\u2010-\u2015-]/g, "");
  return /^\d{6}$/.test(digits) ? digits : undefined;
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
