import { type FormEvent, type ReactNode, useEffect, useState } from "react";

import { cleanName, userId, username } from "../browser/identity";
import { forget, recentRooms } from "../browser/recent";
import { copyable } from "../browser/invitation";
import { codeIn, shownCode } from "../browser/codes";
import { go, roomPath } from "../browser/router";
import { wellFormed } from "../browser/text";
import { createRoom, listRooms } from "../protocol/http";
import { Limits, type RoomInfo } from "../protocol/payloads";
import { advise } from "../protocol/refusals";
import { Avatar } from "../ui/Avatar";
import { CopyButton } from "../ui/CopyButton";
import { Icon } from "../ui/Icon";
import { NameDialog } from "../ui/NameDialog";
import { ThemeButton } from "../ui/ThemeButton";

/** How often the list is asked for while somebody can see it. */
const REFRESH = 5000;
const PAGE = 50;
const MOST = 1000;

/** The front page: make a room, join one, see which there are. */
export function Rooms() {
  const name = username.use();
  const [isNaming, setNaming] = useState(false);
  useEffect(() => {
    document.title = "Roomkeeper";
  }, []);
  return (
    <div className="rooms-page">
      <header className="bar">
        <span className="brand">
          <img src="/favicon.svg" alt="" width="28" height="28" />
          Roomkeeper
        </span>
        <span className="spacer" />
        <button type="button" className="button quiet" onClick={() => setNaming(true)} title="Choose another name">
          <Avatar userId={userId.value} username={name || "?"} />
          <span className="shorten">{name || "Choose a name"}</span>
        </button>
        <ThemeButton />
      </header>
      <main className="rooms-main">
        <section className="intro">
          <h1>Talk and draw together</h1>
          <p>A room is a chat and a whiteboard for whoever has its code. It ends by itself when nothing has happened in it for a while.</p>
        </section>
        <div className="rooms-columns">
          <div className="stack wide">
            <CreateRoom />
            <JoinRoom />
          </div>
          <div className="stack wide">
            <RoomLists />
          </div>
        </div>
      </main>
      {isNaming && (
        <NameDialog title="Your name" action="Save" onDone={() => setNaming(false)} onClose={() => setNaming(false)}>
          <p className="muted">Everybody in a room sees it. It stays in this browser.</p>
        </NameDialog>
      )}
    </div>
  );
}

function CreateRoom() {
  const known = username.use();
  const [name, setName] = useState("");
  const [who, setWho] = useState<string>();
  const [seats, setSeats] = useState(String(Limits.defaultSeats));
  const [problem, setProblem] = useState("");
  const [isBusy, setBusy] = useState(false);

  async function create(event: FormEvent) {
    event.preventDefault();
    const createdBy = cleanName(who ?? known);
    if (!createdBy || !name.trim()) return;
    username.set(createdBy);
    setProblem("");
    setBusy(true);
    const answer = await createRoom({ name: wellFormed(name).trim(), createdBy, maxParticipants: Number(seats) });
    setBusy(false);
    if (answer.success) go(roomPath(answer.room.code));
    else setProblem(advise(answer).text);
  }

  return (
    <section className="card" aria-labelledby="create-heading">
      <h2 id="create-heading">New room</h2>
      <form className="stack" onSubmit={create}>
        <label className="field">
          Name of the room
          <input
            value={name}
            onChange={({ target }) => setName(target.value)}
            maxLength={Limits.roomName}
            placeholder="Monday stand-up"
            autoComplete="off"
            required
          />
        </label>
        <div className="field-row">
          <label className="field">
            Your name
            <input
              value={who ?? known}
              onChange={({ target }) => setWho(target.value)}
              maxLength={Limits.username}
              autoComplete="nickname"
              required
            />
          </label>
          <label className="field seats">
            Seats
            <input
              type="number"
              value={seats}
              onChange={({ target }) => setSeats(target.value)}
              min={1}
              max={Limits.seats}
              required
            />
          </label>
        </div>
        {problem && <p className="problem" role="alert">{problem}</p>}
        <button className="button primary" disabled={isBusy}>
          <Icon name="plus" /> Create room
        </button>
      </form>
    </section>
  );
}

