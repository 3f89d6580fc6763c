import { describe, expect, test } from "vitest";

import type { WireElement } from "../protocol/payloads";
import { BoardSync, type Scene, wins } from "./sync";

function element(id: string, version = 1, versionNonce = 5, more: Partial<WireElement> = {}): WireElement {
  return { id, type: "rectangle", version, versionNonce, width: 10, height: 10, ...more };
}

class Recorder implements Scene {
  readonly merged: WireElement[] = [];
  replaced: readonly WireElement[] = [];

  merge(elements: readonly WireElement[]): void {
    this.merged.push(...elements);
  }

  replace(elements: readonly WireElement[]): void {
    this.replaced = elements;
  }

  forSending(element: WireElement): WireElement {
    const { index: _shown, ...rest } = element;
    return rest as WireElement;
  }
}

test("the greater version wins, then the lower nonce", () => {
  expect(wins(element("a", 2), element("a", 1))).toBe(true);
  expect(wins(element("a", 1, 4), element("a", 1, 5))).toBe(true);
  expect(wins(element("a", 1, 5), element("a", 1, 5))).toBe(false);
});

describe("sending", () => {
  test("only what the server does not have is sent, and until it is confirmed", () => {
    const board = new BoardSync();
    board.reset([element("a")]);
    board.changed([element("a"), element("b")]);
    expect(board.take().map(({ id }) => id)).toEqual(["b"]);
    expect(board.take()).toEqual([]);
    expect(board.unsent).toHaveLength(1);
    board.confirm([element("b")]);
    expect(board.unsent).toEqual([]);
    board.changed([element("a"), element("b")]);
    expect(board.take()).toEqual([]);
  });

  test("what changes under way is sent again", () => {
    const board = new BoardSync();
    board.changed([element("a", 1)]);
    const first = board.take();
    board.changed([element("a", 2)]);
    expect(board.take().map(({ version }) => version)).toEqual([2]);
    board.confirm(first);
    expect(board.unsent.map(({ version }) => version)).toEqual([2]);
  });

  test("what was under way when the connection broke is sent again", () => {
    const board = new BoardSync();
    board.changed([element("a")]);
    board.take();
    board.lost();
    expect(board.take()).toHaveLength(1);
  });

  test("what is handed over is a copy, since the scene changes its own", () => {
    const board = new BoardSync();
    const mine = element("a");
    board.changed([mine]);
    mine.version = 9;
    expect(board.take()[0]?.version).toBe(1);
  });

  test("what nobody saw is not sent", () => {
    const board = new BoardSync();
    board.changed([element("a", 1, 5, { width: 0, height: 0 }), element("b", 3, 5, { isDeleted: true })]);
    expect(board.take()).toEqual([]);
    board.receive([element("b")]);
    board.changed([element("b", 3, 5, { isDeleted: true })]);
    expect(board.take()).toHaveLength(1);
  });

  test("a batch stays below what one change may hold", () => {
    const board = new BoardSync();
    const text = "x".repeat(100_000);
    board.changed(["a", "b", "c", "d", "e"].map((id) => element(id, 1, 5, { text })));
    expect([board.take().length, board.take().length, board.take().length]).toEqual([2, 2, 1]);
  });

  test("what is too large to be sent is said once, and not sent", () => {
    const board = new BoardSync();
    const large = element("a", 1, 5, { text: "x".repeat(1_300_000) });
    expect(board.changed([large, element("b")]).tooLarge.map(({ id }) => id)).toEqual(["a"]);
    expect(board.changed([large]).tooLarge).toEqual([]);
    expect(board.take().map(({ id }) => id)).toEqual(["b"]);
    expect(board.changed([element("a", 2)]).fresh).toHaveLength(1);
  });

  test("what the server refuses is not offered again until it changes", () => {
    const board = new BoardSync();
    board.changed([element("a")]);
    board.take().forEach((one) => board.refuse(one));
    board.changed([element("a")]);
    expect(board.take()).toEqual([]);
    board.changed([element("a", 2)]);
    expect(board.take()).toHaveLength(1);
  });
});

