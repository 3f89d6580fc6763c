// A board shows what arrives and stores nothing of it anew: only what a person changes is sent.

import assert from "node:assert/strict";
import { test } from "node:test";

import { boardRoom, newer, shape, shows } from "../harness/boards.mjs";
import { Browser, sameBoard } from "../harness/browser.mjs";
import { Roomkeeper } from "../harness/roomkeeper.mjs";
import { until } from "../harness/until.mjs";

const keeper = await Roomkeeper.start();
const browser = await Browser.start();

const room = (names) => boardRoom(keeper, browser, names);

const stored = async (code, id) => (await keeper.board(code)).find((element) => element.id === id);

/** Selects all that is on the board. */
async function selectAll(person) {
  await person.focusBoard();
  await person.page.keyboard.press("Control+a");
}

/** Moves what is selected by a key. */
const nudge = (person, key = "ArrowRight") => person.page.keyboard.press(key);

/** As `sameBoard`, with as many elements as there come to be. */
const sameBoardSoon = (code, people) => until("all boards are equal", async () => {
  await sameBoard(code, people, (await keeper.board(code)).length);
  return true;
}, 60_000);

test("a text that is begun, waited with, and entered at once is stored and shown to both", async () => {
  const { code, people: [ann, bob] } = await room();
  const box = await ann.focusBoard();
  await ann.page.keyboard.press("t");
  await ann.page.mouse.click(box.x + 400, box.y + 300);
  const text = await until("the empty text is stored", async () => (await keeper.board(code))[0]);
  assert.equal(text.text, "");
  await until("Bob's board has it", async () => (await bob.scene()).length === 1);
  await ann.page.keyboard.insertText("dictated");
  await ann.page.keyboard.press("Escape");
  await until("it is stored", async () => (await stored(code, text.id))?.text === "dictated");
  await sameBoard(code, [ann, bob], 1);
  assert.equal((await bob.scene())[0].text, "dictated");

  for (const words of ["pasted", "pasted anew"]) {
    await selectAll(ann);
    await ann.page.keyboard.press("Enter");
    await ann.page.locator("textarea.excalidraw-wysiwyg").fill("");
    await until("it is empty for all", async () => (await stored(code, text.id))?.text === "");
    await until("Bob's board shows nothing of it", async () => (await bob.scene())[0]?.text === "");
    await ann.page.keyboard.insertText(words);
    await ann.page.keyboard.press("Escape");
    await until("the new words are stored", async () => (await stored(code, text.id))?.text === words);
    await sameBoard(code, [ann, bob], 1);
  }
});

test("a bot's elements without an index are shown last, by first arrival, and keep its updates", async () => {
  const { code, people: [ann, bob], bot } = await room();
  const [second, first, placed] = [shape("b"), shape("a", { x: 30 }), shape("c", { x: 60, index: "a7" })];
  await bot.draw(code, [second]);
  await bot.draw(code, [first]);
  await bot.draw(code, [placed]);
  for (const person of [ann, bob]) await shows(person, "c1", "b1", "a1");
  for (let n = 0; n < 3; n += 1) {
    Object.assign(second, newer(second, { x: second.x + 10 }));
    const { accepted, rejected } = await bot.draw(code, [second]);
    assert.deepEqual([accepted, rejected], [1, 0]);
    for (const person of [ann, bob]) await shows(person, "c1", `b${second.version}`, "a1");
  }
  await sameBoard(code, [ann, bob], 3);

  // What a person draws is below them, for the person too.
  await ann.rectangle(600, 400);
  const drawn = await until("Ann's is stored", async () => (await keeper.board(code)).find(({ id }) => id.length > 1));
  const order = async (person) => (await person.scene()).map(({ id }) => id);
  for (const person of [ann, bob]) {
    await until("it is below", async () => (await order(person)).join() === ["c", drawn.id, "b", "a"].join());
  }
  await sameBoard(code, [ann, bob], 4);
  const eve = await browser.person(keeper, "Eve");
  await eve.enter(code);
  await until("a newcomer sees the same", async () => (await order(eve)).join() === ["c", drawn.id, "b", "a"].join());

  // What a person changes is sent, and stays where it was.
  await selectAll(ann);
  await nudge(ann);
  await until("it is moved", async () => (await stored(code, "a"))?.version === 2);
  await sameBoard(code, [ann, bob, eve], 4);
  assert.ok(!("index" in await stored(code, "a")));
  assert.deepEqual(await order(bob), ["c", drawn.id, "b", "a"]);
});

