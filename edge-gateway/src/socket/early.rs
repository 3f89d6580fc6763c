//! Events that a socket sends for a room before its first `join`.
//!
//! The npm client sends what it buffered while it was away before its `connect` handler can
//! join again. So these events wait for that join, and are then served in the order sent.

use std::collections::VecDeque;

use tokio::time::{Duration, Instant};

use super::inbox::Work;
use crate::contract::{ClientEvent, room_of};

/// How long an event waits for the join to arrive: a client that joins at all does so at
/// once, or after a round trip or two.
const WAIT: Duration = Duration::from_millis(500);

/// How many events wait at most: what a person does while a connection is away for a moment.
const MAX_EVENTS: usize = 64;

/// How many bytes they have together at most: a socket that never joins costs no more.
const MAX_BYTES: usize = 256 << 10;

/// What waits for the first join of a socket.
#[derive(Debug)]
pub(super) struct Early<T = Box<Work>> {
    /// Whether the first join has been served: from then on nothing waits.
    is_over: bool,
    waiting: VecDeque<Waiting<T>>,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    until: Instant,
    bytes: usize,
    item: T,
}

impl<T> Default for Early<T> {
    fn default() -> Self {
        Self {
            is_over: false,
            waiting: VecDeque::new(),
            bytes: 0,
        }
    }
}

impl Early {
    /// Has an event wait; returns it if it is to be served now.
    pub(super) fn hold(&mut self, work: Box<Work>) -> Option<Box<Work>> {
        if self.is_over || !needs_join(&work) {
            return Some(work);
        }
        self.push(work.received, work.text.len(), work)
    }
}

impl<T> Early<T> {
    fn push(&mut self, received: Instant, bytes: usize, item: T) -> Option<T> {
        if self.waiting.len() >= MAX_EVENTS || self.bytes + bytes > MAX_BYTES {
            return Some(item);
        }
        self.bytes += bytes;
        self.waiting.push_back(Waiting {
            until: received + WAIT,
            bytes,
            item,
        });
        None
    }

    /// Until when the event that waits longest may wait.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.front().map(|waiting| waiting.until)
    }

    /// Takes the events whose time is over at `now`, in the order sent.
    pub(super) fn late(&mut self, now: Instant) -> Vec<T> {
        let count = self.waiting.partition_point(|waiting| waiting.until <= now);
        self.take(count)
    }

    /// Ends the wait: the first join has been served, or none can come. Takes what waited, in
    /// the order sent.
    pub(super) fn end(&mut self) -> Vec<T> {
        self.is_over = true;
        let items = self.take(self.waiting.len());
        self.waiting.shrink_to_fit();
        items
    }

    fn take(&mut self, count: usize) -> Vec<T> {
        let taken: Vec<Waiting<T>> = self.waiting.drain(..count).collect();
        self.bytes -= taken.iter().map(|waiting| waiting.bytes).sum::<usize>();
        taken.into_iter().map(|waiting| waiting.item).collect()
    }
}

/// Whether an event is for a room that the socket must have joined. An event that names no
/// room is not: it is refused whatever comes.
fn needs_join(work: &Work) -> bool {
    match work.event {
        ClientEvent::ChatMessage
        | ClientEvent::WhiteboardChange
        | ClientEvent::Typing
        | ClientEvent::StopTyping
        | ClientEvent::Pointer => !work.has_binary && room_of(&work.text).is_some(),
        ClientEvent::Join | ClientEvent::Leave | ClientEvent::Unknown => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn events_wait_for_half_a_second_from_their_arrival() {
        let begun = Instant::now();
        let mut early = Early::default();
        assert_eq!(early.push(begun, 1, "a"), None);
        assert_eq!(early.push(begun + after(100), 1, "b"), None);
        assert_eq!(early.push(begun + after(100), 1, "c"), None);
        assert_eq!(early.deadline(), Some(begun + WAIT));
        assert!(early.late(begun + after(499)).is_empty());
        assert_eq!(early.late(begun + after(599)), ["a"]);
        assert_eq!(early.late(begun + after(600)), ["b", "c"]);
        assert_eq!((early.deadline(), early.bytes), (None, 0));
    }

    #[test]
    fn what_waited_is_taken_in_the_order_sent() {
        let mut early = Early::default();
        for item in 0..10 {
            assert_eq!(early.push(Instant::now(), 1, item), None);
        }
        assert_eq!(early.end(), Vec::from_iter(0..10));
        assert!(early.is_over && early.waiting.capacity() == 0);
    }

    #[test]
    fn at_most_64_events_and_256_kib_wait() {
        let now = Instant::now();
        let mut early = Early::default();
        for item in 0..MAX_EVENTS {
            assert_eq!(early.push(now, 1, item), None);
        }
        assert_eq!(early.push(now, 1, 64), Some(64));
        assert_eq!(early.late(now + WAIT).len(), MAX_EVENTS);

        assert_eq!(early.push(now, MAX_BYTES, 1), None);
        assert_eq!(early.push(now, 1, 2), Some(2));
        assert_eq!(early.late(now + WAIT), [1]);
        assert_eq!(early.push(now, MAX_BYTES + 1, 3), Some(3));
        assert_eq!(early.push(now, MAX_BYTES, 4), None);
    }
}
