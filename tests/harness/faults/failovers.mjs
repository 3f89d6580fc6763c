// The faults of a Redis Cluster, and of a Redis with sentinels: see nemesis.mjs.

import { until } from "../until.mjs";

/** How many writes show that rooms are served. */
const ENOUGH = 8;

/** While a fault waits for writes to go on, nothing else may stop all of them. */
const ALL_BUT_SERVICES = ["redis", "links", "gateways"];

// One master with its replica, the rooms that it has and those of the others.
async function shard({ keeper: { redis } }, random, rooms) {
  const masters = await redis.masters();
  // In the order of the nodes, so that a replay chooses the same place.
  const master = random.pick(masters);
  const owners = await Promise.all(rooms.map((code) => redis.masterOfRoom(code)));
  return {
    master,
    replica: await redis.replicaOf(master),
    own: rooms.filter((_, n) => owners[n] === master),
    others: rooms.filter((_, n) => owners[n] !== master),
  };
}

// Writes are acknowledged in each of these rooms.
function goOn(crowd, rooms, why) {
  const before = rooms.map((code) => crowd.acknowledgedIn(code));
  return until(`writes are acknowledged ${why}`, () =>
    rooms.every((code, n) => crowd.acknowledgedIn(code) >= before[n] + ENOUGH));
}

// While a shard is dead, rooms of the others are joined, left, created and listed.
async function othersAreServed({ keeper }, crowd, others) {
  await goOn(crowd, others, "in the rooms of the living masters");
  for (const code of others) {
    const guest = await keeper.member();
    await until(`${code} is joined`, () => guest.join(code));
    await guest.leave(code);
    guest.close();
  }
  for (let n = 0; n < 6; n += 1) {
    await until("rooms are created", async () =>
      (await keeper.post("/api/rooms/create", { name: "Meanwhile", createdBy: "Ann" })).status === 200, 5_000);
  }
  await until("the list says that it lacks rooms", async () => {
    const { status, body } = await keeper.get("/api/rooms?limit=1000");
    return status === 200 && body.incomplete === true;
  }, 5_000);
}

/** kill -9 of a master: its replica takes over, and the others' rooms go on meanwhile. */
export const masterKilled = {
  name: "cluster: a master with a replica killed",
  touches: ALL_BUT_SERVICES,
  lasts: 0,
  forks: true,
  async start(stage, random, rooms) {
    const { master, replica, own, others } = await shard(stage, random, rooms);
    const from = await replica.hasKeptUpWith(master);
    await master.kill();
    return { master, replica, rooms: own, others, from, to: Infinity };
  },
  async during({ keeper: { redis } }, token, crowd) {
    await goOn(crowd, token.others, "in the rooms of the living masters");
    await redis.becomesMaster(token.replica);
    token.to = performance.now();
  },
  async heal({ keeper: { redis } }, { master }) {
    await master.restart();
    await redis.isInService();
  },
};

/** kill -9 of a master that has no replica: only its own rooms wait for it. */
export const loneMasterKilled = {
  name: "cluster: a master without a replica killed",
  touches: ALL_BUT_SERVICES,
  lasts: 0,
  async start(stage, random, rooms) {
    const { master, replica, others } = await shard(stage, random, rooms);
    await replica.kill();
    await master.kill();
    return { master, replica, others };
  },
  during: (stage, { others }, crowd) => othersAreServed(stage, crowd, others),
  async heal({ keeper: { redis } }, { master, replica }) {
    await master.restart();
    await replica.restart();
    await redis.isInService();
  },
};

/** A room's slot goes to another master, key by key, while the room is used. */
export const slotMoved = {
  name: "cluster: a slot that moves under load",
  touches: ALL_BUT_SERVICES,
  lasts: 300,
  async start({ keeper: { redis } }, random, rooms) {
    const room = random.pick(rooms);
    const slot = redis.slotOfRoom(room);
    const from = await redis.masterOfRoom(room);
    const to = random.pick((await redis.masters()).filter((master) => master !== from));
    await to.command("CLUSTER", "SETSLOT", slot, "IMPORTING", from.id);
    await from.command("CLUSTER", "SETSLOT", slot, "MIGRATING", to.id);
    // Half of it, so that for a while the room is in two places.
    const keys = await from.command("CLUSTER", "GETKEYSINSLOT", slot, 1_000);
    await migrate(from, to, keys.slice(0, Math.ceil(keys.length / 2)));
    return { slot, from, to, others: rooms.filter((code) => redis.slotOfRoom(code) !== slot) };
  },
  during: (_, { others }, crowd) => goOn(crowd, others, "in the other rooms"),
  async heal({ keeper: { redis } }, { slot, from, to }) {
    await until("all keys have moved", async () => {
      const keys = await from.command("CLUSTER", "GETKEYSINSLOT", slot, 1_000);
      if (keys.length > 0) await migrate(from, to, keys);
      return keys.length === 0;
    });
    for (const master of [to, from]) await master.command("CLUSTER", "SETSLOT", slot, "NODE", to.id);
    await redis.isInService();
  },
};

function migrate(from, to, keys) {
  return from.command("MIGRATE", "127.0.0.1", to.port, "", 0, 5_000, "KEYS", ...keys);
}

/** A master changes places with its replica, which first has all that it has. */
export const handedOver = {
  name: "cluster: a fail-over under load",
  touches: ["redis"],
  lasts: 0,
  async start(stage, random, rooms) {
    const { master, replica } = await shard(stage, random, rooms);
    await replica.command("CLUSTER", "FAILOVER");
    return { master, replica };
  },
  async during({ keeper: { redis } }, { master, replica }) {
    await redis.becomesMaster(replica);
    await redis.becomesReplica(master);
  },
  heal: ({ keeper: { redis } }) => redis.isInService(),
};

