// Three engines behind one interface: Chromium, Firefox and WebKit.
//
// Each engine opens pages, each page with a storage of its own. A page can `goto` an address,
// `reload`, `evaluate` a function in the page, and `perform` actions of mouse and keyboard as
// WebDriver describes them. `complaints` are what its console and its errors said.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { chromium } from "playwright-core";
import { WebSocket } from "ws";

import { EXECUTABLES } from "./browser.mjs";
import { freePort } from "./ports.mjs";
import { temporaryFolder } from "./program.mjs";
import { until, within } from "./until.mjs";

const FIREFOX = ["/usr/bin/firefox-esr", "/usr/bin/firefox", "/Applications/Firefox.app/Contents/MacOS/firefox"];
const WEBKIT_DRIVER = ["/usr/bin/WebKitWebDriver"];

/** How long a command to an engine may take, in milliseconds. */
const PATIENCE = 30_000;

const SIZE = { width: 1280, height: 800 };

/** The engines by name; `start` resolves with one that can `open` pages and `stop`. */
export const ENGINES = {
  Chromium: { isInstalled: () => found(EXECUTABLES) !== undefined, start: () => Chromium.start() },
  Firefox: { isInstalled: () => found(FIREFOX) !== undefined, start: () => Firefox.start() },
  WebKit: { isInstalled: () => found(WEBKIT_DRIVER) !== undefined, start: () => WebKit.start() },
};

function found(paths) {
  return paths.find((path) => path && existsSync(path));
}

/** The text of a program that calls a function with values and resolves with JSON. */
function call(run, values) {
  return `(async () => JSON.stringify(await (${run})(...${JSON.stringify(values)})) ?? "null")()`;
}

/** Collects what goes wrong in a page whose console cannot be read from outside. */
function listen() {
  if (globalThis.wentWrong) return;
  globalThis.wentWrong = [];
  const say = (text) => globalThis.wentWrong.push(String(text));
  addEventListener("error", ({ message }) => say(message));
  addEventListener("unhandledrejection", ({ reason }) => say(`unhandled: ${reason?.stack ?? reason}`));
  addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) => say(`${violatedDirective} ${blockedURI}`));
  const { error } = console;
  console.error = (...values) => {
    say(values.join(" "));
    error.apply(console, values);
  };
}

// Processes.

const groups = new Set();

/** A program in a process group of its own, with which all that it starts ends. */
class Group {
  log = "";

  constructor(command, args, env) {
    const child = spawn(command, args, { detached: true, env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] });
    this.pid = child.pid;
    groups.add(this);
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8");
      stream.on("data", (text) => {
        this.log = (this.log + text).slice(-100_000);
      });
    }
    this.ended = new Promise((resolve) => {
      child.once("error", (error) => {
        this.log += error.message;
        groups.delete(this);
        resolve();
      });
      child.once("exit", () => {
        // What it has started may hold its outputs open.
        for (const stream of [child.stdout, child.stderr]) stream.destroy();
        resolve();
      });
    });
  }

  /** Resolves with what the pattern finds in its output. */
  says(pattern) {
    return until(`${pattern} is said\n${this.log.slice(-1000)}`, () => pattern.exec(this.log), PATIENCE);
  }

  async end() {
    this.kill();
    await within(() => "an engine ends", this.ended, PATIENCE);
  }

  kill() {
    if (!groups.delete(this)) return;
    try {
      process.kill(-this.pid, "SIGKILL");
    } catch (error) {
      // All of it has ended by itself.
      if (error.code !== "ESRCH") throw error;
    }
  }
}

process.on("exit", () => {
  for (const group of groups) group.kill();
});

// Chromium, by Playwright.

class Chromium {
  static async start() {
    const engine = new Chromium();
    engine.browser = await chromium.launch({
      executablePath: found(EXECUTABLES),
      args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"],
    });
    return engine;
  }

  async open() {
    const context = await this.browser.newContext({ viewport: SIZE, reducedMotion: "reduce" });
    return new ChromiumPage(context, await context.newPage());
  }

  async stop() {
    await this.browser.close();
  }
}

class ChromiumPage {
  #complaints = [];

