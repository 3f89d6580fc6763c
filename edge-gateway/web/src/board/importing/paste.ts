/** Elements from a clipboard, which may be those of a file, made ones that a board can keep. */

import { convertToExcalidrawElements } from "@excalidraw/excalidraw";

import { count } from "../reasons";
import { idFrom } from "./hash";
import { loadFonts, measureText } from "./measure";
import { repair } from "./repair";

/** What is left of pasted elements. */
export interface Pasted {
  kept: unknown[];
  /** Why others are left out, and how many. */
  left: Map<string, number>;
}

/**
 * Repairs what is pasted. Excalidraw gives each element another id, and all that refers to it
 * follows, so the ids of the clipboard stay here. Sketches are elements in Excalidraw's short
 * form for programs, which it writes out itself.
 */
export async function repairPasted(pasted: readonly unknown[], areSketches: boolean): Promise<Pasted> {
  const left = new Map<string, number>();
  const raws = areSketches ? writtenOut(pasted, left) : pasted;
  await loadFonts(raws);
  const kept = raws.flatMap((raw) => {
    const outcome = repair(raw, measureText);
    if (!outcome) return [];
    if ("left" in outcome) {
      count(left, outcome.left);
      return [];
    }
    return [{ ...outcome.element, id: outcome.name ?? idFrom(JSON.stringify(raw)), versionNonce: outcome.nonce ?? 0 }];
  });
  return { kept, left };
}

function writtenOut(sketches: readonly unknown[], left: Map<string, number>): readonly unknown[] {
  try {
    return convertToExcalidrawElements(sketches as Parameters<typeof convertToExcalidrawElements>[0]);
  } catch {
    for (const _ of sketches) count(left, "part of a sketch that cannot be read");
    return [];
  }
}
