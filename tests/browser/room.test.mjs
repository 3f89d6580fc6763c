// A room as people use it: talking and drawing together.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Browser, sameBoard, sameChat } from "../harness/browser.mjs";
import { Roomkeeper } from "../harness/roomkeeper.mjs";
import { until } from "../harness/until.mjs";

const keeper = await Roomkeeper.start();
const browser = await Browser.start();

test("two people create, join by link, talk and draw at once, and a third sees it all", async () => {
  const ann = await browser.person(keeper, "Ann");
  await ann.visit();
  await ann.page.getByLabel("Name of the room").fill("Sketches");
  await ann.page.getByRole("button", { name: "Create room" }).click();
  await ann.page.waitForURL(/\/r\/\d{6}$/);
  const code = ann.page.url().slice(-6);
  await ann.isConnected();
  await ann.boardIsOpen();

  const bob = await browser.person(keeper);
  await bob.visit(`/r/${code}`);
  await bob.page.getByLabel("Your name").fill("Bob");
  await bob.page.getByRole("button", { name: "Join" }).click();
  await bob.isConnected();
  await bob.boardIsOpen();
  await ann.page.getByRole("button", { name: "Who is here: 2" }).waitFor();

  await ann.say("hello Bob");
  await bob.hears("hello Bob");
  await bob.say("hello Ann\nhttps://a.example/b");
  await ann.hears("hello Ann\nhttps://a.example/b");

  await Promise.all([
    (async () => {
      await ann.rectangle(300, 160);
      await ann.scribble(300, 260);
      await ann.scribble(300, 340);
    })(),
    (async () => {
      await bob.rectangle(500, 160);
      await bob.scribble(500, 260);
      await bob.scribble(500, 340);
    })(),
  ]);
  await sameBoard(code, [ann, bob], 6);

  const eve = await browser.person(keeper, "Eve");
  await eve.enter(code);
  await sameBoard(code, [ann, bob, eve], 6);
  await sameChat(code, [ann, bob, eve], 2);
});

test("the people, their names and their comings are shown, you first", async () => {
  const { code } = await keeper.room({ name: "People" });
  const ann = await browser.person(keeper, "Ann");
  await ann.enter(code);
  const bob = await browser.person(keeper, "Bob");
  await bob.enter(code);
  await bob.page.getByRole("button", { name: "Who is here: 2" }).click();
  assert.deepEqual(await bob.page.locator(".person-name").allTextContents(), ["Bob", "Ann"]);
  await bob.page.getByRole("button", { name: "you · rename" }).click();
  await bob.page.getByRole("textbox", { name: "Your name" }).fill("Robert");
  await bob.page.getByRole("button", { name: "Save" }).click();
  await ann.page.getByRole("button", { name: "Who is here: 2" }).click();
  await until("Ann sees the new name", async () =>
    (await ann.page.locator(".person-name").allTextContents()).includes("Robert"));
  await ann.page.keyboard.press("Escape");
  await bob.page.getByRole("button", { name: "Leave the room" }).click();
  await ann.page.getByRole("button", { name: "Who is here: 1, only you" }).waitFor();
  await bob.page.getByText("Your recent rooms").waitFor();
  await bob.page.getByText("1 of 10 here").first().waitFor();
});

test("somebody who writes is told of, until they have written", async () => {
  const { code } = await keeper.room();
  const ann = await browser.person(keeper, "Ann");
  const bob = await browser.person(keeper, "Bob");
  await Promise.all([ann.enter(code), bob.enter(code)]);
  await ann.composer.pressSequentially("wait");
  await bob.page.getByText("Ann is writing…").waitFor();
  await ann.composer.press("Shift+Enter");
  await ann.composer.pressSequentially("for it");
  await ann.composer.press("Enter");
  await bob.hears("wait\nfor it");
  await bob.page.getByText("Ann is writing…").waitFor({ state: "detached" });
});

test("older messages are loaded as far as the room keeps them", async () => {
  const { code } = await keeper.room();
  const member = await keeper.joined(code, { username: "Bot" });
  for (let n = 0; n < 120; n += 1) await member.say(code, `message ${n}`);
  const ann = await browser.person(keeper, "Ann");
  await ann.enter(code);
  await ann.hears("message 119");
  assert.equal((await ann.texts()).length, 50);
  const older = ann.page.getByRole("button", { name: "Load older messages" });
  await older.click();
  await ann.hears("message 70", "message 20");
  await until("there is no more", async () => {
    if (await older.isVisible()) await older.click();
    return (await older.count()) === 0;
  });
  assert.deepEqual(await ann.texts(), Array.from({ length: 100 }, (_, n) => `message ${n + 20}`));
});

