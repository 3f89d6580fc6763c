// The network between a browser and the gateway, which can be cut and can fall silent.

import { connect, createServer } from "node:net";

import { freePort } from "./ports.mjs";

/** Forwards to a port on loopback. */
export class Link {
  #pairs = new Set();
  #isCut = false;

  static async to(port) {
    const link = new Link();
    link.port = await freePort();
    link.url = `http://127.0.0.1:${link.port}`;
    link.server = createServer((client) => link.#forward(client, port));
    await new Promise((resolve) => link.server.listen(link.port, "127.0.0.1", resolve));
    link.server.unref();
    return link;
  }

  /** How many connections are open and not silent. */
  get open() {
    return [...this.#pairs].filter(({ isSilent }) => !isSilent).length;
  }

  /** Ends all connections, and refuses new ones until `restore`. */
  cut() {
    this.#isCut = true;
    for (const { client } of this.#pairs) client.destroy();
  }

  restore() {
    this.#isCut = false;
  }

  /**
   * Lets no byte pass any more on the connections that are open now, which stay open. That is
   * what a browser meets after a sleep. New connections work.
   */
  silence() {
    for (const pair of this.#pairs) {
      pair.isSilent = true;
      pair.client.unpipe(pair.server);
      pair.server.unpipe(pair.client);
      // What comes is read, so that the sender notices nothing.
      pair.client.resume();
      pair.server.resume();
    }
  }

  #forward(client, port) {
    if (this.#isCut) {
      client.destroy();
      return;
    }
    const pair = { client, server: connect(port, "127.0.0.1"), isSilent: false };
    this.#pairs.add(pair);
    client.pipe(pair.server).pipe(client);
    for (const [one, other] of [[client, pair.server], [pair.server, client]]) {
      one.on("error", () => other.destroy());
      one.on("close", () => {
        this.#pairs.delete(pair);
        other.destroy();
      });
    }
  }
}
