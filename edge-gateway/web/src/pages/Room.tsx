import { lazy, Suspense, useEffect, useState, useSyncExternalStore } from "react";

import { copyable } from "../browser/invitation";
import { userId, username } from "../browser/identity";
import { remember } from "../browser/recent";
import { shownCode } from "../browser/codes";
import { go } from "../browser/router";
import { chooseTheme, useTheme } from "../browser/theme";
import { download, fileName } from "../browser/files";
import { asJson, asText } from "../chat/transcript";
import { Chat } from "../chat/Chat";
import { readRoom } from "../protocol/http";
import { advise } from "../protocol/refusals";
import { RoomSession } from "../room/session";
import type { RoomState } from "../room/state";
import { Avatar } from "../ui/Avatar";
import { CopyButton } from "../ui/CopyButton";
import { Fallen } from "../ui/Fallen";
import { Icon } from "../ui/Icon";
import { Menu } from "../ui/Menu";
import { NameDialog } from "../ui/NameDialog";
import { ThemeButton } from "../ui/ThemeButton";
import { useMedia } from "../ui/useMedia";

// Excalidraw is most of what this client weighs, and only a board needs it.
const Whiteboard = lazy(() => import("../board/Whiteboard"));

/** A room, once we have a name to enter it with. */
export function Room({ code }: { code: string }) {
  const name = username.use();
  const [session, setSession] = useState<RoomSession>();
  const isNamed = name !== "";

  useEffect(() => {
    if (!isNamed) return;
    const visit = new RoomSession(code, { userId: userId.value, username: username.value });
    setSession(visit);
    return () => {
      setSession(undefined);
      void visit.stop();
    };
  }, [code, isNamed]);

  useEffect(() => session?.rename(name), [session, name]);

  const isMissing = useIsMissing(code, !isNamed);
  if (!isNamed) {
    if (isMissing) return <NoSuchRoom text={advise({ code: "ROOM_NOT_FOUND", error: "" }).text} />;
    return (
      <NameDialog title={`Join room ${shownCode(code)}`} action="Join" onClose={() => go("/")}>
        <p className="muted">Choose the name that the others will see.</p>
      </NameDialog>
    );
  }
  return session ? <Visit session={session} /> : null;
}

/** Whether a room is known not to exist; it is asked while somebody chooses a name for it. */
function useIsMissing(code: string, whileAsked: boolean): boolean {
  const [isMissing, setMissing] = useState(false);
  useEffect(() => {
    if (!whileAsked) return;
    let isStopped = false;
    void readRoom(code).then((answer) => {
      if (!isStopped && !answer.success) setMissing(answer.code === "ROOM_NOT_FOUND");
    });
    return () => {
      isStopped = true;
    };
  }, [code, whileAsked]);
  return isMissing;
}

type Tab = "chat" | "board";
const TABS: readonly { tab: Tab; label: string }[] = [
  { tab: "chat", label: "Chat" },
  { tab: "board", label: "Board" },
];

/** What ties a tab and its part together where they are tabs. */
const tabId = (tab: Tab) => `tab-${tab}`;
const partId = (tab: Tab) => `part-${tab}`;

