//! A room's feed: what was missed, then what happens.

mod hub;
mod watch;

pub use hub::{Hub, Mailboxes};
pub use watch::{CloseReason, Frame, Watch};
