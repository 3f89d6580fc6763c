// Both programs and a store of their own, as an operator would start them.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach } from "node:test";
import { fileURLToPath } from "node:url";

import { RedisCluster } from "./cluster.mjs";
import { call } from "./grpc.mjs";
import { request } from "./http.mjs";
import { Member } from "./member.mjs";
import { freePort } from "./ports.mjs";
import { endAll, Program, temporaryFolder } from "./program.mjs";
import { Redis } from "./redis.mjs";
import { RedisSentinels } from "./sentinel.mjs";
import { until } from "./until.mjs";

const BINARIES = process.env.ROOMKEEPER_BIN_DIR
  ?? fileURLToPath(new URL("../../target/release", import.meta.url));

/**
 * Where rooms are kept, unless a test says otherwise: "redis", on a redis-server
 * of the test's own, or "embedded", in a folder of its own.
 */
export const STORE = process.env.ROOMKEEPER_STORE ?? "redis";
assert.ok(["redis", "embedded"].includes(STORE), `ROOMKEEPER_STORE=${STORE}`);

/** The stores that are a Redis, by their names. */
const SERVERS = { redis: Redis, cluster: RedisCluster, sentinel: RedisSentinels };

/** The path of one of the two programs. */
export function binary(name) {
  const path = join(BINARIES, name);
  assert.ok(existsSync(path), `${path} does not exist: build it, or set ROOMKEEPER_BIN_DIR`);
  return path;
}

/** Starts one of the two programs with nothing but its environment. */
export function launch(name, env, cwd = temporaryFolder()) {
  return new Program({ name, command: binary(name), cwd, env: { RUST_LOG: "info", ...env } });
}

class Service {
  constructor(port, env) {
    this.port = port;
    this.address = `http://127.0.0.1:${port}`;
    this.program = launch("persistence-service", {
      PERSISTENCE_LISTEN: `127.0.0.1:${port}`,
      ...env,
    });
  }
}

class Gateway {
  constructor(port, env) {
    this.port = port;
    this.url = `http://127.0.0.1:${port}`;
    this.program = launch("edge-gateway", { GATEWAY_LISTEN: `127.0.0.1:${port}`, ...env });
  }

  /** Sends an HTTP request to this gateway. */
  request(path, options) {
    return request(`${this.url}${path}`, options);
  }

  get(path, options = {}) {
    return this.request(path, options);
  }

  post(path, body, options = {}) {
    return this.request(path, { method: "POST", body, ...options });
  }

  /** Resolves when it can serve: its service is up and reaches the store. */
  ready() {
    return until(
      `the gateway is ready\n${this.program.log.slice(-2000)}`,
      async () => (await this.get("/readyz")).status === 200,
    );
  }

  /** Resolves when it answers at all. */
  listening() {
    return until("the gateway listens", async () => (await this.get("/healthz")).status === 200);
  }
}

/** The whole, with one store. */
export class Roomkeeper {
  #members = [];
  #expected = [];

  services = [];
  gateways = [];

  /**
   * `options`: `store` (see STORE, and "cluster" and "sentinel"); `services` and `gateways` (how many), `redis`
   * (settings), `env` of both programs, `serviceEnv`, `gatewayEnv`; `redisUrl`, a
   * function of the Redis and a service's number that says what that service gets
   * instead of its own address, and `serviceUrl`, one of a service's address, a
   * gateway's number and the service's that says what that gateway gets;
   * `expected`: patterns of log lines of level ERROR that are as they should be.
   *
   * The embedded store serves one service, so there is one however many are
   * wanted, `redis` is undefined, and `data` is its folder.
   *
   * With as many services as gateways, each gateway has one for itself, so that
   * what crosses gateways crosses services too; `shared: true` gives each
   * gateway all services, its own first.
   *
   * Stops with the test (or the file) that started it.
   */
  static async start(options = {}) {
    const keeper = new Roomkeeper();
    try {
      await keeper.#start(options);
    } catch (error) {
      // Where a test file fails to load, no hook runs.
      endAll();
      throw error;
    }
    afterEach(() => keeper.dismiss());
    after(() => keeper.stop());
    return keeper;
  }

