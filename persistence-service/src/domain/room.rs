use std::sync::Arc;

use uuid::Uuid;

use super::{Element, Invalid, Position, RequestId, RoomCode, RoomName, UserId, Username};

/// How many different users may be in a room at once: 1 to 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seats(u32);

impl Seats {
    /// Where the creator does not say.
    pub const DEFAULT: Self = Self(10);

    /// Takes a number as it came.
    pub fn parse(field: &str, seats: u32) -> Result<Self, Invalid> {
        if !(1..=10_000).contains(&seats) {
            return Err(Invalid::new(field, "must be 1 to 10,000"));
        }
        Ok(Self(seats))
    }

    /// The number.
    pub fn number(self) -> u32 {
        self.0
    }
}

/// A room that is to be created.
#[derive(Clone, Debug)]
pub struct NewRoom {
    /// Its name.
    pub name: RoomName,
    /// Who creates it.
    pub created_by: Username,
    /// Its seats.
    pub max_participants: Seats,
    /// What makes a retry meet the same room.
    pub request_id: RequestId,
}

/// A living room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// Its code.
    pub code: RoomCode,
    /// Its name.
    pub name: String,
    /// Who created it.
    pub created_by: String,
    /// When it was created, in Unix milliseconds of the store's clock.
    pub create_time: u64,
    /// How many different users are present.
    pub participant_count: u32,
    /// How many may be.
    pub max_participants: u32,
    /// When it ends unless something happens, in Unix milliseconds.
    pub expire_time: u64,
    /// Where it is.
    pub position: Position,
}

/// A room with how much it holds.
#[derive(Clone, Debug)]
pub struct RoomStats {
    /// The room.
    pub room: Room,
    /// How many messages it keeps.
    pub message_count: u32,
    /// How long it will live if nothing happens, in milliseconds.
    pub ttl: u64,
}

/// A chat message as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Unique.
    pub id: Uuid,
    /// The author's id.
    pub user_id: String,
    /// The author's name when it was saved.
    pub username: String,
    /// As it came.
    pub text: String,
    /// When it was stored, in Unix milliseconds of the store's clock: its
    /// revision, in milliseconds.
    pub timestamp: u64,
    /// The room's revision of this message.
    pub revision: u64,
    /// The request id of the author's choice.
    pub request_id: Option<Uuid>,
}

/// A user who is present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    /// Their id.
    pub user_id: UserId,
    /// Their name.
    pub username: Username,
}

/// What a room holds, or what changed in it after a position; of one instant.
#[derive(Clone, Debug)]
pub struct CatchUp {
    /// The room, with the position of this instant.
    pub room: Room,
    /// How long the room will live if nothing happens, in milliseconds.
    pub ttl: u64,
    /// The position could not be served, and this is everything.
    pub reset: bool,
    /// Messages after the position have already fallen off the history.
    pub history_truncated: bool,
    /// Everybody present, in the order of their coming.
    pub participants: Vec<Participant>,
    /// Messages, oldest first.
    pub messages: Vec<Arc<Message>>,
    /// Elements in the order of the board.
    pub elements: Vec<Element>,
}
