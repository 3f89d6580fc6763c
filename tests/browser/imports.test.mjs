// Files that are added to a board: everything of them arrives, or is named with its reason.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Browser, sameBoard } from "../harness/browser.mjs";
import { Roomkeeper } from "../harness/roomkeeper.mjs";
import { until } from "../harness/until.mjs";

const keeper = await Roomkeeper.start();
const browser = await Browser.start();

/** An element as a program writes it, with little in it. */
function shape(id, more = {}) {
  return { id, type: "rectangle", x: 300, y: 200, width: 60, height: 40, ...more };
}

/** The same as Excalidraw saves it. */
function saved(id, more = {}) {
  return shape(id, {
    angle: 0, strokeColor: "#1e1e1e", backgroundColor: "transparent", fillStyle: "solid", strokeWidth: 2, strokeStyle: "solid",
    roughness: 1, opacity: 100, groupIds: [], frameId: null, index: "a0", roundness: null, seed: 11, version: 3,
    versionNonce: 17, isDeleted: false, boundElements: [], updated: 1, link: null, locked: false, ...more,
  });
}

function drawing(...elements) {
  return JSON.stringify({ type: "excalidraw", version: 2, source: "test", elements, appState: {}, files: {} });
}

function choose(person, content, name) {
  return person.page.getByLabel("Add an .excalidraw file").setInputFiles({
    name, mimeType: "application/json", buffer: Buffer.from(content),
  });
}

/** Adds a file, and resolves with what the page says of it. */
async function add(person, content, name = "file.excalidraw") {
  await choose(person, content, name);
  const notice = person.page.locator(".notice", { hasText: name });
  const text = await notice.locator("span").textContent();
  await notice.getByRole("button", { name: "Dismiss" }).click();
  return text;
}

/** Somebody in a new room. */
async function alone(name = "Ann") {
  const { code } = await keeper.room();
  const person = await browser.person(keeper, name);
  await person.enter(code);
  return { code, person };
}

async function byId(code) {
  return new Map((await keeper.board(code)).map((element) => [element.id, element]));
}

/** Deletes all that is on the board. */
async function clear(person, code) {
  await person.focusBoard();
  await person.page.keyboard.press("Control+a");
  await person.page.keyboard.press("Delete");
  await until("the board is empty", async () => (await keeper.board(code)).length === 0);
}

test("a file that was added, deleted and added again is there at the first try, after a reload too", async () => {
  const { code, person: ann } = await alone();
  const file = drawing(saved("a"), saved("b", { y: 300, seed: 12 }));
  assert.equal(await add(ann, file), "Added what file.excalidraw holds to the board.");
  await sameBoard(code, [ann], 2);
  await clear(ann, code);
  assert.equal(await add(ann, file), "Added what file.excalidraw holds to the board.");
  await sameBoard(code, [ann], 2);

  await clear(ann, code);
  // After a reload the page does not know what was deleted.
  await ann.enter(code);
  assert.equal(await add(ann, file), "Added what file.excalidraw holds to the board.");
  await sameBoard(code, [ann], 2);
  const bob = await browser.person(keeper, "Bob");
  await bob.enter(code);
  await sameBoard(code, [ann, bob], 2);
  assert.equal(await add(bob, file), "file.excalidraw holds nothing new.");
});

test("somebody who has just joined brings back what others have deleted", async () => {
  const { code, person: ann } = await alone();
  const file = drawing(saved("a"));
  await add(ann, file);
  await clear(ann, code);
  const bob = await browser.person(keeper, "Bob");
  await bob.enter(code);
  assert.equal(await add(bob, file), "Added what file.excalidraw holds to the board.");
  await sameBoard(code, [ann, bob], 1);
});

test("odd elements cost themselves alone, and are counted with their reasons", async () => {
  const { code, person: ann } = await alone();
  const file = drawing(
    saved("box", { index: "zz" }),
    saved("stroke", { type: "freedraw", points: null }),
    saved("arrow", { type: "arrow", points: null }),
    saved("number", { type: "text", text: 42, fontSize: 20, fontFamily: 5, width: 40, height: 25 }),
    saved("ship", { type: "spaceship" }),
    7,
  );
  assert.equal(
    await add(ann, file),
    "Added what file.excalidraw holds to the board. 3 of 6 could not be kept: a stroke without points (1), "
      + "its type, spaceship, is not known (1), not an element (1).",
  );
  await sameBoard(code, [ann], 3);
  const board = await byId(code);
  assert.deepEqual(board.get("arrow").points, [[0, 0], [60, 40]]);
  assert.equal(board.get("number").text, "42");
  await ann.rectangle(500, 400);
  await sameBoard(code, [ann], 4);
});

