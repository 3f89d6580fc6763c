//! A room in plain Rust: what a store of rooms must answer, whatever it is made of.
//!
//! The store chooses revisions and ids, and the model takes them over; all else it
//! knows beforehand.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt::{Debug, Write as _},
};

use persistence_service::{
    domain::{
        BOARD_LIMITS, CatchUp, ChatText, Element, ElementChange, NewRoom, Position, Request,
        RequestId, RoomCode, SessionId, SignalKind, UserId,
    },
    repository::{
        Decision, Drawing, Join, NewMessage, NewSignal, Refusal, RepositoryError, RoomRepository,
        SavedDrawing, SavedMessage, Since,
    },
};
use uuid::Uuid;

use crate::rooms::{change, new_room, participant};

/// How many messages somebody who arrives is shown.
const SHOWN: usize = 3;

/// By how much a store may leave the end of a long life where it is, in
/// milliseconds: renewing costs more than a second of a day is worth.
const RENEWED_WITHIN: u64 = 1_000;

/// How far a revision may be ahead of the clock after changes at once, in
/// milliseconds.
const CLOCKS_APART: u64 = 50;

/// Something that is done to a room; users, sessions and requests by number.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each is the call of its name")]
pub enum Operation {
    Create {
        seats: u32,
        again: bool,
    },
    Delete,
    Join {
        user: u8,
        session: Option<u8>,
        name: u8,
        since: From,
    },
    Leave {
        user: u8,
        session: Option<u8>,
    },
    Renew {
        sessions: Vec<u8>,
    },
    Say {
        user: u8,
        session: Option<u8>,
        request: u8,
        text: u8,
    },
    Draw {
        user: u8,
        session: Option<u8>,
        request: u8,
        strokes: Vec<Stroke>,
    },
    /// A change of many elements, so that a board comes to its limits.
    DrawMany {
        block: u8,
        version: u8,
        deleted: bool,
    },
    Signal {
        user: u8,
        session: Option<u8>,
    },
    CatchUp {
        since: From,
    },
    Messages {
        limit: u8,
        before: Option<u8>,
    },
}

/// An element of a change.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields are the element's")]
pub struct Stroke {
    pub id: u8,
    pub version: u8,
    pub nonce: u8,
    pub deleted: bool,
    pub heavy: bool,
}

/// From where somebody reads.
#[derive(Clone, Debug)]
pub enum From {
    /// From nowhere.
    Arrival,
    /// From one of the positions that there have been, by its number.
    Seen(u8),
    /// From a position that the room has not reached.
    Ahead,
    /// From a position of another room of this code.
    Elsewhere,
}

/// How the rooms of the store are kept.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// How many messages.
    pub messages: usize,
    /// How long after their last activity, in milliseconds.
    pub ttl: u64,
}

/// The room, and what was done to it.
#[derive(Debug)]
pub struct Model {
    code: RoomCode,
    kept: Kept,
    room: Option<Room>,
    seen: Vec<Position>,
    next_request: u128,
}

