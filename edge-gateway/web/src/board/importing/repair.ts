/**
 * An element of a file, made one that a board can keep. Pure, but for how a text is measured.
 *
 * What a file says is taken as far as it can be understood: a field that cannot is left out,
 * and Excalidraw's default takes its place. Fields of former releases are moved into those of
 * today, once, here. An element costs its place only if nothing of it could be drawn.
 */

import { wellFormed } from "../../browser/text";
import { Limits, type WireElement } from "../../protocol/payloads";
import { isDeep, judge, sendable } from "../element";
import { bytesOf } from "../fullness";
import { IMAGE, TOO_LARGE } from "../reasons";
import { numberFrom } from "./hash";

type Fields = Record<string, unknown>;

/** How large a text is when it is drawn. */
export type Measure = (text: WireElement) => { width: number; height: number };

/** An element that was repaired. */
export interface Repaired {
  element: WireElement;
  /** How the other elements of the file call it; those of early 2020 call it nothing. */
  name: string | undefined;
  /** The file says no size of this text, so its place in its container is not known either. */
  isMeasured: boolean;
  /** The nonce in the file, if it is one. */
  nonce: number | undefined;
  /** The element as the file has it. */
  raw: Fields;
  /** What was taken from it so that the rest can be kept. */
  dropped: readonly string[];
}

/** A repaired element, or why it is left out, or nothing if there is nothing to see. */
export type Outcome = Repaired | { left: string } | undefined;

/** Fields that held a state of the editor in former releases. */
const OF_THE_EDITOR = ["isSelected", "shape", "canvas", "actualBoundingBoxAscent", "__proto__"];

/** So many versions are left for edits to come. */
const GREATEST_VERSION = 2 ** 52;

/** How deep a field may nest. The server takes 64 levels, of which the element is one. */
const DEEPEST = 60;

/** The size that Excalidraw gives to a shape that says none. */
const SIZE = 100;

/** Repairs one element of a file. */
export function repair(raw: unknown, measure: Measure): Outcome {
  if (!isFields(raw)) return { left: "not an element" };
  const type = typeOf(raw["type"]);
  if (type === "image") return { left: IMAGE };
  if (type === "iframe") return { left: "pages cannot be shown on a board" };
  // A selection is of the editor, and what was deleted is not part of the drawing.
  if (type === "selection" || raw["isDeleted"] === true) return undefined;

  const fields = understood(raw, type);
  const shaped = withShape(fields, type);
  if (shaped !== "is drawn") return shaped === "draws nothing" ? undefined : { left: shaped };
  const isMeasured = type === "text" && !hasSize(fields);
  const judged = judge(fields as WireElement);
  if (!judged) return undefined;
  if ("fault" in judged) return { left: judged.fault };
  const { element, dropped } = sendable(judged.shown);
  if (isMeasured) Object.assign(element, measure(element));
  if (bytesOf(element) > Limits.elementBytes) return { left: TOO_LARGE };
  return { element, name: nameOf(raw["id"]), isMeasured, nonce: nonceOf(raw["versionNonce"]), raw, dropped };
}

function typeOf(type: unknown): string {
  if (type === "draw") return "line";
  // The frame of a generated page is a frame.
  if (type === "magicframe") return "frame";
  return typeof type === "string" ? type : "";
}

/** An id as a text: generated files use numbers too. */
function nameOf(id: unknown): string | undefined {
  if (isNumber(id)) return String(id);
  return typeof id === "string" && id !== "" ? wellFormed(id) : undefined;
}

function nonceOf(nonce: unknown): number | undefined {
  return Number.isSafeInteger(nonce) && (nonce as number) >= 0 ? (nonce as number) : undefined;
}

