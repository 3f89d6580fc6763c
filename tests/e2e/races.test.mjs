// What must hold while others are at it.

import assert from "node:assert/strict";
import { test } from "node:test";

import { element, ids } from "../harness/member.mjs";
import { Random } from "../harness/random.mjs";
import { Roomkeeper } from "../harness/roomkeeper.mjs";
import { until } from "../harness/until.mjs";

const keeper = await Roomkeeper.start({ services: 2, gateways: 2 });

test("P8: joining a hundred times while others talk leaves no gap and repeats nothing", async () => {
  const { code } = await keeper.room({ maxParticipants: 200 });
  const talkers = await Promise.all([0, 1].map((gateway) => keeper.joined(code, { gateway })));
  let talking = true;
  const talk = talkers.map(async (talker) => {
    while (talking) await talker.say(code, "talk");
  });

  const joiners = [];
  for (let round = 0; round < 10; round += 1) {
    joiners.push(...await Promise.all(Array.from({ length: 10 }, (_, n) =>
      keeper.joined(code, { gateway: n % 2, sync: n % 3 ? "delta" : undefined }))));
  }
  talking = false;
  await Promise.all(talk);
  const { revision: last } = await talkers[0].say(code, "the last one");

  // All live messages in order, as one member heard them who was there from the start.
  await talkers[0].next("chat:message", ({ revision }) => revision === last);
  const spoken = talkers[0].received("chat:message").map(({ id }) => id);
  assert.equal(new Set(spoken).size, spoken.length);

  for (const joiner of joiners) {
    await joiner.next("chat:message", ({ revision }) => revision === last);
    const history = await joiner.next("chat:history");
    const heard = [
      ...history.messages.map(({ id }) => id),
      ...joiner.received("chat:message").map(({ id }) => id),
    ];
    assert.ok(history.count <= 50);
    assert.deepEqual(heard, spoken.slice(spoken.length - heard.length));
    const first = joiner.inbox.findIndex(({ event }) => event === "chat:message");
    const answer = joiner.inbox.findIndex(({ event }) => event === "chat:history");
    assert.ok(answer < first, "the history comes before the first live message");
    if (joiner.sync) joiner.assertUnbroken(code);
  }
});

test("the chain of previous never breaks with drawing, talking, joins and leaves going on", async () => {
  const { code } = await keeper.room({ maxParticipants: 200 });
  const watchers = await Promise.all([0, 1].map((gateway) =>
    keeper.joined(code, { gateway, sync: "delta" })));
  const busy = Array.from({ length: 6 }, async (_, n) => {
    const gateway = n % 2;
    for (let round = 0; round < 8; round += 1) {
      const member = await keeper.joined(code, { gateway, sync: n % 3 ? "delta" : undefined });
      await Promise.all([
        member.say(code, `${n}-${round}`),
        member.draw(code, [element(`${n}-${round}`), element("shared", round * 10 + n)]),
        member.ask("chat:typing", { roomId: code }),
      ]);
      await member.join(code, { username: `Renamed ${n} ${round}` });
      if (round % 2) await member.leave(code);
      else member.close();
    }
  });
  const drawing = watchers.map(async (watcher, w) => {
    for (let n = 0; n < 40; n += 1) await watcher.draw(code, [element(`w${w}-${n}`)]);
  });
  await Promise.all([...busy, ...drawing]);
  await until("everybody has gone", async () => (await keeper.about(code)).participantCount === 2);
  await watchers[0].say(code, "the end");
  const revision = (await keeper.messages(code)).at(-1).revision;
  for (const watcher of watchers) {
    await watcher.next("chat:message", (message) => message.revision === revision);
    const last = watcher.assertUnbroken(code);
    assert.ok(last >= revision);
    assert.deepEqual(watcher.received("presence:update").at(-1).length, 2);
  }

  const board = await keeper.board(code);
  for (const [w, watcher] of watchers.entries()) {
    const scene = new Map();
    for (const { elements } of watcher.received("whiteboard-update")) {
      for (const one of elements) scene.set(one.id, one);
    }
    for (const one of board) {
      if (!one.id.startsWith(`w${w}-`)) assert.deepEqual(scene.get(one.id), one);
    }
  }
});