function Visit({ session }: { session: RoomSession }) {
  const state = useSyncExternalStore(session.subscribe, session.shown);
  const isWide = useMedia("(min-width: 860px)");
  const [tab, setTab] = useState<Tab>("chat");
  const [hasBoard, setHasBoard] = useState(isWide);
  const [isNaming, setNaming] = useState(false);
  const { code, room, outside, closed, unread } = state;
  const name = room?.name ?? `Room ${shownCode(code)}`;
  const isChatShown = isWide || tab === "chat";

  function part(of: Tab) {
    const isHidden = !isWide && tab !== of;
    return isWide
      ? { "aria-label": of === "board" ? "Whiteboard" : "Chat" }
      : { id: partId(of), role: "tabpanel", "aria-labelledby": tabId(of), hidden: isHidden };
  }

  useEffect(() => {
    if (isWide || tab === "board") setHasBoard(true);
  }, [isWide, tab]);

  useEffect(() => {
    document.title = `${unread > 0 ? `(${unread}) ` : ""}${name} · Roomkeeper`;
  }, [name, unread]);

  useEffect(() => {
    if (room) remember(room.code, room.name);
  }, [room]);

  useEffect(() => {
    const look = () => session.attention(document.visibilityState === "visible" && isChatShown);
    look();
    document.addEventListener("visibilitychange", look);
    return () => document.removeEventListener("visibilitychange", look);
  }, [session, isChatShown]);

  if (outside) return <Outside session={session} state={state} />;
  return (
    <div className="room-page" data-tab={tab}>
      <header className="bar room-bar">
        <button type="button" className="button quiet square" aria-label="Leave the room" title="Leave the room" onClick={() => go("/")}>
          <Icon name="back" />
        </button>
        <h1 className="room-title" title={name}>{name}</h1>
        <CopyButton text={copyable(code)} label={`Copy code ${shownCode(code)} and link`} className="quiet code-button">
          <span className="code">{shownCode(code)}</span>
        </CopyButton>
        <span className="spacer" />
        <Connection state={state} />
        {!closed && <People state={state} onRename={() => setNaming(true)} />}
        <ThemeButton />
        <RoomMenu session={session} state={state} onRename={() => setNaming(true)} />
      </header>
      {closed && <ClosedBar closed={closed} />}
      {!closed && !(state.keeps && userId.isStored) && (
        <p className="trouble-bar" role="alert">
          This browser’s storage does not work, so nothing is kept over a reload. Leave this page open until everything is sent.
        </p>
      )}
      <main className="room-main">
        <section className="board-part" {...part("board")}>
          {hasBoard && (
            <Fallen text="The board could not be opened. What you made is kept.">
              <Suspense fallback={<p className="muted empty" role="status">Opening the board…</p>}>
                <Whiteboard session={session} name={name} isClosed={closed !== undefined} />
              </Suspense>
            </Fallen>
          )}
        </section>
        <section className="chat-part" {...part("chat")}>
          <Chat session={session} state={state} />
        </section>
      </main>
      {!isWide && <Tabs current={tab} onChoose={setTab} unread={unread} />}
      <ul className="notices" aria-live="polite">
        {state.notices.map((notice) => (
          <NoticeItem key={notice.id} text={notice.text} onDismiss={() => session.dismiss(notice.id)} />
        ))}
      </ul>
      {isNaming && (
        <NameDialog title="Your name" action="Save" onDone={() => setNaming(false)} onClose={() => setNaming(false)} />
      )}
    </div>
  );
}

function Tabs({ current, unread, onChoose }: { current: Tab; unread: number; onChoose: (tab: Tab) => void }) {
  return (
    <div
      className="tabs"
      role="tablist"
      aria-label="Parts of the room"
      onKeyDown={({ key }) => {
        if (key !== "ArrowLeft" && key !== "ArrowRight") return;
        const other = current === "chat" ? "board" : "chat";
        onChoose(other);
        document.getElementById(tabId(other))?.focus();
      }}
    >
      {TABS.map(({ tab, label }) => (
        <button
          key={tab}
          type="button"
          role="tab"
          id={tabId(tab)}
          className="tab"
          aria-selected={tab === current}
          aria-controls={partId(tab)}
          tabIndex={tab === current ? 0 : -1}
          onClick={() => onChoose(tab)}
        >
          <Icon name={tab} size={20} /> {label}
          {tab === "chat" && unread > 0 && (
            <span className="badge">
              {unread > 99 ? "99+" : unread}
              <span className="visually-hidden"> unread</span>
            </span>
          )}
        </button>
      ))}
    </div>
  );
}

/** How the connection is, in words. */
const LINKS: Record<RoomState["link"], string> = {
  connecting: "connecting…",
  connected: "connected",
  reconnecting: "reconnecting…",
  offline: "offline: your changes will be sent",
};

function Connection({ state }: { state: RoomState }) {
  if (state.closed) return null;
  return (
    <span className="connection" data-link={state.link} role="status">
      <span className="dot" aria-hidden="true" />
      <span className="connection-text">{LINKS[state.link]}</span>
    </span>
  );
}

