// Two gateways and two services on one Redis.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import http from "node:http";
import { test } from "node:test";

import { assertRefused, element, ids, Member } from "../harness/member.mjs";
import { Polling } from "../harness/polling.mjs";
import { freePort } from "../harness/ports.mjs";
import { Roomkeeper } from "../harness/roomkeeper.mjs";
import { until } from "../harness/until.mjs";

const keeper = await Roomkeeper.start({ services: 2, gateways: 2 });

test("a room created on one gateway is listed and told by the other", async () => {
  for (let n = 0; n < 5; n += 1) {
    const room = await keeper.room();
    const { body } = await keeper.gateways[1].get("/api/rooms");
    assert.deepEqual(body.rooms[0], room);
    assert.deepEqual((await keeper.gateways[1].get(`/api/rooms/${room.code}`)).body.room, room);
  }
});

test("a member on one gateway hears a member on the other", async () => {
  const { code } = await keeper.room();
  const here = await keeper.joined(code, { gateway: 0 });
  const there = await keeper.joined(code, { gateway: 1 });
  const said = await here.say(code, "hello over there");
  const heard = await there.next("chat:message");
  assert.equal(heard.id, said.id);
  assert.equal(heard.ts, said.ts);
  await there.say(code, "hello over here");
  await here.next("chat:message", ({ message }) => message === "hello over here");
  assert.deepEqual(await keeper.messages(code, 0), await keeper.messages(code, 1));
});

test("P6: the 120 messages of members on both gateways come to all in one order", async () => {
  const { code } = await keeper.room();
  const members = await Promise.all([0, 1, 0, 1].map((gateway, n) =>
    keeper.joined(code, { gateway, transport: n < 2 ? "websocket" : "polling" })));
  await Promise.all(members.map(async (member, m) => {
    for (let n = 0; n < 30; n += 1) await member.say(code, `${m}-${n}`);
  }));
  for (const member of members) {
    await until("all have come", () => member.received("chat:message").length === 120);
  }
  const orders = members.map((member) => member.received("chat:message").map(({ id }) => id));
  for (const order of orders) assert.deepEqual(order, orders[0]);
  assert.deepEqual((await keeper.messages(code)).map(({ id }) => id), orders[0].slice(20));
  const late = await keeper.joined(code, { gateway: 1 });
  const { messages } = await late.next("chat:history");
  assert.deepEqual(messages.map(({ id }) => id), orders[0].slice(70));
});

test("a whiteboard change on one gateway reaches full and delta clients on the other", async () => {
  const { code } = await keeper.room();
  const drawer = await keeper.joined(code, { gateway: 0 });
  await drawer.draw(code, [element("a")]);
  const full = await keeper.joined(code, { gateway: 1 });
  const delta = await keeper.joined(code, { gateway: 1, sync: "delta" });
  await drawer.draw(code, [element("b")]);
  assert.deepEqual(ids((await full.next("whiteboard-update")).elements), ["a", "b"]);
  assert.deepEqual(ids((await delta.next("whiteboard-update")).elements), ["b"]);
  await delta.say(code, "seen");
  await drawer.next("chat:message");
  assert.deepEqual(drawer.received("whiteboard-update"), []);
});

for (const sync of [undefined, "delta"]) {
  test(`${sync ?? "full"} clients on both gateways that draw at once keep both strokes`, async () => {
    const { code } = await keeper.room();
    const one = await keeper.joined(code, { gateway: 0, sync });
    const two = await keeper.joined(code, { gateway: 1, sync });
    await one.draw(code, [element("base")]);
    for (let n = 0; n < 20; n += 1) {
      await Promise.all([
        one.draw(code, [element("base"), element(`one-${n}`)]),
        two.draw(code, [element("base"), element(`two-${n}`)]),
      ]);
    }
    const board = ids(await keeper.board(code));
    assert.equal(board.length, 41);
    assert.deepEqual(ids(await keeper.board(code, 1)), board);
  });
}

/** What a gateway says to a request for a session that lives elsewhere. */
function assertUnknownSession({ status, headers, body }) {
  assert.equal(status, 400);
  assert.match(headers["content-type"], /^application\/json/);
  assert.deepEqual([body.code, body.message], [1, "Session ID unknown"], "as Engine.IO's own server");
  assert.match(body.reason, /another gateway/);
  assert.match(body.reason, /balancer/);
}

