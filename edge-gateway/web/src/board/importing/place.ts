/** Where a text stands in its container, if the file does not say it. Pure, but for measuring. */

import type { WireElement } from "../../protocol/payloads";
import type { Measure } from "./repair";

/** What Excalidraw keeps free between a container and its text. */
const PADDING = 5;

/** How much of a shape's size is inside it: of a circle, the square within. */
const INSIDE: Readonly<Record<string, number>> = { ellipse: Math.SQRT1_2, diamond: 0.5 };

/** Of an arrow's width, so much is for its label. */
const OF_AN_ARROW = 0.7;

/** Breaks measured texts into lines that fit their containers, and puts them where they belong. */
export function place(texts: readonly WireElement[], elements: ReadonlyMap<string, WireElement>, measure: Measure): void {
  for (const text of texts) {
    const container = elements.get(text["containerId"] as string);
    if (!container) continue;
    const share = INSIDE[container.type] ?? 1;
    const room = container.type === "arrow" ? width(container) * OF_AN_ARROW : width(container) * share - 2 * PADDING;
    text["text"] = wrapped(text, room, measure);
    Object.assign(text, measure(text));
    // A container grows with its text, as it does while somebody writes in it.
    const needed = (height(text) + 2 * PADDING) / share;
    if (container.type !== "arrow" && height(container) < needed) container["height"] = needed;
    const [x, y] = centre(container);
    text["x"] = along(text["textAlign"], x, width(text), (width(container) * share) / 2 - PADDING, "left", "right");
    text["y"] = along(text["verticalAlign"], y, height(text), (height(container) * share) / 2 - PADDING, "top", "bottom");
  }
}

/** Where a text begins: in the middle of its container, or at one of its sides. */
function along(align: unknown, middle: number, size: number, reach: number, first: string, last: string): number {
  if (align === first) return middle - reach;
  if (align === last) return middle + reach - size;
  return middle - size / 2;
}

/** The middle of a shape; of an arrow, the middle of its middle part. */
function centre(container: WireElement): [number, number] {
  const [x, y] = [container["x"] as number, container["y"] as number];
  if (container.type !== "arrow") return [x + width(container) / 2, y + height(container) / 2];
  const points = container["points"] as [number, number][];
  const before = points[Math.ceil(points.length / 2) - 1] ?? [0, 0];
  const after = points.length % 2 === 1 ? before : (points[points.length / 2] ?? before);
  return [x + (before[0] + after[0]) / 2, y + (before[1] + after[1]) / 2];
}

/** A text in lines that are no wider than the room, broken between words. */
function wrapped(text: WireElement, room: number, measure: Measure): string {
  const fits = (line: string) => measure({ ...text, text: line }).width <= room;
  return (text["originalText"] as string)
    .split("\n")
    .map((paragraph) => {
      const lines: string[] = [];
      let line = "";
      for (const word of paragraph.split(" ")) {
        const longer = line === "" ? word : `${line} ${word}`;
        if (line === "" || fits(longer)) line = longer;
        else {
          lines.push(line);
          line = word;
        }
      }
      return [...lines, line].join("\n");
    })
    .join("\n");
}

function width(element: WireElement): number {
  return element["width"] as number;
}

function height(element: WireElement): number {
  return element["height"] as number;
}
