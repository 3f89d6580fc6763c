//! The gRPC face: each call is decode, call, encode.

mod convert;
mod deadline;
mod health;
mod pipeline;
mod readable;
mod service;
mod status;
mod watches;

pub(crate) use health::{HEALTH_NAMES, follow as follow_health};
pub(crate) use readable::Readable;
pub(crate) use service::RoomService;

/// A frame of the feed as a stream of many watches tells it, for the benchmark.
pub(crate) fn frame(
    code: crate::domain::RoomCode,
    frame: crate::feed::Frame,
) -> Option<roomkeeper_proto::v1::WatchRoomsResponse> {
    convert::frame(code, &frame, 50).map(|frame| frame.of_watch(1))
}
