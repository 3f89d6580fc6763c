//! The pure work that each message passes on its way, open to the benchmark alone.

use roomkeeper_proto::v1 as proto;

use crate::{
    domain::{ChatText, ElementChange, Request, RequestId, RoomCode},
    feed::Frame,
    grpc,
    repository::redis::decode_event,
};

/// Checks a message's text and makes its request's fingerprint; the fingerprint's length.
pub fn check_message(request_id: &str, user: &str, text: &str) -> usize {
    let (Ok(text), Ok(id)) = (
        ChatText::parse("text", text),
        RequestId::parse("request_id", request_id, false),
    ) else {
        return 0;
    };
    Request::new(id, "SaveMessage", user, [text.as_str()])
        .fingerprint()
        .len()
}

/// Checks an element's JSON; the length of what is stored.
pub fn check_element(json: &str) -> usize {
    ElementChange::parse("elements[0]", json).map_or(0, |element| element.json.len())
}

/// Decodes an event as the store published it, to what a watch tells of it.
pub fn hand_on_event(room: RoomCode, published: &[u8]) -> Option<proto::WatchRoomsResponse> {
    let event = decode_event(published).ok()?;
    grpc::frame(room, Frame::Event(event.into()))
}
