import { expect, test } from "vitest";

import { fileName } from "./files";
import { wellFormed } from "./text";

test("half a surrogate pair is replaced, and a whole one stays", () => {
  expect(wellFormed("cut \ud83d")).toBe("cut \ufffd");
  expect(wellFormed("\ude00 cut")).toBe("\ufffd cut");
  expect(wellFormed("\ude00\ud83d")).toBe("\ufffd\ufffd");
  expect(wellFormed("whole 😀")).toBe("whole 😀");
});

test("a long file name is not cut in the middle of a character", () => {
  expect(fileName("𝒜".repeat(70), "png")).toBe(`${"𝒜".repeat(60)}.png`);
});
