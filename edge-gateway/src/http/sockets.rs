//! Requests of Socket.io, on their way to it: each session gets a meter, and what is sent
//! to it is counted where it leaves.

use std::sync::Arc;

use axum::{
    body::{Body, HttpBody as _, to_bytes},
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Serialize;
use tokio::time::{Duration, timeout};

use super::answer::{Refusal, success_as};
use crate::{
    delivery::{Meter, Meters},
    error::Error,
    server::Connection,
};

/// How many Engine.IO sessions there may be; a session that polls has no connection of its
/// own, so the limit on connections does not bound them.
const MAX_SESSIONS: usize = 20_000;

/// How long a client may take to send a body.
const POST_TIMEOUT: Duration = Duration::from_secs(30);

/// The answer to the opening of a session, and a refusal, are shorter than this.
const MAX_OPENING: usize = 4 << 10;

/// Engine.IO's number for a request that is wrong in a way of its own.
const BAD_REQUEST: u8 = 3;

/// What a client is told whose session is not known. A session lives at one gateway.
const UNKNOWN_SESSION: &str = "this gateway has no such session: it has ended, or it lives at \
    another gateway, and then the balancer must send all requests of a polling client to one";

/// The sessions that are tracked.
#[derive(Debug, Clone, Default)]
pub(super) struct Tracking(Meters);

/// Tracks a request of Socket.io, and lets any other pass.
pub(super) async fn track(
    State(Tracking(meters)): State<Tracking>,
    mut request: Request,
    next: Next,
) -> Response {
    if !request.uri().path().starts_with("/socket.io") {
        return next.run(request).await;
    }
    let is_websocket = parameter(&request, "transport") == Some("websocket");
    if is_websocket {
        detach(&mut request);
    }
    let response = pass(&meters, request, is_websocket, next).await;
    if response.status() == StatusCode::BAD_REQUEST {
        with_reason(response).await
    } else {
        response
    }
}

/// Passes a request on, and tracks the session that it opens or belongs to.
async fn pass(meters: &Meters, mut request: Request, is_websocket: bool, next: Next) -> Response {
    let is_post = request.method() == Method::POST;
    let connection = request.extensions().get::<Arc<Connection>>().cloned();

    let Some(sid) = parameter(&request, "sid").map(str::to_owned) else {
        let Some(meter) = meters.open(MAX_SESSIONS) else {
            return Refusal::from(Error::rate_limited()).into_response();
        };
        if let Some(connection) = connection.filter(|_| is_websocket) {
            connection.carries(meter.clone());
        }
        request.extensions_mut().insert(meter.clone());
        let response = next.run(request).await;
        return if is_websocket {
            response
        } else {
            remember(meters, &meter, response).await
        };
    };

    let meter = meters.find(&sid);
    let is_over = match &meter {
        Some(meter) => meter.is_cut(),
        // The layer would accept the WebSocket, and drop it without a word. It has only
        // sessions that began by polling to bring here, and each of those has a meter.
        None => is_websocket,
    };
    if is_over {
        return EngineError::unknown_session().into_response();
    }
    match (meter, connection) {
        (Some(meter), Some(connection)) if is_websocket => {
            connection.carries(meter);
            next.run(request).await
        }
        (Some(meter), _) if !is_websocket && !is_post => {
            let response = next.run(request).await;
            let bytes = response.body().size_hint().lower();
            meter.sent(usize::try_from(bytes).unwrap_or(usize::MAX));
            response
        }
        _ if is_post => match timeout(POST_TIMEOUT, next.run(request)).await {
            Ok(response) => response,
            Err(_elapsed) => StatusCode::REQUEST_TIMEOUT.into_response(),
        },
        _ => next.run(request).await,
    }
}

/// Makes a request's head its own, and no more than the answer to a WebSocket's handshake
/// needs.
///
/// A session keeps the head of the request that opened it, and each slice of it would keep
/// the connection's first buffer, 8 KiB, for as long as the session lives.
fn detach(request: &mut Request) {
    // The rest of the handshake has been read where the upgrade was prepared.
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY);
    let key = key.and_then(|key| HeaderValue::from_bytes(key.as_bytes()).ok());
    let mut headers = HeaderMap::with_capacity(1);
    if let Some(key) = key {
        headers.insert(header::SEC_WEBSOCKET_KEY, key);
    }
    *request.headers_mut() = headers;
    if let Ok(uri) = request.uri().to_string().parse() {
        *request.uri_mut() = uri;
    }
}

fn parameter<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request
        .uri()
        .query()?
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// Reads the id of a session that has just been opened by polling.
async fn remember(meters: &Meters, meter: &Arc<Meter>, response: Response) -> Response {
    if response.status() != StatusCode::OK {
        return response;
    }
    let (parts, body) = response.into_parts();
    // The body is complete and short: Engine.IO's open packet.
    let Ok(bytes) = to_bytes(body, MAX_OPENING).await else {
        return Refusal::from(Error::Internal).into_response();
    };
    if let Some(sid) = opened_sid(&bytes) {
        meters.remember(&sid, meter);
    }
    Response::from_parts(parts, Body::from(bytes))
}

