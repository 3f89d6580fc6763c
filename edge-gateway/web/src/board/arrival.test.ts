import { expect, test } from "vitest";

import { keepable } from "./arrival";

test("images and pages are left out, and images are told of", () => {
  const of = (...types: string[]) => keepable(types.map((type) => ({ type }) as { type: "image" }));
  expect(of("rectangle", "image", "text")).toEqual({ kept: [{ type: "rectangle" }, { type: "text" }], hasImages: true });
  expect(of("iframe", "magicframe", "arrow")).toEqual({ kept: [{ type: "arrow" }], hasImages: false });
});