test("the chat is saved as text and as JSON", async () => {
  const { code } = await keeper.room({ name: "Minutes" });
  const ann = await browser.person(keeper, "Ann");
  await ann.enter(code);
  await ann.say("first");
  await sameChat(code, [ann], 1);
  const text = await ann.saved(() => ann.roomMenu("Save chat as text"));
  assert.match(text, new RegExp(`^Minutes \\(${code}\\)\n\n\\[\\d{4}-.*Z\\] Ann: first\n$`));
  const { room, messages } = JSON.parse(await ann.saved(() => ann.roomMenu("Save chat as JSON")));
  assert.equal(room.code, code);
  assert.deepEqual(messages.map(({ message }) => message), ["first"]);
});

test("whoever reads older messages is not moved by new ones, and gets back with a click", async () => {
  const { code } = await keeper.room();
  const member = await keeper.joined(code, { username: "Bot" });
  for (let n = 0; n < 40; n += 1) await member.say(code, `message ${n}`);
  const ann = await browser.person(keeper, "Ann");
  await ann.enter(code);
  await ann.hears("message 39");
  const list = ann.page.locator(".messages");
  await list.evaluate((element) => element.scrollTo(0, 100));
  await ann.page.getByRole("button", { name: "Newest" }).waitFor();
  await member.say(code, "new");
  await ann.hears("new");
  assert.equal(await list.evaluate(({ scrollTop }) => scrollTop), 100);
  await ann.page.getByRole("button", { name: "Newest" }).click();
  await until("the newest is in view", () =>
    list.evaluate((at) => at.scrollHeight - at.scrollTop - at.clientHeight < 5));
});

test("what is said is sent, even by whoever leaves at once", async () => {
  const { code } = await keeper.room();
  const ann = await browser.person(keeper, "Ann");
  await ann.enter(code);
  await ann.composer.fill("and goodbye");
  // Both within one task, before anything can be sent.
  await ann.page.evaluate(() => {
    for (const label of ["Send", "Leave the room"]) document.querySelector(`button[aria-label="${label}"]`).click();
  });
  await ann.page.getByRole("button", { name: "Create room" }).waitFor();
  await until("it is there", async () =>
    (await keeper.messages(code)).map(({ message }) => message).join() === "and goodbye");
});

test("messages that come while the page is hidden are counted in its title", async () => {
  const { code } = await keeper.room({ name: "Behind" });
  const ann = await browser.person(keeper, "Ann");
  await ann.enter(code);
  const member = await keeper.joined(code, { username: "Bot" });
  await member.say(code, "seen");
  await ann.hears("seen");
  await ann.hide(true);
  await member.say(code, "one");
  await member.say(code, "two");
  await until("the title counts", async () => (await ann.page.title()).startsWith("(2) Behind"));
  await ann.hide(false);
  await until("they are read", async () => (await ann.page.title()).startsWith("Behind"));
});

test("messages that come while nobody looks are counted in the title", async () => {
  const { code } = await keeper.room({ name: "Quiet" });
  const ann = await browser.person(keeper, "Ann", { viewport: { width: 390, height: 800 } });
  await ann.visit(`/r/${code}`);
  await ann.isConnected();
  await ann.page.getByRole("tab", { name: "Board" }).click();
  await ann.boardIsOpen();
  const member = await keeper.joined(code, { username: "Bot" });
  await member.say(code, "one");
  await member.say(code, "two");
  await until("the title counts", async () => (await ann.page.title()).startsWith("(2) Quiet"));
  await ann.page.getByRole("tab", { name: "Chat" }).click();
  await until("they are read", async () => (await ann.page.title()).startsWith("Quiet"));
});