  constructor(context, page) {
    this.context = context;
    this.page = page;
    page.on("pageerror", (error) => this.#complaints.push(error.stack));
    page.on("console", (message) => {
      if (message.type() === "error") this.#complaints.push(message.text());
    });
  }

  async goto(url) {
    await this.page.goto(url);
  }

  async reload() {
    await this.page.reload();
  }

  async evaluate(run, ...values) {
    return JSON.parse(await this.page.evaluate(call(run, values)));
  }

  async perform(sources) {
    const { mouse, keyboard } = this.page;
    const key = (value) => ({ "\ue007": "Enter", "\ue00c": "Escape" })[value] ?? value;
    const does = {
      pointerMove: ({ x, y }) => mouse.move(x, y),
      pointerDown: () => mouse.down(),
      pointerUp: () => mouse.up(),
      keyDown: ({ value }) => keyboard.down(key(value)),
      keyUp: ({ value }) => keyboard.up(key(value)),
    };
    for (const { actions } of sources) {
      for (const action of actions) await does[action.type](action);
    }
  }

  async complaints() {
    return this.#complaints;
  }

  async close() {
    await this.context.close();
  }
}

// Firefox, by WebDriver BiDi.

class Firefox {
  #asked = new Map();
  #listeners = new Map();
  #last = 0;

  static async start() {
    const engine = new Firefox();
    const profile = temporaryFolder();
    const preferences = {
      "app.update.enabled": false,
      "browser.shell.checkDefaultBrowser": false,
      "browser.startup.page": 0,
      "datareporting.policy.dataSubmissionEnabled": false,
      "dom.ipc.processPrelaunch.enabled": false,
      "network.captive-portal-service.enabled": false,
      "network.connectivity-service.enabled": false,
      "services.settings.server": "data:,",
      "toolkit.telemetry.enabled": false,
      "ui.prefersReducedMotion": 1,
    };
    const lines = Object.entries(preferences).map(([name, value]) => `user_pref("${name}", ${JSON.stringify(value)});`);
    writeFileSync(join(profile, "user.js"), lines.join("\n"));
    engine.program = new Group(
      found(FIREFOX),
      ["--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", String(await freePort()),
        "--width", String(SIZE.width), "--height", String(SIZE.height)],
      { HOME: profile, MOZ_DISABLE_CONTENT_SANDBOX: "1" },
    );
    const [, address] = await engine.program.says(/WebDriver BiDi listening on (ws:\S+)/);
    engine.socket = new WebSocket(`${address}/session`);
    engine.socket.on("message", (data) => engine.#receive(JSON.parse(data)));
    await new Promise((resolve, reject) => engine.socket.once("open", resolve).once("error", reject));
    await engine.ask("session.new", { capabilities: {} });
    await engine.ask("session.subscribe", { events: ["log.entryAdded"] });
    return engine;
  }

  #receive({ id, type, method, params, result, error, message }) {
    if (type === "event") {
      this.#listeners.get(params.source?.context)?.(method, params);
      return;
    }
    const { resolve, reject } = this.#asked.get(id) ?? {};
    this.#asked.delete(id);
    if (type === "success") resolve?.(result);
    else reject?.(new Error(`${error}: ${message}`));
  }

  ask(method, params) {
    this.#last += 1;
    const id = this.#last;
    const answer = new Promise((resolve, reject) => this.#asked.set(id, { resolve, reject }));
    this.socket.send(JSON.stringify({ id, method, params }));
    return within(() => `Firefox answers ${method}`, answer, PATIENCE);
  }

  /** A window of its own: a tab behind another one is not painted. */
  async open() {
    const { userContext } = await this.ask("browser.createUserContext", {});
    const { context } = await this.ask("browsingContext.create", { type: "window", userContext });
    await this.ask("browsingContext.setViewport", { context, viewport: SIZE });
    const page = new FirefoxPage(this, context, userContext);
    this.#listeners.set(context, (method, params) => page.happened(method, params));
    return page;
  }

  async stop() {
    this.socket.terminate();
    await this.program.end();
  }
}

class FirefoxPage {
  #complaints = [];

  constructor(engine, context, userContext) {
    this.engine = engine;
    this.context = context;
    this.userContext = userContext;
  }

