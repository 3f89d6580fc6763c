// One browser tab of one user in one room: it stays connected, comes back from
// where it was, and keeps asking until it knows what became of what it sent.

import { io } from "socket.io-client";

import { Reader } from "./reader.mjs";

// How long a tab waits before it connects again, in milliseconds: as long as it
// likes, so that not all come at once.
const COME_BACK = { least: 30, most: 300 };

// How long an answer may take before a tab takes it for lost. Long: how long it
// took is for the checker to judge.
const PATIENCE = 60_000;

// What a refusal says of a write that may yet have been stored.
const IN_DOUBT = "OUTCOME_UNKNOWN";

// How a signal may be refused: its tab may have left since, or the store is away.
const LOST_SIGNAL = new Set(["NOT_JOINED", "ROOM_NOT_FOUND", "STORE_UNAVAILABLE", "INTERNAL"]);

// Refusals after which a tab has nothing more to do in its room. */
const OVER = new Set(["ROOM_NOT_FOUND", "ROOM_FULL"]);

export class Tab {
  #crowd;
  #url;
  #socket;
  #timers = new Set();
  #retryAfter = 0;

  /** Writes whose outcome is not known yet, in the order sent. */
  pending = new Set();

  /** Requests under way, of all kinds. */
  outstanding = 0;

  /** "away", "joining", "in", "over" (the room has ended) or "closed" (by the user). */
  state = "away";

  /**
   * `crowd`: see crowd.mjs; `url`: a function that says where to connect;
   * `user`, `room`, `sync`, `transport`.
   */
  constructor(crowd, { url, user, room, sync, transport, random, name }) {
    this.#crowd = crowd;
    this.#url = url;
    this.user = user;
    this.room = room;
    this.sync = sync;
    this.transport = transport ?? "websocket";
    this.random = random;
    this.name = name;
    this.reader = new Reader({
      sync,
      name,
      complain: (rule, text) => {
        crowd.complain(rule, `${name} in ${room}: ${text}`);
        // As a client that finds itself behind: it comes back from where it was.
        if (rule === "chain") setImmediate(() => this.drop());
      },
    });
    this.#connect();
  }

  get isIn() {
    return this.state === "in";
  }