test("undo takes back what is one's own, and leaves the others' alone", async () => {
  const { code } = await keeper.room();
  const ann = await browser.person(keeper, "Ann");
  const bob = await browser.person(keeper, "Bob");
  await Promise.all([ann.enter(code), bob.enter(code)]);
  await ann.rectangle(300, 160);
  await sameBoard(code, [ann, bob], 1);
  await bob.rectangle(500, 160);
  await sameBoard(code, [ann, bob], 2);
  const [bobs] = (await bob.scene()).filter(({ x }) => x >= 480);
  // A change of the selection is a step too.
  await ann.focusBoard();
  await until("Ann's is undone", async () => {
    await ann.page.keyboard.press("Control+z");
    return (await keeper.board(code)).length === 1;
  });
  const [left] = await keeper.board(code);
  assert.equal(left.id, bobs.id);
  await sameBoard(code, [ann, bob], 1);
  await ann.focusBoard();
  await until("Ann's is there again", async () => {
    await ann.page.keyboard.press("Control+Shift+z");
    return (await keeper.board(code)).length === 2;
  });
  await sameBoard(code, [ann, bob], 2);
});

test("the view of a board survives a reload", async () => {
  const { code } = await keeper.room();
  const ann = await browser.person(keeper, "Ann");
  await ann.enter(code);
  await ann.rectangle(300, 160);
  const zoom = ann.page.getByRole("button", { name: "Reset zoom" });
  await ann.page.getByRole("button", { name: "Zoom in" }).click();
  await until("it is zoomed", async () => (await zoom.textContent()) === "110%");
  await until("it is kept", () => ann.page.evaluate((key) => localStorage.getItem(key)?.includes("1.1"), `roomkeeper.view.${code}`));
  await ann.page.reload();
  await ann.isConnected();
  await ann.boardIsOpen();
  await until("it is zoomed again", async () => (await zoom.textContent()) === "110%");
  await sameBoard(code, [ann], 1);
});

test("a board is saved as PNG, SVG and .excalidraw, and a file is added to it", async () => {
  const { code } = await keeper.room({ name: "Plan: A/B" });
  const ann = await browser.person(keeper, "Ann");
  const bob = await browser.person(keeper, "Bob");
  await Promise.all([ann.enter(code), bob.enter(code)]);
  await ann.rectangle(300, 160);
  await ann.focusBoard();
  await ann.page.keyboard.press("t");
  await ann.page.mouse.click(420, 400);
  await ann.page.keyboard.type("Hello");
  await ann.page.keyboard.press("Escape");
  await sameBoard(code, [ann, bob], 2);

  assert.match((await ann.saved(() => ann.boardMenu("Save as PNG"))).slice(0, 8), /PNG/);
  const svg = await ann.saved(() => ann.boardMenu("Save as SVG"));
  assert.match(svg, /^<svg/);
  assert.match(svg, /Hello/);
  assert.match(svg, /@font-face/, "with the font that the text is in");
  const scene = JSON.parse(await ann.saved(() => ann.boardMenu("Save as .excalidraw")));
  assert.equal(scene.elements.length, 2);

  const shape = scene.elements.find(({ type }) => type === "rectangle");
  const added = {
    ...scene,
    elements: [
      { ...shape, id: "added", y: shape.y + 200, index: null },
      { ...shape, id: "frame", type: "iframe", index: null },
    ],
  };
  await bob.page.getByLabel("Add an .excalidraw file").setInputFiles({
    name: "more.excalidraw",
    mimeType: "application/json",
    buffer: Buffer.from(JSON.stringify(added)),
  });
  const stored = await sameBoard(code, [ann, bob], 3);
  assert.ok(stored.some((line) => line.startsWith("added ")));
});

test("an image is not lost in silence", async () => {
  const { code } = await keeper.room();
  const ann = await browser.person(keeper, "Ann");
  await ann.enter(code);
  await ann.page.locator(".board").evaluate((element) => {
    const data = new DataTransfer();
    data.items.add(new File(["x"], "cat.png", { type: "image/png" }));
    const canvas = element.querySelector("canvas.interactive");
    canvas.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: data }));
  });
  await ann.page.getByText("Images cannot be kept in a room yet").waitFor();
});

test("an image in a file or in what is pasted is left out, which is said", async () => {
  const { code } = await keeper.room();
  const ann = await browser.person(keeper, "Ann");
  await ann.enter(code);
  await ann.rectangle(300, 160);
  await sameBoard(code, [ann], 1);
  const scene = JSON.parse(await ann.saved(() => ann.boardMenu("Save as .excalidraw")));
  const [shape] = scene.elements;
  const image = { ...shape, id: "image", type: "image", fileId: "f", status: "saved", scale: [1, 1], index: null };
  const file = { ...scene, elements: [{ ...shape, id: "more", y: shape.y + 100, index: null }, image] };
  await ann.page.getByLabel("Add an .excalidraw file").setInputFiles({
    name: "images.excalidraw",
    mimeType: "application/json",
    buffer: Buffer.from(JSON.stringify(file)),
  });
  const notice = ann.page.locator(".notice", { hasText: "Images cannot be kept in a room yet" });
  await notice.waitFor();
  await sameBoard(code, [ann], 2);
  await notice.getByRole("button", { name: "Dismiss" }).click();
  await ann.paste(JSON.stringify({ type: "excalidraw/clipboard", elements: [shape, image] }));
  await notice.waitFor();
  const stored = await sameBoard(code, [ann], 3);
  assert.ok(stored.every((line) => line.includes(" rectangle ")), stored.join("\n"));
});

