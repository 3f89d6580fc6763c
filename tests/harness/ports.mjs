// Free loopback ports that no two test files choose at once.

import { createServer } from "node:net";

// Below the range from which systems take the ports of outgoing connections, so
// that a port found free is still free when the program binds it. Each process
// counts up in a block of its own, which is its own as long as it keeps the first
// port: what it stops and starts again finds its port free.
const FIRST = 12_000;
const BLOCK = 100;
const BLOCKS = 190;

let block;
let offset = 0;

/** Resolves with a port that nobody listens on. */
export async function freePort() {
  block ??= claimBlock();
  const first = await block;
  for (let tries = 1; tries < BLOCK; tries += 1) {
    offset = (offset % (BLOCK - 1)) + 1;
    const port = first + offset;
    if (await isFree(port)) return port;
  }
  throw new Error("no free port in this process's block");
}

async function claimBlock() {
  for (let n = 0; n < BLOCKS; n += 1) {
    const first = FIRST + ((process.pid + n) % BLOCKS) * BLOCK;
    const server = await listener(first);
    if (server) {
      server.unref();
      return first;
    }
  }
  throw new Error("no free block of ports");
}

async function isFree(port) {
  const server = await listener(port);
  if (server) await new Promise((resolve) => server.close(resolve));
  return server !== undefined;
}

function listener(port) {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(undefined));
    server.listen(port, "127.0.0.1", () => resolve(server));
  });
}
