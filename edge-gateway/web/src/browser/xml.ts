/** Vertical tab and form feed: white space that XML does not know. */
const UNKNOWN_SPACE = /[\u000b\u000c]/g;

/** What XML 1.0 cannot hold: other control characters, halves of surrogate pairs, and two that are no characters. */
const UNHOLDABLE = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu;

/** An element as a document that every XML parser reads. HTML names such as `&nbsp;` are not in it. */
export function xml(element: Element): string {
  return readable(new XMLSerializer().serializeToString(element));
}

/** Replaces or removes the characters that XML cannot hold. */
export function readable(text: string): string {
  return text.replace(UNKNOWN_SPACE, " ").replace(UNHOLDABLE, "");
}
