// A TCP proxy before Redis that can lose the messages of pub/sub and nothing else.

import { connect, createServer } from "node:net";

import { freePort } from "./ports.mjs";

// How a pushed message begins, in RESP3 and in RESP2.
const MESSAGE = /^[>*]\d+\r\n\$\d+\r\ns?message\r\n/;

/** Forwards to a port on loopback. */
export class LossyProxy {
  /** Whether messages are lost now. */
  losing = false;

  /** How many were lost. */
  lost = 0;

  static async to(port) {
    const proxy = new LossyProxy();
    proxy.port = await freePort();
    proxy.server = createServer((client) => {
      const redis = connect(port, "127.0.0.1");
      client.pipe(redis);
      redis.on("data", (chunk) => {
        // On a connection where nothing else goes on, a message comes alone.
        if (proxy.losing && MESSAGE.test(chunk.toString("latin1", 0, 64))) proxy.lost += 1;
        else client.write(chunk);
      });
      for (const [one, other] of [[client, redis], [redis, client]]) {
        one.on("error", () => other.destroy());
        one.on("close", () => other.destroy());
      }
    });
    await new Promise((resolve) => proxy.server.listen(proxy.port, "127.0.0.1", resolve));
    proxy.server.unref();
    return proxy;
  }
}
