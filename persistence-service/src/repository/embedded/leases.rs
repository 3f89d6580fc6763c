//! Until when sessions live unless they are renewed.
//!
//! Leases stand in memory alone, so a renewal writes nothing and works when the
//! disk is full. Which sessions there are stands in the file; when it is opened
//! each gets a whole lease, in which whoever lives says so. There are as many as
//! seats of living rooms that are taken.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::domain::{RoomCode, SessionId};

type Name = (RoomCode, SessionId);

#[derive(Debug, Default)]
struct Ends {
    by_name: HashMap<Name, u64>,
    in_order: BTreeSet<(u64, RoomCode, SessionId)>,
}

impl Ends {
    fn set(&mut self, (code, session): Name, end: u64) {
        if let Some(old) = self.by_name.insert((code, session.clone()), end) {
            self.in_order.remove(&(old, code, session.clone()));
        }
        self.in_order.insert((end, code, session));
    }

    fn remove(&mut self, name: &Name) -> Option<u64> {
        let end = self.by_name.remove(name)?;
        self.in_order.remove(&(end, name.0, name.1.clone()));
        Some(end)
    }
}

/// The leases of all named sessions: when they end, in Unix milliseconds.
#[derive(Debug, Default)]
pub(super) struct Leases(Mutex<Ends>);

impl Leases {
    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a session a lease. A user whom a backend let in without a session
    /// stays until it lets them go.
    pub(super) fn give(&self, code: RoomCode, session: &SessionId, end: u64) {
        if !session.is_unnamed() {
            self.ends().set((code, session.clone()), end);
        }
    }

    /// Puts off the end of a lease, unless it is not there.
    pub(super) fn renew(&self, name: &Name, end: u64) -> bool {
        let mut ends = self.ends();
        let known = ends.by_name.contains_key(name);
        if known {
            ends.set(name.clone(), end);
        }
        known
    }

    /// Takes a lease away, and says when it would have ended.
    pub(super) fn take(&self, name: &Name) -> Option<u64> {
        self.ends().remove(name)
    }

    /// Takes a lease away if it has ended by now.
    pub(super) fn take_ended(&self, name: &Name, now: u64) -> Option<u64> {
        let mut ends = self.ends();
        if ends.by_name.get(name).is_none_or(|end| *end > now) {
            return None;
        }
        ends.remove(name)
    }

    /// The leases that have ended by now, the longest ended first.
    pub(super) fn ended(&self, now: u64, most: usize) -> Vec<Name> {
        self.ends()
            .in_order
            .iter()
            .take_while(|(end, ..)| *end <= now)
            .take(most)
            .map(|(_, code, session)| (*code, session.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(session: &str) -> Name {
        let code = RoomCode::from_number(7_000).unwrap();
        (code, SessionId::parse("", session).unwrap())
    }

    #[test]
    fn leases_end_in_their_order_and_a_renewal_puts_that_off() {
        let leases = Leases::default();
        for (session, end) in [("b", 20), ("a", 10), ("c", 30)] {
            let (code, session) = name(session);
            leases.give(code, &session, end);
        }
        assert_eq!(leases.ended(20, 10), [name("a"), name("b")]);
        assert_eq!(leases.ended(20, 1), [name("a")]);
        assert!(leases.renew(&name("a"), 40));
        assert!(!leases.renew(&name("unknown"), 40));
        assert_eq!(leases.ended(35, 10), [name("b"), name("c")]);
    }

    #[test]
    fn a_lease_that_was_renewed_meanwhile_is_not_taken_as_ended() {
        let leases = Leases::default();
        let (code, session) = name("a");
        leases.give(code, &session, 10);
        assert!(leases.renew(&name("a"), 40));
        assert_eq!(leases.take_ended(&name("a"), 20), None);
        assert_eq!(leases.take_ended(&name("a"), 40), Some(40));
        assert_eq!(leases.take(&name("a")), None);
        assert!(leases.ended(u64::MAX, 10).is_empty());
    }
}
