/** The elements in the text of a file. */

/**
 * Reads a drawing of any release since 2020: an object with `elements`, with or without a
 * `type`. The answer is `undefined` if the text is no drawing.
 */
export function parseDrawing(text: string): unknown[] | undefined {
  let drawing: unknown;
  try {
    drawing = JSON.parse(text.replace(/^\ufeff/, ""));
  } catch {
    return undefined;
  }
  if (Array.isArray(drawing)) return drawing.some(hasType) ? drawing : undefined;
  if (typeof drawing !== "object" || drawing === null) return undefined;
  const { type, elements } = drawing as { type?: unknown; elements?: unknown };
  if (Array.isArray(elements)) return elements;
  return type === "excalidraw" && (elements === undefined || elements === null) ? [] : undefined;
}

function hasType(element: unknown): boolean {
  return typeof (element as { type?: unknown } | null)?.type === "string";
}
