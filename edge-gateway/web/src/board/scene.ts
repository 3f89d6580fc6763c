/** Excalidraw's scene, as the board's state sees it. */

import { CaptureUpdateAction, reconcileElements, restoreElements } from "@excalidraw/excalidraw";
import type { RemoteExcalidrawElement } from "@excalidraw/excalidraw/data/reconcile";
import type { OrderedExcalidrawElement } from "@excalidraw/excalidraw/element/types";
import type { ExcalidrawImperativeAPI } from "@excalidraw/excalidraw/types";

import type { WireElement } from "../protocol/payloads";
import { type Scene, wins } from "./sync";
import { look } from "./view";

const FRAME = 16;
const WHILE_EDITED = 250;

export class ExcalidrawScene implements Scene {
  readonly #api: ExcalidrawImperativeAPI;
  /** Whether the view is still to be chosen by what there is to see. */
  #isViewOpen: boolean;
  readonly #waiting = new Map<string, WireElement>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #due = 0;

  constructor(api: ExcalidrawImperativeAPI, isViewOpen: boolean) {
    this.#api = api;
    this.#isViewOpen = isViewOpen;
  }

  merge(elements: readonly WireElement[]): void {
    this.#mergeWithin(FRAME, elements);
  }

  replace(elements: readonly WireElement[]): void {
    // All of what waits is in it.
    this.stop();
    const isEmpty = this.#api.getSceneElements().length === 0;
    // What stays is the same object: a line that is being drawn goes on.
    const ids = new Set(elements.map(({ id }) => id));
    const local = this.#local().filter(({ id }) => ids.has(id));
    this.#show(reconcileElements(local, this.#complete(elements, local), this.#api.getAppState()));
    if (!this.#isViewOpen || elements.length === 0) return;
    this.#isViewOpen = false;
    // Who has begun to draw has chosen a view.
    if (isEmpty) look(this.#api, this.#api.getSceneElements(), false);
  }

  /** For what cannot be shown now, since somebody here is editing it. */
  mergeLater(elements: readonly WireElement[]): void {
    this.#mergeWithin(WHILE_EDITED, elements);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#waiting.clear();
  }

  /** Merging looks at the whole scene, so what comes at once is merged at once. */
  #mergeWithin(wait: number, elements: readonly WireElement[]): void {
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
      const local = this.#local();
      this.#show(reconcileElements(local, this.#complete(waiting, local), this.#api.getAppState()));
    }, wait);
  }

  /** Others' changes are not ours to undo. */
  #show(elements: readonly OrderedExcalidrawElement[]): void {
    this.#api.updateScene({ elements, captureUpdate: CaptureUpdateAction.NEVER });
  }

  #local(): readonly OrderedExcalidrawElement[] {
    return this.#api.getSceneElementsIncludingDeleted() as readonly OrderedExcalidrawElement[];
  }

  /** Fills in what elements leave out; a tombstone takes all but its marks from ours. */
  #complete(
    elements: readonly WireElement[],
    local: readonly OrderedExcalidrawElement[],
  ): RemoteExcalidrawElement[] {
    const mine = new Map(local.map((element) => [element.id, element]));
    const living = elements.filter(({ isDeleted }) => !isDeleted);
    const deleted = elements.flatMap(({ id, isDeleted, version, versionNonce }) => {
      const element = mine.get(id);
      return isDeleted && element ? [{ ...element, version, versionNonce, isDeleted }] : [];
    });
    // In the order of their indices; in another, Excalidraw would number them anew, and that
    // counts as a change.
    living.sort(byIndex);
    return [...restored(living), ...deleted] as RemoteExcalidrawElement[];
  }
}

/** Elements as Excalidraw needs them; one that it cannot make anything of is left out. */
function restored(elements: readonly WireElement[]): OrderedExcalidrawElement[] {
  const complete = elements.map((element) => ({
    ...LEAST,
    ...(element.type === "text" && LEAST_TEXT),
    ...element,
  })) as unknown as OrderedExcalidrawElement[];
  try {
    return restoreElements(complete, null);
  } catch {
    return complete.flatMap((element) => {
      try {
        return restoreElements([element], null);
      } catch (error) {
        console.warn(`the element ${element.id} cannot be shown`, error);
        return [];
      }
    });
  }
}

/** What an element has at least; the server asks for less. */
const LEAST = { x: 0, y: 0, width: 0, height: 0, angle: 0, groupIds: [], boundElements: null };
const LEAST_TEXT = { text: "", fontSize: 20, fontFamily: 5 };

function byIndex(a: WireElement, b: WireElement): number {
  const [one, other] = [a["index"], b["index"]];
  if (typeof one !== "string" || typeof other !== "string") {
    return Number(typeof one !== "string") - Number(typeof other !== "string");
  }
  if (one !== other) return one < other ? -1 : 1;
  return a.id < b.id ? -1 : 1;
}
