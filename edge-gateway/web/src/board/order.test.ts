import { describe, expect, test } from "vitest";

import { arranged, indicesBetween, isArranged, isIndex } from "./order";

test.each(["a0", "a5", "Zz", "b00", "b0z", "a0V", "zZZZZZZZZZZZZZZZZZZZZZZZZZZ", "A00000000000000000000000001"])(
  "%s is an index", (index) => expect(isIndex(index)).toBe(true));

test.each(["", "a", "zz", "a10V0", "0a", "b0", "a-", "A00000000000000000000000000", "ä0", 7, null, undefined, {}])(
  "%j is no index", (index) => expect(isIndex(index)).toBe(false));

const isAscending = (indices: readonly string[]) =>
  indices.every((index, n) => n === 0 || (indices[n - 1] as string) < index);

describe("indices between others", () => {
  test.each([
    ["a0", "a1"], ["a0", "a0V"], ["a0", "a01"], ["a0", "a001"], ["a0", "a02"], ["a0", "a0zz"], ["Zz", "a0"],
    ["a0", undefined], [undefined, undefined], ["a0V", "a0V1"],
  ])("above %s and below %s", (lower, upper) => {
    for (const count of [1, 2, 61, 62, 3844]) {
      const all = [...(lower === undefined ? [] : [lower]), ...indicesBetween(lower, upper, count), ...(upper === undefined ? [] : [upper])];
      expect(all.every(isIndex)).toBe(true);
      expect(isAscending(all)).toBe(true);
    }
  });

  test("stay short however many there are", () => {
    expect(Math.max(...indicesBetween("a0", undefined, 10_000).map(({ length }) => length))).toBeLessThan(8);
  });
});

interface Element {
  id: string;
  index?: unknown;
  isDeleted?: boolean;
}

function arrange(elements: Element[], arrivals: readonly string[] = []) {
  return arranged(elements, ({ index }) => index, (id) => arrivals.indexOf(id));
}

const ids = (rows: ReturnType<typeof arrange>) => rows.map(({ element }) => element.id);

describe("a board's order", () => {
  test("elements keep their own indices where these are in order", () => {
    const rows = arrange([{ id: "b", index: "a1" }, { id: "a", index: "Zz" }, { id: "c", index: "a2" }]);
    expect(rows.map(({ element, index }) => [element.id, index])).toEqual([["a", "Zz"], ["b", "a1"], ["c", "a2"]]);
  });

  test("of one index the lower id is below, and each is shown with another index", () => {
    const rows = arrange([{ id: "b", index: "a1" }, { id: "c", index: "a2" }, { id: "a", index: "a1" }]);
    expect(ids(rows)).toEqual(["a", "b", "c"]);
    expect(rows.map(({ index }) => index).sort()).toEqual(rows.map(({ index }) => index));
    expect(new Set(rows.map(({ index }) => index)).size).toBe(3);
  });

  test("those without an index come last, by first arrival", () => {
    const elements = [{ id: "a" }, { id: "c", index: null }, { id: "b" }, { id: "z", index: "a0" }];
    expect(ids(arrange(elements, ["b", "c", "a"]))).toEqual(["z", "b", "c", "a"]);
  });

  test("those whose index is none come before those without, and get one that is", () => {
    const rows = arrange([{ id: "bad", index: "zz" }, { id: "none" }, { id: "good", index: "a5" }]);
    expect(ids(rows)).toEqual(["good", "bad", "none"]);
    expect(rows.every(({ index }) => isIndex(index))).toBe(true);
  });

  test("tombstones that a client holds do not change how the living are shown", () => {
    const living = [{ id: "a", index: "a1" }, { id: "b", index: "a1" }, { id: "c" }, { id: "d", index: "a2" }];
    const tombstones = [
      { id: "0", index: "a1", isDeleted: true }, { id: "bb", index: "a1", isDeleted: true },
      { id: "x", index: "a2", isDeleted: true }, { id: "y", isDeleted: true },
    ];
    const alone = arrange(living, ["a", "b", "c", "d"]);
    const mixed = arrange([...tombstones, ...living], ["0", "a", "y", "b", "c", "d"]);
    expect(mixed.filter(({ element }) => !element.isDeleted)).toEqual(alone);
    expect(isAscending(mixed.map(({ index }) => index))).toBe(true);
  });
});

describe("elements are in order", () => {
  const isInOrder = (elements: Element[], arrivals: readonly string[] = []) =>
    isArranged(elements, ({ index }) => index, (id) => arrivals.indexOf(id));

  test("as soon as they are arranged", () => {
    const elements = [
      { id: "b", index: "a1" }, { id: "none" }, { id: "a", index: "a1" }, { id: "c", index: "a0V" },
      { id: "bad", index: "zz" }, { id: "first" }, { id: "gone", index: "a1", isDeleted: true },
    ];
    const arrivals = ["first", "none"];
    expect(isInOrder(elements, arrivals)).toBe(false);
    expect(isInOrder(arrange(elements, arrivals).map(({ element }) => element), arrivals)).toBe(true);
  });

  test("not while one is between two of a lower index", () => {
    expect(isInOrder([{ id: "a", index: "a1" }, { id: "n", index: "a1K" }, { id: "b", index: "a1" }])).toBe(false);
    expect(isInOrder([{ id: "a", index: "a1" }, { id: "b", index: "a1" }, { id: "n", index: "a1K" }])).toBe(true);
  });

  test("not while one is above an element that has no index", () => {
    expect(isInOrder([{ id: "a" }, { id: "n", index: "a1" }])).toBe(false);
  });

  test("whatever tombstones are among them", () => {
    expect(isInOrder([{ id: "z", index: "a9", isDeleted: true }, { id: "a", index: "a1" }, { id: "b", index: "a2" }])).toBe(true);
  });
});
