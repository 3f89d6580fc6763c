import { describe, expect, test } from "vitest";

import { Limits, type WireElement } from "../../protocol/payloads";
import { plan, type Plan, raised } from "./plan";
import type { Measure } from "./repair";

const measure: Measure = (text) => {
  const lines = (text["text"] as string).split("\n");
  return { width: 10 * Math.max(...lines.map(({ length }) => length)), height: 25 * lines.length };
};

type Raw = Record<string, unknown> & { id: string };

function shape(id: string, more: object = {}): Raw {
  return { id, type: "rectangle", version: 3, versionNonce: 7, seed: 9, x: 1, y: 2, width: 30, height: 40, ...more };
}

function on(...elements: readonly unknown[]): Map<string, WireElement> {
  return new Map((elements as WireElement[]).map((element) => [element.id, element]));
}

/** The board after a plan was carried out. */
function after(board: ReadonlyMap<string, WireElement>, { changed }: Plan): Map<string, WireElement> {
  return new Map([...board, ...on(...changed)]);
}

function add(raws: readonly unknown[], board = on()): Plan {
  return plan(raws, board, measure);
}

const tombstone = (id: string, version: number) => ({ id, type: "rectangle", version, versionNonce: 1, isDeleted: true });

describe("the same element", () => {
  test("a file that is added again changes nothing", () => {
    const file = [shape("a"), shape("b", { strokeSharpness: "round" }), { type: "arrow", x: 0, y: 0, width: 9, height: 9 }];
    const board = after(on(), add(file));
    expect(add(file, board)).toMatchObject({ changed: [], known: 3, total: 3 });
  });

  test("an element that the board has in this version stays, however it was written down", () => {
    const stored = { ...shape("a"), index: "a1", boundElements: null, strokeSharpness: "round" };
    for (const nonce of [0, 7, 2 ** 31 - 1]) {
      const board = on({ ...stored, versionNonce: nonce });
      expect(add([{ ...stored, versionNonce: nonce }], board)).toMatchObject({ changed: [], known: 1 });
    }
  });

  test("a drawing that was exported, edited and added again does not double", () => {
    const board = after(on(), add([shape("a"), shape("b")]));
    const exported = structuredClone([...board.values()]);
    const edited = exported.map((element) => (element.id === "a" ? { ...element, x: 500, version: 4, versionNonce: 5 } : element));
    const again = add(edited, board);
    expect(again.changed).toEqual([{ ...exported[0], x: 500, version: 4, versionNonce: 5 }]);
    expect(again).toMatchObject({ known: 1, total: 2 });
  });

  test("an older version in a file does not undo what was drawn since", () => {
    const board = after(on(), add([shape("a")]));
    const moved = { ...board.get("a"), x: 70, version: 8, versionNonce: 1 };
    expect(add([shape("a")], on(moved))).toMatchObject({ changed: [], known: 1 });
  });

  test("an element is raised over the tombstone under its id", () => {
    const { changed } = add([shape("a"), shape("b")], on(tombstone("a", 12), tombstone("b", 2)));
    expect(changed.map(({ id, version }) => [id, version])).toEqual([["a", 13], ["b", 3]]);
    expect(changed[0]!.isDeleted).toBe(false);
  });

  test("an element is raised over a tombstone that the page learns of later", () => {
    const [element] = add([shape("a")]).changed;
    const above = raised(element!, tombstone("a", 6));
    expect(above).toMatchObject({ ...element, version: 7, versionNonce: above.versionNonce });
    expect(above.versionNonce).not.toBe(element!.versionNonce);
  });

  test("an element of the board keeps its place in the order", () => {
    const board = on({ ...shape("a"), index: "a3" }, { ...shape("top", { seed: 1 }), index: "a9" });
    const { changed } = add([shape("a", { version: 5, index: "zz" })], board);
    expect(changed[0]!["index"]).toBe("a3");
  });
});

