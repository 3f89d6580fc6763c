/** A board as files, and files onto a board. */

import {
  CaptureUpdateAction,
  exportToBlob,
  exportToSvg,
  reconcileElements,
  serializeAsJSON,
} from "@excalidraw/excalidraw";
import type { RemoteExcalidrawElement } from "@excalidraw/excalidraw/data/reconcile";
import type { OrderedExcalidrawElement } from "@excalidraw/excalidraw/element/types";
import type { ExcalidrawImperativeAPI } from "@excalidraw/excalidraw/types";

import { download, fileName } from "../browser/files";
import type { Theme } from "../browser/theme";

export async function savePng(api: ExcalidrawImperativeAPI, name: string, theme: Theme): Promise<void> {
  const blob = await exportToBlob({ ...seen(api, theme), mimeType: "image/png" });
  download(fileName(name, "png"), blob);
}

export async function saveSvg(api: ExcalidrawImperativeAPI, name: string, theme: Theme): Promise<void> {
  const svg = await exportToSvg(seen(api, theme));
  download(fileName(name, "svg"), svg.outerHTML, "image/svg+xml");
}

export function saveScene(api: ExcalidrawImperativeAPI, name: string): void {
  const text = serializeAsJSON(api.getSceneElements(), api.getAppState(), {}, "local");
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

/** Adds elements to the board, for everybody; what is on it stays, by the rule of merging. Answers how many are new. */
export function addElements(
  api: ExcalidrawImperativeAPI,
  imported: readonly OrderedExcalidrawElement[],
): number {
  const local = api.getSceneElementsIncludingDeleted() as readonly OrderedExcalidrawElement[];
  const known = new Map(local.map((element) => [element.id, element]));
  const added = imported
    .filter(({ isDeleted }) => !isDeleted)
    .map((element) => {
      const mine = known.get(element.id);
      // What was deleted here comes back: that is what adding the file asks for.
      return mine?.isDeleted ? { ...element, version: mine.version + 1 } : element;
    });
  const elements = reconcileElements(local, added as RemoteExcalidrawElement[], api.getAppState());
  api.updateScene({ elements, captureUpdate: CaptureUpdateAction.IMMEDIATELY });
  return added.filter((element) => known.get(element.id)?.version !== element.version).length;
}
