// A TCP proxy between two parts of the whole that can be as bad as a network.

import { connect, createServer } from "node:net";

import { freePort } from "../ports.mjs";

// How a message of pub/sub begins, in RESP3 and in RESP2.
const MESSAGE = /^[>*]\d+\r\n\$\d+\r\ns?message\r\n/;

// How many bytes one piece has at most while bytes are split.
const PIECE = 7;

/** Forwards to whatever `target` says: a port on loopback, asked for each connection. */
export class FaultyProxy {
  #links = new Set();
  #target;

  /** What is wrong: nothing, "muted", "cut" or "split". */
  #state = "well";

  /** How long each chunk is under way, in milliseconds. */
  #delay = 0;

  /** Every how manieth message of pub/sub is lost; 0: none is. */
  #losing = 0;

  #messages = 0;

  /** How many chunks still pass before one is truncated; negative: none is. */
  #truncateAfter = -1;

  static async to(target) {
    const proxy = new FaultyProxy();
    proxy.#target = typeof target === "function" ? target : () => target;
    proxy.port = await freePort();
    proxy.server = createServer({ noDelay: true }, (client) => proxy.#accept(client));
    await new Promise((resolve) => proxy.server.listen(proxy.port, "127.0.0.1", resolve));
    proxy.server.unref();
    return proxy;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  /** How many connections there are. */
  get connections() {
    return this.#links.size;
  }

  /** Nothing passes either way, and nobody is told: what was sent comes afterwards. */
  mute() {
    this.#become("muted");
  }

  /** Every connection is broken, and new ones are too. */
  cut() {
    this.#become("cut");
    for (const link of this.#links) link.end();
  }

  /** Breaks every connection; new ones pass. */
  cutOnce() {
    for (const link of this.#links) link.end();
  }

  /** Bytes come in pieces of a few. */
  split() {
    this.#become("split");
  }

  /** Each chunk takes so long, either way. */
  delay(milliseconds) {
    this.#delay = milliseconds;
  }

  /** Every so manieth message of pub/sub is lost, and nothing else. */
  lose(everyNth) {
    this.#losing = everyNth;
  }

  /** Whether this chunk is a message that is to be lost. */
  isLost(chunk) {
    // On a connection where little else goes on, a message comes alone.
    if (this.#losing === 0 || !MESSAGE.test(chunk.toString("latin1", 0, 64))) return false;
    this.#messages += 1;
    return this.#messages % this.#losing === 0;
  }

  /** The first half of a chunk passes, after so many whole ones, and the connection breaks. */
  truncate(after) {
    this.#truncateAfter = after;
  }

  /** All is well again. */
  heal() {
    this.#delay = 0;
    this.#losing = 0;
    this.#truncateAfter = -1;
    this.#become("well");
  }

  #become(state) {
    this.#state = state;
    for (const link of this.#links) link.stir();
  }

  #accept(client) {
    if (this.#state === "cut") {
      client.resetAndDestroy();
      return;
    }
    const server = connect({ port: this.#target(), host: "127.0.0.1", noDelay: true });
    const link = { end: undefined, stir: undefined };
    const ways = [new Way(client, server, this), new Way(server, client, this)];
    link.end = () => {
      this.#links.delete(link);
      client.destroy();
      server.destroy();
    };
    link.stir = () => ways.forEach((way) => way.stir());
    this.#links.add(link);
    for (const socket of [client, server]) {
      socket.on("error", link.end);
      socket.on("close", link.end);
    }
    link.stir();
  }

  get muted() {
    return this.#state === "muted";
  }

  get splitting() {
    return this.#state === "split";
  }

  get lag() {
    return this.#delay;
  }

  /** Whether this chunk is the one to be truncated. */
  isTruncated() {
    if (this.#truncateAfter < 0) return false;
    this.#truncateAfter -= 1;
    return this.#truncateAfter < 0;
  }
}

// One direction of one connection: what it reads it writes, in order.
class Way {
  #waiting = [];
  #timer;

  constructor(from, to, proxy) {
    this.from = from;
    this.to = to;
    this.proxy = proxy;
    from.on("data", (chunk) => {
      if (proxy.isLost(chunk)) return;
      this.#waiting.push({ chunk, due: performance.now() + proxy.lag });
      this.#pass();
    });
    // The half that ends first takes the other along, after what it has sent.
    from.on("end", () => {
      this.ending = true;
      this.#pass();
    });
    to.on("drain", () => this.stir());
  }

  /** Looks again at what may pass. */
  stir() {
    if (this.proxy.muted) this.from.pause();
    else if (!this.to.writableNeedDrain) this.from.resume();
    this.#pass();
  }

  #pass() {
    if (this.proxy.muted) return;
    while (this.#waiting.length > 0) {
      const [{ chunk, due }] = this.#waiting;
      const early = due - performance.now();
      if (early > 0) {
        this.#timer ??= setTimeout(() => {
          this.#timer = undefined;
          this.#pass();
        }, early);
        return;
      }
      this.#waiting.shift();
      if (this.proxy.isTruncated()) {
        this.to.write(chunk.subarray(0, Math.floor(chunk.length / 2)), () => {
          this.to.destroy();
          this.from.destroy();
        });
        return;
      }
      this.#write(chunk);
    }
    if (this.ending) this.to.end();
  }

  #write(chunk) {
    const size = this.proxy.splitting ? PIECE : chunk.length;
    let room = true;
    for (let start = 0; start < chunk.length; start += size) {
      room = this.to.write(chunk.subarray(start, start + size));
    }
    if (!room) this.from.pause();
  }
}