describe("another element under the same id", () => {
  const first = [shape("title", { type: "text", text: "First", seed: 1 }), shape("box1", { seed: 2 })];
  const second = [shape("title", { type: "text", text: "Second", seed: 3 }), shape("box1", { seed: 4, x: 90 })];

  test("two files of the same ids are both there", () => {
    const board = after(on(), add(first));
    const both = after(board, add(second, board));
    expect([...both.values()].map(({ text, x }) => text ?? x)).toEqual(["First", 1, "Second", 90]);
    expect(both.get("title")).toEqual(board.get("title"));
    expect(add(second, both)).toMatchObject({ changed: [], known: 2 });
  });

  test("so are two files without seeds", () => {
    const bare = (file: readonly Raw[]) => file.map(({ seed: _seed, ...raw }) => raw);
    const board = after(on(), add(bare(first)));
    const both = after(board, add(bare(second), board));
    expect(both.size).toBe(4);
    expect(add(bare(first), both).changed).toEqual([]);
  });

  test("another type is another element", () => {
    const { changed } = add([shape("a", { type: "ellipse" })], on(shape("a")));
    expect(changed[0]!.id).not.toBe("a");
  });

  test("bindings follow", () => {
    const file = [
      shape("box", { seed: 4, boundElements: [{ id: "arrow", type: "arrow" }] }),
      shape("arrow", {
        type: "arrow", points: [[0, 0], [9, 9]],
        startBinding: { elementId: "box", focus: 0.1, gap: 2 }, endBinding: { elementId: "gone", focus: 0, gap: 1 },
      }),
    ];
    const [box, arrow] = add(file, on(shape("box"), shape("arrow"))).changed;
    expect(box!.id).not.toBe("box");
    expect(arrow).toMatchObject({ startBinding: { elementId: box!.id, focus: 0.1, gap: 2 }, endBinding: null });
    expect(box!["boundElements"]).toEqual([{ id: arrow!.id, type: "arrow" }]);
  });

  test("bound texts follow", () => {
    const file = [
      shape("box", { seed: 4, boundElements: [{ id: "label", type: "text" }] }),
      shape("label", { type: "text", text: "Hi", containerId: "box" }),
    ];
    const [box, label] = add(file, on(shape("box"), shape("label"))).changed;
    expect(label!["containerId"]).toBe(box!.id);
    expect(box!["boundElements"]).toEqual([{ id: label!.id, type: "text" }]);
  });

  test("frames follow", () => {
    const file = [shape("in", { frameId: "frame" }), shape("frame", { type: "frame", name: "Page" })];
    const [inside, frame] = add(file, on(shape("frame", { seed: 8 }))).changed;
    expect(frame!.id).not.toBe("frame");
    expect(inside).toMatchObject({ id: "in", frameId: frame!.id });
  });

  test("groups follow, and do not grow into those of the board", () => {
    const board = on(shape("other", { groupIds: ["g", "outer"] }));
    const { changed } = add([shape("a", { groupIds: ["g"] }), shape("b", { groupIds: ["g"] }), shape("c", { groupIds: ["h"] })], board);
    const [a, b, c] = changed.map(({ groupIds }) => groupIds as string[]);
    expect(a).toEqual(b);
    expect(a![0]).not.toBe("g");
    expect(c).toEqual(["h"]);
  });

  test("a group of this board takes what was added to it elsewhere", () => {
    const board = after(on(), add([shape("a", { groupIds: ["g"] })]));
    const { changed } = add([...board.values(), shape("b", { groupIds: ["g"] })], board);
    expect(changed.map(({ id, groupIds }) => [id, groupIds])).toEqual([["b", ["g"]]]);
  });

  test("a part of this board still refers to the rest of it", () => {
    const board = after(on(), add([
      shape("box", { boundElements: [{ id: "label", type: "text" }] }),
      shape("label", { type: "text", text: "Hi", containerId: "box" }),
    ]));
    const edited = { ...board.get("label"), text: "Ho", originalText: "Ho", version: 9 };
    expect(add([edited], board).changed).toMatchObject([{ id: "label", text: "Ho", containerId: "box" }]);
  });
});

