// What a room is for, in one of the engines that people have. A test file for each engine runs
// this: chromium.test.mjs, firefox.test.mjs and webkit.test.mjs.

import assert from "node:assert/strict";
import { after, afterEach, test } from "node:test";

import { ENGINES } from "../harness/engines.mjs";
import { Link } from "../harness/link.mjs";
import { Roomkeeper } from "../harness/roomkeeper.mjs";
import { DEADLINE, until } from "../harness/until.mjs";
import { Visitor } from "../harness/visitor.mjs";

/** What engines write to a console when a connection fails, which these tests bring about. */
const NETWORK = /net::ERR_|WebSocket|establish a connection|was interrupted|Failed to load|NetworkError|Load failed|connection was lost|status of 5\d\d|intercepted the request/i;

/** Declares the tests of an engine. */
export async function journey(name) {
  if (!ENGINES[name].isInstalled()) {
    // On Linux, tests/scripts/setup.sh installs all three or says how that is done.
    test(name, { skip: process.platform !== "linux" && `${name} is not installed` }, () => assert.fail(`${name} is missing`));
    return;
  }
  const keeper = await Roomkeeper.start();
  let engine;
  const visitors = [];

  after(() => engine?.stop());

  afterEach(async () => {
    const complaints = [];
    for (const { page, name: who } of visitors.splice(0)) {
      const said = await page.complaints();
      complaints.push(...said.filter((text) => !NETWORK.test(text)).map((text) => `${who}: ${text}`));
      await page.close();
    }
    assert.deepEqual(complaints, []);
  });

  async function visitor(who) {
    engine ??= await ENGINES[name].start();
    const link = await Link.to(keeper.gateway.port);
    const one = new Visitor(await engine.open(), who, link.url);
    one.link = link;
    visitors.push(one);
    return one;
  }

  async function boardsAreEqual(code, people, count) {
    const stored = await until(`the server has ${count} elements`, async () => {
      const elements = await keeper.board(code);
      return elements.length === count && elements.map(({ id }) => id).sort();
    }, 2 * DEADLINE);
    for (const person of people) {
      await until(`${person.name} sees them`, async () => {
        assert.deepEqual(await person.board(), stored);
        return true;
      }, 2 * DEADLINE);
    }
  }

  test(`${name}: two people create, join by link, talk, draw, lose the network and the gateway, and save the board`, async () => {
    const ann = await visitor("Ann");
    await ann.visit("/");
    await ann.click("input[placeholder='Monday stand-up']");
    await ann.type("Plan");
    await ann.click("input[autocomplete=nickname]");
    await ann.type("Ann");
    await ann.click("button", "Create room");
    await ann.isIn();
    const code = (await ann.page.evaluate(() => location.pathname)).slice(-6);

    const bob = await visitor("Bob");
    await bob.join(code);
    await ann.finds("[aria-label='Who is here: 2']");
    await ann.say("hello Bob");
    await bob.hears("hello Bob");
    await bob.say("hello Ann");
    await ann.hears("hello Ann");

    await ann.rectangle(300, 160);
    await bob.rectangle(300, 300);
    await boardsAreEqual(code, [ann, bob], 2);

    // Without a network, a reload in between.
    await ann.keepsClient();
    ann.link.cut();
    await ann.finds(".connection[data-link=reconnecting], .connection[data-link=offline]");
    await ann.say("offline");
    await ann.rectangle(450, 160);
    await ann.hasWrittenDown(1, 1);
    await ann.page.reload();
    await ann.boardIsOpen();
    await ann.hears("offline");
    ann.link.restore();
    await ann.isConnected();
    await bob.hears("offline");
    await boardsAreEqual(code, [ann, bob], 3);

    // The gateway dies and comes back.
    await keeper.gateway.program.kill();
    await bob.finds(".connection[data-link=reconnecting], .connection[data-link=offline]");
    await bob.say("while it was away");
    await bob.rectangle(450, 300);
    keeper.gateway.program.start();
    await keeper.ready();
    await Promise.all([ann.isConnected(), bob.isConnected()]);
    await ann.hears("hello Bob", "hello Ann", "offline", "while it was away");
    await boardsAreEqual(code, [ann, bob], 4);
    const stored = (await keeper.messages(code)).map(({ message }) => message);
    assert.deepEqual(stored, ["hello Bob", "hello Ann", "offline", "while it was away"], "each once, in order");

    const png = await bob.saves("Save as PNG");
    assert.equal(png.name, "Plan.png");
    assert.match(Buffer.from(png.content, "base64").toString("latin1"), /^\x89PNG/);
    const svg = await bob.saves("Save as SVG");
    const text = Buffer.from(svg.content, "base64").toString();
    assert.match(text, /^<svg .*<\/svg>$/s);
    assert.doesNotMatch(text, /&(?!(?:amp|lt|gt|quot|apos|#\d+|#x[\da-f]+);)/i, "XML knows no other names");
  });

  test(`${name}: the Enter that ends a composition sends nothing`, async () => {
    const { code } = await keeper.room();
    const ann = await visitor("Ann");
    await ann.join(code);
    await ann.click("textarea[aria-label=Message]");
    await ann.type("half");
    // No driver composes characters, so the events come from the page: Safari's, in its order.
    const wasTaken = await ann.page.evaluate(() => {
      const field = document.querySelector("textarea[aria-label=Message]");
      field.dispatchEvent(new CompositionEvent("compositionstart", { bubbles: true }));
      field.dispatchEvent(new CompositionEvent("compositionend", { bubbles: true, data: "half" }));
      const enter = { key: "Enter", keyCode: 229, isComposing: false, bubbles: true, cancelable: true };
      return !field.dispatchEvent(new KeyboardEvent("keydown", enter));
    });
    assert.equal(wasTaken, false, "the Enter is left to the input method");
    await ann.type(" whole");
    await ann.press("\ue007");
    await until("it is sent", async () => (await keeper.messages(code)).length > 0);
    assert.deepEqual((await keeper.messages(code)).map(({ message }) => message), ["half whole"]);
  });

  test(`${name}: what is made offline is kept though the browser lost its database`, async () => {
    const { code } = await keeper.room();
    const ann = await visitor("Ann");
    await ann.join(code);
    await ann.keepsClient();
    ann.link.cut();
    await ann.finds(".connection[data-link=reconnecting], .connection[data-link=offline]");
    await ann.say("kept");
    await ann.rectangle(300, 160);
    await ann.hasWrittenDown(1, 1);
    await ann.page.evaluate(loseHandle);
    await ann.say("kept too");
    await ann.hasWrittenDown(2, 1);
    await ann.page.evaluate(() => new Promise((resolve, reject) => {
      const request = indexedDB.deleteDatabase("roomkeeper");
      request.onsuccess = () => resolve();
      request.onerror = () => reject(request.error);
    }));
    await ann.hasWrittenDown(2, 1);
    await ann.page.reload();
    await ann.boardIsOpen();
    await ann.hears("kept", "kept too");
    ann.link.restore();
    await ann.isConnected();
    await boardsAreEqual(code, [ann], 1);
    await until("both messages are sent", async () => (await keeper.messages(code)).length === 2);
    assert.deepEqual((await keeper.messages(code)).map(({ message }) => message), ["kept", "kept too"]);
  });

  test(`${name}: after a sleep the connection is replaced`, async () => {
    const { code } = await keeper.room();
    const ann = await visitor("Ann");
    await ann.join(code);
    ann.link.silence();
    const bot = await keeper.joined(code, { username: "Bot" });
    await bot.say(code, "good morning");
    await ann.page.evaluate(() => {
      const { now } = Date;
      Date.now = () => now() + 60_000;
    });
    await ann.hears("good morning");
  });
}

/**
 * Runs in a page: empties the database, and breaks the handle that the page uses next. WebKit
 * does that when it ends the process that holds the databases, and no driver can ask for it.
 */
async function loseHandle() {
  const { transaction } = IDBDatabase.prototype;
  const own = await new Promise((resolve, reject) => {
    const request = indexedDB.open("roomkeeper");
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  const stores = ["messages", "elements"];
  const emptying = transaction.call(own, stores, "readwrite");
  for (const store of stores) emptying.objectStore(store).clear();
  await new Promise((resolve) => {
    emptying.oncomplete = resolve;
  });
  own.close();
  let broken;
  IDBDatabase.prototype.transaction = function (...options) {
    broken ??= this;
    if (this !== broken) return transaction.apply(this, options);
    throw new DOMException("Connection to Indexed Database server lost. Refresh the page to try again", "UnknownError");
  };
}