function People({ state, onRename }: { state: RoomState; onRename: () => void }) {
  const mine = state.participants.filter((one) => one.userId === state.userId);
  const others = state.participants.filter((one) => one.userId !== state.userId);
  const people = [...mine, ...others];
  const count = people.length;
  return (
    <Menu
      label={count === 1 ? "Who is here: 1, only you" : `Who is here: ${count}`}
      className="people-button"
      trigger={
        <>
          <span className="avatars">
            {people.slice(0, 4).map((one) => <Avatar key={one.userId} {...one} />)}
          </span>
          <span className="people-count">{count}</span>
        </>
      }
    >
      {(close) => (
        <>
          <p className="panel-title">
            Here now{state.room && <span className="muted"> · {count} of {state.room.maxParticipants} seats</span>}
          </p>
          <ul className="people">
            {people.map((one) => (
              <li key={one.userId}>
                <Avatar {...one} />
                <span className="person-name">{one.username}</span>
                {one.userId === state.userId && (
                  <button
                    type="button"
                    className="button quiet small"
                    onClick={() => {
                      close();
                      onRename();
                    }}
                  >
                    you · rename
                  </button>
                )}
              </li>
            ))}
          </ul>
        </>
      )}
    </Menu>
  );
}

function RoomMenu({ session, state, onRename }: { session: RoomSession; state: RoomState; onRename: () => void }) {
  const { room, messages, code } = state;
  const otherTheme = useTheme() === "dark" ? "light" : "dark";
  return (
    <Menu label="Room menu" className="square" trigger={<Icon name="more" />}>
      {(close) => {
        const item = (label: string, act: () => void, isDisabled = false) => (
          <li>
            <button
              type="button"
              className="menu-item"
              disabled={isDisabled}
              onClick={() => {
                close();
                try {
                  act();
                } catch (error) {
                  console.warn(`"${label}" failed`, error);
                  session.notify(`“${label}” did not work. Try again.`);
                }
              }}
            >
              {label}
            </button>
          </li>
        );
        return (
          <ul className="menu-items">
            {item("Change your name…", onRename)}
            {item(
              "Save chat as text",
              () => room && download(fileName(room.name, "txt"), asText(room, messages)),
              !room,
            )}
            {item(
              "Save chat as JSON",
              () => room && download(fileName(room.name, "json"), asJson(room, messages), "application/json"),
              !room,
            )}
            {item(`Use the ${otherTheme} theme`, () => chooseTheme(otherTheme))}
            {item(`Leave room ${shownCode(code)}`, () => go("/"))}
          </ul>
        );
      }}
    </Menu>
  );
}

const ENDINGS: Record<NonNullable<RoomState["closed"]>, string> = {
  deleted: "This room was deleted.",
  expired: "This room has ended, because nothing happened in it for a while.",
  gone: "This room ended while you were away.",
};

function ClosedBar({ closed }: { closed: NonNullable<RoomState["closed"]> }) {
  return (
    <div className="closed-bar" role="alert">
      <p>
        <strong>{ENDINGS[closed]}</strong> You can still read and save what was here.
      </p>
      <button type="button" className="button primary" onClick={() => go("/")}>
        Back to the rooms
      </button>
    </div>
  );
}

/** The page of a room that does not exist, and what to do about it. */
export function NoSuchRoom({ text }: { text: string }) {
  useEffect(() => {
    document.title = "No such room · Roomkeeper";
  }, []);
  return (
    <main className="outside">
      <div className="card">
        <h1>There is no such room</h1>
        <p role="alert">{text}</p>
        <div className="actions">
          <button type="button" className="button primary" onClick={() => go("/")}>
            Back to the rooms
          </button>
        </div>
      </div>
    </main>
  );
}

function Outside({ session, state }: { session: RoomSession; state: RoomState }) {
  if (state.outside?.isMissing) return <NoSuchRoom text={state.outside.text} />;
  return (
    <main className="outside">
      <div className="card">
        <h1>Room {shownCode(state.code)}</h1>
        <p role="alert">{state.outside?.text}</p>
        <div className="actions">
          {state.outside?.again && (
            <button type="button" className="button" onClick={() => session.tryAgain()}>
              Try again
            </button>
          )}
          <button type="button" className="button primary" onClick={() => go("/")}>
            Back to the rooms
          </button>
        </div>
      </div>
    </main>
  );
}

/** Goes by itself, but not before it can be read. */
function NoticeItem({ text, onDismiss }: { text: string; onDismiss: () => void }) {
  useEffect(() => {
    const timer = setTimeout(onDismiss, 4000 + text.length * 60);
    return () => clearTimeout(timer);
    // A notice is one text for its life; `onDismiss` is new with every render.
  }, [text]);
  return (
    <li className="notice">
      <span>{text}</span>
      <button type="button" className="button quiet square" aria-label="Dismiss" onClick={onDismiss}>
        <Icon name="close" size={16} />
      </button>
    </li>
  );
}
