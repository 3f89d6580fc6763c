// What others send is shown as text and shapes; nothing of it runs.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Browser } from "../harness/browser.mjs";
import { Roomkeeper } from "../harness/roomkeeper.mjs";
import { until } from "../harness/until.mjs";

const keeper = await Roomkeeper.start();
const browser = await Browser.start();

const TEXTS = [
  '<img src=x onerror="alert(1)">',
  "<script>alert(2)</script>",
  "javascript:alert(3)",
  "[x](javascript:alert(4))",
  "data:text/html,<script>alert(5)</script>",
  '"><svg onload=alert(6)>',
];

function shape(id, more) {
  return {
    id, type: "rectangle", version: 1, versionNonce: 1, x: 300, y: 200, width: 100, height: 80,
    strokeColor: "#000000", backgroundColor: "transparent", ...more,
  };
}

test("messages are text, whatever they hold", async () => {
  const { code } = await keeper.room({ name: "<img src=x onerror=alert(7)>" });
  const member = await keeper.joined(code, { username: "<b onmouseover=alert(8)>" });
  const ann = await browser.person(keeper, "Ann");
  await ann.enter(code);
  for (const text of TEXTS) await member.say(code, text);
  await ann.hears(...TEXTS);
  await member.say(code, "see https://a.example/?a=<b>");
  await ann.hears("see https://a.example/?a=<b>");
  const links = await ann.page.locator(".message a").evaluateAll((all) =>
    all.map(({ href, rel, target }) => ({ href, rel, target })));
  assert.deepEqual(links, [
    { href: "https://a.example/?a=", rel: "noopener noreferrer nofollow", target: "_blank" },
  ]);
  assert.equal(await ann.page.locator(".messages img, .messages script, .messages svg").count(), 0);
});

test("elements that would load a page load none", async () => {
  const { code } = await keeper.room();
  const member = await keeper.joined(code, { sync: "delta" });
  const refused = await member.ask("whiteboard-change", {
    roomId: code, elements: [shape("frame", { type: "iframe", link: "https://a.example" })],
  });
  assert.equal(refused.success, false);
  const ann = await browser.person(keeper, "Ann");
  await ann.enter(code);
  await member.draw(code, [
    shape("embedded", { type: "embeddable", link: "https://www.youtube.com/watch?v=gkGMXY0wekg" }),
    shape("plain", { x: 450 }),
  ]);
  await until("the shapes are shown", async () => (await ann.scene()).length === 2);
  assert.equal(await ann.page.locator("iframe").count(), 0);
});

test("an element with next to nothing in it breaks no board", async () => {
  const { code } = await keeper.room();
  const member = await keeper.joined(code, { sync: "delta" });
  const ann = await browser.person(keeper, "Ann");
  await ann.enter(code);
  await member.draw(code, [
    { id: "bare", type: "rectangle", version: 1, versionNonce: 1 },
    { id: "line", type: "line", version: 1, versionNonce: 1 },
    { id: "text", type: "text", version: 1, versionNonce: 1 },
    shape("whole"),
  ]);
  await until("what can be seen is shown", async () =>
    (await ann.scene()).some(({ id }) => id === "whole"));
  await ann.rectangle(500, 300);
  await until("drawing goes on", async () => (await keeper.board(code)).length === 5);
});
