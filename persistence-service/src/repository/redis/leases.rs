//! Sessions that nobody renews end by themselves.
//!
//! A session's lease stands in its room; an index over all rooms tells which are
//! due without looking at each room. Whoever takes one from the index has the
//! room's own script check the lease again, so an entry that is late, doubled or
//! left over does no harm.

use std::{collections::BTreeMap, time::Duration};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use redis::Value;

use super::{READS_AT_ONCE, RedisRooms, connection::Effect, keys, milliseconds, reply::Reply};
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
    /// Notes in the index that the leases of these sessions end after this time,
    /// and returns that instant as the index has it.
    pub(super) async fn note_due(
        &self,
        sessions: &[(RoomCode, SessionId)],
    ) -> Result<String, RepositoryError> {
        let members = sessions
            .iter()
            .map(|(code, session)| member(*code, session))
            .collect();
        self.note_members(members, &milliseconds(self.settings.session_lease))
            .await
    }

    async fn note_members(
        &self,
        members: Vec<String>,
        time_left: &str,
    ) -> Result<String, RepositoryError> {
        let arguments: Vec<&str> = std::iter::once(time_left)
            .chain(members.iter().map(String::as_str))
            .collect();
        let keys = [keys::DUE_SESSIONS];
        let due = self
            .call(Effect::Repeatable, &self.scripts.due, &keys, &arguments)
            .await?;
        Reply::of(Value::Array(vec![due]))?.text()
    }

    /// Forgets a session that has left, or never came, unless it has been noted
    /// after this instant. An entry that stays is found to be left over when it
    /// is due.
    pub(super) async fn forget_due(&self, code: RoomCode, session: &SessionId, due: &str) {
        let keys = [keys::DUE_SESSIONS];
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

    /// Renews leases and returns the sessions that their rooms do not know.
    ///
    /// A room that is damaged, or cannot be reached, does not keep the others'
    /// sessions from being renewed.
    pub(super) async fn renew(
        &self,
        sessions: &[(RoomCode, SessionId)],
    ) -> Result<Vec<(RoomCode, SessionId)>, RepositoryError> {
        // First the index, as when they came: an entry is never later than its lease.
        self.note_due(sessions).await?;
        let mut by_room: BTreeMap<RoomCode, Vec<SessionId>> = BTreeMap::new();
        for (code, session) in sessions {
            by_room.entry(*code).or_default().push(session.clone());
        }
        let mut renewals = stream::iter(by_room)
            .map(|(code, sessions)| async move { (code, self.renew_in_room(code, sessions).await) })
            .buffer_unordered(READS_AT_ONCE);
        let (mut unknown, mut failure) = (Vec::new(), None);
        while let Some((code, renewed)) = renewals.next().await {
            match renewed {
                Ok(unknown_here) => {
                    self.damage.mended(code);
                    unknown.extend(unknown_here);
                }
                Err(RepositoryError::Damaged(problem)) => {
                    self.damage
                        .found(code, "sessions cannot be renewed", &problem);
                }
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            None => Ok(unknown),
            // Those whose room was reached are renewed twice then.
            Some(error) => Err(error),
        }
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
        let mut add = redis::cmd("ZADD");
        add.arg(keys::DUE_SESSIONS).arg("NX");
        for session in sessions {
            add.arg(0).arg(format!("{code}:{session}"));
        }
        let add = &add;
        let noted = self
            .run(
                Effect::Repeatable,
                keys::DUE_SESSIONS,
                |mut connection| async move { add.query_async::<()>(&mut connection).await },
            )
            .await;
        if let Err(error) = noted {
            tracing::debug!(room.code = %code, %error, "sessions left behind are noted later");
        }
    }

    /// Ends the sessions that are due, and says how many they were.
    pub(super) async fn expire(&self) -> Result<usize, RepositoryError> {
        let mut expired = 0;
        for _ in 0..STEPS {
            let due = self.overdue().await?;
            let last_step = due.len() < DUE_AT_ONCE;
            let ended: Vec<bool> = stream::iter(due)
                .map(|(member, score)| self.expire_one(member, score))
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

    async fn overdue(&self) -> Result<Vec<(String, String)>, RepositoryError> {
        let keys = [keys::DUE_SESSIONS];
        let most = DUE_AT_ONCE.to_string();
        let value = self
            .call(Effect::Read, &self.scripts.overdue, &keys, &[&most])
            .await?;
        let mut reply = Reply::of(value)?;
        let mut due = Vec::new();
        while let Some(member) = reply.text_if_any()? {
            due.push((member, reply.text()?));
        }
        Ok(due)
    }

    /// Ends one session if its lease has passed by its room's clock.
    async fn expire_one(&self, entry: String, score: String) -> Result<bool, RepositoryError> {
        let Some((code, session)) = parse_member(&entry) else {
            // Not one of ours: it can only be in the way.
            self.unlist_entry(&entry, &score).await?;
            return Ok(false);
        };
        if !self.servers.is_steady(code) {
            self.put_off(entry).await?;
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
                self.unlist_entry(&entry, &score).await?;
                return Ok(false);
            }
            Err(RepositoryError::Unavailable(_) | RepositoryError::OutcomeUnknown(_)) => {
                self.put_off(entry).await?;
                return Ok(false);
            }
            Err(error @ RepositoryError::Full) => return Err(error),
        };
        let ended = match Reply::decided(value)? {
            Ok((outcome, mut reply)) if outcome == "alive" => {
                // Renewed in its room and not in the index: it is due with its lease.
                self.note_members(vec![entry], &reply.text()?).await?;
                return Ok(false);
            }
            Ok(_) => true,
            Err(Refusal::Gone) => false,
            Err(refusal) => {
                tracing::error!(room.code = %code, ?refusal, "a session cannot be ended");
                false
            }
        };
        self.unlist_entry(&entry, &score).await?;
        Ok(ended)
    }

    /// Removes an entry unless it has been noted anew.
    async fn unlist_entry(&self, entry: &str, score: &str) -> Result<(), RepositoryError> {
        let index = [keys::DUE_SESSIONS];
        self.call(
            Effect::Repeatable,
            &self.scripts.unlist,
            &index,
            &[entry, score],
        )
        .await
        .map(drop)
    }

    /// Looks at an entry later, so that it is not in the way of others.
    async fn put_off(&self, entry: String) -> Result<(), RepositoryError> {
        self.note_members(vec![entry], &milliseconds(PUT_OFF))
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
