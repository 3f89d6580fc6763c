//! Whose pages may use this gateway: the first thing that any request meets, Socket.io's
//! included, so that a foreign page never gets a session.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::answer::Refusal;
use crate::{config::AllowedOrigins, error::Error};

/// How long a browser may remember what a preflight said, in seconds.
const PREFLIGHT_MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// What a request's `Origin` makes of it.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// No page of another origin asks.
    Own,
    /// A page of a listed origin asks.
    Listed(HeaderValue),
    /// A page that may not.
    Foreign,
}

/// Judges a request by its headers.
fn judge(allowed: &AllowedOrigins, headers: &HeaderMap) -> Verdict {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else {
        return Verdict::Own;
    };
    if origins.next().is_some() {
        return Verdict::Foreign;
    }
    if let (Some(authority), Some(host)) = (authority(origin), headers.get(header::HOST))
        && authority.as_bytes().eq_ignore_ascii_case(host.as_bytes())
    {
        return Verdict::Own;
    }
    match allowed {
        AllowedOrigins::Any => Verdict::Listed(origin.clone()),
        AllowedOrigins::Listed(listed) => {
            let same = |one: &&HeaderValue| one.as_bytes().eq_ignore_ascii_case(origin.as_bytes());
            match listed.iter().find(same) {
                Some(_) => Verdict::Listed(origin.clone()),
                None => Verdict::Foreign,
            }
        }
    }
}

/// `host:port` of an origin.
fn authority(origin: &HeaderValue) -> Option<&str> {
    let text = origin.to_str().ok()?;
    text.strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"))
}

/// Refuses foreign pages, answers preflights, and lets listed pages read the answers.
pub(super) async fn guard(
    State(allowed): State<Arc<AllowedOrigins>>,
    request: Request,
    next: Next,
) -> Response {
    match judge(&allowed, request.headers()) {
        Verdict::Own => next.run(request).await,
        Verdict::Foreign => {
            let error = Error::PermissionDenied("this origin may not use this gateway");
            Refusal::from(error).into_response()
        }
        Verdict::Listed(origin) => {
            let is_preflight = request.method() == Method::OPTIONS
                && request
                    .headers()
                    .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
            let mut response = if is_preflight {
                preflight()
            } else {
                next.run(request).await
            };
            let headers = response.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
            response
        }
    }
}

fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST, DELETE"),
    );
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("content-type"),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_MAX_AGE);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(allowed: &str, host: &str, origins: &[&'static str]) -> Verdict {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        for origin in origins {
            headers.append(header::ORIGIN, HeaderValue::from_static(origin));
        }
        judge(&allowed.parse().unwrap(), &headers)
    }

    #[test]
    fn who_sends_no_origin_or_the_own_one_is_served() {
        assert_eq!(verdict("", "a:4000", &[]), Verdict::Own);
        assert_eq!(verdict("", "a:4000", &["http://a:4000"]), Verdict::Own);
        assert_eq!(
            verdict("", "A.example", &["https://a.example"]),
            Verdict::Own
        );
    }

    #[test]
    fn a_foreign_page_is_refused_unless_it_is_listed() {
        for foreign in ["http://b:4000", "http://a:4001", "http://a", "null", ""] {
            assert_eq!(
                verdict("", "a:4000", &[foreign]),
                Verdict::Foreign,
                "{foreign}"
            );
            assert_eq!(verdict("http://c", "a:4000", &[foreign]), Verdict::Foreign);
        }
        let listed = Verdict::Listed(HeaderValue::from_static("http://b:4000"));
        assert_eq!(
            verdict("http://c,http://b:4000", "a:4000", &["http://b:4000"]),
            listed
        );
        assert_eq!(verdict("*", "a:4000", &["http://b:4000"]), listed);
    }

    #[test]
    fn two_origins_are_foreign() {
        assert_eq!(
            verdict("*", "a", &["http://a", "http://b"]),
            Verdict::Foreign
        );
    }
}
