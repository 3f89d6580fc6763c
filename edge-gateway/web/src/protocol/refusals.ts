import type { ErrorCode, Refusal } from "./payloads";

/** What is sensible after a refusal. */
export type Next =
  /** The same again, by itself, in a moment. */
  | "again"
  /** The same again when the person says so. */
  | "ask"
  /** Join again, then the same. */
  | "rejoin"
  /** It will not work this way. */
  | "stop";

/** A refusal in words for people, and what to do about it. */
export interface Advice {
  text: string;
  next: Next;
}

const ADVICE: Record<ErrorCode, Advice> = {
  INVALID_ARGUMENT: { text: "The server did not accept this", next: "stop" },
  // Who is in the room finds out by joining again how it ended.
  ROOM_NOT_FOUND: {
    text: "There is no room with this code. It may have been deleted, or it ended because nothing happened in it for a while. Check the code, or ask for a new link.",
    next: "rejoin",
  },
  ROOM_FULL: { text: "Every seat in this room is taken. Try again when somebody has left.", next: "ask" },
  NOT_JOINED: { text: "You were no longer in the room. Joining again…", next: "rejoin" },
  IDENTITY_MISMATCH: { text: "The room knows this browser as somebody else. Joining again…", next: "rejoin" },
  PAYLOAD_TOO_LARGE: { text: "This is too large for the room. Make it smaller, or split it.", next: "stop" },
  RATE_LIMITED: { text: "That was a lot at once. It goes on in a moment.", next: "again" },
  STORE_UNAVAILABLE: { text: "The server cannot save right now. Trying again…", next: "again" },
  OUTCOME_UNKNOWN: { text: "The server did not say whether this was saved. Asking again…", next: "again" },
  STORE_FULL: { text: "The server's memory is full: reading works, saving does not. Try again later.", next: "ask" },
  UNAUTHENTICATED: { text: "The server wants to know who you are. Reload the page.", next: "stop" },
  PERMISSION_DENIED: { text: "You may not do this here.", next: "stop" },
  UNREACHABLE: { text: "The server cannot be reached. Check your connection and try again.", next: "ask" },
  INTERNAL: { text: "Something went wrong on the server. Try again.", next: "ask" },
};

/** What to tell people, and what to do. */
export function advise(refusal: Pick<Refusal, "code" | "error">): Advice {
  const advice = ADVICE[refusal.code] as Advice | undefined;
  if (!advice) return { text: refusal.error || "The server refused this.", next: "ask" };
  // The server names the field, which is what helps.
  if (refusal.code === "INVALID_ARGUMENT") return { ...advice, text: `${advice.text}: ${refusal.error}.` };
  return advice;
}

/** How long to wait before the same is tried again, in milliseconds: scattered, so that not all come at once. */
export function pauseBefore(refusal: Pick<Refusal, "retryAfterMs">, tries: number): number {
  return refusal.retryAfterMs ?? Math.min(4000, 400 * 2 ** Math.min(tries, 4)) * (0.75 + Math.random() / 2);
}
