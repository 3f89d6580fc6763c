//! Who watches which room.
//!
//! The store tells each event of a watched room once; here it reaches the
//! mailbox of each watch of that room. A mailbox that is full is marked, and
//! its watch catches up from the store instead: nobody buffers for a slow reader.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::mpsc, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{Event, Position, RoomCode},
    repository::{FeedSink, RepositoryError, RoomRepository},
};

/// How many events wait for one watch. A reader that is further behind is
/// served better by what has changed than by how.
const MAILBOX: usize = 256;

/// How often the watched rooms' positions are compared with the stored ones:
/// an event that was lost and had no successor is missed for this long at most.
const COMPARE_INTERVAL: Duration = Duration::from_secs(5);

/// How many rooms are compared in one step.
const COMPARED_AT_ONCE: usize = 500;

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

#[derive(Debug)]
struct Mailbox {
    id: u64,
    mail: mpsc::Sender<Mail>,
    overflowed: Arc<AtomicBool>,
}

impl Mailbox {
    fn put(&self, mail: Mail) {
        if self.mail.try_send(mail).is_err() {
            self.overflowed.store(true, Ordering::Release);
        }
    }
}

/// The mailboxes of all watches; where the store delivers.
#[derive(Debug, Default)]
pub struct Mailboxes {
    // A std mutex: nothing is awaited while it is held.
    rooms: Mutex<HashMap<RoomCode, Vec<Mailbox>>>,
    next_id: AtomicU64,
}

impl Mailboxes {
    fn rooms(&self) -> MutexGuard<'_, HashMap<RoomCode, Vec<Mailbox>>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, code: RoomCode, mail: &Mail) -> bool {
        let rooms = self.rooms();
        let Some(mailboxes) = rooms.get(&code) else {
            return false;
        };
        for mailbox in mailboxes {
            mailbox.put(mail.clone());
        }
        true
    }
}

impl FeedSink for Mailboxes {
    fn event(&self, code: RoomCode, event: Arc<Event>) -> bool {
        self.put(code, &Mail::Event(event))
    }

    fn interrupted(&self) {
        for mailbox in self.rooms().values().flatten() {
            mailbox.put(Mail::Interrupted);
        }
    }

    fn watched(&self) -> Vec<RoomCode> {
        self.rooms().keys().copied().collect()
    }

    fn is_watched(&self, code: RoomCode) -> bool {
        self.rooms().contains_key(&code)
    }
}

/// Lets readers watch rooms.
#[derive(Clone, Debug)]
pub struct Hub {
    pub(super) repository: Arc<dyn RoomRepository>,
    pub(crate) draining: CancellationToken,
    pub(super) message_limit: usize,
    mailboxes: Arc<Mailboxes>,
}

impl Hub {
    /// A hub over this store, which delivers to these mailboxes. Catching up
    /// gives at most `message_limit` messages. All watches end with `draining`.
    pub fn new(
        repository: Arc<dyn RoomRepository>,
        mailboxes: Arc<Mailboxes>,
        message_limit: usize,
        draining: CancellationToken,
    ) -> Self {
        Self {
            repository,
            draining,
            message_limit,
            mailboxes,
        }
    }

    /// Opens a mailbox for a room. Its mail comes once the store listens.
    pub(super) fn subscribe(&self, code: RoomCode) -> Subscription {
        let (mail, inbox) = mpsc::channel(MAILBOX);
        let overflowed = Arc::new(AtomicBool::new(false));
        let id = self.mailboxes.next_id.fetch_add(1, Ordering::Relaxed);
        let mailbox = Mailbox {
            id,
            mail,
            overflowed: overflowed.clone(),
        };
        self.mailboxes
            .rooms()
            .entry(code)
            .or_default()
            .push(mailbox);
        Subscription {
            hub: self.clone(),
            code,
            id,
            inbox,
            overflowed,
        }
    }

    /// Compares the watched rooms with the store from time to time, until the
    /// hub drains. An event that was lost has no successor to reveal it in a
    /// room where nothing more happens.
    pub async fn compare(self) {
        let mut ticks = tokio::time::interval(COMPARE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.draining.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.compare_once().await {
                tracing::debug!(%error, "watched rooms were not compared with the store");
            }
        }
    }

    async fn compare_once(&self) -> Result<(), RepositoryError> {
        for codes in self.mailboxes.watched().chunks(COMPARED_AT_ONCE) {
            let positions = self.repository.positions(codes).await?;
            // What was told before the positions were read is in the mailboxes
            // before them, so a reader that is behind a position has lost something.
            if let Some(code) = codes.first() {
                self.repository.settle(*code).await?;
            }
            for (code, position) in codes.iter().zip(positions) {
                self.mailboxes.put(*code, &Mail::Stored(position));
            }
        }
        Ok(())
    }
}

/// A mailbox of one watch; closed when dropped.
#[derive(Debug)]
pub(super) struct Subscription {
    hub: Hub,
    code: RoomCode,
    id: u64,
    pub(super) inbox: mpsc::Receiver<Mail>,
    overflowed: Arc<AtomicBool>,
}

impl Subscription {
    /// Whether mail has been lost since this was asked last.
    pub(super) fn has_overflowed(&self) -> bool {
        self.overflowed.swap(false, Ordering::AcqRel)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut rooms = self.hub.mailboxes.rooms();
        let Some(mailboxes) = rooms.get_mut(&self.code) else {
            return;
        };
        mailboxes.retain(|mailbox| mailbox.id != self.id);
        if mailboxes.is_empty() {
            rooms.remove(&self.code);
            drop(rooms);
            self.hub.repository.unlisten(self.code);
        }
    }
}
