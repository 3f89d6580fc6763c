/** Codes of rooms, as people write them. */

/** `123-456`, as a code is read and told. */
export function shownCode(code: string): string {
  return `${code.slice(0, 3)}-${code.slice(3)}`;
}

/** The code in what somebody typed or pasted: a code in any spelling, or a link. */
export function codeIn(text: string): string | undefined {
  const linked = /\/r\/(\d{6})(?!\d)/.exec(text)?.[1];
  if (linked) return linked;
  const digits = text.replace(/[\s\u2010-\u2015-]/g, "");
  return /^\d{6}$/.test(digits) ? digits : undefined;
}
