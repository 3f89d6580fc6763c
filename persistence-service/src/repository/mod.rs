//! Where rooms are kept: what a store promises, and the stores.

mod damage;
pub mod embedded;
pub mod redis;

use std::{collections::HashSet, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::watch;
use uuid::Uuid;

pub(crate) use damage::Damage;

use crate::domain::{
    CatchUp, ChatText, Element, ElementChange, Event, Message, NewRoom, Participant, Position,
    Request, Room, RoomCode, RoomStats, SessionId, SignalKind, UserId, Username,
};

/// How long a tombstone is kept: a tab that was away longer gets a reset.
pub(crate) const TOMBSTONE_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// How rooms are kept.
#[derive(Clone, Copy, Debug)]
pub struct RoomSettings {
    /// How long a room lives after its last activity.
    pub ttl: Duration,
    /// How many messages it keeps.
    pub message_limit: usize,
    /// How long a session lives without being renewed.
    pub session_lease: Duration,
}

/// Why the store itself could not do something.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RepositoryError {
    /// It was not reached, or refused for now; nothing was changed.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// A change was sent and not confirmed: it may or may not have happened.
    #[error("the store did not confirm a change: {0}")]
    OutcomeUnknown(String),
    /// It has no memory left for another change.
    #[error("the store is full")]
    Full,
    /// It holds, or answered, something that is not ours.
    #[error("the store holds something unexpected: {0}")]
    Damaged(String),
}

impl RepositoryError {
    /// What this error means where an earlier part of the same call has been stored:
    /// nobody may be told any more that nothing was.
    pub(crate) fn after_a_write(self) -> Self {
        match self {
            Self::Unavailable(why) => Self::OutcomeUnknown(why),
            Self::Full => Self::OutcomeUnknown("the store is full".to_owned()),
            Self::OutcomeUnknown(_) | Self::Damaged(_) => self,
        }
    }
}

/// Why a room refuses something. A refusal is an answer, not a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such room.
    Gone,
    /// All its seats are taken.
    Full,
    /// The session has not joined it.
    NotJoined,
    /// The session belongs to another user.
    IdentityMismatch,
    /// The request id was used for another content.
    Conflict,
    /// The board would exceed its limits.
    BoardFull,
}

/// What a room decided.
pub type Decision<T> = Result<T, Refusal>;

/// What a store answers: a failure of its own, or what the room decided.
pub type Answer<T> = Result<Decision<T>, RepositoryError>;

/// How much of a room to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Since {
    /// The newest messages and the living board, as for somebody who arrives.
    Arrival,
    /// Neither: only where the room is and who is there.
    Now,
    /// What changed after a position.
    Position(Position),
}

/// Somebody who comes.
#[derive(Clone, Debug)]
pub struct Join {
    /// Into which room.
    pub code: RoomCode,
    /// Who, by which name.
    pub participant: Participant,
    /// Through which session.
    pub session: SessionId,
    /// How much they want to know.
    pub since: Since,
    /// How many messages at most.
    pub message_limit: usize,
}

/// A message that is to be saved.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// In which room.
    pub code: RoomCode,
    /// By whom, under which name.
    pub author: Participant,
    /// What it says.
    pub text: ChatText,
    /// Through which session, which is then checked.
    pub session: Option<SessionId>,
    /// What makes it safe to repeat.
    pub request: Request,
}

impl NewMessage {
    /// The message as it is stored under this id at this revision, by an author
    /// who had this name then.
    pub(crate) fn stored(&self, id: Uuid, username: String, revision: u64) -> Message {
        Message {
            id,
            user_id: self.author.user_id.as_str().to_owned(),
            username,
            text: self.text.as_str().to_owned(),
            timestamp: revision / 1_000,
            revision,
            request_id: self.request.own_id(),
        }
    }
}

/// A message that has been saved.
#[derive(Clone, Debug)]
pub struct SavedMessage {
    /// As it is stored.
    pub message: Message,
    /// The room's epoch.
    pub epoch: u64,
    /// It had been saved before, and nothing was stored now.
    pub duplicate: bool,
}

