//! Rooms in Redis 7 or later: one script, one round trip, for each change.

mod address;
mod cluster;
mod connection;
mod history;
mod keys;
mod leases;
mod listener;
mod record;
mod reply;
mod scripts;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use redis::{
    Cmd, ErrorKind, Pipeline, RedisResult, ServerErrorKind, Value, aio::MultiplexedConnection,
};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use self::address::RedisAddress;
pub(crate) use self::record::event as decode_event;
use self::{
    address::Place,
    cluster::Cluster,
    connection::{Attempt, Connection, Effect},
    history::{Branch, History},
    listener::Listener,
    record::Contents,
    reply::{Reply, number},
    scripts::{Script, Scripts},
};
pub use super::RoomSettings;
use super::{
    Answer, Damage, Drawing, FeedSink, Join, NewMessage, NewSignal, Refusal, RepositoryError,
    RoomCursor, RoomRepository, SavedDrawing, SavedMessage, Since, TOMBSTONE_AGE, living_board,
    message_page,
};
use crate::domain::{
    BOARD_LIMITS, CatchUp, Message, NewRoom, Position, Request, Room, RoomCode, RoomStats,
    SessionId, UserId,
};

/// How many calls may be under way at once. More would only wait in Redis, and
/// each holds its arguments, up to a megabyte.
const CALLS_IN_FLIGHT: usize = 4_096;

/// How many rooms are read at once where many are.
const READS_AT_ONCE: usize = 64;

/// How many codes of the index are looked at in one step.
const INDEX_PAGE: usize = 500;

/// The store on Redis.
pub struct RedisRooms {
    servers: Servers,
    scripts: Scripts,
    settings: RoomSettings,
    in_flight: Semaphore,
    damage: Damage,
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
    /// Whether the server that keeps this room has been there for long enough that
    /// whoever lives in it could say so. A single server's being there is its
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
            Self::One(_, _, history) => history.is(branch, now),
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
    /// Begins to connect and to listen for `sink`, until `stop`. Redis need not
    /// be there yet.
    pub fn open(
        address: RedisAddress,
        settings: RoomSettings,
        sink: Arc<dyn FeedSink>,
        stop: CancellationToken,
    ) -> Self {
        let servers = match address.0 {
            Place::Server(server) => {
                let history = Arc::new(History::default());
                Servers::One(
                    Connection::open(server.clone(), history.clone(), stop.clone()),
                    Listener::open(server, history.clone(), sink, stop),
                    history,
                )
            }
            Place::Cluster(seeds) => Servers::Cluster(Cluster::open(seeds, sink, stop)),
        };
        Self {
            servers,
            scripts: Scripts::new(),
            settings,
            in_flight: Semaphore::new(CALLS_IN_FLIGHT),
            damage: Damage::default(),
        }
    }

