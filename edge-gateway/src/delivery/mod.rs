//! What goes to one socket: packets and acknowledgements, counted and paced.

mod meter;
mod outbox;
mod pace;

pub(crate) use meter::{Meter, Meters};
pub(crate) use outbox::{Outbox, OutboxState, Reply};
pub(crate) use pace::Pace;
