import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { Limits, type WireElement } from "../protocol/payloads";
import { Changes } from "./changes";
import type { Visit } from "./visit";

type Answer = { success: true; accepted: number; rejected: number } | { success: false; code: string; error: string };

/** A server that keeps the board's rules, as far as they matter here. */
class Server {
  readonly board = new Map<string, WireElement>();
  readonly requests: (readonly WireElement[])[] = [];
  readonly notices: string[] = [];
  /** What the browser holds as not confirmed. */
  readonly written = new Map<string, WireElement>();
  readonly changes: Changes;
  most: number = Limits.boardElements;

  constructor() {
    this.changes = new Changes({
      socket: { change: async ({ elements }: { elements: readonly WireElement[] }) => this.#change(elements) },
      outbox: {
        keepElements: async (_epoch: number, elements: readonly WireElement[]) => {
          for (const element of elements) this.written.set(element.id, element);
        },
        dropElements: async (elements: readonly WireElement[]) => {
          for (const { id } of elements) this.written.delete(id);
        },
      },
      identity: { userId: "u", username: "Ann" },
      state: () => ({ live: true, closed: undefined, code: "123456" }),
      epoch: 1,
      isStopped: false,
      notify: (text: string) => void this.notices.push(text),
      rejoin: () => undefined,
    } as unknown as Visit);
  }

  /** What others drew, and this page knows. */
  holds(elements: readonly WireElement[]): void {
    for (const element of elements) this.board.set(element.id, element);
    this.changes.board.reset([...this.board.values()]);
  }

  async draws(elements: readonly WireElement[]): Promise<void> {
    this.changes.drawn(elements);
    await vi.advanceTimersByTimeAsync(5000);
  }

  #change(elements: readonly WireElement[]): Answer {
    this.requests.push(elements);
    const bad = elements.findIndex((element) => element["bad"]);
    if (bad >= 0) return { success: false, code: "INVALID_ARGUMENT", error: `elements[${bad}].bad: must not be` };
    const winners = elements.flatMap((element) => {
      const stored = this.board.get(element.id);
      return stored && stored.version > element.version ? [stored] : [];
    });
    const ids = new Set(winners.map(({ id }) => id));
    const next = new Map([...this.board, ...elements.filter(({ id }) => !ids.has(id)).map((one) => [one.id, one] as const)]);
    if ([...next.values()].filter(({ isDeleted }) => !isDeleted).length > this.most) {
      return { success: false, code: "PAYLOAD_TOO_LARGE", error: "elements: the board would exceed its limits" };
    }
    for (const [id, element] of next) this.board.set(id, element);
    // The elements that won come before the answer.
    if (winners.length > 0) this.changes.board.receive(winners);
    return { success: true, accepted: elements.length - winners.length, rejected: winners.length };
  }
}

function shape(id: string, more: Partial<WireElement> = {}): WireElement {
  return { id, type: "rectangle", version: 1, versionNonce: 5, width: 10, height: 10, ...more };
}

const shapes = (count: number, name = "s") => Array.from({ length: count }, (_, n) => shape(`${name}${n}`));

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe("a full board", () => {
  test("is not searched: twelve thousand elements take a few requests, and it is said once", async () => {
    const server = new Server();
    await server.draws(shapes(12_000));
    expect(server.board.size).toBe(10_000);
    expect(server.requests.length).toBeLessThan(30);
    expect(server.notices.filter((text) => text.includes("the board is full"))).toHaveLength(1);
  });

  test("takes as many newcomers as there are places", async () => {
    const server = new Server();
    server.holds(shapes(9_500, "old"));
    await server.draws([...shapes(9_500, "old"), ...shapes(900, "new")]);
    expect(server.board.size).toBe(10_000);
    expect(server.requests.length).toBeLessThan(5);
  });

  test("takes changes of what it has, and deletions, in the same change", async () => {
    const server = new Server();
    server.most = 2;
    server.holds(shapes(2, "old"));
    await server.draws([shape("old0", { version: 2, x: 5 }), shape("new"), shape("old1", { version: 2, isDeleted: true })]);
    expect(server.board.get("old0")).toMatchObject({ x: 5 });
    expect(server.board.get("old1")?.isDeleted).toBe(true);
  });

  test("is not asked at every stroke, and asked again after a while", async () => {
    const server = new Server();
    server.most = 1;
    server.holds([shape("old")]);
    await server.draws([shape("old"), shape("a")]);
    const asked = server.requests.length;
    for (let version = 2; version < 20; version += 1) {
      server.changes.drawn([shape("old"), shape("a", { version })]);
      await vi.advanceTimersByTimeAsync(100);
    }
    expect(server.requests.length).toBe(asked);
    server.most = 2;
    await vi.advanceTimersByTimeAsync(10_000);
    await server.draws([shape("old"), shape("a", { version: 30 })]);
    expect(server.board.get("a")?.version).toBe(30);
  });
});

