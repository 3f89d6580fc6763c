//! Sessions that nobody renews end by themselves.
//!
//! A session's lease is stored in its room; an index over all rooms tells which are
//! due without looking at each room. In a cluster it has many parts, each on the server of its
//! rooms, as a rule. Whoever takes one from the index has the
//! room's own script check the lease again, so an entry that is late, doubled or
//! left over does no harm.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{
    future::join_all,
    stream::{self, StreamExt as _, TryStreamExt as _},
};
use redis::Value;
use tokio::time::{Instant, timeout_at};

use super::{
    READS_AT_ONCE, RedisRooms,
    connection::Effect,
    index::{PARTS_AT_ONCE, Sum},
    keys, milliseconds,
    reply::Reply,
    rounds::ROUND,
};
use crate::{
    domain::{RoomCode, SessionId},
    repository::{Refusal, RepositoryError},
};

/// How many sessions are looked at in one step.
const DUE_AT_ONCE: usize = 500;

/// How many steps one round takes at most; the next round goes on.
const STEPS: usize = 20;

/// How long an entry is put off whose room cannot be asked now.
const PUT_OFF: Duration = Duration::from_secs(5);

impl RedisRooms {
    /// Notes in the index that the lease of a session ends after this time, before the session
    /// exists, and returns that instant as the index has it. Nothing is returned where that
    /// part of the index is away and the room is not: then it is noted later.
    pub(super) async fn note_arrival(
        &self,
        code: RoomCode,
        session: &SessionId,
    ) -> Result<Option<String>, RepositoryError> {
        let key = self.key_of(&keys::DUE_SESSIONS, code);
        match self.note_due(key, vec![member(code, session)]).await {
            Err(RepositoryError::Unavailable(_))
                if self.is_apart(key, code) && self.owed_sessions.add((code, session.clone())) =>
            {
                Ok(None)
            }
            noted => noted.map(Some),
        }
    }

    async fn note_owed_sessions(&self) {
        let mut by_key: BTreeMap<&'static str, Vec<_>> = BTreeMap::new();
        for (code, session) in self.owed_sessions.all() {
            let key = self.key_of(&keys::DUE_SESSIONS, code);
            by_key.entry(key).or_default().push((code, session));
        }
        let noting = by_key.into_iter().map(|(key, notes)| async move {
            let members = notes.iter().map(|(code, session)| member(*code, session));
            if self.note_due(key, members.collect()).await.is_ok() {
                self.owed_sessions.remove(&notes);
            }
        });
        join_all(noting).await;
    }

    async fn note_due(
        &self,
        key: &'static str,
        members: Vec<String>,
    ) -> Result<String, RepositoryError> {
        let lease = milliseconds(self.settings.session_lease);
        self.note_members(key, members, &lease).await
    }

    async fn note_members(
        &self,
        key: &'static str,
        members: Vec<String>,
        time_left: &str,
    ) -> Result<String, RepositoryError> {
        let arguments: Vec<&str> = std::iter::once(time_left)
            .chain(members.iter().map(String::as_str))
            .collect();
        let due = self
            .call(Effect::Repeatable, &self.scripts.due, &[key], &arguments)
            .await?;
        Reply::of(Value::Array(vec![due]))?.text()
    }

    /// Forgets a session that has left, or never came, unless it has been noted
    /// after this instant. An entry that stays is found to be left over when it
    /// is due.
    pub(super) async fn forget_due(&self, code: RoomCode, session: &SessionId, due: &str) {
        let keys = [self.key_of(&keys::DUE_SESSIONS, code)];
        let entry = member(code, session);
        let forgotten = self
            .call(
                Effect::Repeatable,
                &self.scripts.forget_due,
                &keys,
                &[&entry, due],
            )
            .await;
        if let Err(error) = forgotten {
            tracing::debug!(room.code = %code, %error, "a session stays in the index");
        }
    }

    /// Notes in the index that the leases of these sessions begin anew. A part of it that is
    /// away has the entries of their last renewals, and one that is due is compared with the
    /// lease in its room.
    async fn note_renewals(&self, sessions: &[(RoomCode, SessionId)], until: Instant) {
        let mut by_key: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
        for (code, session) in sessions {
            let key = self.key_of(&keys::DUE_SESSIONS, *code);
            by_key.entry(key).or_default().push(member(*code, session));
        }
        let noting = join_all(
            by_key
                .into_iter()
                .map(|(key, members)| self.note_due(key, members)),
        );
        let Ok(noted) = timeout_at(until, noting).await else {
            tracing::debug!("the index does not know of all renewals");
            return;
        };
        for error in noted.into_iter().filter_map(Result::err) {
            tracing::debug!(%error, "the index does not know of a renewal");
        }
    }

