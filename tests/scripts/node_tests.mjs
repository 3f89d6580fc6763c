// Runs Node test files, several at once, and runs a failed file once more.
//
//   node node_tests.mjs CONCURRENCY SECONDS SUM FLAKY FILE...
//
// Each file has SECONDS for all of its tests. A file that failed runs once more after all
// the others, alone, and the sum counts its second run. A file of `faults/` or `mutants/`
// never runs twice: it breaks the programs by chance, so a pass of the second run would
// say nothing about the first. `PASSED FAILED FLAKY` goes to the file SUM, and a report
// of each flaky file, one that passed only the second time, is appended to FLAKY.

import { spawn } from "node:child_process";
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const TALLY = fileURLToPath(new URL("tally.mjs", import.meta.url));
const RUN_ONCE = /(^|\/)(faults|mutants)\//;
// A file that Node has asked to end gets so long; then its process group is killed.
const END_SECONDS = 5;

const [concurrency, seconds, sumFile, flakyFile, ...files] = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), "roomkeeper-node-tests-"));
const groups = new Set();

function kill(group) {
  try {
    process.kill(-group, "SIGKILL");
  } catch {
    // All of it has ended.
  }
}

// The groups are not the terminal's, so a Ctrl-C reaches them only from here.
process.on("exit", () => {
  for (const group of groups) kill(group);
  rmSync(folder, { recursive: true, force: true });
});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.once(signal, () => process.exit(1));

/** What a run came to; a run that ends without a word counts as one failed test. */
function result(report, code) {
  let told;
  try {
    told = JSON.parse(readFileSync(report, "utf8"));
  } catch {
    told = { passed: 0, failed: 0, failures: [] };
  }
  if (told.failed === 0 && code !== 0) {
    told.failed = 1;
    told.failures.push(`the file, which ended with ${code ?? "a signal"}`);
  }
  return told;
}

/** Runs one file and resolves with `{file, passed, failed, failures, output}`. */
function run(file, attempt) {
  const report = join(folder, `${files.indexOf(file)}-${attempt}`);
  const child = spawn(process.execPath, [
    "--test", `--test-timeout=${seconds * 1000}`,
    "--test-reporter=spec", "--test-reporter-destination=stdout",
    `--test-reporter=${TALLY}`, `--test-reporter-destination=${report}`,
    file,
  ], { detached: true, stdio: ["ignore", "pipe", "pipe"] });
  groups.add(child.pid);
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text) => {
      output += text;
    });
  }
  const stuck = setTimeout(() => kill(child.pid), (Number(seconds) + END_SECONDS) * 1000);
  return new Promise((resolve) => {
    child.once("close", (code) => {
      clearTimeout(stuck);
      kill(child.pid);
      groups.delete(child.pid);
      process.stdout.write(`-- ${file}\n${output}`);
      resolve({ file, output, ...result(report, code) });
    });
  });
}

async function runAll() {
  const runs = [];
  const waiting = [...files];
  const lane = async () => {
    for (let file = waiting.shift(); file; file = waiting.shift()) runs.push(await run(file, 1));
  };
  await Promise.all(Array.from({ length: Number(concurrency) }, lane));
  return runs;
}

function describe({ file, failures, output }) {
  const seeds = [...new Set(output.match(/\b[A-Z_]*SEED=\d+/g) ?? [])];
  return [
    `${file}: ${failures.join("; ")}`,
    `seed: ${seeds.join(" ") || "none"}`,
    output.trimEnd(),
    "",
  ].join("\n");
}

let passed = 0;
let failed = 0;
let flaky = 0;
for (const first of await runAll()) {
  let counted = first;
  if (first.failed > 0 && !RUN_ONCE.test(first.file)) {
    console.log(`-- ${first.file} failed and runs once more`);
    counted = await run(first.file, 2);
    if (counted.failed === 0) {
      flaky += 1;
      appendFileSync(flakyFile, describe(first));
    }
  }
  passed += counted.passed;
  failed += counted.failed;
}
writeFileSync(sumFile, `${passed} ${failed} ${flaky}\n`);
process.exitCode = failed === 0 ? 0 : 1;
