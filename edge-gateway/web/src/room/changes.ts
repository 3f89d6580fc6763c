/** Our own elements until the server has confirmed them: coalesced, sent at a pace, written down. */

import { BoardSync } from "../board/sync";
import type { WireElement } from "../protocol/payloads";
import { advise, pauseBefore } from "../protocol/refusals";
import type { Visit } from "./visit";

/** Twenty sends a second. */
const INTERVAL = 50;

/** So many changes may be without an answer; what is drawn meanwhile is coalesced. */
const MOST_UNDER_WAY = 8;

/** What is not confirmed after this long is written down. */
const KEEP_AFTER = 120;

export class Changes {
  readonly board = new BoardSync();
  readonly #visit: Visit;
  #underWay = 0;
  #tries = 0;
  #last = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #keepTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(visit: Visit) {
    this.#visit = visit;
  }

  /** The scene has these elements now. Answers those that it should show instead. */
  drawn(elements: readonly WireElement[]): WireElement[] {
    if (this.#visit.state().closed) return [];
    const { fresh, stale, tooLarge } = this.board.changed(elements);
    if (tooLarge.length > 0) {
      this.#visit.notify("Part of the drawing is too large for the room. It stays with you alone.");
    }
    if (fresh.length > 0) {
      this.#keepSoon();
      this.schedule();
    }
    return stale;
  }

  /** Sends what is not sent, as soon as the pace allows. */
  schedule(wait = 0): void {
    if (this.#timer !== undefined) return;
    const due = Math.max(wait, this.#last + INTERVAL - Date.now(), 0);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#flush();
    }, due);
  }

  /** Writes down what is not confirmed. */
  keep(): void {
    const { outbox, epoch } = this.#visit;
    const { put, drop } = this.board.kept();
    if (put.length > 0) void outbox.keepElements(epoch, put);
    if (drop.length > 0) void outbox.dropElements(drop);
  }

  /** The room that the unsent elements were made for is no more. */
  forget(): void {
    this.board.forget();
    this.keep();
  }

  /** Hands over everything at once: we are about to leave. What is not confirmed stays written down. */
  flushAndForget(): void {
    const { socket, state } = this.#visit;
    for (let batch = this.board.take(); batch.length > 0; batch = this.board.take()) {
      const sent = batch;
      void socket.change({ roomId: state().code, elements: sent }).then((answer) => {
        if (answer?.success) this.board.confirm(sent);
      });
    }
  }

  stop(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#keepTimer);
    this.keep();
  }

  #flush(): void {
    if (!this.#visit.state().live || this.#underWay >= MOST_UNDER_WAY || this.#visit.isStopped) return;
    const batch = this.board.take();
    if (batch.length === 0) return;
    this.#last = Date.now();
    void this.#send(batch);
    this.schedule();
  }

  async #send(batch: readonly WireElement[]): Promise<void> {
    this.#underWay += 1;
    let wait = 0;
    try {
      wait = await this.#deliver(batch);
    } finally {
      this.#underWay -= 1;
    }
    if (!this.#visit.isStopped) {
      this.schedule(wait);
      this.#keepSoon();
    }
  }

  /** Answers how long to wait before more is sent. */
  async #deliver(batch: readonly WireElement[]): Promise<number> {
    const answer = await this.#visit.socket.change({ roomId: this.#visit.state().code, elements: batch });
    if (answer?.success) {
      this.#tries = 0;
      this.board.confirm(batch);
      return 0;
    }
    if (!answer) {
      this.board.returned(batch);
      return pauseBefore({}, (this.#tries += 1));
    }
    const advice = advise(answer);
    if (advice.next === "stop") {
      // One bad element has the whole change refused: find it, and let the others through.
      const [only] = batch;
      if (batch.length === 1 && only) {
        this.board.refuse(only);
        this.#visit.notify(`Part of the drawing stays with you alone. ${advice.text}`);
        return 0;
      }
      const middle = Math.ceil(batch.length / 2);
      const first = await this.#deliver(batch.slice(0, middle));
      return Math.max(first, await this.#deliver(batch.slice(middle)));
    }
    this.board.returned(batch);
    if (advice.next === "rejoin") this.#visit.rejoin();
    else this.#visit.notify(advice.text);
    return Math.max(advice.next === "ask" ? 5000 : 0, pauseBefore(answer, (this.#tries += 1)));
  }

  #keepSoon(): void {
    if (this.#keepTimer !== undefined) return;
    this.#keepTimer = setTimeout(() => {
      this.#keepTimer = undefined;
      this.keep();
    }, KEEP_AFTER);
  }
}
