//! The page at `/`, with its script and style: files of their own, so that the policy can
//! forbid everything inline and everything foreign.

use axum::response::{IntoResponse as _, Response};
use http::{HeaderName, HeaderValue, header};

/// What the page may do: nothing but what comes from here.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// `/`
pub(super) async fn index() -> Response {
    file(
        "text/html; charset=utf-8",
        include_str!("../../static/index.html"),
    )
}

/// `/app.js`
pub(super) async fn script() -> Response {
    file(
        "text/javascript; charset=utf-8",
        include_str!("../../static/app.js"),
    )
}

/// `/app.css`
pub(super) async fn style() -> Response {
    file(
        "text/css; charset=utf-8",
        include_str!("../../static/app.css"),
    )
}

fn file(content_type: &'static str, text: &'static str) -> Response {
    let headers: [(HeaderName, HeaderValue); 5] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
        (
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, text).into_response()
}
