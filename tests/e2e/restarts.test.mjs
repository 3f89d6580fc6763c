// The only service restarts: nobody is refused anything, whatever they do meanwhile.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

import { element } from "../harness/member.mjs";
import { Roomkeeper } from "../harness/roomkeeper.mjs";
import { until } from "../harness/until.mjs";

// How long the service is away, in milliseconds, its start not counted.
const AWAY = 300;

// How often each kind of call is made before the restart and after it.
const ROUNDS = 3;

const keeper = await Roomkeeper.start();

const RESTARTS = {
  "that is killed": (program) => program.kill(),
  "that is stopped": (program) => program.stop(),
};

/** Has the service end and come back; `meanwhile` runs while it is away. */
async function restart(end, meanwhile = () => undefined) {
  const { program } = keeper.service;
  await end(program);
  const begun = meanwhile();
  await pause(AWAY);
  program.start();
  await begun;
  await keeper.ready();
}

/** Does `act` again and again until `until` resolves; counts the rounds in `rounds`. */
function again(name, rounds, refusals, act) {
  let isOver = false;
  rounds[name] = 0;
  const done = (async () => {
    while (!isOver) {
      const refusal = await act(rounds[name]).catch((error) => error.message);
      if (refusal) refusals.push(`${name}: ${refusal}`);
      rounds[name] += 1;
      await pause(10);
    }
  })();
  return () => {
    isOver = true;
    return done;
  };
}

for (const [which, end] of Object.entries(RESTARTS)) {
  test(`while a service ${which} restarts within a second, no call is refused`, async () => {
    const { code } = await keeper.room();
    const [writer, drawer, painter, pointer] = await Promise.all(
      Array.from({ length: 4 }, () => keeper.joined(code, { sync: "delta" })));
    const witness = await keeper.joined(code, { sync: "delta" });
    const rounds = {};
    const refusals = [];
    const said = [];
    const asked = async (member, event, payload) => {
      const answer = await member.ask(event, { roomId: code, ...payload });
      return answer.success ? undefined : `${answer.code} ${answer.error}`;
    };
    const read = (path) => async () => {
      const { status, text } = await keeper.get(path);
      return status === 200 ? undefined : `${status} ${text}`;
    };
    const stops = [
      ["a message", async (n) => {
        const refusal = await asked(writer, "chat:message", { message: `${n}` });
        if (!refusal) said.push(`${n}`);
        return refusal;
      }],
      ["a small change", (n) => asked(drawer, "whiteboard-change", { elements: [element("small", n + 1)] })],
      ["a large change", (n) => asked(painter, "whiteboard-change", {
        elements: [element("large", n + 1, { text: "x".repeat(20_000) })],
      })],
      ["a pointer", (n) => asked(pointer, "whiteboard-pointer", { x: n, y: n })],
      ["a join and a leave", async () => {
        const guest = await keeper.member();
        const { userId, username } = guest;
        const refusal = await asked(guest, "join", { userId, username })
          ?? await asked(guest, "leave", { userId });
        guest.close();
        return refusal;
      }],
      ["a join of a room that nobody is in", async () => {
        const room = await keeper.room();
        const guest = await keeper.joined(room.code);
        guest.close();
      }],
      ["a new room", async () => void await keeper.room()],
      ["the rooms", read("/api/rooms?limit=5")],
      ["a room", read(`/api/rooms/${code}`)],
      ["messages", read(`/api/rooms/${code}/messages`)],
      ["a board", read(`/api/rooms/${code}/whiteboard`)],
      ["figures", read(`/api/rooms/${code}/stats`)],
    ].map(([name, act]) => again(name, rounds, refusals, act));

    const more = (what) => {
      const before = { ...rounds };
      return until(`each call is made ${what}\n${refusals.join("\n")}`, () =>
        Object.keys(rounds).every((name) => rounds[name] >= before[name] + ROUNDS));
    };
    await more("before the restart");
    await restart(end);
    await more("after the restart");
    await Promise.all(stops.map((stop) => stop()));

    assert.deepEqual(refusals, []);
    await until("the witness has received all messages", () =>
      witness.received("chat:message").length >= said.length);
    assert.deepEqual(witness.received("chat:message").map(({ message }) => message), said);
    assert.deepEqual((await keeper.messages(code)).map(({ message }) => message), said.slice(-100));
  });
}

test("a room that is deleted while the service is away is deleted once it is back", async () => {
  const { code } = await keeper.room();
  const killed = async (program) => {
    await program.kill();
    // A delete that is sent on a connection which is about to break is in doubt.
    await until("the gateway knows", async () => (await keeper.get("/readyz")).status === 503);
  };
  await restart(killed, async () => {
    const { status, text } = await keeper.delete(`/api/rooms/${code}`);
    assert.equal(status, 200, text);
  });
  assert.equal((await keeper.get(`/api/rooms/${code}`)).status, 404);
});

test("a socket whose room breaks with the service is back in it within a moment", async () => {
  const { code } = await keeper.room();
  const reader = await keeper.joined(code, { sync: "delta" });
  const writer = await keeper.joined(code, { sync: "delta" });
  await restart((program) => program.kill(), async () => {
    await writer.say(code, "while away");
  });
  await reader.next("chat:message", ({ message }) => message === "while away");
  assert.deepEqual(reader.received("room:closed"), []);
  reader.assertUnbroken(code);
});
