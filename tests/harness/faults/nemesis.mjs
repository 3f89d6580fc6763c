// The faults: one small object each, which says how it begins and how it is mended.
//
// `name` is how docs/faults.md calls it; `start(stage, random)` does it, and what it
// returns is handed to `during(stage, token, crowd)`, which waits for what must come true
// meanwhile, and to `heal(stage, token)`. `lasts` is how long it is held, in
// milliseconds, and what it `touches` no other fault touches meanwhile. `freezes` says that a gateway itself may be too slow to answer,
// `detaches` that a gateway may be cut off for as long as a lease, so that its people
// may be gone for a moment, and `ends` that rooms are over: `start` returns which.

import { until } from "../until.mjs";

const ALL = ["redis", "services", "gateways", "links"];

const pick = (random, list) => random.pick(list);

/** kill -9 of Redis; what its append-only file holds comes back. */
export const redisKilled = {
  name: "Redis killed",
  touches: ["redis"],
  lasts: 500,
  start: ({ keeper }) => keeper.redis.kill(),
  heal: ({ keeper }) => keeper.redis.restart(),
};

/** kill -9 of one service. */
export const serviceKilled = {
  name: "a service killed",
  touches: ["services"],
  lasts: 500,
  async start({ keeper }, random) {
    const { program } = pick(random, keeper.services);
    await program.kill();
    return program;
  },
  heal: (_, program) => program.start(),
};

/** kill -9 of one gateway. */
export const gatewayKilled = {
  name: "a gateway killed",
  touches: ["gateways"],
  lasts: 500,
  async start({ keeper }, random) {
    const { program } = pick(random, keeper.gateways);
    await program.kill();
    return program;
  },
  heal: (_, program) => program.start(),
};

/** kill -9 of everything at once. */
export const allKilled = {
  name: "everything killed",
  touches: ALL,
  lasts: 300,
  async start({ keeper }) {
    const programs = [...keeper.services, ...keeper.gateways].map(({ program }) => program);
    await Promise.all([keeper.redis, ...programs].map((program) => program?.kill()));
    return programs;
  },
  async heal({ keeper }, programs) {
    await keeper.redis?.restart();
    for (const program of programs) program.start();
  },
};

/** SIGSTOP of Redis for some seconds. */
export const redisStopped = (seconds) => ({
  name: `Redis stopped for ${seconds} s`,
  touches: ["redis"],
  lasts: seconds * 1000,
  start: ({ keeper }) => keeper.redis.freeze(),
  heal: ({ keeper }) => keeper.redis.signal("SIGCONT"),
});

/** SIGSTOP of one service for some seconds. */
export const serviceStopped = (seconds) => ({
  name: `a service stopped for ${seconds} s`,
  touches: ["services"],
  lasts: seconds * 1000,
  detaches: seconds > 10,
  async start({ keeper }, random) {
    const { program } = pick(random, keeper.services);
    await program.freeze();
    return program;
  },
  heal: (_, program) => program.signal("SIGCONT"),
});

/** SIGSTOP of one gateway for some seconds. */
export const gatewayStopped = (seconds) => ({
  name: `a gateway stopped for ${seconds} s`,
  touches: ["gateways"],
  lasts: seconds * 1000,
  freezes: true,
  detaches: seconds > 10,
  async start({ keeper }, random) {
    const { program } = pick(random, keeper.gateways);
    await program.freeze();
    return program;
  },
  heal: (_, program) => program.signal("SIGCONT"),
});

const links = {
  "gateway and service": (stage) => stage.toService.flat(),
  "service and Redis": (stage) => stage.toRedis,
};

const network = (where, how, lasts, start, more = {}) => ({
  name: `${where}: ${how}`,
  touches: ["links"],
  lasts,
  start: (stage, random) => links[where](stage).forEach((proxy) => start(proxy, random)),
  heal: (stage) => links[where](stage).forEach((proxy) => proxy.heal()),
  ...more,
});

/** Everything that a network does, between two tiers. */
export const networkFaults = Object.keys(links).flatMap((where) => [
  network(where, "muted", 2_500, (proxy) => proxy.mute()),
  network(where, "cut", 1_000, (proxy) => proxy.cut()),
  network(where, "delayed", 2_000, (proxy) => proxy.delay(150)),
  network(where, "truncated", 1_500, (proxy, random) => proxy.truncate(random.below(20))),
  network(where, "bytes split", 2_000, (proxy) => proxy.split()),
]);