test("a drawing of January 2020 opens, and what was written then is of today afterwards", async () => {
  const { code, person: ann } = await alone();
  const old = { fillStyle: "hachure", strokeWidth: 1, roughness: 1, opacity: 100, strokeColor: "#000000", backgroundColor: "transparent", isSelected: false, shape: null };
  const file = JSON.stringify({
    version: 1,
    source: "https://excalidraw.com",
    elements: [
      { ...old, type: "rectangle", x: 300, y: 200, width: -80, height: 50, seed: 5 },
      { ...old, type: "arrow", x: 300, y: 300, width: 100, height: 20, seed: 6 },
      { ...old, type: "text", text: "Hello", font: "20px Virgil", baseline: 18, x: 320, y: 400, width: 50, height: 25, seed: 7 },
    ],
  });
  assert.equal(await add(ann, file), "Added what file.excalidraw holds to the board.");
  await sameBoard(code, [ann], 3);
  const [rectangle, arrow, text] = await keeper.board(code);
  assert.deepEqual([rectangle.x, rectangle.width], [220, 80]);
  assert.deepEqual(arrow.points, [[0, 0], [100, 20]]);
  assert.deepEqual([text.fontSize, text.fontFamily, "font" in text, "baseline" in text], [20, 1, false, false]);
});

test("what a program left out is measured and made up, and arrives", async () => {
  const { code, person: ann } = await alone();
  const deep = JSON.parse(`${'{"a":'.repeat(80)}1${"}".repeat(80)}`);
  const points = Array.from({ length: 20 }, (_, n) => [n * 5, (n % 2) * 10]);
  const file = drawing(
    { id: "bare", type: "text", text: "Measured", x: 300, y: 100 },
    { id: "flat", type: "text", text: "two\nlines", x: 300, y: 150, width: 80, height: 0, fontSize: 20 },
    { id: "stroke", type: "freedraw", x: 300, y: 250, points },
    shape("x".repeat(65), { y: 300, version: 1.5 }),
    { ...shape("n", { y: 350, version: -3 }), id: 12345 },
    shape("huge", { y: 400, version: 1e17 }),
    shape("deep", { y: 450, customData: deep }),
  );
  assert.equal(
    await add(ann, file),
    "Added what file.excalidraw holds to the board. Data that nests too deeply was left out of an element.",
  );
  await sameBoard(code, [ann], 7);
  const board = await byId(code);
  assert.ok(board.get("bare").width > 60 && board.get("bare").width < 140, `${board.get("bare").width}`);
  assert.ok(Math.abs(board.get("bare").height - 25) < 1);
  assert.ok(Math.abs(board.get("flat").height - 50) < 1);
  assert.deepEqual([board.get("stroke").pressures, board.get("stroke").simulatePressure], [[], true]);
  for (const element of board.values()) assert.equal(element.version, 1, element.id);

  // Each of them can be changed from here on, and the change arrives.
  await ann.focusBoard();
  await ann.page.keyboard.press("Control+a");
  await ann.page.keyboard.press("ArrowRight");
  await until("all have moved", async () => [...(await byId(code)).values()].every(({ version }) => version > 1));
  await ann.enter(code);
  await sameBoard(code, [ann], 7);
});

test("a text that was measured is drawn whole", async () => {
  const { code, person: ann } = await alone();
  await add(ann, drawing({ id: "bare", type: "text", text: "WWWW", x: 300, y: 200, fontSize: 40 }));
  await sameBoard(code, [ann], 1);
  const { width, height } = (await byId(code)).get("bare");
  // The same text, written by hand.
  await ann.focusBoard();
  const measured = await ann.page.evaluate(async () => {
    await document.fonts.load("40px Excalifont");
    const context = document.createElement("canvas").getContext("2d");
    context.font = "40px Excalifont";
    return context.measureText("WWWW").width;
  });
  assert.ok(Math.abs(width - measured) < 1, `${width} ${measured}`);
  assert.equal(height, 50);
});

