import { generateNKeysBetween } from "fractional-indexing";
import { expect, test } from "vitest";

import { indicesAfter } from "./order";

test("the indices above an index are those that Excalidraw would give", () => {
  for (const last of [null, "a0", "aV", "az", "bzz", "Zz", "Zy", "Y00", "Yzz", "XzzzV", "a0V", "a5zzV", "czzz"]) {
    expect(indicesAfter(last ?? undefined, 200), `after ${last}`).toEqual(generateNKeysBetween(last, null, 200));
  }
});

test("ten thousand indices ascend, and above the largest integer there are more", () => {
  const indices = indicesAfter("a0", 10_000);
  expect([...indices].sort()).toEqual(indices);
  const largest = "z".repeat(27);
  const [above, next] = indicesAfter(largest, 2);
  expect(above! > largest && next! > above!).toBe(true);
});
