// What one browser tab knows of a room, from nothing but what it was told.

import { Board } from "./model.mjs";

// How many messages somebody who joins without a position is shown.
const HISTORY = 50;

// What a join is answered with before its ack, in this order.
const ANSWER = ["chat:history", "whiteboard:state", "presence:update"];

/**
 * Takes the events of one room in the order received and keeps the room as a
 * client would. What must never happen is told to `complain(rule, text)`.
 */
export class Reader {
  #complain;

  /** Between a join that was sent and its answer: what has come of it so far. */
  #arriving;

  /** The message ids that are shown now. */
  #shown = new Set();

  /** `{epoch, revision}` of the last thing told; undefined before the first join. */
  position;

  /** The messages, oldest first: all of the room with a revision above `floor`. */
  messages = [];

  floor = 0;

  board = new Board();

  /** Whether it is a member now. */
  joined = false;

  /** Who is present: `[{userId, username}]`. */
  people = [];

  /** Every message that was ever heard, by id, also where a reset took it back. */
  heard = new Map();

  /** The operations whose elements were ever shown. */
  strokes = new Set();

  /** What brought this reader where it is. */
  counts = { resumes: 0, resets: 0, truncations: 0 };

  /** Its joins: from where, to where, and what it was shown. */
  way = [];

  /** How the room ended, once it has. */
  closed;

  constructor({ sync, name, complain }) {
    this.sync = sync;
    this.name = name;
    this.#complain = complain;
  }

  /** A join is sent, from a position or from nothing. */
  asks(after) {
    this.#arriving = { after, came: [] };
  }

  /** The join was refused, or its answer is lost. */
  gaveUp() {
    this.#arriving = undefined;
  }

  /** The connection, or the membership, is over; what is known stays. */
  left() {
    this.joined = false;
    this.#arriving = undefined;
  }

  /**
   * The join was acknowledged. Only now what came before counts: an answer that
   * is lost half-way leaves the reader where it was.
   */
  arrives({ epoch, revision }) {
    const { after, came } = this.#arriving;
    this.#arriving = undefined;
    if (came.length !== ANSWER.length) {
      const events = came.map(({ event }) => event);
      this.#complain("join order", `before the ack of join came only: ${events}`);
      return;
    }
    const [history, state, presence] = came.map(({ args }) => args[0]);
    if (after && history.reset === undefined) {
      this.#complain("resume", "the answer does not say whether the position was served");
    }
    if (after && history.reset) this.counts.resets += 1;
    if (!after && this.joined) this.#agrees(history.messages);
    this.#take(history);
    this.#paint(state);
    this.#see(presence);
    this.position = { epoch, revision };
    this.joined = true;
    this.way.push({ after: after?.revision, at: revision, reset: history.reset, elements: state.elements.length });
    if (after) this.counts.resumes += 1;
  }

  receive(event, args) {
    if (this.#isAnswer(event, args[0])) {
      this.#arriving.came.push({ event, args });
      return;
    }
    if (!this.joined) {
      this.#complain("silence", `${event} came without a membership`);
      return;
    }
    const [payload, step] = args;
    switch (event) {
      case "chat:history":
        if (payload.reset !== false) this.counts.resets += 1;
        this.#take(payload);
        break;
      case "whiteboard:state":
        this.#paint(payload);
        break;
      case "presence:update":
        if (this.#step(event, step)) this.#see(payload);
        break;
      case "chat:message":
        if (this.#step(event, payload)) this.#add(payload);
        break;
      case "whiteboard-update":
        this.#update(payload);
        break;
      case "room:position":
        this.#step(event, payload);
        break;
      case "room:closed":
        this.closed = payload.reason;
        this.left();
        break;
      default:
    }
  }

  /** What an own change became, once it is acknowledged. */
  drew(elements) {
    this.board.merge(elements);
  }

  // Whether an event is the next part of the answer to a join, or one of the feed.
  #isAnswer(event, payload) {
    if (!this.#arriving || ANSWER[this.#arriving.came.length] !== event) return false;
    // To a member who joins anew the feed may tell of a reset meanwhile.
    return !(this.joined && event !== "presence:update" && payload.reset !== undefined);
  }

  #take({ messages, count, reset, truncated }) {
    if (count !== messages.length) {
      this.#complain("count", `a history of ${messages.length} says that it is ${count}`);
    }
    if (reset === false && !truncated) {
      for (const message of messages) this.#add(message);
      return;
    }
    if (truncated) this.counts.truncations += 1;
    this.messages = [];
    this.#shown.clear();
    const whole = !truncated && messages.length < HISTORY;
    this.floor = whole ? 0 : (messages[0]?.revision ?? this.position.revision + 1) - 1;
    for (const message of messages) this.#add(message);
  }

  // A fresh history on a connection that has heard everything holds nothing that
  // was not heard.
  #agrees(messages) {
    for (const { id, revision } of messages) {
      if (revision > this.floor && revision <= this.position.revision && !this.#shown.has(id)) {
        this.#complain("gap", `a history holds ${id} at ${revision}, which was never heard`);
      }
    }
  }

  #add(message) {
    this.heard.set(message.id, message);
    if (this.#shown.has(message.id)) {
      this.#complain("twice", `message ${message.id} (${message.message}) came twice`);
      return;
    }
    const last = this.messages.at(-1);
    if (last && last.revision >= message.revision) {
      this.#complain(
        "order",
        `message ${message.id} at ${message.revision} came after ${last.id} at ${last.revision}`,
      );
    }
    this.#shown.add(message.id);
    this.messages.push(message);
  }

  #paint({ elements, reset }) {
    this.#saw(elements);
    if (reset === false) this.board.merge(elements);
    else this.board = new Board(elements);
  }

  #see(people) {
    const ids = people.map(({ userId }) => userId);
    if (new Set(ids).size !== ids.length) this.#complain("presence", `a user is listed twice: ${ids}`);
    this.people = people;
  }

  #update({ elements, ...step }) {
    // To one alone, the winners over its own change: no step of the room.
    if (step.previous !== undefined && !this.#step("whiteboard-update", step)) return;
    this.#saw(elements);
    if (this.sync === "delta") this.board.merge(elements);
    else this.board = new Board(elements);
  }

  #saw(elements) {
    for (const { stroke } of elements) if (stroke) this.strokes.add(stroke);
  }

  // Whether a live event is one of this reader's room; it moves the position.
  #step(event, { epoch, revision, previous }) {
    if (epoch !== this.position.epoch) {
      this.#complain("epoch", `${event} of epoch ${epoch} came to a member of ${this.position.epoch}`);
      return false;
    }
    // A full client does not hear of every change, so its chain has holes.
    if (this.sync === "delta" && previous !== this.position.revision) {
      this.#complain(
        "chain",
        `${event} at ${revision} follows ${previous}; the position is ${this.position.revision}`,
      );
    }
    this.position = { epoch, revision };
    return true;
  }
}
