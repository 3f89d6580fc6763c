//! What HTTP requests carry, read strictly: anything odd is `INVALID_ARGUMENT`.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
};
use http::{StatusCode, request::Parts};
use tokio::time::{Duration, timeout};

use super::answer::Refusal;
use crate::{
    contract::json::{Fields, check_depth},
    error::Error,
    values::RoomCode,
};

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);

/// A body that is JSON, whatever its content type says.
#[derive(Debug)]
pub(super) struct JsonBody(String);

impl JsonBody {
    /// The members of the body, which is to be an object.
    pub(super) fn fields(&self) -> Result<Fields<'_>, Error> {
        check_depth(&self.0, 0)?;
        Fields::parse("body", &self.0)
    }
}

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let body = match timeout(BODY_TIMEOUT, Bytes::from_request(request, state)).await {
            Ok(Ok(body)) => body,
            Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                return Err(Error::TooLarge("body: must be at most 64 KiB".to_owned()).into());
            }
            Ok(Err(_)) | Err(_) => return Err(Error::invalid("body", "did not arrive").into()),
        };
        let text = String::from_utf8(body.into())
            .map_err(|_| Error::invalid("body", "is not valid JSON"))?;
        Ok(Self(text))
    }
}

/// The room that the path names.
#[derive(Debug)]
pub(super) struct Code(pub(super) RoomCode);

impl<S: Send + Sync> FromRequestParts<S> for Code {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Error::invalid("code", "must be six digits"))?;
        Ok(Self(RoomCode::parse("code", &text)?))
    }
}

/// The query's parameters.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// The parameter of this name; of several the last.
    pub(super) fn find(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// A positive integer, read as `most` where it is more.
    pub(super) fn limit(&self, most: i32) -> Result<Option<i32>, Error> {
        let Some(text) = self.find("limit") else {
            return Ok(None);
        };
        let positive = !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && text.bytes().any(|byte| byte != b'0');
        if !positive {
            return Err(Error::invalid("limit", "must be a positive integer"));
        }
        Ok(Some(
            text.parse().map_or(most, |limit: i32| limit.min(most)),
        ))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(parameters)) => Ok(Self(parameters)),
            Err(_) => Err(Error::invalid("query", "cannot be read").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_positive_integer_and_bounded() {
        let limit = |text: &str| Parameters(vec![("limit".to_owned(), text.to_owned())]).limit(100);
        assert_eq!(limit("7"), Ok(Some(7)));
        assert_eq!(limit("200"), Ok(Some(100)));
        assert_eq!(limit("99999999999999999999"), Ok(Some(100)));
        for bad in ["0", "-1", "abc", "", "1.5", "+1", " 1", "00"] {
            assert!(limit(bad).is_err(), "{bad}");
        }
        assert_eq!(Parameters(Vec::new()).limit(100), Ok(None));
    }
}
