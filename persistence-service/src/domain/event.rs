use std::sync::Arc;

use super::{Element, Message, Participant, Position, SignalKind, UserId};

/// Something that happened in a room.
#[derive(Clone, Debug)]
pub struct Event {
    /// Where the room is after it. On a signal the revision is 0.
    pub position: Position,
    /// The room's revision before it; 0 on a signal.
    pub previous: u64,
    /// When the room ends unless something more happens, in Unix milliseconds.
    pub expire_time: u64,
    /// The session that caused it, or empty.
    pub session_id: String,
    /// What happened.
    pub kind: EventKind,
}

impl Event {
    /// When it happened, in Unix milliseconds of the store's clock.
    pub fn create_time(&self) -> u64 {
        self.position.revision / 1_000
    }

    /// About how many bytes it takes while it waits.
    pub fn size(&self) -> usize {
        let who = |participant: &Participant| {
            participant.user_id.as_str().len() + participant.username.as_str().len()
        };
        let kind = match &self.kind {
            EventKind::Message(message) => {
                message.text.len() + message.user_id.len() + message.username.len()
            }
            EventKind::Whiteboard(change) => change
                .elements
                .iter()
                .map(|element| size_of::<Element>() + element.id.len() + element.json.len())
                .sum(),
            EventKind::Joined(participant)
            | EventKind::Renamed(participant)
            | EventKind::Left(participant) => who(participant),
            EventKind::Signal { from, kind, json } => who(from) + kind.as_str().len() + json.len(),
            EventKind::Deleted | EventKind::Omitted => 0,
        };
        size_of::<Self>() + self.session_id.len() + kind
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub enum EventKind {
    /// A chat message was saved.
    Message(Arc<Message>),
    /// The board was changed.
    Whiteboard(Whiteboard),
    /// A user who was not present came.
    Joined(Participant),
    /// A present user has another name.
    Renamed(Participant),
    /// A user's last session ended.
    Left(Participant),
    /// The room was deleted.
    Deleted,
    /// Something too large to tell: readers catch up.
    Omitted,
    /// A transient signal, which has no place in the order.
    Signal {
        /// Who sent it, by which name.
        from: Participant,
        /// What it is.
        kind: SignalKind,
        /// A JSON object, as it came.
        json: String,
    },
}

/// A change of the board.
#[derive(Clone, Debug)]
pub struct Whiteboard {
    /// Who drew.
    pub user_id: UserId,
    /// What changed the board, tombstones among it.
    pub elements: Vec<Element>,
}