describe("what is sent of an element", () => {
  test("what was only made for showing it is not sent", () => {
    const board = new BoardSync();
    board.attach(new Recorder());
    board.changed([element("a", 1, 5, { index: "shown" })]);
    expect(board.take()).toEqual([element("a")]);
  });

  test("a link that the server refuses is taken out, and all get the element under a version of its own", () => {
    const board = new BoardSync();
    const scene = new Recorder();
    board.attach(scene);
    board.reset([element("a", 1)]);
    expect(board.changed([element("a", 2, 5, { link: "obsidian://x", x: 3 })]).dropped).toEqual(["link"]);
    const [sent] = board.take();
    expect(sent).toMatchObject({ id: "a", version: 3, link: null, x: 3 });
    expect(scene.merged).toEqual([sent]);
    board.changed([element("a", 2, 5, { link: "obsidian://x", x: 3 })]);
    expect(board.take()).toEqual([]);
  });

  test("a host becomes a link, which is no loss to speak of", () => {
    const board = new BoardSync();
    expect(board.changed([element("a", 2, 5, { link: "example.com/page" })]).dropped).toEqual([]);
    expect(board.take()[0]).toMatchObject({ version: 3, link: "https://example.com/page" });
  });

  test("an element that others know is sent in any size", () => {
    const board = new BoardSync();
    board.reset([element("a", 1)]);
    board.changed([element("a", 2, 5, { width: 0, height: 0 })]);
    expect(board.take()).toHaveLength(1);
  });

  test("an element that the scene gave up is deleted for all, once", () => {
    const board = new BoardSync();
    board.reset([element("a", 4)]);
    expect(board.remove(["a", "unknown"])).toBe(true);
    expect(board.take()).toMatchObject([{ id: "a", type: "rectangle", version: 5, isDeleted: true }]);
    expect(board.remove(["a"])).toBe(false);
  });

  test("an element that comes back from the server is confirmed by that", () => {
    const found: string[] = [];
    const board = new BoardSync(({ id }) => found.push(id));
    board.changed([element("a", 2), element("b", 2)]);
    board.receive([element("a", 2), element("c", 2)]);
    expect(board.unsent.map(({ id }) => id)).toEqual(["b"]);
    board.reset([element("b", 2)]);
    expect(board.unsent).toEqual([]);
    expect(found).toEqual(["a", "b"]);
  });
});

describe("receiving", () => {
  test("the scene is given what is newer, and what an iframe would load is not shown", () => {
    const board = new BoardSync();
    const scene = new Recorder();
    board.attach(scene);
    board.receive([element("a", 2), element("i", 1, 1, { type: "iframe" })]);
    board.receive([element("a", 1)]);
    expect(scene.merged.map(({ id }) => id)).toEqual(["a"]);
  });

  test("a reset keeps what is not sent yet and nothing else", () => {
    const board = new BoardSync();
    const scene = new Recorder();
    board.attach(scene);
    board.reset([element("old")]);
    board.changed([element("old"), element("mine")]);
    board.reset([element("new")]);
    expect(scene.replaced.map(({ id }) => id).sort()).toEqual(["mine", "new"]);
  });

  test("another room is not shown what was made for an earlier one", () => {
    const board = new BoardSync();
    const scene = new Recorder();
    board.attach(scene);
    board.changed([element("mine")]);
    board.reset([element("theirs")]);
    board.abandon();
    expect(scene.replaced.map(({ id }) => id)).toEqual(["theirs"]);
    expect(board.take()).toEqual([]);
  });

  test("what was received while it could not be shown is found as stale", () => {
    const board = new BoardSync();
    board.receive([element("a", 5)]);
    expect(board.changed([element("a", 4)]).stale.map(({ version }) => version)).toEqual([5]);
    expect(board.take()).toEqual([]);
  });

  test("a scene that comes late sees everything, own and others'", () => {
    const board = new BoardSync();
    board.restore([element("mine")]);
    board.reset([element("theirs"), element("gone", 2, 1, { isDeleted: true })]);
    const scene = new Recorder();
    board.attach(scene);
    expect(scene.replaced.map(({ id }) => id).sort()).toEqual(["mine", "theirs"]);
    expect(board.take().map(({ id }) => id)).toEqual(["mine"]);
  });
});

describe("keeping", () => {
  const versions = (elements: WireElement[]) => elements.map(({ id, version }) => `${id}${version}`);

  test("what is not confirmed is written down once a version, and dropped when it is", () => {
    const board = new BoardSync();
    board.changed([element("a"), element("b")]);
    expect(versions(board.kept().put)).toEqual(["a1", "b1"]);
    expect(board.kept()).toEqual({ put: [], drop: [] });
    board.changed([element("a", 2)]);
    expect(versions(board.kept().put)).toEqual(["a2"]);
    board.confirm([element("a", 2)]);
    expect(board.kept()).toEqual({ put: [], drop: [element("a", 2)] });
    expect(board.kept()).toEqual({ put: [], drop: [] });
  });

  test("what is confirmed before it was written down never is", () => {
    const board = new BoardSync();
    board.changed([element("a")]);
    board.confirm(board.take());
    expect(board.kept()).toEqual({ put: [], drop: [] });
  });

  test("what an earlier visit wrote down is dropped when it is confirmed, or belongs to no room", () => {
    const board = new BoardSync();
    board.restore([element("a"), element("b")]);
    expect(board.kept()).toEqual({ put: [], drop: [] });
    board.confirm([element("a")]);
    expect(versions(board.kept().drop)).toEqual(["a1"]);
    board.forget();
    expect(versions(board.kept().drop)).toEqual(["b1"]);
  });
});
