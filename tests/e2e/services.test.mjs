// Several services: a dead one is left, and nobody is left behind.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";

import { element } from "../harness/member.mjs";
import { Roomkeeper } from "../harness/roomkeeper.mjs";
import { until } from "../harness/until.mjs";

/** A gateway with two services, a writer and a reader in a room. */
async function start() {
  const keeper = await Roomkeeper.start({ services: 2, shared: true });
  const { code } = await keeper.room();
  const writer = await keeper.joined(code, { sync: "delta" });
  const reader = await keeper.joined(code, { sync: "delta" });
  return { keeper, code, writer, reader };
}

test("a service that falls silent is left within a second, with nothing lost or repeated", async () => {
  const { keeper, code, writer, reader } = await start();
  for (const { program } of keeper.services) {
    const said = [];
    await program.freeze();
    const stopped = performance.now();
    // Sent at once, so that calls and watches are under way there.
    for (let n = 0; performance.now() - stopped < 1500; n += 1) {
      const answer = await writer.ask("chat:message", {
        roomId: code, message: `${n}`, requestId: randomUUID(),
      });
      assert.equal(answer.success, true, JSON.stringify(answer));
      said.push(answer.message.id);
    }
    const took = [];
    for (let n = 0; n < 3; n += 1) {
      const begun = performance.now();
      said.push((await writer.say(code, `left ${n}`)).id);
      took.push(performance.now() - begun);
    }
    assert.ok(Math.min(...took) < 500, `what comes later waits for the silent one: ${took}`);
    await until("the reader has heard all", () => {
      const heard = reader.received("chat:message").map(({ id }) => id);
      return said.every((id) => heard.includes(id));
    }, 3000);
    await writer.draw(code, [element("a", performance.now() | 0)]);
    await reader.next("whiteboard-update");
    program.signal("SIGCONT");
    await until("it serves again", async () => {
      const lines = keeper.gateway.program.log.split("\n");
      const last = lines.findLast((line) => /persistence service: (not ready|ready again)/.test(line));
      return /ready again/.test(last);
    });
  }
  writer.assertUnbroken(code);
  reader.assertUnbroken(code);
});

test("a service that stops is left before it ends: nobody notices", async () => {
  const { keeper, code, writer, reader } = await start();
  const [{ program }] = keeper.services;
  let stopping = true;
  const stopped = program.stop().then(() => { stopping = false; });
  const took = [];
  while (stopping) {
    const begun = performance.now();
    await writer.say(code, `${took.length}`);
    took.push(performance.now() - begun);
  }
  await stopped;
  // One may have met a moment in which the machine was held up.
  took.sort((a, b) => b - a);
  assert.ok(took[0] < 1_500 && took[1] < 500, `${took.slice(0, 3)} ms`);
  await until("the reader has heard all", () => reader.received("chat:message").length === took.length);
  writer.assertUnbroken(code);
  reader.assertUnbroken(code);
});

test("the late end of a membership does not end the one that came after it", async () => {
  const keeper = await Roomkeeper.start();
  const { code } = await keeper.room();
  const member = await keeper.joined(code, { userId: "ann", username: "Ann" });
  const witness = await keeper.joined(code, { username: "Witness" });
  await witness.present(code, ["Ann", "Witness"]);
  await keeper.redis.freeze();
  const left = await member.ask("leave", { roomId: code, userId: "ann" });
  keeper.redis.signal("SIGCONT");
  assert.equal(left.success, false);
  await until("she is back", async () =>
    (await member.ask("join", { roomId: code, userId: "ann", username: "Ann" })).success);
  const sessions = `room:{${code}}:session-users`;
  await until("the old session is over", async () => {
    const users = await keeper.redis.command("HVALS", sessions);
    return users.filter((user) => user === "ann").length === 1;
  });
  await member.say(code, "still here");
  await witness.next("chat:message");
  const told = witness.inbox.findLast(({ event }) => event === "presence:update").args[0];
  assert.deepEqual(told.map(({ username }) => username).sort(), ["Ann", "Witness"]);
  assert.equal((await keeper.about(code)).participantCount, 2);
});