  happened(method, { level, text }) {
    if (method === "log.entryAdded" && level === "error") this.#complaints.push(text);
  }

  async goto(url) {
    await this.engine.ask("browsingContext.navigate", { context: this.context, url, wait: "complete" });
  }

  async reload() {
    await this.engine.ask("browsingContext.reload", { context: this.context, wait: "complete" });
  }

  async evaluate(run, ...values) {
    const { result, exceptionDetails } = await this.engine.ask("script.evaluate", {
      expression: call(run, values), target: { context: this.context }, awaitPromise: true,
    });
    assert.equal(exceptionDetails, undefined, exceptionDetails?.text);
    return JSON.parse(result.value);
  }

  async perform(actions) {
    await this.engine.ask("input.performActions", { context: this.context, actions });
  }

  async complaints() {
    return this.#complaints;
  }

  async close() {
    await this.engine.ask("browser.removeUserContext", { userContext: this.userContext });
  }
}

// WebKit, by WebDriver, on a display of its own.

class WebKit {
  static async start() {
    const engine = new WebKit();
    engine.display = new Group("Xvfb", ["-displayfd", "1", "-screen", "0", "1400x1000x24", "-nolisten", "tcp"], {});
    const [, number] = await engine.display.says(/^(\d+)$/m);
    engine.env = {
      DISPLAY: `:${number}`,
      GDK_BACKEND: "x11",
      LIBGL_ALWAYS_SOFTWARE: "1",
      WEBKIT_DISABLE_COMPOSITING_MODE: "1",
      // Its sandbox needs a user who is not root.
      ...(process.getuid() === 0 && { WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS: "1" }),
    };
    return engine;
  }

  /** A browser and a driver of its own, since a driver serves one session. */
  async open() {
    const port = await freePort();
    const folder = temporaryFolder();
    const driver = new Group(found(WEBKIT_DRIVER), [`--port=${port}`, "--host=127.0.0.1"], {
      ...this.env, HOME: folder, XDG_RUNTIME_DIR: folder, XDG_CACHE_HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder,
    });
    const page = new WebKitPage(driver, port);
    await page.begin();
    return page;
  }

  async stop() {
    await this.display.end();
  }
}

class WebKitPage {
  constructor(driver, port) {
    this.driver = driver;
    this.url = `http://127.0.0.1:${port}`;
  }

  async begin() {
    await until("the driver of WebKit listens", async () => (await fetch(`${this.url}/status`)).ok, PATIENCE);
    const { sessionId } = await this.#ask("POST", "/session", { capabilities: { alwaysMatch: {} } });
    this.url += `/session/${sessionId}`;
    await this.#ask("POST", "/timeouts", { script: PATIENCE, pageLoad: PATIENCE, implicit: 0 });
    await this.#ask("POST", "/window/rect", { x: 0, y: 0, width: SIZE.width, height: SIZE.height + 100 });
  }

  async #ask(method, path, body) {
    const response = await fetch(`${this.url}${path}`, {
      method, signal: AbortSignal.timeout(PATIENCE), ...(body && { body: JSON.stringify(body) }),
    });
    const { value } = await response.json();
    if (!response.ok) throw new Error(`${path}: ${value.error}: ${value.message}`);
    return value;
  }

  async goto(url) {
    await this.#ask("POST", "/url", { url });
    await this.evaluate(String(listen));
  }

  async reload() {
    await this.#ask("POST", "/refresh", {});
    await this.evaluate(String(listen));
  }

  async evaluate(run, ...values) {
    const script = `const done = arguments[0];
      ${call(run, values)}.then((json) => done({ json }), (error) => done({ problem: String(error?.stack ?? error) }));`;
    const { json, problem } = await this.#ask("POST", "/execute/async", { script, args: [] });
    assert.equal(problem, undefined, problem);
    return JSON.parse(json);
  }

  async perform(actions) {
    await this.#ask("POST", "/actions", { actions });
  }

  async complaints() {
    return this.evaluate(() => globalThis.wentWrong ?? []);
  }

  async close() {
    await this.#ask("DELETE", "").catch(() => {
      // The session has ended with its browser; the group below ends the rest.
    });
    await this.driver.end();
  }
}
