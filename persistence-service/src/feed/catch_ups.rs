//! Reads what watches have missed: few at a time, and once for all who wait.
//!
//! When a connection breaks, every watch of the process is behind at once. What
//! they read is then bounded, so that calls which somebody waits for are not
//! queued behind thousands of catch-ups; and a read that has not been sent yet
//! is everybody's who wants the same of the same room.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Semaphore, oneshot};

use crate::{
    domain::{CatchUp, RoomCode},
    repository::{Answer, Damage, RepositoryError, RoomRepository, Since},
};

/// How many are read at once.
const AT_ONCE: usize = 32;

/// What a watch gets; shared with others.
type Read = Answer<Arc<CatchUp>>;

/// Reads for all watches.
#[derive(Debug)]
pub(super) struct CatchUps {
    repository: Arc<dyn RoomRepository>,
    message_limit: usize,
    permits: Semaphore,
    // A std mutex: nothing is awaited while it is held.
    waiting: Mutex<HashMap<Wanted, Vec<oneshot::Sender<Read>>>>,
    damage: Damage,
}

/// What is to be read; who wants the same gets the same.
type Wanted = (RoomCode, Since);

/// A read that is served. If it panics, whoever waits for it is answered, and the next
/// one who wants the same begins anew.
struct Serving<'a>(&'a CatchUps, Wanted);

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        // Else nobody waits, or another task serves them already.
        if std::thread::panicking() {
            let Self(catch_ups, wanted) = self;
            catch_ups.waiting().remove(wanted);
        }
    }
}

impl CatchUps {
    /// Reads from this store, at most so many messages.
    pub(super) fn new(repository: Arc<dyn RoomRepository>, message_limit: usize) -> Self {
        Self {
            repository,
            message_limit,
            permits: Semaphore::new(AT_ONCE),
            waiting: Mutex::default(),
            damage: Damage::default(),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Wanted, Vec<oneshot::Sender<Read>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a room by a command that is sent after this call, so a caller who
    /// listens to the room misses nothing. When it returns, what was told before
    /// the read has reached the caller's mailbox.
    pub(super) async fn read(self: &Arc<Self>, code: RoomCode, since: Since) -> Read {
        let wanted = (code, since);
        let (answer, read) = oneshot::channel();
        let is_first = {
            let mut waiting = self.waiting();
            let is_first = !waiting.contains_key(&wanted);
            waiting.entry(wanted).or_default().push(answer);
            is_first
        };
        if is_first {
            // A task of its own: the caller may go while others wait.
            tokio::spawn(self.clone().serve(wanted));
        }
        read.await
            .unwrap_or_else(|_| Err(RepositoryError::Unavailable("no catch-up came".to_owned())))
    }

    /// Reads again and again, one after another, as long as somebody waits.
    async fn serve(self: Arc<Self>, wanted: Wanted) {
        let _serving = Serving(&self, wanted);
        loop {
            // It is never closed.
            let Ok(_permit) = self.permits.acquire().await else {
                return;
            };
            let answers = {
                let mut waiting = self.waiting();
                let mut answers = waiting.get_mut(&wanted).map(mem::take).unwrap_or_default();
                answers.retain(|answer| !answer.is_closed());
                if answers.is_empty() {
                    waiting.remove(&wanted);
                    return;
                }
                answers
            };
            let read = self.read_once(wanted).await;
            for answer in answers {
                // Who has gone meanwhile needs no answer.
                drop(answer.send(read.clone()));
            }
        }
    }

    async fn read_once(&self, (code, since): Wanted) -> Read {
        let read = self
            .repository
            .catch_up(code, since, self.message_limit)
            .await;
        match &read {
            Ok(_) => self.damage.mended(code),
            Err(RepositoryError::Damaged(problem)) => {
                self.damage.found(code, "a room cannot be read", problem);
            }
            Err(
                RepositoryError::Unavailable(_)
                | RepositoryError::OutcomeUnknown(_)
                | RepositoryError::Full,
            ) => {}
        }
        let read = read?;
        self.repository.settle(code).await?;
        Ok(read.map(Arc::new))
    }
}
