// Engine.IO over polling by hand, where what is sent must be exact to the byte.

import { request } from "./http.mjs";
import { until } from "./until.mjs";

/** One Engine.IO session whose packets are plain text. */
export class Polling {
  #polling = false;

  /** The packets received so far. */
  packets = [];

  /** Opens a session and connects to the namespace `/`. */
  static async connect(url) {
    const polling = new Polling();
    const base = `${url}/socket.io/?EIO=4&transport=polling`;
    const { text } = await request(base);
    polling.url = `${base}&sid=${JSON.parse(text.slice(1)).sid}`;
    await polling.send("40");
    await polling.packet(/^40/);
    return polling;
  }

  /** Posts one body; resolves with the HTTP answer. */
  send(body, headers = {}) {
    return request(this.url, {
      method: "POST",
      body,
      headers: { "content-type": "text/plain;charset=UTF-8", ...headers },
    });
  }

  /** Polls until a packet matches, and resolves with it. */
  async packet(pattern) {
    return until(`a packet like ${pattern}`, async () => {
      const found = this.packets.findIndex((packet) => pattern.test(packet));
      if (found >= 0) return this.packets.splice(found, 1)[0];
      await this.#poll();
      return undefined;
    });
  }

  async #poll() {
    if (this.#polling) return;
    this.#polling = true;
    try {
      const { text } = await request(this.url);
      for (const packet of text.split("\u001e")) {
        if (packet === "2") await this.send("3");
        else this.packets.push(packet);
      }
    } finally {
      this.#polling = false;
    }
  }
}
