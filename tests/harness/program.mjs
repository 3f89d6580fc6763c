// A child process: its log, its end, its restart.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { until, within } from "./until.mjs";

const running = new Set();
const folders = new Set();

/** Ends all programs at once and removes what they wrote. */
export function endAll() {
  for (const program of running) program.signal("SIGKILL");
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
}

// Whatever way this process ends, its children end with it. An error outside of
// any test ends it without "exit".
process.on("exit", endAll);
process.on("uncaughtExceptionMonitor", endAll);
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.once(signal, () => process.exit(1));
}

/** A new empty folder, removed when this process ends. */
export function temporaryFolder() {
  const folder = mkdtempSync(join(tmpdir(), "roomkeeper-"));
  folders.add(folder);
  return folder;
}

const COLOURS = /\u001b\[[0-9;]*m/g;

/** A program that can be stopped, killed and started again the same way. */
export class Program {
  #options;
  #child;
  #ended;

  /** What it has written to both outputs, over all its starts. */
  log = "";

  /** `options`: `name`, `command`, `args`, `cwd`, `env` (nothing is inherited). */
  constructor(options) {
    this.#options = options;
    this.name = options.name;
    this.start();
  }

  start() {
    const { command, args = [], cwd, env = {} } = this.#options;
    const child = spawn(command, args, {
      cwd: cwd ?? temporaryFolder(),
      env,
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    running.add(this);
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8");
      stream.on("data", (text) => {
        this.log += text.replace(COLOURS, "");
      });
    }
    this.#ended = new Promise((resolve) => {
      child.once("error", (error) => {
        this.log += `${error.message}\n`;
        running.delete(this);
        resolve({ code: null, signal: null });
      });
      child.once("close", (code, signal) => {
        running.delete(this);
        resolve({ code, signal });
      });
    });
  }

  get isRunning() {
    return running.has(this);
  }

  get pid() {
    return this.#child.pid;
  }

  /** Resolves with `{code, signal}` when it has ended and its log is whole. */
  ended(deadline) {
    return within(() => `${this.name} ends\n${this.log.slice(-2000)}`, this.#ended, deadline);
  }

  signal(name) {
    if (running.has(this)) this.#child.kill(name);
  }

  /**
   * Stops it as it is, until SIGCONT, and resolves when it stands still: a thread
   * that runs on another core goes on for a moment, and could still answer.
   */
  async freeze() {
    this.signal("SIGSTOP");
    // Only Linux tells of each thread; elsewhere the signal must do.
    if (!existsSync("/proc/self/task")) return;
    const tasks = `/proc/${this.pid}/task`;
    await until(`${this.name} stands still`, () => readdirSync(tasks).every((task) =>
      /\) T /.test(readFileSync(`${tasks}/${task}/stat`, "latin1"))));
  }

  /** Asks it to stop, as a supervisor does, and expects a clean end. */
  async stop(deadline = 10_000) {
    if (!running.has(this)) return;
    this.signal("SIGTERM");
    // A program that a test has paused could not answer.
    this.signal("SIGCONT");
    const end = await this.ended(deadline);
    assert.deepEqual(end, { code: 0, signal: null }, `${this.name}:\n${this.log.slice(-2000)}`);
  }

  /** kill -9. */
  async kill() {
    this.signal("SIGKILL");
    await this.ended();
  }
}
