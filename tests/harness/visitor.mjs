// Somebody at a page of any engine, who uses the web client by mouse and keyboard.

import { countUnsent, keepsClient } from "./browser.mjs";
import { until } from "./until.mjs";

/** How long a step may take: three engines share a machine with other tests. */
const PATIENCE = 30_000;

const ENTER = "\ue007";

export class Visitor {
  constructor(page, name, origin) {
    this.page = page;
    this.name = name;
    this.origin = origin;
  }

  async visit(path) {
    await this.page.goto(`${this.origin}${path}`);
  }

  /** Opens a room by its link, with a name that the room asks for. */
  async join(code) {
    await this.visit(`/r/${code}`);
    await this.click("input[autocomplete=nickname]");
    await this.type(this.name);
    await this.press(ENTER);
    await this.isIn();
  }

  /** Resolves when the room can be talked and drawn in. */
  async isIn() {
    await this.isConnected();
    await this.boardIsOpen();
  }

  isConnected() {
    return this.finds(".connection[data-link=connected]");
  }

  async boardIsOpen() {
    await this.finds("canvas.interactive");
    await this.finds("[data-testid=main-menu-trigger]");
  }

  // What is on the page.

  /** Resolves when the page has an element for the selector, with this text if one is given. */
  finds(selector, text = "") {
    return until(
      `${this.name} finds ${selector} ${text}`,
      () => this.page.evaluate(boxOf, selector, text),
      PATIENCE,
    );
  }

  reads(text) {
    return until(
      `${this.name} reads "${text}"`,
      () => this.page.evaluate((wanted) => document.body.innerText.includes(wanted), text),
      PATIENCE,
    );
  }

  texts() {
    return this.page.evaluate(() => [...document.querySelectorAll(".message")].map(({ textContent }) => textContent));
  }

  async hears(...texts) {
    await until(`${this.name} sees ${texts}`, async () => {
      const shown = await this.texts();
      return texts.every((text) => shown.includes(text));
    }, PATIENCE);
  }

  // What a person does.

  async click(selector, text = "") {
    const { x, y, width, height } = await this.finds(selector, text);
    await this.clickAt(x + width / 2, y + height / 2);
  }

  async clickAt(x, y) {
    await this.#mouse(
      { type: "pointerMove", x: Math.round(x), y: Math.round(y), duration: 0 },
      { type: "pointerDown", button: 0 },
      { type: "pointerUp", button: 0 },
    );
  }

  async type(text) {
    for (const key of text) await this.press(key);
  }

  async press(value) {
    const actions = [{ type: "keyDown", value }, { type: "keyUp", value }];
    await this.page.perform([{ type: "key", id: "keyboard", actions }]);
  }

  async say(text) {
    await this.click("textarea[aria-label=Message]");
    await this.type(text);
    await this.press(ENTER);
  }

  /** Draws a rectangle by mouse, from a point of the board on. */
  async rectangle(x, y, width = 80, height = 60) {
    const box = await this.finds("canvas.interactive");
    await this.clickAt(box.x + box.width - 20, box.y + box.height / 2);
    await until("the tool is chosen", async () => {
      await this.press("r");
      return this.page.evaluate(() => document.querySelector("[data-testid=toolbar-rectangle]").checked);
    }, PATIENCE);
    const at = (dx, dy) => ({ type: "pointerMove", x: Math.round(box.x + x + dx), y: Math.round(box.y + y + dy), duration: 20 });
    await this.#mouse(
      at(0, 0), { type: "pointerDown", button: 0 }, at(width / 2, height / 2), at(width, height), { type: "pointerUp", button: 0 },
    );
  }

  #mouse(...actions) {
    return this.page.perform([{ type: "pointer", id: "mouse", parameters: { pointerType: "mouse" }, actions }]);
  }

  /** What an item of the board's menu saves: the file's name and its content, in Base64. */
  async saves(item) {
    // Engines ask where to put a file in ways of their own, so the page's own link is looked at.
    await this.page.evaluate(() => {
      const { createObjectURL } = URL;
      URL.createObjectURL = (blob) => {
        globalThis.savedBlob = blob;
        return createObjectURL(blob);
      };
      const { click } = HTMLAnchorElement.prototype;
      HTMLAnchorElement.prototype.click = function () {
        if (!this.download) return click.call(this);
        globalThis.savedName = this.download;
        return undefined;
      };
      globalThis.savedName = undefined;
    });
    await this.click("[data-testid=main-menu-trigger]");
    await this.click(".dropdown-menu-item", item);
    return until(`${item} saves a file`, () => this.page.evaluate(async () => {
      if (!globalThis.savedName) return undefined;
      const bytes = new Uint8Array(await globalThis.savedBlob.arrayBuffer());
      const letters = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
      const name = globalThis.savedName;
      globalThis.savedName = undefined;
      return { name, content: btoa(letters) };
    }), PATIENCE);
  }

  /** The ids of the elements that the board holds, as the person would save them. */
  async board() {
    const { content } = await this.saves("Save as .excalidraw");
    return JSON.parse(Buffer.from(content, "base64")).elements.map(({ id }) => id).sort();
  }

  keepsClient() {
    return until("the browser keeps the client", () => this.page.evaluate(keepsClient), PATIENCE);
  }

  async hasWrittenDown(...counts) {
    await until(`${counts} are written down`, async () =>
      String(await this.page.evaluate(countUnsent)) === String(counts), PATIENCE);
  }
}

/** Runs in the page: where the first element is that the selector finds and that holds the text. */
function boxOf(selector, text) {
  const element = [...document.querySelectorAll(selector)].find(({ textContent }) => textContent.includes(text));
  if (!element) return undefined;
  element.scrollIntoView({ block: "nearest" });
  const { x, y, width, height } = element.getBoundingClientRect();
  return width > 0 && height > 0 ? { x, y, width, height } : undefined;
}
