// Somebody else has been at the keys of a room: one is gone, or of another type, or
// holds garbage. Each key is damaged in a room of its own, and one room is left alone.

/** The keys of a room but its hash. */
export const KEYS = [
  "messages", "whiteboard", "changes", "tombstones", "participants", "arrivals",
  "sessions", "session-users", "user-sessions",
];

/** What a damaged room is logged with. */
export const LOGGED = [/WRONGTYPE/, /DAMAGED/, /holds something unexpected/, / room\.code=\d+ problem=/];

const keyOf = (room, name) => (name === "" ? `room:{${room}}` : `room:{${room}}:${name}`);

// One kind of damage after the other to one room after the other.
function choose(kinds, rooms, random) {
  const all = [...kinds];
  const chosen = [];
  for (const room of rooms.slice(0, -1)) {
    if (all.length === 0) break;
    chosen.push({ room, kind: all.splice(rooms.length > kinds.length ? 0 : random.below(all.length), 1)[0] });
  }
  return chosen;
}

/** A key of a room is gone. What it held is lost; the room goes on with the rest. */
export const keyDeleted = {
  name: "one key of a room deleted",
  lasts: 0,
  touches: ["redis"],
  spoils: true,
  async start({ keeper }, random, rooms) {
    const chosen = choose(KEYS, rooms, random);
    for (const { room, kind } of chosen) await keeper.redis.command("DEL", keyOf(room, kind));
    return { rooms: chosen.map(({ room }) => room) };
  },
  heal() {},
};

/** Keys are of another type for a while. */
export const wrongType = {
  name: "a key of the wrong type",
  lasts: 2_500,
  touches: ["redis"],
  damages: true,
  async start({ keeper: { redis } }, random, rooms) {
    const chosen = choose(KEYS, rooms, random);
    for (const { room, kind } of chosen) {
      const key = keyOf(room, kind);
      // One transaction, so that nobody writes in between; there may be no such key yet.
      await redis.pipeline([
        ["MULTI"], ["RENAME", key, `aside:${key}`], ["SET", key, "of another type"], ["EXEC"],
      ]);
    }
    return { chosen, rooms: chosen.map(({ room }) => room) };
  },
  async heal({ keeper: { redis } }, { chosen }) {
    for (const { room, kind } of chosen) {
      const key = keyOf(room, kind);
      await redis.pipeline([["MULTI"], ["DEL", key], ["RENAME", `aside:${key}`, key], ["EXEC"]]);
    }
  },
};

// A field of the room's own hash, which is kept aside meanwhile.
const field = (name) => ({
  key: "",
  async damage(redis, key) {
    // One transaction, so that what is kept aside is what was there last.
    const answers = await redis.pipeline([
      ["MULTI"], ["HGET", key, name], ["HSET", key, name, "garbage"], ["EXEC"],
    ]);
    return answers.at(-1)[0];
  },
  mend: (redis, key, value) => redis.command("HSET", key, name, value),
});

const GARBAGE = [
  field("epoch"),
  field("revision"),
  field("ttl"),
  {
    key: "messages",
    damage: (redis, key) => redis.command("LPUSH", key, "garbage"),
    mend: (redis, key) => redis.command("LREM", key, "0", "garbage"),
  },
  {
    key: "whiteboard",
    async damage(redis, key) {
      await redis.command("HSET", key, "garbage", "garbage");
      await redis.command("ZADD", key.replace("whiteboard", "changes"), "9007199254740991", "garbage");
    },
    async mend(redis, key) {
      await redis.command("HDEL", key, "garbage");
      await redis.command("ZREM", key.replace("whiteboard", "changes"), "garbage");
    },
  },
];

/** Values hold garbage for a while. */
export const garbage = {
  name: "garbage in a value",
  lasts: 2_500,
  touches: ["redis"],
  damages: true,
  async start({ keeper: { redis } }, random, rooms) {
    const chosen = choose(GARBAGE, rooms, random);
    for (const one of chosen) one.value = await one.kind.damage(redis, keyOf(one.room, one.kind.key));
    return { chosen, rooms: chosen.map(({ room }) => room) };
  },
  async heal({ keeper: { redis } }, { chosen }) {
    for (const { room, kind, value } of chosen) await kind.mend(redis, keyOf(room, kind.key), value);
  },
};

/** How many rooms it takes for each kind of damage and one room left alone. */
export const ROOMS = KEYS.length + 1;
