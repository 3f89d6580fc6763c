/**
 * One element: what of it can be shown, and what of it can be sent. Pure.
 *
 * What is stored stays as it came. Excalidraw is shown a copy in which everything is filled
 * in that it relies on; version and nonce stay, so that the copy counts as the same element.
 */

import { wellFormed } from "../browser/text";
import type { WireElement } from "../protocol/payloads";

type Fields = Record<string, unknown>;

/** What a value must be for Excalidraw to draw with it, or hit it, without failing. */
interface Form {
  readonly name: string;
  readonly fits: (value: unknown) => boolean;
}

/** Beyond this, sums of coordinates lose their fractions, and a view of the whole board shows nothing. */
const FARTHEST = 1e8;

/** What is drawn rougher, or with longer lines, reaches beyond any board. */
const STRONGEST = 1000;

/** Hatching a larger shape keeps a browser busy for seconds; Excalidraw's own bound for arrows is the same. */
const LARGEST = 1e6;

const form = (name: string, fits: (value: unknown) => boolean): Form => ({ name, fits });
const isNumber = (value: unknown): value is number => typeof value === "number" && Number.isFinite(value);
const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isAbsent = (value: unknown): value is undefined | null => value === undefined || value === null;
const isListOf = (fits: (value: unknown) => boolean) => (value: unknown) => Array.isArray(value) && value.every(fits);
const isPoint = (value: unknown): value is [number, number] =>
  Array.isArray(value) && value.length >= 2 && isNumber(value[0]) && isNumber(value[1]);

const NUMBER = form("a number", isNumber);
const PLACE = form("a place on the board", (value) => isNumber(value) && Math.abs(value) <= FARTHEST);
const SIZE = form("a size that can be drawn", (value) => isNumber(value) && Math.abs(value) <= LARGEST);
const STYLE = form("a number that can be drawn with", (value) => isNumber(value) && Math.abs(value) <= STRONGEST);
const TEXT = form("a text", (value) => typeof value === "string");
const TRUTH = form("true or false", (value) => typeof value === "boolean");
const TEXTS = form("a list of texts", isListOf((value) => typeof value === "string"));
const NUMBERS = form("a list of numbers", isListOf(isNumber));
const PAIR = form("two numbers", isPoint);
const POINTS = form("a list of points", isListOf((value) =>
  isPoint(value) && Math.max(Math.abs(value[0]), Math.abs(value[1])) <= LARGEST));
const ROUNDNESS = form("a kind of roundness", (value) =>
  isFields(value) && isNumber(value["type"]) && (isAbsent(value["value"]) || isNumber(value["value"])));
const BOUND = form("a list of bound elements", isListOf((value) => isFields(value) && typeof value["id"] === "string"));
const BINDING = form("a binding", (value) =>
  isFields(value) && typeof value["elementId"] === "string" &&
  ["focus", "gap"].every((field) => isAbsent(value[field]) || SIZE.fits(value[field])) &&
  (isAbsent(value["fixedPoint"]) || isPoint(value["fixedPoint"])));
const SEGMENTS = form("a list of segments", isListOf((value) =>
  isFields(value) && isNumber(value["index"]) && isPoint(value["start"]) && isPoint(value["end"])));
const CROP = form("a part of an image", (value) =>
  isFields(value) && ["x", "y", "width", "height", "naturalWidth", "naturalHeight"].every((field) => isNumber(value[field])));

/** The fields of any element that Excalidraw's renderer and hit test rely on. */
const OF_ALL: Readonly<Record<string, Form>> = {
  x: PLACE, y: PLACE, width: SIZE, height: SIZE, angle: NUMBER,
  strokeColor: TEXT, backgroundColor: TEXT, fillStyle: TEXT, strokeStyle: TEXT,
  strokeWidth: STYLE, roughness: STYLE, opacity: NUMBER, seed: NUMBER, roundness: ROUNDNESS,
  groupIds: TEXTS, frameId: TEXT, boundElements: BOUND, link: TEXT, locked: TRUTH, isDeleted: TRUTH,
  // Looked at in all elements that have it, although it is an image's.
  scale: PAIR,
  // Of former versions.
  strokeSharpness: TEXT, boundElementIds: TEXTS,
};

