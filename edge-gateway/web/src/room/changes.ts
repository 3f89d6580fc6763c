/** Our own elements until the server has confirmed them: coalesced, sent at a pace, written down. */

import { bytesOf, fullnessOf, inWords, warningAt } from "../board/fullness";
import { BOARD_FULL, count, reasons, sum, TOO_LARGE } from "../board/reasons";
import { BoardSync } from "../board/sync";
import { Limits, type Refusal, type WireElement } from "../protocol/payloads";
import { advise, pauseBefore } from "../protocol/refusals";
import { type Fate, Fates } from "./fates";
import type { Visit } from "./visit";

/** Twenty sends a second. */
const INTERVAL = 50;

/** So many changes may be without an answer; what is drawn meanwhile is coalesced. */
const MOST_UNDER_WAY = 8;

/** What is not confirmed after this long is written down. */
const KEEP_AFTER = 120;

/** Refusals within this time are told in one notice. */
const TELL_AFTER = 400;

/** A board that was full is asked again after this long, since what is deleted makes room. */
const FULL_FOR = 10_000;

/** A change has been accepted for this long before it is looked how full the board is. */
const LOOK_AFTER = 1000;

const NOT_ACCEPTED = "the server did not accept it";
const NO_SUCH_LINK = "A link was left out: a room keeps links that begin with https://, http:// or mailto:. The shape is kept.";
const TOO_DEEP = "Data that a shape carries nests too deep for the room and was left out. The shape is kept.";

