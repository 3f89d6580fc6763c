/**
 * What stands between Excalidraw's scene and the server: what the server is known to have,
 * and what it has not confirmed yet. Pure but for its own state; timers and sockets are the
 * caller's.
 */

import { Limits, type WireElement } from "../protocol/payloads";
import { sendable } from "./element";

/** The scene, once it is there. */
export interface Scene {
  /** Merges these elements by Excalidraw's rule; what is being edited stays as it is. */
  merge(elements: readonly WireElement[]): void;
  /** Shows these and no others. */
  replace(elements: readonly WireElement[]): void;
  /** An element of the scene without what was only made for showing it. */
  forSending(element: WireElement): WireElement;
}

/** What a scene as it is now means. */
export interface SceneChange {
  /** Elements that the server does not have yet. */
  fresh: WireElement[];
  /** Elements that should be shown instead of those in the scene. */
  stale: WireElement[];
  /** Elements that are too large to be sent. */
  tooLarge: WireElement[];
  /** Fields that were taken from elements, since the server would refuse them for these. */
  dropped: string[];
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

/** Excalidraw's nonces are of 31 bits. */
function anyNonce(): number {
  return Math.floor(Math.random() * 2 ** 31);
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
  /** Called for an element of ours that the server is found to have. */
  readonly #found: (element: WireElement) => void;
  #scene: Scene | undefined;

  constructor(found: (element: WireElement) => void = () => undefined) {
    this.#found = found;
  }

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
    for (const element of elements) this.#store(element);
    this.#scene?.replace(this.all());
  }

  /** What changed on the server. */
  receive(elements: readonly WireElement[]): void {
    const news = elements.filter((element) => {
      const stored = this.#stored.get(element.id);
      return !stored || wins(element, stored);
    });
    for (const element of news) this.#store(element);
    const shown = news.filter(({ type }) => !BARRED.has(type));
    if (shown.length > 0) this.#scene?.merge(shown);
  }

  /** The scene as it is now. */
  changed(elements: readonly WireElement[]): SceneChange {
    const change: SceneChange = { fresh: [], stale: [], tooLarge: [], dropped: [] };
    for (const element of elements) {
      const stored = this.#stored.get(element.id);
      if (stored && same(element, stored)) continue;
      if (stored && wins(stored, element)) {
        change.stale.push(stored);
        continue;
      }
      const mine = this.#unsent.get(element.id);
      if (mine && !wins(element, mine)) continue;
      const refused = this.#refused.get(element.id);
      if (refused && same(refused, element)) continue;
      // What others know is told in any size.
      const isKnown = stored !== undefined || mine !== undefined;
      if (!isKnown && (element.isDeleted || !isWorthSending(element))) continue;
      this.#take(element, change);
    }
    return change;
  }

  /** An element of the scene with the index that all clients store, not the one it is shown with here. */
  asStored(element: WireElement): WireElement {
    return this.#scene?.forSending(element) ?? element;
  }

  #take(element: WireElement, change: SceneChange): void {
    // The scene changes its elements in place; what is sent must not change under way.
    const copy = structuredClone(this.asStored(element));
    const { element: sent, dropped, isMended } = sendable(copy);
    if (isMended || sent["link"] !== copy["link"] || dropped.length > 0) {
      // It is another element now: under the same version all would not hold the same.
      sent.version += 1;
      sent.versionNonce = anyNonce();
      change.dropped.push(...dropped);
      this.#scene?.merge([sent]);
    }
    if (length(sent) > Limits.elementLength) {
      this.refuse(sent);
      this.#refused.set(element.id, copy);
      change.tooLarge.push(sent);
      return;
    }
    this.#unsent.set(sent.id, sent);
    change.fresh.push(sent);
  }

  /** Deletes elements that are not, or no longer, in the scene. Answers whether there was one. */
  remove(ids: readonly string[]): boolean {
    const tombstones = ids.flatMap((id) => {
      const known = this.#unsent.get(id) ?? this.#stored.get(id);
      if (!known || known.isDeleted) return [];
      return [{ id, type: known.type, version: known.version + 1, versionNonce: anyNonce(), isDeleted: true }];
    });
    for (const tombstone of tombstones) this.#unsent.set(tombstone.id, tombstone);
    if (tombstones.length > 0) this.#scene?.merge(tombstones);
    return tombstones.length > 0;
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

  /** The server has this one; where it is ours, its confirmation was lost on the way. */
  #store(element: WireElement): void {
    this.#stored.set(element.id, element);
    const mine = this.#unsent.get(element.id);
    if (!mine || !same(mine, element)) return;
    this.#unsent.delete(element.id);
    this.#found(element);
  }

  #land(element: WireElement): void {
    const flying = this.#flying.get(element.id);
    if (flying && same(flying, element)) this.#flying.delete(element.id);
  }
}
