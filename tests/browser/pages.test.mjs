// The pages themselves: their weight, their policy, their use without a mouse.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import http from "node:http";
import { createRequire } from "node:module";
import { connect } from "node:net";
import { test } from "node:test";

import { Browser } from "../harness/browser.mjs";
import { freePort } from "../harness/ports.mjs";
import { Roomkeeper } from "../harness/roomkeeper.mjs";
import { until } from "../harness/until.mjs";

const keeper = await Roomkeeper.start();
const browser = await Browser.start();
const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

/** The serious violations of the accessibility rules on a page as it is. */
async function violations(page) {
  const source = await readFile(AXE, "utf8");
  // Evaluated by the debugger, which the page's policy does not concern.
  await page.evaluate(source);
  const { violations: found } = await page.evaluate(() => globalThis.axe.run(document, {
    resultTypes: ["violations"],
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"],
  }));
  return found
    .filter(({ impact }) => ["serious", "critical"].includes(impact))
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target.join(" ")).join(", ")}`);
}

const weight = (person) => person.responses.reduce((sum, { bytes }) => sum + bytes, 0);

test("the rooms page works without loading Excalidraw", async () => {
  const ann = await browser.person(keeper, "Ann", { serviceWorkers: "block" });
  await ann.visit();
  await ann.page.getByRole("button", { name: "Create room" }).waitFor();
  await ann.page.getByText(/No rooms yet|here/).first().waitFor();
  assert.ok(!ann.responses.some(({ url }) => /Whiteboard|excalidraw/.test(url)));
  console.log(`rooms page: ${weight(ann)} bytes`);
  assert.ok(weight(ann) < 200_000, `${weight(ann)} bytes`);
});

test("a room with its board is below 2.5 MB at the first visit", async () => {
  const { code } = await keeper.room();
  const ann = await browser.person(keeper, "Ann", { serviceWorkers: "block" });
  await ann.enter(code);
  await until("the board's files are counted", () =>
    ann.responses.some(({ url }) => /Whiteboard.*\.js/.test(url)));
  console.log(`room: ${weight(ann)} bytes`);
  assert.ok(weight(ann) < 2_500_000, `${weight(ann)} bytes`);
});

test("files are compressed and cached as their names allow", async () => {
  const index = await keeper.get("/", { headers: { "accept-encoding": "gzip, br" } });
  assert.equal(index.headers["content-encoding"], "br");
  assert.equal(index.headers["cache-control"], "no-cache");
  const again = await keeper.get("/r/123456", { headers: { "if-none-match": index.headers.etag } });
  assert.equal(again.status, 304);
  const plain = await keeper.get("/r/123456");
  assert.equal(plain.headers["content-encoding"], undefined);
  const [script] = /\/assets\/index-[\w-]+\.js/.exec(plain.text);
  const asset = await keeper.get(script, { headers: { "accept-encoding": "gzip" } });
  assert.equal(asset.headers["content-encoding"], "gzip");
  assert.equal(asset.headers["cache-control"], "public, max-age=31536000, immutable");
  const policy = index.headers["content-security-policy"];
  assert.match(policy, /default-src 'none'/);
  assert.match(policy, /script-src 'self';/);
  for (const path of ["/api/nothing", "/assets/nothing.js", "/r", "/r/123456/more"]) {
    const { status, body } = await keeper.get(path);
    assert.equal(status, 404, path);
    assert.equal(body.success, false);
  }
});

test("the list of rooms is kept current without a reload", async () => {
  const ann = await browser.person(keeper, "Ann");
  await ann.visit();
  const { code } = await keeper.room({ name: "Brand new" });
  await ann.page.getByText("Brand new").waitFor();
  await keeper.joined(code);
  await ann.page.locator(".room-row", { hasText: "Brand new" }).getByText("1 of 10 here").waitFor();
});

test("a room is joined by a code in any spelling, and a wrong one is explained", async () => {
  const { code } = await keeper.room();
  const ann = await browser.person(keeper, "Ann");
  await ann.visit();
  const field = ann.page.getByLabel("Code or link");
  await field.fill("12345");
  await field.press("Enter");
  await ann.page.getByText("A code has six digits").waitFor();
  await field.fill(` ${code.slice(0, 3)}-${code.slice(3)} `);
  await field.press("Enter");
  await ann.isConnected();
  assert.ok(ann.page.url().endsWith(`/r/${code}`));
});

test("an address that spells a room's code as people read it opens the room", async () => {
  const { code } = await keeper.room();
  const ann = await browser.person(keeper, "Ann");
  // The second visit goes through the service worker.
  for (const spelled of [`${code}/`, `${code.slice(0, 3)}-${code.slice(3)}`, `${code.slice(0, 3)}%20${code.slice(3)}/`]) {
    await ann.visit(`/r/${spelled}?from=mail`);
    await ann.isConnected();
    assert.equal(ann.page.url(), `${keeper.gateway.url}/r/${code}?from=mail`);
    await ann.page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined));
  }
});

test("a code without a room shows that there is no such room, and what to do", async () => {
  const ann = await browser.person(keeper, "Ann");
  const stranger = await browser.person(keeper, undefined);
  // The page of somebody without a name asks for the room.
  stranger.expected.push(/status of 404/);
  for (const [person, path, advice] of [
    [ann, "/r/999999", "Check the code, or ask for a new link."],
    [stranger, "/r/999999", "Check the code, or ask for a new link."],
    [ann, "/r/12345", "Check the link, or ask for a new one."],
    [stranger, "/r/nonsense", "Check the link, or ask for a new one."],
  ]) {
    await person.visit(path);
    await person.page.getByRole("heading", { name: "There is no such room" }).waitFor();
    await person.page.getByRole("alert").getByText(advice).waitFor();
    assert.equal(await person.page.title(), "No such room · Roomkeeper");
    assert.deepEqual(await violations(person.page), []);
    await person.page.getByRole("button", { name: "Back to the rooms" }).click();
    await person.page.getByRole("button", { name: "Create room" }).waitFor();
    assert.equal(new URL(person.page.url()).pathname, "/");
  }
});

/** The gateway with the small page, which it serves where the web client was not built. */
async function smallPage(t) {
  const folder = new URL("../../edge-gateway/static/", import.meta.url);
  const types = { html: "text/html", css: "text/css", js: "text/javascript" };
  const { port } = keeper.gateway;
  const server = http.createServer(async ({ url, method, headers }, response) => {
    const path = new URL(url, keeper.gateway.url).pathname;
    const file = path.startsWith("/r/") ? "index.html" : path.slice(1);
    if (["index.html", "app.css", "app.js"].includes(file)) {
      response.setHeader("content-type", types[file.split(".")[1]]);
      response.end(await readFile(new URL(file, folder)));
      return;
    }
    const passed = http.request({ port, path: url, method, headers, agent: false }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    passed.on("error", () => response.destroy());
    passed.end();
  });
  server.on("upgrade", ({ url, rawHeaders }, socket) => {
    const lines = rawHeaders.map((part, n) => part + (n % 2 === 0 ? ": " : "\r\n"));
    const passed = connect(port, "127.0.0.1");
    passed.write(`GET ${url} HTTP/1.1\r\n${lines.join("")}\r\n`);
    for (const [one, other] of [[socket, passed], [passed, socket]]) {
      one.pipe(other);
      one.on("error", () => other.destroy());
      one.on("close", () => other.destroy());
    }
  });
  const own = await freePort();
  await new Promise((resolve) => server.listen(own, "127.0.0.1", resolve));
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return { gateway: { url: `http://127.0.0.1:${own}` } };
}

