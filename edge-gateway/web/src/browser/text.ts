/**
 * Replaces each half of a surrogate pair by U+FFFD. A text that was cut in the middle of an
 * emoji ends with such a half, and UTF-8 cannot carry it. The same as `toWellFormed()`, which
 * older browsers lack.
 */
export function wellFormed(text: string): string {
  return text.replace(/\p{Surrogate}/gu, "\ufffd");
}
