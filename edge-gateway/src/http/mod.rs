//! The HTTP side: all its routes, in one screen.

mod answer;
mod origin;
mod pages;
mod request;
mod rooms;
mod sockets;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    middleware::from_fn_with_state,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use socketioxide::layer::SocketIoLayer;

use crate::{config::AllowedOrigins, error::Error, persistence::Persistence};
use answer::{Refusal, success};

/// The largest body of a request; what the routes take is far smaller.
const MAX_BODY: usize = 64 << 10;

/// What the routes need.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    pub(crate) persistence: Persistence,
    /// Set once the gateway goes away.
    pub(crate) draining: Arc<AtomicBool>,
}

/// The routes, Socket.io's among them, behind the rule on origins.
pub(crate) fn router(http: Http, sockets: SocketIoLayer, origins: AllowedOrigins) -> Router {
    Router::new()
        .route("/api/rooms/create", post(rooms::create))
        .route(
            "/api/rooms",
            get(rooms::list).post(rooms::create_as_resource),
        )
        .route("/api/rooms/join", post(rooms::join))
        .route("/api/rooms/{code}", get(rooms::read).delete(rooms::delete))
        .route("/api/rooms/{code}/messages", get(rooms::messages))
        .route("/api/rooms/{code}/whiteboard", get(rooms::whiteboard))
        .route("/api/rooms/{code}/stats", get(rooms::stats))
        .route(
            "/healthz",
            get(async || success(&serde_json::json!({ "success": true }))),
        )
        .route("/readyz", get(ready))
        .merge(pages::routes())
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown_route)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(http)
        .layer(sockets)
        .layer(from_fn_with_state(
            sockets::Tracking::default(),
            sockets::track,
        ))
        .layer(from_fn_with_state(Arc::new(origins), origin::guard))
}

/// Whether browsers can be served: the service is reachable and serves.
async fn ready(State(http): State<Http>) -> Response {
    if !http.draining.load(Ordering::Relaxed) && http.persistence.is_ready().await {
        success(&serde_json::json!({ "success": true }))
    } else {
        Refusal::from(Error::StoreUnavailable).into_response()
    }
}

async fn unknown_route() -> Refusal {
    Refusal::unknown_route()
}

async fn wrong_method() -> Refusal {
    Refusal::wrong_method()
}
