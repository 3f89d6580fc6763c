// The whiteboard: merging, full and delta clients, tombstones.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { call } from "../harness/grpc.mjs";
import { element, ids } from "../harness/member.mjs";
import { Polling } from "../harness/polling.mjs";
import { Roomkeeper } from "../harness/roomkeeper.mjs";
import { until } from "../harness/until.mjs";

const keeper = await Roomkeeper.start();

const tombstone = (id, version) => ({
  id,
  type: "rectangle",
  version,
  versionNonce: 1000,
  isDeleted: true,
});

test("an absent element is not deleted", async () => {
  const { code } = await keeper.room();
  const member = await keeper.joined(code);
  await member.draw(code, [element("a"), element("b")]);
  await member.draw(code, [element("c")]);
  assert.deepEqual(ids(await keeper.board(code)), ["a", "b", "c"]);
});

test("a greater version wins, then the lower nonce, and an exact tie changes nothing", async () => {
  const { code } = await keeper.room();
  const member = await keeper.joined(code);
  const stroke = (version, versionNonce, mark) => ({ ...element("a", version), versionNonce, mark });
  const steps = [
    [stroke(2, 500, "first"), { accepted: 1, rejected: 0 }, "first"],
    [stroke(1, 1, "older"), { accepted: 0, rejected: 1 }, "first"],
    [stroke(2, 501, "higher nonce"), { accepted: 0, rejected: 1 }, "first"],
    [stroke(2, 500, "tie"), { accepted: 0, rejected: 0 }, "first"],
    [stroke(2, 499, "lower nonce"), { accepted: 1, rejected: 0 }, "lower nonce"],
    [stroke(3, 900, "newer"), { accepted: 1, rejected: 0 }, "newer"],
  ];
  for (const [change, counts, mark] of steps) {
    const { accepted, rejected, revision } = await member.draw(code, [change]);
    assert.deepEqual({ accepted, rejected }, counts, change.mark);
    assert.equal(revision !== undefined, accepted > 0, "a change has a revision, no change has none");
    assert.equal((await keeper.board(code))[0].mark, mark);
  }
});

test("a change may win with some elements and lose with others", async () => {
  const { code } = await keeper.room();
  const member = await keeper.joined(code);
  await member.draw(code, [element("a", 5), element("b", 5), element("c", 5)]);
  const { accepted, rejected } = await member.draw(code, [
    element("a", 6), element("b", 4), element("c", 5), element("d"),
  ]);
  assert.deepEqual({ accepted, rejected }, { accepted: 2, rejected: 1 });
  assert.deepEqual(
    (await keeper.board(code)).map(({ id, version }) => [id, version]),
    [["a", 6], ["b", 5], ["c", 5], ["d", 1]],
  );
});