export class Changes {
  readonly board = new BoardSync((element) => this.#found(element));
  readonly #visit: Visit;
  #underWay = 0;
  #tries = 0;
  #last = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #keepTimer: ReturnType<typeof setTimeout> | undefined;
  #tellTimer: ReturnType<typeof setTimeout> | undefined;
  #lookTimer: ReturnType<typeof setTimeout> | undefined;
  readonly #fates = new Fates();
  /** Why elements were refused that nobody waits for, until that is told. */
  readonly #untold = new Map<string, number>();
  /** Until when nothing new is sent to a board that was full. */
  #fullUntil = 0;
  #isToldFull = false;
  /** The share of the board's limits that was warned of. */
  #warnedAt = 0;

  constructor(visit: Visit) {
    this.#visit = visit;
  }

  /** The scene has these elements now. Answers those that it should show instead. */
  drawn(elements: readonly WireElement[]): WireElement[] {
    if (this.#visit.state().closed) return [];
    const { fresh, stale, tooLarge, dropped } = this.board.changed(elements);
    for (const element of tooLarge) this.#tell(element, TOO_LARGE);
    if (dropped.includes("link")) this.#visit.notify(NO_SUCH_LINK);
    if (dropped.some((field) => field !== "link")) this.#visit.notify(TOO_DEEP);
    if (fresh.length > 0) this.#made();
    return stale;
  }

  /** Deletes elements that Excalidraw no longer holds, for everybody. */
  remove(ids: readonly string[]): void {
    if (!this.#visit.state().closed && this.board.remove(ids)) this.#made();
  }

  #made(): void {
    this.#keepSoon();
    this.schedule();
  }

  /** What becomes of these elements, once the server has answered or the visit is over. */
  settled(elements: readonly WireElement[]): Promise<Map<string, Fate>> {
    return this.#fates.of(elements);
  }

  /** The server has this element of ours, as an update or a board shows. Nothing more is sent of it. */
  #found(element: WireElement): void {
    this.#fates.answered(element, element);
    this.#keepSoon();
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
  keep(isLeaving = false): void {
    const { outbox, epoch } = this.#visit;
    const { put, drop } = this.board.kept();
    if (put.length > 0) void (isLeaving ? outbox.leaveElements(epoch, put) : outbox.keepElements(epoch, put));
    if (drop.length > 0) void outbox.dropElements(drop);
  }

  /** The room that the unsent elements were made for is no more. */
  forget(): void {
    this.board.forget();
    this.#fates.end("the room ended");
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
    clearTimeout(this.#tellTimer);
    clearTimeout(this.#lookTimer);
    this.#fates.end("you left the room before it was sent");
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
    let rest = Date.now() < this.#fullUntil ? this.#withoutNewcomers(batch) : batch;
    // Each refusal takes at least one element out.
    while (rest.length > 0) {
      const answer = await this.#visit.socket.change({ roomId: this.#visit.state().code, elements: rest });
      if (answer?.success) {
        this.#accepted(rest);
        return 0;
      }
      if (!answer) {
        this.board.returned(rest);
        return pauseBefore({}, (this.#tries += 1));
      }
      const advice = advise(answer);
      if (advice.next !== "stop") {
        this.board.returned(rest);
        if (advice.next === "rejoin") this.#visit.rejoin();
        else this.#visit.notify(advice.text);
        return Math.max(advice.next === "ask" ? 5000 : 0, pauseBefore(answer, (this.#tries += 1)));
      }
      rest = isFull(rest, answer) ? this.#withoutRoom(rest) : this.#withoutRefused(rest, answer);
    }
    return 0;
  }

  #accepted(batch: readonly WireElement[]): void {
    this.#tries = 0;
    if (batch.some((element) => this.#isNew(element))) this.#isToldFull = false;
    this.board.confirm(batch);
    // The server sends the elements that won before it answers.
    for (const element of batch) this.#fates.answered(element, this.board.stored(element.id));
    this.#lookSoon();
  }

  /** What is left of a change once the element that the server names is taken out. */
  #withoutRefused(batch: readonly WireElement[], refusal: Refusal): WireElement[] {
    const [, n, problem] = /^elements\[(\d+)\]\.?(.*)$/s.exec(refusal.error) ?? [];
    const named = n === undefined ? undefined : batch[Number(n)];
    // A refusal that names no element is of the whole change.
    const reason = refusal.code === "PAYLOAD_TOO_LARGE" ? TOO_LARGE : problem || refusal.error || NOT_ACCEPTED;
    return this.#without(batch, named ? [named] : batch, reason);
  }

  /**
   * What is left of a change for which the board has no room: what the board has already, and
   * as many of the newcomers as there are places. Among changes of what the board has, those
   * that delete.
   */
  #withoutRoom(batch: readonly WireElement[]): WireElement[] {
    const newcomers = batch.filter((element) => this.#isNew(element));
    if (newcomers.length > 0) {
      const places = Math.max(0, Limits.boardElements - fullnessOf(this.board.everythingStored()).elements);
      // As many as there are places were refused for their bytes, or for what this page does not know.
      const refused = newcomers.slice(places < newcomers.length ? places : 0);
      return this.#without(batch, refused, BOARD_FULL);
    }
    const growing = batch.filter(({ isDeleted }) => !isDeleted);
    return this.#without(batch, growing.length > 0 ? growing : batch, BOARD_FULL);
  }

  #withoutNewcomers(batch: readonly WireElement[]): WireElement[] {
    return this.#without(batch, batch.filter((element) => this.#isNew(element)), BOARD_FULL);
  }

  #without(batch: readonly WireElement[], refused: readonly WireElement[], reason: string): WireElement[] {
    if (reason === BOARD_FULL && refused.length > 0) this.#fullUntil = Date.now() + FULL_FOR;
    for (const element of refused) this.#refuse(element, reason);
    const gone = new Set(refused);
    return batch.filter((element) => !gone.has(element));
  }

  #isNew(element: WireElement): boolean {
    const stored = this.board.stored(element.id);
    return !element.isDeleted && (!stored || stored.isDeleted === true);
  }

  #refuse(element: WireElement, reason: string): void {
    this.board.refuse(element);
    this.#tell(element, reason);
  }

  /** Says that an element stays here; where an import waits for it, the import does. */
  #tell(element: WireElement, reason: string): void {
    if (this.#fates.refused(element, reason)) return;
    if (reason === BOARD_FULL) {
      if (this.#isToldFull) return;
      this.#isToldFull = true;
    }
    count(this.#untold, reason);
    this.#tellTimer ??= setTimeout(() => {
      this.#tellTimer = undefined;
      const refused = sum(this.#untold);
      const what = refused === 1 ? "Part of the drawing stays" : `${refused} parts of the drawing stay`;
      this.#visit.notify(`${what} with you alone: ${reasons(this.#untold)}.`);
      this.#untold.clear();
    }, TELL_AFTER);
  }

  /** Warns a person who adds to a board that is nearly full, once for each step towards its limits. */
  #lookSoon(): void {
    this.#lookTimer ??= setTimeout(() => {
      this.#lookTimer = undefined;
      const fullness = fullnessOf(this.board.everythingStored());
      const warning = warningAt(fullness);
      if (warning > this.#warnedAt) this.#visit.notify(inWords(fullness));
      this.#warnedAt = warning;
    }, LOOK_AFTER);
  }

  #keepSoon(): void {
    if (this.#keepTimer !== undefined) return;
    this.#keepTimer = setTimeout(() => {
      this.#keepTimer = undefined;
      this.keep();
    }, KEEP_AFTER);
  }
}

/** Whether a change was refused because the board is full: what this client sends is no larger than a change may be. */
function isFull(batch: readonly WireElement[], { code }: Refusal): boolean {
  const [only] = batch;
  return code === "PAYLOAD_TOO_LARGE" && (batch.length > 1 || (only !== undefined && bytesOf(only) <= Limits.elementBytes));
}
