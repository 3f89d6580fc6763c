// A stop: announced first, then everybody is told, then an end with 0.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Stream } from "../harness/grpc.mjs";
import { Roomkeeper } from "../harness/roomkeeper.mjs";
import { until } from "../harness/until.mjs";

const elapsed = (begun) => performance.now() - begun;

test("a stopping gateway is not ready at once and serves for a second more", async () => {
  const keeper = await Roomkeeper.start();
  const { code } = await keeper.room();
  const member = await keeper.joined(code);
  const begun = performance.now();
  const stopped = keeper.gateway.program.stop();
  await until("it is not ready", async () => (await keeper.get("/readyz")).status === 503);
  const late = await keeper.joined(code, { username: "Late" });
  await late.say(code, "just in time");
  await member.next("chat:message");
  assert.equal(member.received("server:draining").length, 0);
  await Promise.all([member, late].map((one) => one.next("server:draining")));
  assert.ok(elapsed(begun) >= 900, `${elapsed(begun)} ms`);
  await stopped;
  assert.equal((await keeper.redis.command("LLEN", `room:{${code}}:messages`)), 1);
});

test("a stopping service says so at once and serves for a second more", async () => {
  const keeper = await Roomkeeper.start();
  const { code } = await keeper.room();
  await keeper.joined(code);
  const service = keeper.service;
  const begun = performance.now();
  const stopped = service.program.stop();
  await until("the gateway knows", async () => (await keeper.get("/readyz")).status === 503);
  const read = await keeper.get(`/api/rooms/${code}`);
  assert.equal(read.status, 200);
  await stopped;
  assert.ok(elapsed(begun) >= 900, `${elapsed(begun)} ms`);
  assert.ok(elapsed(begun) < 5000, `${elapsed(begun)} ms`);
  service.program.start();
  await keeper.ready();
});

test("whoever watches a service's health does not keep it from ending", async () => {
  const keeper = await Roomkeeper.start();
  const watching = new Stream(keeper.service.address, "grpc.health.v1.Health/Watch", {});
  await watching.frame(({ status }) => status === "SERVING");
  const begun = performance.now();
  await keeper.service.program.stop();
  assert.ok(elapsed(begun) < 5000, `${elapsed(begun)} ms`);
  await watching.ended;
  keeper.service.program.start();
  await keeper.ready();
});

for (const name of ["gateway", "service"]) {
  test(`a second signal ends the ${name} at once`, async () => {
    const keeper = await Roomkeeper.start();
    const { code } = await keeper.room();
    await keeper.joined(code);
    const { program } = keeper[name];
    program.signal("SIGTERM");
    await until("it stops", () => /draining/.test(program.log));
    program.signal("SIGTERM");
    // One that had finished its stop would say 0.
    assert.equal((await program.ended()).code, 130);
    program.start();
    await keeper.ready();
  });
}
