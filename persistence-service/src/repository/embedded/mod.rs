//! Rooms in a local file, for one process: what the store on Redis promises,
//! without a Redis.
//!
//! One thread changes the file, and answers what it has put on the disk. Reads
//! are of snapshots and disturb nobody. Neither runs on a thread of the runtime,
//! which must not wait for a disk.

mod board;
mod change;
mod chat;
mod clock;
mod failure;
mod file;
mod keys;
mod leases;
mod lifecycle;
mod presence;
mod record;
mod rows;
mod writer;

use std::{collections::HashSet, fmt, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

pub use self::file::OpenError;
use self::{
    change::Change,
    clock::{Clock, microseconds},
    failure::Failure,
    file::{RoomFile, Snapshot},
    leases::Leases,
    record::Head,
    rows::{MessageLimits, Rows as _},
    writer::{Call, Order, Progress, State, Task, Writer},
};
use super::{
    Answer, Damage, Drawing, FeedSink, Join, NewMessage, NewSignal, Refusal, RepositoryError,
    RoomCursor, RoomList, RoomRepository, RoomSettings, SavedDrawing, SavedMessage, Since,
    message_page,
};
use crate::domain::{
    CatchUp, Event, EventKind, Message, NewRoom, Position, Request, Room, RoomCode, RoomStats,
    SessionId, UserId,
};

/// How many calls wait for the next commits. More than a few commits take would
/// only wait longer than their callers do.
const ORDERS: usize = 1_024;

/// How long a call waits for its place among them: until then nothing has
/// happened.
const ORDER_TIMEOUT: Duration = Duration::from_millis(400);

/// How long a call waits for its answer. With the above it is answered within
/// two seconds, whatever the disk does.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1_400);

/// How many reads run at once; each has a thread, and holds what it read.
const READS_AT_ONCE: usize = 64;

/// How many sessions are ended in one call, and how many calls one round makes
/// at most.
const EXPIRED_AT_ONCE: usize = 500;
const EXPIRE_ROUNDS: usize = 20;

/// The store in a file.
pub struct EmbeddedRooms {
    file: Arc<RoomFile>,
    clock: Arc<Clock>,
    leases: Arc<Leases>,
    sink: Arc<dyn FeedSink>,
    settings: RoomSettings,
    progress: Arc<Progress>,
    orders: mpsc::Sender<Order>,
    reads: Arc<Semaphore>,
    available: watch::Receiver<bool>,
    failed: CancellationToken,
    damage: Arc<Damage>,
}

impl fmt::Debug for EmbeddedRooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedRooms")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl EmbeddedRooms {
    /// Opens the store in this folder, which is made where there is none.
    ///
    /// # Errors
    ///
    /// Where it cannot be opened, is damaged, or is another process's.
    pub async fn open(
        folder: PathBuf,
        settings: RoomSettings,
        sink: Arc<dyn FeedSink>,
    ) -> Result<Self, OpenError> {
        let shown = folder.clone();
        let opening = tokio::task::spawn_blocking(move || Self::open_now(folder, settings, sink));
        opening.await.unwrap_or_else(|error| {
            Err(OpenError::Unusable {
                path: shown,
                problem: error.to_string(),
            })
        })
    }

    fn open_now(
        folder: PathBuf,
        settings: RoomSettings,
        sink: Arc<dyn FeedSink>,
    ) -> Result<Self, OpenError> {
        let file = Arc::new(RoomFile::open(&folder)?);
        let (store, sessions) = file
            .read(|rows| {
                let store = writer::stored_state(rows)?;
                let mut sessions = Vec::new();
                for row in rows.walk(&keys::all_sessions())? {
                    let (key, row) = row?;
                    let (code, _) = record::decode_session(row.value())?;
                    sessions.extend(keys::parse_session(key.value()).map(|name| (code, name)));
                }
                Ok((store, sessions))
            })
            .map_err(|failure| file.damaged(&failure))?;
        let clock = Arc::new(Clock::after(store.clock));
        let leases = Arc::new(Leases::default());
        let end = clock.milliseconds() + lease_of(&settings);
        for (code, session) in &sessions {
            leases.give(*code, session, end);
        }
        let progress = Arc::new(Progress::default());
        let (orders, waiting) = mpsc::channel(ORDERS);
        let (available, is_available) = watch::channel(true);
        let failed = CancellationToken::new();
        let writer = Writer {
            file: file.clone(),
            clock: clock.clone(),
            leases: leases.clone(),
            sink: sink.clone(),
            settings,
            progress: progress.clone(),
            state: State {
                available,
                failed: failed.clone(),
            },
            store,
            swept_bytes: 0,
            touched: None,
            orders: orders.downgrade(),
        };
        std::thread::Builder::new()
            .name("rooms".to_owned())
            .spawn(move || writer.run(waiting))
            .map_err(|error| OpenError::Unusable {
                path: folder.clone(),
                problem: error.to_string(),
            })?;
        tracing::info!(folder = %folder.display(), "the store is open");
        Ok(Self {
            file,
            clock,
            leases,
            sink,
            settings,
            progress,
            orders,
            reads: Arc::new(Semaphore::new(READS_AT_ONCE)),
            available: is_available,
            failed,
            damage: Arc::default(),
        })
    }

    /// Cancelled when the store has failed and answers no call any more. What it
    /// has answered stands; it is to be opened anew, by another process.
    pub fn failed(&self) -> CancellationToken {
        self.failed.clone()
    }

    /// Closes the file when the calls before are done. Without this it opens all
    /// the same, and is checked then.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        // A thread that is gone has closed it.
        if self.orders.send(Order::Close(done)).await.is_ok() {
            drop(closed.await);
        }
    }

    /// Has the thread do something in its next commit, and waits until that is
    /// on the disk.
    async fn change<T, F>(&self, effect: Effect, work: F) -> Result<T, RepositoryError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Change<'_>) -> Result<T, Failure> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let call: Box<dyn Call> = Box::new(Task {
            work: Some(work),
            outcome: None,
            reply,
            frees: effect == Effect::Frees,
        });
        let deadline = Instant::now() + ORDER_TIMEOUT + ANSWER_TIMEOUT;
        match timeout(ORDER_TIMEOUT, self.orders.send(Order::Call(call))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(unavailable("it is closed")),
            Err(_) => return Err(unavailable("too many calls wait for the disk")),
        }
        match timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(RepositoryError::OutcomeUnknown("it was closed".to_owned())),
            Err(_) => Err(RepositoryError::OutcomeUnknown(
                "the disk did not answer in time".to_owned(),
            )),
        }
    }

    /// Reads a snapshot, at this time in Unix milliseconds.
    async fn read<T, F>(&self, read: F) -> Result<T, RepositoryError>
    where
        T: Send + 'static,
        F: FnOnce(&Snapshot, u64) -> Result<T, Failure> + Send + 'static,
    {
        let permit = match timeout(ANSWER_TIMEOUT, self.reads.clone().acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            _ => return Err(unavailable("too many reads wait for the disk")),
        };
        let (file, clock) = (self.file.clone(), self.clock.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            file.read(|rows| read(rows, clock.milliseconds()))
        });
        match reading.await {
            Ok(read) => Ok(read?),
            Err(error) => Err(unavailable(&error.to_string())),
        }
    }

    /// Reads something of a living room.
    async fn read_room<T, F>(&self, code: RoomCode, read: F) -> Answer<T>
    where
        T: Send + 'static,
        F: FnOnce(&Snapshot, &Head, u64) -> Result<Result<T, Refusal>, Failure> + Send + 'static,
    {
        self.read(move |rows, now| match rows::living(rows, code, now)? {
            Some(head) => read(rows, &head, now),
            None => Ok(Err(Refusal::Gone)),
        })
        .await
    }

    fn message_limits(&self, wanted: usize) -> MessageLimits {
        MessageLimits {
            kept: self.settings.message_limit,
            wanted,
        }
    }
}

