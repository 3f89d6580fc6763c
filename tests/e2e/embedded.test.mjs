// The store in a file: what outlives its service, and who may use it.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { element } from "../harness/member.mjs";
import { freePort } from "../harness/ports.mjs";
import { temporaryFolder } from "../harness/program.mjs";
import { launch, Roomkeeper } from "../harness/roomkeeper.mjs";
import { until } from "../harness/until.mjs";

const FILE = "rooms.redb";

/** Starts a service alone, which is to end by itself. */
async function refused(env, cwd) {
  const listen = `127.0.0.1:${await freePort()}`;
  const service = launch("persistence-service", { PERSISTENCE_LISTEN: listen, ...env }, cwd);
  const { code } = await service.ended();
  assert.equal(code, 2, service.log);
  const [line, ...more] = service.log.split("\n")
    .filter((text) => text !== "" && !text.includes(" INFO "));
  assert.deepEqual(more, []);
  return line;
}

test("what was answered is there after kill -9, and members go on where they were", async () => {
  const keeper = await Roomkeeper.start({ store: "embedded", gateways: 2 });
  const { code } = await keeper.room();
  const ann = await keeper.joined(code);
  const bob = await keeper.joined(code, { gateway: 1 });
  const said = [];
  for (let round = 0; round < 5; round += 1) {
    const requestId = randomUUID();
    for (let n = 0; n < 20; n += 1) {
      said.push(await ann.say(code, `${round}-${n}`));
    }
    await ann.draw(code, [element(`e${round}`)]);
    await ann.say(code, `last ${round}`, { requestId });
    await keeper.service.program.kill();
    keeper.service.program.start();
    await keeper.ready();
    const messages = await keeper.messages(code);
    for (const { id, message } of said.slice(-20)) {
      assert.ok(messages.some((kept) => kept.id === id), message);
    }
    assert.equal((await keeper.board(code)).length, round + 1);
    const again = await ann.ask("chat:message", { roomId: code, message: `last ${round}`, requestId });
    assert.equal(again.duplicate, true, JSON.stringify(again));
  }
  await until("bob has heard the last of it", () =>
    bob.received("chat:message").some(({ message }) => message === "last 4"));
  assert.equal((await keeper.about(code)).participantCount, 2);
});

test("rooms outlive a restart", async () => {
  const keeper = await Roomkeeper.start({ store: "embedded" });
  const { code } = await keeper.room({ name: "Kept" });
  const ann = await keeper.joined(code);
  await ann.say(code, "before");
  await keeper.service.program.stop();
  keeper.service.program.start();
  await keeper.ready();
  assert.equal((await keeper.about(code)).name, "Kept");
  assert.deepEqual((await keeper.messages(code)).map(({ message }) => message), ["before"]);
  await ann.say(code, "after");
});

test("a second service in the same folder is refused, and the first goes on", async () => {
  const keeper = await Roomkeeper.start({ store: "embedded" });
  const { code } = await keeper.room();
  const line = await refused({ PERSISTENCE_DATA_DIR: keeper.data });
  assert.match(line, /PERSISTENCE_DATA_DIR .* is in use by another process/);
  assert.equal((await keeper.about(code)).code, code);
});

test("a folder that cannot be used is named", async () => {
  const folder = temporaryFolder();
  writeFileSync(join(folder, "a-file"), "");
  const line = await refused({ PERSISTENCE_DATA_DIR: join(folder, "a-file", "data") });
  assert.match(line, /PERSISTENCE_DATA_DIR .*a-file/);
});

test("without a setting rooms are in ./data of the working directory", async () => {
  const folder = temporaryFolder();
  const port = await freePort();
  const service = launch("persistence-service", { PERSISTENCE_LISTEN: `127.0.0.1:${port}` }, folder);
  await until("the store is open", () => /the store is open/.test(service.log));
  await service.stop();
  assert.ok(readdirSync(join(folder, "data")).includes(FILE));
});

test("a damaged file is named, refused and left as it is", async () => {
  const keeper = await Roomkeeper.start({ store: "embedded" });
  const { code } = await keeper.room();
  const ann = await keeper.joined(code);
  for (let n = 0; n < 100; n += 1) await ann.say(code, `${n} ${"x".repeat(2_000)}`);
  await keeper.service.program.stop();
  const path = join(keeper.data, FILE);
  const whole = readFileSync(path);

  const flipped = Buffer.from(whole);
  // Every page is checked: somewhere in the messages there is a text.
  const at = flipped.indexOf("x".repeat(100));
  assert.ok(at > 0);
  flipped[at] ^= 1;
  const damages = {
    "a bit": flipped,
    "the half": whole.subarray(0, whole.length / 2),
    "the head": Buffer.concat([Buffer.alloc(64), whole.subarray(64)]),
    "something else": Buffer.from("this is no store of rooms\n".repeat(1_000)),
  };
  for (const [what, bytes] of Object.entries(damages)) {
    writeFileSync(path, bytes);
    const line = await refused({ PERSISTENCE_DATA_DIR: keeper.data });
    assert.match(line, /rooms\.redb.* is damaged and was left as it is/, what);
    assert.ok(readFileSync(path).equals(bytes), `${what}: the file is as it was`);
  }

  writeFileSync(path, whole);
  keeper.service.program.start();
  await keeper.ready();
  assert.equal((await keeper.messages(code)).length, 100);
});

// Linux alone lets a test limit a program that runs.
if (process.platform === "linux") {
  test("a full disk answers STORE_FULL, reads go on, and changes come back with the space", async () => {
    const keeper = await Roomkeeper.start({ store: "embedded", expected: [/the disk is full/] });
    const limit = (soft) =>
      execFileSync("prlimit", ["--pid", String(keeper.service.program.pid), `--fsize=${soft}:`]);
    const { code } = await keeper.room();
    const ann = await keeper.joined(code);
    const bob = await keeper.joined(code);
    limit(4 << 20);
    let full;
    let drawn = 0;
    while (!full) {
      const strokes = element(`e${drawn}`, 1, { text: "x".repeat(500_000) });
      const answer = await ann.ask("whiteboard-change", { roomId: code, elements: [strokes] });
      if (!answer.success) full = answer;
      else drawn += 1;
      assert.ok(drawn < 16, "the board ends before the disk does");
    }
    assert.equal(full.code, "STORE_FULL");
    const { status, body } = await keeper.post(`/api/rooms`, { name: "Another", createdBy: "Ann" });
    if (status !== 201) assert.deepEqual([status, body.code], [507, "STORE_FULL"]);
    assert.equal((await keeper.board(code)).length, drawn);
    assert.equal((await keeper.get("/readyz")).status, 200);

    limit("unlimited");
    await until("changes are taken again", async () => {
      const answer = await bob.ask("chat:message", { roomId: code, message: "there is space" });
      return answer.success;
    });
    await ann.draw(code, [element("after", 1, { text: "x".repeat(500_000) })]);
    await keeper.service.program.kill();
    keeper.service.program.start();
    await keeper.ready();
    assert.equal((await keeper.board(code)).length, drawn + 1);
    assert.equal((await keeper.messages(code)).at(-1).message, "there is space");
  });
}
