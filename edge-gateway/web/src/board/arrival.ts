/** What may come onto a board from a file or a clipboard. */

import type { ExcalidrawElement } from "@excalidraw/excalidraw/element/types";

/** Pages in a page: the server takes none, and none is shown. */
const PAGES = new Set<string>(["iframe", "magicframe"]);

/** Told wherever an image is left out. */
export const NO_IMAGES = "Images cannot be kept in a room yet, so they are left out. Shapes, lines and text are kept.";

/** Parts elements into those that a room keeps, and whether images were among the others. */
export function keepable<T extends Pick<ExcalidrawElement, "type">>(
  elements: readonly T[],
): { kept: T[]; hasImages: boolean } {
  return {
    kept: elements.filter(({ type }) => type !== "image" && !PAGES.has(type)),
    hasImages: elements.some(({ type }) => type === "image"),
  };
}

export function hasImage(files: Iterable<File>): boolean {
  return [...files].some(({ type }) => type.startsWith("image/"));
}