/** Events are lost on their way from Redis to the services. */
export const eventsLost = {
  name: "events lost on their way from Redis",
  touches: ["links"],
  lasts: 2_000,
  start: (stage, random) => stage.toRedis.forEach((proxy) => proxy.lose(2 + random.below(4))),
  heal: (stage) => stage.toRedis.forEach((proxy) => proxy.heal()),
};

/** Some of the connections of a tier break, again and again, and new ones pass. */
export const flapping = {
  name: "connections break again and again",
  touches: ["links"],
  lasts: 2_000,
  start(stage, random) {
    const proxies = Object.values(links).flatMap((of) => of(stage));
    return setInterval(() => pick(random, proxies).cutOnce(), 150);
  },
  heal: (_, timer) => clearInterval(timer),
};

/** Redis lets all commands wait, and then only the writing ones. */
export const clientPause = {
  name: "CLIENT PAUSE",
  touches: ["redis"],
  lasts: 1_500,
  async start({ keeper }) {
    await keeper.redis.command("CLIENT", "PAUSE", "700", "ALL");
    // Answered when the pause is over.
    await keeper.redis.command("PING");
    await keeper.redis.command("CLIENT", "PAUSE", "60000", "WRITE");
  },
  heal: ({ keeper }) => keeper.redis.command("CLIENT", "UNPAUSE"),
};

/** Redis serves nobody for a second. */
export const debugSleep = {
  name: "DEBUG SLEEP",
  touches: ["redis"],
  lasts: 1_000,
  start: ({ keeper }) => ({ asleep: keeper.redis.command("DEBUG", "SLEEP", "1.2") }),
  heal: (_, { asleep }) => asleep,
};

/** Redis forgets its scripts, again and again. */
export const scriptFlush = {
  name: "SCRIPT FLUSH in a loop",
  touches: ["redis"],
  lasts: 2_000,
  start({ keeper }) {
    const loop = { on: true };
    loop.done = (async () => {
      while (loop.on) await keeper.redis.command("SCRIPT", "FLUSH");
    })();
    return loop;
  },
  async heal(_, loop) {
    loop.on = false;
    await loop.done;
  },
};

/** Redis has no memory left. */
export const memoryFull = {
  name: "maxmemory reached",
  touches: ["redis"],
  lasts: 1_500,
  start: ({ keeper }) => keeper.redis.command("CONFIG", "SET", "maxmemory", "1mb"),
  heal: ({ keeper }) => keeper.redis.command("CONFIG", "SET", "maxmemory", "0"),
};

/** Redis becomes the replica of one that has everything, and the master again. */
export const demotion = {
  name: "REPLICAOF: demotion and promotion",
  touches: ["redis"],
  lasts: 1_000,
  needsReplica: true,
  async start({ keeper, replica }) {
    const master = keeper.redis;
    await master.command("CLIENT", "PAUSE", "60000", "WRITE");
    await replica.hasAllOf(master);
    await replica.command("REPLICAOF", "NO", "ONE");
    await master.command("REPLICAOF", "127.0.0.1", replica.port);
    await master.command("CLIENT", "UNPAUSE");
    await master.isInStepWithItsMaster();
  },
  heal: promoted,
};

/** Redis becomes the replica of one that lacks the last writes, and the master again. */
export const losingDemotion = {
  name: "REPLICAOF: a failover that loses writes",
  touches: ["redis"],
  lasts: 700,
  needsReplica: true,
  forks: true,
  async start({ replica }) {
    // Not in the midst of a synchronization, after which more would be lost than is said.
    await replica.isInStepWithItsMaster();
    const from = performance.now();
    await replica.command("REPLICAOF", "NO", "ONE");
    return { from };
  },
  async heal(stage, token) {
    const { keeper, replica } = stage;
    await keeper.redis.command("REPLICAOF", "127.0.0.1", replica.port);
    // Until then it answers a repeated request from its own data, which is lost.
    await keeper.redis.isInStepWithItsMaster();
    token.to = performance.now();
    await promoted(stage);
  },
};

async function promoted({ keeper, replica }) {
  await keeper.redis.command("REPLICAOF", "NO", "ONE");
  await replica.command("REPLICAOF", "127.0.0.1", keeper.redis.port);
  await replica.isInStepWithItsMaster();
}

/** Redis forgets everything. */
export const flushAll = {
  name: "FLUSHALL",
  touches: ["redis"],
  lasts: 0,
  ends: true,
  async start({ keeper }, _, rooms) {
    await keeper.redis.command("FLUSHALL");
    return rooms;
  },
  heal() {},
};

