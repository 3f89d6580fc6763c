//! What an index is still to note, because the server that keeps that part of it is away while
//! the server of the room itself is there.
//!
//! It is kept in memory. A service that ends meanwhile takes it along; then the room's next
//! renewal or join notes it.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// How many notes are owed at most. Few rooms have their index on another server, so more than
/// these come only after a long outage; a change that would owe another one is refused.
const MOST: usize = 10_000;

/// Notes that are to be made later.
#[derive(Debug)]
pub(super) struct Owed<T>(
    // A std mutex: nothing is awaited while it is held.
    Mutex<BTreeSet<T>>,
);

impl<T> Default for Owed<T> {
    fn default() -> Self {
        Self(Mutex::new(BTreeSet::new()))
    }
}

impl<T: Ord + Clone> Owed<T> {
    fn notes(&self) -> MutexGuard<'_, BTreeSet<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a note, unless there are too many.
    pub(super) fn add(&self, note: T) -> bool {
        let mut notes = self.notes();
        if notes.len() >= MOST {
            return notes.contains(&note);
        }
        notes.insert(note);
        true
    }

    /// All of them. A note is owed until the index has it, so that a list never lacks it.
    pub(super) fn all(&self) -> BTreeSet<T> {
        self.notes().clone()
    }

    /// Removes notes that the index has by now.
    pub(super) fn remove(&self, made: &[T]) {
        let mut notes = self.notes();
        for note in made {
            notes.remove(note);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_notes_are_owed_than_are_kept() {
        let owed = Owed::default();
        assert!((0..MOST).all(|note| owed.add(note)));
        assert!(!owed.add(MOST));
        assert!(owed.add(0), "it is owed already");
        assert_eq!(owed.all().len(), MOST);
        owed.remove(&[0, 1]);
        assert_eq!(owed.all().first(), Some(&2));
        assert!(owed.add(MOST));
    }
}
