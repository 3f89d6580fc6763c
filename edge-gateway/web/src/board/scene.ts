/**
 * Excalidraw's scene, as the board's state sees it.
 *
 * What is stored and what is shown are two things. Excalidraw gets copies that it can draw, in
 * an order of ascending indices, so that it repairs nothing by itself: a repair of its own
 * counts as a change, and would be sent as this person's work.
 */

import { CaptureUpdateAction } from "@excalidraw/excalidraw";
import type { OrderedExcalidrawElement } from "@excalidraw/excalidraw/element/types";
import type { ExcalidrawImperativeAPI } from "@excalidraw/excalidraw/types";

import type { WireElement } from "../protocol/payloads";
import { judge } from "./element";
import { arranged, isArranged, isIndex } from "./order";
import { type Scene, wins } from "./sync";
import { look } from "./view";

const FRAME = 16;
const WHILE_EDITED = 250;

/** An element of Excalidraw's, which is one of the wire where only the common fields count. */
type Shown = OrderedExcalidrawElement & WireElement;

/** What the scene asks of the page around it. */
export interface Surroundings {
  /** Whether the view is still to be chosen by what there is to see. */
  isViewOpen: boolean;
  /** Whether this version of an element made the board fail before. */
  isBarred(element: WireElement): boolean;
  /** These elements cannot be drawn, for this reason in the first of them; each is told once. */
  leftOut(count: number, reason: string): void;
  /** Excalidraw is about to draw these, in place of what it had. */
  showing(news: readonly WireElement[]): void;
}

export class ExcalidrawScene implements Scene {
  readonly #api: ExcalidrawImperativeAPI;
  readonly #around: Surroundings;
  readonly #waiting = new Map<string, WireElement>();
  /** In which order elements came that have no index. */
  readonly #arrivals = new Map<string, number>();
  #came = 0;
  /** Where an element is shown under another index than its own. */
  readonly #moved = new Map<string, { own: unknown; shown: string }>();
  readonly #toldOf = new Set<string>();
  /** What this person has drawn in this visit and the scene holds, and how much it held last. */
  readonly #drawn = new Set<string>();
  #held = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #due = 0;

  constructor(api: ExcalidrawImperativeAPI, around: Surroundings) {
    this.#api = api;
    this.#around = around;
  }

  merge(elements: readonly WireElement[]): void {
    this.#mergeWithin(FRAME, elements);
  }