/// A change of the board that is to be merged.
#[derive(Clone, Debug)]
pub struct Drawing {
    /// In which room.
    pub code: RoomCode,
    /// By whom.
    pub user: UserId,
    /// Through which session, which is then checked.
    pub session: Option<SessionId>,
    /// What.
    pub elements: Vec<ElementChange>,
    /// What makes it safe to repeat.
    pub request: Request,
}

/// A change of the board that has been merged.
#[derive(Clone, Debug)]
pub struct SavedDrawing {
    /// The position of the change, where it changed anything.
    pub position: Option<Position>,
    /// How many elements changed the board.
    pub accepted: u32,
    /// How many lost to a stored one.
    pub rejected: u32,
    /// Those that won.
    pub winners: Vec<Element>,
    /// It had been merged before, and nothing was stored now.
    pub duplicate: bool,
}

/// A transient signal.
#[derive(Clone, Debug)]
pub struct NewSignal {
    /// In which room.
    pub code: RoomCode,
    /// By whom, under which name.
    pub from: Participant,
    /// Through which session, which is then checked.
    pub session: Option<SessionId>,
    /// What it is.
    pub kind: SignalKind,
    /// A JSON object.
    pub json: String,
}

/// Where a page of the list of rooms begins: after this room, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomCursor {
    /// When the last listed room was created, in Unix milliseconds.
    pub create_time: u64,
    /// Its code, which orders rooms of one millisecond.
    pub code: RoomCode,
}

/// A page of the list of rooms.
#[derive(Clone, Debug)]
pub struct RoomList {
    /// Living rooms, newest first.
    pub rooms: Vec<Room>,
    /// Where the next page begins, if there is one.
    pub next: Option<RoomCursor>,
    /// A part of the store could not be read, and its rooms are not listed.
    pub incomplete: bool,
}

/// Takes what happens in the rooms that are listened to.
///
/// Called from the store's own task: it never waits.
pub trait FeedSink: Send + Sync + fmt::Debug {
    /// Something happened. Answers whether anybody wants to know.
    fn event(&self, code: RoomCode, event: Arc<Event>) -> bool;

    /// Events of all rooms may have been lost; listening goes on from here.
    fn interrupted(&self);

    /// The rooms that are to be listened to.
    fn watched(&self) -> Vec<RoomCode>;

    /// Whether this room is to be listened to.
    fn is_watched(&self, code: RoomCode) -> bool;
}

/// What a store of rooms promises.
///
/// Each change is one atomic step: it happens whole, with one revision that is
/// greater than the room's last, or not at all; every key of the room then
/// lives for its time to live from that instant; and its event is told to
/// whoever listens, after it is stored. What was answered as done stays done.
#[async_trait]
pub trait RoomRepository: Send + Sync + fmt::Debug {
    /// Remembers which code a request to create a room is for, so that a retry
    /// tries the same one. `taken` is a code that proved to be another room's.
    async fn claim_code(
        &self,
        request: &Request,
        candidate: RoomCode,
        taken: Option<RoomCode>,
    ) -> Result<RoomCode, RepositoryError>;

    /// Whether a room of this code could be created now, as far as is known
    /// without asking. In a store of several servers one may be away.
    fn can_keep(&self, _code: RoomCode) -> bool {
        true
    }

    /// A new request id whose code can be claimed now. Nothing where all ids are
    /// alike, or none is found.
    fn usable_id(&self) -> Option<Uuid> {
        None
    }

    /// Creates a room, or returns the one that this request created. `None`
    /// where the code is another room's.
    async fn create_room(
        &self,
        code: RoomCode,
        room: &NewRoom,
        request: &Request,
    ) -> Answer<Option<Room>>;

    /// Returns a room with how much it holds.
    async fn room(&self, code: RoomCode) -> Answer<RoomStats>;

    /// Lists living rooms, newest first: each that was created before this call,
    /// unless its part of the store is away.
    async fn rooms(
        &self,
        after: Option<RoomCursor>,
        limit: usize,
    ) -> Result<RoomList, RepositoryError>;

    /// Deletes a room with all it holds.
    async fn delete_room(&self, code: RoomCode) -> Answer<()>;

