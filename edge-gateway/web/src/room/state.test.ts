import { describe, expect, test } from "vitest";

import { type Joined, Limits, type LiveMessage, type Message, type RoomInfo } from "../protocol/payloads";
import { type Action, initialState, reduce, type RoomState } from "./state";

const ROOM: RoomInfo = {
  id: "123456",
  code: "123456",
  name: "Room",
  createdBy: "Ann",
  createdAt: 1,
  participantCount: 1,
  maxParticipants: 10,
};

const JOINED: Joined = { room: ROOM, participants: [{ userId: "me", username: "Me" }], epoch: 10, revision: 20 };

function message(revision: number, more: Partial<Message> = {}): Message {
  return {
    id: `m${revision}`,
    roomId: "123456",
    userId: "other",
    username: "Other",
    message: `text ${revision}`,
    ts: revision,
    timestamp: revision,
    revision,
    ...more,
  };
}

function live(revision: number, previous: number, more: Partial<Message> = {}): Action {
  return { type: "message", message: { ...message(revision, more), epoch: 10, previous } as LiveMessage };
}

function after(...actions: Action[]): RoomState {
  return actions.reduce(reduce, initialState("123456", "me"));
}

const joined: Action = { type: "joined", joined: JOINED };

function history(messages: Message[], more: { reset?: boolean; truncated?: boolean } = {}): Action {
  return { type: "history", history: { roomId: "123456", messages, count: messages.length, ...more } };
}

const draft = (requestId: string): Action => ({
  type: "draft",
  draft: { requestId, text: "hi", createdAt: 1, state: "pending" },
});

describe("the position", () => {
  test("is the ack's, and each event that follows it moves it", () => {
    const state = after(joined, live(21, 20), { type: "step", step: { epoch: 10, revision: 25, previous: 21 } });
    expect(state.position).toEqual({ epoch: 10, revision: 25 });
    expect(state.behind).toBe(false);
  });

  test("stays where it is when an event is missing, and asks for it", () => {
    const state = after(joined, live(30, 25));
    expect(state.position).toEqual({ epoch: 10, revision: 20 });
    expect(state.behind).toBe(true);
    expect(reduce(state, { type: "joining" }).behind).toBe(false);
  });

  test("is not moved by events before the ack", () => {
    const state = after(history([]), {
      type: "presence",
      participants: [],
      step: { epoch: 10, revision: 20, previous: 19 },
    });
    expect(state.position).toBeUndefined();
    expect(state.behind).toBe(false);
  });

  test("survives the loss of the connection", () => {
    const state = after(joined, { type: "link", link: "reconnecting" });
    expect(state.position).toEqual({ epoch: 10, revision: 20 });
    expect(state.live).toBe(false);
  });

  test("an event of another epoch is a reason to join again", () => {
    const state = after(joined, { type: "step", step: { epoch: 11, revision: 21, previous: 20 } });
    expect(state.behind).toBe(true);
  });
});

describe("messages", () => {
  test("are kept by revision and once, whichever way they come", () => {
    const state = after(
      history([message(18), message(19)]),
      joined,
      live(21, 20),
      { type: "saved", message: message(21) },
      history([message(21), message(22)], { reset: false }),
    );
    expect(state.messages.map(({ revision }) => revision)).toEqual([18, 19, 21, 22]);
  });

  test("of a reset replace what was known", () => {
    const state = after(history([message(1)]), joined, history([message(30)], { reset: true }));
    expect(state.messages.map(({ revision }) => revision)).toEqual([30]);
  });

  test("that fell off meanwhile leave a gap that is told", () => {
    const state = after(
      history([message(1)]),
      joined,
      history([message(30), message(31)], { reset: false, truncated: true }),
    );
    expect(state.gaps).toEqual(["m30"]);
  });

  test("may have older ones, which is asked anew after each whole history", () => {
    const state = after(history([message(100)]));
    expect(state.hasOlder).toBeUndefined();
    const asked = reduce(state, { type: "hasOlder", hasOlder: true });
    const page = reduce(asked, { type: "older", messages: [message(98), message(99)], asked: 2 });
    expect(page.hasOlder).toBe(true);
    const short = reduce(page, { type: "older", messages: [message(97)], asked: 2 });
    expect(short.hasOlder).toBe(false);
    expect(short.messages[0]?.revision).toBe(97);
    expect(reduce(short, history([message(101)], { reset: false })).hasOlder).toBe(false);
    expect(reduce(short, history([message(101)], { reset: true })).hasOlder).toBeUndefined();
  });

  test("of a page that is open for days are bounded, the newest are held", () => {
    const many = Array.from({ length: Limits.shown }, (_, n) => message(30 + n));
    const state = after(history(many), joined, live(9000, 20));
    expect(state.messages).toHaveLength(Limits.shown);
    expect(state.messages[0]?.revision).toBe(31);
    expect(state.messages.at(-1)?.revision).toBe(9000);
  });
});

describe("drafts", () => {
  test("end when the message comes, by its ack, live, or in a history", () => {
    const mine = { userId: "me", requestId: "r" };
    expect(after(joined, draft("r"), { type: "saved", message: message(21, mine) }).drafts).toEqual([]);
    expect(after(joined, draft("r"), live(21, 20, mine)).drafts).toEqual([]);
    expect(after(joined, draft("r"), history([message(21, mine)], { reset: false })).drafts).toEqual([]);
  });

  test("are not ended by somebody else's message of the same request id", () => {
    expect(after(joined, draft("r"), live(21, 20, { requestId: "r" })).drafts).toHaveLength(1);
  });

  test("fail, are tried again, and are discarded", () => {
    const failed = after(draft("r"), { type: "failed", requestId: "r", problem: "no" });
    expect(failed.drafts[0]).toMatchObject({ state: "failed", problem: "no" });
    const again = reduce(failed, { type: "retry", requestId: "r" });
    expect(again.drafts[0]).toMatchObject({ state: "pending" });
    expect(again.drafts[0]?.problem).toBeUndefined();
    expect(reduce(again, { type: "discard", requestId: "r" }).drafts).toEqual([]);
  });
});

describe("attention", () => {
  test("messages of others count as unread while nobody looks, each once", () => {
    const state = after(
      joined,
      { type: "attention", attentive: false },
      live(21, 20),
      live(21, 20),
      live(22, 21, { userId: "me" }),
    );
    expect(state.unread).toBe(1);
    expect(reduce(state, { type: "attention", attentive: true }).unread).toBe(0);
  });
});

describe("typing", () => {
  const who = { userId: "other", username: "Other" };

  test("ends with the message, when the writer leaves, and after a while", () => {
    const writing = after(joined, { type: "typing", who, until: 100 });
    expect(Object.keys(writing.typing)).toEqual(["other"]);
    expect(reduce(writing, live(21, 20)).typing).toEqual({});
    expect(reduce(writing, { type: "expireTyping", now: 101 }).typing).toEqual({});
    expect(reduce(writing, { type: "expireTyping", now: 99 })).toBe(writing);
    const step = { epoch: 10, revision: 21, previous: 20 };
    expect(reduce(writing, { type: "presence", participants: [], step }).typing).toEqual({});
  });

  test("of our own other tab is not shown", () => {
    expect(after(joined, { type: "typing", who: { userId: "me", username: "Me" }, until: 1 }).typing).toEqual({});
  });
});

test("a closed room is left with what was said in it", () => {
  const state = after(history([message(1)]), joined, { type: "closed", reason: "deleted" });
  expect(state.closed).toBe("deleted");
  expect(state.messages).toHaveLength(1);
  expect(state.live).toBe(false);
});
