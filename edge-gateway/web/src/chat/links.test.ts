import { expect, test } from "vitest";

import { pieces } from "./links";

const hrefs = (text: string) => pieces(text).flatMap(({ href }) => href ?? []);

test("addresses are found, without the punctuation around them", () => {
  expect(pieces("see https://a.example/b?c=d. And")).toEqual([
    { text: "see " },
    { text: "https://a.example/b?c=d", href: "https://a.example/b?c=d" },
    { text: ". And" },
  ]);
  expect(hrefs("(http://a.example/x_(y)) mailto:a@b.example!")).toEqual([
    "http://a.example/x_(y)",
    "mailto:a@b.example",
  ]);
});

test("nothing that could run is a link", () => {
  for (const text of [
    "javascript:alert(1)",
    "JavaScript:alert(1)//https",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:x",
    "file:///etc/passwd",
    "http://",
    "mailto:",
    "xhttp://a",
  ]) {
    expect(hrefs(text), text).toEqual([]);
  }
  expect(hrefs('<a href="https://a.example/" onclick="x">')).toEqual(["https://a.example/"]);
});

test("the pieces are the text", () => {
  for (const text of ["", "a", "https://a.example", "a https://b.example c\nhttp://d.example\n", "👋 https://ü.example/ß"]) {
    expect(pieces(text).map((piece) => piece.text).join("")).toBe(text);
  }
});
