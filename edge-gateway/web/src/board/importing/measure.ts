/** How large a text is in Excalidraw's fonts. */

import { convertToExcalidrawElements, FONT_FAMILY } from "@excalidraw/excalidraw";

import type { WireElement } from "../../protocol/payloads";
import type { Measure } from "./repair";

/** A font that takes longer is measured in another one: the text is a little wide or narrow. */
const PATIENCE = 2000;

/** Measures a text as Excalidraw does when somebody writes it. */
export const measureText: Measure = (text) => {
  const { fontSize, fontFamily, lineHeight } = text as unknown as Font;
  const letters = text["text"] as string;
  const [measured] = convertToExcalidrawElements([
    { type: "text", x: 0, y: 0, text: letters, fontSize, fontFamily, lineHeight },
  ] as Parameters<typeof convertToExcalidrawElements>[0]);
  return { width: measured?.width ?? 0, height: measured?.height ?? 0 };
};

/** Loads the fonts of texts whose size is to be measured. */
export async function loadFonts(raws: readonly unknown[]): Promise<void> {
  const letters = new Set<string>();
  for (const raw of raws) {
    const { type, text, width, height } = (raw ?? {}) as Partial<WireElement>;
    if (type === "text" && !(Number(width) > 0 && Number(height) > 0)) for (const letter of String(text)) letters.add(letter);
  }
  if (letters.size === 0) return;
  const text = [...letters].join("");
  const loading = Object.keys(FONT_FAMILY).map((name) => document.fonts.load(`20px "${name}"`, text));
  const patience = new Promise((resolve) => setTimeout(resolve, PATIENCE));
  // A font that cannot be loaded has a substitute.
  await Promise.race([Promise.allSettled(loading), patience]);
}

interface Font {
  fontSize: number;
  fontFamily: number;
  lineHeight: number;
}
