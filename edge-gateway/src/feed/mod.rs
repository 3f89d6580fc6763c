//! Rooms as they live: what persistence-service tells of them, brought to sockets.
//!
//! One pump per room with a local member hears the room's events on a stream that all
//! rooms share, turns each into a packet once, and hands it to everybody here. What is
//! decided is decided in `live`, which knows no socket and no clock of its own.

pub(crate) mod board;
mod board_pace;
mod live;
mod pump;
mod registry;
mod ring;
mod stream;
pub(crate) mod translate;
mod unread;

pub(crate) use board_pace::BoardPace;
pub(crate) use live::{ChangeAnswer, Joiner, NewChange, Refusal};
pub(crate) use pump::{JoinRequest, PumpHandle};
pub(crate) use registry::Registry;
pub(crate) use unread::{Unread, UnreadEvent};

/// A socket's membership of a room, on this gateway.
pub(crate) type MemberKey = u64;
