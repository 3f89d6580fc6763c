/** Adds the elements of a file to a board, for everybody, and says what became of them. */

import { loadFromBlob } from "@excalidraw/excalidraw";

import type { WireElement } from "../../protocol/payloads";
import type { RoomSession } from "../../room/session";
import { hasImage, NO_IMAGES } from "../arrival";
import { count } from "../reasons";
import type { ExcalidrawScene } from "../scene";
import { wins } from "../sync";
import { loadFonts, measureText } from "./measure";
import { parseDrawing } from "./parse";
import { type Plan, plan, raised } from "./plan";
import { inWords } from "./report";

/** The scene, as long as the board is open: it may be closed and opened anew while an import waits. */
type OpenScene = () => ExcalidrawScene | undefined;

/** Somebody may delete again what an import brings back; that often, it is tried anew. */
const ROUNDS = 3;

/** How long an import may take before the person is told what it waits for. */
const PATIENCE = 2000;

/**
 * Puts what a file holds on the board. Resolves when it is shown here. What became of it is
 * told once the server has answered.
 */
export async function addFile(file: File, scene: OpenScene, session: RoomSession): Promise<void> {
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
  clearTimeout(waiting);
  if (!isEntered) return;
  await loadFonts(raws);
  const open = scene();
  if (!open) {
    session.notify(`The board is not open, so ${file.name} was not added.`);
    return;
  }
  const planned = plan(raws, boardOf(open, session), measureText, open.elements());
  const settled = session.settled(planned.changed);
  if (planned.changed.length > 0) open.add(planned.changed);
  void follow(file.name, planned, settled, scene, session);
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
function boardOf(scene: ExcalidrawScene, session: RoomSession): Map<string, WireElement> {
  const board = session.board.known();
  for (const element of scene.elements()) {
    const known = board.get(element.id);
    // The scene changes its elements in place.
    if (!known || wins(element, known)) board.set(element.id, structuredClone(element));
  }
  return board;
}

/** Waits for the server, raises what a tombstone beat that this page did not know, and reports. */
async function follow(
  file: string,
  planned: Plan,
  first: ReturnType<RoomSession["settled"]>,
  scene: OpenScene,
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
    const open = scene();
    if (!open) {
      for (const _ of again) count(left, "the board was closed");
      break;
    }
    settled = session.settled(again);
    open.add(again);
  }
  clearTimeout(waiting);
  session.notify(inWords({ file, total: planned.total, accepted, left, dropped: planned.dropped }));
}
