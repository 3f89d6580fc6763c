/** What is told and never stored: who writes, and where everybody points. */

import type { Pointer } from "../protocol/payloads";
import type { Visit } from "./visit";

const POINTER_INTERVAL = 50;

/** Somebody who goes on writing is told of so often; others believe it for longer than that. */
const TYPING_RENEWED = 2000;
/** Somebody who pauses for so long does not write. */
const TYPING_PAUSE = 3000;

export class Signals {
  readonly #visit: Visit;
  #lastPointer = 0;
  #pointerTimer: ReturnType<typeof setTimeout> | undefined;
  #typingSince = 0;
  #typingTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(visit: Visit) {
    this.#visit = visit;
  }

  /** Somebody types here, or has just stopped. */
  typing(isTyping: boolean): void {
    clearTimeout(this.#typingTimer);
    const { socket, identity, state } = this.#visit;
    const { code, live } = state();
    if (!isTyping) {
      if (this.#typingSince > 0 && live) socket.stopTyping({ roomId: code, ...identity });
      this.#typingSince = 0;
      return;
    }
    const now = Date.now();
    if (live && now - this.#typingSince >= TYPING_RENEWED) {
      this.#typingSince = now;
      socket.typing({ roomId: code, ...identity });
    }
    this.#typingTimer = setTimeout(() => this.typing(false), TYPING_PAUSE);
  }

  /** Tells the others where we point; the last position is always told. */
  point(pointer: Omit<Pointer, "roomId">): void {
    clearTimeout(this.#pointerTimer);
    const { live, participants, code } = this.#visit.state();
    if (!live || participants.length < 2) return;
    const wait = this.#lastPointer + POINTER_INTERVAL - Date.now();
    if (wait > 0) {
      this.#pointerTimer = setTimeout(() => this.point(pointer), wait);
      return;
    }
    this.#lastPointer = Date.now();
    this.#visit.socket.pointer({ roomId: code, ...pointer });
  }

  stop(): void {
    clearTimeout(this.#pointerTimer);
    clearTimeout(this.#typingTimer);
  }
}
