// Free loopback ports that no two test files choose at once.

import { createServer } from "node:net";

// Below the range from which systems take the ports of outgoing connections, so
// that a port found free is still free when the program binds it. Each process
// counts up in a block of its own.
const FIRST = 12_000;
const BLOCK = 100;
const BLOCKS = 190;

let offset = 0;

/** Resolves with a port that nobody listens on. */
export async function freePort() {
  for (let tries = 0; tries < BLOCK; tries += 1) {
    const port = FIRST + (process.pid % BLOCKS) * BLOCK + (offset % BLOCK);
    offset += 1;
    if (await isFree(port)) return port;
  }
  throw new Error("no free port in this process's block");
}

function isFree(port) {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