/// The session's id in `0{"sid":"…",…}`.
fn opened_sid(packet: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Open {
        sid: String,
    }
    let open: Open = serde_json::from_slice(packet.strip_prefix(b"0")?).ok()?;
    Some(open.sid)
}

/// A refusal of Engine.IO, in the form of its own server: `{code, message}`. `reason` says
/// more where that helps.
#[derive(Debug, Serialize)]
struct EngineError<'a> {
    code: u8,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl<'a> EngineError<'a> {
    fn new(code: u8, message: &'a str) -> Self {
        // Engine.IO's number for a session that is not known.
        let reason = (code == 1).then_some(UNKNOWN_SESSION);
        Self {
            code,
            message,
            reason,
        }
    }

    fn unknown_session() -> Self {
        Self::new(1, "Session ID unknown")
    }
}

impl IntoResponse for EngineError<'_> {
    fn into_response(self) -> Response {
        success_as(StatusCode::BAD_REQUEST, &self)
    }
}

/// Gives a refusal of the Engine.IO layer the form of its own server: the layer writes the
/// code as a string, or says nothing at all.
async fn with_reason(response: Response) -> Response {
    #[derive(serde::Deserialize)]
    struct Layer<'a> {
        code: &'a str,
        message: &'a str,
    }
    let (parts, body) = response.into_parts();
    // The body is complete and short.
    let bytes = match to_bytes(body, MAX_OPENING).await {
        Ok(bytes) => bytes,
        Err(_too_long) => return Refusal::from(Error::Internal).into_response(),
    };
    match serde_json::from_slice(&bytes) {
        Ok(Layer { code, message }) => {
            EngineError::new(code.parse().unwrap_or(BAD_REQUEST), message).into_response()
        }
        Err(_) if bytes.is_empty() => EngineError::new(BAD_REQUEST, "Bad request").into_response(),
        // It is in that form already.
        Err(_) => Response::from_parts(parts, Body::from(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;

    use super::*;

    #[test]
    fn the_id_of_an_opened_session_is_found() {
        assert_eq!(
            opened_sid(br#"0{"sid":"abc","upgrades":[]}"#).as_deref(),
            Some("abc")
        );
        assert_eq!(opened_sid(b"1"), None);
        assert_eq!(opened_sid(b""), None);
    }

    #[tokio::test]
    async fn a_refusal_has_the_form_of_engine_io_s_own_server() {
        async fn told(body: &'static str) -> serde_json::Value {
            let layer = (StatusCode::BAD_REQUEST, body).into_response();
            let response = with_reason(layer).await;
            assert_eq!(response.status(), StatusCode::BAD_REQUEST);
            let bytes = to_bytes(response.into_body(), MAX_OPENING).await.unwrap();
            serde_json::from_slice(&bytes).unwrap()
        }

        let unknown = told(r#"{"code":"1","message":"Session ID unknown"}"#).await;
        assert_eq!(unknown["code"], 1);
        assert_eq!(unknown["message"], "Session ID unknown");
        assert_eq!(unknown["reason"], UNKNOWN_SESSION);
        assert_eq!(
            told(r#"{"code":"5","message":"Unsupported protocol version"}"#).await,
            serde_json::json!({"code": 5, "message": "Unsupported protocol version"})
        );
        let empty = serde_json::json!({"code": 3, "message": "Bad request"});
        assert_eq!(told("").await, empty);
        assert_eq!(told(r#"{"code":3,"message":"Bad request"}"#).await, empty);
    }

    #[test]
    fn a_detached_request_keeps_its_handshake_and_nothing_of_the_buffer() {
        let head = Bytes::from_static(b"dGhlIHNhbXBsZSBub25jZQ==");
        let key = HeaderValue::from_maybe_shared(head.clone()).unwrap();
        let mut request = Request::builder()
            .uri("/socket.io/?EIO=4&transport=websocket&sid=7")
            .header("sec-websocket-key", key)
            .header("upgrade", "websocket")
            .header("user-agent", "a browser")
            .body(Body::empty())
            .unwrap();
        detach(&mut request);
        assert_eq!(parameter(&request, "sid"), Some("7"));
        assert_eq!(request.headers().len(), 1);
        let kept = request.headers()["sec-websocket-key"].as_bytes();
        assert_eq!(kept, head);
        assert_ne!(kept.as_ptr(), head.as_ptr());
    }

    #[test]
    fn parameters_are_found_by_their_whole_name() {
        let request = Request::builder()
            .uri("/socket.io/?EIO=4&mysid=1&sid=2&transport=polling")
            .body(Body::empty())
            .unwrap();
        assert_eq!(parameter(&request, "sid"), Some("2"));
        assert_eq!(parameter(&request, "transport"), Some("polling"));
        assert_eq!(parameter(&request, "none"), None);
    }
}
