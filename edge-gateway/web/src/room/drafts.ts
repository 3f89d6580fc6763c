/** Our own messages until the server has confirmed them: written down, sent in their order, once. */

import { wellFormed } from "../browser/text";
import { uuid } from "../browser/uuid";
import { listMessages } from "../protocol/http";
import { Limits } from "../protocol/payloads";
import { advise, pauseBefore } from "../protocol/refusals";
import type { UnsentMessage } from "./outbox";
import type { Draft } from "./state";
import type { Visit } from "./visit";

/** The server knows a request id for ten minutes; what is older is looked up first. */
const REQUEST_ID_LASTS = 9 * 60_000;

export class Drafts {
  readonly #visit: Visit;
  /** The request ids of what is written down. */
  readonly #kept = new Set<string>();
  #tries = 0;
  #isSending = false;

  constructor(visit: Visit) {
    this.#visit = visit;
  }

  /** What an earlier visit, or another tab, has not sent. */
  restore(messages: readonly UnsentMessage[]): void {
    for (const { requestId, text: written, createdAt } of messages) {
      const text = wellFormed(written);
      this.#kept.add(requestId);
      this.#visit.dispatch({ type: "draft", draft: { requestId, text, createdAt, state: "pending" } });
    }
  }

  write(written: string): void {
    const text = wellFormed(written);
    const { identity, epoch, state, outbox } = this.#visit;
    const draft: Draft = { requestId: uuid(), text, createdAt: Date.now(), state: "pending" };
    const { requestId, createdAt } = draft;
    this.#kept.add(requestId);
    this.#visit.dispatch({ type: "draft", draft });
    // Written down before it is sent, so that a reload in between repeats the same request.
    void outbox
      .keepMessage({ requestId, code: state().code, epoch, userId: identity.userId, text, createdAt })
      .then(() => this.flush());
  }

  retry(requestId: string): void {
    this.#visit.dispatch({ type: "retry", requestId });
    void this.flush();
  }

  discard(requestId: string): void {
    this.delivered(requestId);
    this.#visit.dispatch({ type: "discard", requestId });
  }

  /** The server has it. */
  delivered(requestId: string | undefined): void {
    if (requestId !== undefined && this.#kept.delete(requestId)) void this.#visit.outbox.dropMessage(requestId);
  }

  /** None of them can be sent as they were meant. */
  fail(problem: string): void {
    for (const { requestId, state } of this.#visit.state().drafts) {
      if (state === "pending") this.#failOne(requestId, problem);
    }
  }

  /** Sends what waits, one after the other, so that it arrives in the order in which it was written. */
  async flush(): Promise<void> {
    if (this.#isSending) return;
    this.#isSending = true;
    try {
      for (;;) {
        const { drafts, live } = this.#visit.state();
        const draft = drafts.find(({ state }) => state === "pending");
        if (!draft || !live || this.#visit.isStopped) return;
        const wait = await this.#send(draft);
        if (wait > 0) {
          this.#visit.after(wait, () => void this.flush());
          return;
        }
      }
    } finally {
      this.#isSending = false;
    }
  }

  /** Hands over everything at once: we are about to leave. What is not confirmed stays written down. */
  flushAndForget(): void {
    const { state, socket, identity } = this.#visit;
    for (const { requestId, text, state: at } of state().drafts) {
      if (at !== "pending") continue;
      void socket.say({ roomId: state().code, ...identity, message: text, requestId }).then((answer) => {
        if (answer?.success) this.delivered(requestId);
      });
    }
  }

  /** Answers how long to wait before more is sent. */
  async #send({ requestId, text, createdAt }: Draft): Promise<number> {
    const { socket, identity } = this.#visit;
    const { code } = this.#visit.state();
    if (Date.now() - createdAt > REQUEST_ID_LASTS) {
      const kept = await listMessages(code, Limits.kept);
      if (!kept.success) return pauseBefore(kept, (this.#tries += 1));
      const saved = kept.messages.find((one) => one.requestId === requestId);
      if (saved) {
        this.delivered(requestId);
        this.#visit.dispatch({ type: "saved", message: saved });
        return 0;
      }
    }
    const answer = await socket.say({ roomId: code, ...identity, message: text, requestId });
    if (this.#visit.isStopped) return 0;
    if (answer?.success) {
      this.#tries = 0;
      this.delivered(requestId);
      this.#visit.dispatch({ type: "saved", message: answer.message });
      return 0;
    }
    if (!answer) return pauseBefore({}, (this.#tries += 1));
    const advice = advise(answer);
    switch (advice.next) {
      case "again":
        this.#visit.notify(advice.text);
        return pauseBefore(answer, (this.#tries += 1));
      case "rejoin":
        // The answer to the join sends it again, and is not waited for here.
        this.#visit.rejoin();
        return 0;
      case "ask":
      case "stop":
        this.#failOne(requestId, advice.text);
        return 0;
    }
  }

  #failOne(requestId: string, problem: string): void {
    this.#visit.dispatch({ type: "failed", requestId, problem });
  }
}
