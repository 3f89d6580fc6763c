/**
 * The order of a board. Excalidraw keeps it in fractional indices, each greater than the one
 * below it. What is stored need not be so: two people may draw at once under one index, and
 * others store elements without one.
 */

/** In the order of their bytes, which is the order of indices. */
const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** The greatest index below `a0`, the first that Excalidraw gives. */
const BEFORE_ALL = "Zz";

/** What is known of an element's place. */
export interface Placed {
  id: string;
  isDeleted?: boolean;
}

/** Whether a value is an index: another one makes Excalidraw throw at the next element that is drawn. */
export function isIndex(value: unknown): value is string {
  if (typeof value !== "string" || !/^[A-Za-z][0-9A-Za-z]+$/.test(value)) return false;
  const head = value.charCodeAt(0);
  const length = value >= "a" ? head - "a".charCodeAt(0) + 2 : "Z".charCodeAt(0) - head + 2;
  if (value.length < length || /^A0{26}$/.test(value)) return false;
  return value.length === length || !value.endsWith("0");
}

/** So many ascending indices above `lower`, and below `upper` where there is one. */
export function indicesBetween(lower: string | undefined, upper: string | undefined, count: number): string[] {
  const from = lower ?? BEFORE_ALL;
  // What begins otherwise than `upper` and is below it stays below it, whatever is appended.
  const prefix = upper?.startsWith(from) ? from + below(upper.slice(from.length)) : from;
  let width = 1;
  while (DIGITS.length ** width <= count) width += 1;
  return Array.from({ length: count }, (_, n) => `${prefix}${counted(n + 1, width)}V`);
}

/** Digits below the digits of `rest` that do not begin them. */
function below(rest: string): string {
  const zeros = /^0*/.exec(rest)?.[0] ?? "";
  const digit = DIGITS.indexOf(rest.charAt(zeros.length));
  return digit > 1 ? zeros + DIGITS.charAt(Math.floor(digit / 2)) : `${zeros}0V`;
}

function counted(n: number, width: number): string {
  let digits = "";
  for (let rest = n, at = 0; at < width; at += 1, rest = Math.floor(rest / DIGITS.length)) {
    digits = DIGITS.charAt(rest % DIGITS.length) + digits;
  }
  return digits;
}

/**
 * The elements from the lowest to the highest, and for each the index under which Excalidraw
 * shows it. An element keeps its own index where that is an index and no other element has
 * it. Elements of one index are ordered by their ids. Above them come those whose index is
 * none, and above all those without an index, in the order of their arrival.
 *
 * The living elements alone decide the indices of the living, so that all clients show them
 * alike, whatever tombstones each of them holds.
 */
export function arranged<T extends Placed>(
  elements: readonly T[],
  ownIndex: (element: T) => unknown,
  arrival: (id: string) => number,
): { element: T; index: string }[] {
  const rows = elements.map((element) => rowOf(element, ownIndex, arrival)).sort(compare);
  const living = rows.filter(({ element }) => !element.isDeleted);
  const shown = ascending(living.map(({ place }) => place));
  const all = [
    ...living.map((row, n) => ({ ...row, place: { kind: Kind.Index, text: shown[n] as string } })),
    ...rows.filter(({ element }) => element.isDeleted),
  ].sort((a, b) => byPlace(a.place, b.place));
  return ascending(all.map(({ place }) => place)).map((index, n) => ({ element: (all[n] as (typeof all)[number]).element, index }));
}

/** Whether the living among these elements are in the order of `arranged`. */
export function isArranged<T extends Placed>(
  elements: readonly T[],
  ownIndex: (element: T) => unknown,
  arrival: (id: string) => number,
): boolean {
  let below: Row<T> | undefined;
  for (const element of elements) {
    if (element.isDeleted) continue;
    const row = rowOf(element, ownIndex, arrival);
    if (below && compare(below, row) > 0) return false;
    below = row;
  }
  return true;
}

/** What an element's index is, from the lowest elements to the highest. */
const Kind = { Index: 0, Malformed: 1, None: 2 } as const;

interface Place {
  kind: (typeof Kind)[keyof typeof Kind];
  text: string;
}

function placeOf(index: unknown): Place {
  if (typeof index !== "string") return { kind: Kind.None, text: "" };
  return { kind: isIndex(index) ? Kind.Index : Kind.Malformed, text: index };
}

/** Ascending indices for these places, which are in the order of `compare`. */
function ascending(places: readonly Place[]): string[] {
  const placed: string[] = [];
  let last: string | undefined;
  const stays = (place: Place | undefined): place is Place =>
    place?.kind === Kind.Index && (last === undefined || place.text > last);
  for (let at = 0; at < places.length; at = placed.length) {
    const place = places[at];
    if (stays(place)) {
      placed.push(place.text);
    } else {
      let end = at + 1;
      while (end < places.length && !stays(places[end])) end += 1;
      placed.push(...indicesBetween(last, places[end]?.text, end - at));
    }
    last = placed.at(-1);
  }
  return placed;
}

interface Row<T extends Placed> {
  element: T;
  place: Place;
  at: number;
}

function rowOf<T extends Placed>(element: T, ownIndex: (element: T) => unknown, arrival: (id: string) => number): Row<T> {
  return { element, place: placeOf(ownIndex(element)), at: arrival(element.id) };
}

function compare(a: Row<Placed>, b: Row<Placed>): number {
  const by = byPlace(a.place, b.place);
  if (by !== 0) return by;
  // Those without an index are told apart by their arrival, the others by their ids.
  if (a.place.kind === Kind.None && a.at !== b.at) return a.at - b.at;
  return a.element.id < b.element.id ? -1 : 1;
}

function byPlace(a: Place, b: Place): number {
  if (a.kind !== b.kind) return a.kind - b.kind;
  if (a.text === b.text) return 0;
  return a.text < b.text ? -1 : 1;
}