test("a request for a session that lives at another gateway is told so", async () => {
  const { url } = await Polling.connect(keeper.gateways[0].url);
  const elsewhere = url.slice(keeper.gateways[0].url.length);
  assertUnknownSession(await keeper.gateways[1].get(elsewhere));
  assertUnknownSession(await keeper.gateways[1].request(elsewhere, { method: "POST", body: "40" }));
  assertUnknownSession(await keeper.gateways[1].get(elsewhere.replace("polling", "websocket"), {
    headers: {
      connection: "Upgrade", upgrade: "websocket",
      "sec-websocket-version": "13", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    },
  }));
  // What is wrong in another way is told in the same form.
  for (const [query, code] of [["EIO=4&transport=pigeon", 0], ["EIO=3&transport=polling", 5]]) {
    const { status, body } = await keeper.get(`/socket.io/?${query}`);
    assert.equal(status, 400);
    assert.equal(body.code, code, JSON.stringify(body));
    assert.equal(typeof body.message, "string");
  }
});

test("behind a balancer without affinity a client that polls is told why it cannot connect", async (t) => {
  let turn = 0;
  const balancer = http.createServer((request, response) => {
    const { port } = keeper.gateways[turn++ % 2];
    const { url: path, method, headers } = request;
    const outgoing = http.request({ port, path, method, headers, agent: false }, (incoming) => {
      response.writeHead(incoming.statusCode, incoming.headers);
      incoming.pipe(response);
    });
    outgoing.on("error", () => response.destroy());
    request.pipe(outgoing);
  });
  const port = await freePort();
  await new Promise((resolve) => balancer.listen(port, "127.0.0.1", resolve));
  t.after(() => balancer.close());
  const member = new Member(`http://127.0.0.1:${port}`, { transport: "polling" });
  t.after(() => member.close());
  // Read at once: the client drops the answer after that.
  const told = await new Promise((resolve) => member.socket.io.engine.once("error",
    ({ description, context }) => resolve({
      status: description,
      headers: { "content-type": context.getResponseHeader("content-type") },
      body: JSON.parse(context.responseText),
    })));
  assertUnknownSession(told);
});

test("signals cross gateways", async () => {
  const { code } = await keeper.room();
  const here = await keeper.joined(code, { gateway: 0, username: "Here" });
  const there = await keeper.joined(code, { gateway: 1 });
  const { userId } = here;
  here.tell("chat:typing", { roomId: code });
  assert.deepEqual(await there.next("chat:typing"), { roomId: code, userId, username: "Here" });
  here.tell("chat:stopTyping", { roomId: code });
  await there.next("chat:stopTyping");
  here.tell("whiteboard-pointer", { roomId: code, x: 3, y: 4 });
  assert.deepEqual(await there.next("whiteboard-pointer"), {
    roomId: code, x: 3, y: 4, userId, username: "Here",
  });
});

test("two tabs on two gateways are one participant, until both are closed", async () => {
  const { code } = await keeper.room();
  const watcher = await keeper.joined(code, { gateway: 0, username: "Watcher" });
  const one = await keeper.joined(code, { gateway: 0, userId: "ann", username: "Ann" });
  const two = await keeper.joined(code, { gateway: 1, userId: "ann", username: "Ann" });
  assert.equal((await keeper.about(code)).participantCount, 2);
  one.close();
  await two.say(code, "one tab closed");
  await watcher.next("chat:message");
  assert.equal((await keeper.about(code)).participantCount, 2);
  two.close();
  await watcher.present(code, ["Watcher"]);
  assert.equal((await keeper.about(code)).participantCount, 1);
});

test("a room is full on both gateways", async () => {
  const { code } = await keeper.room({ maxParticipants: 3 });
  const members = await Promise.all(Array.from({ length: 10 }, (_, n) => keeper.member({ gateway: n % 2 })));
  const answers = await Promise.all(members.map((member) =>
    member.ask("join", { roomId: code, userId: member.userId, username: member.username })));
  assert.equal(answers.filter(({ success }) => success).length, 3);
  for (const answer of answers.filter(({ success }) => !success)) assertRefused(answer, "ROOM_FULL");
  assert.equal((await keeper.about(code)).participantCount, 3);
});

