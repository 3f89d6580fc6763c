//! What a gRPC status means for a browser: the one place that reads them.

use std::error::Error as _;

use tonic::{Code, ConnectError, Status};
use tonic_types::StatusExt as _;

use crate::error::Error;

/// The domain of the reasons that persistence-service gives.
const DOMAIN: &str = "roomkeeper";

/// Why a call was not answered as hoped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The service answered: it refuses, or could not do it.
    Refused(Error),
    /// No connection came about: nothing was sent.
    NotSent(String),
    /// It may have been sent, and no answer came.
    Lost(String),
    /// An answer that this gateway does not understand.
    Broken(String),
}

/// Tells what `status` means.
pub(super) fn classify(status: &Status) -> Failure {
    if let Some(info) = status.get_details_error_info()
        && info.domain == DOMAIN
    {
        return match reason(&info.reason, status) {
            Some(error) => Failure::Refused(error),
            None => Failure::Broken(format!("reason {}: {}", info.reason, status.message())),
        };
    }
    if never_connected(status) {
        return Failure::NotSent(status.message().to_owned());
    }
    let problem = || format!("{}: {}", status.code(), status.message());
    // What the service says has no source: this is of the transport, whatever its code. A
    // connection that the service ended because too many calls were given up, for one, is a
    // "resource exhausted".
    if status.source().is_some() {
        return Failure::Lost(problem());
    }
    match status.code() {
        // The service refused it before it looked at it, as one that is stopping does.
        Code::Unavailable => Failure::NotSent(problem()),
        Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => Failure::Lost(problem()),
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss
        | Code::Unauthenticated => Failure::Broken(problem()),
    }
}

/// The error that a reason of ours stands for.
fn reason(reason: &str, status: &Status) -> Option<Error> {
    Some(match reason {
        "INVALID_ARGUMENT" => invalid(status),
        "PAYLOAD_TOO_LARGE" => Error::TooLarge(match first_violation(status) {
            Some((field, problem)) => format!("{field}: {problem}"),
            None => "this is larger than the room may take".to_owned(),
        }),
        "ROOM_NOT_FOUND" => Error::RoomNotFound,
        "ROOM_FULL" => Error::RoomFull,
        "NOT_JOINED" => Error::NotJoined,
        "IDENTITY_MISMATCH" => Error::IdentityMismatch,
        "RATE_LIMITED" => {
            match status
                .get_details_retry_info()
                .and_then(|info| info.retry_delay)
            {
                Some(retry_after) => Error::RateLimited { retry_after },
                None => Error::rate_limited(),
            }
        }
        "STORE_UNAVAILABLE" => Error::StoreUnavailable,
        "OUTCOME_UNKNOWN" => Error::OutcomeUnknown,
        "STORE_FULL" => Error::StoreFull,
        "INTERNAL" => Error::Internal,
        _ => return None,
    })
}

fn invalid(status: &Status) -> Error {
    match first_violation(status) {
        Some((field, problem)) => Error::invalid(field, problem),
        None => Error::invalid("payload", "is not valid"),
    }
}

/// The first field that the service complains of, as browsers spell it.
fn first_violation(status: &Status) -> Option<(String, String)> {
    let violation = status
        .get_details_bad_request()?
        .field_violations
        .into_iter()
        .next()?;
    Some((browser_field(&violation.field), violation.description))
}

/// The schema's names of fields whose names in the browser contract are others.
fn browser_field(field: &str) -> String {
    let (head, tail) = match field.find(['.', '[']) {
        Some(end) => field.split_at(end),
        None => (field, ""),
    };
    let head = match head {
        "room_code" => "roomId",
        "user_id" => "userId",
        "text" => "message",
        "request_id" => "requestId",
        "created_by" => "createdBy",
        "max_participants" => "maxParticipants",
        "page_token" => "pageToken",
        "page_size" => "limit",
        other => other,
    };
    format!("{head}{tail}")
}

/// Whether the status stands for a connection that never came about.
fn never_connected(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, sync::Arc, time::Duration};

    use tonic_types::ErrorDetails;

    use super::*;

    fn refusal(reason: &str, change: impl FnOnce(&mut ErrorDetails)) -> Failure {
        let mut details = ErrorDetails::new();
        details.set_error_info(reason, DOMAIN, HashMap::new());
        change(&mut details);
        classify(&Status::with_error_details(
            Code::Aborted,
            "secret",
            details,
        ))
    }

    #[test]
    fn every_reason_of_the_service_is_a_code_of_the_contract() {
        for reason in [
            "INVALID_ARGUMENT",
            "PAYLOAD_TOO_LARGE",
            "ROOM_NOT_FOUND",
            "ROOM_FULL",
            "NOT_JOINED",
            "IDENTITY_MISMATCH",
            "RATE_LIMITED",
            "STORE_UNAVAILABLE",
            "OUTCOME_UNKNOWN",
            "STORE_FULL",
            "INTERNAL",
        ] {
            let Failure::Refused(error) = refusal(reason, |_| ()) else {
                panic!("{reason}")
            };
            assert_eq!(error.code(), reason);
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn a_bad_field_is_named_as_the_browser_spells_it() {
        let failure = refusal("INVALID_ARGUMENT", |details| {
            details.add_bad_request_violation("elements[3].version", "must be an integer");
        });
        assert_eq!(
            failure,
            Failure::Refused(Error::invalid("elements[3].version", "must be an integer"))
        );
        assert_eq!(browser_field("room_code"), "roomId");
    }

    #[test]
    fn a_limit_says_when_to_try_again() {
        let failure = refusal("RATE_LIMITED", |details| {
            details.set_retry_info(Some(Duration::from_millis(250)));
        });
        let Failure::Refused(error) = failure else {
            panic!()
        };
        assert_eq!(error.retry_after_ms(), Some(250));
    }

    #[test]
    fn without_a_reason_a_refusal_was_not_sent_and_a_deadline_is_in_doubt() {
        assert!(matches!(
            classify(&Status::unavailable("draining")),
            Failure::NotSent(_)
        ));
        assert!(matches!(
            classify(&Status::deadline_exceeded("")),
            Failure::Lost(_)
        ));
        assert!(matches!(
            classify(&Status::cancelled("Timeout expired")),
            Failure::Lost(_)
        ));
        let mut calm = Status::resource_exhausted("h2 protocol error");
        calm.set_source(Arc::new(std::io::Error::other("GOAWAY")));
        assert!(matches!(classify(&calm), Failure::Lost(_)));
        assert!(matches!(
            classify(&Status::unimplemented("")),
            Failure::Broken(_)
        ));
        assert!(matches!(refusal("NOVEL", |_| ()), Failure::Broken(_)));
    }
}