    /// Calls a script with these keys and arguments.
    async fn call(
        &self,
        effect: Effect,
        script: &Script,
        keys: &[&str],
        arguments: &[&str],
    ) -> Result<Value, RepositoryError> {
        let key = keys.first().copied().unwrap_or_default();
        self.run(effect, key, |mut connection| async move {
            let called = script.by_digest(keys, arguments);
            match called.query_async(&mut connection).await {
                // Its text is sent along then: Redis remembers it, and may be made to
                // forget it again at any moment.
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                    let called = script.by_text(keys, arguments);
                    called.query_async(&mut connection).await
                }
                answer => answer,
            }
        })
        .await
    }

    /// Calls a script of a room, and reads the newest messages and the board at the same
    /// instant, in one transaction: Lua handles each byte of what it reads several times,
    /// which costs more than all else that a script does.
    ///
    /// Nothing, and nothing was done, where the server takes no transaction now; it refuses
    /// one when its memory is full, even where the script alone may run.
    async fn call_and_read(
        &self,
        effect: Effect,
        script: &Script,
        keys: &[&str; keys::OF_ROOM],
        arguments: &[&str],
        message_limit: usize,
    ) -> Result<Option<(Value, Contents)>, RepositoryError> {
        let [room, messages, board, ..] = keys;
        let transaction = |call: Cmd| {
            let mut transaction = redis::pipe();
            transaction.atomic().ignore_errors().add_command(call);
            let last = message_limit.saturating_sub(1);
            transaction.cmd("LRANGE").arg(messages).arg(0).arg(last);
            transaction.cmd("HGETALL").arg(board);
            transaction
        };
        let answers = self
            .run(effect, room, |mut connection| async move {
                let called = transaction(script.by_digest(keys, arguments));
                match answers(&called, &mut connection).await {
                    Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                        let called = transaction(script.by_text(keys, arguments));
                        answers(&called, &mut connection).await
                    }
                    answers => answers,
                }
            })
            .await?;
        Ok(match answers {
            Some([answer, messages, board]) => Some((answer, Contents::of(messages, board)?)),
            None => None,
        })
    }

    /// Runs a call at the server that keeps this key.
    async fn run<T, F>(
        &self,
        effect: Effect,
        key: &str,
        call: impl Fn(MultiplexedConnection) -> F,
    ) -> Result<T, RepositoryError>
    where
        F: Future<Output = Result<T, redis::RedisError>>,
    {
        let Ok(_permit) = self.in_flight.try_acquire() else {
            return Err(RepositoryError::Unavailable(
                "too many calls are under way".to_owned(),
            ));
        };
        let mut attempt = Attempt::new(effect);
        match &self.servers {
            Servers::One(connection, ..) => connection.attempt(&mut attempt, call).await,
            Servers::Cluster(cluster) => cluster.run(&mut attempt, key, call).await,
        }
    }

    /// Calls a script that reads since a position, from one that can be trusted; once
    /// more where a failover was noticed meanwhile. Its arguments end with the limit
    /// of messages.
    async fn call_since(
        &self,
        effect: Effect,
        script: &Script,
        code: RoomCode,
        since: Since,
        leading: &[&str],
        message_limit: usize,
    ) -> Result<Value, RepositoryError> {
        let room_keys = keys::of_room(code, None);
        let keys = room_keys.all();
        let limit = message_limit.to_string();
        let mut trusted = self.servers.trusted(code, since);
        loop {
            let (mode, epoch, revision) = since_arguments(trusted);
            let mut arguments = leading.to_vec();
            arguments.extend([mode, &epoch, &revision, &limit]);
            let value = self.call(effect, script, &keys, &arguments).await?;
            // The read itself says which history it has read.
            if let Some((branch, now)) = Branch::told(&value) {
                self.servers.tell(code, &branch, now);
            }
            let still_trusted = self.servers.trusted(code, trusted);
            if still_trusted == trusted {
                return Ok(value);
            }
            // What is not trusted is read whole, so this ends with the second time.
            trusted = still_trusted;
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

    /// Lists a room as active unless it is.
    async fn list_as_active(
        &self,
        code: RoomCode,
        create_time: u64,
    ) -> Result<(), RepositoryError> {
        let mut add = redis::cmd("ZADD");
        add.arg(keys::ACTIVE_ROOMS)
            .arg("NX")
            .arg(create_time)
            .arg(code.as_str());
        let add = &add;
        self.run(
            Effect::Repeatable,
            keys::ACTIVE_ROOMS,
            |mut connection| async move { add.query_async::<()>(&mut connection).await },
        )
        .await
    }

    /// A room of the index. One that is damaged does not spoil the list.
    async fn listed(&self, code: RoomCode) -> Result<Listed, RepositoryError> {
        match self.room(code).await {
            Ok(Ok(stats)) => Ok(Listed::Living(stats.room)),
            Ok(Err(_)) => Ok(Listed::Gone),
            Err(RepositoryError::Damaged(problem)) => {
                self.damage.found(code, "a room cannot be listed", &problem);
                Ok(Listed::Damaged)
            }
            Err(error) => Err(error),
        }
    }

    /// Where a room is; nowhere if it is damaged, which whoever reads it is told.
    async fn position_if_sound(&self, code: RoomCode) -> Result<Option<Position>, RepositoryError> {
        match self.position(code).await {
            Err(RepositoryError::Damaged(_)) => Ok(None),
            answer => answer,
        }
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

    async fn unlist(&self, code: RoomCode, score: &str) -> Result<(), RepositoryError> {
        let keys = [keys::ACTIVE_ROOMS];
        let arguments = [code.as_str(), score];
        self.call(Effect::Repeatable, &self.scripts.unlist, &keys, &arguments)
            .await
            .map(drop)
    }

    /// Codes of the index with their scores as text, newest first, from below
    /// a score or from the top.
    async fn index_page(
        &self,
        from: Option<u64>,
        offset: usize,
    ) -> Result<Vec<(String, String)>, RepositoryError> {
        let mut read = redis::cmd("ZREVRANGEBYSCORE");
        read.arg(keys::ACTIVE_ROOMS)
            .arg(from.map_or_else(|| "+inf".to_owned(), |score| score.to_string()))
            .arg("-inf")
            .arg("WITHSCORES")
            .arg("LIMIT")
            .arg(offset)
            .arg(INDEX_PAGE);
        let read = &read;
        // RESP3 answers pairs with a score that is a number.
        let pairs: Vec<(String, f64)> = self
            .run(
                Effect::Read,
                keys::ACTIVE_ROOMS,
                |mut connection| async move { read.query_async(&mut connection).await },
            )
            .await?;
        Ok(pairs
            .into_iter()
            .map(|(code, score)| (code, format!("{score:.0}")))
            .collect())
    }
}

/// The answers to a transaction of three commands; nothing where it was refused whole.
async fn answers(
    transaction: &Pipeline,
    connection: &mut MultiplexedConnection,
) -> RedisResult<Option<[Value; 3]>> {
    match transaction.query_async::<Vec<Value>>(connection).await {
        Ok(answers) => {
            let answers: Vec<Value> = answers
                .into_iter()
                .map(Value::extract_error)
                .collect::<RedisResult<_>>()?;
            Ok(answers.try_into().ok())
        }
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::ExecAbort) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What became of a room of the index.
enum Listed {
    Living(Room),
    Gone,
    Damaged,
}

/// What a script's `mode`, `after epoch` and `after revision` say.
fn since_arguments(since: Since) -> (&'static str, String, String) {
    let zero = || "0".to_owned();
    match since {
        Since::Arrival => ("fresh", zero(), zero()),
        Since::Now => ("now", zero(), zero()),
        Since::Position(position) => (
            "after",
            position.epoch.to_string(),
            position.revision.to_string(),
        ),
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
        match self.list_as_active(code, room.create_time).await {
            Ok(()) => Ok(Ok(Some(room))),
            // It is there, and not yet as it is to be: a retry completes it.
            Err(RepositoryError::Unavailable(why)) => Err(RepositoryError::OutcomeUnknown(why)),
            Err(error) => Err(error),
        }
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
    ) -> Result<(Vec<Room>, Option<RoomCursor>), RepositoryError> {
        let mut rooms: Vec<Room> = Vec::new();
        let mut offset = 0;
        loop {
            let page = self
                .index_page(after.map(|cursor| cursor.create_time), offset)
                .await?;
            let last_page = page.len() < INDEX_PAGE;
            offset += page.len();
            let listed = page.into_iter().filter_map(|(code, score)| {
                let code = RoomCode::parse("code", &code).ok()?;
                // Within a millisecond Redis lists by code, descending.
                let seen = after.is_some_and(|cursor| {
                    score == cursor.create_time.to_string() && code >= cursor.code
                });
                (!seen).then_some((code, score))
            });
            let mut living = stream::iter(listed)
                .map(|(code, score)| async move {
                    Ok::<_, RepositoryError>((code, score, self.listed(code).await?))
                })
                .buffered(READS_AT_ONCE);
            while let Some((code, score, listed)) = living.try_next().await? {
                match listed {
                    Listed::Living(room) => rooms.push(room),
                    Listed::Gone => self.unlist(code, &score).await?,
                    Listed::Damaged => {}
                }
                if rooms.len() > limit {
                    // One more than asked for: there is a next page.
                    rooms.pop();
                    let next = rooms.last().map(|room| RoomCursor {
                        create_time: room.create_time,
                        code: room.code,
                    });
                    return Ok((rooms, next));
                }
            }
            if last_page {
                return Ok((rooms, None));
            }
        }
    }

    async fn delete_room(&self, code: RoomCode) -> Answer<()> {
        let room_keys = keys::of_room(code, None);
        let keys = room_keys.all();
        let value = self
            .call(Effect::Repeatable, &self.scripts.delete_room, &keys, &[])
            .await?;
        match Reply::decided(value)? {
            Ok((_, mut reply)) => {
                // The room is gone; the index repairs itself.
                if let Err(error) = self.unlist(code, &reply.text()?).await {
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
            due = Some(self.note_due(&[(join.code, join.session.clone())]).await?);
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
    ) -> Result<Vec<Option<Position>>, RepositoryError> {
        stream::iter(codes.to_vec())
            .map(|code| self.position_if_sound(code))
            .buffered(READS_AT_ONCE)
            .try_collect()
            .await
    }

    async fn sweep(&self) -> Result<usize, RepositoryError> {
        let (mut offset, mut removed) = (0, 0);
        loop {
            let page = self.index_page(None, offset).await?;
            let last_page = page.len() < INDEX_PAGE;
            let count = page.len();
            let dead = stream::iter(page)
                .map(|(code, score)| async move {
                    let Ok(code) = RoomCode::parse("code", &code) else {
                        return Ok(None);
                    };
                    match self.position(code).await {
                        Ok(None) => Ok(Some((code, score))),
                        // One room that is damaged or away does not keep the others.
                        Ok(Some(_)) | Err(_) => Ok::<_, RepositoryError>(None),
                    }
                })
                .buffered(READS_AT_ONCE)
                .try_filter_map(|dead| async move { Ok(dead) })
                .try_collect::<Vec<_>>()
                .await?;
            for (code, score) in &dead {
                self.unlist(*code, score).await?;
            }
            removed += dead.len();
            offset += count - dead.len();
            if last_page {
                return Ok(removed);
            }
        }
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

    fn availability(&self) -> watch::Receiver<bool> {
        match &self.servers {
            Servers::One(connection, ..) => connection.availability(),
            Servers::Cluster(cluster) => cluster.availability(),
        }
    }
}
