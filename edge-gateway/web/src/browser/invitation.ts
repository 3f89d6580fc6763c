import { shownCode } from "./codes";
import { roomLink } from "./router";

/** What is copied to bring somebody into a room: its code, and a link that opens it. */
export function copyable(code: string): string {
  return `${shownCode(code)} ${roomLink(code)}`;
}
