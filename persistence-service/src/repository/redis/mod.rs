//! Rooms in Redis 7 or later: one script, one round trip, for each change.

mod absence;
mod address;
mod calls;
mod cluster;
mod connection;
mod history;
mod index;
mod keys;
mod leases;
mod listener;
mod owed;
mod record;
mod reply;
mod rounds;
mod scripts;
mod slots;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::join_all;
use redis::Value;
use roomkeeper_common::tasks::Tasks;
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};
use uuid::Uuid;

pub use self::address::RedisAddress;
pub(crate) use self::record::event as decode_event;
use self::{
    address::Place,
    calls::CALLS_IN_FLIGHT,
    cluster::Cluster,
    connection::{Connection, Effect, Probe},
    history::{Branch, History},
    listener::Listener,
    owed::Owed,
    record::Contents,
    reply::{Reply, number},
    rounds::ROUND,
    scripts::Scripts,
};
pub use super::RoomSettings;
use super::{
    Answer, Damage, Drawing, FeedSink, Join, NewMessage, NewSignal, Refusal, RepositoryError,
    RoomCursor, RoomList, RoomRepository, SavedDrawing, SavedMessage, Since, TOMBSTONE_AGE,
    living_board, message_page,
};
use crate::domain::{
    BOARD_LIMITS, CatchUp, Message, NewRoom, Position, Request, Room, RoomCode, RoomStats,
    SessionId, UserId,
};

/// How many rooms of one server are read at once where many are.
const READS_AT_ONCE: usize = 64;

/// How long a deletion remembers that it took place, for a repetition of the call by this
/// service: longer than any call is tried.
const OWN_RETRY: Duration = Duration::from_secs(10);

/// How many ids are tried to find one whose claim is on a server that is there. With one
/// server of a hundred left, half of the searches find one.
const IDS: usize = 64;

/// The store on Redis.
pub struct RedisRooms {
    servers: Servers,
    scripts: Scripts,
    settings: RoomSettings,
    in_flight: Semaphore,
    damage: Damage,
    owed_sessions: Owed<(RoomCode, SessionId)>,
    owed_rooms: Owed<(RoomCode, u64)>,
}

impl fmt::Debug for RedisRooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisRooms")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// What keeps the rooms.
enum Servers {
    One(Connection, Listener, Arc<History>),
    Cluster(Cluster),
}

impl Servers {
    /// Whether the server that keeps this room has taken writes for long enough that
    /// whoever lives in it could say so. A single server's taking them is its
    /// availability, which whoever ends sessions goes by.
    fn is_steady(&self, code: RoomCode) -> bool {
        match self {
            Self::One(..) => true,
            Self::Cluster(cluster) => cluster.is_steady(code),
        }
    }

    /// The server that keeps this room tells this history.
    fn tell(&self, code: RoomCode, branch: &Branch, now: u64) {
        match self {
            Self::One(_, _, history) => history.set(branch, now),
            Self::Cluster(cluster) => cluster.tell(code, branch, now),
        }
    }

    /// From where a reader of the room can be served.
    fn trusted(&self, code: RoomCode, since: Since) -> Since {
        match self {
            Self::One(_, _, history) => history.trusted(since),
            Self::Cluster(cluster) => cluster.trusted(code, since),
        }
    }
}

impl RedisRooms {
    /// Begins to connect and to listen for `sink`, as some of `tasks`. Redis need not
    /// be there yet.
    pub fn open(
        address: RedisAddress,
        settings: RoomSettings,
        sink: Arc<dyn FeedSink>,
        tasks: Tasks,
    ) -> Self {
        let servers = match address.0 {
            Place::Server(server) => {
                let (history, probe) = (Arc::new(History::default()), Probe::default());
                probe.set(Some(keys::DUE_SESSIONS.whole().to_owned()));
                Servers::One(
                    Connection::open(server.clone(), history.clone(), probe, &tasks),
                    Listener::open(server, history.clone(), sink, &tasks),
                    history,
                )
            }
            Place::Cluster(seeds) => Servers::Cluster(Cluster::open(seeds, sink, tasks)),
        };
        Self {
            servers,
            scripts: Scripts::new(),
            settings,
            in_flight: Semaphore::new(CALLS_IN_FLIGHT),
            damage: Damage::default(),
            owed_sessions: Owed::default(),
            owed_rooms: Owed::default(),
        }
    }

