/**
 * What is known of a room, and how each thing that happens changes it. Pure: no clock, no
 * network, no browser.
 *
 * The board is not in here: Excalidraw holds the scene, and `board/sync.ts` what is between
 * it and the server.
 */

import type {
  Ending,
  History,
  Joined,
  LiveMessage,
  Message,
  Participant,
  Position,
  RoomInfo,
  Step,
} from "../protocol/payloads";
import { Limits } from "../protocol/payloads";

/** How the connection is. */
export type Link = "connecting" | "connected" | "reconnecting" | "offline";

/** A message of our own that the server has not confirmed. */
export interface Draft {
  requestId: string;
  text: string;
  createdAt: number;
  state: "pending" | "failed";
  /** Why it failed, for people. */
  problem?: string;
}

/** Something to tell the person. */
export interface Notice {
  id: number;
  text: string;
}

/** Why we are not in the room. */
export interface Outside {
  text: string;
  /** Whether trying again makes sense. */
  again: boolean;
  /** Whether that is because there is no such room. */
  isMissing: boolean;
}

export interface RoomState {
  code: string;
  userId: string;
  link: Link;
  /** The room as it was when we joined last. */
  room: RoomInfo | undefined;
  outside: Outside | undefined;
  /** How the room ended; "gone" where that happened while we were away. */
  closed: Ending | "gone" | undefined;
  /** Up to where everything is known. */
  position: Position | undefined;
  /** Between a join's ack and the end of the connection, events continue the position. */
  live: boolean;
  /** An event is missing: join again from the position. */
  behind: boolean;
  participants: readonly Participant[];
  /** By revision. */
  messages: readonly Message[];
  /** Ids of messages before which some are missing for good. */
  gaps: readonly string[];
  /** Whether the room keeps older messages than these; `undefined` until that was asked. */
  hasOlder: boolean | undefined;
  drafts: readonly Draft[];
  /** Who writes, and until when that is believed. */
  typing: Readonly<Record<string, { username: string; until: number }>>;
  /** How many messages came while nobody looked. */
  unread: number;
  attentive: boolean;
  notices: readonly Notice[];
  /** Whether this browser can keep what is not sent over a reload. */
  keeps: boolean;
}

export type Action =
  | { type: "link"; link: Link }
  | { type: "joining" }
  | { type: "joined"; joined: Joined }
  | { type: "outside"; outside: Outside }
  | { type: "history"; history: History }
  | { type: "hasOlder"; hasOlder: boolean }
  | { type: "older"; messages: readonly Message[]; asked: number }
  | { type: "message"; message: LiveMessage }
  | { type: "saved"; message: Message }
  | { type: "step"; step: Step }
  | { type: "presence"; participants: readonly Participant[]; step: Step }
  | { type: "typing"; who: Participant; until: number }
  | { type: "stopTyping"; userId: string }
  | { type: "expireTyping"; now: number }
  | { type: "closed"; reason: NonNullable<RoomState["closed"]> }
  | { type: "draft"; draft: Draft }
  | { type: "failed"; requestId: string; problem: string }
  | { type: "retry"; requestId: string }
  | { type: "discard"; requestId: string }
  | { type: "attention"; attentive: boolean }
  | { type: "notice"; notice: Notice }
  | { type: "dismiss"; id: number }
  | { type: "keeps"; keeps: boolean };

export function initialState(code: string, userId: string): RoomState {
  return {
    code,
    userId,
    link: "connecting",
    room: undefined,
    outside: undefined,
    closed: undefined,
    position: undefined,
    live: false,
    behind: false,
    participants: [],
    messages: [],
    gaps: [],
    hasOlder: undefined,
    drafts: [],
    typing: {},
    unread: 0,
    attentive: true,
    notices: [],
    keeps: true,
  };
}