function JoinRoom() {
  const [text, setText] = useState("");
  const [problem, setProblem] = useState("");

  function join(event: FormEvent) {
    event.preventDefault();
    const code = codeIn(text);
    if (code) go(roomPath(code));
    else setProblem("A code has six digits, like 123-456; a link to a room works too.");
  }

  return (
    <section className="card" aria-labelledby="join-heading">
      <h2 id="join-heading">Join a room</h2>
      <form className="join-form" onSubmit={join}>
        <label className="field">
          Code or link
          <input
            value={text}
            onChange={({ target }) => {
              setText(target.value);
              setProblem("");
            }}
            placeholder="123-456"
            autoComplete="off"
            spellCheck={false}
            aria-invalid={problem !== ""}
            aria-describedby={problem ? "join-problem" : undefined}
            required
          />
        </label>
        <button className="button">
          <Icon name="enter" /> Join
        </button>
      </form>
      {problem && <p className="problem" id="join-problem" role="alert">{problem}</p>}
    </section>
  );
}

function RoomLists() {
  const recent = recentRooms.use();
  const [rooms, setRooms] = useState<RoomInfo[]>();
  const [hasMore, setHasMore] = useState(false);
  const [limit, setLimit] = useState(PAGE);
  const [hasFailed, setFailed] = useState(false);

  useEffect(() => {
    let isStopped = false;
    let isAsking = false;
    const refresh = async () => {
      // A slow answer is waited for, so that an old one never comes after a newer one.
      if (document.visibilityState !== "visible" || isAsking) return;
      isAsking = true;
      const answer = await listRooms(limit);
      isAsking = false;
      if (isStopped) return;
      if (answer.success) {
        setRooms(answer.rooms);
        setHasMore(answer.nextPageToken !== undefined);
      }
      setFailed(!answer.success);
    };
    void refresh();
    const timer = setInterval(refresh, REFRESH);
    document.addEventListener("visibilitychange", refresh);
    return () => {
      isStopped = true;
      clearInterval(timer);
      document.removeEventListener("visibilitychange", refresh);
    };
  }, [limit]);

  const active = new Map(rooms?.map((room) => [room.code, room]));
  // Only a list that is whole tells that a room is no more.
  const hasEnded = (code: string) => rooms !== undefined && !hasMore && !active.has(code);
  return (
    <>
      {recent.length > 0 && (
        <section className="card" aria-labelledby="recent-heading">
          <h2 id="recent-heading">Your recent rooms</h2>
          <ul className="room-list">
            {recent.map(({ code, name }) => (
              <RoomRow
                key={code}
                code={code}
                name={active.get(code)?.name ?? name}
                room={active.get(code)}
                hasEnded={hasEnded(code)}
              >
                <button
                  type="button"
                  className="button quiet square"
                  aria-label={`Forget ${name}`}
                  title="Forget this room"
                  onClick={() => forget(code)}
                >
                  <Icon name="close" />
                </button>
              </RoomRow>
            ))}
          </ul>
        </section>
      )}
      <section className="card grow" aria-labelledby="active-heading" aria-busy={!rooms}>
        <h2 id="active-heading">Active rooms</h2>
        {hasFailed && (
          <p className="list-problem" role="status">
            {rooms ? "The list is out of date: the server does not answer." : "The server does not answer."} Trying again…
          </p>
        )}
        {rooms?.length === 0 && <p className="muted empty">No rooms yet. Make the first one.</p>}
        {!rooms && !hasFailed && <p className="muted empty">Looking…</p>}
        <ul className="room-list">
          {rooms?.map((room) => <RoomRow key={room.code} code={room.code} name={room.name} room={room} />)}
        </ul>
        {hasMore && limit < MOST && (
          <button type="button" className="button" onClick={() => setLimit(Math.min(MOST, limit * 2))}>
            Show more
          </button>
        )}
      </section>
    </>
  );
}

function RoomRow({
  code,
  name,
  room,
  hasEnded = false,
  children,
}: {
  code: string;
  name: string;
  room: RoomInfo | undefined;
  hasEnded?: boolean;
  children?: ReactNode;
}) {
  return (
    <li className="room-row">
      <a
        href={roomPath(code)}
        className="room-link"
        onClick={(event) => {
          if (event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
          event.preventDefault();
          go(roomPath(code));
        }}
      >
        <span className="room-name">{name}</span>
        <span className="room-about">
          <span className="code">{shownCode(code)}</span>
          {room && <Presence room={room} />}
          {hasEnded && <span>has ended</span>}
        </span>
      </a>
      {!hasEnded && (
        <CopyButton text={copyable(code)} label={`Copy code and link of ${name}`} className="quiet square" />
      )}
      {children}
    </li>
  );
}

function Presence({ room: { participantCount, maxParticipants } }: { room: RoomInfo }) {
  if (participantCount === 0) return <span>nobody here</span>;
  return (
    <span>
      <span className="dot" aria-hidden="true" /> {participantCount} of {maxParticipants} here
    </span>
  );
}
