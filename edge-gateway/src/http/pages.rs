//! The web client, or the small page where that was not built: files that are part of this
//! program, so that it runs from any folder.

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, RawQuery, rejection::PathRejection},
    response::{IntoResponse as _, Response},
    routing::get,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};

use crate::values::RoomCode;

/// What a page may do: use what comes from here, and nothing else.
///
/// Excalidraw writes style attributes, from which nothing can run.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; \
     style-src-attr 'unsafe-inline'; connect-src 'self'; font-src 'self'; \
     img-src 'self' data: blob:; worker-src 'self'; manifest-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'",
);

/// A file whose address changes with its content.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// A file that is asked about before it is used again.
const REVALIDATED: HeaderValue = HeaderValue::from_static("no-cache");

/// One file, with the forms that it was compressed to when it was built.
#[derive(Debug)]
struct File {
    path: &'static str,
    content_type: &'static str,
    is_immutable: bool,
    etag: &'static str,
    plain: &'static [u8],
    gzip: Option<&'static [u8]>,
    brotli: Option<&'static [u8]>,
}

/// All files, by their path; made by `build.rs`.
static FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// A route for each file, and the client's own routes, which the first page serves.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let mut router = Router::new();
    for file in FILES {
        let serve = get(async |headers: HeaderMap| answer(file, &headers));
        if file.path == "/index.html" {
            let room = get(
                async |uri: Uri, path: Spelled, query: RawQuery, headers: HeaderMap| {
                    canonical(&uri, path, query).unwrap_or_else(|| answer(file, &headers))
                },
            );
            router = router
                .route("/", serve.clone())
                .route("/r/{code}", room.clone())
                .route("/r/{code}/", room);
        }
        router = router.route(file.path, serve);
    }
    router
}

/// A room's code as an address spells it.
type Spelled = Result<Path<String>, PathRejection>;

/// Redirects to the one address of a room, where `uri` spells its code in another way: with a
/// slash at the end, or as people read a code. What holds no code has no other address: the
/// page says that there is no such room.
fn canonical(uri: &Uri, path: Spelled, RawQuery(query): RawQuery) -> Option<Response> {
    let Path(spelled) = path.ok()?;
    let room = RoomCode::spelled(&spelled)?;
    let address = format!("/r/{room}");
    if uri.path() == address {
        return None;
    }
    let location = match query {
        Some(query) => format!("{address}?{query}"),
        None => address,
    };
    let location = HeaderValue::try_from(location).ok()?;
    let headers = [(header::LOCATION, location)];
    Some((StatusCode::PERMANENT_REDIRECT, headers).into_response())
}

fn answer(file: &'static File, request: &HeaderMap) -> Response {
    let cache = if file.is_immutable {
        IMMUTABLE
    } else {
        REVALIDATED
    };
    let headers: [(HeaderName, HeaderValue); 7] = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static(file.content_type),
        ),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
        (
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        ),
        (header::CACHE_CONTROL, cache),
        (header::ETAG, HeaderValue::from_static(file.etag)),
        (header::VARY, HeaderValue::from_static("Accept-Encoding")),
    ];
    if is_known(file, request) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    let (encoding, bytes) = form(file, request);
    let mut response = (headers, Body::from(Bytes::from_static(bytes))).into_response();
    if let Some(encoding) = encoding {
        response
            .headers_mut()
            .insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    response
}

/// Whether the client has this very content.
fn is_known(file: &File, request: &HeaderMap) -> bool {
    items(request, header::IF_NONE_MATCH).any(|tag| tag == "*" || tag == file.etag)
}

/// The smallest form that the client takes.
fn form(file: &'static File, request: &HeaderMap) -> (Option<&'static str>, &'static [u8]) {
    let takes = |encoding: &str| {
        items(request, header::ACCEPT_ENCODING).any(|item| {
            let (name, weight) = item.split_once(';').unwrap_or((item, "q=1"));
            let weight = weight.trim().strip_prefix("q=").unwrap_or("1");
            name.trim().eq_ignore_ascii_case(encoding)
                && weight.parse().is_ok_and(|weight: f32| weight > 0.0)
        })
    };
    match (file.brotli, file.gzip) {
        (Some(bytes), _) if takes("br") => (Some("br"), bytes),
        (_, Some(bytes)) if takes("gzip") => (Some("gzip"), bytes),
        _ => (None, file.plain),
    }
}