/** A copy with the fields whose values can be understood. */
function understood(raw: Fields, type: string): Fields {
  const fields: Fields = {};
  for (const [field, value] of Object.entries(raw)) {
    if (OF_THE_EDITOR.includes(field) || value === undefined) continue;
    const read = READERS[field];
    const known = value === null || !read ? value : read(value);
    if (known !== undefined && !(read === undefined && isDeep(known, DEEPEST))) fields[field] = known;
  }
  fields["type"] = type;
  fields["isDeleted"] = false;
  const version = raw["version"];
  fields["version"] = isNumber(version) && version >= 1 && version <= GREATEST_VERSION ? Math.floor(version) : 1;
  // A seed tells the elements of two files apart, so one that is missing follows from the content.
  if (!isSeed(raw["seed"])) fields["seed"] = numberFrom(content(raw));
  if (typeof raw["fontFamily"] === "string" && typeof raw["font"] !== "string") {
    fields["font"] = `${isNumber(fields["fontSize"]) ? fields["fontSize"] : 20}px ${raw["fontFamily"]}`;
  }
  return fields;
}

/** What an element is, without what each save changes. */
function content(raw: Fields): string {
  const { version: _version, versionNonce: _nonce, updated: _updated, index: _index, ...rest } = raw;
  return JSON.stringify(rest);
}

/** Gives an element what its type is drawn by. Answers why it cannot be drawn, if so. */
function withShape(fields: Fields, type: string): string {
  switch (type) {
    case "text":
      return withText(fields);
    case "line":
    case "arrow":
      return withLine(fields);
    case "freedraw":
      return withStroke(fields);
    default:
      for (const size of ["width", "height"]) if (!isNumber(fields[size])) fields[size] = SIZE;
      return fields["width"] === 0 && fields["height"] === 0 ? "draws nothing" : "is drawn";
  }
}

function withText(fields: Fields): string {
  const text = fields["text"] ?? fields["originalText"];
  if (typeof text !== "string") return "a text without letters";
  fields["text"] = text;
  if (fields["fontSize"] === 0 || (isNumber(fields["fontSize"]) && fields["fontSize"] < 0)) delete fields["fontSize"];
  if (isNumber(fields["lineHeight"]) && fields["lineHeight"] <= 0) delete fields["lineHeight"];
  if (isNamed(fields["containerId"]) && !hasSize(fields)) {
    fields["textAlign"] ??= "center";
    fields["verticalAlign"] ??= "middle";
  }
  return text === "" ? "draws nothing" : "is drawn";
}

function withLine(fields: Fields): string {
  const points = fields["points"];
  if (Array.isArray(points) && points.length >= 2) return withSizeOf(points, fields, 1);
  if (!isNumber(fields["width"]) && !isNumber(fields["height"])) fields["width"] = SIZE;
  for (const size of ["width", "height"]) if (!isNumber(fields[size])) fields[size] = 0;
  if (fields["width"] === 0 && fields["height"] === 0) return "draws nothing";
  const ends = [[0, 0], [fields["width"] as number, fields["height"] as number]];
  fields["points"] = ends;
  // A size below zero says where the end is.
  return withSizeOf(ends, fields, 0);
}

function withStroke(fields: Fields): string {
  const points = fields["points"];
  if (!Array.isArray(points)) return "a stroke without points";
  if (points.length === 0) return "draws nothing";
  const pressures = Array.isArray(fields["pressures"]) ? (fields["pressures"] as number[]) : [];
  if (pressures.length === 0) fields["simulatePressure"] = true;
  else if (fields["simulatePressure"] !== true) {
    // A point without a pressure would not be drawn.
    const last = pressures.at(-1);
    fields["pressures"] = points.map((_, n) => pressures[n] ?? last);
  }
  return withSizeOf(points as number[][], fields, Infinity);
}

/** Takes the size from the points, unless the file says one that is wrong by so much at most. */
function withSizeOf(points: readonly number[][], fields: Fields, tolerance: number): string {
  for (const [size, at] of [["width", 0], ["height", 1]] as const) {
    const along = points.map((point) => point[at] ?? 0);
    const measured = greatest(along) - least(along);
    const given = fields[size];
    if (!isNumber(given) || Math.abs(given - measured) > tolerance) fields[size] = measured;
  }
  return "is drawn";
}

// By hand, since `Math.max(...)` fails for a long stroke.
const greatest = (numbers: readonly number[]) => numbers.reduce((a, b) => Math.max(a, b), -Infinity);
const least = (numbers: readonly number[]) => numbers.reduce((a, b) => Math.min(a, b), Infinity);