test("a requestId is one request on both gateways", async () => {
  const { code } = await keeper.room();
  const here = await keeper.joined(code, { gateway: 0 });
  const there = await keeper.joined(code, { gateway: 1, userId: here.userId });
  const requestId = randomUUID();
  const answers = await Promise.all([here, there].map((member) =>
    member.ask("chat:message", { roomId: code, message: "once", requestId })));
  assert.deepEqual(answers.map(({ duplicate }) => duplicate).sort(), [false, true]);
  assert.equal((await keeper.messages(code)).length, 1);
});

test("a room deleted on one gateway is closed on the other", async () => {
  const { code } = await keeper.room();
  const there = await keeper.joined(code, { gateway: 1 });
  await keeper.delete(`/api/rooms/${code}`);
  assert.deepEqual(await there.next("room:closed"), { roomId: code, reason: "deleted" });
  assertRefused(
    await there.ask("chat:message", { roomId: code, message: "anybody?" }),
    "NOT_JOINED", "ROOM_NOT_FOUND",
  );
});

test("a position taken on one gateway is good on the other", async () => {
  const { code } = await keeper.room();
  const here = await keeper.joined(code, { gateway: 0, sync: "delta" });
  const author = await keeper.joined(code, { gateway: 0 });
  await author.say(code, "heard");
  await here.next("chat:message");
  const revision = here.assertUnbroken(code);
  const { epoch } = here.positions.get(code);
  here.close();
  await author.say(code, "missed");
  const there = await keeper.joined(code, { gateway: 1, sync: "delta", after: { epoch, revision } });
  const history = await there.next("chat:history");
  assert.equal(history.reset, false);
  assert.deepEqual(history.messages.map(({ message }) => message), ["missed"]);
});

if (keeper.redis) test("a subscriber whose pub/sub connection is cut ends with what the others have", async () => {
  const { code } = await keeper.room();
  const writers = await Promise.all([0, 1].map((gateway) => keeper.joined(code, { gateway })));
  const readers = await Promise.all([0, 1].map((gateway) =>
    keeper.joined(code, { gateway, sync: "delta" })));
  const cuts = (async () => {
    for (let n = 0; n < 8; n += 1) {
      await until("somebody is subscribed", async () =>
        (await keeper.redis.command("CLIENT", "KILL", "TYPE", "pubsub")) > 0);
    }
  })();
  await Promise.all(writers.map(async (writer, w) => {
    for (let n = 0; n < 45; n += 1) {
      await writer.say(code, `${w}-${n}`);
      await writer.draw(code, [element(`${w}-${n}`), element("shared", n * 2 + w + 1)]);
    }
  }));
  await cuts;
  await writers[0].say(code, "the last one");
  const stored = await keeper.messages(code);
  const board = await keeper.board(code);
  assert.equal(stored.length, 91);
  for (const reader of readers) {
    await reader.next("chat:message", ({ message }) => message === "the last one");
    assert.deepEqual(reader.received("chat:message").map(({ id }) => id), stored.map(({ id }) => id));
    const scene = new Map();
    for (const { elements } of reader.received("whiteboard-update")) {
      for (const one of elements) scene.set(one.id, one);
    }
    assert.deepEqual([...scene.keys()].sort(), ids(board).sort());
    for (const one of board) assert.deepEqual(scene.get(one.id), one);
    reader.assertUnbroken(code);
  }
});

if (keeper.redis) test("a message written at the very moment of a cut is heard", async () => {
  const { code } = await keeper.room();
  const author = await keeper.joined(code, { gateway: 0 });
  const reader = await keeper.joined(code, { gateway: 1, sync: "delta" });
  for (let n = 0; n < 10; n += 1) {
    await Promise.all([
      keeper.redis.command("CLIENT", "KILL", "TYPE", "pubsub"),
      author.say(code, `${n}`),
    ]);
    await reader.next("chat:message", ({ message }) => message === `${n}`);
  }
  assert.equal(reader.received("chat:message").length, 10);
  reader.assertUnbroken(code);
});
