//! The last few stored events of a room, for those who join between a snapshot and now.

use std::collections::VecDeque;

use super::translate::Stored;

/// How many events are kept: some seconds of a lively room, which a join does not outlast.
const MAX_EVENTS: usize = 128;

/// How many bytes they may take: with large drawings fewer events are kept, and who comes
/// too late asks for a fresh snapshot.
const MAX_BYTES: usize = 1 << 20;

/// Events in order, each following the one before.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    events: VecDeque<Stored>,
    bytes: usize,
}

impl Ring {
    /// Adds the event that follows the last one.
    pub(crate) fn push(&mut self, event: Stored) {
        self.bytes += event.size();
        self.events.push_back(event);
        while self.events.len() > MAX_EVENTS || self.bytes > MAX_BYTES {
            match self.events.pop_front() {
                Some(oldest) => self.bytes -= oldest.size(),
                None => break,
            }
        }
    }

    /// Forgets everything: what comes next does not follow what was here.
    pub(crate) fn clear(&mut self) {
        self.events.clear();
        self.bytes = 0;
    }

    /// The events after `revision`, if they reach back to it.
    pub(crate) fn since(&self, revision: u64) -> Option<impl Iterator<Item = &Stored>> {
        let first = self
            .events
            .iter()
            .position(|event| event.previous == revision)?;
        Some(self.events.iter().skip(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::translate::Change;

    fn event(previous: u64, revision: u64) -> Stored {
        Stored {
            position: roomkeeper_proto::v1::Position { epoch: 1, revision },
            previous,
            expire_ms: 0,
            session_id: String::new(),
            change: Change::Unknown,
        }
    }

    #[test]
    fn it_gives_what_follows_a_revision_and_nothing_if_it_does_not_reach_back() {
        let mut ring = Ring::default();
        for revision in 1..=200 {
            ring.push(event(revision * 10 - 10, revision * 10));
        }
        let after: Vec<_> = ring
            .since(1_980)
            .unwrap()
            .map(|e| e.position.revision)
            .collect();
        assert_eq!(after, [1_990, 2_000]);
        assert!(ring.since(1_985).is_none());
        assert!(ring.since(0).is_none());
        ring.clear();
        assert!(ring.since(1_980).is_none());
    }
}
