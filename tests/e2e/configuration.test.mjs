// Starting and stopping, as an operator does it.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { test } from "node:test";

import { request } from "../harness/http.mjs";
import { Member } from "../harness/member.mjs";
import { freePort } from "../harness/ports.mjs";
import { temporaryFolder } from "../harness/program.mjs";
import { Redis } from "../harness/redis.mjs";
import { launch, Roomkeeper } from "../harness/roomkeeper.mjs";
import { until } from "../harness/until.mjs";

const listens = (port) => until(`somebody listens on ${port}`, () =>
  new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(socket.destroy()));
    socket.once("error", () => resolve(false));
  }));

const gatewayListens = (port) => until("the gateway listens", async () =>
  (await request(`http://127.0.0.1:${port}/healthz`)).status === 200);

const BAD = {
  "persistence-service": {
    REDIS_URL: ["http://127.0.0.1", "nonsense", ""],
    PERSISTENCE_LISTEN: ["nonsense", "127.0.0.1", "127.0.0.1:99999"],
    ROOM_TTL: ["nonsense", "-3s", "0s"],
    MESSAGE_LIMIT: ["nonsense", "-1", "0"],
    HISTORY_LIMIT: ["nonsense", "-1", "0"],
    PERSISTENCE_WORKERS: ["nonsense", "0"],
    LOG_FORMAT: ["xml"],
    RUST_LOG: ["loud", "info,tonic", "a=b=c"],
  },
  "edge-gateway": {
    GATEWAY_LISTEN: ["nonsense", "127.0.0.1", "127.0.0.1:99999"],
    GATEWAY_PERSISTENCE_URL: ["nonsense", "ftp://127.0.0.1", ","],
    CORS_ALLOWED_ORIGINS: ["nonsense", "https://app.example.org/path"],
    GATEWAY_WORKERS: ["nonsense", "0"],
    LOG_FORMAT: ["xml"],
    RUST_LOG: ["loud", "info,tonic", "a=b=c"],
  },
};

for (const [name, variables] of Object.entries(BAD)) {
  for (const [variable, values] of Object.entries(variables)) {
    test(`${name} ends with 2 and one line that names ${variable} where it is bad`, async () => {
      for (const value of values) {
        const program = launch(name, {
          REDIS_URL: "redis://127.0.0.1:1",
          PERSISTENCE_LISTEN: `127.0.0.1:${await freePort()}`,
          GATEWAY_LISTEN: `127.0.0.1:${await freePort()}`,
          [variable]: value,
        });
        const { code } = await program.ended();
        assert.equal(code, 2, `${variable}=${value}: ${program.log}`);
        const lines = program.log.split("\n").filter((line) => line.trim() !== "");
        assert.equal(lines.length, 1, `${variable}=${value}: ${program.log}`);
        assert.match(lines[0], new RegExp(variable));
      }
    });
  }
}

test("a password in REDIS_URL is not logged", async (t) => {
  const port = await freePort();
  const service = launch("persistence-service", {
    PERSISTENCE_LISTEN: `127.0.0.1:${port}`,
    REDIS_URL: "redis://user:hunter2@127.0.0.1:1",
  });
  t.after(() => service.stop());
  await listens(port);
  await service.stop();
  assert.doesNotMatch(service.log, /hunter2/);
});

test("a port that is taken ends a program with one line and not with 0", async () => {
  const keeper = await Roomkeeper.start();
  for (const [name, env] of [
    ["edge-gateway", { GATEWAY_LISTEN: `127.0.0.1:${keeper.gateway.port}` }],
    ["persistence-service", {
      PERSISTENCE_LISTEN: `127.0.0.1:${keeper.service.port}`,
      REDIS_URL: keeper.redis.url,
    }],
  ]) {
    const program = launch(name, env);
    const { code } = await program.ended();
    assert.ok(code > 0, `${code}`);
    assert.doesNotMatch(program.log, /panicked/);
    assert.match(program.log, new RegExp(String(env.GATEWAY_LISTEN ?? env.PERSISTENCE_LISTEN)));
  }
});