    /// Makes the session a member and reads what it is to be shown: beside the script where
    /// that is everything, else within it.
    async fn join_and_read(
        &self,
        join: &Join,
        who: &[&str],
    ) -> Result<(Value, Option<Contents>), RepositoryError> {
        let (effect, script) = (Effect::Repeatable, &self.scripts.join);
        if join.since == Since::Arrival {
            let room_keys = keys::of_room(join.code, None);
            let keys = room_keys.all();
            let arguments = [who, &["now", "0", "0", "0"]].concat();
            let limit = join.message_limit;
            let read = self
                .call_and_read(effect, script, &keys, &arguments, limit)
                .await?;
            if let Some((value, contents)) = read {
                return Ok((value, Some(contents)));
            }
        }
        let value = self
            .call_since(
                effect,
                script,
                join.code,
                join.since,
                who,
                join.message_limit,
            )
            .await?;
        Ok((value, None))
    }

    /// Where a room is.
    async fn position(&self, code: RoomCode) -> Result<Option<Position>, RepositoryError> {
        let mut read = redis::cmd("HMGET");
        let key = keys::room(code);
        read.arg(&key).arg("epoch").arg("revision");
        let read = &read;
        let (epoch, revision): (Option<u64>, Option<u64>) = self
            .run(Effect::Read, &key, |mut connection| async move {
                read.query_async(&mut connection).await
            })
            .await?;
        Ok(epoch
            .zip(revision)
            .map(|(epoch, revision)| Position { epoch, revision }))
    }
}

fn milliseconds(duration: Duration) -> String {
    duration.as_millis().to_string()
}

fn session_text(session: Option<&SessionId>) -> &str {
    session.map_or("", SessionId::as_str)
}

fn small(text: &str) -> Result<u32, RepositoryError> {
    text.parse()
        .map_err(|_| RepositoryError::Damaged(format!("{text:?} is no small number")))
}

#[async_trait]
impl RoomRepository for RedisRooms {
    async fn claim_code(
        &self,
        request: &Request,
        candidate: RoomCode,
        taken: Option<RoomCode>,
    ) -> Result<RoomCode, RepositoryError> {
        let claim = keys::creation(request.id.id);
        let keys = [claim.as_str()];
        let taken = taken.as_ref().map_or("", RoomCode::as_str);
        let keep = milliseconds(request.kept_for());
        let arguments = [candidate.as_str(), taken, &keep];
        let claimed = self
            .call(
                Effect::Repeatable,
                &self.scripts.claim_code,
                &keys,
                &arguments,
            )
            .await?;
        let mut reply = Reply::of(Value::Array(vec![claimed]))?;
        RoomCode::parse("code", &reply.text()?)
            .map_err(|_| RepositoryError::Damaged("a claimed code is no code".to_owned()))
    }

    fn can_keep(&self, code: RoomCode) -> bool {
        match &self.servers {
            Servers::One(..) => true,
            Servers::Cluster(cluster) => cluster.can_keep(&keys::room(code)),
        }
    }

    fn usable_id(&self) -> Option<Uuid> {
        let Servers::Cluster(cluster) = &self.servers else {
            return None;
        };
        std::iter::repeat_with(Uuid::new_v4)
            .take(IDS)
            .find(|id| cluster.can_keep(&keys::creation(*id)))
    }