  async #start(options) {
    this.#expected = options.expected ?? [];
    const kept = options.store ?? STORE;
    this.redis = await SERVERS[kept]?.start(options.redis);
    if (!this.redis) this.data = temporaryFolder();
    const services = this.redis ? options.services ?? 1 : 1;
    for (let n = 0; n < services; n += 1) {
      const store = this.redis
        ? { REDIS_URL: (await options.redisUrl?.(this.redis, n)) ?? this.redis.url }
        : { PERSISTENCE_DATA_DIR: this.data };
      this.services.push(
        new Service(await freePort(), { ...store, ...options.env, ...options.serviceEnv }),
      );
    }
    for (let n = 0; n < (options.gateways ?? 1); n += 1) {
      const all = this.services.map(({ address }) => address);
      const mine = n % all.length;
      const numbers = options.shared ? all.map((_, s) => (mine + s) % all.length) : [mine];
      const urls = await Promise.all(
        numbers.map(async (s) => (await options.serviceUrl?.(all[s], n, s)) ?? all[s]));
      this.gateways.push(
        new Gateway(await freePort(), {
          GATEWAY_PERSISTENCE_URL: urls.join(","),
          ...options.env,
          ...options.gatewayEnv,
        }),
      );
    }
    await this.ready();
  }

  get gateway() {
    return this.gateways[0];
  }

  get service() {
    return this.services[0];
  }

  async ready() {
    await Promise.all(this.gateways.map((gateway) => gateway.ready()));
  }

  get(path, options) {
    return this.gateway.get(path, options);
  }

  post(path, body, options) {
    return this.gateway.post(path, body, options);
  }

  delete(path) {
    return this.gateway.request(path, { method: "DELETE" });
  }

  /** Creates a room over HTTP and resolves with it. */
  async room(more = {}) {
    const { status, body } = await this.post("/api/rooms/create", {
      name: "Room",
      createdBy: "Creator",
      ...more,
    });
    assert.equal(status, 200, JSON.stringify(body));
    return body.room;
  }

  /** Connects a member; `gateway` says to which one, by number. */
  async member({ gateway = 0, ...options } = {}) {
    const member = new Member(this.gateways[gateway].url, options);
    this.#members.push(member);
    await member.connected();
    return member;
  }

  /** Connects a member and joins a room. */
  async joined(code, options = {}) {
    const member = await this.member(options);
    await member.join(code, options.after && { after: options.after });
    return member;
  }

  /** The messages that the room keeps, oldest first. */
  async messages(code, gateway = 0) {
    const { status, body } = await this.gateways[gateway].get(`/api/rooms/${code}/messages?limit=100`);
    assert.equal(status, 200, JSON.stringify(body));
    assert.equal(body.count, body.messages.length);
    return body.messages;
  }

  /** The living board of the room. */
  async board(code, gateway = 0) {
    const { status, body } = await this.gateways[gateway].get(`/api/rooms/${code}/whiteboard`);
    assert.equal(status, 200, JSON.stringify(body));
    return body.whiteboard.elements;
  }

  /** The room as HTTP tells it. */
  async about(code) {
    const { status, body } = await this.get(`/api/rooms/${code}`);
    assert.equal(status, 200, JSON.stringify(body));
    return body.room;
  }

  /** What a refusal must leave as it was. */
  async stored(code) {
    return JSON.stringify([
      await this.messages(code),
      await this.board(code),
      await this.about(code),
      await this.redis?.command("HGET", `room:{${code}}`, "revision"),
    ]);
  }

  /** The store's time, in Unix milliseconds. */
  async now() {
    if (!this.redis) return Date.now();
    const [seconds, microseconds] = await this.redis.command("TIME");
    return Number(seconds) * 1000 + Number(microseconds) / 1000;
  }

  /** When the room ends unless something happens, in Unix milliseconds. */
  async ends(code) {
    if (this.redis) {
      const expiries = await this.redis.expiries(code);
      assert.equal(expiries.size, 1, `one instant for all keys: ${JSON.stringify([...expiries])}`);
      return [...expiries.keys()][0];
    }
    const { response } = await call(this.service.address, "GetRoom", { roomCode: code });
    return Date.parse(response.room.expireTime);
  }

  /** Everything by which a room can be found, of all rooms. */
  async allRooms() {
    const { body } = await this.get("/api/rooms?limit=1000");
    const listed = body.rooms.map(({ code }) => code).sort();
    return [listed, await this.redis?.keys("room:*")];
  }

  /** What is still to be found of a room: nothing, once it has ended. */
  async traces(code) {
    const { body } = await this.get("/api/rooms?limit=1000");
    const traces = body.rooms.filter((room) => room.code === code);
    if ((await this.get(`/api/rooms/${code}`)).status !== 404) traces.push("the room");
    if (this.redis) {
      traces.push(...(await this.redis.stateKeysOf(code)));
      const listed = await this.redis.command("ZSCORE", "rooms:active", code);
      if (listed !== null) traces.push("rooms:active");
    }
    return traces;
  }

  /** Closes the members' connections. */
  dismiss() {
    for (const member of this.#members.splice(0)) member.close();
  }

  /** The log lines that should not be there. */
  complaints() {
    return [...this.gateways, ...this.services].flatMap(({ program }) =>
      program.log.split("\n").filter((line) =>
        /panicked/.test(line)
        || (/\bERROR\b/.test(line) && !this.#expected.some((pattern) => pattern.test(line))))
        .map((line) => `${program.name}: ${line}`));
  }

  /** Stops everything and fails where an end or a log was not clean. */
  async stop() {
    this.dismiss();
    const problems = [];
    for (const tier of [
      this.gateways.map(({ program }) => program),
      this.services.map(({ program }) => program),
      this.redis ? [this.redis] : [],
    ]) {
      await Promise.all(tier.map(async (program) => {
        try {
          await program.stop();
        } catch (error) {
          problems.push(error);
          await program.kill();
        }
      }));
    }
    if (problems.length > 0) throw problems[0];
    assert.deepEqual(this.complaints(), []);
  }
}