/// Whether a call takes space on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// It stores something.
    Takes,
    /// It removes something, and is tried on a full disk too.
    Frees,
}

fn unavailable(problem: &str) -> RepositoryError {
    RepositoryError::Unavailable(problem.to_owned())
}

/// Whether a session is in its room, which lives at this time in Unix milliseconds.
fn is_stored(
    rows: &Snapshot,
    (code, session): &(RoomCode, SessionId),
    now: u64,
) -> Result<bool, Failure> {
    let Some(head) = rows::living(rows, *code, now)? else {
        return Ok(false);
    };
    Ok(rows::session_user(rows, head.epoch, session)?.is_some())
}

fn lease_of(settings: &RoomSettings) -> u64 {
    microseconds(settings.session_lease) / 1_000
}

#[async_trait]
impl RoomRepository for EmbeddedRooms {
    async fn claim_code(
        &self,
        request: &Request,
        candidate: RoomCode,
        taken: Option<RoomCode>,
    ) -> Result<RoomCode, RepositoryError> {
        let request = request.clone();
        self.change(Effect::Takes, move |change| {
            change.claim_code(&request, candidate, taken)
        })
        .await
    }

    async fn create_room(
        &self,
        code: RoomCode,
        room: &NewRoom,
        request: &Request,
    ) -> Answer<Option<Room>> {
        let (room, request) = (room.clone(), request.clone());
        self.change(Effect::Takes, move |change| {
            change.create_room(code, &room, &request)
        })
        .await
    }

