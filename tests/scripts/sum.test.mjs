// The sum at the end of `make test` counts what its test files did, flaky ones too.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";

const SUM = fileURLToPath(new URL("sum.sh", import.meta.url));
const folders = [];
after(() => folders.forEach((folder) => rmSync(folder, { recursive: true, force: true })));

const PASSES = 'test("it holds", () => {});';
const FAILS = 'test("it holds", () => {}); test("it does not hold", () => { throw new Error("no"); });';
const CRASHES = 'test("it holds", () => {}); process.kill(process.pid, "SIGKILL");';
const HANGS = 'test("it never ends", () => new Promise(() => setInterval(() => {}, 1000)));';
// A file that handles SIGTERM, as the harness does, and never gets to its handler.
const SPINS = 'process.once("SIGTERM", () => {}); test("it never ends", () => { for (;;); });';
const FAILS_FIRST = `
  import { existsSync, writeFileSync } from "node:fs";
  const been = import.meta.filename + ".been";
  test("it holds", () => {});
  test("it holds the second time", () => {
    if (existsSync(been)) return;
    writeFileSync(been, "");
    console.log("SEED=4711 plays it again");
    throw new Error("not yet");
  });`;

/** Runs `files`, sources by name, in one folder of tests, and resolves with what the sum says. */
async function summed(files, { seconds = 30, folder = "e2e" } = {}) {
  const tests = mkdtempSync(join(tmpdir(), "roomkeeper-sum-"));
  folders.push(tests);
  for (const [name, source] of Object.entries(files)) {
    mkdirSync(join(tests, folder), { recursive: true });
    writeFileSync(join(tests, folder, `${name}.test.mjs`), `import { test } from "node:test";\n${source}`);
  }
  // The runner of this file tells its children not to run any tests.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const child = spawn("bash", ["-uc", `
    set -o pipefail
    source "${SUM}"
    node_tests "some tests" 2 ${seconds} "${folder}/*.test.mjs"
    total`], { env: { ...env, TESTS: tests }, stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text) => {
    output += text;
  });
  const status = await new Promise((resolve) => child.once("close", resolve));
  const [, flaky] = output.split("\nFlaky:");
  return { status, output, flaky, last: output.trimEnd().split("\n").at(-1) };
}

const lines = (text) => text.trim().split("\n");

test("tests that pass are summed over all files", async () => {
  const { status, flaky, last } = await summed({ one: PASSES, two: PASSES });
  assert.deepEqual([status, last, flaky], [0, "2 passed, 0 failed", undefined]);
});

test("a file that passes the second time is counted by that run and reported as flaky", async () => {
  const { status, flaky, last } = await summed({ one: PASSES, shaky: FAILS_FIRST });
  assert.deepEqual([status, last], [0, "3 passed, 0 failed"]);
  assert.match(flaky, /^e2e\/shaky\.test\.mjs: it holds the second time$/m);
  assert.match(flaky, /^seed: SEED=4711$/m);
  assert.match(flaky, /Error: not yet/);
  assert.equal(lines(flaky).at(-1), last);
});

test("a file that fails twice is a failure and not flaky", async () => {
  const { status, output, flaky, last } = await summed({ one: PASSES, bad: FAILS });
  assert.deepEqual([status, last, flaky], [1, "2 passed, 1 failed", undefined]);
  assert.match(output, /-- e2e\/bad\.test\.mjs failed and runs once more/);
  assert.match(output, /^ {2}some tests: 1 tests$/m);
});

for (const folder of ["faults", "mutants"]) {
  test(`a file of ${folder}/ never runs twice`, async () => {
    const { status, output, flaky, last } = await summed({ shaky: FAILS_FIRST }, { folder });
    assert.deepEqual([status, last, flaky], [1, "1 passed, 1 failed", undefined]);
    assert.doesNotMatch(output, /once more/);
  });
}

test("two flaky files pass, and three fail the run", async () => {
  const two = await summed({ a: FAILS_FIRST, b: FAILS_FIRST });
  assert.deepEqual([two.status, two.last], [0, "4 passed, 0 failed"]);
  const three = await summed({ a: FAILS_FIRST, b: FAILS_FIRST, c: FAILS_FIRST });
  assert.deepEqual([three.status, three.last], [1, "6 passed, 1 failed"]);
  assert.match(three.output, /^ {2}flaky files: 3, /m);
});

test("a file that crashes fails", async () => {
  const { status, last } = await summed({ one: PASSES, bad: CRASHES });
  assert.equal(status, 1);
  assert.match(last, /^\d+ passed, 1 failed$/);
});

test("a file that takes too long fails, whether it can be asked to end or not", async () => {
  const { status, output, last } = await summed({ hangs: HANGS, spins: SPINS }, { seconds: 1, folder: "faults" });
  assert.equal(status, 1, output);
  assert.match(last, /^0 passed, 2 failed$/, output);
});

test("a pattern without a file fails", async () => {
  const { status, last } = await summed({});
  assert.deepEqual([status, last], [1, "0 passed, 1 failed"]);
});