describe("a refused element", () => {
  test("is taken out by its number, and the others arrive", async () => {
    const server = new Server();
    const elements = shapes(500).map((element, n) => (n % 50 === 7 ? { ...element, bad: 1 } : element));
    await server.draws(elements);
    expect(server.board.size).toBe(490);
    expect(server.requests.length).toBe(11);
    expect(server.notices).toEqual(["10 parts of the drawing stay with you alone: bad: must not be (10)."]);
  });
});

describe("what is waited for", () => {
  test("is settled by what the server holds in the end", async () => {
    const server = new Server();
    server.board.set("gone", shape("gone", { version: 9, isDeleted: true }));
    const elements = [shape("new"), shape("gone", { version: 3 }), shape("odd", { bad: 1 })];
    const settled = server.changes.settled(elements);
    await server.draws(elements);
    expect(Object.fromEntries(await settled)).toEqual({
      new: { what: "accepted" },
      gone: { what: "lost", winner: server.board.get("gone") },
      odd: { what: "refused", reason: "bad: must not be" },
    });
    expect(server.notices).toEqual([]);
  });

  test("is told when the visit ends", async () => {
    const server = new Server();
    const settled = server.changes.settled([shape("never")]);
    server.changes.stop();
    expect((await settled).get("never")?.what).toBe("refused");
  });
});

describe("a board that is nearly full", () => {
  test("warns from 80 % of its elements, once, and once more near the end", async () => {
    const server = new Server();
    server.holds(shapes(7_990, "old"));
    await server.draws([...shapes(7_990, "old"), shape("one")]);
    expect(server.notices).toEqual([]);
    await server.draws([...shapes(7_990, "old"), ...shapes(20, "more")]);
    await server.draws([...shapes(7_990, "old"), ...shapes(40, "more")]);
    expect(server.notices).toHaveLength(1);
    expect(server.notices[0]).toMatch(/nearly full: it holds 8,011 of 10,000 elements/);
    await server.draws([...shapes(7_990, "old"), ...shapes(1_600, "more")]);
    expect(server.notices).toHaveLength(2);
  });

  test("warns from 80 % of its bytes", async () => {
    const server = new Server();
    await server.draws(Array.from({ length: 7 }, (_, n) => shape(`l${n}`, { text: "x".repeat(1_000_000) })));
    expect(server.notices).toHaveLength(1);
    expect(server.notices[0]).toMatch(/6\.7 of 8 MiB/);
  });
});

describe("what is written down", () => {
  /** A visit that begins with an element of an earlier page, which the server has. */
  function reopened(): Server {
    const server = new Server();
    server.written.set("a", shape("a"));
    server.changes.board.restore([shape("a")]);
    return server;
  }

  test("is dropped once a board shows that the server has it, though nothing is sent", async () => {
    const server = reopened();
    server.holds([shape("a"), shape("b")]);
    await vi.advanceTimersByTimeAsync(5000);
    expect([...server.written.keys()]).toEqual([]);
    expect(server.requests).toEqual([]);
  });

  test("is dropped once an update shows that the server has it, though nothing is sent", async () => {
    const server = reopened();
    server.changes.board.receive([shape("a")]);
    await vi.advanceTimersByTimeAsync(5000);
    expect([...server.written.keys()]).toEqual([]);
    expect(server.requests).toEqual([]);
  });

  test("stays as long as the server has another version", async () => {
    const server = reopened();
    server.changes.board.receive([shape("a", { version: 0 })]);
    await vi.advanceTimersByTimeAsync(5000);
    expect([...server.written.keys()]).toEqual(["a"]);
  });
});