test("the small page fills in the room of its address, and says where there is none", async (t) => {
  const { code } = await keeper.room();
  const ann = await browser.person(await smallPage(t), "Ann", { serviceWorkers: "block" });
  ann.expected.push(/status of 404/);
  const { page } = ann;
  await ann.visit(`/r/${code}`);
  await page.getByText("Connected", { exact: true }).waitFor();
  assert.equal(await page.getByLabel("Code").inputValue(), code);
  await page.getByLabel("Code").fill(`${code.slice(0, 3)}-${code.slice(3)}`);
  await page.getByLabel("Your name").fill("Ann");
  await page.getByRole("button", { name: "Join" }).click();
  await page.getByLabel("Message").fill("hello");
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByRole("log").getByText("Ann: hello").waitFor();
  assert.equal(await page.getByRole("alert").textContent(), "");
  for (const unknown of ["999999", "nonsense"]) {
    await ann.visit(`/r/${unknown}`);
    await page.getByRole("alert").getByText("There is no such room. Check the code").waitFor();
  }
});

test("code and link are copied with one click", async () => {
  const { code } = await keeper.room();
  const ann = await browser.person(keeper, "Ann", { permissions: ["clipboard-read", "clipboard-write"] });
  await ann.enter(code);
  await ann.page.getByRole("button", { name: /^Copy code/ }).click();
  const copied = await ann.page.evaluate(() => navigator.clipboard.readText());
  assert.equal(copied, `${code.slice(0, 3)}-${code.slice(3)} ${keeper.gateway.url}/r/${code}`);
});

