// What is made arrives, whatever becomes of the browser's storage, of the connection, or of
// the text on its way.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Browser, keepsClient, sameBoard, sameChat } from "../harness/browser.mjs";
import { Link } from "../harness/link.mjs";
import { Roomkeeper } from "../harness/roomkeeper.mjs";
import { until } from "../harness/until.mjs";

const keeper = await Roomkeeper.start();
const browser = await Browser.start();

const TROUBLE = "nothing is kept over a reload";

/** Takes the page's network away. */
async function offline(person) {
  person.expectsNetworkErrors = true;
  await person.context.setOffline(true);
  await person.page.getByText("offline: your changes will be sent").waitFor();
}

/** Has the browser throw its databases away, as it does under memory pressure. */
async function loseDatabases(person) {
  const session = await person.context.newCDPSession(person.page);
  await session.send("Storage.clearDataForOrigin", { origin: person.origin, storageTypes: "indexeddb" });
  await session.detach();
}

/** From now on IndexedDB fails in the page, until `mend`. */
async function breakDatabases(person) {
  await person.page.evaluate(() => {
    const { open } = IDBFactory.prototype;
    IDBFactory.prototype.open = () => {
      throw new DOMException("Connection to Indexed Database server lost", "UnknownError");
    };
    globalThis.mendDatabases = () => {
      IDBFactory.prototype.open = open;
    };
  });
}

for (const [when, losesFirst] of [["before", true], ["after", false]]) {
  test(`what is made offline is kept though the browser lost its databases ${when} it was made`, async () => {
    const { code } = await keeper.room();
    const ann = await browser.person(keeper, "Ann");
    await ann.enter(code);
    await until("the browser keeps the client", () => ann.page.evaluate(keepsClient));
    await offline(ann);
    if (losesFirst) await loseDatabases(ann);
    await ann.rectangle(300, 160);
    await ann.say("kept");
    if (!losesFirst) {
      await until("it is written down", async () => (await ann.unsent()).join() === "1,1");
      await loseDatabases(ann);
    }
    await until("it is written down again", async () => (await ann.unsent()).join() === "1,1");
    assert.equal(await ann.page.getByText(TROUBLE).count(), 0, "the loss was made good");
    await ann.page.reload();
    await ann.boardIsOpen();
    await ann.hears("kept");
    await ann.context.setOffline(false);
    await ann.isConnected();
    await sameBoard(code, [ann], 1);
    await sameChat(code, [ann], 1);
    await until("nothing is left", async () => (await ann.unsent()).join() === "0,0");
  });
}

test("what arrived though its confirmation did not is written down no longer", async () => {
  const { code } = await keeper.room();
  const ann = await browser.person(keeper, "Ann");
  await ann.enter(code);
  await until("the browser keeps the client", () => ann.page.evaluate(keepsClient));
  await offline(ann);
  await ann.rectangle(300, 160);
  await until("it is written down", async () => (await ann.unsent())[1] === 1);
  await ann.page.reload();
  await ann.boardIsOpen();
  const [element] = await until("the drawing is there again", async () => {
    const scene = await ann.scene();
    return scene.length === 1 && scene;
  });
  // The server received it on the connection that broke.
  const bot = await keeper.joined(code, { username: "Bot" });
  await bot.draw(code, [element]);
  await ann.context.setOffline(false);
  await ann.isConnected();
  await sameBoard(code, [ann], 1);
  await until("nothing is left", async () => (await ann.unsent()).join() === "0,0");
});

test("what is drawn right before a reload is kept, though the page reads its database no more", async () => {
  const { code } = await keeper.room();
  const ann = await browser.person(keeper, "Ann");
  await ann.enter(code);
  await until("the browser keeps the client", () => ann.page.evaluate(keepsClient));
  await offline(ann);
  await ann.rectangle(300, 160);
  await until("it is written down", async () => (await ann.unsent())[1] === 1);
  for (let n = 0; n < 3; n += 1) {
    const [{ x }] = await ann.scene();
    await ann.focusBoard();
    await ann.page.keyboard.press("Control+a");
    const loaded = ann.page.waitForEvent("load");
    await ann.page.evaluate(() => {
      addEventListener("pagehide", () => {
        IDBObjectStore.prototype.get = () => {
          throw new DOMException("The page has gone.", "InvalidStateError");
        };
      }, { capture: true });
      const key = { key: "ArrowRight", code: "ArrowRight", bubbles: true, cancelable: true };
      document.activeElement.dispatchEvent(new KeyboardEvent("keydown", key));
      location.reload();
    });
    await loaded;
    await ann.boardIsOpen();
    await until("it is where it was moved to", async () => (await ann.scene())[0]?.x > x);
    assert.deepEqual(await ann.unsent(), [0, 1], "of its versions the newest alone is kept");
  }
  await ann.context.setOffline(false);
  await ann.isConnected();
  await sameBoard(code, [ann], 1);
  await until("nothing is left", async () => (await ann.unsent()).join() === "0,0");
});

