/**
 * One visit of a room: joins, follows what happens, sends what is made, and comes back with
 * its position when the connection was lost.
 */

import type { BoardSync } from "../board/sync";
import { listMessages } from "../protocol/http";
import {
  type Joined,
  Limits,
  type Pointer,
  type Refusal,
  type SomebodyPoints,
  type WireElement,
} from "../protocol/payloads";
import { advise, pauseBefore } from "../protocol/refusals";
import { Changes } from "./changes";
import { Drafts } from "./drafts";
import type { Fate } from "./fates";
import { Outbox } from "./outbox";
import { Signals } from "./signals";
import { type Listener, RoomSocket } from "./socket";
import { type Action, initialState, reduce, type RoomState } from "./state";
import type { Identity, Visit } from "./visit";

/** An indicator that is not renewed ends. */
const TYPING_LASTS = 5000;

/** How often the clock of a visit ticks. */
const TICK = 1000;

/** After a pause between two ticks that is longer than this, the connection may be half open: the machine slept. */
const SLEPT_AFTER = 10_000;

/** How long "reconnecting" stays what it is before it is called offline. */
const OFFLINE_AFTER = 8000;

const ANOTHER_ROOM = "This code belongs to another room now than the one this was written in.";
const NO_ROOM = "The room ended before this was sent.";

export class RoomSession implements Visit {
  readonly outbox: Outbox;
  readonly socket: RoomSocket;
  readonly #drafts = new Drafts(this);
  readonly #changes = new Changes(this);
  readonly #signals = new Signals(this);
  readonly #listeners = new Set<() => void>();
  readonly #pointerListeners = new Set<(pointer: SomebodyPoints) => void>();
  readonly #stopped = new AbortController();
  #identity: Identity;
  #state: RoomState;
  #shown: RoomState;
  #epoch = 0;

  /** Tells joins apart: only the newest one's answer counts. */
  #join = 0;
  #joinTries = 0;
  #notices = 0;
  #offlineTimer: ReturnType<typeof setTimeout> | undefined;
  #lastTick = Date.now();
  #hasSlept = false;

