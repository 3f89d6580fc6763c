import { expect, test } from "vitest";

import { sightOf } from "./view";

const box = (x: number, y: number, width = 60, height = 40, type: "rectangle" | "ellipse" = "rectangle") =>
  ({ type, x, y, width, height });

test("all of a board is shown if it fits into one view", () => {
  const elements = [box(0, 0), box(9000, 5000)];
  expect(sightOf(elements, 1000, 800)).toEqual({ elements });
});

test("of a board that fits into no view, the part with the most elements is shown", () => {
  const far = [box(60_000, 100), box(60_100, 100), box(60_000, 300)];
  expect(sightOf([box(0, 0), ...far], 1000, 800)).toEqual({ elements: far });
});

test("of shapes that are larger than a view, a point on the first one's edge is shown", () => {
  expect(sightOf([box(5, 7, 90_000, 90_000)], 1000, 800)).toEqual({ x: 5, y: 7 });
  expect(sightOf([box(0, 7, 90_000, 90_000, "ellipse")], 1000, 800)).toEqual({ x: 45_000, y: 7 });
});

test("an empty board has nothing to show", () => {
  expect(sightOf([], 1000, 800)).toBeUndefined();
});
