use uuid::Uuid;

use crate::{
    domain::{Invalid, Request},
    repository::{Refusal, RepositoryError},
};

/// Why a call on a room was not served.
#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    /// A value is not what it must be.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// A change, or the board with it, would be too large.
    #[error("{0}")]
    TooLarge(Invalid),
    /// There is no such room.
    #[error("there is no such room")]
    NotFound,
    /// All seats are taken.
    #[error("the room is full")]
    Full,
    /// The session has not joined the room.
    #[error("the session has not joined this room")]
    NotJoined,
    /// The session belongs to another user.
    #[error("the session belongs to another user")]
    IdentityMismatch,
    /// No free code was found.
    #[error("no free room code was found")]
    NoFreeCode,
    /// The part of the store where this request, or the code that it has just claimed, has its
    /// place is away; no room was created. A request under the other id has its place in a part
    /// that is there.
    #[error("{error}")]
    NotCreated {
        /// What the store said.
        error: RepositoryError,
        /// An id that nobody has used.
        usable_id: Uuid,
    },
    /// The store failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

impl From<Refusal> for RoomError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Gone => Self::NotFound,
            Refusal::Full => Self::Full,
            Refusal::NotJoined => Self::NotJoined,
            Refusal::IdentityMismatch => Self::IdentityMismatch,
            Refusal::Conflict => Self::Invalid(Request::conflict()),
            Refusal::BoardFull => Self::TooLarge(Invalid::new(
                "elements",
                "the board would exceed its limits",
            )),
        }
    }
}
