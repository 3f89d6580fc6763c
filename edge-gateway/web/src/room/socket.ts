/** The one connection to the gateway: the only file that knows Socket.io. */

import { io, type Socket } from "socket.io-client";

import { ClientEvent, ServerEvent } from "../protocol/events";
import type {
  Answer,
  Board,
  Change,
  Changed,
  Closed,
  Draining,
  History,
  Join,
  Joined,
  Leave,
  LiveMessage,
  Participant,
  Pointer,
  Problem,
  RoomStep,
  Said,
  Say,
  SomebodyPoints,
  SomebodyTypes,
  Typing,
  Update,
} from "../protocol/payloads";

/** What happens on the connection. */
export interface Listener {
  connected(): void;
  disconnected(): void;
  history(history: History): void;
  board(board: Board): void;
  update(update: Update): void;
  message(message: LiveMessage): void;
  presence(participants: Participant[], step: RoomStep): void;
  position(step: RoomStep): void;
  typing(who: SomebodyTypes): void;
  stopTyping(who: SomebodyTypes): void;
  pointer(pointer: SomebodyPoints): void;
  closed(closed: Closed): void;
  problem(problem: Problem): void;
}

/**
 * How long an answer may take, in milliseconds. The server answers within two seconds, so
 * afterwards the connection counts as dead, and nobody knows what became of the request.
 */
const PATIENCE = 5000;

/** How many characters a slow network sends in a millisecond. What is being sent is waited for at this pace. */
const SLOW_NETWORK = 20;

/** How long the answer to a farewell is waited for. */
const PARTING = 1000;

export class RoomSocket {
  readonly #socket: Socket;
  #goingAway: ReturnType<typeof setTimeout> | undefined;
  /** How many characters were sent in requests that have no answer yet. */
  #unanswered = 0;

  constructor(listener: Listener) {
    const socket = io({
      transports: ["websocket", "polling"],
      tryAllTransports: true,
      autoConnect: false,
      forceNew: true,
      reconnectionDelay: 300,
      reconnectionDelayMax: 4000,
      randomizationFactor: 0.5,
      timeout: 10_000,
    });
    this.#socket = socket;
    socket.on("connect", () => {
      clearTimeout(this.#goingAway);
      listener.connected();
    });
    socket.on("connect_error", () => {
      // The gateway itself refused, which Socket.io takes as final.
      if (!socket.active) this.#comeBack(1000 + Math.random() * 2000);
    });
    socket.on("disconnect", (reason) => {
      listener.disconnected();
      // Socket.io does not come back by itself where the server ended the connection.
      if (reason === "io server disconnect") this.#comeBack(500 + Math.random() * 1000);
    });
    socket.on(ServerEvent.history, (payload: History) => listener.history(payload));
    socket.on(ServerEvent.board, (payload: Board) => listener.board(payload));
    socket.on(ServerEvent.update, (payload: Update) => listener.update(payload));
    socket.on(ServerEvent.message, (payload: LiveMessage) => listener.message(payload));
    socket.on(ServerEvent.presence, (participants: Participant[], step: RoomStep) =>
      listener.presence(participants, step));
    socket.on(ServerEvent.position, (payload: RoomStep) => listener.position(payload));
    socket.on(ServerEvent.typing, (payload: SomebodyTypes) => listener.typing(payload));
    socket.on(ServerEvent.stopTyping, (payload: SomebodyTypes) => listener.stopTyping(payload));
    socket.on(ServerEvent.pointer, (payload: SomebodyPoints) => listener.pointer(payload));
    socket.on(ServerEvent.closed, (payload: Closed) => listener.closed(payload));
    socket.on(ServerEvent.error, (payload: Problem) => listener.problem(payload));
    socket.on(ServerEvent.draining, ({ retryAfterMs }: Draining) => this.#comeBack(retryAfterMs));
  }

  get isConnected(): boolean {
    return this.#socket.connected;
  }

  open(): void {
    this.#socket.connect();
  }

  close(): void {
    clearTimeout(this.#goingAway);
    this.#socket.disconnect();
  }

  /** Connects anew at once, whatever state the connection was in. */
  renew(): void {
    clearTimeout(this.#goingAway);
    this.#socket.disconnect().connect();
  }

  join(join: Join): Promise<Answer<Joined> | undefined> {
    return this.#ask(ClientEvent.join, join);
  }

  /** Resolves when the room knows, or after a moment: the connection is closed next. */
  async leave(leave: Leave): Promise<void> {
    if (!this.#socket.connected) return;
    try {
      await this.#request(ClientEvent.leave, leave, PARTING);
    } catch {
      // The end of the connection says the same.
    }
  }

  say(say: Say): Promise<Answer<Said> | undefined> {
    return this.#ask(ClientEvent.message, say);
  }

  change(change: Change): Promise<Answer<Changed> | undefined> {
    return this.#ask(ClientEvent.change, change);
  }

  typing(typing: Typing): void {
    this.#tell(ClientEvent.typing, typing);
  }

  stopTyping(typing: Typing): void {
    this.#tell(ClientEvent.stopTyping, typing);
  }

  pointer(pointer: Pointer): void {
    this.#tell(ClientEvent.pointer, pointer);
  }

  /** Resolves with `undefined` where no answer came: what became of the request is not known. */
  async #ask<T>(event: string, payload: object): Promise<Answer<T> | undefined> {
    const { id, connected } = this.#socket;
    if (!connected) return undefined;
    const { length } = JSON.stringify(payload);
    this.#unanswered += length;
    try {
      return await this.#request<T>(event, payload, PATIENCE + this.#unanswered / SLOW_NETWORK);
    } catch {
      // After a sleep a connection may be half open, which pings show half a minute later.
      // Of several requests that wait on one connection, the first replaces it.
      if (this.#socket.connected && this.#socket.id === id) this.renew();
      return undefined;
    } finally {
      this.#unanswered -= length;
    }
  }

  /** Rejects if the connection ends, or if no answer comes within so many milliseconds. */
  async #request<T>(event: string, payload: object, timeout: number): Promise<Answer<T>> {
    return (await this.#socket.timeout(timeout).emitWithAck(event, payload)) as Answer<T>;
  }

  /** What is worth nothing later is not kept for later. */
  #tell(event: string, payload: object): void {
    if (this.#socket.connected) this.#socket.volatile.emit(event, payload);
  }

  /** Connects anew after so many milliseconds, to whichever gateway then answers. */
  #comeBack(after: number): void {
    clearTimeout(this.#goingAway);
    this.#goingAway = setTimeout(() => this.renew(), after);
  }
}
