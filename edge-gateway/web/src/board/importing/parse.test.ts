import { expect, test } from "vitest";

import { parseDrawing } from "./parse";

test("a drawing of any release is read", () => {
  const element = { type: "rectangle" };
  for (const drawing of [
    { type: "excalidraw", version: 2, elements: [element] },
    { version: 1, source: "https://excalidraw.com", elements: [element] },
    { type: "excalidraw/clipboard", elements: [element] },
    [element],
  ]) {
    expect(parseDrawing(JSON.stringify(drawing))).toEqual([element]);
  }
  expect(parseDrawing(`\ufeff${JSON.stringify({ elements: [element] })}`)).toEqual([element]);
  expect(parseDrawing('{"type":"excalidraw"}')).toEqual([]);
});

test("what is no drawing is told from one", () => {
  for (const text of ["", "{", "null", "7", '"x"', "[]", "[1]", "{}", '{"elements":{}}', '{"type":"excalidrawlib","library":[]}']) {
    expect(parseDrawing(text), text).toBeUndefined();
  }
});
