//! The names of everything in Redis. Nothing else spells one.
//!
//! The braces are part of a key: they are Redis Cluster's hash tag and keep a
//! room on one node.

use uuid::Uuid;

use crate::domain::RoomCode;

/// The index of active rooms: codes scored by creation time, in Unix
/// milliseconds. An index, never the truth.
pub(super) const ACTIVE_ROOMS: &str = "rooms:active";

/// The index of leases: `code:session` scored by the lease's end, in Unix
/// milliseconds. An index, never the truth.
pub(super) const DUE_SESSIONS: &str = "sessions:due";

/// The keys of a room, in the order in which every script takes them: the ten
/// that live and end with the room, the request's, the feed's channel.
pub(super) fn of_room(code: RoomCode, request: Option<Uuid>) -> [String; 12] {
    let room = room(code);
    let part = |name: &str| [&room, ":", name].concat();
    [
        room.clone(),
        part("messages"),
        part("whiteboard"),
        part("changes"),
        part("tombstones"),
        part("participants"),
        part("arrivals"),
        part("sessions"),
        part("session-users"),
        part("user-sessions"),
        match request {
            Some(id) => {
                let mut text = Uuid::encode_buffer();
                let id = id.hyphenated().encode_lower(&mut text);
                [&room, ":request:", id].concat()
            }
            None => part("request:"),
        },
        part("feed"),
    ]
}

/// The hash of a room.
pub(super) fn room(code: RoomCode) -> String {
    ["room:{", code.as_str(), "}"].concat()
}

/// The channel of a room's events.
pub(super) fn feed(code: RoomCode) -> String {
    format!("room:{{{code}}}:feed")
}

/// The room whose events this channel carries.
pub(super) fn room_of_feed(channel: &[u8]) -> Option<RoomCode> {
    let code = channel.strip_prefix(b"room:{")?.strip_suffix(b"}:feed")?;
    RoomCode::parse("", std::str::from_utf8(code).ok()?).ok()
}

/// Which code a request to create a room is for.
pub(super) fn creation(request: Uuid) -> String {
    format!("create:{{{request}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_channel_names_its_room_and_nothing_else_does() {
        let code = RoomCode::from_number(123_456).unwrap();
        assert_eq!(feed(code), "room:{123456}:feed");
        assert_eq!(room_of_feed(feed(code).as_bytes()), Some(code));
        assert_eq!(room_of_feed(b"room:{12345x}:feed"), None);
        assert_eq!(room_of_feed(b"other"), None);
        assert_eq!(of_room(code, None)[11], feed(code));
    }
}
