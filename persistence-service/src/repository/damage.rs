//! Which rooms are known to be damaged, so that each is told of once.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::domain::RoomCode;

/// How many are remembered.
const MOST: usize = 1_000;

/// The damaged rooms that one kind of work has met. What is done again and again
/// in the background would else fill the log with one room.
#[derive(Debug, Default)]
pub(crate) struct Damage(
    // A std mutex: nothing is awaited while it is held.
    Mutex<HashSet<RoomCode>>,
);

impl Damage {
    fn known(&self) -> MutexGuard<'_, HashSet<RoomCode>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs what could not be done in a room, unless that was told already.
    pub(crate) fn found(&self, code: RoomCode, what: &str, problem: &str) {
        let mut known = self.known();
        if known.len() >= MOST {
            known.clear();
        }
        if known.insert(code) {
            tracing::error!(room.code = %code, problem, "{what}");
        }
    }

    /// The room is as it should be: what is found next is new.
    pub(crate) fn mended(&self, code: RoomCode) {
        self.known().remove(&code);
    }
}
