/** Which part of a board somebody looked at last, kept in this browser. */

import type { AppState } from "@excalidraw/excalidraw/types";

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
