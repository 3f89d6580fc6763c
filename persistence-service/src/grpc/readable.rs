//! Requests that are no protobuf are refused as the caller's fault.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use futures_util::{TryFutureExt as _, future::MapOk};
use tonic::{
    Status,
    body::Body,
    codegen::{Service, http},
    server::NamedService,
};

use super::status::of_request;

/// A service whose generated code refuses what it cannot decode before any code of ours
/// sees it; the answer is put right here.
#[derive(Clone, Debug)]
pub(crate) struct Readable<S>(pub(crate) S);

impl<S: NamedService> NamedService for Readable<S> {
    const NAME: &'static str = S::NAME;
}

type Response = http::Response<Body>;

impl<S> Service<http::Request<Body>> for Readable<S>
where
    S: Service<http::Request<Body>, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = MapOk<S::Future, fn(Response) -> Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.0.call(request).map_ok(put_right)
    }
}

/// A refusal before the call began comes in the headers; what comes later is of the call.
fn put_right(response: Response) -> Response {
    match Status::from_header_map(response.headers()) {
        Some(status) => of_request(status).into_http(),
        None => response,
    }
}
