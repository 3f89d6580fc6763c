//! Who watches which room.
//!
//! The store tells each event of a watched room once; here it reaches the
//! mailbox of each watch of that room. A mailbox that is full is emptied, and
//! its watch catches up from the store instead: nobody buffers for a slow reader.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::{
    catch_ups::CatchUps,
    mailbox::{Backlog, Mail, Mailbox},
};
use crate::{
    domain::{Event, RoomCode},
    repository::{FeedSink, RepositoryError, RoomRepository},
};

/// How often the watched rooms' positions are compared with the stored ones: an
/// event that was lost and had no successor, or a room that went without a word,
/// is found within five seconds.
const COMPARE_INTERVAL: Duration = Duration::from_secs(4);

/// How many rooms are compared in one step.
const COMPARED_AT_ONCE: usize = 500;

/// The mailboxes of each room's watches, with what tells them apart.
type ByRoom = HashMap<RoomCode, Vec<(u64, Arc<Mailbox>)>>;

/// The mailboxes of all watches; where the store delivers.
#[derive(Debug, Default)]
pub struct Mailboxes {
    // A std mutex: nothing is awaited while it is held.
    rooms: Mutex<ByRoom>,
    next_id: AtomicU64,
}

impl Mailboxes {
    fn rooms(&self) -> MutexGuard<'_, ByRoom> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, code: RoomCode, mail: &Mail) -> bool {
        let rooms = self.rooms();
        let Some(mailboxes) = rooms.get(&code) else {
            return false;
        };
        for (_, mailbox) in mailboxes {
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
        for (_, mailbox) in self.rooms().values().flatten() {
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
    pub(super) catch_ups: Arc<CatchUps>,
    pub(super) history_limit: u32,
    mailboxes: Arc<Mailboxes>,
}

impl Hub {
    /// A hub over this store, which delivers to these mailboxes. Catching up
    /// gives at most `message_limit` messages; a member who joins is shown the newest
    /// `history_limit`. All watches end with `draining`.
    pub fn new(
        repository: Arc<dyn RoomRepository>,
        mailboxes: Arc<Mailboxes>,
        message_limit: usize,
        history_limit: usize,
        draining: CancellationToken,
    ) -> Self {
        Self {
            history_limit: u32::try_from(history_limit).unwrap_or(u32::MAX),
            catch_ups: Arc::new(CatchUps::new(repository.clone(), message_limit)),
            repository,
            draining,
            mailboxes,
        }
    }

    /// Opens a mailbox for a room. Its mail comes once the store listens.
    pub(super) fn subscribe(&self, code: RoomCode, backlog: Backlog) -> Subscription {
        let mailbox = Arc::new(Mailbox::new(backlog));
        let id = self.mailboxes.next_id.fetch_add(1, Ordering::Relaxed);
        self.mailboxes
            .rooms()
            .entry(code)
            .or_default()
            .push((id, mailbox.clone()));
        Subscription {
            hub: self.clone(),
            code,
            id,
            mailbox,
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
            self.compare_once().await;
        }
    }

    /// Compares each room for itself: one that cannot be read now is compared the next time.
    async fn compare_once(&self) {
        for codes in self.mailboxes.watched().chunks(COMPARED_AT_ONCE) {
            let positions = self.repository.positions(codes).await;
            // What was told before the positions were read is in the mailboxes
            // before them, so a reader that is behind a position has lost something.
            let settled = self.repository.settle_all(codes).await;
            for (code, position) in codes.iter().zip(positions) {
                let stored = match position {
                    Ok(stored) => stored,
                    // Its readers read it, and are told what is wrong with it.
                    Err(RepositoryError::Damaged(_)) => None,
                    Err(error) => {
                        tracing::debug!(room.code = %code, %error, "a room was not compared");
                        continue;
                    }
                };
                if settled.contains(code) {
                    self.mailboxes.put(*code, &Mail::Stored(stored));
                }
            }
        }
    }
}

/// A mailbox of one watch; closed when dropped.
#[derive(Debug)]
pub(super) struct Subscription {
    hub: Hub,
    code: RoomCode,
    id: u64,
    pub(super) mailbox: Arc<Mailbox>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut rooms = self.hub.mailboxes.rooms();
        let Some(mailboxes) = rooms.get_mut(&self.code) else {
            return;
        };
        mailboxes.retain(|(id, _)| *id != self.id);
        if mailboxes.is_empty() {
            rooms.remove(&self.code);
            drop(rooms);
            self.hub.repository.unlisten(self.code);
        }
    }
}
