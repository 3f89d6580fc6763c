/** The shapes of everything that goes over the wire. Times are epoch milliseconds. */

/** A room as it is listed and joined. */
export interface RoomInfo {
  id: string;
  code: string;
  name: string;
  createdBy: string;
  createdAt: number;
  participantCount: number;
  maxParticipants: number;
}

export interface Participant {
  userId: string;
  username: string;
}

/** A point in a room's history. */
export interface Position {
  epoch: number;
  revision: number;
}

/** A change of a room's position: from `previous` to `revision`. */
export interface Step extends Position {
  previous: number;
}

export interface Message {
  id: string;
  roomId: string;
  userId: string;
  username: string;
  message: string;
  ts: number;
  timestamp: number;
  revision: number;
  requestId?: string;
}

/** An element of the board as the server keeps it: only these fields are sure to be there. */
export interface WireElement {
  id: string;
  type: string;
  version: number;
  versionNonce: number;
  isDeleted?: boolean;
  [field: string]: unknown;
}

/** The refusals of the server. */
export type ErrorCode =
  | "INVALID_ARGUMENT"
  | "ROOM_NOT_FOUND"
  | "ROOM_FULL"
  | "NOT_JOINED"
  | "IDENTITY_MISMATCH"
  | "PAYLOAD_TOO_LARGE"
  | "RATE_LIMITED"
  | "STORE_UNAVAILABLE"
  | "OUTCOME_UNKNOWN"
  | "STORE_FULL"
  | "UNAUTHENTICATED"
  | "PERMISSION_DENIED"
  | "INTERNAL"
  /** Not a word of the server's: it did not answer. */
  | "UNREACHABLE";

export interface Refusal {
  success: false;
  error: string;
  code: ErrorCode;
  retryAfterMs?: number;
}

/** What any request is answered with. */
export type Answer<T = object> = ({ success: true } & T) | Refusal;

// What this client sends.

export interface Join {
  roomId: string;
  userId: string;
  username: string;
  sync: "delta";
  after?: Position;
}

export interface Leave {
  roomId: string;
  userId: string;
}

export interface Say {
  roomId: string;
  userId: string;
  username: string;
  message: string;
  requestId: string;
}

export interface Change {
  roomId: string;
  elements: readonly WireElement[];
}

export interface Typing {
  roomId: string;
  userId: string;
  username: string;
}

/** Where somebody points, in the coordinates of the scene. */
export interface Pointer {
  roomId: string;
  x: number;
  y: number;
  tool?: "pointer" | "laser";
  button?: "up" | "down";
  selected?: string[];
}

// What it is answered.

export interface Joined extends Position {
  room: RoomInfo;
  participants: Participant[];
}

export interface Said {
  message: Message;
  duplicate: boolean;
}

export interface Changed {
  accepted: number;
  rejected: number;
  revision?: number;
}

// What the server sends.

export interface History {
  roomId: string;
  messages: Message[];
  count: number;
  /** Only after a resume: whether this is everything, or what changed since. */
  reset?: boolean;
  /** Messages after the point of the resume have already been dropped. */
  truncated?: boolean;
}

export interface Board {
  roomId: string;
  elements: WireElement[];
  reset?: boolean;
}

export interface Update extends Partial<Step> {
  roomId: string;
  elements: WireElement[];
}

export type LiveMessage = Message & Step;

export interface SomebodyTypes extends Participant {
  roomId: string;
}

export interface SomebodyPoints extends Participant, Pointer {}

export interface RoomStep extends Step {
  roomId: string;
}

/** How a room ended. */
export type Ending = "deleted" | "expired";

export interface Closed {
  roomId: string;
  reason: Ending;
}

export interface Draining {
  retryAfterMs: number;
}

export interface Problem {
  message: string;
  code: ErrorCode;
  event: string;
  roomId?: string;
  retryAfterMs?: number;
}

// Over HTTP.

export interface OneRoom {
  room: RoomInfo;
}

export interface Rooms {
  rooms: RoomInfo[];
  count: number;
  nextPageToken?: string;
}

export interface Messages {
  messages: Message[];
  count: number;
}

/** What the server takes, and what this client holds. Texts and JSON are in UTF-16 units. */
export const Limits = {
  username: 40,
  roomName: 80,
  message: 4000,
  seats: 10_000,
  defaultSeats: 10,
  /** A change of several elements; the server takes a megabyte, in which a unit may be three bytes. */
  changeLength: 300_000,
  changeElements: 1000,
  /** One element alone. Below what would have the server end the connection, above what it takes. */
  elementLength: 1_200_000,
  /** One element, in bytes of JSON: a change of it alone. */
  elementBytes: 1 << 20,
  /** What a board holds. */
  boardElements: 10_000,
  boardBytes: 8 << 20,
  /** How many messages a room keeps; so many may also wait to be sent. */
  kept: 100,
  /** How many older messages are asked for at once. */
  page: 50,
  /** How many messages a page that is open for days holds. */
  shown: 2000,
} as const;
