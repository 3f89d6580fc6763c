import { expect, test } from "vitest";

import { count } from "../reasons";
import { inWords } from "./report";

const report = { file: "plan.excalidraw", total: 40, accepted: 37, left: new Map<string, number>(), dropped: new Map<string, number>() };

test("what could not be kept is counted with its reasons, the most frequent ones first", () => {
  const left = new Map<string, number>();
  for (const reason of ["the board is full", "a stroke without points", "the board is full"]) count(left, reason);
  expect(inWords({ ...report, left })).toBe(
    "Added what plan.excalidraw holds to the board. 3 of 40 could not be kept: the board is full (2), a stroke without points (1).",
  );
  expect(inWords({ ...report, accepted: 0, left })).toMatch(/^Nothing of plan\.excalidraw was added\. 3 of 40/);
});

test("a file of nothing new says so, and so does one that lost a part of its elements", () => {
  expect(inWords({ ...report, accepted: 0 })).toBe("plan.excalidraw holds nothing new.");
  expect(inWords({ ...report, dropped: new Map([["link", 2], ["customData", 1]]) })).toBe(
    "Added what plan.excalidraw holds to the board. 2 links were left out: only web and mail addresses are kept. " +
      "Data that nests too deeply was left out of an element.",
  );
});

test("many reasons, and long ones, fit a notice", () => {
  const left = new Map<string, number>();
  for (let n = 0; n < 50; n += 1) count(left, `${n} ${"x".repeat(500)}`);
  const text = inWords({ ...report, left });
  expect(text.length).toBeLessThan(600);
  expect(text).toMatch(/and others\.$/);
});
