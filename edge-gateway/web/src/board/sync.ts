/**
 * What stands between Excalidraw's scene and the server: what the server is known to have,
 * and what it has not confirmed yet. Pure but for its own state; timers and sockets are the
 * caller's.
 */

import { Limits, type WireElement } from "../protocol/payloads";

/** The scene, once it is there. */
export interface Scene {
  /** Merges these elements by Excalidraw's rule; what is being edited stays as it is. */
  merge(elements: readonly WireElement[]): void;
  /** Shows these and no others. */
  replace(elements: readonly WireElement[]): void;
}

/** Whether `a` wins over `b`: Excalidraw's rule, and the server's. */
export function wins(a: WireElement, b: WireElement): boolean {
  return a.version > b.version || (a.version === b.version && a.versionNonce < b.versionNonce);
}

function same(a: WireElement, b: WireElement): boolean {
  return a.version === b.version && a.versionNonce === b.versionNonce;
}

/** How long an element is as JSON: within a third of its bytes. */
function length(element: WireElement): number {
  return JSON.stringify(element).length;
}

/** Whether anybody could see it: one that is only begun has no size yet. */
function isWorthSending(element: WireElement): boolean {
  if (element.isDeleted || element.type === "freedraw") return true;
  if (element.type === "line" || element.type === "arrow") {
    const { points } = element;
    return !Array.isArray(points) || points.length >= 2;
  }
  return element["width"] !== 0 || element["height"] !== 0;
}

/** Types that are drawn by loading a page; nothing of that kind is shown. */
const BARRED = new Set(["iframe", "magicframe", "selection"]);

export class BoardSync {
  /** The server's elements, tombstones among them, as far as they are known. */
  readonly #stored = new Map<string, WireElement>();
  /** Ours, until the server has confirmed them. */
  readonly #unsent = new Map<string, WireElement>();
  /** Which version of an unsent element is under way. */
  readonly #flying = new Map<string, WireElement>();
  /** Versions that the server does not take. */
  readonly #refused = new Map<string, WireElement>();
  /** Which version of an unsent element is written down, as `kept` was last told. */
  readonly #kept = new Map<string, WireElement>();
  #scene: Scene | undefined;

  /** Everything that is to be seen. */
  all(): WireElement[] {
    return [...this.known().values()].filter(({ isDeleted, type }) => !isDeleted && !BARRED.has(type));
  }

  /** What the server has under an id, as far as it is known. */
  stored(id: string): WireElement | undefined {
    return this.#stored.get(id);
  }

  /** What the server has, tombstones among it. */
  everythingStored(): Iterable<WireElement> {
    return this.#stored.values();
  }

