//! What waits for one watch: bounded in number and in bytes, never waited for.

use std::{
    collections::VecDeque,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;

use crate::domain::{Event, Position};

/// How many events wait for one watch. A reader that is further behind is
/// served better by what has changed than by how.
const MOST_MAIL: usize = 256;

/// How many bytes of them: sixteen of the largest.
const MOST_BYTES: usize = 1 << 20;

/// How many bytes of events wait for all watches of one stream together: its
/// reader is one, however many rooms it watches.
const MOST_BYTES_BEHIND: usize = 16 << 20;

/// What reaches a watch.
#[derive(Clone, Debug)]
pub(super) enum Mail {
    /// Something happened.
    Event(Arc<Event>),
    /// Events may have been lost.
    Interrupted,
    /// The room is, or was a moment ago, here; `None`: it is gone.
    Stored(Option<Position>),
}

impl Mail {
    fn bytes(&self) -> usize {
        match self {
            Self::Event(event) => event.size(),
            Self::Interrupted | Self::Stored(_) => 0,
        }
    }
}

/// How many bytes of events wait for all watches of one stream.
#[derive(Clone, Debug, Default)]
pub struct Backlog(Arc<AtomicUsize>);

impl Backlog {
    fn take(&self, bytes: usize) -> bool {
        let more = |behind: usize| {
            let behind = behind.saturating_add(bytes);
            (behind <= MOST_BYTES_BEHIND).then_some(behind)
        };
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The mail of one watch.
///
/// What finds no place is not kept, and neither is what waits: the watch is told
/// that events are lost, and reads what changed instead.
#[derive(Debug)]
pub(super) struct Mailbox {
    // A std mutex: nothing is awaited while it is held.
    waiting: Mutex<Waiting>,
    filled: Notify,
    backlog: Backlog,
}

#[derive(Debug, Default)]
struct Waiting {
    mail: VecDeque<Mail>,
    bytes: usize,
    /// The one piece of mail says that others are lost; more need not be kept.
    overflowed: bool,
}

impl Mailbox {
    pub(super) fn new(backlog: Backlog) -> Self {
        Self {
            waiting: Mutex::default(),
            filled: Notify::new(),
            backlog,
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a piece of mail.
    pub(super) fn put(&self, mail: Mail) {
        let bytes = mail.bytes();
        let mut waiting = self.waiting();
        if waiting.overflowed {
            return;
        }
        let fits = waiting.mail.len() < MOST_MAIL
            && waiting.bytes + bytes <= MOST_BYTES
            && self.backlog.take(bytes);
        if fits {
            waiting.bytes += bytes;
            waiting.mail.push_back(mail);
        } else {
            let lost = mem::take(&mut *waiting);
            self.backlog.give_back(lost.bytes);
            waiting.overflowed = true;
            waiting.mail.push_back(Mail::Interrupted);
        }
        drop(waiting);
        self.filled.notify_one();
    }

    /// The oldest piece, now or when it comes. To be asked by one watch only.
    pub(super) async fn next(&self) -> Mail {
        loop {
            if let Some(mail) = self.next_now() {
                return mail;
            }
            self.filled.notified().await;
        }
    }

    /// The oldest piece, if there is one now.
    pub(super) fn next_now(&self) -> Option<Mail> {
        let mut waiting = self.waiting();
        let mail = waiting.mail.pop_front()?;
        let bytes = mail.bytes();
        waiting.bytes -= bytes;
        waiting.overflowed = false;
        drop(waiting);
        self.backlog.give_back(bytes);
        Some(mail)
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let left = mem::take(&mut *self.waiting());
        self.backlog.give_back(left.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::EventKind;

    fn event(session: usize) -> Mail {
        Mail::Event(Arc::new(Event {
            position: Position::ZERO,
            previous: 0,
            expire_time: 0,
            session_id: "s".repeat(session),
            kind: EventKind::Omitted,
        }))
    }

    fn behind(backlog: &Backlog) -> usize {
        backlog.0.load(Ordering::Relaxed)
    }

    #[test]
    fn mail_that_finds_no_place_frees_what_waits_and_says_that_it_is_lost() {
        let backlog = Backlog::default();
        let mailbox = Mailbox::new(backlog.clone());
        for _ in 0..MOST_MAIL {
            mailbox.put(event(1));
        }
        assert!(behind(&backlog) > 0);
        mailbox.put(event(1));
        assert_eq!(behind(&backlog), 0);
        mailbox.put(event(1));
        assert!(matches!(mailbox.next_now(), Some(Mail::Interrupted)));
        assert!(mailbox.next_now().is_none());
        mailbox.put(event(1));
        assert!(matches!(mailbox.next_now(), Some(Mail::Event(_))));
    }

    #[test]
    fn a_few_large_events_are_as_many_as_fit() {
        let mailbox = Mailbox::new(Backlog::default());
        for _ in 0..MOST_BYTES / (64 << 10) {
            mailbox.put(event(64 << 10));
        }
        assert!(matches!(mailbox.next_now(), Some(Mail::Interrupted)));
    }

    #[test]
    fn the_watches_of_one_stream_share_its_bytes_and_give_them_back() {
        let backlog = Backlog::default();
        let mailboxes: Vec<_> = (0..64).map(|_| Mailbox::new(backlog.clone())).collect();
        for mailbox in &mailboxes {
            for _ in 0..8 {
                mailbox.put(event(64 << 10));
            }
        }
        assert!(behind(&backlog) <= MOST_BYTES_BEHIND);
        let lost = mailboxes
            .iter()
            .filter(|mailbox| matches!(mailbox.next_now(), Some(Mail::Interrupted)))
            .count();
        assert!((1..64).contains(&lost), "{lost}");
        drop(mailboxes);
        assert_eq!(behind(&backlog), 0);
    }
}
