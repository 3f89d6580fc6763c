/** Which part of a board is looked at: the one that this browser was shown last, or one with content. */

import type { ExcalidrawElement } from "@excalidraw/excalidraw/element/types";
import type { AppState, ExcalidrawImperativeAPI, NormalizedZoomValue } from "@excalidraw/excalidraw/types";

export type View = Pick<AppState, "scrollX" | "scrollY" | "zoom">;

const KEY = "roomkeeper.view.";
/** Of so many boards the view is kept. */
const MOST = 20;

export function loadView(code: string): View | undefined {
  try {
    const stored = JSON.parse(localStorage.getItem(KEY + code) ?? "null") as Partial<View> | null;
    const { scrollX, scrollY, zoom } = stored ?? {};
    if (!zoom || ![scrollX, scrollY, zoom.value].every(Number.isFinite)) return undefined;
    return { scrollX, scrollY, zoom } as View;
  } catch {
    return undefined;
  }
}

export class ViewKeeper {
  readonly #code: string;
  #view: View | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(code: string) {
    this.#code = code;
  }

  keep(view: View): void {
    this.#view = view;
    this.#timer ??= setTimeout(() => this.flush(), 300);
  }

  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (!this.#view) return;
    try {
      localStorage.setItem(KEY + this.#code, JSON.stringify({ ...this.#view, at: Date.now() }));
      const kept = Object.keys(localStorage)
        .filter((key) => key.startsWith(KEY))
        .sort((one, other) => lookedAt(other) - lookedAt(one));
      for (const key of kept.slice(MOST)) localStorage.removeItem(key);
    } catch {
      // Without storage the view is that of a first visit.
    }
  }
}

/** When a board was looked at last. */
function lookedAt(key: string): number {
  const { at } = JSON.parse(localStorage.getItem(key) ?? "{}") as { at?: number };
  return at ?? 0;
}

/** Excalidraw zooms out no further than to a tenth. */
const SMALLEST_ZOOM = 0.1;

type Box = Pick<ExcalidrawElement, "type" | "x" | "y" | "width" | "height">;

/** What a view shows: these elements, or what is around a point. */
export type Sight<T> = { elements: readonly T[] } | { x: number; y: number };

/**
 * What to show of these elements in a view of this size: all of them if they fit, else a part
 * where many are, so that there is something to see. Without any element: nothing.
 */
export function sightOf<T extends Box>(elements: readonly T[], width: number, height: number): Sight<T> | undefined {
  const [first] = elements;
  if (!first) return undefined;
  const [across, down] = [width / SMALLEST_ZOOM, height / SMALLEST_ZOOM];
  if (fits(elements, across, down)) return { elements };
  // The centres in a cell are half a view apart at most. With elements that are no larger than
  // that, all of a cell fits into one view.
  const cells = new Map<string, T[]>();
  for (const element of elements) {
    if (Math.abs(element.width) > across / 2 || Math.abs(element.height) > down / 2) continue;
    const column = Math.floor((element.x + element.width / 2) / (across / 2));
    const row = Math.floor((element.y + element.height / 2) / (down / 2));
    const cell = cells.get(`${column} ${row}`);
    if (cell) cell.push(element);
    else cells.set(`${column} ${row}`, [element]);
  }
  let most: T[] = [];
  for (const cell of cells.values()) {
    if (cell.length > most.length) most = cell;
  }
  return most.length > 0 ? { elements: most } : edgeOf(first);
}

/** Scrolls to what `sightOf` finds, no closer than at full size. */
export function look(api: ExcalidrawImperativeAPI, elements: readonly ExcalidrawElement[], animate: boolean): void {
  const { width, height } = api.getAppState();
  const sight = sightOf(elements, width, height);
  if (!sight) return;
  if ("elements" in sight) {
    api.scrollToContent(sight.elements, { fitToContent: true, maxZoom: 1, animate });
    return;
  }
  api.updateScene({
    appState: {
      zoom: { value: SMALLEST_ZOOM as NormalizedZoomValue },
      scrollX: width / 2 / SMALLEST_ZOOM - sight.x,
      scrollY: height / 2 / SMALLEST_ZOOM - sight.y,
    },
  });
}

function fits(elements: readonly Box[], across: number, down: number): boolean {
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const { x, y, width, height } of elements) {
    left = Math.min(left, x, x + width);
    top = Math.min(top, y, y + height);
    right = Math.max(right, x, x + width);
    bottom = Math.max(bottom, y, y + height);
  }
  return right - left <= across && bottom - top <= down;
}

/** A point that something is drawn at: the middle of a large shape is empty. */
function edgeOf({ type, x, y, width }: Box): { x: number; y: number } {
  return type === "ellipse" || type === "diamond" ? { x: x + width / 2, y } : { x, y };
}
