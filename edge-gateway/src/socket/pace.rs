//! Packets put together while there is much to write.
//!
//! A packet alone costs its socket's task a wake-up and the kernel a write, which is several
//! times what the packet itself costs. So while the gateway writes much, one that follows
//! another to the same socket within a tick waits for the tick's end, and goes with whatever
//! came meanwhile. Otherwise none waits.

use std::{
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::Notify,
    time::{Duration, Instant, sleep},
};

/// How long a packet may wait; the timer's own grain may double it.
const TICK: Duration = Duration::from_millis(2);

/// How many packets in a tick are much: a quarter of a core, if each is written alone.
const MUCH: u32 = 32;

/// What waits to be written to one socket.
#[derive(Debug)]
pub(super) struct Line<T> {
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    /// When something was last written.
    written: Option<Instant>,
    held: Vec<T>,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                written: None,
                held: Vec::new(),
            }),
        }
    }
}

impl<T> Line<T> {
    /// Writes an item now, or holds it; `true` if somebody has to flush the line later.
    pub(super) fn put(&self, item: T, now: Instant, much: bool, write: impl FnOnce(T)) -> bool {
        let mut state = self.state();
        if !state.held.is_empty() {
            state.held.push(item);
            return false;
        }
        let is_alone = state.written.is_none_or(|written| now - written >= TICK);
        if much && !is_alone {
            state.held.push(item);
            return true;
        }
        state.written = Some(now);
        // Under the lock, so that nothing overtakes it.
        write(item);
        false
    }

    /// Writes what is held.
    pub(super) fn flush(&self, now: Instant, write: impl FnMut(T)) {
        let mut state = self.state();
        let held = mem::take(&mut state.held);
        if !held.is_empty() {
            state.written = Some(now);
            held.into_iter().for_each(write);
        }
    }

    // A std mutex: nothing awaits while it is held.
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much is written, and which lines are to be flushed at the end of the tick: each at most
/// once.
#[derive(Debug)]
pub(crate) struct Pace<L> {
    begun: Instant,
    load: Mutex<Load>,
    lines: Mutex<Vec<L>>,
    held: Notify,
}

#[derive(Debug, Default)]
struct Load {
    tick: u128,
    packets: u32,
    packets_before: u32,
}

impl<L> Pace<L> {
    /// Nothing written yet.
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
            load: Mutex::default(),
            lines: Mutex::new(Vec::new()),
            held: Notify::new(),
        }
    }

    /// Counts a packet; whether this tick or the one before it has seen many.
    pub(super) fn is_much(&self, now: Instant) -> bool {
        let tick = (now - self.begun).as_nanos() / TICK.as_nanos();
        let mut load = self.load.lock().unwrap_or_else(PoisonError::into_inner);
        if tick != load.tick {
            load.packets_before = if tick == load.tick + 1 {
                load.packets
            } else {
                0
            };
            load.tick = tick;
            load.packets = 0;
        }
        load.packets += 1;
        load.packets.max(load.packets_before) >= MUCH
    }

    /// Has a line flushed at the end of the tick.
    pub(super) fn flush_later(&self, line: L) {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
        self.held.notify_one();
    }

    /// Flushes lines when their time has come, for ever.
    pub(super) async fn keep(&self, flush: impl Fn(L)) {
        loop {
            self.held.notified().await;
            sleep(TICK).await;
            let lines = mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner));
            lines.into_iter().for_each(&flush);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What has been written after these items were put, and how many flushes were asked for.
    fn put(line: &Line<u8>, items: &[u8], now: Instant, much: bool) -> (Vec<u8>, usize) {
        let mut written = Vec::new();
        let flushes = items
            .iter()
            .filter(|&&item| line.put(item, now, much, |item| written.push(item)))
            .count();
        (written, flushes)
    }

    #[test]
    fn nothing_waits_while_little_is_written() {
        let line = Line::default();
        let now = Instant::now();
        assert_eq!(put(&line, &[1, 2, 3], now, false), (vec![1, 2, 3], 0));
    }

    #[test]
    fn what_follows_within_a_tick_waits_and_keeps_its_order() {
        let line = Line::default();
        let now = Instant::now();
        assert_eq!(put(&line, &[1, 2, 3], now, true), (vec![1], 1));
        // Little by now, and yet it must not overtake.
        assert_eq!(put(&line, &[4], now + TICK, false), (vec![], 0));
        let mut written = Vec::new();
        line.flush(now + TICK, |item| written.push(item));
        assert_eq!(written, [2, 3, 4]);
        assert_eq!(put(&line, &[5], now + TICK, true), (vec![], 1));
        line.flush(now + TICK, |_| ());
        assert_eq!(put(&line, &[6], now + TICK * 2, true), (vec![6], 0));
    }

    #[test]
    fn much_is_many_packets_in_this_tick_or_the_one_before() {
        let pace = Pace::<()>::new();
        let packets = |at: Instant, count| (0..count).map(|_| pace.is_much(at)).last();
        let begun = pace.begun;
        assert_eq!(packets(begun, MUCH - 1), Some(false));
        assert_eq!(packets(begun, 1), Some(true));
        assert_eq!(packets(begun + TICK, 1), Some(true));
        assert_eq!(packets(begun + TICK * 2, 1), Some(false));
        assert_eq!(packets(begun + TICK * 4, 1), Some(false));
    }

    #[tokio::test(start_paused = true)]
    async fn held_lines_are_flushed_at_the_end_of_the_tick() {
        let pace = Pace::new();
        let (flushed, mut lines) = tokio::sync::mpsc::channel(2);
        let checking = async {
            let begun = Instant::now();
            for line in [1, 2] {
                pace.flush_later(line);
            }
            assert_eq!(lines.recv().await, Some(1));
            assert_eq!(lines.recv().await, Some(2));
            assert!(begun.elapsed() <= TICK * 2);
        };
        tokio::select! {
            () = pace.keep(|line| flushed.try_send(line).unwrap()) => {}
            () = checking => {}
        }
    }
}