const LINEAR: Readonly<Record<string, Form>> = {
  points: POINTS, startBinding: BINDING, endBinding: BINDING, startArrowhead: TEXT, endArrowhead: TEXT,
  elbowed: TRUTH, fixedSegments: SEGMENTS,
};

/** The types that Excalidraw draws, and what it relies on in each. */
const OF_TYPE: Readonly<Record<string, Readonly<Record<string, Form>>>> = {
  rectangle: {}, diamond: {}, ellipse: {}, embeddable: {},
  line: LINEAR, arrow: LINEAR,
  freedraw: { points: POINTS, pressures: NUMBERS, simulatePressure: TRUTH },
  text: {
    text: TEXT, originalText: TEXT, font: TEXT, fontSize: STYLE, fontFamily: NUMBER, lineHeight: STYLE,
    textAlign: TEXT, verticalAlign: TEXT, containerId: TEXT, autoResize: TRUTH,
  },
  image: { fileId: TEXT, status: TEXT, crop: CROP },
  frame: { name: TEXT },
};

/** What the January 2020 format and others since called otherwise. */
const FORMER_TYPES: Readonly<Record<string, string>> = { draw: "line" };

/** Fields that Excalidraw no longer writes; what they said is in others. */
const FORMER_FIELDS = ["font", "baseline", "rawText", "strokeSharpness", "boundElementIds"];

/** What an element has where it says nothing: Excalidraw's own defaults. */
const DEFAULTS: Fields = {
  x: 0, y: 0, width: 0, height: 0, angle: 0,
  strokeColor: "#1e1e1e", backgroundColor: "transparent", fillStyle: "solid", strokeStyle: "solid",
  strokeWidth: 2, roughness: 1, opacity: 100, seed: 1, roundness: null,
  groupIds: [], frameId: null, boundElements: null, link: null, locked: false, isDeleted: false, updated: 1,
};
const TEXT_DEFAULTS: Fields = { text: "", fontSize: 20, fontFamily: 5, textAlign: "left", verticalAlign: "top", containerId: null, autoResize: true };
const LINE_DEFAULTS: Fields = { startBinding: null, endBinding: null, startArrowhead: null, lastCommittedPoint: null };
const TYPE_DEFAULTS: Readonly<Record<string, Fields>> = {
  text: TEXT_DEFAULTS,
  line: { ...LINE_DEFAULTS, endArrowhead: null },
  arrow: { ...LINE_DEFAULTS, endArrowhead: "arrow", elbowed: false },
  freedraw: { pressures: [], lastCommittedPoint: null },
  image: { fileId: null, status: "pending", scale: [1, 1], crop: null },
  frame: { name: null },
};

/** Excalidraw takes nothing for these: a zero of theirs means the default. */
const NEVER_ZERO = ["strokeWidth", "fontSize"];

const FONTS: Readonly<Record<string, number>> = {
  Virgil: 1, Helvetica: 2, Cascadia: 3, Excalifont: 5, Nunito: 6, "Lilita One": 7, "Comic Shanns": 8, "Liberation Sans": 9,
};
const LINE_HEIGHTS: Readonly<Record<number, number>> = { 2: 1.15, 3: 1.2, 7: 1.15, 9: 1.15 };
const LINE_HEIGHT = 1.25;

/** A font's size, and its name, as one field of a former version held both. */
const FORMER_FONT = /^\s*([\d.]+)px\s+(.*?)\s*$/;

/** What is shown of an element: it, or why it cannot be, or nothing at all, since it draws nothing yet. */
export type Judged = { shown: WireElement } | { fault: string } | undefined;

/** A copy of a stored element in which all is there that Excalidraw relies on. */
export function judge(element: WireElement): Judged {
  const type = FORMER_TYPES[element.type] ?? element.type;
  const ofType = Object.hasOwn(OF_TYPE, type) ? OF_TYPE[type] : undefined;
  if (!ofType) return { fault: `its type, ${element.type}, is not known` };
  const fault = firstFault(element, OF_ALL) ?? firstFault(element, ofType);
  if (fault !== undefined) return { fault };
  return complete({ ...element, type });
}