test("elements under one index, and under none that is one, are shown alike and stay as they are stored", async () => {
  const { code, people: [ann, bob], bot } = await room();
  const elements = [shape("b", { index: "a1" }), shape("a", { index: "a1", x: 20 }), shape("c", { index: "a1V", x: 40 })];
  await bot.draw(code, elements);
  for (const person of [ann, bob]) await shows(person, "a1", "b1", "c1");
  for (const person of [ann, bob]) await person.receives(code, [shape("d", { index: "zz", x: 60 })]);
  for (const person of [ann, bob]) await shows(person, "a1", "b1", "c1", "d1");
  await ann.rectangle(600, 400);
  await until("drawing goes on", async () => (await keeper.board(code)).length === 4);
  for (const { id, index } of elements) assert.equal((await stored(code, id)).index, index);
});

test("what is drawn between two elements of one index is shown where its own index puts it", async () => {
  const { code, people: [ann, bob], bot } = await room();
  await bot.draw(code, [shape("a", { index: "a1" }), shape("b", { index: "a1", x: 300 }), shape("c", { index: "a2", x: 600 })]);
  for (const person of [ann, bob]) await shows(person, "a1", "b1", "c1");
  // Excalidraw puts a copy right above what it is a copy of.
  await selectAll(ann);
  await ann.page.keyboard.press("Control+d");
  await until("the copies are stored", async () => (await keeper.board(code)).length === 6);
  const inOrder = (await keeper.board(code)).sort((one, other) => (
    one.index === other.index ? (one.id < other.id ? -1 : 1) : one.index < other.index ? -1 : 1));
  const versions = inOrder.map(({ id, version }) => `${id}${version}`);
  assert.deepEqual(versions.slice(0, 2), ["a1", "b1"], "no index is between two that are equal");
  for (const person of [bob, ann]) await shows(person, ...versions);
  await sameBoard(code, [ann, bob], 6);
});

test("former fields count where newer ones are absent, and go with the first edit", async () => {
  const { code, people: [ann, bob], bot } = await room();
  await bot.draw(code, [shape("old", {
    type: "text", text: "old", font: "20px Virgil", baseline: 18, width: 40, height: 25, x: 300, y: 300, index: "a1",
  })]);
  await shows(ann, "old1");
  assert.deepEqual(await stored(code, "old").then(({ font }) => font), "20px Virgil");
  await selectAll(ann);
  await ann.page.locator("label", { has: ann.page.getByTestId("fontSize-veryLarge") }).click();
  await until("the size is stored", async () => (await stored(code, "old")).fontSize === 36);
  const sees = (person) => until(`${person.name} sees 36`, async () => (await person.scene())[0].fontSize === 36);
  await sees(bob);
  await ann.page.reload();
  await ann.isConnected();
  await ann.boardIsOpen();
  await sees(ann);
  const { font, baseline, fontFamily } = await stored(code, "old");
  assert.deepEqual([font, baseline, fontFamily], [undefined, undefined, 1]);
  await sameBoard(code, [ann, bob], 1);
});

test("edges that a person makes sharp stay sharp for others and after a reload", async () => {
  const { code, people: [ann, bob], bot } = await room();
  await bot.draw(code, [shape("old", { strokeSharpness: "round", x: 300, y: 300, index: "a1" })]);
  await shows(ann, "old1");
  await until("they are round", async () => (await bob.scene())[0].roundness !== null);
  await selectAll(ann);
  await ann.page.getByTitle("Sharp").click();
  await until("it is stored", async () => (await stored(code, "old")).roundness === null);
  await ann.page.reload();
  await ann.isConnected();
  await ann.boardIsOpen();
  for (const person of [ann, bob]) {
    await until("they are sharp", async () => (await person.scene())[0].roundness === null);
  }
  assert.ok(!("strokeSharpness" in await stored(code, "old")));
  await sameBoard(code, [ann, bob], 1);
});

test("whatever a bot stores, a page that nobody uses sends nothing", async () => {
  const { code, people: [ann, bob], bot } = await room();
  await bot.draw(code, [
    shape("empty", { type: "text", text: "", width: 0, height: 25 }),
    shape("sizeless", { type: "text", text: "words" }),
    shape("flipped", { width: -50, height: -40 }),
    shape("nothing", { width: 0, height: 0 }),
    shape("line", { type: "line", points: [[5, 5], [40, 60]] }),
    shape("pointless", { type: "arrow", points: null }),
    shape("stroke", { type: "freedraw", points: [[0, 0], [30, 30]] }),
    shape("script", { link: null, customData: { a: [1] }, boundElementIds: ["line"] }),
    shape("in a frame that is not there", { frameId: "gone" }),
    shape("bound", { type: "text", text: "bound", containerId: "gone", width: 40, height: 25 }),
    shape("elbow", { type: "arrow", elbowed: true, points: [[0, 0], [10, 10], [30, 10]], startBinding: { elementId: "gone", focus: 0, gap: 1 } }),
    shape("frame", { type: "frame", name: null }),
    shape("image", { type: "image", fileId: "f" }),
    shape("bare", { x: undefined, width: undefined, height: undefined }),
  ]);
  await until("all is shown", async () => (await ann.scene()).length === 14);
  await sameBoard(code, [ann, bob], 14);
  const before = await keeper.board(code);
  await bob.page.reload();
  await bob.isConnected();
  await bob.boardIsOpen();
  await sameBoard(code, [ann, bob], 14);
  assert.deepEqual(await keeper.board(code), before);
});

