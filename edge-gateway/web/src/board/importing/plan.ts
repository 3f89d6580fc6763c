/**
 * What a file changes on a board: which of its elements are on the board already, which are
 * new, and what the new ones are called. Pure.
 *
 * An id is no identity, since generated files all use the same few. An element of the file is
 * the board's if the board has the same id with the same type and seed, or a tombstone under
 * the id. Then it is merged by version, and an import raises it over a tombstone. Any other
 * element whose id is taken gets a new id, and all that refers to it follows.
 */

import { Limits, type WireElement } from "../../protocol/payloads";
import { bytesOf, fullnessOf } from "../fullness";
import { isIndex } from "../order";
import { BOARD_FULL, count, sum } from "../reasons";
import { wins } from "../sync";
import { idFrom, numberFrom } from "./hash";
import { indicesAfter } from "./order";
import { place } from "./place";
import { type Measure, repair, type Repaired } from "./repair";

/** What a file does to a board. */
export interface Plan {
  /** The elements that the board should have now, in the order of the file. */
  changed: WireElement[];
  /** How many elements of the file the board has already, in this version or a newer one. */
  known: number;
  /** How many elements the file holds, without what is deleted or cannot be seen. */
  total: number;
  /** Why elements are left out, and how many. */
  left: Map<string, number>;
  /** What was taken from elements that are kept, and how many. */
  dropped: Map<string, number>;
}

/** An id is at most this long. */
const ID_LENGTH = 64;

/** An element gains a little when it is placed on a board: an index, other ids. */
const BYTES_TO_SPARE = 200;

/** An element of the file under the id that it has on the board. */
interface Newcomer extends Repaired {
  /** What the board has under this id, if it is the same element. */
  held: WireElement | undefined;
}

/**
 * Plans what becomes of the elements of a file on a board, which is given by id with its
 * tombstones. What is new goes above all that is on it, and above what is `shown`, since
 * an element may be shown under another index than its own.
 */
export function plan(
  raws: readonly unknown[],
  board: ReadonlyMap<string, WireElement>,
  measure: Measure,
  shown: readonly WireElement[] = [],
): Plan {
  const left = new Map<string, number>();
  const dropped = new Map<string, number>();
  const repaired: Repaired[] = [];
  for (const raw of raws) {
    const outcome = repair(raw, measure);
    if (!outcome) continue;
    if ("left" in outcome) count(left, outcome.left);
    else repaired.push(outcome);
  }
  const named = identified(repaired, board);
  const newcomers = fitting(named.newcomers, board, left);
  for (const one of newcomers) for (const what of one.dropped) count(dropped, what);

  const kept = new Map(newcomers.map(({ element }) => [element.id, element]));
  const groups = groupNames(newcomers, board);
  for (const one of newcomers) refer(one, named.ids, groups, kept, board);
  bindTexts(newcomers, kept);
  place(newcomers.filter(({ isMeasured }) => isMeasured).map(({ element }) => element), kept, measure);
  stack(newcomers, [...board.values(), ...shown]);

  const changed = newcomers.map(versioned).filter((element): element is WireElement => element !== undefined);
  return { changed, known: newcomers.length - changed.length, total: newcomers.length + sum(left), left, dropped };
}

/** Over a tombstone that is newer than this page knew, an element of an import is raised. */
export function raised(element: WireElement, tombstone: WireElement): WireElement {
  const above = { ...element, version: tombstone.version + 1, versionNonce: 0 };
  return { ...above, versionNonce: numberFrom(JSON.stringify(above)) };
}

/** Gives each element the id that it has on the board, and says which name in the file became which id. */
function identified(repaired: readonly Repaired[], board: ReadonlyMap<string, WireElement>) {
  const ids = new Map<string, string>();
  const taken = new Set<string>();
  const newcomers = repaired.map((one): Newcomer => {
    const { element, name } = one;
    const seed = element["seed"] as number;
    let id = name !== undefined && isId(name) ? name : idFrom(name ?? JSON.stringify(one.raw));
    // Each step gives another id, and there are fewer elements than ids.
    while (taken.has(id) || !isFreeFor(element, board.get(id))) id = idFrom(`${id} ${element.type} ${seed}`);
    taken.add(id);
    // The first element of a name is the one that the others of the file mean.
    if (name !== undefined && !ids.has(name)) ids.set(name, id);
    return { ...one, element: { ...element, id }, held: board.get(id) };
  });
  return { newcomers, ids };
}

function isId(name: string): boolean {
  return [...name].length <= ID_LENGTH;
}

function isFreeFor(element: WireElement, held: WireElement | undefined): boolean {
  if (!held || held.isDeleted) return true;
  return held.type === element.type && (held["seed"] ?? 1) === element["seed"];
}

/** The elements for which the board has room. */
function fitting(
  newcomers: readonly Newcomer[],
  board: ReadonlyMap<string, WireElement>,
  left: Map<string, number>,
): Newcomer[] {
  const taken = fullnessOf(board.values());
  let elements = Limits.boardElements - taken.elements;
  let bytes = Limits.boardBytes - taken.bytes;
  return newcomers.filter(({ element, held }) => {
    // What is on the board has its place.
    if (held && !held.isDeleted) return true;
    const length = bytesOf(element) + BYTES_TO_SPARE;
    if (elements < 1 || bytes < length) {
      count(left, BOARD_FULL);
      return false;
    }
    elements -= 1;
    bytes -= length;
    return true;
  });
}

/**
 * New names for the groups of the file that would be taken for others on the board: those
 * that the board has, and in which no element of the file already is there.
 */
