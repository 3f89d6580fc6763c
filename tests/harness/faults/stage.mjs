// Both programs, twice each, with everything between them that can go wrong; and
// a play on it: a crowd, faults, and the checker's judgement.

import assert from "node:assert/strict";
import { relative } from "node:path";
import { after } from "node:test";

import { Roomkeeper, STORE } from "../roomkeeper.mjs";
import { Redis } from "../redis.mjs";
import { until } from "../until.mjs";
import { check } from "./checker.mjs";
import { Crowd } from "./crowd.mjs";
import { FaultyProxy } from "./faulty_proxy.mjs";
import { hold } from "./hold.mjs";
import { randomFor, SEED } from "./seed.mjs";

/** How long a write may take to be answered, whatever is broken behind the gateway. */
const PROMPT = 2_500;

/** How long after a fault is mended everything works again. */
const BACK_WITHIN = 5_000;

/** How long a session that nobody ended may still be listed. */
const PRESENCE_WITHIN = 45_000;

/** What a machine that does other things too adds to those. */
const SLACK = 1_000;

/** How often the machine is asked whether it is held up, in milliseconds. */
const PULSE = 50;

/** So much later than asked counts as held up. */
const HELD_UP = 300;

/** How long a crowd may take to come, at the beginning. */
const GATHER_WITHIN = 60_000;

/** How long readers may take to hear the last of a room. */
const HEARD_WITHIN = 6_000;

/** Both programs, their Redis, and proxies between all of them. */
export class Stage {
  /** `[gateway][service]`. */
  toService = [];

  /** One for each service. */
  toRedis = [];

  #plays = 0;

  /**
   * `options`: those of Roomkeeper.start, and `replica: true` for a second Redis. Services
   * reach a cluster, and a Redis with sentinels, without a proxy.
   */
  static async start({ replica = false, ...options } = {}) {
    const stage = new Stage();
    const isOneServer = (options.store ?? STORE) === "redis";
    stage.keeper = await Roomkeeper.start({
      services: 2,
      gateways: 2,
      shared: true,
      redisUrl: isOneServer ? async ({ port }, n) => {
        stage.toRedis[n] = await FaultyProxy.to(port);
        return `redis://127.0.0.1:${stage.toRedis[n].port}`;
      } : undefined,
      serviceUrl: async (address, gateway, service) => {
        const proxy = await FaultyProxy.to(Number(new URL(address).port));
        (stage.toService[gateway] ??= [])[service] = proxy;
        return proxy.url;
      },
      ...options,
      redis: {
        "enable-debug-command": "local",
        "repl-diskless-sync-delay": 0,
        ...options.redis,
      },
    });
    if (replica) {
      stage.replica = await Redis.start({ "repl-diskless-sync-delay": 0 });
      await stage.replica.command("REPLICAOF", "127.0.0.1", stage.keeper.redis.port);
      await stage.replica.isInStepWithItsMaster();
      after(() => stage.replica.stop());
    }
    let turn = 0;
    stage.balancer = await FaultyProxy.to(() => {
      turn += 1;
      return stage.keeper.gateways[turn % stage.keeper.gateways.length].port;
    });
    return stage;
  }

  // A polling client stays with its gateway; the others come to whichever is next.
  /** Where a client of this kind connects: a function that is asked each time. */
  urls = (transport) => {
    if (transport !== "polling") return () => this.balancer.url;
    const { gateways } = this.keeper;
    let turn = this.#plays;
    return () => {
      turn += 1;
      return gateways[turn % gateways.length].url;
    };
  };

  /**
   * Plays: a crowd in new rooms, the faults one after the other, each `[fault,
   * fault, …]` of several at once; and fails unless the checker finds nothing.
   * Resolves with what was counted.
   *
   * `rooms`, `users` of each, `rate` of acts a second, `before` and `afterwards`: how many
   * writes are acknowledged before the first fault and after each; `only` which acts;
   * `seed`.
   */
  async play(faults, options = {}) {
    const { rooms: count = 3, users = 4, rate = 100, before = 40, afterwards = 30, seed = SEED } = options;
    this.#plays += 1;
    const name = options.name ?? `play ${this.#plays}`;
    const random = randomFor(`faults of ${name}`, seed);
    const rooms = await this.#rooms(count);
    const crowd = new Crowd({ rooms, users, urls: this.urls, seed, name, only: options.only });
    const play = {
      crowd,
      rooms: new Map(rooms.map((code) => [code, { code, loss: undefined, windows: [] }])),
      damaged: new Set(),
      frozen: [],
      injected: [],
    };
    const calm = watchForHoldUps((time) => play.frozen.push(time));
    try {
      await crowd.allIn(GATHER_WITHIN);
      crowd.begin(rate);
      await this.#goesOn(play, before);
      for (const group of faults) {
        await this.#strike(play, [group].flat(), random);
        await this.#goesOn(play, afterwards);
      }
      crowd.rest();
      await crowd.settled(20_000);
      return this.#judge(play, await this.#ending(play), seed);
    } finally {
      clearInterval(calm);
      crowd.dismiss();
    }
  }

