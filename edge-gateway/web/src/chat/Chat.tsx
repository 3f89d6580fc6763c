import { type FormEvent, type KeyboardEvent, memo, useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";

import { copyable } from "../browser/invitation";
import { Limits, type Message } from "../protocol/payloads";
import type { RoomSession } from "../room/session";
import type { Draft, RoomState } from "../room/state";
import { Avatar } from "../ui/Avatar";
import { CopyButton } from "../ui/CopyButton";
import { Icon } from "../ui/Icon";
import { byDay, type Group } from "./groups";
import { pieces } from "./links";

/** So near to its end, the list follows what comes. */
const NEAR = 80;

export function Chat({ session, state }: { session: RoomSession; state: RoomState }) {
  return (
    <div className="chat">
      <MessageList session={session} state={state} />
      <Typists state={state} />
      <Composer session={session} state={state} />
    </div>
  );
}

function MessageList({ session, state }: { session: RoomSession; state: RoomState }) {
  const { messages, drafts, gaps, hasOlder, link, userId, room } = state;
  const list = useRef<HTMLDivElement>(null);
  const [isFollowing, setFollowing] = useState(true);
  const seen = useRef<{ oldest: string | undefined; drafts: number; height: number }>({
    oldest: undefined,
    drafts: 0,
    height: 0,
  });
  const [isLoading, setLoading] = useState(false);
  const days = useMemo(() => byDay(messages, gaps), [messages, gaps]);

  useLayoutEffect(() => {
    const element = list.current;
    if (!element) return;
    const before = seen.current;
    const hasWritten = drafts.length > before.drafts;
    if (isFollowing || hasWritten) {
      element.scrollTop = element.scrollHeight;
    } else if (before.oldest !== undefined && before.oldest !== messages[0]?.id) {
      // Older ones came above: what is being read stays where it is.
      element.scrollTop += element.scrollHeight - before.height;
    }
    seen.current = { oldest: messages[0]?.id, drafts: drafts.length, height: element.scrollHeight };
  }, [messages, drafts, isFollowing]);

  useEffect(() => {
    const element = list.current;
    if (!element || !isFollowing) return;
    // Hidden behind the other tab, or made smaller by a keyboard on the screen.
    const observer = new ResizeObserver(() => {
      element.scrollTop = element.scrollHeight;
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, [isFollowing]);

  async function loadOlder() {
    setLoading(true);
    setFollowing(false);
    await session.loadOlder();
    setLoading(false);
  }

  return (
    <div className="messages-frame">
      <div
        className="messages"
        ref={list}
        role="log"
        aria-label="Messages"
        tabIndex={0}
        onScroll={({ currentTarget: at }) => setFollowing(at.scrollHeight - at.scrollTop - at.clientHeight < NEAR)}
      >
        {hasOlder && (
          <button type="button" className="button small older" onClick={loadOlder} disabled={isLoading}>
            {isLoading ? "Loading…" : "Load older messages"}
          </button>
        )}
        {room && messages.length === 0 && drafts.length === 0 && <Silence state={state} />}
        {!room && (link === "offline" || link === "reconnecting") && (
          <p className="silence">What was said and drawn here is shown once there is a connection.</p>
        )}
        {days.map((day) => (
          <div className="day" key={day.at}>
            <p className="day-name"><span>{dayName(day.at)}</span></p>
            {day.groups.map((group) => (
              <div key={group.messages[0]?.id}>
                {gaps.includes(group.messages[0]?.id ?? "") && (
                  <p className="gap">Some messages from while you were away are no longer kept.</p>
                )}
                <GroupItem group={group} isMine={group.userId === userId} />
              </div>
            ))}
          </div>
        ))}
        {drafts.length > 0 && (
          <div className="group mine">
            {drafts.map((draft) => (
              <DraftItem key={draft.requestId} draft={draft} session={session} isOnline={link === "connected"} />
            ))}
          </div>
        )}
      </div>
      {!isFollowing && (
        <button type="button" className="button small newest" onClick={() => setFollowing(true)}>
          <Icon name="down" size={16} /> Newest
        </button>
      )}
    </div>
  );
}

/** Before the first word: whoever is alone is helped to bring others. */
function Silence({ state: { code, participants, closed } }: { state: RoomState }) {
  const isAlone = participants.length < 2 && !closed;
  return (
    <div className="silence">
      <p>{isAlone ? "Nobody else is here yet." : "Nothing has been said yet."}</p>
      {isAlone && (
        <CopyButton text={copyable(code)} label="Copy an invitation" className="">
          Copy an invitation
        </CopyButton>
      )}
    </div>
  );
}

const GroupItem = memo(function GroupItem({ group, isMine }: { group: Group; isMine: boolean }) {
  return (
    <div className={isMine ? "group mine" : "group"}>
      {!isMine && <Avatar userId={group.userId} username={group.username} />}
      <div className="group-body">
        <p className="group-head">
          <span className="author">{isMine ? "You" : group.username}</span>
          <time dateTime={new Date(group.at).toISOString()}>{timeOfDay(group.at)}</time>
        </p>
        {group.messages.map((message) => <MessageItem key={message.id} message={message} />)}
      </div>
    </div>
  );
});

const MessageItem = memo(function MessageItem({ message }: { message: Message }) {
  return (
    <div className="message" data-message={message.id} title={new Date(message.ts).toLocaleString()}>
      <Text text={message.message} />
    </div>
  );
});

/** A text as it was written; only what is certainly an address can be clicked. */
function Text({ text }: { text: string }) {
  return (
    <>
      {pieces(text).map((piece, n) =>
        piece.href ? (
          <a key={n} href={piece.href} target="_blank" rel="noopener noreferrer nofollow">
            {piece.text}
          </a>
        ) : (
          piece.text
        ))}
    </>
  );
}

function DraftItem({ draft, session, isOnline }: { draft: Draft; session: RoomSession; isOnline: boolean }) {
  const { requestId, text, state, problem } = draft;
  return (
    <div className="group-body">
      <div className="message draft" data-draft={state}>
        <Text text={text} />
      </div>
      {state === "pending" ? (
        <p className="draft-state">{isOnline ? "Sending…" : "Waiting for the connection…"}</p>
      ) : (
        <p className="draft-state failed" role="alert">
          <span>Not sent. {problem}</span>
          <button type="button" className="button small" onClick={() => session.retry(requestId)}>Try again</button>
          <button type="button" className="button small quiet" onClick={() => session.discard(requestId)}>Discard</button>
        </p>
      )}
    </div>
  );
}

function Typists({ state }: { state: RoomState }) {
  const names = Object.values(state.typing).map(({ username }) => username);
  return (
    <p className="typists" aria-live="polite">
      {names.length > 0 && (
        <>
          <span className="typing-dots" aria-hidden="true"><i /><i /><i /></span>
          {typistsText(names)}
        </>
      )}
    </p>
  );
}

function typistsText(names: string[]): string {
  if (names.length === 1) return `${names[0]} is writing…`;
  if (names.length === 2) return `${names[0]} and ${names[1]} are writing…`;
  return `${names.length} people are writing…`;
}

function Composer({ session, state }: { session: RoomSession; state: RoomState }) {
  const [text, setText] = useState("");
  const field = useRef<HTMLTextAreaElement>(null);
  const left = Limits.message - [...text].length;
  const isWaiting = state.drafts.length >= Limits.kept;
  const isSendable = text.trim() !== "" && left >= 0 && !state.closed && !isWaiting;

  useLayoutEffect(() => {
    const element = field.current;
    if (!element) return;
    element.style.height = "auto";
    element.style.height = `${Math.min(element.scrollHeight + 2, 160)}px`;
  }, [text]);

  function send(event?: FormEvent) {
    event?.preventDefault();
    if (!isSendable) return;
    session.typing(false);
    session.say(text);
    setText("");
    field.current?.focus();
  }

  function onKeyDown(event: KeyboardEvent) {
    if (event.key !== "Enter" || event.shiftKey || isOfInputMethod(event.nativeEvent)) return;
    event.preventDefault();
    send();
  }

  return (
    <form className="composer" onSubmit={send}>
      <textarea
        ref={field}
        value={text}
        rows={1}
        aria-label="Message"
        placeholder={state.closed ? "The room is closed" : "Write a message"}
        disabled={state.closed !== undefined}
        onChange={({ target }) => {
          setText(target.value);
          session.typing(target.value.trim() !== "");
        }}
        onBlur={() => session.typing(false)}
        onKeyDown={onKeyDown}
      />
      {isWaiting && <span className="left problem">{Limits.kept} messages wait to be sent.</span>}
      {left < 200 && <span className={left < 0 ? "left problem" : "left muted"}>{left}</span>}
      <button className="button primary square" aria-label="Send" title="Send (Enter); Shift+Enter breaks the line" disabled={!isSendable}>
        <Icon name="send" />
      </button>
    </form>
  );
}

/**
 * Whether a key belongs to an input method, which composes characters. Safari ends a
 * composition before it reports the Enter that ended it, and then only the code tells.
 */
function isOfInputMethod({ isComposing, keyCode }: globalThis.KeyboardEvent): boolean {
  return isComposing || keyCode === 229;
}

function timeOfDay(at: number): string {
  return new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}

function dayName(at: number): string {
  const day = new Date(at);
  const today = new Date();
  if (day.toDateString() === today.toDateString()) return "Today";
  today.setDate(today.getDate() - 1);
  if (day.toDateString() === today.toDateString()) return "Yesterday";
  return day.toLocaleDateString([], { weekday: "long", day: "numeric", month: "long" });
}
