//! Changes of a socket that have arrived and that nobody has looked at yet.
//!
//! A whole board replaces the scene of a full client, and cuts the stroke that its user is
//! drawing. Whether a change is a stroke is known only once the room's pump has compared it
//! with the board. Until then it may be one, so the pump asks how many there are.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::time::Instant;

/// How many changes and pointers of one socket wait to be looked at.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unread(Arc<AtomicUsize>);

impl Unread {
    /// Counts an event that arrived at `came`, until the guard is dropped.
    pub(crate) fn count(&self, came: Instant) -> UnreadEvent {
        self.0.fetch_add(1, Ordering::Relaxed);
        UnreadEvent {
            unread: self.clone(),
            came,
        }
    }

    /// Whether there are any.
    pub(crate) fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// One event that waits. It counts once, wherever and whenever it is dropped: when it has
/// been looked at, is refused, runs into its deadline, or is never served.
#[derive(Debug)]
pub(crate) struct UnreadEvent {
    unread: Unread,
    /// When it arrived.
    pub(crate) came: Instant,
}

impl Drop for UnreadEvent {
    fn drop(&mut self) {
        self.unread.0.fetch_sub(1, Ordering::Relaxed);
    }
}