test(".env is read where a program starts, and the environment beats it", async (t) => {
  const redis = await Redis.start();
  const [servicePort, fromFile, fromEnvironment] = [await freePort(), await freePort(), await freePort()];
  const folder = temporaryFolder();
  writeFileSync(join(folder, ".env"), [
    "# where things are",
    `REDIS_URL=${redis.url}`,
    `PERSISTENCE_LISTEN=127.0.0.1:${servicePort}`,
    `GATEWAY_PERSISTENCE_URL="http://127.0.0.1:${servicePort}"`,
    `GATEWAY_LISTEN=127.0.0.1:${fromFile}`,
    "ROOM_TTL=90s",
    "MESSAGE_LIMIT=7",
    "HISTORY_LIMIT=3",
    "",
  ].join("\n"));
  const service = launch("persistence-service", { MESSAGE_LIMIT: "5" }, folder);
  const gateway = launch("edge-gateway", {}, folder);
  const second = launch("edge-gateway", { GATEWAY_LISTEN: `127.0.0.1:${fromEnvironment}` }, folder);
  t.after(async () => {
    for (const program of [gateway, second, service, redis]) await program.stop();
  });

  for (const port of [fromFile, fromEnvironment]) {
    await until("the gateway is ready", async () =>
      (await request(`http://127.0.0.1:${port}/readyz`)).status === 200);
  }
  const url = `http://127.0.0.1:${fromFile}`;
  const { body } = await request(`${url}/api/rooms`, {
    method: "POST", body: { name: "Room", createdBy: "Ann" },
  });
  const { code } = body.room;
  const { body: { stats } } = await request(`${url}/api/rooms/${code}/stats`);
  assert.ok(stats.ttl > 60 && stats.ttl <= 90, "ROOM_TTL of the file");

  const member = await Member.connect(url);
  t.after(() => member.close());
  await member.join(code);
  for (let n = 0; n < 9; n += 1) await member.say(code, `${n}`);
  const messages = (await request(`${url}/api/rooms/${code}/messages`)).body.messages;
  assert.deepEqual(messages.map(({ message }) => message), ["4", "5", "6", "7", "8"], "MESSAGE_LIMIT of the environment");
  const late = await Member.connect(url);
  t.after(() => late.close());
  await late.join(code);
  assert.equal((await late.next("chat:history")).count, 3, "HISTORY_LIMIT of the file");
});

test("the logs say what an operator waits for", async () => {
  const keeper = await Roomkeeper.start();
  assert.match(keeper.service.program.log, /Redis: ready/);
  assert.match(keeper.service.program.log, new RegExp(`127\\.0\\.0\\.1:${keeper.service.port}`));
  assert.match(keeper.gateway.program.log, new RegExp(`http://127\\.0\\.0\\.1:${keeper.gateway.port}`));
});

test("a Redis that may evict rooms is warned about", async () => {
  const keeper = await Roomkeeper.start({ redis: { "maxmemory-policy": "allkeys-lru" } });
  await until("the log warns", () => /WARN.*maxmemory-policy/.test(keeper.service.program.log));
});

test("LOG_FORMAT=json logs one JSON object a line", async () => {
  const keeper = await Roomkeeper.start({ env: { LOG_FORMAT: "json" } });
  const { code } = await keeper.room();
  await (await keeper.joined(code)).say(code, "hello");
  keeper.dismiss();
  await keeper.stop();
  for (const program of [keeper.gateway.program, keeper.service.program]) {
    const lines = program.log.split("\n").filter(Boolean);
    assert.ok(lines.length > 0);
    for (const line of lines) assert.equal(typeof JSON.parse(line), "object", line);
  }
});

