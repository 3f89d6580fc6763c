/** Finds what may be clicked in a text: http, https and mailto, and nothing else. */

export type Piece = { text: string; href?: string };

const CANDIDATE = /\b(?:https?:\/\/|mailto:)[^\s<>"'`]+/gi;

/** What ends a sentence rather than an address. */
const TRAILING = /[.,;:!?…)\]}*_~]+$/;

const SCHEMES = new Set(["http:", "https:", "mailto:"]);

export function pieces(text: string): Piece[] {
  const found: Piece[] = [];
  let end = 0;
  for (const match of text.matchAll(CANDIDATE)) {
    const shown = trimmed(match[0]);
    const href = address(shown);
    if (!href) continue;
    if (match.index > end) found.push({ text: text.slice(end, match.index) });
    found.push({ text: shown, href });
    end = match.index + shown.length;
  }
  if (end < text.length) found.push({ text: text.slice(end) });
  return found;
}

/** Without the punctuation around it; a bracket that the address opens itself stays. */
function trimmed(candidate: string): string {
  const shown = candidate.replace(TRAILING, "");
  const isOpen = shown.split("(").length > shown.split(")").length;
  return isOpen && candidate[shown.length] === ")" ? `${shown})` : shown;
}

function address(text: string): string | undefined {
  try {
    const url = new URL(text);
    const leadsSomewhere = url.protocol === "mailto:" ? url.pathname !== "" : url.hostname !== "";
    return SCHEMES.has(url.protocol) && leadsSomewhere ? url.href : undefined;
  } catch {
    return undefined;
  }
}
