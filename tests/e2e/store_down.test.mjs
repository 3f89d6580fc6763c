// Redis is away: clear errors, nothing crashes, and no restart is needed afterwards.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";

import { curl } from "../harness/grpc.mjs";
import { assertRefused, element } from "../harness/member.mjs";
import { Roomkeeper } from "../harness/roomkeeper.mjs";
import { until } from "../harness/until.mjs";

// How long a write may take to be refused, and then some for a busy machine.
const PROMPT = 3500;

const AWAY = ["STORE_UNAVAILABLE", "OUTCOME_UNKNOWN"];

// What the last tests break is an error that is to be logged.
const keeper = await Roomkeeper.start({ expected: [/WRONGTYPE/, /lacks its header/] });

async function promptly(what, promise) {
  const start = performance.now();
  const answer = await promise;
  const took = performance.now() - start;
  assert.ok(took < PROMPT, `${what} took ${Math.round(took)} ms`);
  return answer;
}

const health = async () => {
  const { code, stdout } = await curl("-d", "{}", `${keeper.service.address}/grpc.health.v1.Health/Check`);
  assert.equal(code, 0);
  return JSON.parse(stdout).status;
};

for (const [how, away, back] of [
  ["killed", () => keeper.redis.kill(), () => keeper.redis.restart()],
  ["silent", () => keeper.redis.freeze(), () => keeper.redis.signal("SIGCONT")],
]) {
  test(`P12: with Redis ${how}, requests are refused promptly, sockets stay, and it recovers by itself`, async () => {
    const { code } = await keeper.room();
    const member = await keeper.joined(code, { sync: "delta" });
    const other = await keeper.joined(code);
    await member.say(code, "before");
    const requestId = randomUUID();
    const request = { roomId: code, message: "meanwhile", requestId };
    await away();

    const refused = await promptly("a message", member.ask("chat:message", request));
    assertRefused(refused, ...AWAY);
    assertRefused(
      await promptly("a drawing", other.ask("whiteboard-change", { roomId: code, elements: [element("a")] })),
      ...AWAY,
    );
    const create = await promptly("a room", keeper.post("/api/rooms", { name: "Room", createdBy: "Ann" }));
    assert.ok([503, 504].includes(create.status), `${create.status}`);
    assert.ok(AWAY.includes(create.body.code));
    if (create.status === 503) assert.ok(create.headers["retry-after"]);
    const read = await promptly("a read", keeper.get(`/api/rooms/${code}`));
    assert.ok([503, 504].includes(read.status), `${read.status}`);
    assert.equal((await keeper.get("/healthz")).status, 200);
    await until("it is not ready", async () => (await keeper.get("/readyz")).status === 503);
    await until("health says so", async () => (await health()) === "NOT_SERVING");
    const outsider = await keeper.member();
    assertRefused(
      await promptly("a join", outsider.ask("join", { roomId: code, userId: "late", username: "Late" })),
      ...AWAY,
    );

    await back();
    await keeper.ready();
    await until("health says so", async () => (await health()) === "SERVING");
    assert.ok(member.socket.connected && other.socket.connected && outsider.socket.connected);
    const answer = await until("the same request passes", async () => {
      const again = await member.ask("chat:message", request);
      return again.success && again;
    });
    assert.equal(answer.message.message, "meanwhile");
    for (const one of [member, other]) {
      await one.next("chat:message", ({ message }) => message === "meanwhile");
    }
    await until("the outsider joins", async () =>
      (await outsider.ask("join", { roomId: code, userId: "late", username: "Late" })).success);
    await other.say(code, "after");
    await member.next("chat:message", ({ message }) => message === "after");
    await outsider.next("chat:message", ({ message }) => message === "after");
    assert.deepEqual(
      (await keeper.messages(code)).map(({ message }) => message),
      ["before", "meanwhile", "after"],
    );
    member.assertUnbroken(code);
  });
}

test("a Redis that refuses writes for lack of replicas is not ready, and is again by itself", async () => {
  const { code } = await keeper.room();
  await keeper.redis.command("CONFIG", "SET", "min-replicas-to-write", "1");
  await until("it is not ready", async () => (await keeper.get("/readyz")).status === 503);
  assert.equal(await health(), "NOT_SERVING");
  assert.equal((await keeper.get(`/api/rooms/${code}`)).status, 200, "reads go on");
  await keeper.redis.command("CONFIG", "SET", "min-replicas-to-write", "0");
  await keeper.ready();
  assert.equal(await health(), "SERVING");
});