test("CORS_ALLOWED_ORIGINS=* serves the pages of everybody", async () => {
  const keeper = await Roomkeeper.start({ gatewayEnv: { CORS_ALLOWED_ORIGINS: "*" } });
  const { code } = await keeper.room();
  const origin = "http://anywhere.example";
  const answer = await keeper.get(`/api/rooms/${code}`, { headers: { origin } });
  assert.equal(answer.status, 200);
  assert.ok(["*", origin].includes(answer.headers["access-control-allow-origin"]));
  const member = await keeper.joined(code, { io: { extraHeaders: { origin } } });
  await member.say(code, "from anywhere");
});

test("the gateway starts before its service and becomes ready with it", async () => {
  const keeper = await Roomkeeper.start();
  await keeper.service.program.stop();
  await keeper.gateway.program.stop();
  keeper.gateway.program.start();
  await gatewayListens(keeper.gateway.port);
  assert.equal((await keeper.get("/readyz")).status, 503);
  const refused = await keeper.post("/api/rooms", { name: "Room", createdBy: "Ann" });
  assert.equal(refused.status, 503);
  assert.equal(refused.body.code, "STORE_UNAVAILABLE");
  keeper.service.program.start();
  await keeper.ready();
  await keeper.room();
});

for (const store of ["redis", "embedded"]) {
  test(`programs that start one after another warn about nothing, ${store} store`, async () => {
    const keeper = await Roomkeeper.start({ store });
    const programs = [keeper.gateway.program, keeper.service.program];
    for (const program of programs) await program.stop();
    await keeper.redis?.kill();
    const before = programs.map(({ log }) => log.length);
    const news = () => programs.map(({ log }, n) => log.slice(before[n]));

    const [gateway, service] = programs;
    gateway.start();
    await until("the gateway waits for its service", () => /not ready yet/.test(news()[0]));
    service.start();
    await listens(keeper.service.port);
    if (keeper.redis) {
      await until("the service waits for its Redis", () => /Redis: not reached yet/.test(news()[1]));
      // Now the service answers, and says that it does not serve.
      assert.equal((await keeper.get("/readyz")).status, 503);
      await keeper.redis.restart();
    }
    await keeper.ready();
    await until("the gateway says so", () => /persistence service: ready /.test(news()[0]));
    for (const log of news()) assert.doesNotMatch(log, /WARN|ready again/);

    await service.kill();
    await until("what was ready and is away is warned about", () => /WARN.*not ready/.test(news()[0]));
    service.start();
    await until("the gateway says so", () => /ready again/.test(news()[0]));
  });
}

for (const transport of ["websocket", "polling"]) {
  test(`a stopping gateway tells its sockets over ${transport}, and ends with 0 within 10 s`, async () => {
    const keeper = await Roomkeeper.start();
    const { code } = await keeper.room();
    const members = await Promise.all(Array.from({ length: 5 }, () => keeper.joined(code, { transport })));
    await members[0].say(code, "hello");
    const stopped = keeper.gateway.program.stop();
    for (const member of members) {
      const { retryAfterMs } = await member.next("server:draining");
      assert.ok(Number.isInteger(retryAfterMs) && retryAfterMs >= 0, `${retryAfterMs}`);
    }
    await stopped;
    for (const member of members) await member.next("disconnect");
    keeper.gateway.program.start();
    await keeper.ready();
    assert.equal((await keeper.messages(code)).length, 1);
    await until("nobody is left behind", async () => (await keeper.about(code)).participantCount === 0);
  });
}

test("SIGINT stops both programs as SIGTERM does", async () => {
  const keeper = await Roomkeeper.start();
  for (const { program } of [keeper.gateway, keeper.service]) {
    program.signal("SIGINT");
    assert.deepEqual(await program.ended(10_000), { code: 0, signal: null });
  }
});

test("a service that has watchers and no Redis still ends with 0", async () => {
  const keeper = await Roomkeeper.start();
  const { code } = await keeper.room();
  await keeper.joined(code);
  await keeper.redis.kill();
  await keeper.service.program.stop();
  await keeper.gateway.program.stop();
});
