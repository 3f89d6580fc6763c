//! Sessions that nobody renews end by themselves.
//!
//! A session's lease stands in its room; an index over all rooms tells which are
//! due without looking at each room. Whoever takes one from the index has the
//! room's own script check the lease again, so an entry that is late, doubled or
//! left over does no harm.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::{READS_AT_ONCE, RedisRooms, connection::Effect, keys, milliseconds, reply::Reply};
use crate::{
    domain::{RoomCode, SessionId},
    repository::{Refusal, RepositoryError},
};

/// How many sessions are looked at in one step.
const DUE_AT_ONCE: usize = 500;

/// How many steps one round takes at most; the next round goes on.
const STEPS: usize = 20;

impl RedisRooms {
    /// Notes in the index that these sessions have just begun or been renewed.
    pub(super) async fn note_due(
        &self,
        sessions: &[(RoomCode, SessionId)],
    ) -> Result<(), RepositoryError> {
        let lease = milliseconds(self.settings.session_lease);
        let members: Vec<String> = sessions
            .iter()
            .map(|(code, session)| member(*code, session))
            .collect();
        let arguments: Vec<&str> = std::iter::once(lease.as_str())
            .chain(members.iter().map(String::as_str))
            .collect();
        let keys = [keys::DUE_SESSIONS.to_owned()];
        self.call(Effect::Repeatable, &self.scripts.due, &keys, &arguments)
            .await
            .map(drop)
    }

    /// Forgets a session that has left. An entry that stays is found to be left
    /// over when it is due.
    pub(super) async fn forget_due(&self, code: RoomCode, session: &SessionId) {
        let mut remove = redis::cmd("ZREM");
        remove.arg(keys::DUE_SESSIONS).arg(member(code, session));
        let remove = &remove;
        let removed = self
            .run(
                Effect::Repeatable,
                keys::DUE_SESSIONS,
                |mut connection| async move { remove.query_async::<()>(&mut connection).await },
            )
            .await;
        if let Err(error) = removed {
            tracing::debug!(room.code = %code, %error, "a session stays in the index");
        }
    }

    /// Renews leases and returns the sessions that their rooms do not know.
    pub(super) async fn renew(
        &self,
        sessions: &[(RoomCode, SessionId)],
    ) -> Result<Vec<(RoomCode, SessionId)>, RepositoryError> {
        let mut by_room: BTreeMap<RoomCode, Vec<SessionId>> = BTreeMap::new();
        for (code, session) in sessions {
            by_room.entry(*code).or_default().push(session.clone());
        }
        let unknown: Vec<(RoomCode, SessionId)> = stream::iter(by_room)
            .map(|(code, sessions)| self.renew_in_room(code, sessions))
            .buffer_unordered(READS_AT_ONCE)
            .try_concat()
            .await?;
        let known: Vec<_> = sessions
            .iter()
            .filter(|session| !unknown.contains(session))
            .cloned()
            .collect();
        if !known.is_empty() {
            self.note_due(&known).await?;
        }
        Ok(unknown)
    }

    async fn renew_in_room(
        &self,
        code: RoomCode,
        sessions: Vec<SessionId>,
    ) -> Result<Vec<(RoomCode, SessionId)>, RepositoryError> {
        let keys = keys::of_room(code, None);
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
        let unknown = match Reply::decided(value)? {
            Ok((_, mut reply)) => reply.texts()?,
            // No room knows any session.
            Err(_) => {
                return Ok(sessions
                    .into_iter()
                    .map(|session| (code, session))
                    .collect());
            }
        };
        Ok(sessions
            .into_iter()
            .filter(|session| unknown.iter().any(|text| text == session.as_str()))
            .map(|session| (code, session))
            .collect())
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
        let keys = [keys::DUE_SESSIONS.to_owned()];
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
        let index = [keys::DUE_SESSIONS.to_owned()];
        let Some((code, session)) = parse_member(&entry) else {
            // Not one of ours: it can only be in the way.
            self.call(
                Effect::Repeatable,
                &self.scripts.unlist,
                &index,
                &[&entry, &score],
            )
            .await?;
            return Ok(false);
        };
        let keys = keys::of_room(code, None);
        let value = match self
            .call(
                Effect::Repeatable,
                &self.scripts.expire_session,
                &keys,
                &[session.as_str()],
            )
            .await
        {
            Ok(value) => value,
            // One damaged room does not keep the others' sessions.
            Err(RepositoryError::Damaged(problem)) => {
                tracing::error!(room.code = %code, problem, "a session cannot be ended");
                self.call(
                    Effect::Repeatable,
                    &self.scripts.unlist,
                    &index,
                    &[&entry, &score],
                )
                .await?;
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let ended = match Reply::decided(value)? {
            Ok((outcome, _)) if outcome == "alive" => {
                // Renewed in its room and not in the index: it is noted anew.
                self.note_due(&[(code, session)]).await?;
                return Ok(false);
            }
            Ok(_) => true,
            Err(Refusal::Gone) => false,
            Err(refusal) => {
                tracing::error!(room.code = %code, ?refusal, "a session cannot be ended");
                false
            }
        };
        self.call(
            Effect::Repeatable,
            &self.scripts.unlist,
            &index,
            &[&entry, &score],
        )
        .await?;
        Ok(ended)
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
