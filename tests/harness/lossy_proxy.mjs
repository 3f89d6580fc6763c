// A TCP proxy before Redis that can lose the messages of pub/sub and nothing else.

import { connect, createServer } from "node:net";

import { freePort } from "./ports.mjs";
import { parse } from "./resp.mjs";

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
      let bytes = Buffer.alloc(0);
      redis.on("data", (chunk) => {
        bytes = Buffer.concat([bytes, chunk]);
        // An answer may come together with a message.
        for (let one = parse(bytes, 0); one; one = parse(bytes, 0)) {
          if (proxy.losing && isMessage(one.value)) proxy.lost += 1;
          else client.write(bytes.subarray(0, one.end));
          bytes = bytes.subarray(one.end);
        }
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

function isMessage(value) {
  return Array.isArray(value) && ["message", "smessage"].includes(value[0]);
}