/// The members of a header that is a list.
fn items(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    static FILE: File = File {
        path: "/assets/a.js",
        content_type: "text/javascript; charset=utf-8",
        is_immutable: true,
        etag: "W/\"1\"",
        plain: b"plain",
        gzip: Some(b"gzip"),
        brotli: Some(b"brotli"),
    };

    fn asking(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    fn encoding(accepted: &'static str) -> Option<&'static str> {
        form(&FILE, &asking(header::ACCEPT_ENCODING, accepted)).0
    }

    #[test]
    fn the_smallest_form_that_is_taken_is_sent() {
        assert_eq!(encoding("gzip, deflate, br, zstd"), Some("br"));
        assert_eq!(encoding("gzip, br;q=0"), Some("gzip"));
        assert_eq!(encoding("GZIP;q=0.5"), Some("gzip"));
        assert_eq!(encoding("deflate, brotli"), None);
        assert_eq!(encoding(""), None);
        assert_eq!(form(&FILE, &HeaderMap::new()), (None, &b"plain"[..]));
    }

    #[test]
    fn a_form_that_does_not_exist_is_not_sent() {
        static FONT: File = File {
            path: "/excalidraw/a.woff2",
            content_type: "font/woff2",
            is_immutable: true,
            etag: "W/\"2\"",
            plain: b"font",
            gzip: None,
            brotli: None,
        };
        let request = asking(header::ACCEPT_ENCODING, "br, gzip");
        assert_eq!(form(&FONT, &request), (None, &b"font"[..]));
    }

    #[test]
    fn what_the_client_has_is_not_sent_again() {
        for (known, status) in [
            ("W/\"1\"", StatusCode::NOT_MODIFIED),
            ("W/\"0\", W/\"1\"", StatusCode::NOT_MODIFIED),
            ("W/\"0\"", StatusCode::OK),
        ] {
            let response = answer(&FILE, &asking(header::IF_NONE_MATCH, known));
            assert_eq!(response.status(), status, "{known}");
            assert_eq!(response.headers()[header::CACHE_CONTROL], IMMUTABLE);
        }
    }

    #[test]
    fn a_room_has_one_address() {
        let redirected = |address: &str| {
            let uri: Uri = address.parse().unwrap();
            let code = uri.path().strip_prefix("/r/").unwrap();
            let code = code.strip_suffix('/').unwrap_or(code).replace("%20", " ");
            let query = RawQuery(uri.query().map(str::to_owned));
            let response = canonical(&uri, Ok(Path(code)), query)?;
            assert_eq!(response.status(), StatusCode::PERMANENT_REDIRECT);
            Some(
                response.headers()[header::LOCATION]
                    .to_str()
                    .unwrap()
                    .to_owned(),
            )
        };
        assert_eq!(redirected("/r/012345"), None);
        assert_eq!(redirected("/r/012345?a=1"), None);
        for spelled in ["/r/012345/", "/r/012-345", "/r/012-345/", "/r/%20012%20345"] {
            assert_eq!(redirected(spelled).as_deref(), Some("/r/012345"));
            assert_eq!(
                redirected(&format!("{spelled}?a=b%20c&d")).as_deref(),
                Some("/r/012345?a=b%20c&d")
            );
        }
        for none in ["/r/12345", "/r/1234567", "/r/abc/", "/r/12345a"] {
            assert_eq!(redirected(none), None, "{none}");
        }
    }

    #[test]
    fn there_is_a_first_page_and_it_is_asked_about_each_time() {
        let first = FILES.iter().find(|file| file.path == "/index.html");
        assert!(first.is_some_and(|file| !file.is_immutable));
        let _: Router = routes();
    }
}