test("P9: full and delta clients on both gateways end with the stored board", async () => {
  const { code } = await keeper.room({ maxParticipants: 20 });
  const members = await Promise.all(Array.from({ length: 6 }, (_, n) =>
    keeper.joined(code, { gateway: n % 2, sync: n % 3 ? "delta" : undefined })));
  await Promise.all(members.map(async (member, m) => {
    for (let n = 0; n < 25; n += 1) {
      await member.draw(code, [
        element(`own-${m}-${n}`),
        element(`fought-over-${n}`, 1 + ((m * 7 + n) % 5), { versionNonce: m, by: m }),
        element(`deleted-${n}`, m + 1, { isDeleted: m === 5 }),
      ]);
    }
  }));
  const board = await keeper.board(code);
  assert.equal(board.length, 6 * 25 + 25);
  assert.deepEqual(await keeper.board(code, 1), board);
  await members[0].say(code, "pens down");
  for (const member of members) {
    await member.next("chat:message");
    if (member.sync) {
      const scene = new Map();
      for (const { event, args } of member.inbox) {
        if (!["whiteboard:state", "whiteboard-update"].includes(event)) continue;
        for (const one of args[0].elements) {
          const had = scene.get(one.id);
          const wins = !had || one.version > had.version
            || (one.version === had.version && one.versionNonce < had.versionNonce);
          if (wins) scene.set(one.id, one);
        }
      }
      for (const one of board) {
        const seen = scene.get(one.id);
        const own = one.id.startsWith(`own-${members.indexOf(member)}-`) || one.by === members.indexOf(member);
        if (!own) assert.deepEqual(seen, one);
      }
    } else {
      await until("its scene is the board", () =>
        JSON.stringify(member.received("whiteboard-update").at(-1)?.elements) === JSON.stringify(board));
    }
  }
  assert.ok(!ids(board).some((id) => id.startsWith("deleted-")));
});

test("the scenes of full clients that draw at random end as the stored board", async () => {
  const seed = Number(process.env.SCENE_SEED ?? Date.now() % 2 ** 31);
  const round = async (n) => {
    const random = new Random(seed + n);
    const { code } = await keeper.room();
    const members = await Promise.all([0, 1, 0].map((gateway) => keeper.joined(code, { gateway })));
    const last = await keeper.joined(code, { sync: "delta" });
    // As existing clients do: what it draws is in its scene at once, and each
    // update replaces the scene.
    const scenes = members.map(() => new Map());
    members.forEach(({ socket }, m) => socket.on("whiteboard-update", ({ elements }) => {
      scenes[m] = new Map(elements.map((one) => [one.id, one]));
    }));
    await Promise.all(members.map(async (member, m) => {
      for (let stroke = random.below(4); stroke >= 0; stroke -= 1) {
        // Other requests are the pauses between strokes.
        for (let pause = random.below(30); pause > 0; pause -= 1) await keeper.get("/healthz");
        const drawn = [element(`${m}-${stroke}`)];
        if (random.chance(0.3)) {
          drawn.push(element("shared", 1 + random.below(3), { versionNonce: m * 10 + stroke }));
        }
        for (const one of drawn) scenes[m].set(one.id, one);
        await member.draw(code, random.chance(0.3) ? [...scenes[m].values()] : drawn);
      }
    }));
    // A board that only repeats a client's own changes may cross its next change, and is not
    // followed by another one. The next stroke of somebody else brings that change back.
    await last.draw(code, [element("last")]);
    const sorted = (elements) => JSON.stringify([...elements].map(({ id, version, versionNonce }) =>
      [id, version, versionNonce]).sort());
    const board = sorted(await keeper.board(code));
    for (const [m] of members.entries()) {
      await until(`scene ${m} is the board (SCENE_SEED=${seed + n})`, () =>
        sorted(scenes[m].values()) === board, 5000);
    }
    for (const member of [...members, last]) member.close();
  };
  for (let n = 0; n < 40; n += 4) await Promise.all([n, n + 1, n + 2, n + 3].map(round));
});
