// A board as a file, and a board at first sight.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Browser } from "../harness/browser.mjs";
import { Roomkeeper } from "../harness/roomkeeper.mjs";
import { until } from "../harness/until.mjs";

const keeper = await Roomkeeper.start();
const browser = await Browser.start();

let seed = 0;

/** An element as another client draws it. */
function element(more) {
  seed += 1;
  return {
    id: `e${seed}`, type: "rectangle", version: 1, versionNonce: seed, seed, index: `a0${seed.toString(36).padStart(2, "0")}V`,
    x: 300, y: 200, width: 100, height: 80, angle: 0, strokeColor: "#1e1e1e", backgroundColor: "#ffc9c9",
    fillStyle: "solid", strokeWidth: 2, strokeStyle: "solid", roughness: 0, opacity: 100, groupIds: [],
    frameId: null, roundness: null, boundElements: [], updated: 1, link: null, locked: false, isDeleted: false,
    ...more,
  };
}

function text(content, more) {
  return element({
    type: "text", text: content, originalText: content, fontSize: 20, fontFamily: 5, lineHeight: 1.25,
    textAlign: "left", verticalAlign: "top", containerId: null, autoResize: true, width: 200, height: 25, ...more,
  });
}

/** A room whose board holds these elements. */
async function roomWith(...elements) {
  const { code } = await keeper.room();
  const bot = await keeper.joined(code, { username: "Bot", sync: "delta" });
  await bot.draw(code, elements);
  return code;
}

async function opened(code, count) {
  const ann = await browser.person(keeper, "Ann");
  await ann.enter(code);
  await until("the board is shown", async () => (await ann.scene()).length === count);
  return ann;
}

/** The texts of an SVG by a strict XML parser, or what it complains of. */
async function textsOf(person, svg) {
  // A page without a policy, which would apply to the styles of what is parsed.
  const blank = await person.context.newPage();
  return blank.evaluate((source) => {
    const parsed = new DOMParser().parseFromString(source, "application/xml");
    const problem = parsed.querySelector("parsererror");
    if (problem) return problem.textContent;
    return [...parsed.querySelectorAll("text")].map(({ textContent }) => textContent);
  }, svg);
}

test("a saved SVG is XML, and its texts are those of the board", async () => {
  const texts = ["Prix\u00a0: 5\u2009€", "a < b && c > d \"e\" 'f'", "]]> <!-- -->", "emoji 😀 \u00ad\u200b"];
  const code = await roomWith(
    ...texts.map((content, n) => text(content, { y: n * 60 })),
    element({ y: 500, link: "https://example.com/?a=1&b=%22#\u00a0" }),
  );
  const ann = await opened(code, texts.length + 1);
  const svg = await ann.saved(() => ann.boardMenu("Save as SVG"));
  assert.deepEqual(await textsOf(ann, svg), texts);
});

test("what XML cannot hold does not break an SVG", async () => {
  const code = await roomWith(text("tab\u000bbed"), text("be\u0007ll", { y: 300 }), text("\uffff!", { y: 400 }));
  const ann = await opened(code, 3);
  const svg = await ann.saved(() => ann.boardMenu("Save as SVG"));
  assert.deepEqual(await textsOf(ann, svg), ["tab bed", "bell", "!"]);
});

test("a saved drawing holds what is stored, though two elements share an index", async () => {
  // Elements of one index are in the order of their ids.
  const elements = [
    element({ id: "a", index: "a1" }), element({ id: "b", index: "a1" }), element({ id: "c", index: "a2" }),
  ];
  const ann = await opened(await roomWith(...elements), 3);
  assert.deepEqual(await ann.scene(), elements);
});

/** The width and height that a PNG file says. */
async function sizeOf(person) {
  const [download] = await Promise.all([person.page.waitForEvent("download"), person.boardMenu("Save as PNG")]);
  const stream = await download.createReadStream();
  const [bytes] = await stream.take(1).toArray();
  assert.equal(bytes.toString("latin1", 1, 4), "PNG");
  return [bytes.readUInt32BE(16), bytes.readUInt32BE(20)];
}

test("a picture of a board that is too large for one is saved smaller, which is said", async () => {
  const ann = await opened(await roomWith(element(), element({ x: 90_000 })), 2);
  const [width, height] = await sizeOf(ann);
  assert.ok(width > 10_000 && width <= 16_384 && height > 10, `${width} × ${height}`);
  await ann.page.getByText(/saved at 18 % of its size/).waitFor();
});

