//! Packets to one socket put together.
//!
//! A packet alone costs its socket's task a wake-up and the kernel a write, which is several
//! times what the packet itself costs. So each waits until what is to be done at this moment
//! has been done, and goes with whatever that brought for the same socket. No clock is
//! involved: where nothing else is to be done, nothing waits.

use std::{
    mem,
    sync::{Mutex, PoisonError},
};

use tokio::{sync::Notify, task::yield_now};

/// How often everything that is ready is let go first, what has been received meanwhile
/// counted. By measurement: once carries a little less under load, four times take longer
/// without any.
const ROUNDS: usize = 2;

/// What waits to be written to one socket. Whoever puts something in has counted its bytes.
#[derive(Debug)]
pub(super) struct SendQueue<T> {
    held: Mutex<Vec<T>>,
}

impl<T> Default for SendQueue<T> {
    fn default() -> Self {
        Self {
            held: Mutex::default(),
        }
    }
}

impl<T> SendQueue<T> {
    /// Puts an item behind the others; `true` if it is the first, so that somebody has to
    /// flush the line.
    pub(super) fn put(&self, item: T) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.push(item);
        held.len() == 1
    }

    /// Writes what is there, in order.
    pub(super) fn flush(&self, write: impl FnMut(T)) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that nothing overtakes it.
        mem::take(&mut *held).into_iter().for_each(write);
    }
}

/// The lines in which something waits, each once. One task flushes them all: that takes it
/// about a microsecond a packet, a third of what the sockets take with it.
#[derive(Debug)]
pub(crate) struct Pace<L> {
    waiting: Mutex<Vec<L>>,
    some: Notify,
}

impl<L> Default for Pace<L> {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            some: Notify::new(),
        }
    }
}

impl<L> Pace<L> {
    /// Has a line flushed soon.
    pub(super) fn flush_soon(&self, line: L) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(line);
        if waiting.len() == 1 {
            self.some.notify_one();
        }
    }

    /// Flushes lines, for ever.
    pub(crate) async fn keep(&self, flush: impl Fn(L)) {
        loop {
            self.some.notified().await;
            for _ in 0..ROUNDS {
                yield_now().await;
            }
            let waiting =
                mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            waiting.into_iter().for_each(&flush);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_keeps_its_order_and_is_flushed_once_for_all_that_wait() {
        let line = SendQueue::default();
        assert_eq!([1, 2, 3].map(|item| line.put(item)), [true, false, false]);
        let mut written = Vec::new();
        line.flush(|item| written.push(item));
        assert!(line.put(4));
        line.flush(|item| written.push(item));
        line.flush(|_| panic!("nothing is there"));
        assert_eq!(written, [1, 2, 3, 4]);
    }

    #[tokio::test]
    async fn lines_are_flushed_when_what_is_ready_has_been_done() {
        let pace = Pace::default();
        let done = Mutex::new(Vec::new());
        let working = async {
            pace.flush_soon("first");
            yield_now().await;
            done.lock().unwrap().push("work");
            pace.flush_soon("second");
            while done.lock().unwrap().len() < 3 {
                yield_now().await;
            }
        };
        tokio::select! {
            () = pace.keep(|line| done.lock().unwrap().push(line)) => {}
            () = working => {}
        }
        assert_eq!(*done.lock().unwrap(), ["work", "first", "second"]);
    }
}