    /// Renews leases and returns the sessions that their rooms do not know.
    ///
    /// A room that is damaged, or cannot be reached, does not keep the others'
    /// sessions from being renewed.
    pub(super) async fn renew(
        &self,
        sessions: &[(RoomCode, SessionId)],
    ) -> Result<Vec<(RoomCode, SessionId)>, RepositoryError> {
        let until = Instant::now() + ROUND;
        // First the index, as when they came: an entry is never later than its lease.
        self.note_renewals(sessions, until - ROUND / 2).await;
        let mut by_room: BTreeMap<RoomCode, Vec<SessionId>> = BTreeMap::new();
        for (code, session) in sessions {
            by_room.entry(*code).or_default().push(session.clone());
        }
        let rooms = by_room.into_iter().collect();
        let renewals = self
            .in_each(rooms, until, |code, sessions| {
                self.renew_in_room(code, sessions)
            })
            .await;
        let (mut unknown, mut reached, mut failure) = (Vec::new(), sessions.is_empty(), None);
        for (code, renewed) in renewals {
            match renewed {
                Ok(unknown_here) => {
                    reached = true;
                    self.damage.mended(code);
                    unknown.extend(unknown_here);
                }
                Err(RepositoryError::Damaged(problem)) => {
                    reached = true;
                    self.damage
                        .found(code, "sessions cannot be renewed", &problem);
                }
                Err(error) => {
                    tracing::debug!(room.code = %code, %error, "sessions are renewed later");
                    failure = Some(error);
                }
            }
        }
        if reached {
            return Ok(unknown);
        }
        let late = || RepositoryError::OutcomeUnknown("no room answered in time".to_owned());
        Err(failure.unwrap_or_else(late))
    }

    async fn renew_in_room(
        &self,
        code: RoomCode,
        sessions: Vec<SessionId>,
    ) -> Result<Vec<(RoomCode, SessionId)>, RepositoryError> {
        let room_keys = keys::of_room(code, None);
        let keys = room_keys.all();
        let lease = milliseconds(self.settings.session_lease);
        let arguments: Vec<&str> = std::iter::once(lease.as_str())
            .chain(sessions.iter().map(SessionId::as_str))
            .collect();
        let value = self
            .call(
                Effect::Repeatable,
                &self.scripts.renew_sessions,
                &keys,
                &arguments,
            )
            .await?;
        let Ok((_, mut reply)) = Reply::decided(value)? else {
            // No room knows any session.
            return Ok(sessions
                .into_iter()
                .map(|session| (code, session))
                .collect());
        };
        let unknown = reply.texts()?;
        self.note_left_behind(code, &reply.texts()?).await;
        Ok(sessions
            .into_iter()
            .filter(|session| unknown.iter().any(|text| text == session.as_str()))
            .map(|session| (code, session))
            .collect())
    }

    /// Notes sessions that should have been due, in case the index lost them.
    async fn note_left_behind(&self, code: RoomCode, sessions: &[String]) {
        if sessions.is_empty() {
            return;
        }
        let key = self.key_of(&keys::DUE_SESSIONS, code);
        let mut add = redis::cmd("ZADD");
        add.arg(key).arg("NX");
        for session in sessions {
            add.arg(0).arg(format!("{code}:{session}"));
        }
        let add = &add;
        let noted = self.run(Effect::Repeatable, key, |mut connection| async move {
            add.query_async::<()>(&mut connection).await
        });
        if let Err(error) = noted.await {
            tracing::debug!(room.code = %code, %error, "sessions left behind are noted later");
        }
    }

    /// Ends the sessions that are due, and says how many they were.
    pub(super) async fn expire(&self) -> Result<usize, RepositoryError> {
        tokio::join!(self.note_owed_sessions(), self.note_owed_rooms());
        let mut sum = Sum::default();
        for keys in self.keys_of(&keys::DUE_SESSIONS).chunks(PARTS_AT_ONCE) {
            sum.add(join_all(keys.iter().map(|key| self.expire_part(key))).await);
        }
        sum.result()
    }

