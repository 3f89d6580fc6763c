//! The time that a caller gives a call, and what is answered where it is over.

use std::{future::Future, time::Duration};

use tokio::time::timeout;
use tonic::{Request, Response, Status};

use super::status::from_error;
use crate::{repository::RepositoryError, rooms::RoomError};

/// How much earlier than the transport a call is ended at its caller's deadline:
/// the transport's own answer says nothing of what became of a change. A call that has
/// less than twice this gets half of its time.
const AHEAD: Duration = Duration::from_millis(5);

/// Serves a call within the time that its caller gives it.
pub(super) async fn unary<Req, Res, F>(
    request: Request<Req>,
    call: impl FnOnce(Req) -> F,
) -> Result<Response<Res>, Status>
where
    F: Future<Output = Result<Res, RoomError>>,
{
    let given = request
        .metadata()
        .get("grpc-timeout")
        .and_then(|value| duration(value.to_str().ok()?));
    in_time(given, call(request.into_inner()))
        .await
        .map(Response::new)
        .map_err(|error| from_error(&error))
}

/// Ends a call at its caller's deadline. One that comes without any time is not begun, since
/// nobody waits for its answer.
pub(super) async fn in_time<Res>(
    given: Option<Duration>,
    call: impl Future<Output = Result<Res, RoomError>>,
) -> Result<Res, RoomError> {
    let Some(given) = given else {
        return call.await;
    };
    if !given.is_zero() {
        let usable = given.saturating_sub(AHEAD).max(given / 2);
        if let Ok(answer) = timeout(usable, call).await {
            return answer;
        }
    }
    let late = RepositoryError::OutcomeUnknown("the caller's deadline passed".to_owned());
    Err(late.into())
}

/// Reads a `grpc-timeout`: at most eight digits and a unit, as gRPC over HTTP/2 has it.
fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u32 = number.parse().ok().filter(|_| number.len() <= 8)?;
    let unit = match unit {
        "H" => Duration::from_secs(3_600),
        "M" => Duration::from_secs(60),
        "S" => Duration::from_secs(1),
        "m" => Duration::from_millis(1),
        "u" => Duration::from_micros(1),
        "n" => Duration::from_nanos(1),
        _ => return None,
    };
    unit.checked_mul(number)
}

#[cfg(test)]
mod tests {
    use tonic::Code;
    use tonic_types::StatusExt as _;

    use super::*;

    #[tokio::test]
    async fn a_call_ends_at_its_callers_deadline_and_says_that_its_outcome_is_unknown() {
        let mut request = Request::new(());
        request
            .metadata_mut()
            .insert("grpc-timeout", "20m".parse().unwrap());
        let answer = unary(request, |()| {
            std::future::pending::<Result<(), RoomError>>()
        })
        .await;
        let status = answer.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        let info = status.get_error_details().error_info().cloned().unwrap();
        assert_eq!(info.reason, "OUTCOME_UNKNOWN");
    }

    #[tokio::test]
    async fn a_call_that_comes_without_any_time_is_not_begun() {
        let begun = std::cell::Cell::new(false);
        let call = async {
            begun.set(true);
            Ok::<(), RoomError>(())
        };
        assert!(in_time(Some(Duration::ZERO), call).await.is_err());
        assert!(!begun.get());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_with_a_short_deadline_gets_half_of_it() {
        let takes = |millis| async move {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            Ok::<(), RoomError>(())
        };
        let short = Some(Duration::from_millis(4));
        assert!(in_time(short, takes(1)).await.is_ok());
        assert!(in_time(short, takes(3)).await.is_err());
    }

    #[test]
    fn a_deadline_has_a_number_and_a_unit() {
        assert_eq!(duration("250m"), Some(Duration::from_millis(250)));
        assert_eq!(
            duration("99999999H"),
            Some(Duration::from_secs(99_999_999 * 3_600))
        );
        assert_eq!(duration("1u"), Some(Duration::from_micros(1)));
        for bad in ["", "m", "1", "1x", "-1m", "123456789S", "1é"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}