test("whatever tool somebody uses, a page that nobody uses shows the same and sends nothing", async () => {
  const { code, people: [ann, bob] } = await room();
  const key = (...names) => names.reduce((before, name) => before.then(() => ann.page.keyboard.press(name)), Promise.resolve());
  const box = await ann.focusBoard();
  const write = async (text) => {
    await ann.page.keyboard.type(text);
    await key("Escape");
  };
  await ann.draw("r", [[300, 140], [380, 200]]);
  // A text in a shape, and arrows that are bound to shapes.
  await key("Enter");
  await write("in a shape");
  await ann.draw("d", [[520, 140], [600, 220]]);
  await ann.draw("o", [[300, 300], [380, 360]]);
  await ann.draw("a", [[384, 170], [450, 170], [516, 180]]);
  await ann.draw("a", [[340, 204], [340, 250], [340, 296]]);
  await key("Enter");
  await write("on an arrow");
  await ann.draw("l", [[450, 300], [560, 340]]);
  await ann.scribble(640, 300);
  await ann.focusBoard();
  await key("t");
  await ann.page.mouse.click(box.x + 650, box.y + 160);
  await write("two\nlines");
  await ann.draw("f", [[280, 420], [420, 520]]);
  await ann.draw("r", [[310, 440], [360, 480]]);
  await until("all of it is stored", async () => (await keeper.board(code)).length >= 12);
  await sameBoard(code, [ann, bob], (await keeper.board(code)).length);

  await selectAll(ann);
  await key("ArrowDown", "Shift+ArrowRight", "Control+g", "Control+d", "Control+Shift+g");
  await selectAll(ann);
  await key("Control+]", "Control+Shift+[", "Control+z", "Control+z", "Control+Shift+z", "Shift+H", "Control+Shift+>");
  await sameBoardSoon(code, [ann, bob]);
  await ann.draw("e", [[440, 300], [560, 340]]);
  await selectAll(ann);
  await key("Delete", "Control+z");
  await sameBoardSoon(code, [ann, bob]);
});

test("a link without a scheme becomes one, and the element and its later moves arrive", async () => {
  const { code, people: [ann, bob] } = await room();
  await ann.rectangle(300, 160);
  await sameBoard(code, [ann, bob], 1);
  const [{ id, x }] = await keeper.board(code);
  const link = async (text) => {
    await selectAll(ann);
    await ann.page.keyboard.press("Control+k");
    const input = ann.page.locator(".excalidraw-hyperlinkContainer input");
    await input.fill(text);
    await input.press("Enter");
  };
  await link("example.com/page");
  await until("it is stored", async () => (await stored(code, id)).link === "https://example.com/page");
  await sameBoard(code, [ann, bob], 1);
  await selectAll(ann);
  await nudge(ann);
  const moved = await until("the move is stored", async () => {
    const element = await stored(code, id);
    return element.x !== x && element;
  });
  await sameBoard(code, [ann, bob], 1);

  const edit = ann.page.locator(".excalidraw-hyperlinkContainer--edit");
  await selectAll(ann);
  await edit.click();
  const input = ann.page.locator(".excalidraw-hyperlinkContainer input");
  await input.fill("obsidian://x");
  await input.press("Enter");
  await ann.page.locator(".notice", { hasText: "A link was left out" }).waitFor();
  await until("it is without a link", async () => (await stored(code, id)).link === null);
  await selectAll(ann);
  await nudge(ann);
  await until("the move is stored", async () => (await stored(code, id)).x !== moved.x);
  await sameBoard(code, [ann, bob], 1);
});

test("a line that is begun and given up is gone for others too", async () => {
  const { code, people: [ann, bob] } = await room();
  const box = await ann.focusBoard();
  await ann.page.keyboard.press("l");
  await ann.page.mouse.click(box.x + 400, box.y + 300);
  await ann.page.mouse.move(box.x + 500, box.y + 380, { steps: 3 });
  await until("others see it", async () => (await keeper.board(code)).length === 1);
  await ann.page.keyboard.press("Escape");
  await until("it is gone", async () => (await keeper.board(code)).length === 0);
  await sameBoard(code, [ann, bob], 0);
});