describe("ids", () => {
  test("an id that a room does not take is replaced by one that follows from it", () => {
    const long = "x".repeat(65);
    const file = [shape(long, { boundElements: [{ id: 5, type: "text" }] }), { ...shape("n"), id: 5, type: "text", text: "Hi", containerId: long }];
    const { changed } = add(file);
    const [box, text] = changed;
    expect([...box!.id].length).toBeLessThanOrEqual(64);
    expect(text!.id).toBe("5");
    expect(text!["containerId"]).toBe(box!.id);
    expect(box!["boundElements"]).toEqual([{ id: "5", type: "text" }]);
    expect(add(file).changed).toEqual(changed);
    expect(new Set(changed.map(({ versionNonce }) => versionNonce)).has(7)).toBe(false);
  });

  test("an id that comes twice in a file is the first element's", () => {
    const { changed } = add([shape("a"), shape("a", { x: 50 }), shape("t", { type: "text", text: "Hi", containerId: "a" })]);
    expect(new Set(changed.map(({ id }) => id)).size).toBe(3);
    expect(changed[2]!["containerId"]).toBe("a");
    expect(changed.map(({ id }) => id)).toEqual(["a", changed[1]!.id, "t"]);
  });

  test("what refers to something that is left out refers to nothing", () => {
    const { changed, left } = add([
      shape("t", { type: "text", text: "Hi", containerId: "image" }),
      shape("image", { type: "image" }),
      shape("a", { type: "arrow", points: [[0, 0], [9, 9]], startBinding: { elementId: "image", focus: 0, gap: 1 } }),
      shape("b", { frameId: "none", boundElements: [{ id: "none", type: "arrow" }] }),
    ]);
    expect(changed).toMatchObject([{ containerId: null }, { startBinding: null }, { frameId: null, boundElements: [] }]);
    expect([...left]).toEqual([["images cannot be kept in a room yet", 1]]);
  });
});

describe("order, versions and sizes", () => {
  test("what is new goes on top, in the order of the file, whatever its indices say", () => {
    const board = on({ ...shape("top", { seed: 1 }), index: "b05" });
    const { changed } = add([shape("x", { index: "zz" }), shape("y", { index: "a1" }), shape("z", { index: 4 })], board);
    const indices = changed.map(({ index }) => index as string);
    expect([...indices].sort()).toEqual(indices);
    expect(indices[0]! > "b05").toBe(true);
    const shown = [{ ...shape("deleted"), index: "b07", isDeleted: true }] as unknown as WireElement[];
    expect(plan([shape("x")], board, measure, shown).changed[0]!["index"]).toBe("b08");
  });

  test("equal version and nonce mean equal content: what was repaired has another nonce", () => {
    const whole = structuredClone(add([shape("a")]).changed[0]!);
    expect(whole.versionNonce).not.toBe(7);
    // It is complete now, so that it stays as it is on an empty board, its place included.
    expect(add([whole]).changed).toEqual([whole]);
  });

  test("a text and its container name each other", () => {
    const { changed } = add([shape("box"), shape("label", { type: "text", text: "Hi", containerId: "box" })]);
    expect(changed[0]!["boundElements"]).toEqual([{ id: "label", type: "text" }]);
    const other = add([shape("box", { boundElements: [{ id: "label", type: "text" }] }), shape("label", { type: "text", text: "Hi" })]);
    expect(other.changed[1]!["containerId"]).toBe("box");
  });

  test("a label without a size is broken into lines and put in the middle of its container", () => {
    const { changed } = add([
      shape("box", { x: 100, y: 100, width: 100, height: 100 }),
      { id: "label", type: "text", text: "two words", containerId: "box" },
    ]);
    expect(changed[1]).toMatchObject({
      text: "two words", originalText: "two words", width: 90, height: 25, x: 105, y: 137.5, textAlign: "center",
    });
    const narrow = add([
      shape("box", { x: 0, y: 0, width: 70, height: 20 }),
      { id: "label", type: "text", text: "two words", containerId: "box" },
    ]);
    expect(narrow.changed).toMatchObject([{ height: 60 }, { text: "two\nwords", originalText: "two words", width: 50, height: 50, x: 10, y: 5 }]);
  });

  test("a file that the board has no room for is kept as far as there is room", () => {
    const board = new Map(Array.from({ length: Limits.boardElements - 2 }, (_, n) => [`b${n}`, shape(`b${n}`) as unknown as WireElement]));
    const file = [shape("b0", { version: 4 }), ...["x", "y", "z", "w"].map((id) => shape(id))];
    const planned = add(file, board);
    expect(planned.changed.map(({ id }) => id)).toEqual(["b0", "x", "y"]);
    expect([...planned.left]).toEqual([["the board is full", 2]]);
    expect(planned.total).toBe(5);
  });

  test("so is one that would be too large for it", () => {
    const large = (id: string) => shape(id, { customData: { text: "x".repeat(1_000_000) } });
    const planned = add(Array.from({ length: 10 }, (_, n) => large(`l${n}`)));
    expect(planned.changed).toHaveLength(8);
    expect([...planned.left]).toEqual([["the board is full", 2]]);
  });
});