test("while nothing can be kept the page says so, and no longer", async () => {
  const { code } = await keeper.room();
  const ann = await browser.person(keeper, "Ann");
  await ann.enter(code);
  await offline(ann);
  await breakDatabases(ann);
  await loseDatabases(ann);
  await ann.page.getByText(TROUBLE).waitFor();
  await ann.say("one");
  await ann.rectangle(300, 160);
  await ann.page.getByText(TROUBLE).waitFor();
  await ann.page.evaluate(() => globalThis.mendDatabases());
  await ann.page.getByText(TROUBLE).waitFor({ state: "detached" });
  await until("all of it is written down", async () => (await ann.unsent()).join() === "1,1");
  await ann.context.setOffline(false);
  await sameBoard(code, [ann], 1);
  await sameChat(code, [ann], 1);
});

test("a browser without any storage says that nothing is kept, and everything else works", async () => {
  const { code } = await keeper.room();
  const ann = await browser.person(keeper, "Ann");
  await ann.context.addInitScript(() => {
    IDBFactory.prototype.open = () => {
      throw new DOMException("The operation is insecure.", "SecurityError");
    };
  });
  await ann.enter(code);
  await ann.page.getByText(TROUBLE).waitFor();
  await ann.say("still here");
  await ann.rectangle(300, 160);
  await sameBoard(code, [ann], 1);
  await sameChat(code, [ann], 1);
});

test("a database that takes no more says so, and what is made is sent all the same", async () => {
  const { code } = await keeper.room();
  const ann = await browser.person(keeper, "Ann");
  await ann.enter(code);
  await ann.page.evaluate(() => {
    IDBObjectStore.prototype.put = () => {
      throw new DOMException("The quota has been exceeded.", "QuotaExceededError");
    };
  });
  // It says so only until the message has arrived, since then nothing has to be kept.
  await ann.page.evaluate((trouble) => {
    globalThis.told = new Promise((resolve) => {
      const look = () => document.body.textContent.includes(trouble) && resolve();
      new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true });
    });
  }, TROUBLE);
  await ann.say("sent");
  await ann.page.evaluate(() => globalThis.told);
  await sameChat(code, [ann], 1);
});

test("half an emoji is replaced, and the message is sent", async () => {
  const { code } = await keeper.room();
  const ann = await browser.person(keeper, "Ann");
  await ann.enter(code);
  // A cut text, as a script or another program puts it into the field.
  await ann.composer.evaluate((field) => {
    const { set } = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value");
    set.call(field, "cut \ud83d");
    field.dispatchEvent(new Event("input", { bubbles: true }));
  });
  await ann.composer.press("Enter");
  await ann.say("and more");
  const stored = await sameChat(code, [ann], 2);
  assert.deepEqual(stored.map(({ message }) => message), ["cut \ufffd", "and more"]);
});