  constructor(code: string, identity: Identity) {
    this.#identity = identity;
    this.#state = initialState(code, identity.userId);
    this.#shown = this.#state;
    this.outbox = new Outbox(code, (keeps) => this.dispatch({ type: "keeps", keeps }));
    this.socket = new RoomSocket(this.#events());
    void this.#start();
  }

  async #start(): Promise<void> {
    await this.#restore();
    if (this.isStopped) return;
    const { signal } = this.#stopped;
    // A missed ping would tell it half a minute later. And a browser that believes to be
    // offline may still reach a gateway on its own machine: trying tells.
    const renew = () => {
      this.dispatch({ type: "link", link: navigator.onLine ? "reconnecting" : "offline" });
      this.socket.renew();
    };
    window.addEventListener("online", renew, { signal });
    window.addEventListener("offline", renew, { signal });
    window.addEventListener("pagehide", () => this.#changes.keep(true), { signal });
    const clock = setInterval(() => this.#tick(), TICK);
    signal.addEventListener("abort", () => clearInterval(clock));
    this.#offlineTimer = setTimeout(() => this.#lostForLong(), OFFLINE_AFTER);
    if (!navigator.onLine) this.dispatch({ type: "link", link: "offline" });
    this.socket.open();
  }

  #tick(): void {
    const now = Date.now();
    this.dispatch({ type: "expireTyping", now });
    this.#hasSlept ||= now - this.#lastTick > SLEPT_AFTER;
    this.#lastTick = now;
    // A browser lets the clock of a hidden page tick once a minute, and nobody waits there.
    if (!this.#hasSlept || document.visibilityState !== "visible") return;
    this.#hasSlept = false;
    // The answer brings what was missed. If none comes, the connection is replaced.
    this.rejoin();
  }

  async #restore(): Promise<void> {
    const { messages, elements } = await this.outbox.load(this.#identity.userId);
    if (this.isStopped) return;
    this.#epoch = Math.max(0, ...messages.map(({ epoch }) => epoch), ...elements.map(({ epoch }) => epoch));
    const isOfThisRoom = ({ epoch }: { epoch: number }) => epoch === 0 || epoch === this.#epoch;
    this.#drafts.restore(messages.filter((message) => !isOfThisRoom(message)));
    this.#drafts.fail(ANOTHER_ROOM);
    this.#drafts.restore(messages.filter(isOfThisRoom));
    void this.outbox.dropElements(elements.filter((one) => !isOfThisRoom(one)).map(({ element }) => element));
    this.board.restore(elements.filter(isOfThisRoom).map(({ element }) => element));
  }

  // What components use.

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  readonly state = (): RoomState => this.#state;

  /** The state, without the steps of the position that nothing shows. */
  readonly shown = (): RoomState => this.#shown;

  get board(): BoardSync {
    return this.#changes.board;
  }

  onPointer(listener: (pointer: SomebodyPoints) => void): () => void {
    this.#pointerListeners.add(listener);
    return () => this.#pointerListeners.delete(listener);
  }

  say(text: string): void {
    this.#drafts.write(text);
  }

  retry(requestId: string): void {
    this.#drafts.retry(requestId);
  }

  discard(requestId: string): void {
    this.#drafts.discard(requestId);
  }

  typing(isTyping: boolean): void {
    this.#signals.typing(isTyping);
  }

  point(pointer: Omit<Pointer, "roomId">): void {
    this.#signals.point(pointer);
  }

  drawn(elements: readonly WireElement[]): WireElement[] {
    return this.#changes.drawn(elements);
  }

  /** Deletes elements that the board does not show, for everybody. */
  remove(ids: readonly string[]): void {
    this.#changes.remove(ids);
  }

  /** What becomes of these elements, once the server has answered or the visit is over. */
  settled(elements: readonly WireElement[]): Promise<Map<string, Fate>> {
    return this.#changes.settled(elements);
  }

  /** Resolves once the room has been entered, and its board is known; with `false` if it cannot be. */
  entered(): Promise<boolean> {
    return new Promise((resolve) => {
      const look = () => {
        const { room, outside, closed } = this.#state;
        const isOver = outside !== undefined || closed !== undefined || this.isStopped;
        if (!room && !isOver) return;
        stop();
        resolve(!isOver);
      };
      const stop = this.subscribe(look);
      look();
    });
  }

  async loadOlder(): Promise<void> {
    const answer = await listMessages(this.#state.code, Limits.page, this.#state.messages[0]?.revision);
    if (this.isStopped) return;
    if (answer.success) {
      this.dispatch({ type: "older", messages: answer.messages, asked: Limits.page });
    } else {
      this.notify(advise(answer).text);
    }
  }

  /** Another name, which everybody sees. */
  rename(username: string): void {
    if (username === this.#identity.username) return;
    this.#identity = { ...this.#identity, username };
    if (!this.#state.outside) this.rejoin();
  }

  attention(attentive: boolean): void {
    if (attentive !== this.#state.attentive || (attentive && this.#state.unread > 0)) {
      this.dispatch({ type: "attention", attentive });
    }
  }

  dismiss(id: number): void {
    this.dispatch({ type: "dismiss", id });
  }

  /** Tries once more to get in. */
  tryAgain(): void {
    if (this.socket.isConnected) void this.#enter();
    else this.socket.renew();
  }

  /** Leaves the room, and tells it so where that is possible. */
  async stop(): Promise<void> {
    if (this.isStopped) return;
    this.#stopped.abort();
    clearTimeout(this.#offlineTimer);
    this.#signals.stop();
    this.#changes.stop();
    if (this.#state.live) {
      // What is made goes out before we do: events of one socket keep their order.
      this.#drafts.flushAndForget();
      this.#changes.flushAndForget();
      await this.socket.leave({ roomId: this.#state.code, userId: this.#identity.userId });
      this.#changes.keep();
    }
    this.socket.close();
    this.outbox.close();
  }

  // What the parts of the visit use.

  get identity(): Identity {
    return this.#identity;
  }

  get epoch(): number {
    return this.#epoch;
  }

  get isStopped(): boolean {
    return this.#stopped.signal.aborted;
  }

  notify(text: string): void {
    this.#notices += 1;
    this.dispatch({ type: "notice", notice: { id: this.#notices, text } });
  }

  rejoin(): void {
    if (this.socket.isConnected && !this.#state.closed) void this.#enter();
  }

  after(wait: number, act: () => void): void {
    const timer = setTimeout(() => {
      this.#stopped.signal.removeEventListener("abort", stop);
      act();
    }, wait);
    const stop = () => clearTimeout(timer);
    this.#stopped.signal.addEventListener("abort", stop);
  }

  dispatch(action: Action): void {
    const before = this.#state;
    this.#state = reduce(before, action);
    if (this.#state === before) return;
    if (!looksLike(this.#shown, this.#state)) {
      this.#shown = this.#state;
      for (const listener of this.#listeners) listener();
    }
    if (this.#state.behind && !before.behind) this.rejoin();
  }

  // What happens.

  #events(): Listener {
    const here = <T extends { roomId: string }>(handle: (payload: T) => void) => (payload: T) => {
      if (payload.roomId === this.#state.code && !this.isStopped) handle(payload);
    };
    return {
      connected: () => {
        this.#joinTries = 0;
        this.rejoin();
      },
      disconnected: () => {
        if (this.isStopped) return;
        this.#join += 1;
        this.board.lost();
        this.#changes.keep();
        this.dispatch({ type: "link", link: navigator.onLine ? "reconnecting" : "offline" });
        clearTimeout(this.#offlineTimer);
        this.#offlineTimer = setTimeout(() => this.#lostForLong(), OFFLINE_AFTER);
      },
      history: here((history) => {
        for (const { requestId } of history.messages) this.#drafts.delivered(requestId);
        this.dispatch({ type: "history", history });
      }),
      board: here(({ elements, reset }) => {
        if (reset === false) this.board.receive(elements);
        else this.board.reset(elements);
      }),
      update: here(({ elements, epoch, revision, previous }) => {
        this.board.receive(elements);
        if (epoch !== undefined && revision !== undefined && previous !== undefined) {
          this.dispatch({ type: "step", step: { epoch, revision, previous } });
        }
      }),
      message: here((message) => {
        this.#drafts.delivered(message.requestId);
        this.dispatch({ type: "message", message });
      }),
      presence: (participants, step) => {
        if (step.roomId !== this.#state.code || this.isStopped) return;
        this.dispatch({ type: "presence", participants, step });
      },
      position: here((step) => this.dispatch({ type: "step", step })),
      typing: here((who) => this.dispatch({ type: "typing", who, until: Date.now() + TYPING_LASTS })),
      stopTyping: here(({ userId }) => this.dispatch({ type: "stopTyping", userId })),
      pointer: here((pointer) => {
        for (const listener of this.#pointerListeners) listener(pointer);
      }),
      closed: here(({ reason }) => this.#closed(reason)),
      problem: (problem) => {
        if (problem.roomId !== undefined && problem.roomId !== this.#state.code) return;
        // What carries no ack is a signal: one that was not told is not worth a word.
        if (problem.code === "NOT_JOINED") this.rejoin();
      },
    };
  }

  #closed(reason: NonNullable<RoomState["closed"]>): void {
    this.#join += 1;
    this.#changes.forget();
    this.#drafts.fail(NO_ROOM);
    this.dispatch({ type: "closed", reason });
  }

  // Joining.

  async #enter(): Promise<void> {
    this.#join += 1;
    const join = this.#join;
    const { code, position } = this.#state;
    this.dispatch({ type: "joining" });
    const answer = await this.socket.join({
      roomId: code,
      userId: this.#identity.userId,
      username: this.#identity.username,
      sync: "delta",
      ...(position && { after: position }),
    });
    if (join !== this.#join || this.isStopped) return;
    if (!answer) this.#enterLater(pauseBefore({}, this.#joinTries));
    else if (answer.success) this.#entered(answer);
    else this.#refusedAtTheDoor(answer);
  }

  #entered(joined: Joined): void {
    this.#joinTries = 0;
    clearTimeout(this.#offlineTimer);
    if (this.#epoch !== 0 && this.#epoch !== joined.epoch) {
      this.board.abandon();
      this.#changes.keep();
      this.#drafts.fail(ANOTHER_ROOM);
    }
    this.#epoch = joined.epoch;
    this.dispatch({ type: "joined", joined });
    // What was under way may not have arrived; sending an element twice changes nothing.
    this.board.lost();
    this.#changes.schedule();
    void this.#drafts.flush();
    if (this.#state.hasOlder === undefined) void this.#lookForOlder();
  }

  /** How many messages a joiner is told is a setting of the server, so whether there are older ones is asked. */
  async #lookForOlder(): Promise<void> {
    const [first] = this.#state.messages;
    if (!first) return;
    const answer = await listMessages(this.#state.code, 1, first.revision);
    if (answer.success && !this.isStopped) this.dispatch({ type: "hasOlder", hasOlder: answer.count > 0 });
  }

  #refusedAtTheDoor(refusal: Refusal): void {
    const { text, next } = advise(refusal);
    if (refusal.code === "ROOM_NOT_FOUND") {
      // Whoever has been in keeps what was there.
      if (this.#state.room) this.#closed("gone");
      else this.dispatch({ type: "outside", outside: { text, again: false, isMissing: true } });
    } else if (next === "again" || next === "rejoin") {
      this.#enterLater(pauseBefore(refusal, this.#joinTries));
    } else {
      this.dispatch({ type: "outside", outside: { text, again: next === "ask", isMissing: false } });
    }
  }

  #enterLater(wait: number): void {
    this.#joinTries += 1;
    this.dispatch({ type: "link", link: this.#state.link === "connecting" ? "connecting" : "reconnecting" });
    const join = this.#join;
    this.after(wait, () => {
      if (join === this.#join) this.rejoin();
    });
  }

  #lostForLong(): void {
    if (!this.#state.live && !this.#state.outside && !this.#state.closed) {
      this.dispatch({ type: "link", link: "offline" });
    }
  }
}

/** Whether two states are the same to people: somebody's every stroke moves the position. */
function looksLike(one: RoomState, other: RoomState): boolean {
  const keys = Object.keys(one) as (keyof RoomState)[];
  return keys.every((key) => key === "position" || one[key] === other[key]);
}