function firstFault(element: Fields, forms: Readonly<Record<string, Form>>): string | undefined {
  for (const field of Object.keys(forms)) {
    const value = element[field];
    const wanted = forms[field];
    if (wanted && !isAbsent(value) && !wanted.fits(value)) return `its ${field} is not ${wanted.name}`;
  }
  return undefined;
}

function complete(element: WireElement): Judged {
  const shown: WireElement = { ...element };
  migrate(shown);
  fillIn(shown, DEFAULTS);
  fillIn(shown, TYPE_DEFAULTS[shown.type] ?? {});
  if (isAbsent(shown["scale"])) delete shown["scale"];
  shown["link"] = safeLink(shown["link"]);
  if (shown.type !== "line" && shown.type !== "arrow") uprightSize(shown);
  switch (shown.type) {
    case "text":
      completeText(shown);
      return { shown };
    case "line":
    case "arrow":
      completeLine(shown);
      return { shown };
    case "freedraw": {
      const points = shown["points"];
      if (!Array.isArray(points) || points.length === 0) return undefined;
      const pressures = shown["pressures"] as readonly number[];
      // Without pressures it is drawn nowhere, unless they are simulated.
      shown["simulatePressure"] ??= pressures.length === 0;
      return { shown };
    }
    default:
      return { shown };
  }
}

function fillIn(element: Fields, defaults: Fields): void {
  for (const [field, value] of Object.entries(defaults)) {
    const isMissing = isUnsaid(field, element[field]) || (element[field] === "" && value !== "");
    const isNothing = NEVER_ZERO.includes(field) && element[field] === 0;
    if (isMissing || isNothing) element[field] = structuredClone(value);
  }
}

/** Whether a field says nothing. An arrow without a head says so by `null`. */
function isUnsaid(field: string, value: unknown): boolean {
  return value === undefined || (value === null && field !== "endArrowhead");
}

/** Takes what former fields say over into those of today, where these say nothing, and drops them. */
function migrate(element: WireElement): void {
  if (element.type === "text" && typeof element["font"] === "string") {
    const [, size, name] = FORMER_FONT.exec(element["font"]) ?? [];
    if (isAbsent(element["fontSize"]) && Number(size) > 0) element["fontSize"] = Number(size);
    if (isAbsent(element["fontFamily"]) && name !== undefined) element["fontFamily"] = FONTS[name] ?? FONTS["Excalifont"];
  }
  if (element["roundness"] === undefined && element["strokeSharpness"] === "round") {
    // Of legacy radius where there is an adaptive one today, as Excalidraw migrates it.
    element["roundness"] = { type: ["rectangle", "embeddable", "image"].includes(element.type) ? 1 : 2 };
  }
  if (isAbsent(element["boundElements"]) && Array.isArray(element["boundElementIds"])) {
    element["boundElements"] = element["boundElementIds"].map((id: unknown) => ({ type: "arrow", id }));
  }
  dropFormerFields(element);
}

function dropFormerFields(element: Fields): void {
  for (const field of FORMER_FIELDS) delete element[field];
}

/** A size below zero is that of a shape drawn to the left or up. */
function uprightSize(element: Fields): void {
  for (const [at, size] of [["x", "width"], ["y", "height"]] as const) {
    const length = element[size] as number;
    if (length >= 0) continue;
    element[at] = (element[at] as number) + length;
    element[size] = -length;
  }
}

function completeText(element: Fields): void {
  const text = element["text"] as string;
  const lines = text.split("\n");
  const size = element["fontSize"] as number;
  const height = element["height"] as number;
  if (!isNumber(element["lineHeight"]) || element["lineHeight"] <= 0) {
    // A text of a time before line heights had that of its font, which its height tells.
    const told = height / lines.length / size;
    element["lineHeight"] = told > 0 ? told : (LINE_HEIGHTS[element["fontFamily"] as number] ?? LINE_HEIGHT);
  }
  if (typeof element["originalText"] !== "string" || element["originalText"] === "") element["originalText"] = text;
  if (text === "") return;
  if (height === 0) element["height"] = lines.length * size * (element["lineHeight"] as number);
  if (element["width"] === 0) element["width"] = Math.max(...lines.map((line) => widthOf(line))) * size;
}

