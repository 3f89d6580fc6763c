//! The store's time.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, UNIX_EPOCH},
};

/// A clock that never goes back, neither while the program runs nor over its
/// restarts: revisions, epochs and the ends of rooms are made of it.
///
/// It follows the system's clock where that is ahead. Where that was set back,
/// it goes on from where it was, at the pace of a monotonic clock, so that what
/// lives for a while still ends after that while.
#[derive(Debug)]
pub(super) struct Clock {
    last: Mutex<(Instant, u64)>,
}

impl Clock {
    /// A clock that begins after this instant, in Unix microseconds.
    pub(super) fn after(instant: u64) -> Self {
        Self {
            last: Mutex::new((Instant::now(), instant + 1)),
        }
    }

    /// Unix microseconds.
    pub(super) fn now(&self) -> u64 {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let instant = Instant::now();
        let passed = microseconds(instant.duration_since(last.0));
        let now = system_time().max(last.1 + passed);
        *last = (instant, now);
        now
    }

    /// Unix milliseconds.
    pub(super) fn milliseconds(&self) -> u64 {
        self.now() / 1_000
    }
}

/// So many microseconds, for what fits a Unix time.
pub(super) fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 2)
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the store's clock, which every other time comes from"
)]
fn system_time() -> u64 {
    // A system whose clock stands before 1970 has no time to tell.
    std::time::SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, microseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_clock_that_was_set_back_is_not_followed() {
        let future = system_time() + 3_600_000_000;
        let clock = Clock::after(future);
        let first = clock.now();
        assert!(first > future);
        let second = clock.now();
        assert!(second >= first && second < future + 60_000_000);
    }

    #[test]
    fn a_system_clock_that_is_ahead_is_followed() {
        let before = system_time();
        assert!(Clock::after(0).now() >= before);
    }
}
