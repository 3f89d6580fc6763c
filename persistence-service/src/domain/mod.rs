//! What a room is made of: values that are valid by construction.
//!
//! Nothing here knows a transport or a store.

mod element;
mod event;
mod names;
mod position;
mod request;
mod room;

pub(crate) use element::is_tombstone;
pub use element::{
    BOARD_LIMITS, BadElement, BadFields, BoardLimits, CheckedElements, Element, ElementChange,
    MAX_SAFE_INTEGER, in_board_order,
};
pub use event::{Event, EventKind, Whiteboard};
pub use names::{
    ChatText, Invalid, RequestId, RoomCode, RoomName, SessionId, SignalKind, UserId, Username,
};
pub use position::Position;
pub use request::Request;
pub use room::{CatchUp, Message, NewRoom, Participant, Room, RoomStats, Seats};
