//! Time: one clock for all, and a schedule that does not wait.

use std::{
    sync::OnceLock,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tokio::sync::mpsc;

/// Nanoseconds since the bench began.
pub(crate) fn now() -> u64 {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    u64::try_from(BEGAN.get_or_init(Instant::now).elapsed().as_nanos()).unwrap()
}

/// Tells the time at even distances, `count` times, whether somebody keeps up or not.
///
/// What is sent is when it was due: latencies are counted from there, so that a server
/// that stalls is charged for all who had to wait (no coordinated omission). A thread of
/// its own, because the runtime's timers are exact to a millisecond only.
pub(crate) fn schedule(
    per_second: f64,
    count: usize,
    mut due: impl FnMut(usize, u64) + Send + 'static,
) -> JoinHandle<()> {
    thread::spawn(move || {
        let began = now() + 1_000_000;
        for i in 0..count {
            let at = began + (i as f64 / per_second * 1e9) as u64;
            let wait = at.saturating_sub(now());
            if wait > 0 {
                thread::sleep(Duration::from_nanos(wait));
            }
            due(i, at);
        }
    })
}

/// A sender that the schedule may use: what does not fit is a generator that is broken.
pub(crate) fn order(to: &mpsc::Sender<u64>, at: u64) {
    to.try_send(at).expect("the generator keeps up");
}

/// Latencies, in microseconds up to a minute.
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, 60_000_000, 3).unwrap())
    }

    /// Records how long ago something was, in the terms of [`now`].
    pub(crate) fn record_since(&mut self, at: u64) {
        self.0
            .saturating_record(now().saturating_sub(at).div_ceil(1_000).max(1));
    }

    pub(crate) fn clear(&mut self) {
        self.0.reset();
    }

    /// A percentile in milliseconds.
    pub(crate) fn at(&self, percentile: f64) -> f64 {
        self.0.value_at_percentile(percentile) as f64 / 1e3
    }
}
