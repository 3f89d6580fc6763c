//! A room's feed: what was missed, then what happens.

mod catch_ups;
mod hub;
mod mailbox;
mod watch;

pub use hub::{Hub, Mailboxes};
pub use mailbox::Backlog;
pub use watch::{Author, CloseReason, Frame, Watch};