    async fn create_room(
        &self,
        code: RoomCode,
        room: &NewRoom,
        request: &Request,
    ) -> Answer<Option<Room>> {
        let room_keys = keys::of_room(code, Some(request.id.id));
        let keys = room_keys.all();
        let seats = room.max_participants.number().to_string();
        let ttl = milliseconds(self.settings.ttl);
        let keep = milliseconds(request.kept_for());
        let arguments = [
            code.as_str(),
            room.name.as_str(),
            room.created_by.as_str(),
            &seats,
            &ttl,
            request.fingerprint(),
            &keep,
        ];
        let value = self
            .call(
                Effect::Repeatable,
                &self.scripts.create_room,
                &keys,
                &arguments,
            )
            .await?;
        let mut reply = match Reply::decided(value)? {
            Ok((outcome, _)) if outcome == "taken" => return Ok(Ok(None)),
            Ok((_, reply)) => reply,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let fields = reply.texts()?;
        let room = record::room(code, fields, reply.number()?)?;
        self.list_as_created(code, room.create_time).await?;
        Ok(Ok(Some(room)))
    }

    async fn room(&self, code: RoomCode) -> Answer<RoomStats> {
        let room_keys = keys::of_room(code, None);
        let keys = room_keys.all();
        let value = self
            .call(Effect::Read, &self.scripts.room, &keys, &[])
            .await?;
        let (_, mut reply) = match Reply::decided(value)? {
            Ok(decided) => decided,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let fields = reply.texts()?;
        let expire_time = reply.number()?;
        let now = reply.number()?;
        Ok(Ok(RoomStats {
            room: record::room(code, fields, expire_time)?,
            message_count: small(&reply.text()?)?,
            ttl: expire_time.saturating_sub(now),
        }))
    }

    async fn rooms(
        &self,
        after: Option<RoomCursor>,
        limit: usize,
    ) -> Result<RoomList, RepositoryError> {
        self.active_rooms(after, limit).await
    }

    async fn delete_room(&self, code: RoomCode) -> Answer<()> {
        let room_keys = keys::of_room(code, Some(Uuid::new_v4()));
        let keys = room_keys.all();
        let keep = milliseconds(OWN_RETRY);
        let value = self
            .call(
                Effect::Repeatable,
                &self.scripts.delete_room,
                &keys,
                &[&keep],
            )
            .await?;
        match Reply::decided(value)? {
            Ok((_, mut reply)) => {
                // The room is gone; the index repairs itself.
                let index = self.key_of(&keys::ACTIVE_ROOMS, code);
                if let Err(error) = self.unlist(index, code, &reply.text()?).await {
                    tracing::debug!(room.code = %code, %error, "a deleted room is still indexed");
                }
                Ok(Ok(()))
            }
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    async fn join(&self, join: &Join) -> Answer<CatchUp> {
        // A user whom a backend let in without a session stays until it lets them go.
        let (mut lease, mut due) = (String::new(), None);
        if !join.session.is_unnamed() {
            lease = milliseconds(self.settings.session_lease);
            // Before the session exists, so that none is ever without its entry.
            due = self.note_arrival(join.code, &join.session).await?;
        }
        let leading = [
            join.session.as_str(),
            join.participant.user_id.as_str(),
            join.participant.username.as_str(),
            &lease,
        ];
        let (value, contents) = self.join_and_read(join, &leading).await?;
        let (_, mut reply) = match Reply::decided(value)? {
            Ok(decided) => decided,
            Err(refusal) => {
                // Who did not get in has no lease; another refusal may concern
                // a session that is in the room.
                if let Some(due) = due
                    && matches!(refusal, Refusal::Gone | Refusal::Full)
                {
                    self.forget_due(join.code, &join.session, &due).await;
                }
                return Ok(Err(refusal));
            }
        };
        let catch_up = record::catch_up(join.code, reply.list()?, contents)?;
        // The index repairs itself; a join does not fail for it.
        if let Err(error) = self
            .list_as_active(join.code, catch_up.room.create_time)
            .await
        {
            tracing::debug!(room.code = %join.code, %error, "the index was not repaired");
        }
        Ok(Ok(living_board(catch_up, join.since)))
    }

    async fn leave(&self, code: RoomCode, user: &UserId, session: &SessionId) -> Answer<()> {
        let room_keys = keys::of_room(code, None);
        let keys = room_keys.all();
        let arguments = [session.as_str(), user.as_str()];
        let value = self
            .call(Effect::Repeatable, &self.scripts.leave, &keys, &arguments)
            .await?;
        let (outcome, mut reply) = match Reply::decided(value)? {
            Ok(decided) => decided,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if outcome == "ended" && !session.is_unnamed() {
            self.forget_due(code, session, &reply.text()?).await;
        }
        Ok(Ok(()))
    }

    async fn renew_sessions(
        &self,
        sessions: &[(RoomCode, SessionId)],
    ) -> Result<Vec<(RoomCode, SessionId)>, RepositoryError> {
        self.renew(sessions).await
    }

    async fn expire_sessions(&self) -> Result<usize, RepositoryError> {
        self.expire().await
    }

    async fn save_message(&self, message: &NewMessage) -> Answer<SavedMessage> {
        let room_keys = keys::of_room(message.code, Some(message.request.id.id));
        let keys = room_keys.all();
        let id = Uuid::new_v4();
        let id_text = id.to_string();
        let (head, tail) = record::message_around(id, message);
        let keep = milliseconds(message.request.kept_for());
        let limit = self.settings.message_limit.to_string();
        let arguments = [
            session_text(message.session.as_ref()),
            message.author.user_id.as_str(),
            message.request.fingerprint(),
            &keep,
            &limit,
            &id_text,
            message.author.username.as_str(),
            &head,
            &tail,
        ];
        let value = self
            .call(
                Effect::Repeatable,
                &self.scripts.save_message,
                &keys,
                &arguments,
            )
            .await?;
        let (outcome, mut reply) = match Reply::decided(value)? {
            Ok(decided) => decided,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let epoch = reply.number()?;
        let duplicate = outcome == "duplicate";
        // The request's content is the first one's, so only what the store chose
        // then, and the author's name then, is read back.
        let (revision, id, username) = if duplicate {
            let first = reply.text()?;
            let mut parts = first.splitn(3, ' ');
            let mut part = || {
                parts.next().ok_or_else(|| {
                    RepositoryError::Damaged("the record of a request is cut off".to_owned())
                })
            };
            let revision = number(part()?)?;
            let id = part()?.parse().map_err(|_| {
                RepositoryError::Damaged("the record of a request has no id".to_owned())
            })?;
            (revision, id, part()?.to_owned())
        } else {
            (
                reply.number()?,
                id,
                message.author.username.as_str().to_owned(),
            )
        };
        let message = message.stored(id, username, revision);
        // Our own retry of a call whose first answer was lost is no duplicate to
        // whoever gave no id.
        let duplicate = duplicate && message.request_id.is_some();
        Ok(Ok(SavedMessage {
            message,
            epoch,
            duplicate,
        }))
    }

    async fn messages(
        &self,
        code: RoomCode,
        before: Option<u64>,
        limit: usize,
    ) -> Answer<(Vec<Message>, bool)> {
        let kept = self.settings.message_limit;
        // Without a bound one more than asked for tells whether there are older ones.
        let last = if before.is_some() {
            kept
        } else {
            limit.min(kept)
        };
        let room_keys = keys::of_room(code, None);
        let keys = room_keys.all();
        let value = self
            .call(
                Effect::Read,
                &self.scripts.messages,
                &keys,
                &[&last.to_string()],
            )
            .await?;
        let stored = match Reply::decided(value)? {
            Ok((_, mut reply)) => reply.texts()?,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let newest_first = stored.iter().map(|json| record::message(json));
        Ok(Ok(message_page(newest_first, before, limit)?))
    }

    async fn save_whiteboard(&self, drawing: &Drawing) -> Answer<SavedDrawing> {
        let room_keys = keys::of_room(drawing.code, Some(drawing.request.id.id));
        let keys = room_keys.all();
        let mut arguments = vec![
            session_text(drawing.session.as_ref()).to_owned(),
            drawing.user.as_str().to_owned(),
            drawing.request.fingerprint().to_owned(),
            milliseconds(drawing.request.kept_for()),
            BOARD_LIMITS.board_elements.to_string(),
            BOARD_LIMITS.board_bytes.to_string(),
            TOMBSTONE_AGE.as_micros().to_string(),
        ];
        for element in &drawing.elements {
            arguments.extend([
                element.id.clone(),
                element.version.to_string(),
                element.version_nonce.to_string(),
                u8::from(element.is_deleted).to_string(),
                element.json.clone(),
            ]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let value = self
            .call(
                Effect::Repeatable,
                &self.scripts.save_whiteboard,
                &keys,
                &arguments,
            )
            .await?;
        let (outcome, mut reply) = match Reply::decided(value)? {
            Ok(decided) => decided,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let epoch = reply.number()?;
        let duplicate = outcome == "duplicate";
        let (revision, accepted, rejected) = if duplicate {
            let first = reply.text()?;
            let mut parts = first.split(' ').map(number);
            let mut part = || {
                parts.next().unwrap_or_else(|| {
                    Err(RepositoryError::Damaged(
                        "the record of a request is cut off".to_owned(),
                    ))
                })
            };
            (part()?, part()?, part()?)
        } else {
            (reply.number()?, reply.number()?, reply.number()?)
        };
        Ok(Ok(SavedDrawing {
            position: (revision > 0).then_some(Position { epoch, revision }),
            accepted: small(&accepted.to_string())?,
            rejected: small(&rejected.to_string())?,
            winners: record::elements(&reply.texts()?)?,
            duplicate: duplicate && !drawing.request.id.transient,
        }))
    }

    async fn signal(&self, signal: &NewSignal) -> Answer<()> {
        let room_keys = keys::of_room(signal.code, None);
        let keys = room_keys.all();
        let arguments = [
            session_text(signal.session.as_ref()),
            signal.from.user_id.as_str(),
            signal.from.username.as_str(),
            signal.kind.as_str(),
            &signal.json,
        ];
        let value = self
            .call(Effect::Once, &self.scripts.signal, &keys, &arguments)
            .await?;
        Ok(Reply::decided(value)?.map(drop))
    }

    async fn catch_up(
        &self,
        code: RoomCode,
        since: Since,
        message_limit: usize,
    ) -> Answer<CatchUp> {
        let value = self
            .call_since(
                Effect::Read,
                &self.scripts.catch_up,
                code,
                since,
                &[],
                message_limit,
            )
            .await?;
        let (_, mut reply) = match Reply::decided(value)? {
            Ok(decided) => decided,
            Err(refusal) => return Ok(Err(refusal)),
        };
        Ok(Ok(living_board(
            record::catch_up(code, reply.list()?, None)?,
            since,
        )))
    }

    async fn positions(
        &self,
        codes: &[RoomCode],
    ) -> Vec<Result<Option<Position>, RepositoryError>> {
        let rooms = codes.iter().map(|code| (*code, ())).collect();
        let read = self
            .in_each(rooms, Instant::now() + ROUND, |code, ()| {
                self.position(code)
            })
            .await;
        let mut read: HashMap<RoomCode, _> = read.into_iter().collect();
        let late = || Err(RepositoryError::Unavailable("not read in time".to_owned()));
        codes
            .iter()
            .map(|code| read.remove(code).unwrap_or_else(late))
            .collect()
    }

    async fn sweep(&self) -> Result<usize, RepositoryError> {
        self.sweep_index().await
    }

    async fn listen(&self, code: RoomCode) -> Result<(), RepositoryError> {
        match &self.servers {
            Servers::One(_, listener, _) => listener.listen(code).await,
            Servers::Cluster(cluster) => cluster.listen(code).await,
        }
    }

    fn unlisten(&self, code: RoomCode) {
        match &self.servers {
            Servers::One(_, listener, _) => listener.unlisten(code),
            Servers::Cluster(cluster) => cluster.unlisten(code),
        }
    }

    async fn settle(&self, code: RoomCode) -> Result<(), RepositoryError> {
        match &self.servers {
            Servers::One(_, listener, _) => listener.settle().await,
            Servers::Cluster(cluster) => cluster.settle(code).await,
        }
    }

    async fn settle_all(&self, codes: &[RoomCode]) -> HashSet<RoomCode> {
        let groups = self.by_server(codes.iter().map(|code| (*code, ())).collect());
        let settled = groups.into_iter().map(|group| async move {
            let settled = match group.first() {
                Some((code, ())) => self.settle(*code).await.is_ok(),
                None => false,
            };
            group
                .into_iter()
                .filter(move |_| settled)
                .map(|(code, ())| code)
        });
        join_all(settled).await.into_iter().flatten().collect()
    }

    fn availability(&self) -> watch::Receiver<bool> {
        match &self.servers {
            Servers::One(connection, ..) => connection.availability(),
            Servers::Cluster(cluster) => cluster.availability(),
        }
    }
}
