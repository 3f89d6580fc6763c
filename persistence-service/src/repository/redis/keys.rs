//! The names of everything in Redis. Nothing else spells one.
//!
//! The braces are part of a key: they are Redis Cluster's hash tag and keep a
//! room on one node.

use std::{mem, sync::LazyLock};

use uuid::Uuid;

use super::slots;
use crate::domain::RoomCode;

/// An index over rooms, never the truth: one key on one server. In a cluster it is split by
/// ranges of slots, so that each part is where its rooms are and none is needed by all.
#[derive(Debug)]
pub(super) struct Index {
    whole: &'static str,
    parts: LazyLock<Vec<String>>,
}

/// The index of active rooms: codes scored by creation time, in Unix
/// milliseconds.
pub(super) static ACTIVE_ROOMS: Index = Index {
    whole: "rooms:active",
    parts: LazyLock::new(|| parts("rooms:active")),
};

/// The index of leases: `code:session` scored by the lease's end, in Unix
/// milliseconds.
pub(super) static DUE_SESSIONS: Index = Index {
    whole: "sessions:due",
    parts: LazyLock::new(|| parts("sessions:due")),
};

fn parts(whole: &str) -> Vec<String> {
    let part = |tag| format!("{whole}:{{{tag}}}");
    slots::tags().iter().map(part).collect()
}

impl Index {
    /// The key that lists a room of one server.
    pub(super) fn whole(&self) -> &'static str {
        self.whole
    }

    /// The key that lists this room in a cluster.
    pub(super) fn part(&'static self, code: RoomCode) -> &'static str {
        let range = slots::range_of(slots::slot_of(&room(code)));
        &self.parts[usize::from(range)]
    }

    /// All keys in a cluster. The last one is that of versions that did not split the index:
    /// its rooms and sessions are found there until they end.
    pub(super) fn all_parts(&'static self) -> impl Iterator<Item = &'static str> {
        let parts = self.parts.iter().map(String::as_str);
        parts.chain(std::iter::once(self.whole))
    }
}

/// How many keys a room's scripts take.
pub(super) const OF_ROOM: usize = 12;

/// What stands behind the room's own key in the others: the nine that live and end with it,
/// the request's, the feed's channel.
const PARTS: [&str; OF_ROOM - 1] = [
    ":messages",
    ":whiteboard",
    ":changes",
    ":tombstones",
    ":participants",
    ":arrivals",
    ":sessions",
    ":session-users",
    ":user-sessions",
    ":request:",
    ":feed",
];

/// The keys of a room, in one text: each call of a script has them all.
#[derive(Debug)]
pub(super) struct RoomKeys {
    text: String,
    ends: [usize; OF_ROOM],
}

impl RoomKeys {
    /// In the order in which every script takes them.
    pub(super) fn all(&self) -> [&str; OF_ROOM] {
        let mut start = 0;
        self.ends
            .map(|end| &self.text[mem::replace(&mut start, end)..end])
    }
}

/// The keys of a room, and of a request in it.
pub(super) fn of_room(code: RoomCode, request: Option<Uuid>) -> RoomKeys {
    let room = room(code);
    let mut text = String::with_capacity(512);
    text.push_str(&room);
    let mut ends = [text.len(); OF_ROOM];
    for (part, end) in PARTS.iter().zip(&mut ends[1..]) {
        text.push_str(&room);
        text.push_str(part);
        if let (":request:", Some(id)) = (*part, request) {
            text.push_str(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
        }
        *end = text.len();
    }
    RoomKeys { text, ends }
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
        assert_eq!(of_room(code, None).all()[11], feed(code));
    }

    #[test]
    fn the_keys_of_a_room_are_its_name_with_their_own() {
        let code = RoomCode::from_number(123_456).unwrap();
        let keys = of_room(code, Some(Uuid::from_u128(7)));
        let [room, messages, .., request, feed] = keys.all();
        assert_eq!(room, "room:{123456}");
        assert_eq!(messages, "room:{123456}:messages");
        let id = "00000000-0000-0000-0000-000000000007";
        assert_eq!(request, format!("room:{{123456}}:request:{id}"));
        assert_eq!(feed, "room:{123456}:feed");
    }
}
