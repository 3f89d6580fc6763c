// Both programs from a debug build behind the web client's dev server. A change of a
// Rust file or of the schema builds them again and restarts them; Vite reloads the page
// by itself. Ctrl-C stops everything.

import { spawn } from "node:child_process";
import { watch } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const PROGRAMS = join(process.env.CARGO_TARGET_DIR ?? join(ROOT, "target"), "debug");
const NAMES = ["persistence-service", "edge-gateway"];
const WATCHED = ["persistence-service", "edge-gateway/src", "edge-gateway/static", "proto", "Cargo.toml"];
const SOURCE = /\.(rs|lua|proto|toml|html|css|js)$/;

// An editor that saves many files at once causes one build.
const QUIET_MS = 200;

// A program that ends by itself is started again with the next change only, so that a
// faulty one does not start again and again.
let running = [];
let isStopping = false;

function start(command, args, options = {}) {
  const child = spawn(command, args, { cwd: ROOT, stdio: ["ignore", "inherit", "inherit"], ...options });
  child.ended = new Promise((resolve) => {
    child.once("error", (error) => {
      console.error(`${command}: ${error.message}`);
      resolve(1);
    });
    child.once("exit", (code, signal) => resolve(signal ?? code));
  });
  return child;
}

/** Stops programs at once: the second signal skips the time that browsers get to leave. */
async function stop(children) {
  for (const child of children) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill("SIGTERM");
    await new Promise((resolve) => setTimeout(resolve, 50));
    child.kill("SIGTERM");
    await child.ended;
  }
}

async function build() {
  const status = await start("cargo", ["build", "--workspace"]).ended;
  if (status !== 0) console.error("The build failed; the programs of the last good build go on.");
  return status === 0;
}

async function restart() {
  const replaced = running;
  running = [];
  await stop(replaced);
  if (isStopping) return;
  running = NAMES.map((name) => {
    const child = start(join(PROGRAMS, name), []);
    child.ended.then((status) => {
      if (!isStopping && running.includes(child)) console.error(`${name} ended with ${status}.`);
    });
    return child;
  });
}

let turn = Promise.resolve();
let timer;

function changed() {
  clearTimeout(timer);
  timer = setTimeout(() => {
    turn = turn.then(async () => {
      if (!isStopping && (await build())) await restart();
    });
  }, QUIET_MS);
}

if (!(await build())) process.exit(1);
await restart();

// Its own process group, so that Ctrl-C in the terminal reaches this script alone.
const page = start("npm", ["--prefix", "edge-gateway/web", "run", "dev"], { detached: true });

for (const path of WATCHED) {
  watch(join(ROOT, path), { recursive: !path.endsWith(".toml") }, (_kind, file) => {
    if (file === null || SOURCE.test(file)) changed();
  });
}

async function end(code) {
  if (isStopping) return;
  isStopping = true;
  if (page.exitCode === null) process.kill(-page.pid, "SIGTERM");
  await stop(running);
  process.exit(code);
}

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => end(0));
page.ended.then((status) => {
  if (!isStopping) console.error(`The dev server ended with ${status}.`);
  end(1);
});
