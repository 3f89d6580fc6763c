// A user at a socket: what they send, and everything they were sent, in order.

import assert from "node:assert/strict";

import { io } from "socket.io-client";

import { DEADLINE, until, within } from "./until.mjs";

let count = 0;

/** One connection of one user, over the npm socket.io-client. */
export class Member {
  #waiting = new Set();

  /** Everything received, acks too, in order: `{event, args, taken}`. */
  inbox = [];

  /** The position of the last join, by room. */
  positions = new Map();

  /**
   * `options`: `userId`, `username`, `transport` ("websocket" or "polling"),
   * `sync`, and `io`, more options of the client.
   */
  constructor(url, options = {}) {
    count += 1;
    this.userId = options.userId ?? `user-${process.pid}-${count}`;
    this.username = options.username ?? `User ${count}`;
    this.sync = options.sync;
    this.socket = io(url, {
      forceNew: true,
      reconnection: false,
      upgrade: false,
      transports: [options.transport ?? "websocket"],
      ...options.io,
    });
    this.socket.onAny((event, ...args) => this.#receive(event, args));
    this.socket.on("disconnect", (reason) => this.#receive("disconnect", [reason]));
    this.socket.on("connect_error", (error) => this.#receive("connect_error", [error]));
  }

  /** Connects and resolves with the member. */
  static async connect(url, options) {
    const member = new Member(url, options);
    await member.connected();
    return member;
  }

  connected() {
    const { socket } = this;
    return within(
      () => `${this.username} connects`,
      new Promise((resolve, reject) => {
        if (socket.connected) resolve();
        socket.once("connect", resolve);
        socket.once("connect_error", reject);
      }),
    );
  }

  #receive(event, args) {
    const entry = { event, args, taken: false };
    this.inbox.push(entry);
    for (const waiting of this.#waiting) waiting(entry);
  }

  /**
   * Takes the oldest event of this name that no earlier `next` has taken and for
   * which `predicate` holds, now or when it comes; resolves with its arguments'
   * first.
   */
  async next(event, predicate = () => true, deadline = DEADLINE) {
    const matches = (entry) =>
      !entry.taken && entry.event === event && predicate(...entry.args);
    let entry = this.inbox.find(matches);
    if (!entry) {
      let waiting;
      const arrival = new Promise((resolve) => {
        waiting = (candidate) => matches(candidate) && resolve(candidate);
        this.#waiting.add(waiting);
      });
      const seen = () => this.inbox.slice(-8).map(({ event: name, args }) =>
        `  ${name} ${JSON.stringify(args)?.slice(0, 300)}`).join("\n");
      entry = await within(
        () => `${this.username} receives ${event} ${predicate}; last received:\n${seen()}`,
        arrival,
        deadline,
      ).finally(() => this.#waiting.delete(waiting));
    }
    entry.taken = true;
    return entry.args[0];
  }

  /** The payloads of all events of this name so far. */
  received(event) {
    return this.inbox.filter((entry) => entry.event === event).map(({ args }) => args[0]);
  }

  /** Sends an event without an ack. */
  tell(event, ...payload) {
    this.socket.emit(event, ...payload);
  }

  /** Sends an event and resolves with its ack, which also goes to the inbox. */
  ask(event, ...payload) {
    return within(
      () => `${this.username} gets an ack of ${event}`,
      new Promise((resolve) => {
        this.socket.emit(event, ...payload, (answer) => {
          this.#receive("ack", [answer, event]);
          resolve(answer);
        });
      }),
    );
  }

  /** Joins as this user and expects success. */
  async join(roomId, more = {}) {
    const { userId, username, sync } = this;
    const answer = await this.ask("join", {
      roomId,
      userId,
      username,
      ...(sync && { sync }),
      ...more,
    });
    assert.equal(answer.success, true, JSON.stringify(answer));
    this.positions.set(roomId, { epoch: answer.epoch, revision: answer.revision });
    return answer;
  }

  /** Says something and resolves with the stored message. */
  async say(roomId, message, more = {}) {
    const { userId, username } = this;
    const answer = await this.ask("chat:message", {
      roomId,
      userId,
      username,
      message,
      ts: 1,
      ...more,
    });
    assert.equal(answer.success, true, JSON.stringify(answer));
    return answer.message;
  }

  /** Changes the whiteboard and resolves with the ack. */
  async draw(roomId, elements, more = {}) {
    const answer = await this.ask("whiteboard-change", { roomId, elements, ...more });
    assert.equal(answer.success, true, JSON.stringify(answer));
    return answer;
  }

  async leave(roomId) {
    const answer = await this.ask("leave", { roomId, userId: this.userId });
    assert.equal(answer.success, true, JSON.stringify(answer));
  }

  /**
   * What has moved this connection's position in a room since its last join:
   * `{event, epoch, revision, previous}` in the order received.
   */
  chain(roomId) {
    const joined = this.inbox.findLastIndex(
      ({ event, args }) =>
        event === "ack" && args[1] === "join" && args[0].room?.code === roomId,
    );
    const steps = [];
    for (const { event, args } of this.inbox.slice(joined + 1)) {
      const step = event === "presence:update" ? args[1] : args[0];
      if (event !== "ack" && step?.roomId === roomId && step.previous !== undefined) {
        steps.push({ event, ...step });
      }
    }
    return steps;
  }

  /** Fails unless each step of `chain` follows the one before it. */
  assertUnbroken(roomId) {
    let { epoch, revision } = this.positions.get(roomId);
    for (const step of this.chain(roomId)) {
      assert.equal(step.epoch, epoch, `epoch of ${step.event}`);
      assert.equal(step.previous, revision, `previous of ${JSON.stringify(step).slice(0, 400)}`);
      assert.ok(step.revision > revision, `revision of ${step.event}`);
      revision = step.revision;
    }
    return revision;
  }

  /** Resolves when exactly these are present, as this member was last told. */
  present(roomId, usernames) {
    return until(`${this.username} is told that ${usernames} are present`, () => {
      const last = this.inbox.findLast(({ event, args }) =>
        event === "presence:update" && args[1]?.roomId === roomId);
      return JSON.stringify(last?.args[0].map(({ username }) => username)) === JSON.stringify(usernames);
    });
  }

  close() {
    this.socket.disconnect();
  }
}

/** Fails unless `answer` is a refusal with this code (or one of these). */
export function assertRefused(answer, ...codes) {
  assert.equal(answer?.success, false, JSON.stringify(answer)?.slice(0, 400));
  assert.ok(codes.includes(answer.code), `${answer.code} is not ${codes}: ${answer.error}`);
  assert.equal(typeof answer.error, "string");
  assert.notEqual(answer.error, "");
}

/** An Excalidraw element, small. */
export function element(id, version = 1, more = {}) {
  return { id, type: "rectangle", version, versionNonce: 1000, isDeleted: false, ...more };
}

/** The ids of elements, in their order. */
export const ids = (elements) => elements.map(({ id }) => id);