/** How wide a line is about, in letters' heights: enough that nothing of it is cut off. */
function widthOf(line: string): number {
  let width = 0;
  for (const letter of line) width += (letter.codePointAt(0) ?? 0) > 0x2e80 ? 1.1 : 0.65;
  return width;
}

function completeLine(element: Fields): void {
  const given = element["points"];
  const points = Array.isArray(given) && given.length >= 2
    ? (given as [number, number][])
    : ([[0, 0], [element["width"], element["height"]]] as [number, number][]);
  const [left, top] = points[0] as [number, number];
  // The first point is where the element is.
  element["points"] = left === 0 && top === 0 ? points : points.map(([x, y]) => [x - left, y - top]);
  element["x"] = (element["x"] as number) + left;
  element["y"] = (element["y"] as number) + top;
  if (element["width"] === 0) element["width"] = extent(points.map(([x]) => x));
  if (element["height"] === 0) element["height"] = extent(points.map(([, y]) => y));
  for (const end of ["startBinding", "endBinding"]) element[end] = completeBinding(element, element[end]);
}

function extent(values: readonly number[]): number {
  let [least, most] = [Infinity, -Infinity];
  for (const value of values) {
    least = Math.min(least, value);
    most = Math.max(most, value);
  }
  return most - least;
}

function completeBinding(element: Fields, binding: unknown): unknown {
  if (!isFields(binding)) return null;
  if (element["elbowed"] === true && isAbsent(binding["fixedPoint"])) return null;
  return { ...binding, focus: binding["focus"] ?? 0, gap: binding["gap"] ?? 1 };
}

// Sending.

/** How deep the server lets JSON nest, `elements` and the payload around them included. */
const DEEPEST = 60;

/** What JSON writes for half of a surrogate pair, which the server does not read. */
const HALF_OF_A_PAIR = /\\ud[89a-f][0-9a-f]{2}/;

/** An element as it is sent. */
export interface Sendable {
  element: WireElement;
  /** The fields that the server would refuse the element for, which are dropped from it. */
  dropped: string[];
  /** Whether a text held half of a surrogate pair, which is replaced. */
  isMended: boolean;
}

export function sendable(element: WireElement): Sendable {
  const sent: WireElement = { ...element };
  const dropped: string[] = [];
  dropFormerFields(sent);
  if (!isAbsent(sent["link"])) {
    sent["link"] = safeLink(sent["link"]);
    if (sent["link"] === null && element["link"] !== "") dropped.push("link");
  }
  for (const [field, value] of Object.entries(sent)) {
    if (field === "points" || !isDeep(value, DEEPEST)) continue;
    delete sent[field];
    dropped.push(field);
  }
  return { ...mended(sent), dropped };
}

function mended(element: WireElement): Pick<Sendable, "element" | "isMended"> {
  const json = JSON.stringify(element);
  if (!HALF_OF_A_PAIR.test(json)) return { element, isMended: false };
  const whole = JSON.parse(json, (_, value: unknown) => (typeof value === "string" ? wellFormed(value) : value)) as WireElement;
  return { element: whole, isMended: JSON.stringify(whole) !== json };
}

/** Names of the kind `name.tld`, with what may follow a host. */
const HOST = /^(?:[\p{L}\p{N}](?:[\p{L}\p{N}-]*[\p{L}\p{N}])?\.)+\p{L}{2,}(?::\d{1,5})?(?:[/?#].*)?$/su;
const OPENED_BY_A_BROWSER = /^(?:https?:|mailto:)/i;

/** A link that a browser may follow: `https://` before what looks like a host, `null` for other ones. */
export function safeLink(link: unknown): string | null {
  if (typeof link !== "string") return null;
  const text = link.trim();
  if (OPENED_BY_A_BROWSER.test(text)) return text;
  return HOST.test(text) ? `https://${text}` : null;
}

export function isDeep(value: unknown, deepest: number): boolean {
  // Levels of lists and objects, from the outside in: a recursion could be too deep itself.
  let level: unknown[] = [value];
  for (let depth = 0; depth < deepest; depth += 1) {
    level = level.flatMap((one) => (typeof one === "object" && one !== null ? Object.values(one) : []));
    if (level.length === 0) return false;
  }
  return level.some((one) => typeof one === "object" && one !== null);
}