  #later(action, milliseconds) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      action();
    }, milliseconds);
    this.#timers.add(timer);
  }

  #connect() {
    if (this.state === "closed" || this.state === "over") return;
    this.state = "away";
    this.isDraining = false;
    const { name } = this;
    const socket = io(this.#url(), {
      forceNew: true,
      reconnection: false,
      upgrade: false,
      timeout: 5_000,
      transports: [this.transport],
    });
    this.#socket = socket;
    socket.on("connect", () => this.#join());
    socket.on("connect_error", () => this.#comesBack(socket));
    socket.on("disconnect", () => this.#comesBack(socket));
    socket.onAny((event, ...args) => {
      if (this.#socket !== socket) return;
      if (event === "server:draining") {
        this.isDraining = true;
        this.#retryAfter = args[0].retryAfterMs;
      } else if (event === "error") {
        // Only signals are sent without an ack; what is lost of them is lost.
        this.#crowd.told(this, args[0]);
        if (!LOST_SIGNAL.has(args[0].code)) this.#crowd.complain("error", `${name}: ${JSON.stringify(args)}`);
      } else this.#receive(event, args);
    });
  }

  #receive(event, args) {
    const room = event === "presence:update" ? args[1]?.roomId : args[0]?.roomId;
    if (room !== this.room) {
      this.#crowd.complain("room", `${this.name} in ${this.room} received ${event} of ${room}`);
      return;
    }
    const before = this.reader.closed;
    this.reader.receive(event, args);
    this.#crowd.heard(this, event, args);
    if (this.reader.closed && !before) this.#over();
  }

  #over() {
    this.state = "over";
    this.endedAt = performance.now();
    this.#socket.disconnect();
  }

  #comesBack(socket) {
    if (this.#socket !== socket) return;
    socket.off();
    socket.disconnect();
    this.reader.left();
    if (this.state === "closed" || this.state === "over") return;
    this.state = "away";
    const { least, most } = COME_BACK;
    const pause = this.#retryAfter || least + this.random.below(most - least);
    this.#retryAfter = 0;
    this.#later(() => this.#connect(), pause);
  }

  // Joins from where it was, or anew where it was nowhere or keeps no position.
  #join(more = {}) {
    const socket = this.#socket;
    const { reader, user } = this;
    this.state = "joining";
    const after = this.sync === "delta" && !more.anew ? reader.position : undefined;
    reader.asks(after);
    const request = {
      roomId: this.room,
      userId: user.id,
      username: user.username,
      ...(this.sync && { sync: this.sync }),
      ...(after && { after }),
    };
    this.#ask("join", request, (error, answer) => {
      if (this.#socket !== socket || this.state === "closed") return;
      if (error) {
        reader.gaveUp();
        return;
      }
      if (answer.success) {
        reader.arrives(answer);
        // What is not answered yet is shown on top of what the server has.
        if (this.sync !== "delta") for (const op of this.pending) this.#draws(op);
        this.state = "in";
        this.joinedAt = answer.revision;
        this.#crowd.joined(this);
        this.#resend();
        return;
      }
      reader.gaveUp();
      if (OVER.has(answer.code)) {
        if (this.state === "joining") this.#over();
        return;
      }
      this.#later(() => {
        if (this.#socket === socket && socket.connected && this.state === "joining") this.#join(more);
      }, 100 + this.random.below(200));
    });
  }

  /** Sends an event; `answered(error, answer)` is called once. */
  #ask(event, request, answered) {
    this.outstanding += 1;
    this.#socket.timeout(PATIENCE).emit(event, request, (error, answer) => {
      this.outstanding -= 1;
      if (!error) this.#crowd.told(this, answer);
      answered(error, answer);
    });
  }

  /** Sends a write, and again until its outcome is known. */
  write(op) {
    op.owner = this;
    this.pending.add(op);
    this.#attempt(op);
  }

  /** Sends what is pending once more, in an order of its own. */
  #resend() {
    for (const op of this.pending) if (!op.underWay) this.#attempt(op);
  }

  #attempt(op) {
    op.underWay = (op.underWay ?? 0) + 1;
    const attempt = { sentAt: performance.now(), on: this.#socket.id, tab: this };
    op.attempts.push(attempt);
    if (op.event === "whiteboard-change" && this.sync !== "delta") this.#draws(op);
    this.#ask(op.event, op.request, (error, answer) => {
      op.underWay -= 1;
      attempt.took = performance.now() - attempt.sentAt;
      attempt.answer = error ? { code: "NO_ANSWER" } : answer;
      this.#settle(op, attempt);
    });
  }

  // Full clients show what they draw at once.
  #draws(op) {
    if (op.event === "whiteboard-change") this.reader.drew(op.request.elements);
  }

  #settle(op, { answer }) {
    const { owner } = op;
    this.#crowd.answered(op, answer);
    if (answer.success) {
      owner.pending.delete(op);
      op.answer ??= answer;
      // What lost is sent the winner; what tied with a stored element is not shown.
      const shown = op.event === "whiteboard-change" && !(op.tie && answer.accepted === 0);
      if (shown && this.sync === "delta") this.reader.drew(op.request.elements);
      return;
    }
    if (op.answer) return;
    if (answer.code === "NO_ANSWER" || answer.code === IN_DOUBT) op.inDoubt = true;
    if (!op.persistent && !op.inDoubt && answer.code !== "NOT_JOINED") {
      // A definite no: it is given up, and must never have taken effect.
      op.refused = answer.code;
      owner.pending.delete(op);
    } else if (!op.request.requestId) {
      // It cannot be repeated, for good or ill.
      owner.pending.delete(op);
    } else {
      owner.#retry(op);
    }
  }

  // Asks again in a while, if it is still in; else with the next join.
  #retry(op) {
    this.#later(() => {
      if (this.isIn && this.pending.has(op) && !op.underWay) this.#attempt(op);
    }, 100 + this.random.below(200));
  }

  /** Sends a write that is also under way elsewhere, or was answered: its twin. */
  repeat(op) {
    this.#attempt(op);
  }

  /** Tells something momentary. */
  signal(event, more = {}) {
    this.#socket.emit(event, { roomId: this.room, ...more });
  }

  /** Takes another name. */
  rename(username) {
    this.user.username = username;
    this.#join({ anew: true });
  }

  /** Leaves the room and comes again from where it was. */
  leaveAndReturn() {
    const socket = this.#socket;
    this.state = "leaving";
    this.#ask("leave", { roomId: this.room, userId: this.user.id }, (error, answer) => {
      if (this.#socket !== socket || this.state === "closed" || error) return;
      // Nothing is delivered after the ack. After a refusal it may still be a member.
      if (answer.success) this.reader.left();
      this.#join({ anew: !answer.success });
    });
  }

  /** The connection breaks without a word; the tab comes back by itself. */
  drop() {
    const { engine } = this.#socket.io;
    const connection = engine?.transport?.ws;
    if (connection?.terminate) connection.terminate();
    else this.#socket.io.engine?.close();
  }

  /** The user closes it. */
  close() {
    this.state = "closed";
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    this.reader.left();
    this.#socket.disconnect();
  }
}