/** The hash of one room is gone. */
export const hashDeleted = {
  name: "a room's hash deleted",
  touches: ["redis"],
  lasts: 0,
  ends: true,
  async start({ keeper }, random, rooms) {
    const room = pick(random, rooms);
    await keeper.redis.command("DEL", `room:{${room}}`);
    return [room];
  },
  heal() {},
};

/** A room is deleted while it is used. */
export const roomDeleted = {
  name: "a room deleted while it is used",
  touches: ALL,
  lasts: 0,
  ends: true,
  async start({ keeper }, random, rooms) {
    const room = pick(random, rooms);
    await until("it is deleted", async () => (await keeper.delete(`/api/rooms/${room}`)).status === 200);
    return [room];
  },
  heal() {},
};

/** The time of one room is over, because nobody does anything in it any more. */
export const roomExpires = {
  name: "a room that expires in mid-session",
  touches: ALL,
  lasts: 0,
  ends: true,
  within: 8_000,
  async start({ keeper }, random, rooms, crowd) {
    const room = pick(random, rooms);
    await keeper.redis.command("HSET", `room:{${room}}`, "ttl", "2000");
    // Ends so much sooner that the next change moves it.
    const keys = await keeper.redis.stateKeysOf(room);
    await keeper.redis.pipeline(keys.map((key) => ["PEXPIRE", key, "1500"]));
    const before = crowd.acknowledgedIn(room);
    await until("the room's new life has begun", () => crowd.acknowledgedIn(room) > before);
    crowd.avoid(room);
    return [room];
  },
  heal() {},
};

/** kill -9 of both gateways: everybody comes back at once. */
export const gatewaysKilled = {
  name: "both gateways killed",
  touches: ["gateways"],
  lasts: 0,
  freezes: true,
  gathers: 40_000,
  start: ({ keeper }) => Promise.all(keeper.gateways.map(({ program }) => program.kill())),
  heal: ({ keeper }) => keeper.gateways.forEach(({ program }) => program.start()),
};

// The last entry of the index when all are due: a session of a room that there is not.
const NOBODY = "999999:nobody";

const nobodyIsForgotten = (redis) =>
  until("a service looks through the index", async () =>
    (await redis.command("ZSCORE", "sessions:due", NOBODY)) === null, 60_000);

/** Every entry of the index of leases says that the lease has passed. */
export const indexOfLeasesStale = {
  name: "the index of leases out of date",
  touches: ALL,
  lasts: 0,
  async start({ keeper: { redis } }) {
    // Services end nobody for a while after they have lost the store: only when they have
    // begun again is what is done to the index looked at before it is renewed.
    await redis.command("ZADD", "sessions:due", "1", NOBODY);
    await nobodyIsForgotten(redis);
    const members = await redis.command("ZRANGE", "sessions:due", "0", "-1");
    await redis.command("ZADD", "sessions:due", ...[...members, NOBODY].flatMap((member) => ["1", member]));
  },
  heal: ({ keeper: { redis } }) => nobodyIsForgotten(redis),
};

/** One gateway after the other, and one service after the other, is replaced. */
export const rollingRestart = {
  name: "rolling restart",
  touches: ALL,
  lasts: 0,
  drains: true,
  async start({ keeper }) {
    for (const tier of [keeper.services, keeper.gateways]) {
      for (const { program } of tier) {
        await program.stop();
        program.start();
        await keeper.ready();
      }
    }
  },
  heal() {},
};

/** The faults that lose nothing, short enough for a test. */
export const mendable = [
  redisKilled, serviceKilled, gatewayKilled, allKilled,
  ...[1, 5].flatMap((seconds) => [redisStopped(seconds), serviceStopped(seconds), gatewayStopped(seconds)]),
  ...networkFaults, eventsLost, flapping,
  clientPause, debugSleep, scriptFlush, memoryFull, demotion,
  indexOfLeasesStale, rollingRestart, gatewaysKilled,
];

/** Those of the programs, which any store goes through. */
export const ofPrograms = [
  serviceKilled, gatewayKilled, allKilled,
  ...[1, 5].flatMap((seconds) => [serviceStopped(seconds), gatewayStopped(seconds)]),
  ...networkFaults.filter(({ name }) => name.startsWith("gateway and service")),
  rollingRestart, gatewaysKilled,
];

/** Those that take longer. */
export const long = [redisStopped(20), serviceStopped(20), gatewayStopped(20)];

/** Those after which rooms are over. */
export const endings = [flushAll, hashDeleted, roomDeleted, roomExpires];
