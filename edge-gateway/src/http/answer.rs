//! What HTTP requests are answered with.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tracing::error;

use crate::{contract, error::Error};

/// A 200 with this body.
pub(super) fn success(body: &impl Serialize) -> Response {
    success_as(StatusCode::OK, body)
}

/// A success of another status.
pub(super) fn success_as(status: StatusCode, body: &impl Serialize) -> Response {
    match to_raw_value(body) {
        Ok(text) => json(status, &text),
        Err(problem) => {
            error!("an answer cannot be written: {problem}");
            Refusal::from(Error::Internal).into_response()
        }
    }
}

fn json(status: StatusCode, text: &RawValue) -> Response {
    let mut response = Response::new(Body::from(text.get().to_owned()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A refusal: `{success: false, error, code}` with the status of the contract.
#[derive(Debug)]
pub(super) struct Refusal {
    error: Error,
    status: StatusCode,
}

impl Refusal {
    /// No such route.
    pub(super) fn unknown_route() -> Self {
        let error = Error::invalid("path", "there is nothing here");
        Self {
            error,
            status: StatusCode::NOT_FOUND,
        }
    }

    /// The route takes other methods.
    pub(super) fn wrong_method() -> Self {
        let error = Error::invalid("method", "is not one that this path takes");
        Self {
            error,
            status: StatusCode::METHOD_NOT_ALLOWED,
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self {
            status: error.status(),
            error,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = json(self.status, &contract::failure(&self.error));
        if let Some(wait) = self.error.retry_after() {
            let seconds = wait.as_secs().max(1);
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
