//! The one table from errors to gRPC codes and reasons.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{domain::Invalid, repository::RepositoryError, rooms::RoomError};

/// The domain of `google.rpc.ErrorInfo`.
const DOMAIN: &str = "roomkeeper";

/// What a creation that was refused names another request id by.
const USABLE_REQUEST_ID: &str = "usable_request_id";

/// When a caller may try again after the store was not available.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The code and reason of an error, as the contract lists them.
fn row(error: &RoomError) -> (Code, &'static str) {
    match error {
        RoomError::Invalid(_) => (Code::InvalidArgument, "INVALID_ARGUMENT"),
        RoomError::TooLarge(_) => (Code::InvalidArgument, "PAYLOAD_TOO_LARGE"),
        RoomError::NotFound => (Code::NotFound, "ROOM_NOT_FOUND"),
        RoomError::Full => (Code::ResourceExhausted, "ROOM_FULL"),
        RoomError::NotJoined => (Code::FailedPrecondition, "NOT_JOINED"),
        RoomError::IdentityMismatch => (Code::PermissionDenied, "IDENTITY_MISMATCH"),
        RoomError::Repository(error) | RoomError::NotCreated { error, .. } => match error {
            RepositoryError::Unavailable(_) => (Code::Unavailable, "STORE_UNAVAILABLE"),
            RepositoryError::OutcomeUnknown(_) => (Code::DeadlineExceeded, "OUTCOME_UNKNOWN"),
            RepositoryError::Full => (Code::ResourceExhausted, "STORE_FULL"),
            RepositoryError::Damaged(_) => (Code::Internal, "INTERNAL"),
        },
        RoomError::NoFreeCode => (Code::Internal, "INTERNAL"),
    }
}

/// What a caller is told. What the store said stays here, in the log.
fn message(error: &RoomError) -> String {
    match error {
        RoomError::Repository(error) | RoomError::NotCreated { error, .. } => match error {
            RepositoryError::Unavailable(_) => "the store is not available; nothing was stored",
            RepositoryError::OutcomeUnknown(_) => {
                "the change was sent to the store and not confirmed; \
                 repeat it with the same request id"
            }
            RepositoryError::Full => "the store is full",
            RepositoryError::Damaged(_) => "unexpected error",
        }
        .to_owned(),
        RoomError::NoFreeCode => "unexpected error".to_owned(),
        RoomError::Invalid(_)
        | RoomError::TooLarge(_)
        | RoomError::NotFound
        | RoomError::Full
        | RoomError::NotJoined
        | RoomError::IdentityMismatch => error.to_string(),
    }
}

/// Turns an error into what the caller gets, and logs it where it is ours.
pub(super) fn from_error(error: &RoomError) -> Status {
    let (code, reason) = row(error);
    if code == Code::Internal {
        tracing::error!(%error, "a call failed");
    } else {
        tracing::debug!(%error, "a call was refused");
    }
    let mut metadata = HashMap::new();
    if let RoomError::NotCreated { usable_id, .. } = error {
        metadata.insert(USABLE_REQUEST_ID.to_owned(), usable_id.to_string());
    }
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
    if let RoomError::Invalid(Invalid { field, problem })
    | RoomError::TooLarge(Invalid { field, problem }) = error
    {
        details.add_bad_request_violation(field, problem);
    }
    if code == Code::Unavailable {
        details.set_retry_info(Some(RETRY_DELAY));
    }
    Status::with_error_details(code, message(error), details)
}

/// What a caller is told of a request that the transport could not read. The transport calls
/// that an error of the service's own, though the request is at fault. Every status of ours
/// has details, and the transport's has none. Other statuses stay.
pub(super) fn of_request(status: Status) -> Status {
    if !status.details().is_empty() {
        return status;
    }
    match status.code() {
        Code::Internal => {
            let problem = "must be one message of the schema's type";
            from_error(&Invalid::new("request", problem).into())
        }
        Code::OutOfRange => {
            let problem = "must be at most 16 MiB";
            from_error(&RoomError::TooLarge(Invalid::new("request", problem)))
        }
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Unimplemented
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_the_code_and_reason_of_the_contract() {
        let invalid = || Invalid::new("name", "must not be empty");
        let table = [
            (
                RoomError::Invalid(invalid()),
                Code::InvalidArgument,
                "INVALID_ARGUMENT",
            ),
            (
                RoomError::TooLarge(invalid()),
                Code::InvalidArgument,
                "PAYLOAD_TOO_LARGE",
            ),
            (RoomError::NotFound, Code::NotFound, "ROOM_NOT_FOUND"),
            (RoomError::Full, Code::ResourceExhausted, "ROOM_FULL"),
            (RoomError::NotJoined, Code::FailedPrecondition, "NOT_JOINED"),
            (
                RoomError::IdentityMismatch,
                Code::PermissionDenied,
                "IDENTITY_MISMATCH",
            ),
            (
                RepositoryError::Unavailable(String::new()).into(),
                Code::Unavailable,
                "STORE_UNAVAILABLE",
            ),
            (
                RepositoryError::OutcomeUnknown(String::new()).into(),
                Code::DeadlineExceeded,
                "OUTCOME_UNKNOWN",
            ),
            (
                RepositoryError::Full.into(),
                Code::ResourceExhausted,
                "STORE_FULL",
            ),
            (
                RepositoryError::Damaged(String::new()).into(),
                Code::Internal,
                "INTERNAL",
            ),
            (RoomError::NoFreeCode, Code::Internal, "INTERNAL"),
        ];
        for (error, code, reason) in table {
            let status = from_error(&error);
            let details = status.get_error_details();
            let info = details.error_info().unwrap();
            assert_eq!((status.code(), info.reason.as_str()), (code, reason));
            assert_eq!(info.domain, "roomkeeper");
        }
    }

    #[test]
    fn what_the_store_said_is_never_told() {
        let error = RepositoryError::Damaged("WRONGPASS hunter2".to_owned()).into();
        assert!(!from_error(&error).message().contains("hunter2"));
    }

    #[test]
    fn a_bad_value_names_its_field() {
        let status = from_error(&RoomError::Invalid(Invalid::new(
            "name",
            "must not be empty",
        )));
        let details = status.get_error_details();
        assert_eq!(
            details.bad_request().unwrap().field_violations[0].field,
            "name"
        );
        assert!(status.message().contains("name"));
    }

    #[test]
    fn a_request_that_cannot_be_read_is_the_callers_fault() {
        for (transport, code, reason) in [
            (
                Status::internal("failed to decode Protobuf message"),
                Code::InvalidArgument,
                "INVALID_ARGUMENT",
            ),
            (
                Status::out_of_range("decoded message length too large"),
                Code::InvalidArgument,
                "PAYLOAD_TOO_LARGE",
            ),
        ] {
            let status = of_request(transport);
            let info = status.get_error_details().error_info().cloned().unwrap();
            assert_eq!((status.code(), info.reason.as_str()), (code, reason));
        }
        let ours = from_error(&RoomError::NoFreeCode);
        assert_eq!(of_request(ours).code(), Code::Internal);
        let other = of_request(Status::unimplemented("no such call"));
        assert_eq!(other.code(), Code::Unimplemented);
    }
}