    async fn room(&self, code: RoomCode) -> Answer<RoomStats> {
        let kept = u32::try_from(self.settings.message_limit).unwrap_or(u32::MAX);
        self.read_room(code, move |_, head, now| {
            Ok(Ok(RoomStats {
                room: head.room(),
                message_count: head.message_rows.min(kept),
                ttl: head.expire_time.saturating_sub(now),
            }))
        })
        .await
    }

    async fn rooms(
        &self,
        after: Option<RoomCursor>,
        limit: usize,
    ) -> Result<RoomList, RepositoryError> {
        let damage = self.damage.clone();
        self.read(move |rows, now| {
            let before = after.map(|cursor| (cursor.create_time, cursor.code));
            let (mut listed, mut next) = (Vec::new(), None);
            for row in rows.walk(&keys::created_before(before))?.rev() {
                let Some(code) = keys::parse_created(row?.0.value()) else {
                    continue;
                };
                let head = match rows::living(rows, code, now) {
                    Ok(Some(head)) => head,
                    Ok(None) => continue,
                    // One that is damaged does not spoil the list.
                    Err(Failure::Damaged(problem)) => {
                        damage.found(code, "a room cannot be listed", &problem);
                        continue;
                    }
                    Err(failure) => return Err(failure),
                };
                if listed.len() == limit {
                    // There is one more than asked for: there is a next page.
                    next = listed.last().map(|room: &Room| RoomCursor {
                        create_time: room.create_time,
                        code: room.code,
                    });
                    break;
                }
                listed.push(head.room());
            }
            Ok(RoomList {
                rooms: listed,
                next,
                incomplete: false,
            })
        })
        .await
    }

    async fn delete_room(&self, code: RoomCode) -> Answer<()> {
        self.change(Effect::Frees, move |change| change.delete_room(code))
            .await
    }

    async fn join(&self, join: &Join) -> Answer<CatchUp> {
        let order = join.clone();
        let joined = self
            .change(Effect::Takes, move |change| change.join(&order))
            .await?;
        let epoch = match joined {
            Ok(epoch) => epoch,
            Err(refusal) => return Ok(Err(refusal)),
        };
        // Of an instant after the join; by then the room may have ended.
        let (since, limits) = (join.since, self.message_limits(join.message_limit));
        self.read_room(join.code, move |rows, head, now| {
            if head.epoch != epoch {
                return Ok(Err(Refusal::Gone));
            }
            rows::catch_up(rows, head, since, limits, now).map(Ok)
        })
        .await
        // The session is a member by now.
        .map_err(RepositoryError::after_a_write)
    }

    async fn leave(&self, code: RoomCode, user: &UserId, session: &SessionId) -> Answer<()> {
        let (user, session) = (user.clone(), session.clone());
        self.change(Effect::Frees, move |change| {
            change.leave(code, &user, &session)
        })
        .await
    }

    async fn renew_sessions(
        &self,
        sessions: &[(RoomCode, SessionId)],
    ) -> Result<Vec<(RoomCode, SessionId)>, RepositoryError> {
        let (sessions, leases) = (sessions.to_vec(), self.leases.clone());
        let (lease, damage) = (lease_of(&self.settings), self.damage.clone());
        self.read(move |rows, now| {
            let mut unknown = Vec::new();
            for name in sessions {
                let is_stored = match is_stored(rows, &name, now) {
                    Ok(is_stored) => is_stored,
                    // One damaged room does not keep the others' sessions from being renewed.
                    Err(Failure::Damaged(problem)) => {
                        damage.found(name.0, "sessions cannot be renewed", &problem);
                        continue;
                    }
                    Err(failure) => return Err(failure),
                };
                // Whose lease is gone is about to be ended, whatever the snapshot says.
                if !(is_stored && leases.renew(&name, now + lease)) {
                    unknown.push(name);
                }
            }
            Ok(unknown)
        })
        .await
    }

