//! Who is in a room, and through which sessions.

use super::{
    change::Change,
    clock::microseconds,
    failure::Failure,
    keys,
    record::{Head, Present, encode_session},
    rows,
};
use crate::{
    domain::{EventKind, Participant, RoomCode, SessionId, UserId},
    repository::{Decision, Join, Refusal, stored_participant},
};

impl Change<'_> {
    /// Makes a user present, and says in which epoch.
    pub(super) fn join(&mut self, join: &Join) -> Result<Decision<u64>, Failure> {
        let Some(mut head) = self.living(join.code)? else {
            return Ok(Err(Refusal::Gone));
        };
        let (epoch, user) = (head.epoch, &join.participant.user_id);
        let owner = rows::session_user(&self.rows, epoch, &join.session)?;
        let present = rows::present(&self.rows, epoch, user)?;
        if owner.as_ref().is_some_and(|owner| owner != user) {
            return Ok(Err(Refusal::IdentityMismatch));
        }
        if present.is_none() && head.participant_count >= head.max_participants {
            return Ok(Err(Refusal::Full));
        }
        let name = join.participant.username.as_str();
        let arrives = present.is_none();
        let renamed = present.as_ref().is_some_and(|who| who.username != name);
        let previous = head.revision;
        if arrives || renamed {
            head.revision = self.next_revision(&head);
        }
        if arrives || renamed || owner.is_none() {
            let mut who = present.unwrap_or_else(|| Present {
                arrival: head.revision,
                sessions: 0,
                username: String::new(),
            });
            name.clone_into(&mut who.username);
            head.participant_count += u32::from(arrives);
            who.sessions += u32::from(owner.is_none());
            self.refresh(&mut head)?;
            self.put(&keys::participant(epoch, user), &who.encode())?;
            if owner.is_none() {
                let session = keys::session(epoch, &join.session);
                self.put(&session, &encode_session(join.code, user))?;
            }
        }
        if arrives || renamed {
            let who = join.participant.clone();
            self.tell(&head, previous, Some(&join.session), size_of(&who), || {
                if arrives {
                    EventKind::Joined(who)
                } else {
                    EventKind::Renamed(who)
                }
            });
        }
        let lease = microseconds(self.settings.session_lease) / 1_000;
        let end = self.milliseconds() + lease;
        self.leases.give(join.code, &join.session, end);
        Ok(Ok(epoch))
    }

    /// Ends a session at its own wish.
    pub(super) fn leave(
        &mut self,
        code: RoomCode,
        user: &UserId,
        session: &SessionId,
    ) -> Result<Decision<()>, Failure> {
        let Some(head) = self.living(code)? else {
            return Ok(Err(Refusal::Gone));
        };
        match rows::session_user(&self.rows, head.epoch, session)? {
            None => return Ok(Ok(())),
            Some(owner) if owner != *user => return Ok(Err(Refusal::IdentityMismatch)),
            Some(_) => {}
        }
        self.end_session(head, user, session)?;
        if let Some(end) = self.leases.take(&(code, session.clone())) {
            self.told.ended.push((code, session.clone(), end));
        }
        Ok(Ok(()))
    }

    /// Ends those of the sessions whose leases have ended still, and says how
    /// many they were.
    pub(super) fn expire_sessions(
        &mut self,
        sessions: &[(RoomCode, SessionId)],
    ) -> Result<usize, Failure> {
        let mut count = 0;
        for name in sessions {
            let Some(end) = self.leases.take_ended(name, self.milliseconds()) else {
                continue;
            };
            let (code, session) = name;
            self.told.ended.push((*code, session.clone(), end));
            match self.expire_session(*code, session) {
                Ok(ended) => count += usize::from(ended),
                // One damaged room does not keep the others' sessions.
                Err(Failure::Damaged(problem)) => {
                    tracing::error!(room.code = %code, problem, "a session cannot be ended");
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(count)
    }

    fn expire_session(&mut self, code: RoomCode, session: &SessionId) -> Result<bool, Failure> {
        let Some(head) = self.living(code)? else {
            return Ok(false);
        };
        let Some(user) = rows::session_user(&self.rows, head.epoch, session)? else {
            return Ok(false);
        };
        self.end_session(head, &user, session)?;
        Ok(true)
    }

    /// Ends a session; its user is gone with the last one.
    fn end_session(
        &mut self,
        mut head: Head,
        user: &UserId,
        session: &SessionId,
    ) -> Result<(), Failure> {
        let present = rows::present(&self.rows, head.epoch, user)?;
        self.remove(&keys::session(head.epoch, session))?;
        let participant = keys::participant(head.epoch, user);
        let name = match present {
            Some(mut who) if who.sessions > 1 => {
                who.sessions -= 1;
                self.refresh(&mut head)?;
                return self.put(&participant, &who.encode());
            }
            Some(who) => {
                self.remove(&participant)?;
                head.participant_count = head.participant_count.saturating_sub(1);
                who.username
            }
            None => String::new(),
        };
        let previous = head.revision;
        head.revision = self.next_revision(&head);
        self.refresh(&mut head)?;
        let who = stored_participant(user.as_str(), &name);
        self.tell(&head, previous, Some(session), size_of(&who), || {
            EventKind::Left(who)
        });
        Ok(())
    }
}

fn size_of(who: &Participant) -> usize {
    who.user_id.as_str().len() + who.username.as_str().len()
}