test("only what changed is sent, at most twenty times a second, and the last state too", async () => {
  const { code } = await keeper.room();
  const ann = await browser.person(keeper, "Ann");
  const bob = await browser.person(keeper, "Bob");
  await Promise.all([ann.enter(code), bob.enter(code)]);
  await ann.rectangle(300, 160);
  await sameBoard(code, [ann, bob], 1);
  const [first] = await keeper.board(code);
  await ann.sent();
  await ann.draw("p", Array.from({ length: 40 }, (_, n) => [300 + n * 8, 300 + (n % 5) * 20]), 6);
  await sameBoard(code, [ann, bob], 2);
  const changes = (await ann.sent()).filter(({ event }) => event === "whiteboard-change");
  assert.ok(changes.length > 3, "it is sent while it is drawn");
  assert.ok(!changes.some(({ payload }) => payload.elements.some(({ id }) => id === first.id)));
  for (const { at } of changes) {
    const within = changes.filter((one) => one.at >= at && one.at < at + 1000).length;
    // Twenty, and the one with which the second begins.
    assert.ok(within <= 21, `${within} changes within a second`);
  }
});

test("a text that is being edited is left alone until it is done, and then agreed on", async () => {
  const { code } = await keeper.room();
  const ann = await browser.person(keeper, "Ann");
  await ann.enter(code);
  const box = await ann.focusBoard();
  await ann.page.keyboard.press("t");
  await ann.page.mouse.click(box.x + 400, box.y + 300);
  await ann.page.keyboard.type("draft");
  await until("others see it", async () => (await keeper.board(code))[0]?.text === "draft");
  const member = await keeper.joined(code, { username: "Bot", sync: "delta" });
  const [theirs] = await keeper.board(code);
  await member.draw(code, [{
    ...theirs, version: theirs.version + 1, x: theirs.x + 50, text: "theirs", originalText: "theirs",
  }]);
  await member.draw(code, [{ ...theirs, id: "beside", version: 1, y: theirs.y + 100, text: "beside", originalText: "beside" }]);
  await until("the other one is shown", async () => (await keeper.board(code)).length === 2);
  await ann.page.keyboard.type(" of mine");
  assert.equal(await ann.page.locator("textarea.excalidraw-wysiwyg").inputValue(), "draft of mine");
  await ann.page.keyboard.press("Escape");
  await sameBoard(code, [ann], 2);
});

test("on a phone the board goes on behind the chat", async () => {
  const { code } = await keeper.room();
  const ann = await browser.person(keeper, "Ann", { viewport: { width: 390, height: 800 } });
  const bob = await browser.person(keeper, "Bob");
  await ann.visit(`/r/${code}`);
  await Promise.all([ann.isConnected(), bob.enter(code)]);
  await ann.page.getByRole("tab", { name: "Board" }).click();
  await ann.boardIsOpen();
  await ann.rectangle(100, 200);
  await ann.page.getByRole("tab", { name: "Chat" }).click();
  await bob.rectangle(300, 300);
  await until("both are there", async () => (await keeper.board(code)).length === 2);
  await ann.page.keyboard.press("ArrowRight");
  await ann.boardIsOpen();
  await sameBoard(code, [ann, bob], 2);
  await ann.rectangle(100, 400);
  await sameBoard(code, [ann, bob], 3);
});