function groupNames(newcomers: readonly Newcomer[], board: ReadonlyMap<string, WireElement>): Map<string, string> {
  const onBoard = new Set<string>();
  for (const element of board.values()) if (!element.isDeleted) for (const group of groupsOf(element)) onBoard.add(group);
  const shared = new Set<string>();
  for (const { held } of newcomers) if (held && !held.isDeleted) for (const group of groupsOf(held)) shared.add(group);
  const names = new Map<string, string>();
  for (const { element } of newcomers) {
    for (const group of groupsOf(element)) {
      if (onBoard.has(group) && !shared.has(group)) names.set(group, idFrom(`${group} ${element["seed"] as number}`));
    }
  }
  return names;
}

function groupsOf(element: WireElement): string[] {
  const groups = element["groupIds"];
  return Array.isArray(groups) ? groups.filter((group): group is string => typeof group === "string") : [];
}

/** Points all that an element refers to at the ids of the board; what refers to nothing is dropped. */
function refer(
  { element, held }: Newcomer,
  ids: ReadonlyMap<string, string>,
  groups: ReadonlyMap<string, string>,
  kept: ReadonlyMap<string, WireElement>,
  board: ReadonlyMap<string, WireElement>,
): void {
  const target = (name: unknown): WireElement | undefined => {
    if (typeof name !== "string") return undefined;
    const id = ids.get(name);
    if (id !== undefined) return kept.get(id);
    // A part of a drawing of this board refers to the rest, which is here.
    const other = held && !held.isDeleted ? board.get(name) : undefined;
    return other?.isDeleted ? undefined : other;
  };
  element["groupIds"] = groupsOf(element).map((group) => groups.get(group) ?? group);
  const frame = target(element["frameId"]);
  element["frameId"] = frame?.type === "frame" ? frame.id : null;
  if (element.type === "text") {
    const container = target(element["containerId"]);
    element["containerId"] = container && CONTAINERS.has(container.type) ? container.id : null;
  }
  const bound = new Map<string, Bound>();
  for (const one of boundOf(element)) {
    const other = target(one.id);
    if (other?.type === "text" || other?.type === "arrow") bound.set(other.id, { ...one, id: other.id, type: other.type });
  }
  // Excalidraw writes none as `null` or as an empty list, and what it wrote stays.
  if (element["boundElements"]) element["boundElements"] = [...bound.values()];
  for (const end of ["startBinding", "endBinding"]) {
    const binding = element[end] as { elementId: string } | null | undefined;
    if (!binding) continue;
    const other = target(binding.elementId);
    const isBound = element.type === "arrow" && other && BINDABLE.has(other.type);
    element[end] = isBound ? { ...binding, elementId: other.id } : null;
  }
}

const CONTAINERS = new Set(["rectangle", "diamond", "ellipse", "arrow"]);
const BINDABLE = new Set(["rectangle", "diamond", "ellipse", "text", "image", "embeddable", "frame"]);

interface Bound {
  id: string;
  type: string;
}

function boundOf(element: WireElement): Bound[] {
  return (element["boundElements"] ?? []) as Bound[];
}

/** A text and its container name each other. */
function bindTexts(newcomers: readonly Newcomer[], kept: ReadonlyMap<string, WireElement>): void {
  for (const { element } of newcomers) {
    if (!CONTAINERS.has(element.type)) continue;
    for (const { id, type } of boundOf(element)) {
      const text = type === "text" ? kept.get(id) : undefined;
      if (text && text["containerId"] === null) text["containerId"] = element.id;
    }
  }
  for (const { element } of newcomers) {
    if (element.type !== "text") continue;
    const container = kept.get(element["containerId"] as string);
    if (!container || boundOf(container).some(({ id }) => id === element.id)) continue;
    container["boundElements"] = [...boundOf(container), { id: element.id, type: "text" }];
  }
}

/**
 * What is on the board keeps its place. All else goes on top, in the order of the file: the
 * indices of another board mean nothing here.
 */
function stack(newcomers: readonly Newcomer[], below: readonly WireElement[]): void {
  let top: string | undefined;
  for (const { index } of below) if (isIndex(index) && (top === undefined || index > top)) top = index;
  const onTop = newcomers.filter(({ held }) => !held || held.isDeleted || !isIndex(held["index"]));
  const indices = indicesAfter(top, onTop.length);
  for (const { element, held } of newcomers) if (held && isIndex(held["index"])) element["index"] = held["index"];
  for (const [n, { element }] of onTop.entries()) element["index"] = indices[n];
}

/**
 * The element with its version and nonce, or nothing if the board has this version or one
 * that wins. The nonce of the file stays only if the content does: elements of one version
 * and nonce are equal everywhere.
 */
function versioned({ element, held, raw, nonce }: Newcomer): WireElement | undefined {
  if (held?.isDeleted && held.version >= element.version) return raised(element, held);
  if (held?.version === element.version && held.versionNonce === nonce) return undefined;
  const isAsItWas = nonce !== undefined && isSame({ ...element, versionNonce: nonce }, raw);
  const versionNonce = isAsItWas ? nonce : numberFrom(JSON.stringify({ ...element, versionNonce: 0 }));
  const whole = { ...element, versionNonce };
  return held && !wins(whole, held) ? undefined : whole;
}

function isSame(element: WireElement, raw: Record<string, unknown>): boolean {
  const fields = new Set([...Object.keys(element), ...Object.keys(raw)]);
  return [...fields].every((field) => JSON.stringify(element[field]) === JSON.stringify(raw[field]));
}