test("a message with half an emoji that an earlier visit wrote down is sent too", async () => {
  const { code } = await keeper.room();
  const ann = await browser.person(keeper, "Ann");
  await ann.enter(code);
  await offline(ann);
  await ann.say("before");
  await until("it is written down", async () => (await ann.unsent())[0] === 1);
  await ann.page.evaluate(async () => {
    const result = (request) => new Promise((resolve, reject) => {
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
    const database = await result(indexedDB.open("roomkeeper"));
    const store = database.transaction("messages", "readwrite").objectStore("messages");
    const [message] = await result(store.getAll());
    await result(store.put({ ...message, text: "cut \ud83d" }));
    database.close();
  });
  await ann.newPage();
  await ann.context.setOffline(false);
  await ann.enter(code);
  const stored = await sameChat(code, [ann], 1);
  assert.deepEqual(stored.map(({ message }) => message), ["cut \ufffd"]);
});

test("names with half an emoji are taken", async () => {
  const ann = await browser.person(keeper, undefined);
  await ann.visit();
  const half = (label, text) => ann.page.getByLabel(label).evaluate((field, value) => {
    const { set } = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value");
    set.call(field, value);
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }, text);
  await half("Name of the room", "Plan \ud83d");
  await half("Your name", "Ann \ud83d");
  await ann.page.getByRole("button", { name: "Create room" }).click();
  await ann.page.waitForURL(/\/r\/\d{6}$/);
  await ann.isConnected();
  const { name, createdBy } = await keeper.about(ann.page.url().slice(-6));
  assert.deepEqual([name, createdBy], ["Plan \ufffd", "Ann \ufffd"]);
});

test("a text on the board with half an emoji is stored, and shown as it is stored", async () => {
  const { code } = await keeper.room();
  const ann = await browser.person(keeper, "Ann");
  await ann.enter(code);
  const box = await ann.focusBoard();
  await ann.page.keyboard.press("t");
  await ann.page.mouse.click(box.x + 400, box.y + 300);
  await ann.page.keyboard.type("cut ");
  await ann.page.locator("textarea.excalidraw-wysiwyg").evaluate((field) => {
    field.value += "\ud83d";
    field.dispatchEvent(new Event("input", { bubbles: true }));
  });
  await ann.page.keyboard.press("Escape");
  await until("it is stored", async () => (await keeper.board(code))[0]?.text === "cut \ufffd");
  await sameBoard(code, [ann], 1);
  const [shown] = await ann.scene();
  assert.equal(shown.text, "cut \ufffd");
});

test("the Enter that ends a composition sends nothing, in Safari's order of events too", async () => {
  const { code } = await keeper.room();
  const ann = await browser.person(keeper, "Ann");
  await ann.enter(code);
  await ann.composer.fill("にほん");
  const wasTaken = await ann.composer.evaluate((field) => {
    field.dispatchEvent(new CompositionEvent("compositionstart", { bubbles: true }));
    field.dispatchEvent(new CompositionEvent("compositionend", { bubbles: true, data: "にほん" }));
    // Safari: the composition has ended, and the key still belongs to it.
    const enter = { key: "Enter", keyCode: 229, isComposing: false, bubbles: true, cancelable: true };
    return !field.dispatchEvent(new KeyboardEvent("keydown", enter));
  });
  assert.equal(wasTaken, false, "the Enter is left to the input method");
  await ann.composer.pressSequentially("ご");
  await ann.composer.press("Enter");
  const stored = await sameChat(code, [ann], 1);
  assert.deepEqual(stored.map(({ message }) => message), ["にほんご"]);
});

test("a request without an answer for five seconds has its connection replaced, from where it was", async () => {
  const { code } = await keeper.room();
  const link = await Link.to(keeper.gateway.port);
  const ann = await browser.person(keeper, "Ann");
  ann.origin = link.url;
  const bob = await browser.person(keeper, "Bob");
  await Promise.all([ann.enter(code), bob.enter(code)]);
  await bob.say("before");
  await ann.hears("before");
  ann.expectsNetworkErrors = true;
  link.silence();
  await bob.say("meanwhile");
  await bob.rectangle(300, 160);
  const silent = performance.now();
  await ann.say("hello?");
  await until("Bob reads it", async () => (await bob.texts()).includes("hello?"), 9000);
  assert.ok(performance.now() - silent > 4000, "a slow answer is waited for");
  await sameChat(code, [ann, bob], 3);
  await sameBoard(code, [ann, bob], 1);
  const [join] = (await ann.sent()).filter(({ event }) => event === "join").slice(-1);
  assert.ok(join.payload.after.revision > 0, "it joined with its position");
});

test("a drawing on a connection that has fallen silent arrives over a new one", async () => {
  const { code } = await keeper.room();
  const link = await Link.to(keeper.gateway.port);
  const ann = await browser.person(keeper, "Ann");
  ann.origin = link.url;
  await ann.enter(code);
  ann.expectsNetworkErrors = true;
  link.silence();
  await ann.rectangle(300, 160);
  await until("it is stored", async () => (await keeper.board(code)).length === 1, 9000);
});

test("after a sleep the page looks whether its connection still works", async () => {
  const { code } = await keeper.room();
  const link = await Link.to(keeper.gateway.port);
  const ann = await browser.person(keeper, "Ann");
  ann.origin = link.url;
  await ann.enter(code);
  ann.expectsNetworkErrors = true;
  link.silence();
  const bot = await keeper.joined(code, { username: "Bot" });
  await bot.say(code, "good morning");
  // The clock of the page moves on by a minute, as it does while a machine sleeps.
  await ann.page.evaluate(() => {
    const { now } = Date;
    Date.now = () => now() + 60_000;
  });
  await until("Ann reads it", async () => (await ann.texts()).includes("good morning"), 9000);
});
