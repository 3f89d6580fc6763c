import type { Outbox } from "./outbox";
import type { RoomSocket } from "./socket";
import type { Action, RoomState } from "./state";

export interface Identity {
  userId: string;
  username: string;
}

/** What the parts of a visit share: see `session.ts`, which is one. */
export interface Visit {
  readonly socket: RoomSocket;
  readonly outbox: Outbox;
  readonly identity: Identity;
  readonly state: () => RoomState;
  /** The epoch that what is made here belongs to; 0 until it is known. */
  readonly epoch: number;
  readonly isStopped: boolean;
  dispatch(action: Action): void;
  notify(text: string): void;
  /** Joins again: the server does not know us as it should. */
  rejoin(): void;
  /** Acts after so many milliseconds, unless the visit is over by then. */
  after(wait: number, act: () => void): void;
}
