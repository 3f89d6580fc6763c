import { expect, test } from "vitest";

import type { WireElement } from "../protocol/payloads";
import { Fates } from "./fates";

function element(id: string, version = 1, more: Partial<WireElement> = {}): WireElement {
  return { id, type: "rectangle", version, versionNonce: 5, ...more };
}

test("each element has its fate: accepted, lost to a winner, or refused", async () => {
  const fates = new Fates();
  const settled = fates.of(["a", "b", "c", "d"].map((id) => element(id)));
  const winner = element("b", 4, { isDeleted: true });
  fates.answered(element("a"), element("a"));
  fates.answered(element("b"), winner);
  expect(fates.refused(element("c"), "the board is full")).toBe(true);
  expect(fates.refused(element("other"), "the board is full")).toBe(false);
  fates.end("the room ended");
  expect([...(await settled).values()]).toEqual([
    { what: "accepted" },
    { what: "lost", winner },
    { what: "refused", reason: "the board is full" },
    { what: "refused", reason: "the room ended" },
  ]);
});

test("what its author made of an element since is as good, and an older version is not", async () => {
  const fates = new Fates();
  const settled = fates.of([element("a", 3)]);
  fates.answered(element("a", 2), element("a", 2));
  expect(fates.refused(element("a", 2), "x")).toBe(false);
  fates.answered(element("a", 4), element("a", 4));
  expect([...(await settled).values()]).toEqual([{ what: "accepted" }]);
});

test("to wait for nothing ends at once", async () => {
  expect((await new Fates().of([])).size).toBe(0);
});