#[derive(Debug)]
struct Room {
    creation: NewRoom,
    created: Request,
    seats: usize,
    position: Position,
    expire_time: u64,
    /// In the order of their coming.
    people: Vec<(String, String)>,
    sessions: BTreeMap<String, String>,
    /// Newest last.
    messages: Vec<Message>,
    trimmed: u64,
    elements: BTreeMap<String, Drawn>,
    next_ordinal: u64,
    pruned: u64,
    requests: HashMap<Uuid, (String, Outcome)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Message {
    id: Uuid,
    user: String,
    name: String,
    text: String,
    revision: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Drawn {
    version: u64,
    nonce: u64,
    deleted: bool,
    json: String,
    revision: u64,
    ordinal: u64,
}

#[derive(Clone, Debug)]
enum Outcome {
    Created,
    Said(Message),
    Drawn {
        revision: u64,
        accepted: u32,
        rejected: u32,
    },
}

/// Why the store is not as the model says; or nothing.
type Verdict = Result<(), String>;

fn same<T: PartialEq + Debug>(what: &str, got: &T, wanted: &T) -> Verdict {
    if got == wanted {
        return Ok(());
    }
    let shorten = |value: &T| -> String { format!("{value:?}").chars().take(1_500).collect() };
    Err(format!(
        "{what}: got {}, wanted {}",
        shorten(got),
        shorten(wanted)
    ))
}

fn answered<T>(what: &str, answer: Result<T, RepositoryError>) -> Result<T, String> {
    answer.map_err(|error| format!("{what}: {error}"))
}

fn refused_of<T>(decision: &Decision<T>) -> Option<Refusal> {
    decision.as_ref().err().copied()
}

fn user_id(number: u8) -> UserId {
    UserId::parse("user_id", &format!("user-{number}")).expect("an id")
}

fn session_id(user: u8, session: Option<u8>) -> SessionId {
    match session {
        Some(number) => named_session(number),
        None => SessionId::unnamed(&user_id(user)),
    }
}

fn named_session(number: u8) -> SessionId {
    SessionId::parse("session_id", &format!("session-{number}")).expect("a session")
}

fn stroke(stroke: &Stroke) -> ElementChange {
    let Stroke {
        id,
        version,
        nonce,
        deleted,
        heavy,
    } = stroke;
    // What an element looks like follows from its version, as in life.
    let weight = if *heavy { 900_000 } else { 1 };
    let text = "x".repeat(weight);
    change(&format!(
        r#"{{"id":"e{id}","type":"text","version":{version},"versionNonce":{nonce},"isDeleted":{deleted},"text":"{text}"}}"#
    ))
}

impl Model {
    /// A room that is not there yet.
    pub fn new(code: RoomCode, kept: Kept) -> Self {
        Self {
            code,
            kept,
            room: None,
            seen: vec![Position::ZERO],
            next_request: 1 << 64,
        }
    }

    /// Does something to the room and to this, and compares.
    ///
    /// # Errors
    ///
    /// What is not as it should be.
    pub async fn does(&mut self, rooms: &dyn RoomRepository, operation: &Operation) -> Verdict {
        match operation {
            Operation::Create { seats, again } => self.create(rooms, *seats, *again).await,
            Operation::Delete => self.delete(rooms).await,
            Operation::Join {
                user,
                session,
                name,
                since,
            } => self.join(rooms, *user, *session, *name, since).await,
            Operation::Leave { user, session } => self.leave(rooms, *user, *session).await,
            Operation::Renew { sessions } => self.renew(rooms, sessions).await,
            Operation::Say {
                user,
                session,
                request,
                text,
            } => self.say(rooms, *user, *session, *request, *text).await,
            Operation::Draw {
                user,
                session,
                request,
                strokes,
            } => {
                // No id twice in a change.
                let mut elements: Vec<ElementChange> = Vec::new();
                for element in strokes.iter().map(stroke) {
                    if elements.iter().all(|one| one.id != element.id) {
                        elements.push(element);
                    }
                }
                let request = Uuid::from_u128(u128::from(*request));
                self.draw(rooms, *user, *session, request, elements).await
            }
            Operation::DrawMany {
                block,
                version,
                deleted,
            } => {
                let elements = (0..2_500)
                    .map(|n| {
                        change(&format!(
                            r#"{{"id":"m{block}-{n}","type":"line","version":{version},"versionNonce":1,"isDeleted":{deleted}}}"#
                        ))
                    })
                    .collect();
                self.next_request += 1;
                let request = Uuid::from_u128(self.next_request);
                self.draw(rooms, 0, None, request, elements).await
            }
            Operation::Signal { user, session } => self.signal(rooms, *user, *session).await,
            Operation::CatchUp { since } => self.catch_up(rooms, since).await,
            Operation::Messages { limit, before } => {
                self.list_messages(rooms, usize::from(*limit), *before)
                    .await
            }
        }?;
        self.agrees(rooms).await
    }

    /// Compares all that the store says of the room with what is known here.
    async fn agrees(&mut self, rooms: &dyn RoomRepository) -> Verdict {
        let mut positions = rooms.positions(&[self.code]).await;
        let position = answered("a position", positions.remove(0))?;
        let wanted = self.room.as_ref().map(|room| room.position);
        same("the position", &position, &wanted)?;
        let stats = answered("the room", rooms.room(self.code).await)?;
        let Some(room) = &mut self.room else {
            return same(
                "a room that is gone",
                &refused_of(&stats),
                &Some(Refusal::Gone),
            );
        };
        if self.seen.last() != Some(&room.position) {
            self.seen.push(room.position);
        }
        let stats = stats.map_err(|refusal| format!("the room: {refusal:?}"))?;
        same(
            "its messages",
            &(stats.message_count as usize),
            &room.messages.len(),
        )?;
        same(
            "its people",
            &(stats.room.participant_count as usize),
            &room.people.len(),
        )?;
        same(
            "its seats",
            &(stats.room.max_participants as usize),
            &room.seats,
        )?;
        same("its end", &stats.room.expire_time, &room.expire_time)?;
        let read = rooms
            .catch_up(self.code, Since::Arrival, self.kept.messages)
            .await;
        let read = answered("the whole", read)?.map_err(|refusal| format!("{refusal:?}"))?;
        room.shown(&read, Since::Arrival, self.kept.messages)
    }

    /// Where a reader begins.
    fn since(&self, from: &From) -> Since {
        let now = self
            .room
            .as_ref()
            .map(|room| room.position)
            .unwrap_or_default();
        match from {
            From::Arrival => Since::Arrival,
            From::Seen(number) => {
                Since::Position(self.seen[usize::from(*number) % self.seen.len()])
            }
            From::Ahead => Since::Position(Position {
                revision: now.revision + 1_000_000_000,
                ..now
            }),
            From::Elsewhere => Since::Position(Position {
                epoch: now.epoch + 1,
                ..now
            }),
        }
    }

    /// Takes over what the store chose for a change, if that can be.
    async fn changed(&mut self, rooms: &dyn RoomRepository, revises: bool) -> Verdict {
        let stats = answered("the room", rooms.room(self.code).await)?;
        let stats = stats.map_err(|refusal| format!("after a change: {refusal:?}"))?;
        let room = self.room.as_mut().ok_or("a change of no room")?;
        let (before, now) = (room.position, stats.room.position);
        same("the epoch", &now.epoch, &before.epoch)?;
        if revises && now.revision <= before.revision {
            return Err(format!("a change has no new revision: {before:?}, {now:?}"));
        }
        if !revises {
            same("the revision", &now, &before)?;
        }
        if stats.room.expire_time < room.expire_time {
            return Err("an activity brings the end nearer".to_owned());
        }
        if revises {
            let wanted = now.revision / 1_000 + self.kept.ttl;
            let end = stats.room.expire_time;
            if end > wanted + CLOCKS_APART || end + RENEWED_WITHIN + CLOCKS_APART < wanted {
                return Err(format!("the end is {end}, and should be about {wanted}"));
            }
        }
        room.position = now;
        room.expire_time = stats.room.expire_time;
        Ok(())
    }

    async fn create(&mut self, rooms: &dyn RoomRepository, seats: u32, again: bool) -> Verdict {
        let (creation, created) = match &self.room {
            Some(room) if again => (room.creation.clone(), room.created.clone()),
            _ => {
                self.next_request += 1;
                let creation = new_room(seats);
                let id = RequestId {
                    id: Uuid::from_u128(self.next_request),
                    transient: false,
                };
                (creation, Request::new(id, "CreateRoom", "Ann", []))
            }
        };
        let answer = rooms.create_room(self.code, &creation, &created).await;
        let answer = answered("create", answer)?.map_err(|refusal| format!("{refusal:?}"))?;
        match (&self.room, answer) {
            (Some(_), None) if !again => Ok(()),
            (Some(room), Some(same_room)) if again => same(
                "the room created before",
                &same_room.position,
                &room.position,
            ),
            (None, Some(new)) => {
                let fits = new.position.epoch == new.position.revision
                    && self.seen.iter().all(|seen| seen.epoch < new.position.epoch)
                    && new.participant_count == 0;
                if !fits {
                    return Err(format!("a new room is {new:?}"));
                }
                let id = created.id.id;
                let requests =
                    HashMap::from([(id, (created.fingerprint().to_owned(), Outcome::Created))]);
                self.room = Some(Room {
                    seats: creation.max_participants.number() as usize,
                    creation,
                    created,
                    position: new.position,
                    expire_time: new.expire_time,
                    people: Vec::new(),
                    sessions: BTreeMap::new(),
                    messages: Vec::new(),
                    trimmed: 0,
                    elements: BTreeMap::new(),
                    next_ordinal: 0,
                    pruned: 0,
                    requests,
                });
                Ok(())
            }
            (room, answer) => Err(format!("created {answer:?} where there was {room:?}")),
        }
    }

    async fn delete(&mut self, rooms: &dyn RoomRepository) -> Verdict {
        let answer = answered("delete", rooms.delete_room(self.code).await)?;
        let wanted = self.room.is_none().then_some(Refusal::Gone);
        self.room = None;
        same("a deletion", &refused_of(&answer), &wanted)
    }

    async fn join(
        &mut self,
        rooms: &dyn RoomRepository,
        user: u8,
        session: Option<u8>,
        name: u8,
        since: &From,
    ) -> Verdict {
        let since = self.since(since);
        let session = session_id(user, session);
        let mut who = participant(&format!("user-{user}"));
        who.username = participant(&format!("Name {name}")).username;
        let message_limit = if since == Since::Arrival {
            SHOWN
        } else {
            self.kept.messages
        };
        let join = Join {
            code: self.code,
            participant: who.clone(),
            session: session.clone(),
            since,
            message_limit,
        };
        let answer = answered("join", rooms.join(&join).await)?;
        let user = who.user_id.as_str().to_owned();
        let name = who.username.as_str().to_owned();
        let session = session.as_str().to_owned();
        let Some(room) = &mut self.room else {
            return same("a join", &refused_of(&answer), &Some(Refusal::Gone));
        };
        let owner = room.sessions.get(&session).cloned();
        let there = room.people.iter().position(|(id, _)| *id == user);
        let refusal = if owner.as_ref().is_some_and(|owner| *owner != user) {
            Some(Refusal::IdentityMismatch)
        } else if there.is_none() && room.people.len() >= room.seats {
            Some(Refusal::Full)
        } else {
            None
        };
        same("a join", &refused_of(&answer), &refusal)?;
        let Ok(shown) = answer else { return Ok(()) };
        let revises = match there {
            None => {
                room.people.push((user.clone(), name));
                true
            }
            Some(place) => std::mem::replace(&mut room.people[place].1, name.clone()) != name,
        };
        let comes = room.sessions.insert(session, user).is_none();
        if revises || comes {
            self.changed(rooms, revises).await?;
        }
        let room = self.room.as_ref().ok_or("a join into no room")?;
        room.shown(&shown, since, message_limit)
    }

    async fn leave(
        &mut self,
        rooms: &dyn RoomRepository,
        user: u8,
        session: Option<u8>,
    ) -> Verdict {
        let session = session_id(user, session);
        let user = user_id(user);
        let answer = answered("leave", rooms.leave(self.code, &user, &session).await)?;
        let Some(room) = &mut self.room else {
            return same("a leave", &refused_of(&answer), &Some(Refusal::Gone));
        };
        match room.sessions.get(session.as_str()) {
            None => return same("a leave", &refused_of(&answer), &None),
            Some(owner) if owner != user.as_str() => {
                return same(
                    "a leave",
                    &refused_of(&answer),
                    &Some(Refusal::IdentityMismatch),
                );
            }
            Some(_) => {}
        }
        same("a leave", &refused_of(&answer), &None)?;
        room.sessions.remove(session.as_str());
        let was_last = room.sessions.values().all(|owner| owner != user.as_str());
        if was_last {
            room.people.retain(|(id, _)| id != user.as_str());
        }
        self.changed(rooms, was_last).await
    }

    async fn renew(&mut self, rooms: &dyn RoomRepository, sessions: &[u8]) -> Verdict {
        let asked: Vec<_> = sessions
            .iter()
            .map(|n| (self.code, named_session(*n)))
            .collect();
        let unknown = answered("a renewal", rooms.renew_sessions(&asked).await)?;
        let mut unknown: Vec<_> = unknown.iter().map(|(_, s)| s.as_str().to_owned()).collect();
        unknown.sort_unstable();
        unknown.dedup();
        let mut wanted: Vec<String> = asked
            .iter()
            .map(|(_, session)| session.as_str().to_owned())
            .filter(|session| {
                let room = self.room.as_ref();
                room.is_none_or(|room| !room.sessions.contains_key(session))
            })
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        same("the unknown sessions", &unknown, &wanted)
    }

    async fn say(
        &mut self,
        rooms: &dyn RoomRepository,
        user: u8,
        session: Option<u8>,
        request: u8,
        text: u8,
    ) -> Verdict {
        let author = participant(&format!("user-{user}"));
        let text = format!("text {text}");
        let request = Request::new(
            RequestId {
                id: Uuid::from_u128(u128::from(request)),
                transient: false,
            },
            "SaveMessage",
            author.user_id.as_str(),
            [text.as_str()],
        );
        let message = NewMessage {
            code: self.code,
            author,
            text: ChatText::parse("text", &text).expect("a text"),
            session: session.map(named_session),
            request,
        };
        let answer = answered("a message", rooms.save_message(&message).await)?;
        let user = message.author.user_id.as_str();
        let Some(room) = &mut self.room else {
            return same("a message", &refused_of(&answer), &Some(Refusal::Gone));
        };
        match room.answered_before(&message.request) {
            Some(Err(refusal)) => {
                return same("a message", &refused_of(&answer), &Some(refusal));
            }
            Some(Ok(Outcome::Said(first))) => {
                let saved = answer.map_err(|refusal| format!("a duplicate: {refusal:?}"))?;
                same("a duplicate", &saved.duplicate, &true)?;
                return same("a duplicate", &Message::of(&saved.message), &first);
            }
            Some(Ok(outcome)) => return Err(format!("{outcome:?} of a message")),
            None => {}
        }
        let refusal = room.refuses(session, user);
        same("a message", &refused_of(&answer), &refusal)?;
        let Ok(SavedMessage {
            message: saved,
            epoch,
            duplicate,
        }) = answer
        else {
            return Ok(());
        };
        same("a message's epoch", &epoch, &room.position.epoch)?;
        same("a message is new", &duplicate, &false)?;
        same("a message's text", &saved.text, &text)?;
        same("a message's author", &saved.user_id.as_str(), &user)?;
        same(
            "a message's time",
            &saved.timestamp,
            &(saved.revision / 1_000),
        )?;
        let saved = Message::of(&saved);
        room.messages.push(saved.clone());
        if room.messages.len() > self.kept.messages {
            room.trimmed = room.messages.remove(0).revision;
        }
        room.remember(&message.request, Outcome::Said(saved.clone()));
        self.changed(rooms, true).await?;
        let room = self.room.as_ref().ok_or("a message to no room")?;
        same(
            "a message's revision",
            &saved.revision,
            &room.position.revision,
        )
    }

    async fn draw(
        &mut self,
        rooms: &dyn RoomRepository,
        user: u8,
        session: Option<u8>,
        request: Uuid,
        elements: Vec<ElementChange>,
    ) -> Verdict {
        let user = user_id(user);
        let id = RequestId {
            id: request,
            transient: false,
        };
        let mut content = String::new();
        for element in &elements {
            write!(
                content,
                "{}:{}:{} ",
                element.id, element.version, element.version_nonce
            )
            .expect("a string takes all");
            content.push_str(&element.json);
        }
        let drawing = Drawing {
            code: self.code,
            user: user.clone(),
            session: session.map(named_session),
            request: Request::new(id, "SaveWhiteboard", user.as_str(), [content.as_str()]),
            elements,
        };
        let answer = answered("a drawing", rooms.save_whiteboard(&drawing).await)?;
        let Some(room) = &mut self.room else {
            return same("a drawing", &refused_of(&answer), &Some(Refusal::Gone));
        };
        let before = room.answered_before(&drawing.request);
        if let Some(Err(refusal)) = before {
            return same("a drawing", &refused_of(&answer), &Some(refusal));
        }
        if before.is_none()
            && let Some(refusal) = room.refuses(session, user.as_str())
        {
            return same("a drawing", &refused_of(&answer), &Some(refusal));
        }
        let (accepted, winners) = room.merge(&drawing.elements);
        let mut wanted_winners: Vec<_> = winners
            .iter()
            .map(|id| (id.clone(), room.elements[id].clone()))
            .collect();
        wanted_winners.sort_by(|(a, _), (b, _)| a.cmp(b));
        let check_winners = |saved: &SavedDrawing| {
            let mut got: Vec<_> = saved.winners.iter().map(drawn_of).collect();
            got.sort_by(|(a, _), (b, _)| a.cmp(b));
            same("the winners", &got, &wanted_winners)
        };
        if let Some(Ok(outcome)) = before {
            let Outcome::Drawn {
                revision,
                accepted,
                rejected,
            } = outcome
            else {
                return Err(format!("{outcome:?} of a drawing"));
            };
            let saved = answer.map_err(|refusal| format!("a duplicate: {refusal:?}"))?;
            let at = saved.position.map_or(0, |position| position.revision);
            same(
                "a duplicate",
                &(saved.duplicate, at, saved.accepted, saved.rejected),
                &(true, revision, accepted, rejected),
            )?;
            return check_winners(&saved);
        }
        let rejected = u32::try_from(winners.len()).expect("a small number");
        let count = u32::try_from(accepted.len()).expect("a small number");
        if accepted.is_empty() {
            let saved = answer.map_err(|refusal| format!("an idle drawing: {refusal:?}"))?;
            same(
                "an idle drawing",
                &(
                    saved.duplicate,
                    saved.position,
                    saved.accepted,
                    saved.rejected,
                ),
                &(false, None, 0, rejected),
            )?;
            room.remember(
                &drawing.request,
                Outcome::Drawn {
                    revision: 0,
                    accepted: 0,
                    rejected,
                },
            );
            return check_winners(&saved);
        }
        let Some(gone) = room.makes_place(&accepted) else {
            return same(
                "a full board",
                &refused_of(&answer),
                &Some(Refusal::BoardFull),
            );
        };
        let saved = answer.map_err(|refusal| format!("a drawing: {refusal:?}"))?;
        let at = saved.position.ok_or("a drawing without a position")?;
        same(
            "a drawing",
            &(saved.duplicate, saved.accepted, saved.rejected, at.epoch),
            &(false, count, rejected, room.position.epoch),
        )?;
        check_winners(&saved)?;
        for id in gone {
            if let Some(tombstone) = room.elements.remove(&id) {
                room.pruned = room.pruned.max(tombstone.revision);
            }
        }
        for element in accepted {
            let ordinal = match room.elements.get(&element.id) {
                Some(old) => old.ordinal,
                None => {
                    room.next_ordinal += 1;
                    room.next_ordinal - 1
                }
            };
            room.elements.insert(
                element.id.clone(),
                Drawn {
                    version: element.version,
                    nonce: element.version_nonce,
                    deleted: element.is_deleted,
                    json: element.json.clone(),
                    revision: at.revision,
                    ordinal,
                },
            );
        }
        room.remember(
            &drawing.request,
            Outcome::Drawn {
                revision: at.revision,
                accepted: count,
                rejected,
            },
        );
        self.changed(rooms, true).await?;
        let room = self.room.as_ref().ok_or("a drawing in no room")?;
        same(
            "a drawing's revision",
            &at.revision,
            &room.position.revision,
        )
    }

    async fn signal(
        &mut self,
        rooms: &dyn RoomRepository,
        user: u8,
        session: Option<u8>,
    ) -> Verdict {
        let from = participant(&format!("user-{user}"));
        let signal = NewSignal {
            code: self.code,
            session: session.map(named_session),
            kind: SignalKind::parse("kind", "typing").expect("a kind"),
            json: "{}".to_owned(),
            from,
        };
        let answer = answered("a signal", rooms.signal(&signal).await)?;
        let wanted = match &self.room {
            None => Some(Refusal::Gone),
            Some(room) => room.refuses(session, signal.from.user_id.as_str()),
        };
        same("a signal", &refused_of(&answer), &wanted)
    }

    async fn catch_up(&mut self, rooms: &dyn RoomRepository, since: &From) -> Verdict {
        let since = self.since(since);
        let read = rooms.catch_up(self.code, since, self.kept.messages).await;
        let read = answered("a catch-up", read)?;
        match (&self.room, read) {
            (None, read) => same("a catch-up", &refused_of(&read), &Some(Refusal::Gone)),
            (Some(room), Ok(read)) => room.shown(&read, since, self.kept.messages),
            (Some(_), Err(refusal)) => Err(format!("a catch-up: {refusal:?}")),
        }
    }

    async fn list_messages(
        &mut self,
        rooms: &dyn RoomRepository,
        limit: usize,
        before: Option<u8>,
    ) -> Verdict {
        let limit = limit.max(1);
        let before = before.map(|number| self.seen[usize::from(number) % self.seen.len()].revision);
        let read = rooms.messages(self.code, before, limit).await;
        let read = answered("messages", read)?;
        let Some(room) = &self.room else {
            return same("messages", &refused_of(&read), &Some(Refusal::Gone));
        };
        let (messages, more) = read.map_err(|refusal| format!("messages: {refusal:?}"))?;
        let older: Vec<Message> = room
            .messages
            .iter()
            .filter(|message| before.is_none_or(|before| message.revision < before))
            .cloned()
            .collect();
        let first = older.len().saturating_sub(limit);
        let got: Vec<_> = messages.iter().map(Message::of).collect();
        same("messages", &got, &older[first..].to_vec())?;
        same("that there are older ones", &more, &(first > 0))
    }
}

impl Message {
    fn of(message: &persistence_service::domain::Message) -> Self {
        Self {
            id: message.id,
            user: message.user_id.clone(),
            name: message.username.clone(),
            text: message.text.clone(),
            revision: message.revision,
        }
    }
}

fn drawn_of(element: &Element) -> (String, Drawn) {
    let drawn = Drawn {
        version: element.version,
        nonce: element.version_nonce,
        deleted: element.is_deleted,
        json: element.json.to_string(),
        revision: element.revision,
        ordinal: element.ordinal,
    };
    (element.id.to_string(), drawn)
}

impl Room {
    fn answered_before(&self, request: &Request) -> Option<Result<Outcome, Refusal>> {
        let (fingerprint, outcome) = self.requests.get(&request.id.id)?;
        Some(if fingerprint == request.fingerprint() {
            Ok(outcome.clone())
        } else {
            Err(Refusal::Conflict)
        })
    }

    fn remember(&mut self, request: &Request, outcome: Outcome) {
        let kept = (request.fingerprint().to_owned(), outcome);
        self.requests.insert(request.id.id, kept);
    }

    /// Why a session may not act for a user.
    fn refuses(&self, session: Option<u8>, user: &str) -> Option<Refusal> {
        let session = named_session(session?);
        match self.sessions.get(session.as_str()) {
            None => Some(Refusal::NotJoined),
            Some(owner) if owner != user => Some(Refusal::IdentityMismatch),
            Some(_) => None,
        }
    }

    /// What changes the board, and whose stored elements won.
    fn merge(&self, elements: &[ElementChange]) -> (Vec<ElementChange>, Vec<String>) {
        let (mut accepted, mut winners) = (Vec::new(), Vec::new());
        for element in elements {
            let Some(old) = self.elements.get(&element.id) else {
                accepted.push(element.clone());
                continue;
            };
            // The greater version, then the lower nonce.
            let order = (element.version, std::cmp::Reverse(element.version_nonce))
                .cmp(&(old.version, std::cmp::Reverse(old.nonce)));
            match order {
                std::cmp::Ordering::Greater => accepted.push(element.clone()),
                std::cmp::Ordering::Less => winners.push(element.id.clone()),
                std::cmp::Ordering::Equal => {}
            }
        }
        (accepted, winners)
    }

    /// Which tombstones go so that the board holds the change; nothing where it
    /// does not hold it even so.
    fn makes_place(&self, accepted: &[ElementChange]) -> Option<Vec<String>> {
        let (mut count, mut bytes) = (self.elements.len(), 0);
        for (id, element) in &self.elements {
            bytes += id.len() + element.json.len();
        }
        for element in accepted {
            match self.elements.get(&element.id) {
                None => {
                    count += 1;
                    bytes += element.id.len() + element.json.len();
                }
                Some(old) => bytes = bytes - old.json.len() + element.json.len(),
            }
        }
        let in_change: HashSet<&str> = accepted.iter().map(|change| change.id.as_str()).collect();
        let mut tombstones: Vec<_> = self
            .elements
            .iter()
            .filter(|(id, element)| element.deleted && !in_change.contains(id.as_str()))
            .collect();
        tombstones.sort_by(|(a_id, a), (b_id, b)| (a.revision, a_id).cmp(&(b.revision, b_id)));
        let mut gone = Vec::new();
        for (id, element) in tombstones {
            if count <= BOARD_LIMITS.board_elements && bytes <= BOARD_LIMITS.board_bytes {
                break;
            }
            count -= 1;
            bytes -= id.len() + element.json.len();
            gone.push(id.clone());
        }
        (count <= BOARD_LIMITS.board_elements && bytes <= BOARD_LIMITS.board_bytes).then_some(gone)
    }

    /// Whether a reader was shown what this room holds.
    fn shown(&self, read: &CatchUp, since: Since, message_limit: usize) -> Verdict {
        same("the position", &read.room.position, &self.position)?;
        let people: Vec<_> = read
            .participants
            .iter()
            .map(|p| {
                (
                    p.user_id.as_str().to_owned(),
                    p.username.as_str().to_owned(),
                )
            })
            .collect();
        same("who is there", &people, &self.people)?;
        let after = match since {
            Since::Position(after)
                if after.epoch == self.position.epoch
                    && after.revision <= self.position.revision
                    && after.revision >= self.pruned =>
            {
                Some(after.revision)
            }
            Since::Position(_) | Since::Arrival | Since::Now => None,
        };
        let reset = matches!(since, Since::Position(_)) && after.is_none();
        same("a reset", &read.reset, &reset)?;
        let truncated = after.is_some_and(|after| self.trimmed > after);
        same("what fell off", &read.history_truncated, &truncated)?;

        let newer: Vec<Message> = self
            .messages
            .iter()
            .filter(|message| after.is_none_or(|after| message.revision > after))
            .cloned()
            .collect();
        let first = newer.len().saturating_sub(message_limit);
        let got: Vec<_> = read.messages.iter().map(|m| Message::of(m)).collect();
        same("the messages", &got, &newer[first..].to_vec())?;

        let mut wanted: Vec<_> = self
            .elements
            .iter()
            .filter(|(_, element)| match after {
                Some(after) => element.revision > after,
                None => !element.deleted,
            })
            .map(|(id, element)| (id.clone(), element.clone()))
            .collect();
        wanted.sort_by_key(|(_, element)| element.ordinal);
        let got: Vec<_> = read.elements.iter().map(drawn_of).collect();
        same("the elements", &got, &wanted)
    }
}
