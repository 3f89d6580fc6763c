/** Which elements make Excalidraw fail: tried out in a board that nobody sees. */

import { CaptureUpdateAction, Excalidraw } from "@excalidraw/excalidraw";
import type { OrderedExcalidrawElement } from "@excalidraw/excalidraw/element/types";
import type { ExcalidrawImperativeAPI } from "@excalidraw/excalidraw/types";
import { createRoot } from "react-dom/client";

import type { WireElement } from "../protocol/payloads";
import { judge } from "./element";
import { arranged } from "./order";

/** What does not fail for so long after it was shown can be drawn, in milliseconds. */
const DRAWN_AFTER = 150;

/** A board that does not open for so long says nothing about its elements, in milliseconds. */
const OPENED_WITHIN = 5000;

/** Those of the elements that make a board fail, searched by halves. */
export async function undrawable(elements: readonly WireElement[]): Promise<readonly WireElement[]> {
  if (elements.length === 0 || (await isDrawable(elements))) return [];
  if (elements.length === 1) return elements;
  const middle = Math.ceil(elements.length / 2);
  const first = await undrawable(elements.slice(0, middle));
  return [...first, ...(await undrawable(elements.slice(middle)))];
}

function isDrawable(elements: readonly WireElement[]): Promise<boolean> {
  const host = document.createElement("div");
  host.className = "board-trial";
  host.inert = true;
  document.body.append(host);
  return new Promise<boolean>((resolve) => {
    const root = createRoot(host, { onUncaughtError: () => end(false) });
    let timer = setTimeout(() => end(true), OPENED_WITHIN);
    const end = (answer: boolean) => {
      clearTimeout(timer);
      resolve(answer);
      // Not while React is still at work on the failure.
      setTimeout(() => {
        root.unmount();
        host.remove();
      });
    };
    let isShown = false;
    const show = (api: ExcalidrawImperativeAPI) => {
      if (isShown || api.getAppState().isLoading) return;
      isShown = true;
      clearTimeout(timer);
      timer = setTimeout(() => end(true), DRAWN_AFTER);
      try {
        api.updateScene({ elements: shown(elements), captureUpdate: CaptureUpdateAction.NEVER });
        api.scrollToContent(undefined, { fitToContent: true, animate: false });
      } catch {
        end(false);
      }
    };
    root.render(
      <Excalidraw
        excalidrawAPI={(api) => {
          api.onChange(() => show(api));
          show(api);
        }}
      />,
    );
  });
}

/** Elements as the board shows them. */
function shown(elements: readonly WireElement[]): OrderedExcalidrawElement[] {
  const drawn = elements.flatMap((element) => {
    const judged = judge(element);
    return judged && "shown" in judged ? [judged.shown] : [];
  });
  const rows = arranged(drawn, (element) => element["index"], () => 0);
  return rows.map(({ element, index }) => ({ ...element, index }) as unknown as OrderedExcalidrawElement);
}