for (const [what, program] of [["Redis", keeper.redis], ["the service", keeper.service.program]]) {
  test(`with ${what} silent, events sent at once by one socket are all answered promptly`, async () => {
    const { code } = await keeper.room();
    const member = await keeper.joined(code);
    await member.say(code, "before");
    await program.freeze();
    const answers = await promptly("all ten", Promise.all(Array.from({ length: 10 }, (_, n) =>
      member.ask("chat:message", { roomId: code, message: `${n}` })))).finally(() =>
      program.signal("SIGCONT"));
    for (const answer of answers) assertRefused(answer, ...AWAY);
    await keeper.ready();
    const unstored = answers.flatMap(({ code: refusal }, n) => (refusal === AWAY[0] ? [`${n}`] : []));
    await until("it passes again", async () =>
      (await member.ask("chat:message", { roomId: code, message: "after" })).success);
    for (const { message } of await keeper.messages(code)) {
      assert.ok(!unstored.includes(message), "what was answered as not stored is stored");
    }
  });
}

test("a Redis that is full refuses what needs room, and goes on reading and letting go", async () => {
  const { code } = await keeper.room();
  const member = await keeper.joined(code);
  await member.say(code, "before");
  const leaver = await keeper.joined(code, { username: "Leaver" });
  await keeper.redis.command("CONFIG", "SET", "maxmemory", "1mb");
  assertRefused(await member.ask("chat:message", { roomId: code, message: "no room" }), "STORE_FULL");
  assertRefused(
    await member.ask("whiteboard-change", { roomId: code, elements: [element("a")] }), "STORE_FULL",
  );
  const create = await keeper.post("/api/rooms", { name: "Room", createdBy: "Ann" });
  assert.equal(create.status, 507);
  assert.equal(create.body.code, "STORE_FULL");
  assert.equal((await keeper.messages(code)).length, 1);
  await leaver.leave(code);
  assert.equal((await keeper.delete(`/api/rooms/${code}`)).status, 200);
  await keeper.redis.command("CONFIG", "SET", "maxmemory", "0");
  const room = await keeper.room();
  await (await keeper.joined(room.code)).say(room.code, "after");
});

test("scripts that Redis has forgotten are loaded again", async () => {
  const { code } = await keeper.room();
  const member = await keeper.joined(code);
  await keeper.redis.command("SCRIPT", "FLUSH");
  await member.say(code, "still works");
  await member.draw(code, [element("a")]);
  await keeper.redis.command("SCRIPT", "FLUSH");
  await member.leave(code);
});

test("a key of a wrong type is an internal error without a detail, and stores nothing", async () => {
  const { code } = await keeper.room();
  const member = await keeper.joined(code);
  await keeper.redis.command("SET", `room:{${code}}:messages`, "not a list");
  const before = await keeper.redis.command("HGETALL", `room:{${code}}`);
  const answer = await member.ask("chat:message", { roomId: code, message: "hi" });
  assertRefused(answer, "INTERNAL");
  assert.doesNotMatch(answer.error, /WRONGTYPE|redis|lua/i);
  assert.deepEqual(await keeper.redis.command("HGETALL", `room:{${code}}`), before);
  await keeper.redis.command("DEL", `room:{${code}}:messages`);
  await member.say(code, "mended");
});

test("a join that is stored and then finds the room damaged leaves nobody behind", async () => {
  const { code } = await keeper.room();
  const before = await keeper.joined(code);
  await before.draw(code, [element("a")]);
  await before.leave(code);
  // Garbage that a join reads after it has been stored.
  await keeper.redis.command("HSET", `room:{${code}}:whiteboard`, "b", "garbage");
  const member = await keeper.member();
  const { userId, username } = member;
  assertRefused(await member.ask("join", { roomId: code, userId, username }), "INTERNAL");
  await keeper.redis.command("HDEL", `room:{${code}}:whiteboard`, "b");
  await until("nobody is there", async () => (await keeper.about(code)).participantCount === 0, 5_000);
});
