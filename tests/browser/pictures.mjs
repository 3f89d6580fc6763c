// Takes the README's pictures: `make pictures`. No test, so it is not run with them.

import { mkdirSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { Browser } from "../harness/browser.mjs";
import { Roomkeeper } from "../harness/roomkeeper.mjs";
import { until } from "../harness/until.mjs";

const FOLDER = process.env.PICTURES ?? fileURLToPath(new URL("../../docs/images", import.meta.url));
mkdirSync(FOLDER, { recursive: true });

const keeper = await Roomkeeper.start();
const browser = await Browser.start();

const WIDE = { width: 1160, height: 660 };
const PHONE = { width: 390, height: 660 };

function shape(id, more) {
  return {
    id, version: 1, versionNonce: 1, type: "rectangle", x: 0, y: 0, width: 160, height: 80, angle: 0,
    seed: 7, roughness: 1, strokeWidth: 2, strokeStyle: "solid", fillStyle: "hachure", opacity: 100,
    strokeColor: "#1e1e1e", backgroundColor: "transparent", roundness: { type: 3 }, groupIds: [], ...more,
  };
}

function words(id, x, y, text, more = {}) {
  const lines = text.split("\n");
  const fontSize = more.fontSize ?? 20;
  return shape(id, {
    type: "text", x, y, text, originalText: text, fontSize, fontFamily: 5, textAlign: "left", verticalAlign: "top",
    lineHeight: 1.25, roundness: null, width: Math.max(...lines.map((line) => line.length)) * fontSize * 0.6,
    height: lines.length * fontSize * 1.25, ...more,
  });
}

function arrow(id, x, y, dx, dy, more = {}) {
  return shape(id, {
    type: "arrow", x, y, width: Math.abs(dx), height: Math.abs(dy), points: [[0, 0], [dx, dy]],
    endArrowhead: "arrow", startArrowhead: null, roundness: { type: 2 }, ...more,
  });
}

const BOARD = [
  words("title", 40, 20, "From a click to everybody", { fontSize: 28 }),
  shape("browser", { x: 40, y: 120, backgroundColor: "#a5d8ff", strokeColor: "#1971c2" }),
  words("browser-text", 76, 146, "browser"),
  shape("gateway", { x: 320, y: 120, backgroundColor: "#b2f2bb", strokeColor: "#2f9e44" }),
  words("gateway-text", 358, 146, "gateway"),
  shape("service", { x: 600, y: 120, backgroundColor: "#ffec99", strokeColor: "#e8590c" }),
  words("service-text", 640, 146, "service"),
  arrow("down-1", 208, 145, 104, 0),
  arrow("down-2", 488, 145, 104, 0),
  arrow("up-2", 592, 178, -104, 0, { strokeColor: "#9c36b5", strokeStyle: "dashed" }),
  arrow("up-1", 312, 178, -104, 0, { strokeColor: "#9c36b5", strokeStyle: "dashed" }),
  words("down-text", 330, 74, "commands go down", { fontSize: 16 }),
  words("up-text", 338, 216, "events come up", { fontSize: 16, strokeColor: "#9c36b5" }),
  shape("note", { type: "ellipse", x: 250, y: 290, width: 300, height: 110, strokeColor: "#e03131" }),
  words("note-text", 296, 320, "an element is the unit,\nnot the board", { fontSize: 18, strokeColor: "#e03131" }),
].map((element, n) => ({ ...element, index: `a${n.toString(36)}` }));

const SAID = [
  ["bob", "Morning! I put the flow on the board."],
  ["bob", "Arrows down are commands, dashed ones are events."],
  ["eve", "Nice. Does the sender hear their own message that way too?"],
  ["bob", "Yes, everybody does, so all see one order:\nhttps://example.com/one-order"],
];

test("pictures", async () => {
  await keeper.room({ name: "Retro, week 47", createdBy: "Eve" });
  const { code } = await keeper.room({ name: "How a change travels", createdBy: "Bob" });
  const { code: standup } = await keeper.room({ name: "Monday stand-up", createdBy: "Ann", maxParticipants: 25 });
  const bob = await keeper.joined(code, { username: "Bob", userId: "bob-3", sync: "delta" });
  const eve = await keeper.joined(code, { username: "Eve", userId: "eve-c", sync: "delta" });
  await keeper.joined(standup, { username: "Kim" });
  await bob.draw(code, BOARD);
  for (const [who, text] of SAID) await { bob, eve }[who].say(code, text);

  for (const colorScheme of ["light", "dark"]) {
    const ann = await browser.person(keeper, "Ann", { colorScheme, viewport: WIDE });
    await ann.enter(code);
    if (colorScheme === "light") await ann.say("Then a restarted gateway behaves like any other.");
    await ann.hears("Then a restarted gateway behaves like any other.");
    bob.tell("chat:typing", { roomId: code });
    await ann.page.getByText("Bob is writing…").waitFor();
    await until("the others' cursors are drawn", async () => {
      bob.tell("whiteboard-pointer", { roomId: code, x: 470, y: 250, button: "up" });
      eve.tell("whiteboard-pointer", { roomId: code, x: 640, y: 330, button: "up", selected: ["note"] });
      return ann.page.evaluate(() => document.fonts.status === "loaded");
    });
    await ann.page.locator("canvas.interactive").hover({ position: { x: 400, y: 560 } });
    await ann.picture(`${FOLDER}/room-${colorScheme}.png`);
    await ann.visit();
    await ann.page.getByText("Your recent rooms").waitFor();
    await ann.page.getByText("1 of 25 here").waitFor();
    if (colorScheme === "light") await ann.picture(`${FOLDER}/rooms.png`);

    const phone = await browser.person(keeper, "Kim", { colorScheme, viewport: PHONE });
    await phone.visit(`/r/${code}`);
    await phone.isConnected();
    await phone.hears("Morning! I put the flow on the board.");
    if (colorScheme === "light") await phone.picture(`${FOLDER}/phone-chat.png`);
    await phone.page.getByRole("tab", { name: "Board" }).click();
    await phone.boardIsOpen();
    if (colorScheme === "dark") await phone.picture(`${FOLDER}/phone-board.png`);
    await browser.dismiss();
  }
});
