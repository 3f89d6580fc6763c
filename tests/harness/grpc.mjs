// A gRPC client that knows nothing but reflection: buf curl.

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

import { temporaryFolder } from "./program.mjs";
import { DEADLINE, within } from "./until.mjs";

const BUF = fileURLToPath(new URL("../node_modules/.bin/buf", import.meta.url));
const home = temporaryFolder();

const COMMON = ["curl", "--protocol", "grpc", "--http2-prior-knowledge", "--emit-defaults"];

function buf(args, input = "ignore") {
  return spawn(BUF, args, {
    env: { PATH: process.env.PATH, HOME: home },
    stdio: [input, "pipe", "pipe"],
  });
}

/** Runs `buf curl` to its end and resolves with `{code, stdout, stderr}`. */
export async function curl(...args) {
  const child = buf([...COMMON, ...args]);
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text) => (stderr += text));
  const code = await within(
    () => `buf curl ${args.join(" ")} ends: ${stderr}`,
    new Promise((resolve, reject) => child.once("error", reject).once("close", resolve)),
    30_000,
  ).finally(() => child.kill("SIGKILL"));
  return { code, stdout, stderr };
}

/**
 * Calls one RPC of RoomService. Resolves with `{response}`, or `{error}` as buf
 * prints it: `{code, message, details}`.
 */
export async function call(address, method, body = {}) {
  const { code, stdout, stderr } = await curl(
    "-d",
    JSON.stringify(body),
    `${address}/roomkeeper.v1.RoomService/${method}`,
  );
  if (code === 0) return { response: JSON.parse(stdout) };
  try {
    return { error: JSON.parse(stderr) };
  } catch {
    throw new Error(`buf curl ended with ${code}: ${stderr}`);
  }
}

/** A stream of frames under way. */
export class Stream {
  #child;
  #waiting = new Set();
  #text = "";
  #problem = "";

  /** The frames so far. */
  frames = [];

  /**
   * `method` is one of RoomService, or of another service by its full name. Without a `body`
   * the requests are what `send` is given.
   */
  constructor(address, method, body) {
    this.#child = buf(
      [
        ...COMMON,
        "-d",
        body ? JSON.stringify(body) : "@-",
        `${address}/${method.includes("/") ? method : `roomkeeper.v1.RoomService/${method}`}`,
      ],
      body ? "ignore" : "pipe",
    );
    this.#child.stderr.setEncoding("utf8").on("data", (text) => (this.#problem += text));
    this.#child.stdout.setEncoding("utf8").on("data", (text) => {
      this.#text += text;
      this.#take();
    });
    this.ended = new Promise((resolve) => this.#child.once("close", resolve));
  }

  // The frames are JSON objects one after the other; buf writes the last brace
  // of each at the start of a line or compactly, so braces are counted.
  #take() {
    let depth = 0;
    let quoted = false;
    let start = 0;
    for (let n = 0; n < this.#text.length; n += 1) {
      const character = this.#text[n];
      if (quoted) {
        if (character === "\\") n += 1;
        else if (character === '"') quoted = false;
      } else if (character === '"') quoted = true;
      else if (character === "{") depth += 1;
      else if (character === "}") {
        depth -= 1;
        if (depth === 0) {
          const frame = JSON.parse(this.#text.slice(start, n + 1));
          start = n + 1;
          this.frames.push(frame);
          for (const waiting of this.#waiting) waiting(frame);
        }
      }
    }
    this.#text = this.#text.slice(start);
  }

  /** Sends one more request on a bidirectional stream. */
  send(body) {
    this.#child.stdin.write(`${JSON.stringify(body)}\n`);
  }

  /** The first frame, from the beginning, for which `predicate` holds. */
  async frame(predicate) {
    const found = this.frames.find(predicate);
    if (found) return found;
    let waiting;
    const arrival = new Promise((resolve) => {
      waiting = (frame) => predicate(frame) && resolve(frame);
      this.#waiting.add(waiting);
    });
    return within(
      () => `a frame ${predicate}; got ${JSON.stringify(this.frames)} ${this.#problem}`,
      arrival,
      DEADLINE,
    ).finally(() => this.#waiting.delete(waiting));
  }

  close() {
    this.#child.kill("SIGKILL");
  }
}