    async fn expire_sessions(&self) -> Result<usize, RepositoryError> {
        let mut count = 0;
        for _ in 0..EXPIRE_ROUNDS {
            let ended = self
                .leases
                .ended(self.clock.milliseconds(), EXPIRED_AT_ONCE);
            if ended.is_empty() {
                break;
            }
            count += self
                .change(Effect::Frees, move |change| change.expire_sessions(&ended))
                .await?;
        }
        Ok(count)
    }

    async fn save_message(&self, message: &NewMessage) -> Answer<SavedMessage> {
        let message = message.clone();
        self.change(Effect::Takes, move |change| change.save_message(&message))
            .await
    }

    async fn messages(
        &self,
        code: RoomCode,
        before: Option<u64>,
        limit: usize,
    ) -> Answer<(Vec<Message>, bool)> {
        let kept = self.settings.message_limit;
        self.read_room(code, move |rows, head, _| {
            let newest_first = rows::messages(rows, head.epoch, kept)?;
            message_page(newest_first, before, limit).map(Ok)
        })
        .await
    }

    async fn save_whiteboard(&self, drawing: &Drawing) -> Answer<SavedDrawing> {
        let drawing = drawing.clone();
        self.change(Effect::Takes, move |change| {
            change.save_whiteboard(&drawing)
        })
        .await
    }

