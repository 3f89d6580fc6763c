// Two browsers that draw at random for SOAK_MINUTES (30): `make soak-browsers`.
//
// A round is some dozens of actions of both people at once, one of whom is without a network at
// times. At its end both boards, the server's and that of a third browser, which comes then,
// must be equal in every field. What people do follows from the seed and the round's number:
// `SEED=… ROUND=n make soak-browsers` plays a round again. The choices are repeated, not the
// timing.

import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import { test } from "node:test";

import { Browser } from "../harness/browser.mjs";
import { Random } from "../harness/random.mjs";
import { Roomkeeper } from "../harness/roomkeeper.mjs";
import { until } from "../harness/until.mjs";

const MINUTES = Number(process.env.SOAK_MINUTES ?? 30);
const SEED = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
const ROUND = process.env.ROUND;

/** How many actions each person takes in a round. */
const ACTIONS = 40;

const keeper = await Roomkeeper.start();
const browser = await Browser.start();

// What people do.

/** Somebody who draws at random. */
class Artist {
  #imports = 0;

  constructor(person, random, name) {
    this.person = person;
    this.random = random;
    this.name = name;
  }

  get #mouse() {
    return this.person.page.mouse;
  }

  get #keyboard() {
    return this.person.page.keyboard;
  }

  /** A point of the board that no panel covers. */
  #point() {
    return { x: this.box.x + 240 + this.random.below(500), y: this.box.y + 110 + this.random.below(450) };
  }

  #near({ x, y }, distance) {
    const off = () => this.random.below(2 * distance) - distance;
    return { x: x + off() + 30, y: y + off() + 20 };
  }

  async #drag(from, ...to) {
    await this.#mouse.move(from.x, from.y);
    await this.#mouse.down();
    for (const { x, y } of to) await this.#mouse.move(x, y, { steps: 3 });
    await this.#mouse.up();
  }

  /** Chooses a tool by its key, with nothing selected and nothing being written. */
  async #tool(key) {
    await this.#keyboard.press("Escape");
    await this.#keyboard.press(key);
  }

  async #shape(key) {
    await this.#tool(key);
    const from = this.#point();
    await this.#drag(from, this.#near(from, 120));
  }

  async #stroke() {
    await this.#tool("p");
    const from = this.#point();
    const points = [from];
    for (let n = 3 + this.random.below(6); n > 0; n -= 1) points.push(this.#near(points.at(-1), 60));
    await this.#drag(...points);
  }

  async #polyline() {
    await this.#tool(this.random.pick(["l", "a"]));
    for (let n = 3; n > 0; n -= 1) {
      const { x, y } = this.#point();
      await this.#mouse.click(x, y);
    }
    await this.#keyboard.press("Escape");
  }

  #word() {
    return this.random.pick(["word", "two words", "Ünïcödé", "a", "longer text that wraps in a small shape", "1 + 1 = 2"]);
  }

  async #text() {
    await this.#tool("t");
    const { x, y } = this.#point();
    await this.#mouse.click(x, y);
    await this.#keyboard.type(this.#word());
    await this.#keyboard.press("Escape");
  }

  /** Text in whatever shape is there, or beside it. */
  async #textInShape() {
    await this.#shape(this.random.pick(["r", "d", "o", "a"]));
    await this.#keyboard.press("Enter");
    await this.#keyboard.type(this.#word());
    await this.#keyboard.press("Escape");
  }

  async #select() {
    await this.#tool("v");
    const { x, y } = this.#point();
    if (this.random.chance(0.2)) await this.#keyboard.press("Control+a");
    else if (this.random.chance(0.5)) await this.#mouse.click(x, y);
    else await this.#drag({ x, y }, this.#point());
  }

  async #withSelection(...keys) {
    await this.#select();
    for (const key of keys) await this.#keyboard.press(key);
  }

  async #move() {
    await this.#tool("v");
    await this.#drag(this.#point(), this.#point());
  }

  /** Two shapes, and an arrow from one to the other that is bound to both. */
  async #bound() {
    const [one, other] = [this.#point(), this.#point()];
    for (const { x, y } of [one, other]) {
      await this.#tool(this.random.pick(["r", "o", "d"]));
      await this.#drag({ x, y }, { x: x + 60, y: y + 40 });
    }
    await this.#tool("a");
    await this.#drag({ x: one.x + 64, y: one.y + 20 }, { x: other.x - 4, y: other.y + 20 });
  }

  async #copy() {
    await this.#withSelection("Control+c");
    const { x, y } = this.#point();
    await this.#mouse.move(x, y);
    await this.#keyboard.press("Control+v");
  }

  async #erase() {
    await this.#tool("e");
    await this.#drag(this.#point(), this.#point());
  }

  async #import() {
    this.#imports += 1;
    const { x, y } = this.#point();
    const base = {
      version: 1, versionNonce: this.random.below(2 ** 30), seed: this.random.below(2 ** 30), x: x - 200, y: y - 100,
      width: 80, height: 60, angle: 0, strokeColor: "#1971c2", backgroundColor: "transparent", fillStyle: "solid",
      strokeWidth: 2, strokeStyle: "solid", roughness: 1, opacity: 100, groupIds: [], frameId: null, roundness: null,
      boundElements: [], updated: 1, link: null, locked: false, isDeleted: false,
    };
    const id = `${this.name}-${this.#imports}-${this.random.below(2 ** 30)}`;
    const elements = [
      { ...base, id, type: this.random.pick(["rectangle", "ellipse", "diamond"]), boundElements: [{ id: `${id}-text`, type: "text" }] },
      {
        ...base, id: `${id}-text`, type: "text", text: "imported", originalText: "imported", fontSize: 20, fontFamily: 5,
        textAlign: "center", verticalAlign: "middle", containerId: id, lineHeight: 1.25, autoResize: true,
      },
    ];
    await this.person.page.getByLabel("Add an .excalidraw file").setInputFiles({
      name: "more.excalidraw",
      mimeType: "application/json",
      buffer: Buffer.from(JSON.stringify({ type: "excalidraw", version: 2, source: "soak", elements, appState: {}, files: {} })),
    });
  }

  async #reload() {
    await this.person.page.reload();
    await this.person.boardIsOpen();
  }

  #offline(isOffline) {
    return this.person.context.setOffline(isOffline);
  }

  /** What may happen, and how often beside the others. */
  #actions = [
    [3, "a shape", () => this.#shape(this.random.pick(["r", "d", "o", "a", "l"]))],
    [3, "a stroke", () => this.#stroke()],
    [2, "a line through points", () => this.#polyline()],
    [2, "a text", () => this.#text()],
    [3, "a text in a shape", () => this.#textInShape()],
    [1, "a frame", () => this.#shape("f")],
    [2, "a bound arrow", () => this.#bound()],
    [4, "move", () => this.#move()],
    [3, "nudge", () => this.#withSelection("ArrowRight", "ArrowDown")],
    [4, "undo", () => this.#keyboard.press("Control+z")],
    [3, "redo", () => this.#keyboard.press("Control+Shift+z")],
    [2, "copy", () => this.#copy()],
    [1, "duplicate", () => this.#withSelection("Control+d")],
    [2, "group", () => this.#withSelection("Control+g")],
    [1, "ungroup", () => this.#withSelection("Control+Shift+g")],
    [1, "to the front", () => this.#withSelection("Control+Shift+BracketRight")],
    [1, "to the back", () => this.#withSelection("Control+BracketLeft")],
    [1, "flip", () => this.#withSelection("Shift+h")],
    [1, "lock", () => this.#withSelection("Control+Shift+l")],
    [2, "delete", () => this.#withSelection("Delete")],
    [1, "erase", () => this.#erase()],
    [1, "import", () => this.#import()],
    [1, "reload", () => this.#reload()],
  ];

  #choose() {
    let left = this.random.below(this.#actions.reduce((sum, [weight]) => sum + weight, 0));
    return this.#actions.find(([weight]) => (left -= weight) < 0);
  }

  /** One action after the other; `mayLeave` says whether the network goes now and then. */
  async draw(actions, mayLeave) {
    this.box = await this.person.focusBoard();
    let isOffline = false;
    for (let n = 0; n < actions; n += 1) {
      if (mayLeave && this.random.chance(0.08)) {
        isOffline = !isOffline;
        await this.#offline(isOffline);
        this.done.push(isOffline ? "offline" : "online");
      }
      const [, what, act] = this.#choose();
      this.done.push(what);
      await act();
    }
    await this.#offline(false);
    // Whatever is being written is finished.
    for (let n = 0; n < 2; n += 1) await this.#keyboard.press("Escape");
    await this.#keyboard.press("v");
  }

  done = [];
}

// What must be.

/** A board as all must have it: each element by its id, and their order. */
function asBoard(elements) {
  // A tie of indices is broken by the id, as Excalidraw does.
  const living = elements.filter(({ isDeleted }) => !isDeleted);
  const order = (a, b) => (a.index === b.index ? (a.id < b.id ? -1 : 1) : a.index < b.index ? -1 : 1);
  // Saving clears where a line was last committed, which nobody sees.
  const cleared = living.map(({ lastCommittedPoint: _, ...element }) => element);
  return { sorted: [...cleared].sort(order), order: living.map(({ id }) => id) };
}

/** Says field by field where two boards differ, the first dozen differences. */
function differences(ours, theirs) {
  const found = [];
  const mine = new Map(ours.map((element) => [element.id, element]));
  const others = new Map(theirs.map((element) => [element.id, element]));
  for (const id of new Set([...mine.keys(), ...others.keys()])) {
    const [a, b] = [mine.get(id), others.get(id)];
    if (!a || !b) {
      const { type, version } = a ?? b;
      found.push(`${id} (${type}, version ${version}) is only ${a ? "here" : "there"}`);
      continue;
    }
    for (const field of new Set([...Object.keys(a), ...Object.keys(b)])) {
      const [one, other] = [a[field], b[field]].map((value) => JSON.stringify(value));
      if (one !== other) found.push(`${id} (${a.type}, versions ${a.version} and ${b.version}): ${field} is ${one} here and ${other} there`);
    }
  }
  return found.slice(0, 12);
}

async function allAreEqual(code, people) {
  await until("all boards are equal in every field", async () => {
    const stored = asBoard(await keeper.board(code));
    for (const person of people) {
      assert.deepEqual(await person.unsent(), [0, 0], `${person.name} has something unsent`);
      const shown = asBoard(await person.scene());
      const found = differences(shown.sorted, stored.sorted);
      assert.deepEqual(found, [], `${person.name} (here) and the server (there)`);
      assert.deepEqual(shown.order, stored.sorted.map(({ id }) => id), `${person.name} has the server's order`);
    }
    return true;
  }, 30_000);
}

// Playing.

const counts = new Map();

async function play(round) {
  const { code } = await keeper.room({ name: `Round ${round}` });
  const people = await Promise.all(["Ann", "Bob"].map((name) => browser.person(keeper, name, {
    permissions: ["clipboard-read", "clipboard-write"],
  })));
  const artists = people.map((person, n) => {
    person.expectsNetworkErrors = true;
    return new Artist(person, new Random(SEED + 1000 * round + n), `${person.name}-${round}`);
  });
  try {
    await Promise.all(people.map((person) => person.enter(code)));
    // Without a network, the page is reloaded from what the browser keeps.
    await Promise.all(people.map(({ page }) => page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined))));
    for (let part = 0; part < 2; part += 1) {
      await Promise.all(artists.map((artist, n) => artist.draw(ACTIONS / 2, n === 1)));
      await Promise.all(people.map((person) => person.isConnected()));
      const eve = await browser.person(keeper, "Eve");
      await eve.enter(code);
      await allAreEqual(code, [...people, eve]);
      const written = (await eve.sent()).filter(({ event }) => event === "whiteboard-change");
      assert.deepEqual(written, [], "Eve, who has done nothing, has written nothing");
      await eve.page.close();
    }
    for (const what of artists.flatMap(({ done }) => done)) counts.set(what, (counts.get(what) ?? 0) + 1);
    console.log(`round ${round}: equal, with ${(await keeper.board(code)).length} elements`);
    return true;
  } catch (error) {
    console.error(`round ${round}: ${error.message}\n${error.cause?.message ?? error.stack}`);
    for (const { name, done } of artists) console.error(`${name}: ${done.join(", ")}`);
    console.error(`again: SEED=${SEED} ROUND=${round} make soak-browsers`);
    return false;
  } finally {
    await browser.dismiss();
  }
}

test(`two browsers draw at random for ${MINUTES} minutes`, async () => {
  console.log(`SEED=${SEED}`);
  const end = performance.now() + MINUTES * 60_000;
  const failed = [];
  let rounds = 0;
  for (let round = Number(ROUND ?? 1); rounds === 0 || (ROUND === undefined && performance.now() < end); round += 1) {
    rounds += 1;
    if (!(await play(round))) failed.push(round);
    await pause(0);
  }
  for (const [what, count] of [...counts].sort()) console.log(`  ${count} × ${what}`);
  console.log(`SEED=${SEED} rounds=${rounds} failed=${failed.length}`);
  assert.deepEqual(failed, [], `rounds that failed; SEED=${SEED}`);
});
