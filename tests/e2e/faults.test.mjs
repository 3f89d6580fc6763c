// What is acknowledged survives kill -9; what is lost on the way is found again.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";

import { element, ids } from "../harness/member.mjs";
import { LossyProxy } from "../harness/lossy_proxy.mjs";
import { Roomkeeper } from "../harness/roomkeeper.mjs";
import { until } from "../harness/until.mjs";

for (const transport of ["websocket", "polling"]) {
  test(`P1: over ${transport}, everything acknowledged is there after kill -9 of all`, async () => {
    const keeper = await Roomkeeper.start();
    const room = await keeper.room({ name: "Kept" });
    const { code } = room;
    const member = await keeper.joined(code, { transport, userId: "ann", username: "Ann" });
    const said = [];
    for (let n = 0; n < 60; n += 1) said.push(await member.say(code, `${n}`));
    await member.draw(code, [element("a"), element("b")]);
    await member.draw(code, [element("a", 2, { isDeleted: true })]);

    const restarts = [
      ["the service", [keeper.service.program], []],
      ["the gateway", [keeper.gateway.program], []],
      ["both", [keeper.service.program, keeper.gateway.program], []],
      ["Redis", [], [keeper.redis]],
      ["all three", [keeper.service.program, keeper.gateway.program], [keeper.redis]],
    ];
    for (const [what, programs, stores] of restarts) {
      const last = await keeper.joined(code, { transport, userId: "ann", username: "Ann" });
      said.push(await last.say(code, `before kill -9 of ${what}`));
      await Promise.all([...programs, ...stores].map((program) => program.kill()));
      for (const store of stores) await store.restart();
      for (const program of programs) program.start();
      await keeper.ready();
      keeper.dismiss();

      const again = await keeper.joined(code, { transport, userId: "ann", username: "Ann" });
      const history = await again.next("chat:history");
      assert.deepEqual(history.messages, said.slice(-50), `after kill -9 of ${what}`);
      assert.deepEqual((await again.next("whiteboard:state")).elements, [element("b")]);
      assert.deepEqual(await keeper.messages(code), said.slice(-100));
      assert.equal((await keeper.about(code)).name, "Kept");
      await again.say(code, "and on it goes").then((message) => said.push(message));
    }
  });
}

test("a killed service loses no message that a member has received", async () => {
  const keeper = await Roomkeeper.start({ services: 2, gateways: 2 });
  const { code } = await keeper.room();
  const reader = await keeper.joined(code, { gateway: 1 });
  const writer = await keeper.joined(code, { gateway: 0 });
  const acknowledged = [];
  let writing = true;
  const writes = (async () => {
    for (let n = 0; n < 90 && writing; n += 1) {
      const answer = await writer.ask("chat:message", { roomId: code, message: `${n}` });
      if (answer.success) acknowledged.push(answer.message.id);
    }
  })();
  await until("some have come", () => reader.received("chat:message").length > 20);
  await keeper.service.program.kill();
  writing = false;
  await writes;
  keeper.service.program.start();
  await keeper.ready();
  const stored = (await keeper.messages(code)).map(({ id }) => id);
  for (const { id } of reader.received("chat:message")) assert.ok(stored.includes(id), "received, not stored");
  for (const id of acknowledged) assert.ok(stored.includes(id), "acknowledged, not stored");
});

test("a stop under load loses no message that a member has received or was promised", async () => {
  const keeper = await Roomkeeper.start({ services: 2, gateways: 2 });
  const { code } = await keeper.room();
  const reader = await keeper.joined(code, { gateway: 1 });
  const writer = await keeper.joined(code, { gateway: 0 });
  const acknowledged = [];
  for (let n = 0; n < 80; n += 1) {
    writer.socket.emit("chat:message", { roomId: code, message: `${n}` }, (answer) => {
      if (answer.success) acknowledged.push(answer.message.id);
    });
  }
  await reader.next("chat:message");
  await Promise.all([keeper.service.program.stop(), keeper.gateway.program.stop()]);
  const stored = (await keeper.messages(code, 1)).map(({ id }) => id);
  for (const { id } of reader.received("chat:message")) assert.ok(stored.includes(id), "received, not stored");
  for (const id of acknowledged) assert.ok(stored.includes(id), "acknowledged, not stored");
});

test("members keep their sockets and their room while the service is away", async () => {
  const keeper = await Roomkeeper.start();
  const { code } = await keeper.room();
  const member = await keeper.joined(code, { sync: "delta" });
  const full = await keeper.joined(code);
  await member.say(code, "before");
  await keeper.service.program.kill();
  const requestId = randomUUID();
  const request = { roomId: code, message: "meanwhile", requestId };
  const refused = await member.ask("chat:message", request);
  assert.equal(refused.success, false);
  assert.ok(["STORE_UNAVAILABLE", "OUTCOME_UNKNOWN"].includes(refused.code), refused.code);
  assert.equal((await keeper.get("/healthz")).status, 200);
  await until("it is not ready", async () => (await keeper.get("/readyz")).status === 503);

  keeper.service.program.start();
  await keeper.ready();
  assert.ok(member.socket.connected && full.socket.connected);
  await until("the same request passes", async () => (await member.ask("chat:message", request)).success);
  await member.next("chat:message", ({ message }) => message === "meanwhile");
  await full.next("chat:message", ({ message }) => message === "meanwhile");
  assert.equal((await keeper.messages(code)).length, 2);
  await member.draw(code, [element("a")]);
  await full.next("whiteboard-update");
  member.assertUnbroken(code);
});

