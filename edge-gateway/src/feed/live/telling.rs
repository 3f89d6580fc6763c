//! What is told to many at once: who is present, and the whole board.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use roomkeeper_proto::v1 as proto;
use tokio::time::{Duration, Instant};

use super::{COALESCE, LiveRoom, Member, Now, Output};
use crate::{
    feed::{MemberKey, Sync},
    socket::payload::{self, Step},
};

/// How long a board and a change may be on their way past each other: a round trip to a busy
/// client far away.
const CROSSING: Duration = Duration::from_secs(1);

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

    /// Whether a board may have crossed its own change on the wire: it replaces the scene, and
    /// the change that was drawn before is not in it. This side cannot see what crossed, so
    /// whatever was told lately may have, also a board that only told it of its own changes.
    fn board_may_have_crossed(&self, now: Now) -> bool {
        self.board_told
            .is_some_and(|told| now.instant.saturating_duration_since(told) < CROSSING)
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
            let packet = payload::presence_update(&self.room, &self.participants, step);
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
            if member.told != at.revision && member.sync == Sync::Delta {
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
            let packet = payload::room_position(&self.room, step);
            self.output.push(Output::Emit { to, packet });
        }
    }

    /// The board has changed since `previous`: full members are to see it, but for its
    /// author, who sees it only if they may have lost their own change from sight.
    pub(super) fn boards_are_due(&mut self, now: Now, author: &str, previous: u64) {
        for member in self.members.values_mut() {
            if member.sync != Sync::Full {
                continue;
            }
            if member.session_id != author {
                member.board_due.get_or_insert(previous);
            } else if member.overtaken || member.board_may_have_crossed(now) {
                member.overtaken = false;
                member.board_due.get_or_insert(previous);
            }
        }
        self.tell_boards_in_time(now);
    }

    /// Tells the board to those who are due: at once if the last time is long enough ago.
    pub(super) fn tell_boards_in_time(&mut self, now: Now) {
        let may_tell = self
            .boards_told
            .is_none_or(|told| now.instant.saturating_duration_since(told) >= COALESCE);
        if may_tell {
            self.tell_boards(now);
        }
    }

    pub(super) fn tell_boards(&mut self, now: Now) {
        let (Some(at), Some(board)) = (self.position, &self.board) else {
            return;
        };
        let mut by_previous: BTreeMap<u64, Vec<MemberKey>> = BTreeMap::new();
        for (key, member) in &mut self.members {
            if let Some(previous) = member.board_due.take() {
                member.board_told = Some(now.instant);
                by_previous.entry(previous).or_default().push(*key);
                member.overtaken =
                    member.drawing.load(Ordering::Relaxed) > 0 || member.last_change > at.revision;
            }
        }
        for (previous, to) in by_previous {
            self.boards_told = Some(now.instant);
            let step = Step {
                epoch: at.epoch,
                revision: at.revision,
                previous,
            };
            let packet = payload::whiteboard_update(&self.room, board.living(), Some(step));
            self.output.push(Output::Emit { to, packet });
        }
    }

    pub(super) fn boards_deadline(&self) -> Option<Instant> {
        let due = self
            .members
            .values()
            .any(|member| member.board_due.is_some());
        self.boards_told
            .filter(|_| due && self.board.is_some())
            .map(|told| told + COALESCE)
    }
}
