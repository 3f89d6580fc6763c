// Builds each mutant in a copy of the tree and lets the suite find it.

import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { MUTANTS } from "./mutants.mjs";

// How long the tests may take to find one.
const FOUND_WITHIN = 60_000;

// `MUTANTS_PROFILE=quick` builds sooner. The profile `dev` has a folder of another name.
const profile = process.env.MUTANTS_PROFILE || "release";
const folder = profile === "dev" ? "debug" : profile;

const root = fileURLToPath(new URL("../..", import.meta.url));
const work = `${root}target/mutants`;
const tree = `${work}/tree`;
const target = `${work}/target`;

// What is built; tests, documents and packages of the web client are not.
const PARTS = ["Cargo.toml", "Cargo.lock", "common", "proto", "persistence-service", "edge-gateway", "tests"];
const LEFT_OUT = /(^|\/)(node_modules|target|\.git)(\/|$)/;

function fail(problem) {
  console.error(problem);
  process.exit(1);
}

function copyTree() {
  mkdirSync(tree, { recursive: true });
  for (const part of PARTS) {
    cpSync(`${root}${part}`, `${tree}/${part}`, {
      recursive: true,
      preserveTimestamps: true,
      filter: (path) => !LEFT_OUT.test(path.slice(root.length)),
    });
  }
  // What others have built of the dependencies need not be built again.
  if (!existsSync(`${target}/${folder}`)) {
    for (const part of ["deps", "build", ".fingerprint"]) {
      const from = `${root}target/${folder}/${part}`;
      if (existsSync(from)) cpSync(from, `${target}/${folder}/${part}`, { recursive: true, preserveTimestamps: true });
    }
  }
}

/** Applies edits to the copy; each must apply exactly once. */
function mutate({ name, edits }) {
  for (const { file, find, replace } of edits) {
    const source = readFileSync(`${root}${file}`, "utf8");
    const places = source.split(find).length - 1;
    if (places !== 1) fail(`${name}: what it changes is ${places} times in ${file}:\n${find}`);
  }
  for (const { file, find, replace } of edits) {
    const source = readFileSync(`${tree}/${file}`, "utf8");
    writeFileSync(`${tree}/${file}`, source.replace(find, () => replace));
  }
}

function restore({ edits }) {
  // Written anew, so that cargo sees that they have changed.
  for (const { file } of edits) writeFileSync(`${tree}/${file}`, readFileSync(`${root}${file}`));
}

function build() {
  const { status, stderr } = spawnSync(
    "cargo",
    ["build", "--profile", profile, "--locked", "--workspace"],
    { cwd: tree, env: { ...process.env, CARGO_TARGET_DIR: target }, encoding: "utf8", maxBuffer: 1 << 26 },
  );
  if (status !== 0) fail(`a mutant does not build:\n${stderr.slice(-4000)}`);
}

/** Runs what is to find it; resolves with what was found, or nothing. */
function hunt({ file, tests }) {
  const start = performance.now();
  const { status, stdout } = spawnSync(
    process.execPath,
    ["--test", "--test-reporter=spec", `--test-name-pattern=${tests}`, file],
    {
      cwd: `${root}tests`,
      env: { ...process.env, ROOMKEEPER_BIN_DIR: `${target}/${folder}` },
      encoding: "utf8",
      maxBuffer: 1 << 26,
      timeout: FOUND_WITHIN,
      killSignal: "SIGTERM",
    },
  );
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  const [, found] = stdout.match(/^\s*(?:\+ {3}'|Error: |AssertionError \[ERR_ASSERTION\]: (?!\d+ violations))(.*)$/m) ?? [];
  // Within the time, and because of what it says, not because nothing ran.
  const isFound = status === 1 && found !== undefined;
  const how = status === 0 ? "the tests pass" : "the time is over, or nothing ran";
  return { isFound, says: `after ${seconds} s: ${isFound ? found.slice(0, 160) : how}` };
}

const wanted = process.argv.slice(2);
const chosen = MUTANTS.filter(({ name }) => wanted.length === 0 || wanted.some((word) => name.includes(word)));
if (chosen.length === 0) fail(`no such mutant; there are: ${MUTANTS.map(({ name }) => name).join(", ")}`);

copyTree();
build();
let survivors = 0;
for (const mutant of chosen) {
  // Without the mutation the same tests pass, so that it is what they find.
  mutate(mutant);
  build();
  const { isFound, says } = hunt(mutant);
  restore(mutant);
  console.log(`${isFound ? "found    " : "NOT FOUND"}  ${mutant.name} ${says}`);
  if (!isFound) survivors += 1;
}
console.log(`${chosen.length - survivors} of ${chosen.length} mutants found`);
process.exit(survivors === 0 ? 0 : 1);