  replace(elements: readonly WireElement[]): void {
    // All of what waits is in it.
    this.stop();
    this.#arrivals.clear();
    this.#arrive(elements);
    const isEmpty = this.#api.getSceneElements().length === 0;
    // What stays is the same object: a line that is being drawn goes on.
    const ids = new Set(elements.map(({ id }) => id));
    this.#show(this.#local().filter(({ id }) => ids.has(id)), elements);
    if (!this.#around.isViewOpen || elements.length === 0) return;
    this.#around.isViewOpen = false;
    // A person who has begun to draw has chosen a view.
    if (isEmpty) look(this.#api, this.#api.getSceneElements(), false);
  }

  /** What Excalidraw holds, with what was deleted. */
  elements(): readonly WireElement[] {
    return this.#local();
  }

  /** Shows elements as this person's own work, and where they are: they are sent, and can be undone. */
  add(added: readonly WireElement[]): void {
    const elements = new Map(this.#local().map((element) => [element.id, element]));
    const edited = this.#edited();
    for (const element of added) {
      const mine = elements.get(element.id);
      if (mine && (edited.has(element.id) || !wins(element, mine))) continue;
      this.#moved.delete(element.id);
      // The scene changes its elements in place.
      elements.set(element.id, structuredClone(element) as Shown);
    }
    this.#around.showing(added);
    this.#update([...elements.values()], CaptureUpdateAction.IMMEDIATELY);
    const ids = new Set(added.map(({ id }) => id));
    look(this.#api, this.#api.getSceneElements().filter(({ id }) => ids.has(id)), true);
  }

  /** For what cannot be shown now, since this person is editing it. */
  mergeLater(elements: readonly WireElement[]): void {
    this.#mergeWithin(WHILE_EDITED, elements);
  }

  /**
   * Brings the scene back into the order in which all clients show it. Excalidraw chooses the
   * index of an element between the indices that its neighbours are shown with. Where such an
   * index was made for showing, the element has another place by the indices that are stored.
   */
  settle(elements: readonly WireElement[]): void {
    // As long as all elements are shown with their own indices, Excalidraw keeps these in order.
    if (this.#moved.size === 0) return;
    if (!isArranged(elements, this.#ownIndexOf, this.#arrivalOf)) this.mergeLater([]);
  }

  /**
   * What this person has drawn and the scene no longer holds. Excalidraw drops an element that
   * ends without a size, and others may have seen it with one.
   */
  withdrawn(elements: readonly WireElement[]): string[] {
    for (const id of this.#edited()) this.#drawn.add(id);
    const isLess = elements.length < this.#held;
    this.#held = elements.length;
    return isLess ? this.#forgetAllBut(elements) : [];
  }

  #forgetAllBut(elements: readonly { id: string }[]): string[] {
    const ids = new Set(elements.map(({ id }) => id));
    const gone = [...this.#drawn].filter((id) => !ids.has(id));
    for (const id of gone) this.#drawn.delete(id);
    return gone;
  }

  forSending(element: WireElement): WireElement {
    const own = this.#ownIndexOf(element);
    // The index that was made for showing stays here; a malformed one is refused everywhere.
    if (own === element["index"] || (typeof own === "string" && !isIndex(own))) return element;
    const { index: _shown, ...rest } = element;
    return own === undefined ? (rest as WireElement) : ({ ...rest, index: own } as WireElement);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#waiting.clear();
  }

  /** Merging looks at the whole scene, so what comes at once is merged at once. */
  #mergeWithin(wait: number, elements: readonly WireElement[]): void {
    this.#arrive(elements);
    for (const element of elements) {
      const waiting = this.#waiting.get(element.id);
      if (!waiting || wins(element, waiting)) this.#waiting.set(element.id, element);
    }
    const due = Date.now() + wait;
    if (this.#timer !== undefined && this.#due <= due) return;
    clearTimeout(this.#timer);
    this.#due = due;
    this.#timer = setTimeout(() => {
      const waiting = [...this.#waiting.values()];
      this.stop();
      this.#show(this.#local(), waiting);
    }, wait);
  }

  #arrive(elements: readonly WireElement[]): void {
    for (const { id } of elements) {
      if (!this.#arrivals.has(id)) this.#arrivals.set(id, (this.#came += 1));
    }
  }

  /** Shows `news` beside what is `local`; the winner of both by the server's rule, and what is edited as it is. */
  #show(local: readonly Shown[], news: readonly WireElement[]): void {
    const elements = new Map(local.map((element) => [element.id, element]));
    const edited = this.#edited();
    const faults: string[] = [];
    for (const element of news) {
      const mine = elements.get(element.id);
      if (mine && (edited.has(element.id) || !wins(element, mine))) continue;
      const shown = this.#shownOf(element, mine, faults);
      if (shown) elements.set(element.id, shown);
      else elements.delete(element.id);
    }
    this.#around.showing(news);
    // Others' changes are not this person's to undo.
    this.#update([...elements.values()], CaptureUpdateAction.NEVER);
    const [first] = faults;
    if (first !== undefined) this.#around.leftOut(faults.length, first);
  }

  #update(elements: readonly Shown[], captureUpdate: (typeof CaptureUpdateAction)[keyof typeof CaptureUpdateAction]): void {
    const ordered = this.#inOrder(elements);
    this.#held = ordered.length;
    this.#forgetAllBut(ordered);
    this.#api.updateScene({ elements: ordered, captureUpdate });
  }

  /** A new object that Excalidraw can draw, or nothing. */
  #shownOf(element: WireElement, mine: Shown | undefined, faults: string[]): Shown | undefined {
    if (element.isDeleted) {
      // A tombstone has all but its marks from the element that it ends.
      const { version, versionNonce } = element;
      return mine && { ...mine, version, versionNonce, isDeleted: true };
    }
    const judged = this.#around.isBarred(element) ? { fault: "the board failed when it was drawn" } : judge(element);
    if (judged && "shown" in judged) {
      this.#moved.delete(element.id);
      return judged.shown as Shown;
    }
    if (judged && !this.#toldOf.has(element.id)) {
      this.#toldOf.add(element.id);
      faults.push(judged.fault);
    }
    return undefined;
  }

  /** Sorts the elements, and sets the index of those that cannot be shown under their own. */
  #inOrder(elements: readonly Shown[]): Shown[] {
    const rows = arranged(elements, this.#ownIndexOf, this.#arrivalOf);
    const moved = new Map<string, { own: unknown; shown: string }>();
    for (const { element, index } of rows) {
      const own = this.#ownIndexOf(element);
      if (own !== index) moved.set(element.id, { own, shown: index });
      // In place: Excalidraw holds on to the objects that a person is drawing, and an
      // index for showing is no change that another version would tell of.
      if (element.index !== index) (element as { index: string }).index = index;
    }
    this.#moved.clear();
    for (const [id, place] of moved) this.#moved.set(id, place);
    return rows.map(({ element }) => element);
  }

  /** The index of an element as it is stored, or as this person has changed it. */
  readonly #ownIndexOf = (element: WireElement): unknown => {
    const moved = this.#moved.get(element.id);
    return moved && moved.shown === element["index"] ? moved.own : element["index"];
  };

  readonly #arrivalOf = (id: string): number => this.#arrivals.get(id) ?? this.#came;

  /** What this person is drawing or writing, which no news take out of their hands. */
  #edited(): Set<string> {
    const { editingTextElement, resizingElement, newElement, multiElement } = this.#api.getAppState();
    const edited = [editingTextElement, resizingElement, newElement, multiElement];
    return new Set(edited.flatMap((element) => (element ? [element.id] : [])));
  }

  #local(): readonly Shown[] {
    return this.#api.getSceneElementsIncludingDeleted() as readonly Shown[];
  }
}