  // New rooms; in a cluster each master has as many of them as the others.
  async #rooms(count) {
    const { keeper } = this;
    const byMaster = new Map();
    const rooms = [];
    while (rooms.length < count) {
      const { code } = await keeper.room({ maxParticipants: 50 });
      const master = await keeper.redis?.masterOfRoom?.(code);
      const there = byMaster.get(master) ?? 0;
      if (master && there >= count / keeper.redis.shards) continue;
      byMaster.set(master, there + 1);
      rooms.push(code);
    }
    return rooms;
  }

  // Several faults overlap: the first to begin is the last to be mended.
  async #strike(play, faults, random) {
    const { crowd } = play;
    const from = performance.now();
    const living = () => [...play.rooms.values()]
      .filter(({ loss }) => !loss || loss === "forked").map(({ code }) => code);
    if (faults.some(({ detaches }) => detaches)) for (const code of living()) crowd.mayMiss.add(code);
    const struck = [];
    for (const fault of faults) {
      const token = await fault.start(this, random, living(), crowd);
      struck.push({ fault, token });
      play.injected.push(fault.name);
      if (fault.ends) await this.#end(play, fault, token);
      for (const code of fault.spoils ? token.rooms : []) {
        play.rooms.get(code).loss = "spoiled";
        crowd.mayMiss.add(code);
      }
      for (const code of fault.damages ? token.rooms : []) {
        play.damaged.add(code);
        crowd.mayMiss.add(code);
      }
      if (fault.forks) {
        for (const code of token.rooms ?? living()) {
          play.rooms.get(code).loss = "forked";
          play.rooms.get(code).windows.push(token);
          // A join that was lost is made again with the next renewal.
          crowd.mayMiss.add(code);
        }
      }
    }
    const lasts = Math.max(...faults.map((fault) => fault.lasts));
    try {
      for (const { fault, token } of struck) await fault.during?.(this, token, crowd);
      if (lasts > 0) await hold(lasts, `it lasts so long: ${faults.map((fault) => fault.name)}`);
    } finally {
      // Also where something is wrong: the stage may have more to play.
      for (const { fault, token } of struck.reverse()) await fault.heal(this, token);
    }
    await until(
      `everything is ready within ${BACK_WITHIN} ms of ${faults.map((fault) => fault.name)}`,
      () => this.#isReady(),
      BACK_WITHIN + SLACK,
    );
    const gathers = Math.max(0, ...faults.map((fault) => fault.gathers ?? 0));
    if (gathers > 0) await crowd.allIn(gathers);
    if (faults.some(({ freezes, drains }) => freezes || drains)) {
      play.frozen.push({ from, to: performance.now() });
    }
  }

  async #isReady() {
    for (const gateway of this.keeper.gateways) {
      if ((await gateway.get("/readyz")).status !== 200) return false;
    }
    return true;
  }

  // Rooms are over: their members are told within five seconds.
  async #end(play, fault, codes) {
    for (const code of codes) play.rooms.get(code).loss = "ended";
    const tabs = codes.flatMap((code) => play.crowd.open(code));
    await until(
      `members are told of ${fault.name}`,
      () => tabs.every(isOver),
      (fault.within ?? BACK_WITHIN) + SLACK,
    ).catch((error) => {
      const others = tabs.filter((tab) => !isOver(tab)).map(({ name, state }) => `${name}: ${state}`);
      throw new Error(`${error.message}; not told are ${others}`);
    });
  }

  // The crowd goes on: so many more writes are acknowledged.
  async #goesOn({ crowd, rooms }, count) {
    if ([...rooms.values()].every(({ loss }) => loss === "ended")) return;
    const target = crowd.acknowledged + count;
    await until(`${count} more writes are acknowledged`, () => crowd.acknowledged >= target);
  }

  // Says the last word in each room, waits until all have heard it, and reads.
  #ending({ crowd, rooms }) {
    return Promise.all([...rooms.values()].map(async (room) => {
      const readers = crowd.tabs.filter((tab) => tab.room === room.code).map(({ reader }) => reader);
      const open = crowd.open(room.code);
      if (room.loss === "ended") {
        return { ...room, readers, finals: [] };
      }
      const living = [...new Set(open.map(({ user }) => user.id))];
      // What does not come true in time the checker tells in its own words.
      const inTime = (what, probe, deadline) => until(what, probe, deadline).catch(() => false);
      // A key of presence that was lost is noticed with the next renewal, up to ten seconds
      // later, and then the room is empty for a moment. What is said after that is heard
      // after it.
      if (room.loss === "spoiled") {
        await inTime("presence is whole", () => this.#isWhole(room.code, living.length), PRESENCE_WITHIN);
      }
      const word = crowd.message(open.find(({ isIn }) => isIn), { persistent: true });
      open.find(({ isIn }) => isIn).write(word);
      await until(`the last word is said: ${JSON.stringify(word.attempts.at(-1)?.answer)}`, () => word.answer);
      const { revision } = word.answer.message;
      await inTime("all have heard it", () =>
        open.every(({ reader }) => reader.messages.at(-1)?.revision === revision), HEARD_WITHIN);
      const board = JSON.stringify(scene(await this.keeper.board(room.code)));
      const allSee = await inTime("all see the board", () =>
        open.every(({ reader }) => JSON.stringify(scene(reader.board.living())) === board), HEARD_WITHIN);
      // A session that nobody ended stays for a while. Where something is wrong already the
      // checker need not wait for it.
      const patience = allSee ? PRESENCE_WITHIN : HEARD_WITHIN;
      await inTime("all see who is there", () =>
        open.every(({ reader: { people } }) => sameUsers(people.map(({ userId }) => userId), living)),
      patience);
      const finals = [];
      for (const [n, gateway] of this.keeper.gateways.entries()) {
        await inTime("the count is right", async () =>
          (await gateway.get(`/api/rooms/${room.code}`)).body.room.participantCount === living.length,
        patience);
        finals.push({
          messages: await this.keeper.messages(room.code, n),
          board: await this.keeper.board(room.code, n),
          room: (await gateway.get(`/api/rooms/${room.code}`)).body.room,
        });
      }
      return { ...room, readers, finals, living };
    }));
  }

  // Whether the keys of a room's presence agree, and hold so many users.
  async #isWhole(code, users) {
    const key = (name) => `room:{${code}}:${name}`;
    const [people, arrivals, counted, sessions, owners] = await this.keeper.redis.pipeline([
      ["HLEN", key("participants")], ["ZCARD", key("arrivals")], ["HLEN", key("user-sessions")],
      ["ZCARD", key("sessions")], ["HLEN", key("session-users")],
    ]);
    return people === users && arrivals === users && counted === users && sessions === owners;
  }

  #judge({ crowd, frozen, injected, damaged }, rooms, seed) {
    for (const [code, count] of crowd.internal) {
      if (!damaged.has(code) && rooms.find((room) => room.code === code).loss !== "spoiled") {
        const logged = this.keeper.complaints().slice(-4).join("\n");
        crowd.complain("internal", `${count} requests of ${code} were answered with INTERNAL; logged:\n${logged}`);
      }
    }
    const { violations, lost } = check({
      operations: crowd.operations,
      complaints: crowd.complaints,
      rooms,
      promptly: { limit: PROMPT + SLACK, exempt: frozen },
    });
    const sum = (field) => crowd.tabs.reduce((total, { reader }) => total + reader.counts[field], 0);
    const counts = {
      acknowledged: crowd.acknowledged,
      refused: crowd.operations.filter(({ refused, answer }) => refused && !answer).length,
      inDoubt: crowd.operations.filter(({ refused, answer }) => !refused && !answer).length,
      faults: injected.length,
      joins: crowd.tabs.length,
      resumes: sum("resumes"),
      resets: sum("resets"),
      truncations: sum("truncations"),
      duplicates: crowd.duplicates,
      lost: lost.length,
    };
    assert.deepEqual(
      violations.slice(0, 12).map(({ rule, text }) => `${rule}: ${text}`),
      [],
      `${violations.length} violations with ${injected.join(", ")}; ${replay(seed)}`,
    );
    return { ...counts, rooms, crowd };
  }
}

/** How to do it again. */
function replay(seed) {
  const file = relative(process.cwd(), process.argv[1]);
  return `again: (cd tests && SEED=${seed} node --test ${file})`;
}

/** Whether a tab has nothing more to hear; its user may have closed it meanwhile. */
const isOver = ({ state }) => state === "over" || state === "closed";

const scene = (elements) => [...elements].sort((one, other) => (one.id < other.id ? -1 : 1));

function sameUsers(one, other) {
  return JSON.stringify([...one].sort()) === JSON.stringify([...other].sort());
}

// Tells when this process stood still: the machine was busy elsewhere, and no answer that
// crossed that time says how prompt the programs are.
function watchForHoldUps(tell) {
  let last = performance.now();
  return setInterval(() => {
    const now = performance.now();
    if (now - last > PULSE + HELD_UP) tell({ from: last, to: now });
    last = now;
  }, PULSE);
}