test("a picture of an ordinary board is as large as the board, and nothing is said", async () => {
  const ann = await opened(await roomWith(element(), element({ x: 900 })), 2);
  const [width, height] = await sizeOf(ann);
  // Both shapes, and a margin of 24 on each side.
  assert.deepEqual([width, height], [700 + 48, 80 + 48]);
  assert.equal(await ann.page.locator(".notice").count(), 0);
});

for (const item of ["Save as PNG", "Save as SVG", "Save as .excalidraw"]) {
  test(`"${item}" says when it fails`, async () => {
    const ann = await opened(await roomWith(element()), 1);
    await ann.page.evaluate(() => {
      URL.createObjectURL = () => {
        throw new Error("no memory");
      };
    });
    await ann.boardMenu(item);
    await ann.page.getByText("The board could not be saved this way.").waitFor();
  });
}

test("a picture that the browser cannot paint at all is told of", async () => {
  const ann = await opened(await roomWith(element()), 1);
  await ann.page.evaluate(() => {
    HTMLCanvasElement.prototype.toBlob = (done) => done(null);
  });
  await ann.boardMenu("Save as PNG");
  await ann.page.getByText("The board could not be saved this way.").waitFor();
});

test("an item of the room's menu says when it fails", async () => {
  const ann = await opened(await roomWith(element()), 1);
  await ann.page.evaluate(() => {
    URL.createObjectURL = () => {
      throw new Error("no memory");
    };
  });
  await ann.roomMenu("Save chat as text");
  await ann.page.getByText("“Save chat as text” did not work.").waitFor();
});

/** How many pixels of the board are of the colour of the elements above. */
async function seen(person) {
  return person.page.evaluate(() => {
    const canvas = document.querySelector("canvas.static");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let count = 0;
    for (let n = 0; n < data.length; n += 4) {
      if (data[n] === 0xff && data[n + 1] === 0xc9 && data[n + 2] === 0xc9) count += 1;
    }
    return count;
  });
}

test("whoever opens a board with content 60,000 px apart for the first time sees some of it", async () => {
  const code = await roomWith(element(), element({ x: 60_000, y: 40_000 }), element({ x: 60_200, y: 40_000 }));
  const ann = await opened(code, 3);
  await until("something is seen", async () => (await seen(ann)) > 1000);
});

test("a file whose content is 60,000 px apart is shown where some of it is", async () => {
  const ann = await opened(await roomWith(element()), 1);
  const elements = [element({ x: 100_000 }), element({ x: 160_000 }), element({ x: 160_200 })];
  await ann.page.getByLabel("Add an .excalidraw file").setInputFiles({
    name: "far.excalidraw",
    mimeType: "application/json",
    buffer: Buffer.from(JSON.stringify({ type: "excalidraw", version: 2, elements, appState: {}, files: {} })),
  });
  await until("it is added", async () => (await ann.scene()).length === 4);
  await until("something of it is seen", async () => {
    const { scrollX } = await ann.page.evaluate(
      () => JSON.parse(localStorage.getItem(Object.keys(localStorage).find((key) => key.startsWith("roomkeeper.view."))) ?? "{}"));
    return scrollX < -90_000 && (await seen(ann)) > 500;
  });
});

test("a shape that is larger than the view is seen at its edge", async () => {
  const code = await roomWith(element({ width: 90_000, height: 90_000, backgroundColor: "transparent", strokeColor: "#ffc9c9", strokeWidth: 400 }));
  const ann = await opened(code, 1);
  await until("something is seen", async () => (await seen(ann)) > 100);
});

test("no menu offers a library, which a board does not have", async () => {
  const ann = await opened(await roomWith(element()), 1);
  const box = await ann.focusBoard();
  await ann.page.keyboard.press("Control+a");
  await ann.page.mouse.click(box.x + box.width / 2, box.y + box.height / 2, { button: "right" });
  const menu = ann.page.locator(".context-menu");
  await menu.getByText("Delete", { exact: true }).first().waitFor();
  const items = await menu.locator("li").allTextContents();
  assert.ok(items.length > 10, items.join());
  assert.deepEqual(items.filter((item) => /library/i.test(item)), []);
});
