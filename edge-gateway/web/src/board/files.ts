/** A board as files. */

import { exportToBlob, exportToSvg, serializeAsJSON } from "@excalidraw/excalidraw";
import type { ExcalidrawElement } from "@excalidraw/excalidraw/element/types";
import type { ExcalidrawImperativeAPI } from "@excalidraw/excalidraw/types";

import { download, fileName } from "../browser/files";
import type { Theme } from "../browser/theme";
import { xml } from "../browser/xml";
import type { WireElement } from "../protocol/payloads";
import type { BoardSync } from "./sync";

/**
 * How large a picture may be, in pixels of a side and in all: what every browser can paint, and
 * less where a device paints less than that.
 */
const LONGEST_SIDE = 16_384;
const MOST_PIXELS = [67_108_864, 16_777_216, 4_194_304] as const;

/** Resolves with a remark for the person if the picture is smaller than the board. */
export async function savePng(api: ExcalidrawImperativeAPI, name: string, theme: Theme): Promise<string | undefined> {
  const { blob, scale } = await picture(api, theme);
  download(fileName(name, "png"), blob);
  if (scale === 1) return undefined;
  const percent = Math.max(1, Math.round(scale * 100));
  return `The board is too large for one picture, so it was saved at ${percent} % of its size. An SVG has all of it.`;
}

async function picture(api: ExcalidrawImperativeAPI, theme: Theme): Promise<{ blob: Blob; scale: number }> {
  let problem: unknown;
  for (const most of MOST_PIXELS) {
    let scale = 1;
    const getDimensions = (width: number, height: number) => {
      scale = scaleWithin(width, height, most);
      return { width: Math.ceil(width * scale), height: Math.ceil(height * scale), scale };
    };
    try {
      return { blob: await exportToBlob({ ...seen(api, theme), mimeType: "image/png", getDimensions }), scale };
    } catch (error) {
      problem = error;
    }
  }
  throw problem;
}

/** By how much a picture shrinks to fit; 1 where it fits. */
export function scaleWithin(width: number, height: number, mostPixels: number): number {
  return Math.min(1, LONGEST_SIDE / Math.max(width, height), Math.sqrt(mostPixels / (width * height)));
}

export async function saveSvg(api: ExcalidrawImperativeAPI, name: string, theme: Theme): Promise<void> {
  const svg = await exportToSvg(seen(api, theme));
  download(fileName(name, "svg"), xml(svg), "image/svg+xml");
}

export function saveScene(api: ExcalidrawImperativeAPI, name: string, board: BoardSync): void {
  const elements = api.getSceneElements().map((element) => board.asStored(element as unknown as WireElement));
  const text = serializeAsJSON(elements as unknown as ExcalidrawElement[], api.getAppState(), {}, "local");
  download(fileName(name, "excalidraw"), text, "application/json");
}

/** All of the board, in the colours in which it is seen. */
function seen(api: ExcalidrawImperativeAPI, theme: Theme) {
  return {
    elements: api.getSceneElements(),
    appState: { ...api.getAppState(), exportBackground: true, exportWithDarkMode: theme === "dark" },
    files: api.getFiles(),
    exportPadding: 24,
  };
}
