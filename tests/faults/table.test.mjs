// docs/faults.md and the tests agree: each fault has a row and a test, each promise a test.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const here = fileURLToPath(new URL(".", import.meta.url));
const document = await readFile(`${here}../../docs/faults.md`, "utf8");

/** The cells of the table under a heading, row by row. */
function table(heading) {
  const [, section = ""] = document.split(`## ${heading}\n`);
  return section.split("\n## ")[0].split("\n")
    .filter((line) => line.startsWith("| "))
    .slice(2)
    .map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()));
}

const sorted = (list) => [...list].sort();

test("each fault of the table has one test, and each test its row", async () => {
  const files = [];
  for (const file of await readdir(here)) {
    const source = await readFile(`${here}${file}`, "utf8");
    if (/^import .*\brow\b.* from ".*row\.mjs";$/m.test(source)) files.push(file);
  }
  const tested = [];
  for (const file of files) {
    const { stdout } = await promisify(execFile)(process.execPath, [`${here}${file}`], {
      env: { PATH: process.env.PATH, LIST_ROWS: "1" },
    });
    for (const [, name] of stdout.matchAll(/^row: (.*)$/gm)) tested.push([name, `tests/faults/${file}`]);
  }
  const rows = table("Faults");
  for (const [, outcome] of rows) assert.ok(outcome.length > 5, "a row without an outcome");
  assert.deepEqual(
    sorted(rows.map(([fault, , file]) => `${fault} | ${file.replaceAll("`", "")}`)),
    sorted(tested.map(([name, file]) => `${name} | ${file}`)),
  );
});

test("each promise has one test that names it", async () => {
  const titles = new Map();
  for (const folder of ["../e2e", "../faults"]) {
    for (const file of await readdir(`${here}${folder}`)) {
      const source = await readFile(`${here}${folder}/${file}`, "utf8");
      for (const [, promise, title] of source.matchAll(/test\(\s*["`](P\d+): ([^"`]*)/g)) {
        assert.ok(!titles.has(promise), `${promise} has two tests`);
        titles.set(promise, `tests/${folder.slice(3)}/${file}`);
        assert.ok(title.length > 0);
      }
    }
  }
  const rows = table("Promises");
  assert.deepEqual(rows.map(([promise]) => promise), Array.from({ length: 12 }, (_, n) => `P${n + 1}`));
  for (const [promise, , file] of rows) {
    assert.equal(titles.get(promise), file.replaceAll("`", ""), `the test of ${promise}`);
  }
  assert.equal(titles.size, rows.length);
});
