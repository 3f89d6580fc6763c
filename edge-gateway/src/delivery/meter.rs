//! How much waits to be sent to one socket, in bytes.
//!
//! Socketioxide bounds what waits by packets; a packet may be a whole board. So what goes
//! in is counted here, and what comes out where the bytes leave: at the connection, or in
//! the answer to a poll.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio_util::sync::CancellationToken;

/// What may wait besides the room's state as a whole, which counts as one packet.
const MAX_BEHIND: usize = 1 << 20;

/// What may wait in all: three of the largest boards.
const MAX_WAITING: usize = 32 << 20;

/// One Engine.IO session's queue, and its place among all of them.
#[derive(Debug)]
pub(crate) struct Meter {
    waiting: AtomicUsize,
    /// Of what waits, what need not fit in [`MAX_BEHIND`]: the largest packet, and states.
    allowance: AtomicUsize,
    is_cut: AtomicBool,
    connection: OnceLock<CancellationToken>,
    sid: OnceLock<String>,
    meters: Arc<Mutex<HashMap<String, Weak<Meter>>>>,
    sessions: Arc<AtomicUsize>,
}

impl Meter {
    /// Counts a packet that is about to be queued; `false` if that is too much. A `state`
    /// is what a joiner is shown at once.
    pub(crate) fn add(&self, bytes: usize, state: bool) -> bool {
        let before = self.waiting.fetch_add(bytes, Ordering::Relaxed);
        if before == 0 {
            self.allowance.store(0, Ordering::Relaxed);
        }
        let allowance = if state {
            self.allowance.fetch_add(bytes, Ordering::Relaxed) + bytes
        } else {
            self.allowance
                .fetch_max(bytes, Ordering::Relaxed)
                .max(bytes)
        };
        let waiting = before + bytes;
        waiting <= MAX_WAITING && waiting.saturating_sub(allowance) <= MAX_BEHIND
    }

    /// Counts bytes that have left.
    ///
    /// Framing leaves too and was never counted, so this never goes below nothing.
    pub(crate) fn sent(&self, bytes: usize) {
        let less = |waiting: usize| Some(waiting.saturating_sub(bytes));
        // The closure always answers, so this always succeeds.
        let _ = self
            .waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Ends the session's connection, however much waits; `true` the first time.
    pub(crate) fn cut(&self) -> bool {
        if let Some(connection) = self.connection.get() {
            connection.cancel();
        }
        !self.is_cut.swap(true, Ordering::Relaxed)
    }

    /// Whether it has been cut: its polls are no longer answered.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Relaxed)
    }

    /// Names the connection that carries the session from now on.
    pub(crate) fn carried_by(&self, connection: CancellationToken) {
        // A session is upgraded once; a second try fails at the Engine.IO level.
        let _ = self.connection.set(connection);
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
        if let Some(sid) = self.sid.get() {
            self.meters
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(sid);
        }
    }
}

/// The meters of all sessions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meters {
    by_sid: Arc<Mutex<HashMap<String, Weak<Meter>>>>,
    sessions: Arc<AtomicUsize>,
}

impl Meters {
    /// A meter for a session that is being opened; `None` if there are `most` already.
    pub(crate) fn open(&self, most: usize) -> Option<Arc<Meter>> {
        if self.sessions.fetch_add(1, Ordering::Relaxed) >= most {
            self.sessions.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Arc::new(Meter {
            waiting: AtomicUsize::new(0),
            allowance: AtomicUsize::new(0),
            is_cut: AtomicBool::new(false),
            connection: OnceLock::new(),
            sid: OnceLock::new(),
            meters: self.by_sid.clone(),
            sessions: self.sessions.clone(),
        }))
    }

    /// Remembers a meter by its session's id, for the requests that follow.
    pub(crate) fn remember(&self, sid: &str, meter: &Arc<Meter>) {
        if meter.sid.set(sid.to_owned()).is_ok() {
            let mut by_sid = self.by_sid.lock().unwrap_or_else(PoisonError::into_inner);
            by_sid.insert(sid.to_owned(), Arc::downgrade(meter));
        }
    }

    /// The meter of a session that polls.
    pub(crate) fn find(&self, sid: &str) -> Option<Arc<Meter>> {
        let by_sid = self.by_sid.lock().unwrap_or_else(PoisonError::into_inner);
        by_sid.get(sid).and_then(Weak::upgrade)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_large_packet_may_wait_and_little_behind_it() {
        let meter = Meters::default().open(1).unwrap();
        assert!(meter.add(8 << 20, false));
        assert!(meter.add(MAX_BEHIND, false));
        assert!(!meter.add(1, false));
    }

    #[test]
    fn what_has_left_makes_place() {
        let meter = Meters::default().open(1).unwrap();
        for _ in 0..100 {
            assert!(meter.add(MAX_BEHIND, false));
            meter.sent(MAX_BEHIND + 14);
        }
    }

    #[test]
    fn states_count_as_one_packet_up_to_a_point() {
        let meter = Meters::default().open(1).unwrap();
        for _ in 0..3 {
            assert!(meter.add(2 << 20, true));
            assert!(meter.add(8 << 20, true));
        }
        assert!(!meter.add(8 << 20, true));
    }

    #[test]
    fn a_session_that_ends_leaves_nothing_behind() {
        let meters = Meters::default();
        let meter = meters.open(1).unwrap();
        meters.remember("sid", &meter);
        assert!(meters.find("sid").is_some());
        assert!(meters.open(1).is_none());
        drop(meter);
        assert!(meters.find("sid").is_none());
        assert!(meters.by_sid.lock().unwrap().is_empty());
        assert!(meters.open(1).is_some());
    }
}