/**
 * A master loses the other nodes, its replica among them, and not its clients: two nodes
 * take themselves for the master of the same rooms.
 */
export const masterParted = {
  name: "cluster: a partition between masters",
  touches: ALL_BUT_SERVICES,
  lasts: 0,
  forks: true,
  async start(stage, random, rooms) {
    const { redis } = stage.keeper;
    const { master, replica, own, others } = await shard(stage, random, rooms);
    const from = await replica.hasKeptUpWith(master);
    redis.split([[master], redis.nodes.filter((node) => node !== master)]);
    return { master, replica, rooms: own, others, from, to: Infinity };
  },
  async during({ keeper: { redis } }, token, crowd) {
    await goOn(crowd, token.others, "in the rooms of the other masters");
    await redis.becomesMaster(token.replica);
    await redis.isDown(token.master);
    token.to = performance.now();
    await goOn(crowd, token.rooms, "in the rooms of the master that is cut off, at its replica");
  },
  async heal({ keeper: { redis } }, { master }) {
    redis.heal();
    await redis.becomesReplica(master);
    await redis.isInService();
  },
};

/** Each master is alone with its replica: no part is large enough to serve. */
export const majorityLost = {
  name: "cluster: no majority of masters",
  touches: ALL_BUT_SERVICES,
  lasts: 500,
  async start({ keeper }) {
    const { redis } = keeper;
    const masters = await redis.masters();
    redis.split(await Promise.all(masters.map(async (master) => [master, await redis.replicaOf(master)])));
    return { masters };
  },
  async during({ keeper }, { masters }) {
    await Promise.all(masters.map((master) => keeper.redis.isDown(master)));
    await until("the gateways are not ready", async () => {
      const answers = await Promise.all(keeper.gateways.map((gateway) => gateway.get("/readyz")));
      return answers.every(({ status }) => status === 503);
    }, 5_000);
  },
  async heal({ keeper: { redis } }) {
    redis.heal();
    await redis.isInService();
  },
};

/** kill -9 of the master that sentinels watch: its replica takes over. */
export const watchedMasterKilled = {
  name: "Sentinel: the master with a replica killed",
  touches: ["redis"],
  lasts: 0,
  forks: true,
  async start({ keeper: { redis } }) {
    const [master, replica] = [await redis.master(), await redis.replica()];
    const from = await replica.hasKeptUpWith(master);
    await master.kill();
    return { master, replica, from, to: Infinity };
  },
  async during({ keeper: { redis } }, token) {
    await redis.becomesMaster(token.replica);
    token.to = performance.now();
  },
  async heal({ keeper: { redis } }, { master }) {
    await master.restart();
    await redis.follow(master);
    await redis.isInService();
  },
};

/** kill -9 of the master that sentinels watch, and no replica is there to take over. */
export const watchedLoneMasterKilled = {
  name: "Sentinel: the master without a replica killed",
  touches: ["redis"],
  lasts: 500,
  async start({ keeper: { redis } }) {
    const [master, replica] = [await redis.master(), await redis.replica()];
    await replica.kill();
    await master.kill();
    return { master, replica };
  },
  async heal({ keeper: { redis } }, { master, replica }) {
    await master.restart();
    await replica.restart();
    await redis.follow(replica);
    await redis.isInService();
  },
};

/**
 * The sentinels are told to fail over, which they do without waiting for any write. They
 * leave the old master as it is for ten seconds, and it takes writes that will be lost.
 */
export const failedOver = {
  name: "Sentinel: a fail-over under load",
  touches: ALL_BUT_SERVICES,
  lasts: 0,
  forks: true,
  async start({ keeper: { redis } }, _, rooms) {
    const [master, replica] = [await redis.master(), await redis.replica()];
    const from = await replica.hasKeptUpWith(master);
    await redis.failOver();
    return { master, replica, served: rooms, from, to: Infinity };
  },
  async during({ keeper: { redis } }, { replica, served }, crowd) {
    await redis.becomesMaster(replica);
    await goOn(crowd, served, "while two servers take themselves for the master");
  },
  heal: reunited,
};

/** The master stands still until its replica has taken over, and goes on as a master. */
export const watchedMasterStopped = {
  name: "Sentinel: two masters after the first was stopped",
  touches: ALL_BUT_SERVICES,
  lasts: 0,
  forks: true,
  async start({ keeper: { redis } }, _, rooms) {
    const [master, replica] = [await redis.master(), await redis.replica()];
    const from = await replica.hasKeptUpWith(master);
    await master.freeze();
    return { master, replica, served: rooms, from, to: Infinity };
  },
  async during({ keeper: { redis } }, token, crowd) {
    await redis.becomesMaster(token.replica);
    token.master.signal("SIGCONT");
    await goOn(crowd, token.served, "while two servers take themselves for the master");
  },
  heal: reunited,
};

// Of two masters the old one becomes the replica. Until it has taken over what the new one
// has, it answers a repeated request from its own data, which is lost.
async function reunited({ keeper: { redis } }, token) {
  token.master.signal("SIGCONT");
  await redis.follow(token.master);
  await token.master.isInStepWithItsMaster();
  token.to = performance.now();
  await redis.isInService();
}

/** The faults of a cluster, and of a Redis with sentinels. */
export const clustered = [masterKilled, loneMasterKilled, slotMoved, handedOver, masterParted, majorityLost];
export const watched = [watchedMasterKilled, watchedLoneMasterKilled, failedOver, watchedMasterStopped];