// Reading one value: the value in the form that Excalidraw uses, or `undefined`.

type Reader = (value: unknown) => unknown;

const number: Reader = (value) => {
  if (isNumber(value)) return value;
  const read = typeof value === "string" && value.trim() !== "" ? Number(value) : Number.NaN;
  return isNumber(read) ? read : undefined;
};
const truth: Reader = (value) => (typeof value === "boolean" ? value : undefined);
const text: Reader = (value) => (typeof value === "string" ? wellFormed(value) : undefined);
const words: Reader = (value) => (isNumber(value) || typeof value === "boolean" ? String(value) : text(value));
const id: Reader = (value) => nameOf(value);
const oneOf = (...known: string[]): Reader => (value) => (known.includes(value as string) ? value : undefined);
const listOf = (read: Reader): Reader => (value) =>
  Array.isArray(value) ? value.map(read).filter((one) => one !== undefined) : undefined;

const point: Reader = (value) => {
  const [x, y] = Array.isArray(value) ? value : isFields(value) ? [value["x"], value["y"]] : [];
  return isNumber(x) && isNumber(y) ? [x, y] : undefined;
};

const bound: Reader = (value) => {
  const other = nameOf(isFields(value) ? value["id"] : value);
  if (other === undefined) return undefined;
  if (!isFields(value)) return { type: "arrow", id: other };
  return typeof value["type"] === "string" ? { ...value, id: other } : { ...value, type: "arrow", id: other };
};

const binding: Reader = (value) => {
  if (!isFields(value)) return undefined;
  const elementId = nameOf(value["elementId"]);
  if (elementId === undefined) return undefined;
  return {
    ...value,
    elementId,
    focus: number(value["focus"]) ?? 0,
    gap: number(value["gap"]) ?? 1,
    ...("fixedPoint" in value && { fixedPoint: point(value["fixedPoint"]) ?? null }),
    ...("mode" in value && { mode: text(value["mode"]) ?? null }),
  };
};

const roundness: Reader = (value) =>
  isFields(value) && isNumber(value["type"]) && (value["value"] === undefined || isNumber(value["value"])) ? value : undefined;

const segment: Reader = (value) => {
  if (!isFields(value)) return undefined;
  const [start, end] = [point(value["start"]), point(value["end"])];
  return start && end && isNumber(value["index"]) ? { ...value, start, end } : undefined;
};

const READERS: Readonly<Record<string, Reader>> = {
  x: number, y: number, width: number, height: number, angle: number, updated: number,
  strokeWidth: number, roughness: number, opacity: number,
  fontSize: number, lineHeight: number, fontFamily: number,
  seed: (value) => (isSeed(value) ? value : undefined),
  strokeColor: text, backgroundColor: text, link: text, font: text, strokeSharpness: text,
  startArrowhead: text, endArrowhead: text,
  fillStyle: oneOf("solid", "hachure", "cross-hatch", "zigzag", "zigzag-line", "dots", "dashed"),
  strokeStyle: oneOf("solid", "dashed", "dotted"),
  textAlign: oneOf("left", "center", "right"),
  verticalAlign: oneOf("top", "middle", "bottom"),
  text: words, originalText: words, name: words,
  locked: truth, autoResize: truth, simulatePressure: truth, elbowed: truth, polygon: truth,
  containerId: id, frameId: id,
  groupIds: listOf(id), boundElementIds: listOf(id), boundElements: listOf(bound),
  startBinding: binding, endBinding: binding,
  points: listOf(point), pressures: listOf(number), fixedSegments: listOf(segment),
  lastCommittedPoint: () => null,
  roundness,
  customData: (value) => (isFields(value) ? value : undefined),
  // Given anew: see `plan.ts`.
  id: () => undefined, index: () => undefined, versionNonce: () => undefined,
};

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isNumber(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value);
}

function isNamed(value: unknown): boolean {
  return typeof value === "string";
}

function hasSize({ width, height }: Fields): boolean {
  return isNumber(width) && width !== 0 && isNumber(height) && height !== 0;
}

function isSeed(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