for (const colorScheme of ["light", "dark"]) {
  test(`no page has a serious accessibility violation, ${colorScheme}`, async () => {
    const { code } = await keeper.room({ name: "Accessible" });
    const member = await keeper.joined(code, { username: "Bot" });
    await member.say(code, "hello https://a.example");
    const ann = await browser.person(keeper, "Ann", { colorScheme });
    await ann.visit();
    await ann.page.getByText("Accessible").first().waitFor();
    assert.deepEqual(await violations(ann.page), [], "rooms");
    const phone = await browser.person(keeper, "Bob", { colorScheme, viewport: { width: 360, height: 700 } });
    await phone.visit(`/r/${code}`);
    await phone.isConnected();
    await phone.say("mine");
    await phone.hears("hello https://a.example", "mine");
    assert.deepEqual(await violations(phone.page), [], "chat on a phone");
    const nobody = await browser.person(keeper, undefined, { colorScheme });
    await nobody.visit(`/r/${code}`);
    await nobody.page.getByLabel("Your name").waitFor();
    assert.deepEqual(await violations(nobody.page), [], "the question for a name");
    await ann.enter(code);
    await ann.page.getByRole("button", { name: /Who is here/ }).click();
    assert.deepEqual(await violations(ann.page), [], "a room");
    await ann.page.keyboard.press("Escape");
    ann.expectsNetworkErrors = true;
    await ann.context.setOffline(true);
    await ann.say("later");
    await ann.page.getByText("Waiting for the connection…").waitFor();
    assert.deepEqual(await violations(ann.page), [], "offline");
    await keeper.delete(`/api/rooms/${code}`);
    await ann.context.setOffline(false);
    await ann.page.getByText("This room ended while you were away.").waitFor();
    await ann.page.getByRole("button", { name: "Room menu" }).click();
    assert.deepEqual(await violations(ann.page), [], "a room that has ended");
    await ann.visit(`/r/${code}`);
    await ann.page.getByText("There is no room with this code.").waitFor();
    assert.deepEqual(await violations(ann.page), [], "before a room that is not there");
  });
}

test("nothing is wider than a small phone", async () => {
  const { code } = await keeper.room({ name: "A room with a name that is much longer than the others" });
  const ann = await browser.person(keeper, "Ann", { viewport: { width: 360, height: 640 } });
  const overflow = () => ann.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  await ann.visit();
  await ann.page.getByText("much longer").first().waitFor();
  assert.ok((await overflow()) <= 0, "rooms");
  await ann.visit(`/r/${code}`);
  await ann.isConnected();
  await ann.say(`${"x".repeat(300)} https://a.example/${"y".repeat(300)}`);
  assert.ok((await overflow()) <= 0, "chat");
  await ann.page.getByRole("tab", { name: "Board" }).click();
  await ann.boardIsOpen();
  assert.ok((await overflow()) <= 0, "board");
  await ann.page.getByRole("button", { name: "Room menu" }).click();
  const panel = await ann.page.locator(".panel").boundingBox();
  assert.ok(panel.x >= 0 && panel.x + panel.width <= 360, "the menu is on the screen");
  await ann.page.keyboard.press("Escape");
  ann.expectsNetworkErrors = true;
  await ann.context.setOffline(true);
  await ann.page.getByText("offline: your changes will be sent").waitFor();
  assert.ok((await overflow()) <= 0, "offline");
  const menu = await ann.page.getByRole("button", { name: "Room menu" }).boundingBox();
  assert.ok(menu.x + menu.width <= 360, "the menu's button is on the screen");
  const title = await ann.page.getByRole("heading", { name: "A room with a name" }).boundingBox();
  assert.ok(Math.abs(title.y + title.height / 2 - menu.y - menu.height / 2) < 8, "the bar is one line");
});

test("a room can be made, entered, talked in and left with the keyboard", async () => {
  const ann = await browser.person(keeper, "Ann");
  await ann.visit();
  await ann.page.getByLabel("Name of the room").focus();
  await ann.page.keyboard.type("By keyboard");
  await ann.page.keyboard.press("Enter");
  await ann.isConnected();
  await ann.composer.focus();
  await ann.page.keyboard.type("hi");
  await ann.page.keyboard.press("Enter");
  await ann.hears("hi");
  await ann.page.getByRole("button", { name: "Leave the room" }).focus();
  await ann.page.keyboard.press("Enter");
  await ann.page.getByRole("button", { name: "Create room" }).waitFor();
});

test("the theme is the system's until one is chosen, and the choice stays", async () => {
  const ann = await browser.person(keeper, "Ann", { colorScheme: "dark" });
  await ann.visit();
  const paper = () => ann.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await paper();
  await ann.page.getByRole("button", { name: "Use the light theme" }).click();
  assert.notEqual(await paper(), dark);
  await ann.page.reload();
  await ann.page.getByRole("button", { name: "Use the dark theme" }).waitFor();
  assert.notEqual(await paper(), dark);
});
