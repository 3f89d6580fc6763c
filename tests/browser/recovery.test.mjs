// What is made while the gateway or the network is away arrives, once.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Browser, keepsClient, sameBoard, sameChat } from "../harness/browser.mjs";
import { Roomkeeper } from "../harness/roomkeeper.mjs";
import { until } from "../harness/until.mjs";

const keeper = await Roomkeeper.start();
const browser = await Browser.start();

test("a gateway that is killed and comes back loses nothing and doubles nothing", async () => {
  const { code } = await keeper.room();
  const ann = await browser.person(keeper, "Ann");
  const bob = await browser.person(keeper, "Bob");
  await Promise.all([ann.enter(code), bob.enter(code)]);
  ann.expectsNetworkErrors = true;
  bob.expectsNetworkErrors = true;

  const texts = (name) => Array.from({ length: 8 }, (_, n) => `${name} ${n}`);
  const typing = [ann, bob].map(async (person) => {
    for (const text of texts(person.name)) await person.say(text);
  });
  await until("the first message is there", async () => (await keeper.messages(code)).length > 0);
  // Each has one keyboard: first the one, then the other, both people at once.
  const drawing = [ann, bob].map(async (person, n) => {
    await typing[n];
    for (let i = 0; i < 4; i += 1) await person.rectangle(260 + n * 300, 160 + i * 70);
    await person.scribble(260 + n * 300, 450);
  });
  await until("the first shape is there", async () => (await keeper.board(code)).length > 0);
  await keeper.gateway.program.kill();
  await Promise.all([ann, bob].map(({ page }) =>
    page.getByText(/reconnecting…|offline: your changes will be sent/).waitFor({ state: "attached" })));
  await Promise.all(drawing);
  await Promise.all([ann, bob].map((person) => person.say(`${person.name}, while it is away`)));
  keeper.gateway.program.start();
  await keeper.ready();

  await Promise.all([ann.isConnected(), bob.isConnected()]);
  await sameBoard(code, [ann, bob], 10);
  const stored = await sameChat(code, [ann, bob], 18);
  for (const { name } of [ann, bob]) {
    assert.deepEqual(
      stored.map(({ message }) => message).filter((text) => text.startsWith(name)),
      [...texts(name), `${name}, while it is away`],
    );
  }
  await until("nothing is left to be sent", async () => (await ann.page.locator(".draft").count()) === 0);
});

test("what is made offline arrives once the network is back, a reload in between", async () => {
  const { code } = await keeper.room();
  const ann = await browser.person(keeper, "Ann");
  const bob = await browser.person(keeper, "Bob");
  await Promise.all([ann.enter(code), bob.enter(code)]);
  await until("the browser keeps the client", () => ann.page.evaluate(keepsClient));
  ann.expectsNetworkErrors = true;

  await ann.context.setOffline(true);
  await ann.page.getByText("offline: your changes will be sent").waitFor();
  const texts = Array.from({ length: 10 }, (_, n) => `offline ${n}`);
  for (const text of texts.slice(0, 5)) await ann.say(text);
  for (let n = 0; n < 5; n += 1) await ann.rectangle(280 + n * 110, 160);
  await bob.say("meanwhile");
  await bob.rectangle(300, 500);
  await until("the server has Bob's", async () => (await keeper.board(code)).length === 1);

  await ann.page.reload();
  await ann.boardIsOpen();
  await ann.hears(...texts.slice(0, 5));
  await until("the shapes are still there", async () => (await ann.scene()).length === 5);
  for (const text of texts.slice(5)) await ann.say(text);
  for (let n = 0; n < 5; n += 1) await ann.rectangle(280 + n * 110, 260);
  assert.equal((await keeper.messages(code)).length, 1, "nothing has got through");

  await ann.context.setOffline(false);
  await ann.isConnected();
  await sameBoard(code, [ann, bob], 11);
  const stored = await sameChat(code, [ann, bob], 11);
  assert.deepEqual(
    stored.map(({ message }) => message).filter((text) => text !== "meanwhile"),
    texts,
    "in the order in which they were written",
  );
});

test("what was not sent when the tab was closed is sent by the next one", async () => {
  const { code } = await keeper.room();
  const ann = await browser.person(keeper, "Ann");
  await ann.enter(code);
  ann.expectsNetworkErrors = true;
  await ann.context.setOffline(true);
  await ann.page.getByText("offline: your changes will be sent").waitFor();
  await ann.say("kept");
  await ann.rectangle(300, 160);
  await until("it is written down", async () => (await ann.unsent()).join() === "1,1");
  await ann.newPage();
  await ann.context.setOffline(false);
  await ann.enter(code);
  await sameBoard(code, [ann], 1);
  await sameChat(code, [ann], 1);
});

