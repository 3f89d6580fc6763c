import { expect, test } from "vitest";

import { codeIn, shownCode } from "./codes";

test("a code is found in any spelling, and in a link", () => {
  for (const text of [
    "012345",
    " 012-345 ",
    "012 345",
    "012\u2013345",
    "http://127.0.0.1:4000/r/012345",
    "012-345 https://rooms.example/r/012345",
    "https://rooms.example/r/012345?from=mail",
    "https://rooms.example/r/012-345/",
    "/r/012%20345",
    "/r/012%E2%80%93345/?a",
  ]) {
    expect(codeIn(text), text).toBe("012345");
  }
  expect(codeIn(shownCode("012345"))).toBe("012345");
});

test("what is no code is none", () => {
  for (const text of ["", "12345", "1234567", "12a456", "https://rooms.example/r/1234567", "/r/12345", "/r/", "/r/abc", "/r/%E0%A4%A"]) {
    expect(codeIn(text), text).toBeUndefined();
  }
});