test("an element is kept byte for byte", async () => {
  const { code } = await keeper.room();
  const raw = await Polling.connect(keeper.gateway.url);
  await raw.send(`421["join",{"roomId":"${code}","userId":"u","username":"U"}]`);
  await raw.packet(/^431\[/);
  const json = '{ "type":"text","id":"\\u00e9é","version":1,"versionNonce":0,"x":1.50,'
    + '"big":12345678901234567890.10,"text":"a\\/b\\u2028","n":-0.0,"z":1E+2,"a":[ 1,2 ]}';
  await raw.send(`422["whiteboard-change",{"roomId":"${code}","elements":[${json}]}]`);
  assert.match(await raw.packet(/^432\[/), /"accepted":1/);
  const { text } = await keeper.get(`/api/rooms/${code}/whiteboard`);
  assert.ok(text.includes(json), text);

  const late = await Polling.connect(keeper.gateway.url);
  await late.send(`421["join",{"roomId":"${code}","userId":"v","username":"V"}]`);
  const state = await late.packet(/^42\["whiteboard:state"/);
  assert.ok(state.includes(json), state);
});

test("elements with an index come first, by its bytes and then id; the others as they came", async () => {
  const { code } = await keeper.room();
  const member = await keeper.joined(code);
  await member.draw(code, [
    element("late"),
    element("z", 1, { index: "a1" }),
    element("y", 1, { index: "a1" }),
    element("x", 1, { index: "Zz" }),
  ]);
  await member.draw(code, [element("early"), element("w", 1, { index: "a0" })]);
  await member.draw(code, [element("late", 2)]);
  assert.deepEqual(ids(await keeper.board(code)), ["x", "w", "y", "z", "late", "early"]);
});

test("elements without an index come last, by first arrival, wherever the board is read", async () => {
  const { code } = await keeper.room();
  const drawer = await keeper.joined(code, { sync: "delta" });
  const full = await keeper.joined(code);
  await drawer.draw(code, [element("n2"), element("n1"), element("b", 1, { index: "a1" })]);
  await drawer.draw(code, [element("n0"), element("a", 1, { index: "a0" }), element("n3", 1, { index: null })]);
  // One that comes back keeps its place, and so does one that changes.
  await drawer.draw(code, [element("n1", 2, { isDeleted: true }), element("n2", 2)]);
  await drawer.draw(code, [element("n1", 3)]);
  const order = ["a", "b", "n2", "n1", "n0", "n3"];
  assert.deepEqual(ids(await keeper.board(code)), order);
  const whole = ({ elements }) => elements.some(({ id, version }) => id === "n1" && version === 3);
  assert.deepEqual(ids((await full.next("whiteboard-update", whole)).elements), order);
  for (const sync of [undefined, "delta"]) {
    const late = await keeper.joined(code, { sync });
    assert.deepEqual(ids((await late.next("whiteboard:state")).elements), order);
  }
  const { response } = await call(keeper.service.address, "GetWhiteboard", { roomCode: code });
  assert.deepEqual(ids(response.elements), order);
  assert.ok(response.elements.every(({ id, json }) => (JSON.parse(json).index ?? null) !== null || id[0] === "n"));
});

test("the index that the documents tell backends to make puts elements on top, in order", async () => {
  const document = readFileSync(new URL("../../docs/elements.md", import.meta.url), "utf8");
  const [, source] = document.match(/```js\n([^]*?)```/);
  const { keyAfter, keysAfter } = await import(`data:text/javascript,${encodeURIComponent(source)}`);
  assert.deepEqual(keysAfter("a1", 3), ["a2", "a3", "a4"]);
  assert.deepEqual(keysAfter("az", 2), ["b00", "b01"]);
  assert.deepEqual(["Zz", "Yzz", "bzz", "a0V", undefined].map(keyAfter), ["a0", "Z0", "c000", "a1", "a0"]);

  const { code } = await keeper.room();
  const member = await keeper.joined(code, { sync: "delta" });
  const keys = keysAfter("Yzy", 300);
  const bytewise = (a, b) => (a < b ? -1 : 1);
  assert.deepEqual([...keys].sort(bytewise), keys);
  const elements = keys.map((index, n) => element(`e${n}`, 1, { index }));
  const { accepted } = await member.draw(code, [...elements].reverse());
  assert.equal(accepted, keys.length);
  assert.deepEqual(ids(await keeper.board(code)), ids(elements));
});

test("a delta client gets only what changed, tombstones among it", async () => {
  const { code } = await keeper.room();
  const drawer = await keeper.joined(code, { sync: "delta" });
  await drawer.draw(code, [element("a"), element("b")]);
  const delta = await keeper.joined(code, { sync: "delta" });
  await drawer.draw(code, [element("b", 2), element("c")]);
  assert.deepEqual((await delta.next("whiteboard-update")).elements, [element("b", 2), element("c")]);
  await drawer.draw(code, [element("a", 2, { isDeleted: true, x: 1, points: [1, 2, 3] })]);
  assert.deepEqual((await delta.next("whiteboard-update")).elements, [tombstone("a", 2)]);
});

test("a full client always gets the whole living board, without tombstones", async () => {
  const { code } = await keeper.room();
  const drawer = await keeper.joined(code, { sync: "delta" });
  await drawer.draw(code, [element("a"), element("b")]);
  const full = await keeper.joined(code);
  await drawer.draw(code, [element("c")]);
  assert.deepEqual((await full.next("whiteboard-update")).elements, [
    element("a"), element("b"), element("c"),
  ]);
  await drawer.draw(code, [element("b", 2, { isDeleted: true })]);
  const { elements } = await full.next("whiteboard-update", (update) => update.elements.length === 2);
  assert.deepEqual(elements, [element("a"), element("c")]);
});

test("the living board never holds tombstones", async () => {
  const { code } = await keeper.room();
  const drawer = await keeper.joined(code);
  await drawer.draw(code, [element("a"), element("b")]);
  await drawer.draw(code, [element("a", 2, { isDeleted: true })]);
  assert.deepEqual(await keeper.board(code), [element("b")]);
  for (const sync of [undefined, "delta"]) {
    const late = await keeper.joined(code, { sync });
    assert.deepEqual((await late.next("whiteboard:state")).elements, [element("b")]);
  }
});

test("a stale element does not bring a deleted one back, a newer one does", async () => {
  const { code } = await keeper.room();
  const drawer = await keeper.joined(code);
  await drawer.draw(code, [element("a", 3)]);
  await drawer.draw(code, [element("a", 4, { isDeleted: true })]);
  const { rejected } = await drawer.draw(code, [element("a", 3)]);
  assert.equal(rejected, 1);
  assert.deepEqual(await keeper.board(code), []);
  await drawer.draw(code, [element("a", 5)]);
  assert.deepEqual(await keeper.board(code), [element("a", 5)]);
});

test("a missing isDeleted is false", async () => {
  const { code } = await keeper.room();
  const drawer = await keeper.joined(code);
  const bare = { id: "a", type: "rectangle", version: 0, versionNonce: 0 };
  assert.equal((await drawer.draw(code, [bare])).accepted, 1);
  assert.deepEqual(await keeper.board(code), [bare]);
});

test("a delta client whose change lost elements gets the winners, and nobody else does", async () => {
  const { code } = await keeper.room();
  const drawer = await keeper.joined(code, { sync: "delta" });
  const stale = await keeper.joined(code, { sync: "delta" });
  const other = await keeper.joined(code, { sync: "delta" });
  await drawer.draw(code, [element("a", 5), element("b", 5, { isDeleted: true })]);
  for (const member of [stale, other]) await member.next("whiteboard-update");

  const answer = await stale.draw(code, [element("a", 4), element("b", 1)]);
  assert.equal(answer.rejected, 2);
  const { elements } = await stale.next("whiteboard-update");
  assert.deepEqual(
    elements.sort((one, two) => one.id.localeCompare(two.id)),
    [element("a", 5), tombstone("b", 5)],
  );

  await drawer.say(code, "after it");
  await other.next("chat:message");
  assert.equal(other.received("whiteboard-update").length, 1);
  assert.deepEqual(drawer.received("whiteboard-update"), []);
  other.assertUnbroken(code);
});

test("a full client whose change lost elements is sent the whole board once more", async () => {
  // Each in a room of its own, where no board has been told that the next could wait for.
  for (let n = 0; n < 20; n += 1) {
    const { code } = await keeper.room();
    const drawer = await keeper.joined(code, { sync: "delta" });
    await drawer.draw(code, [element("a", 5), element("b", 5)]);
    const stale = await keeper.joined(code);
    const { accepted, rejected } = await stale.draw(code, [element("a", 4), element("c")]);
    assert.deepEqual({ accepted, rejected }, { accepted: 1, rejected: 1 });
    // What it is sent replaces its scene, so its own new element must be in it.
    const { elements } = await stale.next("whiteboard-update");
    assert.deepEqual(elements, [element("a", 5), element("b", 5), element("c")]);
  }
});

test("a full client that repeats a change is sent the whole board, where others may have changed it", async () => {
  const { code } = await keeper.room();
  const other = await keeper.joined(code, { sync: "delta" });
  const drawer = await keeper.joined(code);
  const requestId = randomUUID();
  await drawer.draw(code, [element("a"), element("b")], { requestId });
  await other.next("whiteboard-update");
  await other.draw(code, [element("a", 2, { isDeleted: true })]);
  // It comes back with what it had drawn, not knowing that it was stored.
  const back = await keeper.joined(code, { userId: drawer.userId });
  const { duplicate } = await back.draw(code, [element("a"), element("b")], { requestId });
  assert.equal(duplicate, true);
  const { elements } = await back.next("whiteboard-update");
  assert.deepEqual(elements, [element("b")]);
});

test("a full client that draws before it has read another's update gets both strokes", async () => {
  const { code } = await keeper.room();
  const here = await keeper.joined(code);
  const other = await keeper.joined(code);
  const witness = await keeper.joined(code);
  // The update is under way to it while it draws.
  const connection = here.socket.io.engine.transport.ws._socket;
  connection.pause();
  await other.draw(code, [element("theirs")]);
  await witness.next("whiteboard-update", ({ elements }) => elements.length === 1);
  const drawn = here.draw(code, [element("mine")]);
  await until("its change is stored", async () => (await keeper.board(code)).length === 2);
  connection.resume();
  await drawn;
  // The first one replaces its scene by one without its own stroke; another must follow.
  await here.next("whiteboard-update", ({ elements }) => elements.length === 2);
  assert.deepEqual(ids(here.received("whiteboard-update").at(-1).elements), ["theirs", "mine"]);
});

test("sending the whole scene again is no change and causes no event", async () => {
  const { code } = await keeper.room();
  const drawer = await keeper.joined(code, { sync: "delta" });
  await drawer.draw(code, [element("a"), element("b"), element("gone", 1)]);
  await drawer.draw(code, [element("gone", 2, { isDeleted: true })]);
  const full = await keeper.joined(code);
  const scene = (await full.next("whiteboard:state")).elements;
  const before = await keeper.stored(code);
  for (let n = 0; n < 5; n += 1) {
    const { accepted, rejected, revision } = await full.draw(code, scene);
    assert.deepEqual({ accepted, rejected, revision }, { accepted: 0, rejected: 0, revision: undefined });
  }
  assert.equal(await keeper.stored(code), before);
  await full.say(code, "that was all");
  const { previous } = await drawer.next("chat:message");
  assert.equal(previous, full.positions.get(code).revision, "no revision lies between");
  assert.deepEqual(drawer.received("whiteboard-update"), []);
  drawer.assertUnbroken(code);
});

test("an empty change is no change", async () => {
  const { code } = await keeper.room();
  const drawer = await keeper.joined(code);
  const { accepted, rejected, revision } = await drawer.draw(code, []);
  assert.deepEqual({ accepted, rejected, revision }, { accepted: 0, rejected: 0, revision: undefined });
});

test("a drawer's own change comes to it as its position alone", async () => {
  const { code } = await keeper.room();
  const drawer = await keeper.joined(code, { sync: "delta" });
  const { revision } = await drawer.draw(code, [element("a")]);
  const position = await drawer.next("room:position");
  assert.deepEqual(position, {
    roomId: code,
    epoch: drawer.positions.get(code).epoch,
    revision,
    previous: drawer.positions.get(code).revision,
  });
});

test("a drawer's own change is not told to it, however large it is", async () => {
  const { code } = await keeper.room();
  const delta = await keeper.joined(code, { sync: "delta" });
  const full = await keeper.joined(code);
  const drawers = [delta, full];
  // More than an event may hold, so that the change reaches everybody by a catch-up.
  const strokes = (name, version) => Array.from({ length: 200 }, (_, n) =>
    element(`${name}-${n}`, version, { points: "x".repeat(500) }));
  for (const [n, drawer] of drawers.entries()) {
    const other = drawers[1 - n];
    const told = drawer.received("whiteboard-update").length;
    await drawer.draw(code, strokes(n, 1));
    await other.next("whiteboard-update", ({ elements }) => elements.some(({ id }) => id === `${n}-199`));
    // What is told in one room comes in one order, so this comes after the echo, if there is one.
    await drawer.say(code, `drawn ${n}`);
    await drawer.next("chat:message", ({ message }) => message === `drawn ${n}`);
    assert.equal(drawer.received("whiteboard-update").length, told, `drawer ${n}`);
  }
  delta.assertUnbroken(code);
});

for (const sync of [undefined, "delta"]) {
  test(`two ${sync ?? "full"} clients that draw at once from the same old scene keep both strokes`, async () => {
    const { code } = await keeper.room();
    const one = await keeper.joined(code, { sync });
    const two = await keeper.joined(code, { sync });
    await one.draw(code, [element("base")]);
    await two.next("whiteboard-update");
    const scene = sync ? [] : [element("base")];
    for (let n = 0; n < 20; n += 1) {
      const strokes = [element(`one-${n}`), element(`two-${n}`)];
      await Promise.all([
        one.draw(code, [...scene, strokes[0]]),
        two.draw(code, [...scene, strokes[1]]),
      ]);
      const board = ids(await keeper.board(code));
      for (const { id } of strokes) assert.ok(board.includes(id), `${id} is in ${board}`);
      assert.equal(board.length, 1 + 2 * (n + 1));
    }
    const board = await keeper.board(code);
    if (sync) {
      for (const member of [one, two]) {
        const seen = () => member.received("whiteboard-update").flatMap(({ elements }) => ids(elements));
        const mine = member === one ? "two" : "one";
        await member.next("whiteboard-update", ({ elements }) => ids(elements).includes(`${mine}-19`));
        for (let n = 0; n < 20; n += 1) assert.ok(seen().includes(`${mine}-${n}`));
      }
    } else {
      for (const member of [one, two]) {
        await until("the newest scene is the board", () => {
          const last = member.received("whiteboard-update").at(-1);
          return JSON.stringify(last?.elements) === JSON.stringify(board);
        });
      }
    }
  });
}

test("a full client's scene is never wiped by a partial update", async () => {
  const { code } = await keeper.room();
  const drawers = await Promise.all([1, 2, 3].map(() => keeper.joined(code, { sync: "delta" })));
  const full = await keeper.joined(code);
  await Promise.all(drawers.map(async (drawer, d) => {
    for (let n = 0; n < 40; n += 1) await drawer.draw(code, [element(`${d}-${n}`)]);
  }));
  const board = await keeper.board(code);
  assert.equal(board.length, 120);
  await full.next("whiteboard-update", ({ elements }) => elements.length === 120);
  let scene = new Set();
  for (const { elements } of full.received("whiteboard-update")) {
    const next = new Set(ids(elements));
    for (const id of scene) assert.ok(next.has(id), `${id} was wiped`);
    scene = next;
  }
  assert.deepEqual(full.received("whiteboard-update").at(-1).elements, board);
});

test("a change of 5,000 elements passes and reaches the others whole", async () => {
  const { code } = await keeper.room();
  const drawer = await keeper.joined(code);
  const delta = await keeper.joined(code, { sync: "delta" });
  const elements = Array.from({ length: 5000 }, (_, n) => element(`element-${n}`));
  assert.equal((await drawer.draw(code, elements)).accepted, 5000);
  const seen = new Map();
  await until("all have come", () => {
    for (const update of delta.received("whiteboard-update")) {
      for (const one of update.elements) seen.set(one.id, one);
    }
    return seen.size === 5000;
  });
  assert.deepEqual([...seen.values()], elements);
  delta.assertUnbroken(code);
  assert.equal((await keeper.board(code)).length, 5000);
});

test("a board holds 10,000 elements, and tombstones make room for new ones", async () => {
  const { code } = await keeper.room();
  const drawer = await keeper.joined(code, { sync: "delta" });
  const half = (name) => Array.from({ length: 5000 }, (_, n) => element(`${name}${n}`));
  await drawer.draw(code, half("a"));
  await drawer.draw(code, half("b"));
  const before = await keeper.stored(code);
  const refused = await drawer.ask("whiteboard-change", { roomId: code, elements: [element("c")] });
  assert.equal(refused.success, false);
  assert.equal(refused.code, "PAYLOAD_TOO_LARGE");
  assert.equal(await keeper.stored(code), before);

  await drawer.draw(code, [element("a0", 2, { isDeleted: true })]);
  assert.equal((await drawer.draw(code, [element("c")])).accepted, 1);
  assert.equal((await keeper.board(code)).length, 10_000);
});