test("a room of the same code that is another room gets nothing of the old one's", async () => {
  const { code } = await keeper.room({ name: "First" });
  const ann = await browser.person(keeper, "Ann");
  await ann.enter(code);
  ann.expectsNetworkErrors = true;
  await ann.context.setOffline(true);
  await ann.page.getByText("offline: your changes will be sent").waitFor();
  await ann.say("for the first room");
  await ann.rectangle(300, 160);
  await keeper.delete(`/api/rooms/${code}`);
  // Nobody can choose a code, so the second room is made where a room is kept.
  const { code: other } = await keeper.room({ name: "Second" });
  const keys = await keeper.redis.keysOf(other);
  for (const key of keys) await keeper.redis.command("COPY", key, key.replace(other, code));
  await keeper.redis.command("HSET", `room:{${code}}`, "code", code, "id", code);

  await ann.context.setOffline(false);
  await ann.page.getByText(/belongs to another room now/).first().waitFor();
  assert.deepEqual(await keeper.messages(code), []);
  assert.deepEqual(await keeper.board(code), []);
});

test("two tabs of one room, both offline, keep what both have made", async () => {
  const { code } = await keeper.room();
  const ann = await browser.person(keeper, "Ann");
  await ann.enter(code);
  const other = await browser.person(keeper, "Ann", { context: ann.context });
  await other.enter(code);
  ann.expectsNetworkErrors = true;
  other.expectsNetworkErrors = true;
  await ann.context.setOffline(true);
  for (const [n, tab] of [ann, other].entries()) {
    await tab.page.getByText("offline: your changes will be sent").waitFor();
    await tab.page.bringToFront();
    await tab.rectangle(300 + 150 * n, 160);
    await tab.say(`from tab ${n}`);
  }
  await until("both are written down", async () => (await ann.unsent()).join() === "2,2");
  await other.page.close();
  await ann.newPage();
  await ann.context.setOffline(false);
  await ann.enter(code);
  await sameBoard(code, [ann], 2);
  await sameChat(code, [ann], 2);
  await until("nothing is written down any more", async () => (await ann.unsent()).join() === "0,0");
});

test("a room that ends while one is away is left as it was, and says so", async () => {
  const { code } = await keeper.room({ name: "Gone" });
  const ann = await browser.person(keeper, "Ann");
  await ann.enter(code);
  await ann.say("remember me");
  await sameChat(code, [ann], 1);
  ann.expectsNetworkErrors = true;
  await ann.context.setOffline(true);
  await ann.page.getByText("offline: your changes will be sent").waitFor();
  await ann.say("too late");
  await keeper.delete(`/api/rooms/${code}`);
  await ann.context.setOffline(false);
  await ann.page.getByText("This room ended while you were away.").waitFor();
  await ann.page.getByText("Not sent. The room ended before this was sent.").waitFor();
  await ann.hears("remember me", "too late");
});

test("a browser that believes to be offline, and is not, goes on", async () => {
  const { code } = await keeper.room();
  const ann = await browser.person(keeper, "Ann");
  await ann.enter(code);
  await ann.page.evaluate(() => dispatchEvent(new Event("offline")));
  await ann.say("am I?");
  await sameChat(code, [ann], 1);
  await ann.isConnected();
});

test("a message that the server could not keep is tried again when one says so", async () => {
  const { code } = await keeper.room();
  const ann = await browser.person(keeper, "Ann");
  await ann.enter(code);
  await keeper.redis.command("CONFIG", "SET", "maxmemory", "1mb");
  await ann.say("big words");
  await ann.page.getByText("Not sent. The server's memory is full").waitFor();
  await keeper.redis.command("CONFIG", "SET", "maxmemory", "0");
  assert.deepEqual(await keeper.messages(code), []);
  await ann.page.getByRole("button", { name: "Try again" }).click();
  await sameChat(code, [ann], 1);
});

test("a gateway that drains is left for a while and come back to", async () => {
  const { code } = await keeper.room();
  const ann = await browser.person(keeper, "Ann");
  await ann.enter(code);
  ann.expectsNetworkErrors = true;
  await keeper.gateway.program.stop();
  await ann.say("during the restart");
  keeper.gateway.program.start();
  await keeper.ready();
  await ann.isConnected();
  await sameChat(code, [ann], 1);
});

test("while the store is down the chat says so, and sends when it is back", async () => {
  const { code } = await keeper.room();
  const ann = await browser.person(keeper, "Ann");
  await ann.enter(code);
  ann.expectsNetworkErrors = true;
  await keeper.redis.kill();
  await ann.say("patience");
  await ann.page.getByText(/cannot save right now|did not say whether/).first().waitFor();
  await keeper.redis.restart();
  await sameChat(code, [ann], 1);
});