test("with two services, a gateway whose service is killed goes on with the other", async () => {
  const keeper = await Roomkeeper.start({ services: 2, gateways: 2, shared: true });
  const { code } = await keeper.room();
  const one = await keeper.joined(code, { gateway: 0, sync: "delta" });
  const two = await keeper.joined(code, { gateway: 1, sync: "delta" });
  for (const killed of [0, 1]) {
    await keeper.services[killed].program.kill();
    for (const [author, reader] of [[one, two], [two, one]]) {
      const requestId = randomUUID();
      const message = `${author.username} after ${killed}`;
      await until("it is said", async () =>
        (await author.ask("chat:message", { roomId: code, message, requestId })).success);
      await reader.next("chat:message", (heard) => heard.message === message);
    }
    keeper.services[killed].program.start();
    await keeper.ready();
    await until(`service ${killed} serves again`, () =>
      /Redis: ready[\s\S]*Redis: ready/.test(keeper.services[killed].program.log));
  }
  one.assertUnbroken(code);
  two.assertUnbroken(code);
  assert.equal((await keeper.messages(code)).length, 4);
});

test("a reader that missed only the last event finds it", async () => {
  let proxy;
  const keeper = await Roomkeeper.start({
    redisUrl: async ({ port }) => {
      proxy = await LossyProxy.to(port);
      return `redis://127.0.0.1:${proxy.port}`;
    },
  });
  const { code } = await keeper.room();
  const author = await keeper.joined(code);
  const reader = await keeper.joined(code, { sync: "delta" });
  await author.say(code, "heard");
  await reader.next("chat:message");
  proxy.losing = true;
  await author.say(code, "lost on the way");
  await author.draw(code, [element("a")]);
  await until("the events are lost", () => proxy.lost >= 2);
  proxy.losing = false;
  await reader.next("chat:message", ({ message }) => message === "lost on the way");
  assert.deepEqual(ids((await reader.next("whiteboard-update")).elements), ["a"]);
  reader.assertUnbroken(code);
});

test("an event lost between two others is found with the next", async () => {
  let proxy;
  const keeper = await Roomkeeper.start({
    redisUrl: async ({ port }) => {
      proxy = await LossyProxy.to(port);
      return `redis://127.0.0.1:${proxy.port}`;
    },
  });
  const { code } = await keeper.room();
  const author = await keeper.joined(code);
  const reader = await keeper.joined(code, { sync: "delta" });
  for (let n = 0; n < 5; n += 1) {
    proxy.losing = true;
    const lost = proxy.lost;
    await author.say(code, `lost ${n}`);
    await until("the event is lost", () => proxy.lost > lost);
    proxy.losing = false;
    await author.say(code, `heard ${n}`);
    await reader.next("chat:message", ({ message }) => message === `heard ${n}`);
  }
  assert.deepEqual(
    reader.received("chat:message").map(({ id }) => id),
    (await keeper.messages(code)).map(({ id }) => id),
  );
  reader.assertUnbroken(code);
});

test("a socket that does not read is let go, and comes back to what it missed", { timeout: 120_000 }, async () => {
  const keeper = await Roomkeeper.start();
  const { code } = await keeper.room();
  const author = await keeper.joined(code, { username: "Author" });
  const slow = await keeper.joined(code, { username: "Slow", sync: "delta" });
  const reader = await keeper.joined(code, { username: "Reader", sync: "delta" });
  const after = slow.positions.get(code);
  const connection = slow.socket.io.engine.transport.ws._socket;
  connection.pause();

  // More than the kernel's buffers hold on the way.
  const text = "x".repeat(900_000);
  for (let n = 1; n <= 60; n += 1) {
    await author.draw(code, [element("heavy", n, { text })]);
    await reader.next("whiteboard-update", ({ elements }) => elements[0].version === n);
  }
  await author.draw(code, [element("heavy", 61, { text: "" })]);
  await reader.next("presence:update", (list, position) =>
    position.roomId === code && !list.some(({ username }) => username === "Slow"), 60_000);
  reader.assertUnbroken(code);

  connection.resume();
  await slow.next("disconnect");
  const back = await keeper.joined(code, { userId: slow.userId, sync: "delta", after });
  assert.deepEqual((await back.next("whiteboard:state")).elements, [element("heavy", 61, { text: "" })]);
  await author.say(code, "welcome back");
  await back.next("chat:message");
  back.assertUnbroken(code);
});