export function reduce(state: RoomState, action: Action): RoomState {
  switch (action.type) {
    case "link":
      return action.link === "connected"
        ? { ...state, link: action.link }
        : { ...state, link: action.link, live: false, typing: {} };

    case "joining":
      return { ...state, live: false, behind: false };

    case "joined": {
      const { room, participants, epoch, revision } = action.joined;
      return {
        ...state,
        link: "connected",
        room,
        participants,
        position: { epoch, revision },
        live: true,
        behind: false,
        outside: undefined,
        closed: undefined,
      };
    }

    case "outside":
      return { ...state, outside: action.outside, live: false };

    case "history":
      return history(state, action.history);

    case "hasOlder":
      return { ...state, hasOlder: action.hasOlder };

    case "older": {
      const messages = merge(state.messages, action.messages);
      return {
        ...state,
        messages,
        hasOlder: action.messages.length >= action.asked && messages.length < Limits.shown,
      };
    }

    case "message": {
      const { epoch, previous, ...message } = action.message;
      const isNew = !state.messages.some(({ id }) => id === message.id);
      const { [message.userId]: _written, ...typing } = state.typing;
      return step(
        {
          ...saved(state, message),
          typing,
          unread: state.unread + (isNew && !state.attentive && message.userId !== state.userId ? 1 : 0),
        },
        { epoch, previous, revision: message.revision },
      );
    }

    case "saved":
      return saved(state, action.message);

    case "step":
      return step(state, action.step);

    case "presence": {
      const here = new Set(action.participants.map(({ userId }) => userId));
      const typing = Object.fromEntries(Object.entries(state.typing).filter(([userId]) => here.has(userId)));
      return step({ ...state, participants: action.participants, typing }, action.step);
    }

    case "typing": {
      const { userId, username } = action.who;
      if (userId === state.userId) return state;
      return { ...state, typing: { ...state.typing, [userId]: { username, until: action.until } } };
    }

    case "stopTyping": {
      const { [action.userId]: _gone, ...typing } = state.typing;
      return { ...state, typing };
    }

    case "expireTyping": {
      const writing = Object.entries(state.typing);
      const kept = writing.filter(([, { until }]) => until > action.now);
      return kept.length === writing.length ? state : { ...state, typing: Object.fromEntries(kept) };
    }

    case "closed":
      return { ...state, closed: action.reason, live: false, typing: {}, participants: [] };

    case "draft": {
      const others = state.drafts.filter(({ requestId }) => requestId !== action.draft.requestId);
      return { ...state, drafts: [...others, action.draft] };
    }

    case "failed":
      return changeDraft(state, action.requestId, (draft) => ({
        ...draft,
        state: "failed",
        problem: action.problem,
      }));

    case "retry":
      return changeDraft(state, action.requestId, ({ problem: _problem, ...draft }) => ({
        ...draft,
        state: "pending",
      }));

    case "discard":
      return { ...state, drafts: state.drafts.filter(({ requestId }) => requestId !== action.requestId) };

    case "attention":
      return { ...state, attentive: action.attentive, unread: action.attentive ? 0 : state.unread };

    case "notice": {
      const others = state.notices.filter(({ text }) => text !== action.notice.text);
      return { ...state, notices: [...others, action.notice].slice(-3) };
    }

    case "dismiss":
      return { ...state, notices: state.notices.filter(({ id }) => id !== action.id) };

    case "keeps":
      return { ...state, keeps: action.keeps };
  }
}

/** Follows a step of the position, or notices that one is missing. */
function step(state: RoomState, { epoch, revision, previous }: Step): RoomState {
  // While a join is under way its ack says where we are.
  if (!state.live || !state.position) return state;
  if (epoch !== state.position.epoch || previous !== state.position.revision) {
    return { ...state, behind: true };
  }
  return { ...state, position: { epoch, revision } };
}

function history(state: RoomState, told: History): RoomState {
  const own = told.messages.reduce(withoutDraft, state);
  // Everything, unless it says that it is what changed since.
  if (told.reset !== false) {
    return { ...own, messages: merge([], told.messages), gaps: [], hasOlder: undefined };
  }
  const first = told.messages[0];
  return {
    ...own,
    messages: merge(state.messages, told.messages),
    gaps: told.truncated && first ? [...state.gaps, first.id] : state.gaps,
  };
}

function saved(state: RoomState, message: Message): RoomState {
  return withoutDraft({ ...state, messages: merge(state.messages, [message]) }, message);
}

function withoutDraft(state: RoomState, { userId, requestId }: Message): RoomState {
  if (userId !== state.userId || !state.drafts.some((draft) => draft.requestId === requestId)) return state;
  return { ...state, drafts: state.drafts.filter((draft) => draft.requestId !== requestId) };
}

/** Both lists by revision, each message once; the newest of them. */
function merge(known: readonly Message[], more: readonly Message[]): readonly Message[] {
  const ids = new Set(known.map(({ id }) => id));
  const added = more.filter(({ id }) => !ids.has(id));
  if (added.length === 0) return known;
  return [...known, ...added].sort((a, b) => a.revision - b.revision).slice(-Limits.shown);
}

function changeDraft(state: RoomState, requestId: string, change: (draft: Draft) => Draft): RoomState {
  return {
    ...state,
    drafts: state.drafts.map((draft) => (draft.requestId === requestId ? change(draft) : draft)),
  };
}
