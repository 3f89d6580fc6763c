import { describe, expect, test } from "vitest";

import type { WireElement } from "../../protocol/payloads";
import { type Measure, repair } from "./repair";

/** Ten units a letter, so that what was measured can be told. */
const measure: Measure = (text) => {
  const lines = (text["text"] as string).split("\n");
  return { width: 10 * Math.max(...lines.map(({ length }) => length)), height: 25 * lines.length };
};

function kept(raw: unknown): WireElement {
  const outcome = repair(raw, measure);
  if (!outcome || "left" in outcome) throw new Error(`left out: ${outcome?.left}`);
  return outcome.element;
}

function left(raw: unknown): string | undefined {
  const outcome = repair(raw, measure);
  if (outcome && "element" in outcome) throw new Error("it was kept");
  return outcome?.left;
}

const OWN = { id: "a", version: 3, versionNonce: 7, seed: 9, x: 1, y: 2, width: 30, height: 40 };

describe("what Excalidraw cannot draw as it is", () => {
  test("an arrow or a line without points gets two from its width and height", () => {
    for (const type of ["arrow", "line"]) {
      for (const points of [undefined, null, "x", [], [[0, 0]], [{}, {}]]) {
        const line = kept({ ...OWN, type, points });
        expect(line["points"]).toEqual([[0, 0], [30, 40]]);
        expect(line).toMatchObject({ x: 1, y: 2, width: 30, height: 40 });
      }
      expect(kept({ ...OWN, type, width: -30, height: 10 })).toMatchObject({ x: 1, points: [[0, 0], [-30, 10]], width: 30 });
      expect(kept({ id: "a", type, x: 1, y: 2 })["points"]).toEqual([[0, 0], [100, 0]]);
    }
  });

  test("points of other forms become pairs", () => {
    const points = [[0, 0, 0.5], { x: 3, y: 4 }, [null, 1], [9, 9]];
    expect(kept({ ...OWN, type: "line", points })["points"]).toEqual([[0, 0], [3, 4], [9, 9]]);
  });

  test("a line whose first point is elsewhere is moved there", () => {
    expect(kept({ ...OWN, type: "line", points: [[5, 6], [15, 26]] })).toMatchObject({
      x: 6, y: 8, width: 10, height: 20, points: [[0, 0], [10, 20]],
    });
  });

  test("a text that is a number becomes its digits", () => {
    expect(kept({ ...OWN, type: "text", text: 42 })).toMatchObject({ text: "42", originalText: "42" });
  });

  test("a text without a size is measured, and one with a size is not", () => {
    const { width: _width, height: _height, ...bare } = OWN;
    for (const size of [{}, { width: 90, height: 0 }, { width: null, height: 25 }]) {
      expect(kept({ ...bare, ...size, type: "text", text: "four\nlines" })).toMatchObject({ width: 50, height: 50 });
    }
    expect(kept({ ...OWN, type: "text", text: "four" })).toMatchObject({ width: 30, height: 40 });
  });

  test("a stroke without pressures is drawn with simulated ones", () => {
    const points = [[0, 0], [10, 5], [20, -5]];
    const { width: _width, height: _height, ...bare } = OWN;
    expect(kept({ ...bare, type: "freedraw", points })).toMatchObject({
      points, pressures: [], simulatePressure: true, width: 20, height: 10,
    });
    expect(kept({ ...OWN, type: "freedraw", points, pressures: [0.2, 0.4], simulatePressure: false })).toMatchObject({
      pressures: [0.2, 0.4, 0.4], simulatePressure: false,
    });
  });

  test("a shape that says no size gets that of Excalidraw", () => {
    expect(kept({ id: "a", type: "rectangle" })).toMatchObject({ x: 0, y: 0, width: 100, height: 100 });
    expect(kept({ id: "a", type: "ellipse", width: "80", height: 5 })).toMatchObject({ width: 80, height: 5 });
  });

  test("fields of a wrong type cost the field alone", () => {
    const wrong = {
      ...OWN, type: "rectangle", angle: "x", groupIds: "g", boundElements: "b", roundness: 7, locked: "yes", link: {},
      strokeColor: 3, fillStyle: [], frameId: {}, customData: "c", strokeWidth: "4",
    };
    expect(kept(wrong)).toMatchObject({
      angle: 0, groupIds: [], roundness: null, locked: false, link: null, strokeColor: "#1e1e1e", fillStyle: "solid",
      frameId: null, strokeWidth: 4,
    });
    expect("customData" in kept(wrong)).toBe(false);
    expect(kept({ ...OWN, type: "frame", name: {} })["name"]).toBeNull();
    expect(kept({ ...OWN, type: "frame", name: 4 })["name"]).toBe("4");
    expect(kept({ ...OWN, type: "arrow", startBinding: { elementId: 5 }, endBinding: "x" })).toMatchObject({
      startBinding: { elementId: "5", focus: 0, gap: 1 }, endBinding: null,
    });
  });

  test("parts of a field that the server would refuse are understood or left out too", () => {
    const arrow = kept({
      ...OWN, type: "arrow", elbowed: true, points: [[0, 0], [9, 0]], boundElements: [{ id: 5, type: 3 }, "t", null, {}],
      startBinding: { elementId: "a", focus: "x", gap: null, fixedPoint: [1, "y"], mode: 4 },
      fixedSegments: [{ index: 1, start: { x: 0, y: 1 }, end: [2, 3, 4] }, { index: "1" }, 7],
    });
    expect(arrow["boundElements"]).toEqual([{ id: "5", type: "arrow" }, { id: "t", type: "arrow" }]);
    expect(arrow["fixedSegments"]).toEqual([{ index: 1, start: [0, 1], end: [2, 3] }]);
    // An elbow arrow is bound at a fixed point, or not at all.
    expect(arrow["startBinding"]).toBeNull();
    const plain = kept({ ...OWN, type: "arrow", startBinding: { elementId: "a", focus: "x", fixedPoint: [1, "y"], mode: 4 } });
    expect(plain["startBinding"]).toEqual({ elementId: "a", focus: 0, gap: 1, fixedPoint: null, mode: null });
    expect("polygon" in kept({ ...OWN, type: "line", polygon: "yes" })).toBe(false);
  });

  test("a letter that is half of a pair is replaced", () => {
    expect(kept({ ...OWN, type: "text", text: "cut \ud83d" })["text"]).toBe("cut \ufffd");
  });
});

