/** What may come onto a board from a file or a clipboard. */

/** Told wherever an image is left out. */
export const NO_IMAGES = "Images cannot be kept in a room yet, so they are left out. Shapes, lines and text are kept.";

/** Whether an image is among these files. */
export function hasImage(files: Iterable<File>): boolean {
  return [...files].some(({ type }) => type.startsWith("image/"));
}
