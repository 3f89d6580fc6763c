//! The pure work that each message passes on its way, open to the benchmark alone.

use roomkeeper_proto::v1 as proto;

use crate::{
    contract::{ChatMessage, WhiteboardChange},
    feed::{board::Board, translate},
    values::RoomCode,
};

/// Parses and checks `["chat:message", payload]`; the length of its text.
pub fn parse_chat_message(packet: &str) -> usize {
    ChatMessage::parse(packet).map_or(0, |message| message.text.len())
}

/// Parses and checks `["whiteboard-change", payload]`; how many elements it has.
pub fn parse_whiteboard_change(packet: &str) -> usize {
    WhiteboardChange::parse(packet).map_or(0, |change| change.elements.len())
}

/// Turns an event of the feed into what sockets are sent; its size in memory.
pub fn translate_event(room: &RoomCode, event: proto::RoomEvent) -> usize {
    match translate::translate(room, event) {
        translate::Happening::Stored(stored) => stored.size(),
        translate::Happening::Signal { packet, .. } => packet.map_or(0, |packet| packet.len()),
    }
}

/// A board as it is kept for members who want to see it whole.
#[derive(Debug)]
pub struct MergedBoard(Board);

impl MergedBoard {
    /// A board that holds these elements.
    pub fn new(elements: &[proto::Element]) -> Self {
        Self(Board::new(elements))
    }

    /// Merges a change into it.
    pub fn merge(&mut self, change: &[proto::Element]) {
        self.0.apply(change);
    }
}