describe("versions and seeds", () => {
  test.each([[1.5, 1], [-3, 1], [1e17, 1], [0, 1], ["4", 1], [undefined, 1], [412, 412]])("version %s becomes %s", (version, right) => {
    expect(kept({ ...OWN, type: "rectangle", version }).version).toBe(right);
  });

  test("a missing seed follows from the content, so that two files do not share it", () => {
    const { seed: _seed, ...bare } = { ...OWN, type: "rectangle" };
    const seed = kept(bare)["seed"] as number;
    expect(Number.isSafeInteger(seed) && seed > 0).toBe(true);
    expect(kept({ ...bare, version: 9, versionNonce: 2, updated: 5 })["seed"]).toBe(seed);
    expect(kept({ ...bare, x: 8 })["seed"]).not.toBe(seed);
  });
});

describe("former releases", () => {
  test("a drawing of January 2020 is read: no ids, no versions, no points", () => {
    const old = { seed: 4, strokeWidth: 1, roughness: 1, fillStyle: "hachure", opacity: 100, isSelected: true, shape: null };
    const arrow = kept({ ...old, type: "arrow", x: 9, y: 9, width: 50, height: -20, strokeColor: "#000000" });
    expect(arrow).toMatchObject({ points: [[0, 0], [50, -20]], version: 1, endArrowhead: "arrow" });
    expect("isSelected" in arrow || "shape" in arrow).toBe(false);
    const text = kept({ ...old, type: "text", text: "Hi", font: "28px Cascadia", baseline: 22, width: 50, height: 35, x: 0, y: 0 });
    expect(text).toMatchObject({ fontSize: 28, fontFamily: 3, lineHeight: 1.25, originalText: "Hi" });
    expect(["font", "baseline"].filter((field) => field in text)).toEqual([]);
  });

  test("fields of former releases are moved into those of today, and go", () => {
    const shape = kept({ ...OWN, type: "rectangle", strokeSharpness: "round", boundElementIds: ["b"] });
    expect(shape).toMatchObject({ roundness: { type: 1 }, boundElements: [{ type: "arrow", id: "b" }] });
    expect(["strokeSharpness", "boundElementIds"].filter((field) => field in shape)).toEqual([]);
    expect(kept({ ...OWN, type: "draw", points: [[0, 0], [5, 5]] }).type).toBe("line");
    expect(kept({ ...OWN, type: "magicframe", name: "Page" })).toMatchObject({ type: "frame", name: "Page" });
  });

  test("a font that is named in `fontFamily` is that font", () => {
    expect(kept({ ...OWN, type: "text", text: "a", fontFamily: "Cascadia", fontSize: 16 })).toMatchObject({ fontFamily: 3, fontSize: 16 });
  });
});

describe("what cannot be kept", () => {
  test.each([
    [7, "not an element"],
    [null, "not an element"],
    [{ ...OWN, type: "freedraw", points: null }, "a stroke without points"],
    [{ ...OWN, type: "text", text: {} }, "a text without letters"],
    [{ ...OWN, type: "image" }, "images cannot be kept in a room yet"],
    [{ ...OWN, type: "iframe" }, "pages cannot be shown on a board"],
    [{ ...OWN, type: "spaceship" }, "its type, spaceship, is not known"],
    [{ ...OWN, type: "text", text: "x".repeat(1 << 20) }, "larger than an element may be"],
  ])("%# is left out with its reason", (raw, reason) => {
    expect(left(raw)).toBe(reason);
  });

  test("what was never to be seen is no loss", () => {
    expect(left({ ...OWN, type: "rectangle", width: 0, height: 0 })).toBeUndefined();
    expect(left({ ...OWN, type: "rectangle", isDeleted: true })).toBeUndefined();
    expect(left({ ...OWN, type: "text", text: "" })).toBeUndefined();
    expect(left({ ...OWN, type: "freedraw", points: [] })).toBeUndefined();
    expect(left({ ...OWN, type: "selection" })).toBeUndefined();
  });

  test("data that nests too deeply goes, and the element stays", () => {
    const deep = JSON.parse(`${'{"a":'.repeat(80)}1${"}".repeat(80)}`) as unknown;
    const outcome = repair({ ...OWN, type: "rectangle", customData: deep, future: deep }, measure);
    expect(outcome).toMatchObject({ element: { type: "rectangle" }, dropped: ["customData"] });
    expect(["customData", "future"].filter((field) => field in kept({ ...OWN, type: "rectangle", customData: deep, future: deep }))).toEqual([]);
  });
});
