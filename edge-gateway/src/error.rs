//! What can go wrong with a browser's request, and how it is told.
//!
//! The one table of the contract's error codes: their names, their HTTP statuses and the
//! sentences that people read. Nothing here carries a source error's text.

use std::time::Duration;

use http::StatusCode;

/// How long a refused client is asked to wait where nothing better is known.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why a request was refused or failed.
///
/// The display text is for people and safe to send to any client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A value is missing, malformed or out of range.
    #[error("{field}: {problem}")]
    Invalid {
        /// The field's name as the client spells it, such as `elements[3].version`.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The request, or a part of it, is larger than allowed.
    #[error("{0}")]
    TooLarge(String),
    /// No room has this code.
    #[error("there is no such room")]
    RoomNotFound,
    /// As many users as allowed are present.
    #[error("the room is full")]
    RoomFull,
    /// The socket is no member of the room.
    #[error("join the room first")]
    NotJoined,
    /// The socket joined as somebody else.
    #[error("this socket joined the room as another user")]
    IdentityMismatch,
    /// Too many requests are under way.
    #[error("too many requests, try again later")]
    RateLimited {
        /// When to try again.
        retry_after: Duration,
    },
    /// The store cannot be reached; nothing was stored.
    #[error("the store is not reachable, try again later")]
    StoreUnavailable,
    /// The change was sent and not answered.
    #[error("it is not known whether this was stored: repeat it with the same requestId")]
    OutcomeUnknown,
    /// The store takes no more data.
    #[error("the store is full")]
    StoreFull,
    /// The caller did not say who they are.
    #[error("sign in first")]
    Unauthenticated,
    /// The caller may not do this.
    #[error("{0}")]
    PermissionDenied(&'static str),
    /// Something is broken on our side; the log says what.
    #[error("unexpected error")]
    Internal,
}

impl Error {
    /// A value of `field` that breaks the contract's rules.
    pub fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid {
            field: field.into(),
            problem: problem.into(),
        }
    }

    /// A request beyond what may be outstanding.
    pub fn rate_limited() -> Self {
        Self::RateLimited {
            retry_after: RETRY_AFTER,
        }
    }

    /// The code that programs read, as docs/reference.md lists it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "INVALID_ARGUMENT",
            Self::TooLarge(_) => "PAYLOAD_TOO_LARGE",
            Self::RoomNotFound => "ROOM_NOT_FOUND",
            Self::RoomFull => "ROOM_FULL",
            Self::NotJoined => "NOT_JOINED",
            Self::IdentityMismatch => "IDENTITY_MISMATCH",
            Self::RateLimited { .. } => "RATE_LIMITED",
            Self::StoreUnavailable => "STORE_UNAVAILABLE",
            Self::OutcomeUnknown => "OUTCOME_UNKNOWN",
            Self::StoreFull => "STORE_FULL",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::PermissionDenied(_) => "PERMISSION_DENIED",
            Self::Internal => "INTERNAL",
        }
    }

    /// The HTTP status that goes with the code.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Invalid { .. } => StatusCode::BAD_REQUEST,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RoomNotFound => StatusCode::NOT_FOUND,
            Self::RoomFull | Self::NotJoined => StatusCode::CONFLICT,
            Self::IdentityMismatch | Self::PermissionDenied(_) => StatusCode::FORBIDDEN,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::StoreUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::OutcomeUnknown => StatusCode::GATEWAY_TIMEOUT,
            Self::StoreFull => StatusCode::INSUFFICIENT_STORAGE,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// When to try again, where waiting helps.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } => Some(*retry_after),
            Self::StoreUnavailable => Some(RETRY_AFTER),
            Self::Invalid { .. }
            | Self::TooLarge(_)
            | Self::RoomNotFound
            | Self::RoomFull
            | Self::NotJoined
            | Self::IdentityMismatch
            | Self::OutcomeUnknown
            | Self::StoreFull
            | Self::Unauthenticated
            | Self::PermissionDenied(_)
            | Self::Internal => None,
        }
    }

    /// The milliseconds that a `RATE_LIMITED` answer carries.
    pub fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after } => {
                Some(u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX))
            }
            Self::Invalid { .. }
            | Self::TooLarge(_)
            | Self::RoomNotFound
            | Self::RoomFull
            | Self::NotJoined
            | Self::IdentityMismatch
            | Self::StoreUnavailable
            | Self::OutcomeUnknown
            | Self::StoreFull
            | Self::Unauthenticated
            | Self::PermissionDenied(_)
            | Self::Internal => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_the_status_of_the_contract() {
        let table = [
            (Error::invalid("a", "b"), "INVALID_ARGUMENT", 400),
            (Error::TooLarge(String::new()), "PAYLOAD_TOO_LARGE", 413),
            (Error::RoomNotFound, "ROOM_NOT_FOUND", 404),
            (Error::RoomFull, "ROOM_FULL", 409),
            (Error::NotJoined, "NOT_JOINED", 409),
            (Error::IdentityMismatch, "IDENTITY_MISMATCH", 403),
            (Error::rate_limited(), "RATE_LIMITED", 429),
            (Error::StoreUnavailable, "STORE_UNAVAILABLE", 503),
            (Error::OutcomeUnknown, "OUTCOME_UNKNOWN", 504),
            (Error::StoreFull, "STORE_FULL", 507),
            (Error::Unauthenticated, "UNAUTHENTICATED", 401),
            (Error::PermissionDenied(""), "PERMISSION_DENIED", 403),
            (Error::Internal, "INTERNAL", 500),
        ];
        for (error, code, status) in table {
            assert_eq!(error.code(), code);
            assert_eq!(error.status().as_u16(), status, "{code}");
        }
    }

    #[test]
    fn an_invalid_value_is_told_by_its_field() {
        assert_eq!(
            Error::invalid("roomId", "must be six digits").to_string(),
            "roomId: must be six digits"
        );
    }
}
