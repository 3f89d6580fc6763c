// A private redis-server, and what the assertions ask it.

import { writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";

import { freePort } from "./ports.mjs";
import { Program, temporaryFolder } from "./program.mjs";
import { encode, parse } from "./resp.mjs";
import { until, within } from "./until.mjs";

/** A redis-server on loopback with its append-only file in a folder of its own. */
export class Redis {
  #program;
  #args;

  static async start(options = {}) {
    const redis = new Redis();
    redis.port = await freePort();
    redis.url = `redis://127.0.0.1:${redis.port}`;
    const settings = {
      port: redis.port,
      bind: "127.0.0.1",
      dir: temporaryFolder(),
      appendonly: "yes",
      appendfsync: "everysec",
      save: "",
      "maxmemory-policy": "noeviction",
      ...options,
    };
    redis.#args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]);
    return redis.#started();
  }

  /** A sentinel with the given lines in its file. */
  static async sentinel(lines) {
    const redis = new Redis();
    redis.port = await freePort();
    const folder = temporaryFolder();
    const file = join(folder, "sentinel.conf");
    writeFileSync(file, [`port ${redis.port}`, "bind 127.0.0.1", `dir ${folder}`, ...lines, ""].join("\n"));
    redis.#args = [file, "--sentinel"];
    return redis.#started();
  }

  async #started() {
    this.#program = new Program({
      name: "redis-server",
      command: "redis-server",
      args: this.#args,
      env: { PATH: process.env.PATH },
    });
    await this.#ready();
    return this;
  }

  async #ready() {
    await until(`redis-server answers\n${this.#program.log}`, async () => {
      return (await this.command("PING")) === "PONG";
    });
  }

  /** Sends one command on a connection of its own; an error answer is thrown. */
  async command(...parts) {
    const [answer] = await this.pipeline([parts]);
    if (answer instanceof Error) throw answer;
    return answer;
  }

  /** Sends commands in one packet and resolves with their answers, in order. */
  pipeline(commands) {
    return new Promise((resolve, reject) => {
      const socket = connect(this.port, "127.0.0.1");
      const answers = [];
      let bytes = Buffer.alloc(0);
      socket.setTimeout(10_000, () => socket.destroy(new Error("redis-server does not answer")));
      socket.once("error", reject);
      socket.once("close", () => reject(new Error("redis-server closed the connection")));
      socket.on("data", (chunk) => {
        bytes = Buffer.concat([bytes, chunk]);
        for (;;) {
          const parsed = parse(bytes, 0);
          if (!parsed) return;
          bytes = bytes.subarray(parsed.end);
          answers.push(parsed.value);
          if (answers.length === commands.length) {
            resolve(answers);
            socket.destroy();
            return;
          }
        }
      });
      socket.write(Buffer.concat(commands.map(encode)));
    });
  }

  /** All keys that match a pattern, sorted. */
  async keys(pattern) {
    const keys = new Set();
    let cursor = "0";
    do {
      const [next, page] = await this.command("SCAN", cursor, "MATCH", pattern, "COUNT", "1000");
      for (const key of page) keys.add(key);
      cursor = next;
    } while (cursor !== "0");
    return [...keys].sort();
  }

  /** All keys of a room. */
  keysOf(code) {
    return this.keys(`room:{${code}}*`);
  }

  /**
   * The keys that hold a room. The outcomes of requests are not among them: each
   * lives for a time of its own, and means nothing without the room's epoch.
   */
  async stateKeysOf(code) {
    return (await this.keysOf(code)).filter((key) => !key.includes(":request:"));
  }

  /** When the keys that hold a room expire: instant to keys. */
  async expiries(code) {
    const keys = await this.stateKeysOf(code);
    const instants = await this.pipeline(keys.map((key) => ["PEXPIRETIME", key]));
    const byInstant = new Map();
    keys.forEach((key, n) => {
      byInstant.set(instants[n], [...(byInstant.get(instants[n]) ?? []), key]);
    });
    return byInstant;
  }

  /** Changes a setting, for the starts to come too. */
  async configure(name, value) {
    await this.command("CONFIG", "SET", name, value);
    // Of two, Redis takes the last.
    this.#args.push(`--${name}`, value);
  }

  async #info(section) {
    const text = await this.command("INFO", section);
    return Object.fromEntries(text.split("\r\n").map((line) => line.split(":")));
  }

  /** Resolves when this replica has everything that its master had a moment ago. */
  isInStepWithItsMaster() {
    return until("the replica is in step", async () => {
      const { master_link_status: link, master_sync_in_progress: syncing } = await this.#info("replication");
      return link === "up" && syncing === "0";
    });
  }

  /** Resolves when this replica has every byte of a master that takes no writes now. */
  hasAllOf(master) {
    return until("the replica has everything", async () => {
      const [there, here] = await Promise.all([master.#info("replication"), this.#info("replication")]);
      return there.master_repl_offset === here.master_repl_offset;
    });
  }

  /**
   * Resolves when this replica has all that its master had when this was called; with that
   * moment. What the master takes after it, a failover may lose.
   */
  async hasKeptUpWith(master) {
    const moment = performance.now();
    const { master_repl_offset: offset } = await master.#info("replication");
    await until("the replica keeps up", async () => {
      const { slave_repl_offset: here } = await this.#info("replication");
      return Number(here) >= Number(offset);
    });
    return moment;
  }

  signal(name) {
    this.#program.signal(name);
  }

  /** Stops it as it is, until SIGCONT. */
  async freeze() {
    await this.#program.freeze();
  }

  /**
   * Ends it at once. With `everysec` Redis keeps to itself what it acknowledges while an
   * fsync lasts, which would be lost; without, the system has all that is acknowledged.
   */
  async kill() {
    const handedOver = async () => {
      const [, policy] = await this.command("CONFIG", "GET", "appendfsync");
      if (policy === "everysec") await this.command("CONFIG", "SET", "appendfsync", "no");
    };
    // One that answers nothing is ended as it is.
    await within(() => "it answers", handedOver(), 1_000).catch(() => {});
    await this.#program.kill();
  }

  async restart() {
    this.#program.start();
    await this.#ready();
  }

  async stop() {
    await this.#program.stop();
  }
}
