/** What becomes of elements that somebody waits for. */

import { wins } from "../board/sync";
import type { WireElement } from "../protocol/payloads";

/** What the server said of an element. */
export type Fate =
  /** It has this version, or a newer one of ours. */
  | { what: "accepted" }
  /** It has an element that won over this one. */
  | { what: "lost"; winner: WireElement }
  /** It does not take it. */
  | { what: "refused"; reason: string };

interface Waiting {
  element: WireElement;
  settle: (fate: Fate) => void;
}

/** Holds the elements that imports wait for: each import at most what a board holds. */
export class Fates {
  readonly #waiting = new Map<string, Waiting>();

  /** Resolves with the fate of each element, by its id. */
  async of(elements: readonly WireElement[]): Promise<Map<string, Fate>> {
    const fates = elements.map((element) => new Promise<[string, Fate]>((resolve) => {
      // A later import of the same element waits for its own version.
      this.#settle(element.id, { what: "accepted" });
      this.#waiting.set(element.id, { element, settle: (fate) => resolve([element.id, fate]) });
    }));
    return new Map(await Promise.all(fates));
  }

  /** The server has answered a change with this element in it, and holds `stored` now. */
  answered(element: WireElement, stored: WireElement | undefined): void {
    if (!this.#isFor(element)) return;
    const isLost = stored !== undefined && wins(stored, element);
    this.#settle(element.id, isLost ? { what: "lost", winner: stored } : { what: "accepted" });
  }

  /** The server does not take this element. Answers whether somebody waited for it. */
  refused(element: WireElement, reason: string): boolean {
    if (!this.#isFor(element)) return false;
    this.#settle(element.id, { what: "refused", reason });
    return true;
  }

  /** Nothing more becomes of any of them. */
  end(reason: string): void {
    for (const id of [...this.#waiting.keys()]) this.#settle(id, { what: "refused", reason });
  }

  /** Whether this is the element that somebody waits for, or what its author made of it since. */
  #isFor(element: WireElement): boolean {
    const waiting = this.#waiting.get(element.id);
    return waiting !== undefined && element.version >= waiting.element.version;
  }

  #settle(id: string, fate: Fate): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    waiting?.settle(fate);
  }
}
