//! What is told to many at once: who is present, and where the room is.

use std::collections::BTreeMap;

use roomkeeper_proto::v1 as proto;
use tokio::time::{Duration, Instant};

use super::{COALESCE, LiveRoom, Member, Now, Output};
use crate::{
    contract::{self, Step, SyncMode},
    feed::MemberKey,
};

/// How long after a reset a change may come in its turn that was answered before: longer
/// than any change takes.
const CROSSING_RESET: Duration = Duration::from_secs(5);

impl Member {
    /// Whether a reset may have taken a change of its own from sight: one that was answered
    /// before it, and comes in its turn after it. What came of it is told it then.
    pub(super) fn may_have_lost_its_own(&self, now: Now) -> bool {
        self.reset
            .is_some_and(|reset| now.instant.saturating_duration_since(reset) < CROSSING_RESET)
    }
}

impl LiveRoom {
    /// Tells who is present: at once if the last time is long enough ago, else then.
    pub(super) fn tell_presence_in_time(&mut self, now: Now) {
        let may_tell = self
            .presence_told
            .is_none_or(|told| now.instant.saturating_duration_since(told) >= COALESCE);
        if may_tell {
            self.tell_presence(now);
        } else {
            self.presence_held = true;
        }
    }

    /// Tells what is held back, so that what follows finds every chain at the position.
    pub(super) fn flush_presence(&mut self, now: Now) {
        if self.presence_held {
            self.tell_presence(now);
        }
    }

    /// Tells who is present to all who have not heard it yet.
    ///
    /// Who joined while changes were held back has a position of their own, so the step is
    /// made for each.
    pub(super) fn tell_presence(&mut self, now: Now) {
        self.presence_held = false;
        self.presence_told = Some(now.instant);
        let Some(at) = self.position else { return };

        let mut by_told: BTreeMap<u64, Vec<MemberKey>> = BTreeMap::new();
        for (key, member) in &mut self.members {
            if member.told < at.revision {
                by_told.entry(member.told).or_default().push(*key);
                member.told = at.revision;
            }
        }
        for (previous, to) in by_told {
            let step = Step {
                epoch: at.epoch,
                revision: at.revision,
                previous,
            };
            let packet = contract::presence_update(&self.room, &self.participants, step);
            self.output.push(Output::Emit { to, packet });
        }
    }

    pub(super) fn presence_deadline(&self) -> Option<Instant> {
        self.presence_told
            .filter(|_| self.presence_held)
            .map(|told| told + COALESCE)
    }

    /// Takes every chain that is not there yet to `at`, the end of a catch-up.
    pub(super) fn close_chains(&mut self, at: proto::Position) {
        let mut by_told: BTreeMap<u64, Vec<MemberKey>> = BTreeMap::new();
        for (key, member) in &mut self.members {
            if member.told != at.revision && member.sync == SyncMode::Delta {
                by_told.entry(member.told).or_default().push(*key);
            }
            member.told = at.revision;
        }
        for (previous, to) in by_told {
            let step = Step {
                epoch: at.epoch,
                revision: at.revision,
                previous,
            };
            let packet = contract::room_position(&self.room, step);
            self.output.push(Output::Emit { to, packet });
        }
    }
}