test("two files that use the same ids are both there, for everybody", async () => {
  const { code, person: ann } = await alone();
  const bob = await browser.person(keeper, "Bob");
  await bob.enter(code);
  const file = (text, y) => drawing(
    shape("box1", { y, boundElements: [{ id: "arrow", type: "arrow" }], groupIds: ["g"] }),
    { id: "title", type: "text", text, x: 300, y: y + 60, groupIds: ["g"] },
    {
      ...shape("arrow", { y: y + 20 }), type: "arrow", points: [[0, 0], [90, 0]], width: 90, height: 0,
      startBinding: { elementId: "box1", focus: 0, gap: 1 },
    },
  );
  assert.equal(await add(ann, file("First", 100), "one.excalidraw"), "Added what one.excalidraw holds to the board.");
  await sameBoard(code, [ann, bob], 3);
  const first = await byId(code);
  assert.equal(await add(bob, file("Second", 300), "two.excalidraw"), "Added what two.excalidraw holds to the board.");
  await sameBoard(code, [ann, bob], 6);
  const all = await byId(code);
  for (const [id, element] of first) assert.deepEqual(all.get(id), element, "the first file's is as it was");
  const newcomers = [...all.values()].filter(({ id }) => !first.has(id));
  const of = (type) => newcomers.find((element) => element.type === type);
  assert.equal(of("text").text, "Second");
  assert.equal(of("arrow").startBinding.elementId, of("rectangle").id);
  assert.deepEqual(of("rectangle").boundElements, [{ id: of("arrow").id, type: "arrow" }]);
  assert.deepEqual(of("rectangle").groupIds, of("text").groupIds);
  assert.notDeepEqual(of("rectangle").groupIds, first.get("box1").groupIds);
});

test("a drawing that was saved, edited and added again does not double", async () => {
  const { code, person: ann } = await alone();
  await ann.rectangle(300, 160);
  await ann.rectangle(450, 160);
  await sameBoard(code, [ann], 2);
  const scene = JSON.parse(await ann.saved(() => ann.boardMenu("Save as .excalidraw")));
  assert.equal(await add(ann, JSON.stringify(scene)), "file.excalidraw holds nothing new.");
  const [element] = scene.elements;
  Object.assign(element, { backgroundColor: "#ffc9c9", version: element.version + 1, versionNonce: 99 });
  assert.equal(await add(ann, JSON.stringify(scene)), "Added what file.excalidraw holds to the board.");
  await sameBoard(code, [ann], 2);
  assert.equal((await byId(code)).get(element.id).backgroundColor, "#ffc9c9");
});

test("a file that fills the board takes few requests, and says how much of it was kept", async () => {
  const { code, person: ann } = await alone();
  const file = drawing(...Array.from({ length: 12_000 }, (_, n) => shape(`e${n}`, { x: (n % 120) * 20, y: Math.floor(n / 120) * 20, width: 10, height: 10 })));
  await ann.sent();
  await choose(ann, file, "large.excalidraw");
  await ann.page.locator(".notice", { hasText: "2000 of 12000 could not be kept: the board is full (2000)." }).waitFor({ timeout: 60_000 });
  assert.equal((await keeper.board(code)).length, 10_000);
  const changes = (await ann.sent()).filter(({ event }) => event === "whiteboard-change");
  assert.ok(changes.length < 40, `${changes.length} requests`);
  await ann.page.locator(".notice", { hasText: "The board is nearly full: it holds 10,000 of 10,000 elements" }).waitFor();
});

test("a file that is added without a connection is there when there is one", async () => {
  const { code, person: ann } = await alone();
  ann.expectsNetworkErrors = true;
  await ann.context.setOffline(true);
  await ann.page.getByText("offline: your changes will be sent").waitFor();
  await choose(ann, drawing(saved("a")), "file.excalidraw");
  await ann.page.locator(".notice", { hasText: "file.excalidraw is on your board. It will be sent" }).waitFor();
  assert.deepEqual(await keeper.board(code), []);
  await ann.context.setOffline(false);
  await ann.page.locator(".notice", { hasText: "Added what file.excalidraw holds to the board." }).waitFor();
  await sameBoard(code, [ann], 1);
});

test("what is no drawing is said to be none", async () => {
  const { person: ann } = await alone();
  for (const content of ["", "{", "[]", '{"type":"excalidrawlib","library":[]}', "7"]) {
    assert.equal(await add(ann, content), "file.excalidraw is not an Excalidraw drawing.");
  }
});

test("odd elements in what is pasted are left out, which is said, and the others are there", async () => {
  const { code, person: ann } = await alone();
  const pasted = [
    shape("box"),
    { ...shape("stroke"), type: "freedraw", points: null },
    { id: "text", type: "text", text: 42, x: 300, y: 300 },
  ];
  await ann.paste(JSON.stringify({ type: "excalidraw/clipboard", elements: pasted }));
  await ann.page.locator(".notice", { hasText: "1 of 3 could not be kept: a stroke without points (1)." }).waitFor();
  await sameBoard(code, [ann], 2);
  const text = (await keeper.board(code)).find(({ type }) => type === "text");
  assert.ok(text.text === "42" && text.width > 10);
});