test("others' cursors and selections are shown, and go when they go", async () => {
  const { code } = await keeper.room();
  const ann = await browser.person(keeper, "Ann");
  await ann.enter(code);
  const member = await keeper.joined(code, { username: "Bot" });
  await member.draw(code, [{
    id: "shape", type: "rectangle", version: 1, versionNonce: 1, x: 300, y: 200, width: 100, height: 80,
    strokeColor: "#000000", backgroundColor: "transparent", roughness: 0, seed: 1,
  }]);
  await until("the shape is shown", async () => (await ann.scene()).length === 1);
  // Where the shape is in the page depends on the view.
  const whole = () => ann.glimpse(150, 130, 600, 500);
  let empty = await whole();
  await until("it has come to rest", async () => {
    const before = empty;
    empty = await whole();
    return before === empty;
  });
  member.tell("whiteboard-pointer", { roomId: code, x: 420, y: 320, button: "up" });
  await until("the cursor is drawn", async () => (await whole()) !== empty);
  const pointed = await whole();
  member.tell("whiteboard-pointer", { roomId: code, x: 420, y: 320, button: "up", selected: ["shape"] });
  await until("the selection is drawn", async () => ![pointed, empty].includes(await whole()));
  // Two who move at once are both shown.
  const second = await keeper.joined(code, { username: "Two" });
  await ann.page.getByRole("button", { name: "Who is here: 3" }).waitFor();
  const selected = await whole();
  member.tell("whiteboard-pointer", { roomId: code, x: 300, y: 330, button: "up" });
  await until("one is moved", async () => (await whole()) !== selected);
  const moved = await whole();
  second.tell("whiteboard-pointer", { roomId: code, x: 400, y: 250, button: "up" });
  await until("the other is drawn", async () => (await whole()) !== moved);
  const both = await whole();
  for (const [x, y] of [[310, 310], [300, 330]]) {
    member.tell("whiteboard-pointer", { roomId: code, x, y, button: "up" });
    second.tell("whiteboard-pointer", { roomId: code, x: x + 100, y: y - 80, button: "up" });
  }
  await until("both are where they were told last", async () => (await whole()) === both);
  member.close();
  second.close();
  await ann.page.getByRole("button", { name: "Who is here: 1, only you" }).waitFor();
  await until("both are gone", async () => (await whole()) === empty);
});

test("a board that cannot be opened says so, and the chat goes on", async () => {
  const { code } = await keeper.room();
  const ann = await browser.person(keeper, "Ann", { serviceWorkers: "block" });
  ann.expectsNetworkErrors = true;
  ann.expected.push(/dynamically imported module/);
  await ann.context.route(/Whiteboard.*\.js/, (route) => route.abort());
  await ann.visit(`/r/${code}`);
  await ann.page.getByText("The board could not be opened.").waitFor();
  await ann.say("still here");
  await sameChat(code, [ann], 1);
  await ann.context.unroute(/Whiteboard.*\.js/);
  await ann.page.getByRole("button", { name: "Reload the page" }).click();
  await ann.boardIsOpen();
});

test("where one points is told, with the name", async () => {
  const { code } = await keeper.room();
  const ann = await browser.person(keeper, "Ann");
  await ann.enter(code);
  const member = await keeper.joined(code, { username: "Bot" });
  await ann.page.getByRole("button", { name: "Who is here: 2" }).waitFor();
  const box = await ann.focusBoard();
  await ann.page.mouse.move(box.x + 400, box.y + 300, { steps: 5 });
  const pointer = await member.next("whiteboard-pointer");
  assert.equal(pointer.username, "Ann");
  assert.equal(typeof pointer.x, "number");
});

test("a deleted room says so, keeps what was in it, and lets nobody in", async () => {
  const { code } = await keeper.room({ name: "Short" });
  const ann = await browser.person(keeper, "Ann");
  await ann.enter(code);
  await ann.say("remember me");
  await sameChat(code, [ann], 1);
  await keeper.delete(`/api/rooms/${code}`);
  await ann.page.getByText("This room was deleted.").waitFor();
  assert.deepEqual((await ann.transcript()).map(({ message }) => message), ["remember me"]);
  assert.ok(await ann.page.getByRole("textbox", { name: "Message" }).isDisabled());
  await ann.page.getByRole("button", { name: "Back to the rooms" }).click();
  await ann.visit(`/r/${code}`);
  await ann.page.getByText("There is no room with this code.").waitFor();
});

test("a full room says so, and lets in when somebody has left", async () => {
  const { code } = await keeper.room({ maxParticipants: 1 });
  const member = await keeper.joined(code, { username: "Bot" });
  const ann = await browser.person(keeper, "Ann");
  await ann.visit(`/r/${code}`);
  await ann.page.getByText("Every seat in this room is taken.").waitFor();
  await member.leave(code);
  await ann.page.getByRole("button", { name: "Try again" }).click();
  await ann.isConnected();
});