    /// Makes a user present and reads the room at that instant.
    async fn join(&self, join: &Join) -> Answer<CatchUp>;

    /// Ends a session; its user is gone with the last one. A session that had
    /// not joined is no refusal.
    async fn leave(&self, code: RoomCode, user: &UserId, session: &SessionId) -> Answer<()>;

    /// Renews the leases of sessions, and returns those that their rooms do not
    /// know. A renewal never creates a session.
    ///
    /// Each room for itself: the sessions of a room that is damaged, or cannot be
    /// asked now, are neither renewed nor returned. It fails where no room could
    /// be asked.
    async fn renew_sessions(
        &self,
        sessions: &[(RoomCode, SessionId)],
    ) -> Result<Vec<(RoomCode, SessionId)>, RepositoryError>;

    /// Ends sessions whose leases have passed, as if they had left, and says
    /// how many they were. Any instance may do this, and several at once.
    async fn expire_sessions(&self) -> Result<usize, RepositoryError>;

    /// Saves a message.
    async fn save_message(&self, message: &NewMessage) -> Answer<SavedMessage>;

    /// Lists kept messages before a revision, oldest first, and whether there
    /// are older ones.
    async fn messages(
        &self,
        code: RoomCode,
        before: Option<u64>,
        limit: usize,
    ) -> Answer<(Vec<Message>, bool)>;

    /// Merges elements into the board.
    async fn save_whiteboard(&self, drawing: &Drawing) -> Answer<SavedDrawing>;

    /// Tells a signal to whoever listens.
    async fn signal(&self, signal: &NewSignal) -> Answer<()>;

    /// Reads a room at this instant.
    async fn catch_up(&self, code: RoomCode, since: Since, message_limit: usize)
    -> Answer<CatchUp>;

    /// Where these rooms are, each for itself; `None` for one that is gone.
    async fn positions(&self, codes: &[RoomCode])
    -> Vec<Result<Option<Position>, RepositoryError>>;

    /// Removes from the index of active rooms those that are gone, and says
    /// how many they were.
    async fn sweep(&self) -> Result<usize, RepositoryError>;

    /// Listens to a room. When this returns, its events reach the sink.
    async fn listen(&self, code: RoomCode) -> Result<(), RepositoryError>;

    /// Listens to a room no longer, unless somebody watches it again.
    fn unlisten(&self, code: RoomCode);

    /// Waits until everything that was told before this call has reached the
    /// sink.
    async fn settle(&self, code: RoomCode) -> Result<(), RepositoryError>;

    /// Waits until everything that was told before this call in these rooms has
    /// reached the sink, and returns the rooms of which that is sure.
    async fn settle_all(&self, codes: &[RoomCode]) -> HashSet<RoomCode>;

    /// Whether the store can be reached now, and takes changes.
    fn availability(&self) -> watch::Receiver<bool>;
}

/// A participant from values that the store holds.
pub(crate) fn stored_participant(user_id: &str, username: &str) -> Participant {
    Participant {
        user_id: UserId::stored(user_id),
        username: Username::stored(username),
    }
}

/// Somebody who arrives sees the living board; so does somebody whose position
/// could not be served. Others need the tombstones.
pub(crate) fn living_board(mut catch_up: CatchUp, since: Since) -> CatchUp {
    if since == Since::Arrival || catch_up.reset {
        catch_up.elements.retain(|element| !element.is_deleted);
    }
    catch_up
}

/// Of the kept messages, newest first, those before a revision, at most `limit`
/// of them, oldest first; and whether there are older ones.
pub(crate) fn message_page<E>(
    newest_first: impl IntoIterator<Item = Result<Message, E>>,
    before: Option<u64>,
    limit: usize,
) -> Result<(Vec<Message>, bool), E> {
    let mut messages = Vec::new();
    for message in newest_first {
        let message = message?;
        if before.is_none_or(|revision| message.revision < revision) {
            messages.push(message);
        }
        if messages.len() > limit {
            break;
        }
    }
    let more = messages.len() > limit;
    messages.truncate(limit);
    messages.reverse();
    Ok((messages, more))
}