  /** What the server has, and what it will have when it has confirmed ours, by id. */
  known(): Map<string, WireElement> {
    const known = new Map(this.#stored);
    for (const [id, element] of this.#unsent) {
      const stored = known.get(id);
      if (!stored || wins(element, stored)) known.set(id, element);
    }
    return known;
  }

  /** The scene shows the board from now on. */
  attach(scene: Scene): void {
    this.#scene = scene;
    scene.replace(this.all());
  }

  detach(): void {
    this.#scene = undefined;
  }

  /** Unsent elements of an earlier visit, as they were written down. */
  restore(elements: readonly WireElement[]): void {
    for (const element of elements) {
      this.#kept.set(element.id, element);
      const mine = this.#unsent.get(element.id);
      if (!mine || wins(element, mine)) this.#unsent.set(element.id, element);
    }
    this.#scene?.merge(elements);
  }

  /** The whole board: what is not in it is gone, except what we have not sent. */
  reset(elements: readonly WireElement[]): void {
    this.#stored.clear();
    for (const element of elements) this.#stored.set(element.id, element);
    this.#scene?.replace(this.all());
  }

  /** What changed on the server. */
  receive(elements: readonly WireElement[]): void {
    const news = elements.filter((element) => {
      const stored = this.#stored.get(element.id);
      return !stored || wins(element, stored);
    });
    for (const element of news) this.#stored.set(element.id, element);
    const shown = news.filter(({ type }) => !BARRED.has(type));
    if (shown.length > 0) this.#scene?.merge(shown);
  }

  /**
   * The scene as it is now. Answers which of its elements are new to the server, which the
   * server has in a version that should be shown, and which are too large to be sent.
   */
  changed(elements: readonly WireElement[]): Record<"fresh" | "stale" | "tooLarge", WireElement[]> {
    const fresh: WireElement[] = [];
    const stale: WireElement[] = [];
    const tooLarge: WireElement[] = [];
    for (const element of elements) {
      const stored = this.#stored.get(element.id);
      if (stored && same(element, stored)) continue;
      if (stored && wins(stored, element)) {
        stale.push(stored);
        continue;
      }
      const mine = this.#unsent.get(element.id);
      if (mine && !wins(element, mine)) continue;
      const refused = this.#refused.get(element.id);
      if (refused && same(refused, element)) continue;
      if (!isWorthSending(element)) continue;
      // Drawn and taken back before anybody heard of it.
      if (element.isDeleted && !stored && !mine) continue;
      // The scene changes its elements in place; what is sent must not change under way.
      const copy = structuredClone(element);
      if (length(copy) > Limits.elementLength) {
        this.refuse(copy);
        tooLarge.push(copy);
        continue;
      }
      this.#unsent.set(copy.id, copy);
      fresh.push(copy);
    }
    return { fresh, stale, tooLarge };
  }

  /** What is to be sent next, within what one change may hold; marks it as under way. */
  take(): WireElement[] {
    const batch: WireElement[] = [];
    let total = 0;
    for (const [id, element] of this.#unsent) {
      const flying = this.#flying.get(id);
      if (flying && same(flying, element)) continue;
      const size = length(element);
      if (batch.length > 0 && (total + size > Limits.changeLength || batch.length >= Limits.changeElements)) break;
      total += size;
      batch.push(element);
      this.#flying.set(id, element);
    }
    return batch;
  }

  /** The server has these, or newer ones that it will tell. */
  confirm(batch: readonly WireElement[]): void {
    for (const element of batch) {
      this.#land(element);
      const mine = this.#unsent.get(element.id);
      if (mine && same(mine, element)) this.#unsent.delete(element.id);
      const stored = this.#stored.get(element.id);
      if (!stored || wins(element, stored)) this.#stored.set(element.id, element);
    }
  }

  /** Nobody knows what became of these: they are sent again. */
  returned(batch: readonly WireElement[]): void {
    for (const element of batch) this.#land(element);
  }

  /** The server will not take this one. */
  refuse(element: WireElement): void {
    this.#land(element);
    const mine = this.#unsent.get(element.id);
    if (mine && same(mine, element)) this.#unsent.delete(element.id);
    this.#refused.set(element.id, element);
  }

  /** The connection is gone, and with it what was under way. */
  lost(): void {
    this.#flying.clear();
  }

  /** What was not sent belongs to a room that is no more, and is not sent to another. */
  forget(): void {
    this.#unsent.clear();
    this.#flying.clear();
    this.#refused.clear();
  }

  /** As `forget`, and takes it from the scene, which shows another room now. */
  abandon(): void {
    this.forget();
    this.#scene?.replace(this.all());
  }

  /**
   * What is to be written down and what no longer, since this was asked last, so that a
   * visit of this room without a connection to the server can go on with it.
   */
  kept(): { put: WireElement[]; drop: WireElement[] } {
    const put: WireElement[] = [];
    const drop: WireElement[] = [];
    for (const [id, element] of this.#unsent) {
      const kept = this.#kept.get(id);
      if (kept && same(kept, element)) continue;
      this.#kept.set(id, element);
      put.push(element);
    }
    for (const [id, element] of this.#kept) {
      if (this.#unsent.has(id)) continue;
      this.#kept.delete(id);
      drop.push(element);
    }
    return { put, drop };
  }

  get unsent(): WireElement[] {
    return [...this.#unsent.values()];
  }

  #land(element: WireElement): void {
    const flying = this.#flying.get(element.id);
    if (flying && same(flying, element)) this.#flying.delete(element.id);
  }
}