    async fn expire_part(&self, key: &'static str) -> Result<usize, RepositoryError> {
        let mut expired = 0;
        for _ in 0..STEPS {
            let due = self.overdue(key).await?;
            let last_step = due.len() < DUE_AT_ONCE;
            let ended: Vec<bool> = stream::iter(due)
                .map(|(member, score)| self.expire_one(key, member, score))
                .buffered(READS_AT_ONCE)
                .try_collect()
                .await?;
            expired += ended.into_iter().filter(|ended| *ended).count();
            if last_step {
                break;
            }
        }
        Ok(expired)
    }

    async fn overdue(&self, key: &'static str) -> Result<Vec<(String, String)>, RepositoryError> {
        let most = DUE_AT_ONCE.to_string();
        let value = self
            .call(Effect::Read, &self.scripts.overdue, &[key], &[&most])
            .await?;
        let mut reply = Reply::of(value)?;
        let mut due = Vec::new();
        while let Some(member) = reply.text_if_any()? {
            due.push((member, reply.text()?));
        }
        Ok(due)
    }

    /// Ends one session of this key if its lease has passed by its room's clock.
    async fn expire_one(
        &self,
        key: &'static str,
        entry: String,
        score: String,
    ) -> Result<bool, RepositoryError> {
        let Some((code, session)) = parse_member(&entry) else {
            // Not one of ours: it can only be in the way.
            self.unlist_entry(key, &entry, &score).await?;
            return Ok(false);
        };
        if !self.servers.is_steady(code) {
            self.put_off(key, entry).await?;
            return Ok(false);
        }
        let room_keys = keys::of_room(code, None);
        let keys = room_keys.all();
        let arguments = [session.as_str()];
        let script = &self.scripts.expire_session;
        let value = match self
            .call(Effect::Repeatable, script, &keys, &arguments)
            .await
        {
            Ok(value) => value,
            // One room that is damaged or away does not keep the others' sessions.
            Err(RepositoryError::Damaged(problem)) => {
                self.damage
                    .found(code, "a session cannot be ended", &problem);
                self.unlist_entry(key, &entry, &score).await?;
                return Ok(false);
            }
            Err(RepositoryError::Unavailable(_) | RepositoryError::OutcomeUnknown(_)) => {
                self.put_off(key, entry).await?;
                return Ok(false);
            }
            Err(error @ RepositoryError::Full) => return Err(error),
        };
        let ended = match Reply::decided(value)? {
            Ok((outcome, mut reply)) if outcome == "alive" => {
                // Renewed in its room and not in the index: it is due with its lease.
                let own = self.key_of(&keys::DUE_SESSIONS, code);
                self.note_members(own, vec![entry.clone()], &reply.text()?)
                    .await?;
                // A version that did not split the index noted it elsewhere.
                if own != key {
                    self.unlist_entry(key, &entry, &score).await?;
                }
                return Ok(false);
            }
            Ok(_) => true,
            Err(Refusal::Gone) => false,
            Err(refusal) => {
                tracing::error!(room.code = %code, ?refusal, "a session cannot be ended");
                false
            }
        };
        self.unlist_entry(key, &entry, &score).await?;
        Ok(ended)
    }

    /// Removes an entry unless it has been noted anew.
    async fn unlist_entry(
        &self,
        key: &'static str,
        entry: &str,
        score: &str,
    ) -> Result<(), RepositoryError> {
        let arguments = [entry, score];
        self.call(Effect::Repeatable, &self.scripts.unlist, &[key], &arguments)
            .await
            .map(drop)
    }

    /// Looks at an entry later, so that it is not in the way of others.
    async fn put_off(&self, key: &'static str, entry: String) -> Result<(), RepositoryError> {
        self.note_members(key, vec![entry], &milliseconds(PUT_OFF))
            .await
            .map(drop)
    }
}

/// A session's entry in the index.
fn member(code: RoomCode, session: &SessionId) -> String {
    format!("{code}:{}", session.as_str())
}

fn parse_member(member: &str) -> Option<(RoomCode, SessionId)> {
    let (code, session) = member.split_once(':')?;
    Some((
        RoomCode::parse("", code).ok()?,
        SessionId::parse("", session).ok()?,
    ))
}
