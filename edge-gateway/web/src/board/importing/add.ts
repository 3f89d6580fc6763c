/** Adds the elements of a file to a board, for everybody, and says what became of them. */

import { CaptureUpdateAction, loadFromBlob, reconcileElements } from "@excalidraw/excalidraw";
import type { RemoteExcalidrawElement } from "@excalidraw/excalidraw/data/reconcile";
import type { OrderedExcalidrawElement } from "@excalidraw/excalidraw/element/types";
import type { ExcalidrawImperativeAPI } from "@excalidraw/excalidraw/types";

import type { WireElement } from "../../protocol/payloads";
import type { RoomSession } from "../../room/session";
import { hasImage, NO_IMAGES } from "../arrival";
import { count } from "../reasons";
import { wins } from "../sync";
import { loadFonts, measureText } from "./measure";
import { parseDrawing } from "./parse";
import { type Plan, plan, raised } from "./plan";
import { inWords } from "./report";

/** Somebody may delete again what an import brings back; that often, it is tried anew. */
const ROUNDS = 3;

/** How long an import may take before the person is told what it waits for. */
const PATIENCE = 2000;

/**
 * Puts what a file holds on the board. Resolves when it is shown here. What became of it is
 * told once the server has answered.
 */
export async function addFile(file: File, api: ExcalidrawImperativeAPI, session: RoomSession): Promise<void> {
  const raws = await read(file);
  if (!raws) {
    session.notify(hasImage([file]) ? NO_IMAGES : `${file.name} is not an Excalidraw drawing.`);
    return;
  }
  const waiting = setTimeout(() => {
    session.notify(`${file.name} will be added when there is a connection. Keep this page open.`);
  }, PATIENCE);
  // What is on the board decides what is new.
  const isEntered = await session.entered();
  await loadFonts(raws);
  clearTimeout(waiting);
  if (!isEntered) return;
  const planned = plan(raws, boardOf(api, session), measureText);
  const settled = session.settled(planned.changed);
  show(api, planned.changed);
  if (planned.changed.length > 0) {
    api.scrollToContent(planned.changed as unknown as OrderedExcalidrawElement[], { animate: true });
  }
  void follow(file.name, planned, settled, api, session);
}

/** The elements of a file; of an image, those that Excalidraw has hidden in it. */
async function read(file: File): Promise<readonly unknown[] | undefined> {
  try {
    if (!hasImage([file])) return parseDrawing(await file.text());
    return (await loadFromBlob(file, null, null)).elements;
  } catch {
    return undefined;
  }
}

/** All that is known of the board, tombstones among it, and what is only on the screen yet. */
function boardOf(api: ExcalidrawImperativeAPI, session: RoomSession): Map<string, WireElement> {
  const board = session.board.known();
  for (const element of api.getSceneElementsIncludingDeleted() as unknown as WireElement[]) {
    const known = board.get(element.id);
    if (!known || wins(element, known)) board.set(element.id, structuredClone(element));
  }
  return board;
}

/** Shows elements as this person's own work: they are sent, and can be undone. */
function show(api: ExcalidrawImperativeAPI, changed: readonly WireElement[]): void {
  if (changed.length === 0) return;
  const local = api.getSceneElementsIncludingDeleted() as readonly OrderedExcalidrawElement[];
  // The scene changes its elements in place, and ours may have to be raised.
  const remote = structuredClone(changed) as unknown as RemoteExcalidrawElement[];
  const elements = reconcileElements(local, remote, api.getAppState());
  api.updateScene({ elements, captureUpdate: CaptureUpdateAction.IMMEDIATELY });
}

/** Waits for the server, raises what a tombstone beat that this page did not know, and reports. */
async function follow(
  file: string,
  planned: Plan,
  first: ReturnType<RoomSession["settled"]>,
  api: ExcalidrawImperativeAPI,
  session: RoomSession,
): Promise<void> {
  const waiting = setTimeout(() => {
    if (!session.state().live) session.notify(`${file} is on your board. It will be sent when there is a connection.`);
  }, PATIENCE);
  const left = new Map(planned.left);
  const byId = new Map(planned.changed.map((element) => [element.id, element]));
  let accepted = 0;
  let settled = first;
  for (let round = 1; round <= ROUNDS; round += 1) {
    const again: WireElement[] = [];
    for (const [id, fate] of await settled) {
      const element = byId.get(id);
      if (fate.what === "accepted") accepted += 1;
      else if (fate.what === "refused") count(left, fate.reason);
      else if (!fate.winner.isDeleted) count(left, "somebody else changed it at the same moment");
      else if (round === ROUNDS || !element) count(left, "somebody else deleted it at the same moment");
      else again.push(raised(element, fate.winner));
    }
    if (again.length === 0) break;
    settled = session.settled(again);
    show(api, again);
  }
  clearTimeout(waiting);
  session.notify(inWords({ file, total: planned.total, accepted, left, dropped: planned.dropped }));
}
