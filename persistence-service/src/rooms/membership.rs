use super::{RoomError, Rooms};
use crate::{
    domain::{CatchUp, Participant, Position, RoomCode, SessionId, UserId},
    repository::{Join, NewSignal, Since},
};

impl Rooms {
    /// Makes a user present and returns what the room holds, or what changed
    /// in it after a position.
    pub async fn join(
        &self,
        code: RoomCode,
        participant: Participant,
        session: SessionId,
        after: Option<Position>,
    ) -> Result<CatchUp, RoomError> {
        let (since, message_limit) = match after {
            None => (Since::Arrival, self.history.shown_on_join()),
            Some(position) => (Since::Position(position), self.history.kept),
        };
        let join = Join {
            code,
            participant,
            session,
            since,
            message_limit,
        };
        Ok(self.repository.join(&join).await??)
    }

    /// Ends a session; its user is gone with the last one.
    pub async fn leave(
        &self,
        code: RoomCode,
        user: &UserId,
        session: &SessionId,
    ) -> Result<(), RoomError> {
        Ok(self.repository.leave(code, user, session).await??)
    }

    /// Renews the leases of sessions, and returns those that their rooms do not
    /// know.
    pub async fn renew(
        &self,
        sessions: &[(RoomCode, SessionId)],
    ) -> Result<Vec<(RoomCode, SessionId)>, RoomError> {
        Ok(self.repository.renew_sessions(sessions).await?)
    }

    /// Tells a transient signal to whoever watches the room.
    pub async fn signal(&self, signal: NewSignal) -> Result<(), RoomError> {
        Ok(self.repository.signal(&signal).await??)
    }
}
