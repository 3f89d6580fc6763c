import { expect, test } from "vitest";

import { readable } from "./xml";

test("what XML cannot hold is replaced by a space, or goes", () => {
  expect(readable("a\vb\fc")).toBe("a b c");
  expect(readable("\u0000a\u0008\u001f\ud83d\uffff")).toBe("a");
  expect(readable("\t\n\u00a0é😀")).toBe("\t\n\u00a0é😀");
});