    async fn signal(&self, signal: &NewSignal) -> Answer<()> {
        let (session, user) = (signal.session.clone(), signal.from.user_id.clone());
        let allowed = self
            .read_room(signal.code, move |rows, head, _| {
                let refusal = rows::refused(rows, head.epoch, session.as_ref(), &user)?;
                Ok(refusal.map_or(Ok(head.epoch), Err))
            })
            .await?;
        let epoch = match allowed {
            Ok(epoch) => epoch,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let session = signal.session.as_ref();
        let event = Event {
            position: Position { epoch, revision: 0 },
            previous: 0,
            expire_time: 0,
            session_id: session.map_or_else(String::new, |session| session.as_str().to_owned()),
            kind: EventKind::Signal {
                from: signal.from.clone(),
                kind: signal.kind.clone(),
                json: signal.json.clone(),
            },
        };
        self.sink.event(signal.code, Arc::new(event));
        Ok(Ok(()))
    }

    async fn catch_up(
        &self,
        code: RoomCode,
        since: Since,
        message_limit: usize,
    ) -> Answer<CatchUp> {
        let limits = self.message_limits(message_limit);
        self.read_room(code, move |rows, head, now| {
            rows::catch_up(rows, head, since, limits, now).map(Ok)
        })
        .await
    }

    async fn positions(
        &self,
        codes: &[RoomCode],
    ) -> Vec<Result<Option<Position>, RepositoryError>> {
        let asked = codes.to_vec();
        let read = self.read(move |rows, now| {
            let position = |code| match rows::living(rows, code, now) {
                Ok(head) => Ok(Ok(head.map(|head| head.position()))),
                Err(failure @ Failure::Damaged(_)) => Ok(Err(failure.into())),
                Err(failure @ Failure::Engine(_)) => Err(failure),
            };
            asked.into_iter().map(position).collect()
        });
        match read.await {
            Ok(positions) => positions,
            Err(error) => codes.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    async fn sweep(&self) -> Result<usize, RepositoryError> {
        let (reply, swept) = oneshot::channel();
        let order = self.orders.send(Order::Sweep(reply));
        order.await.map_err(|_| unavailable("it is closed"))?;
        swept.await.map_err(|_| unavailable("it was closed"))
    }

    // Everything that is committed is told to the sink, which knows who listens:
    // whoever subscribed before a commit was told hears of it.
    async fn listen(&self, _code: RoomCode) -> Result<(), RepositoryError> {
        Ok(())
    }

    fn unlisten(&self, _code: RoomCode) {}

    async fn settle(&self, _code: RoomCode) -> Result<(), RepositoryError> {
        self.progress.settle().await;
        Ok(())
    }

    async fn settle_all(&self, codes: &[RoomCode]) -> HashSet<RoomCode> {
        self.progress.settle().await;
        codes.iter().copied().collect()
    }

    fn availability(&self) -> watch::Receiver<bool> {
        self.available.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{RequestId, RoomName, Seats, Username};

    /// Nobody listens to any room.
    #[derive(Debug)]
    struct Deaf;

    impl FeedSink for Deaf {
        fn event(&self, _code: RoomCode, _event: Arc<Event>) -> bool {
            false
        }

        fn interrupted(&self) {}

        fn watched(&self) -> Vec<RoomCode> {
            Vec::new()
        }

        fn is_watched(&self, _code: RoomCode) -> bool {
            false
        }
    }

    #[tokio::test]
    async fn a_join_that_is_stored_and_then_cannot_be_read_has_an_unknown_outcome() {
        let folder = std::env::temp_dir().join(format!("rooms-{}", uuid::Uuid::new_v4()));
        let settings = RoomSettings {
            ttl: Duration::from_secs(60),
            message_limit: 100,
            session_lease: Duration::from_secs(30),
        };
        let rooms = EmbeddedRooms::open(folder.clone(), settings, Arc::new(Deaf))
            .await
            .unwrap();
        let code = RoomCode::from_number(4_711).unwrap();
        let room = NewRoom {
            name: RoomName::parse("name", "A room").unwrap(),
            created_by: Username::parse("created_by", "Ann").unwrap(),
            max_participants: Seats::DEFAULT,
            request_id: RequestId::parse("request_id", "", false).unwrap(),
        };
        let request = Request::new(room.request_id, "CreateRoom", "Ann", []);
        let created = rooms.create_room(code, &room, &request).await;
        created.unwrap().unwrap().unwrap();
        let join = Join {
            code,
            participant: crate::repository::stored_participant("ann", "Ann"),
            session: SessionId::parse("session_id", "s").unwrap(),
            since: Since::Arrival,
            message_limit: 50,
        };

        // No read finds a place from here on.
        rooms.reads.close();
        let joined = rooms.join(&join).await;
        assert!(
            matches!(joined, Err(RepositoryError::OutcomeUnknown(_))),
            "{joined:?}"
        );
        let head = rooms.file.read(|rows| rows::latest(rows, code)).unwrap();
        assert_eq!(head.unwrap().participant_count, 1);
        rooms.close().await;
        std::fs::remove_dir_all(folder).unwrap();
    }

    async fn room(rooms: &EmbeddedRooms, number: u32) -> (RoomCode, u64) {
        let code = RoomCode::from_number(number).unwrap();
        let request_id = RequestId {
            id: uuid::Uuid::new_v4(),
            transient: true,
        };
        let room = NewRoom {
            name: RoomName::parse("name", "A room").unwrap(),
            created_by: Username::parse("created_by", "Ann").unwrap(),
            max_participants: Seats::DEFAULT,
            request_id,
        };
        let request = Request::new(request_id, "CreateRoom", "ann", []);
        let created = rooms.create_room(code, &room, &request).await;
        let epoch = created.unwrap().unwrap().unwrap().position.epoch;
        let join = Join {
            code,
            participant: crate::repository::stored_participant("ann", "Ann"),
            session: SessionId::parse("session_id", "s").unwrap(),
            since: Since::Now,
            message_limit: 1,
        };
        rooms.join(&join).await.unwrap().unwrap();
        (code, epoch)
    }

    #[tokio::test]
    async fn a_damaged_room_keeps_no_other_from_being_renewed_or_compared() {
        let folder = std::env::temp_dir().join(format!("roomkeeper-{}", uuid::Uuid::new_v4()));
        let settings = RoomSettings {
            ttl: Duration::from_secs(3_600),
            message_limit: 100,
            session_lease: Duration::from_secs(30),
        };
        let rooms = EmbeddedRooms::open(folder.clone(), settings, Arc::new(Deaf))
            .await
            .unwrap();
        let (broken, epoch) = room(&rooms, 4_711).await;
        let (sound, _) = room(&rooms, 4_712).await;
        rooms
            .change(Effect::Takes, move |change| {
                change.put(&keys::head(epoch), b"garbage")
            })
            .await
            .unwrap();
        let name = |code, session| (code, SessionId::parse("session_id", session).unwrap());
        let asked = [name(broken, "s"), name(sound, "s"), name(sound, "x")];
        let unknown = rooms.renew_sessions(&asked).await.unwrap();
        assert_eq!(unknown, [name(sound, "x")]);
        let positions = rooms.positions(&[broken, sound]).await;
        assert!(matches!(positions[0], Err(RepositoryError::Damaged(_))));
        assert!(matches!(positions[1], Ok(Some(_))));
        rooms.close().await;
        std::fs::remove_dir_all(folder).unwrap();
    }
}
