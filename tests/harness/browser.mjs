// Debian's Chromium, and people who use the web client in it.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { after, afterEach } from "node:test";

import { chromium } from "playwright-core";

import { temporaryFolder } from "./program.mjs";
import { DEADLINE, until } from "./until.mjs";

/** Where a Chromium may be: the same places in which scripts/setup.sh looks. */
export const EXECUTABLES = [
  process.env.CHROMIUM,
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];

// What Chromium itself writes to the console when a request fails. A test that cuts the
// network or stops the gateway expects it.
const NETWORK = /net::ERR_|WebSocket connection to|status of 5\d\d/;

/**
 * Runs in each page. A page whose person has done nothing on the board since it was settled
 * last, and that sends a change all the same, says so on its console, which fails the test.
 */
function watchForIdleWrites() {
  const ACTED = "test.acted";
  const acts = ["pointerdown", "keydown", "paste", "cut", "drop", "input", "change"];
  const act = ({ target }) => {
    const element = target instanceof Element ? target : document.documentElement;
    // Neither the chat nor a menu changes the board; a file that is chosen does.
    if (element.closest(".chat-part, .room-bar, .dropdown-menu, [data-testid=main-menu-trigger]")) return;
    localStorage.setItem(ACTED, "yes");
  };
  for (const name of acts) addEventListener(name, act, { capture: true });
  globalThis.settled = () => localStorage.removeItem(ACTED);
  globalThis.changesSent = 0;
  globalThis.watchSent = (data) => {
    if (typeof data !== "string" || !/^42\d*\["whiteboard-change"/.test(data)) return;
    globalThis.changesSent += 1;
    if (localStorage.getItem(ACTED) === null) console.error(`an idle page sent a change: ${data.slice(0, 2000)}`);
  };
  addEventListener("unhandledrejection", ({ reason }) => {
    console.error(`unhandled rejection: ${reason?.stack ?? reason}`);
  });
}

/** Runs in each page: frames can be given to it that no server sends. */
function takeFrames() {
  const property = Object.getOwnPropertyDescriptor(WebSocket.prototype, "onmessage");
  const STATE = '42["whiteboard:state",';
  Object.defineProperty(WebSocket.prototype, "onmessage", {
    ...property,
    set(handler) {
      globalThis.receive = (data) => handler(new MessageEvent("message", { data }));
      property.set.call(this, (event) => {
        if (!globalThis.addedToState || !event.data.startsWith?.(STATE)) return handler(event);
        const [name, board] = JSON.parse(event.data.slice(2));
        board.elements.push(...globalThis.addedToState);
        globalThis.receive(`42${JSON.stringify([name, board])}`);
      });
    },
  });
}

/** One Chromium; each person in it has a context, that is a profile, of their own. */
export class Browser {
  #people = [];

  static async start() {
    const executablePath = EXECUTABLES.find((path) => path && existsSync(path));
    assert.ok(executablePath, "Chromium is missing: install it, or set CHROMIUM");
    const browser = new Browser();
    browser.chromium = await chromium.launch({
      executablePath,
      args: [
        "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
      ],
    });
    afterEach(() => browser.dismiss());
    after(() => browser.chromium.close());
    return browser;
  }

  /** Somebody with a browser of their own; without a `name` they have none yet. */
  async person(keeper, name, options = {}) {
    const person = new Person(keeper, name);
    await person.open(this.chromium, options);
    this.#people.push(person);
    return person;
  }

  /**
   * Closes what people have open, and fails where a console or a policy complained, or where
   * a page goes on to send changes although nobody does anything any more.
   */
  async dismiss() {
    const people = this.#people.splice(0);
    const complaints = await restless(people);
    complaints.push(...people.flatMap((person) => person.complaints()));
    await Promise.all(people.map(({ context }) => context.close()));
    assert.deepEqual(complaints, []);
  }
}

/** So long a page that nobody uses is watched: longer than any of its timers for changes waits. */
const QUIET = 400;

/** Waits until no page sends changes, watches them idle, and answers what is wrong. */
async function restless(people) {
  const open = people.filter((person) => person.isOpen());
  const counts = async () => (await Promise.all(open.map((person) => person.changesSent()))).join();
  const complaints = [];
  let before = await counts();
  try {
    await until("no page sends a change any more", async () => {
      await new Promise((resolve) => setTimeout(resolve, QUIET));
      const now = await counts();
      const isQuiet = now === before;
      before = now;
      return isQuiet;
    });
    await Promise.all(open.map((person) => person.settled()));
    await new Promise((resolve) => setTimeout(resolve, QUIET));
  } catch (error) {
    complaints.push(error.message);
  }
  return complaints;
}

/** One person, at one page at a time. */
export class Person {
  #complaints = [];

  /** The network fails on purpose while this holds. */
  expectsNetworkErrors = false;

  /** What else a console may say in a test. */
  expected = [];

  /** Every response: `{url, bytes}` as they came over the wire. */
  responses = [];

  constructor(keeper, name) {
    this.keeper = keeper;
    this.name = name;
    this.origin = keeper.gateway.url;
  }

  async open(browser, options) {
    if (options.context) {
      // Another tab of somebody's browser.
      this.context = options.context;
      return this.newPage();
    }
    this.context = await browser.newContext({
      viewport: { width: 1280, height: 800 },
      reducedMotion: "reduce",
      acceptDownloads: true,
      ...options,
    });
    this.context.setDefaultTimeout(DEADLINE);
    await this.context.addInitScript(watchForIdleWrites);
    await this.context.addInitScript(takeFrames);
    await this.context.addInitScript((name) => {
      if (name && !localStorage.getItem("roomkeeper.username")) {
        localStorage.setItem("roomkeeper.username", name);
      }
      // Looked at by `sent`. In the page, since here a busy machine would blur the times.
      globalThis.framesSent = [];
      const { send } = WebSocket.prototype;
      WebSocket.prototype.send = function (data) {
        globalThis.framesSent.push({ at: performance.now(), data });
        globalThis.watchSent(data);
        return send.call(this, data);
      };
      addEventListener("securitypolicyviolation", (violation) => {
        console.error(`policy: ${violation.violatedDirective} ${violation.blockedURI} ${violation.sourceFile}`);
      });
    }, this.name ?? "");
    return this.newPage();
  }

  async newPage() {
    await this.page?.close();
    this.page = await this.context.newPage();
    const complain = (text) => this.#complaints.push(`${this.name}: ${text}`);
    this.page.on("console", (message) => {
      const text = `${message.text()} ${message.location().url}`;
      if (message.type() !== "error") return;
      if (this.expectsNetworkErrors && NETWORK.test(text)) return;
      if (this.expected.some((pattern) => pattern.test(text))) return;
      complain(text);
    });
    this.page.on("pageerror", (error) => complain(error.stack));
    this.page.on("dialog", (dialog) => {
      complain(`a dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    this.page.on("request", (request) => {
      const url = new URL(request.url());
      if (["data:", "blob:"].includes(url.protocol)) return;
      if (url.origin !== this.origin && url.origin !== this.origin.replace("http", "ws")) {
        complain(`a request to another origin: ${url}`);
      }
    });
    this.page.on("websocket", (socket) => {
      if (new URL(socket.url()).host !== new URL(this.origin).host) complain(`a socket to ${socket.url()}`);
    });
    this.page.on("requestfinished", async (request) => {
      const sizes = await request.sizes().catch(() => undefined);
      if (sizes) {
        this.responses.push({
          url: request.url(),
          bytes: sizes.responseBodySize + sizes.responseHeadersSize,
        });
      }
    });
  }

  complaints() {
    return this.#complaints;
  }

  isOpen() {
    return !this.page.isClosed() && this.page.url().startsWith(this.origin);
  }

  /** How many changes this page has sent since it was loaded; none where it has gone. */
  changesSent() {
    return this.page.evaluate(() => globalThis.changesSent).catch(() => 0);
  }

  /** From now on this person does nothing, until they do: a change that is sent meanwhile is not theirs. */
  settled() {
    return this.page.evaluate(() => globalThis.settled()).catch(() => undefined);
  }

  // Pages.

  async visit(path = "/") {
    await this.page.goto(`${this.origin}${path}`);
  }

  /** What the page looks like, once its fonts are there and what was to be painted is painted. */
  async picture(path) {
    await this.page.evaluate(async () => {
      await document.fonts.ready;
      for (let n = 0; n < 3; n += 1) await new Promise(requestAnimationFrame);
    });
    await this.page.screenshot({ path });
  }

  /** Opens a room and waits until it can be talked and drawn in. */
  async enter(code) {
    await this.visit(`/r/${code}`);
    await this.isConnected();
    await this.boardIsOpen();
  }

  isConnected() {
    return this.page.getByText("connected", { exact: true }).waitFor({ state: "attached" });
  }

  /** The board is there, and what is drawn on it is sent. */
  async boardIsOpen() {
    await this.page.locator("canvas.interactive").waitFor();
    await this.page.getByTestId("main-menu-trigger").waitFor();
  }

  // Chat.

  get composer() {
    return this.page.getByRole("textbox", { name: "Message" });
  }

  async say(text) {
    await this.composer.fill(text);
    await this.composer.press("Enter");
  }

  /** The messages that are shown, drafts among them. */
  texts() {
    return this.page.locator(".message").allTextContents();
  }

  async hears(...texts) {
    await until(`${this.name} sees ${texts.join(", ")}`, async () => {
      const shown = await this.texts();
      return texts.every((text) => shown.includes(text));
    });
  }

  /** The events that this page has sent over a WebSocket, `{at, event, payload}`, since it was asked last. */
  async sent() {
    const frames = await this.page.evaluate(() => globalThis.framesSent.splice(0));
    return frames.flatMap(({ at, data }) => {
      const packet = /^42\d*(\[.*)$/s.exec(data);
      if (!packet) return [];
      const [event, payload] = JSON.parse(packet[1]);
      return [{ at, event, payload }];
    });
  }

  /** Gives the page elements as an update that no server sends. */
  receives(code, elements) {
    const data = `42${JSON.stringify(["whiteboard-update", { roomId: code, elements }])}`;
    return this.page.evaluate((frame) => globalThis.receive(frame), data);
  }

  /** From the next page on, the board that a server sends after a join holds these elements too. */
  findsOnTheBoard(elements) {
    return this.context.addInitScript((added) => {
      globalThis.addedToState = added;
    }, elements);
  }

  /** How many messages and elements the browser has written down as not sent. */
  unsent() {
    return this.page.evaluate(countUnsent);
  }

  /** Says in the page that it is, or is no longer, behind another tab of the browser. */
  hide(isHidden) {
    return this.page.evaluate((state) => {
      Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }, isHidden ? "hidden" : "visible");
  }

  // Board.

  async focusBoard() {
    const box = await this.page.locator("canvas.interactive").boundingBox();
    await this.page.mouse.click(box.x + box.width - 20, box.y + box.height / 2);
    return box;
  }

  /** Draws by mouse with the tool of a key, through points from the board's corner. */
  async draw(key, points, steps = 3) {
    const box = await this.focusBoard();
    await this.page.keyboard.press(key);
    const [[x, y], ...others] = points;
    await this.page.mouse.move(box.x + x, box.y + y);
    await this.page.mouse.down();
    for (const [to, down] of others) {
      await this.page.mouse.move(box.x + to, box.y + down, { steps });
    }
    await this.page.mouse.up();
    await this.page.keyboard.press("v");
  }

  rectangle(x, y, width = 60, height = 40) {
    return this.draw("r", [[x, y], [x + width / 2, y + height / 2], [x + width, y + height]]);
  }

  scribble(x, y, size = 60) {
    const points = Array.from({ length: 8 }, (_, n) => [x + (n * size) / 8, y + (n % 2) * 20]);
    return this.draw("p", points);
  }

  /** Pastes a text where the mouse is, as from the clipboard. */
  async paste(text) {
    const box = await this.focusBoard();
    await this.page.mouse.move(box.x + 400, box.y + 400);
    await this.page.evaluate((pasted) => {
      const clipboardData = new DataTransfer();
      clipboardData.setData("text/plain", pasted);
      const target = document.querySelector(".excalidraw-container") ?? document.body;
      target.dispatchEvent(new ClipboardEvent("paste", { bubbles: true, cancelable: true, clipboardData }));
    }, text);
  }

  /** What a part of the board looks like. */
  async glimpse(x, y, width = 120, height = 120) {
    const box = await this.page.locator("canvas.interactive").boundingBox();
    const bytes = await this.page.screenshot({ clip: { x: box.x + x, y: box.y + y, width, height } });
    return bytes.toString("base64");
  }

  /** Chooses an item of the board's own menu. */
  async boardMenu(item) {
    await this.page.getByTestId("main-menu-trigger").click();
    await this.page.getByText(item, { exact: true }).click();
  }

  /** The scene as the person would save it. */
  async scene() {
    const { elements } = JSON.parse(await this.saved(() => this.boardMenu("Save as .excalidraw")));
    return elements;
  }

  /** The chat as the person would save it. */
  async transcript() {
    return JSON.parse(await this.saved(() => this.roomMenu("Save chat as JSON"))).messages;
  }

  async roomMenu(item) {
    await this.page.getByRole("button", { name: "Room menu" }).click();
    await this.page.getByRole("button", { name: item, exact: true }).click();
  }

  /** The content of the file that an action saves. */
  async saved(action) {
    const [download] = await Promise.all([this.page.waitForEvent("download"), action()]);
    const path = `${temporaryFolder()}/saved`;
    await download.saveAs(path);
    return readFile(path, "utf8");
  }
}

/** Runs in a page: how many messages and elements its browser has written down as not sent. */
export async function countUnsent() {
  const result = (request) => new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    // The page makes the stores; a database that is made here would have none.
    request.onupgradeneeded = () => request.transaction.abort();
  });
  const database = await result(indexedDB.open("roomkeeper"));
  const transaction = database.transaction(["messages", "elements"]);
  const counts = ["messages", "elements"].map((store) => result(transaction.objectStore(store).count()));
  return Promise.all(counts).finally(() => database.close());
}

/** Runs in a page: whether its browser keeps the client, so that it opens without a network. */
export async function keepsClient() {
  const loaded = performance.getEntriesByType("resource").map(({ name }) => new URL(name).pathname);
  const files = ["/", ...loaded.filter((path) => /^\/(?:assets|excalidraw)\//.test(path))];
  const cache = await caches.open("roomkeeper");
  const kept = await Promise.all(files.map((path) => cache.match(path)));
  return kept.every((response) => response !== undefined);
}

/** What tells two boards apart: every element, and its version. */
export function board(elements) {
  return elements
    .filter(({ isDeleted }) => !isDeleted)
    .map(({ id, type, version, versionNonce }) => `${id} ${type} ${version} ${versionNonce}`)
    .sort();
}

/** The boards of scenes in every field, and in their order. */
export function inFull(elements) {
  return elements
    .filter(({ isDeleted }) => !isDeleted)
    .map((element) => JSON.stringify(Object.entries(element).sort()));
}

/** Resolves when all of them show the board that the server keeps, with so many elements. */
export async function sameBoard(code, people, count) {
  const [{ keeper }] = people;
  return until(`all boards are equal and hold ${count}`, async () => {
    const stored = board(await keeper.board(code));
    assert.equal(stored.length, count, `the server has ${stored.length}`);
    const scenes = [];
    for (const person of people) scenes.push(await person.scene());
    for (const [n, person] of people.entries()) assert.deepEqual(board(scenes[n]), stored, person.name);
    // What has one version has one content.
    for (const scene of scenes.slice(1)) assert.deepEqual(inFull(scene), inFull(scenes[0]));
    await Promise.all(people.map((person) => person.settled()));
    return stored;
  }, 30_000);
}

/** Resolves when all of them show the messages that the server keeps. */
export async function sameChat(code, people, count) {
  const [{ keeper }] = people;
  return until(`all chats are equal and hold ${count}`, async () => {
    const stored = (await keeper.messages(code)).map(({ id, message }) => ({ id, message }));
    assert.equal(stored.length, count, `the server has ${stored.length}`);
    for (const person of people) {
      const shown = (await person.transcript()).map(({ id, message }) => ({ id, message }));
      assert.deepEqual(shown, stored, person.name);
    }
    return stored;
  }, 30_000);
}
