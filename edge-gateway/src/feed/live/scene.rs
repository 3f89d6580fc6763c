//! What is known of a full client's scene, and when a board may replace it.
//!
//! A board replaces the scene, and with it the stroke that is being drawn. So a board that is
//! due is held until the client has stopped drawing. A change that crosses a board on its way
//! is not in that board, so the client then gets one more.

use std::collections::VecDeque;

use tokio::time::{Duration, Instant};

use super::Now;
use crate::{
    contract::ElementVersion,
    feed::{
        board::Board,
        board_pace::{BoardPace, Place},
        unread::Unread,
    },
};

/// How long after its last stroke or pointer a client counts as drawing.
const QUIET: Duration = Duration::from_millis(300);

/// How long a board is held back from a client that draws without a pause.
const HELD: Duration = Duration::from_secs(30);

/// How long after its arrival a change is waited for, so that the board holds it.
const SAVED: Duration = Duration::from_millis(600);

/// How soon a board is looked at again that is held for events nobody has looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How long a board and a change may be on their way past each other: a round trip to a busy
/// client far away.
const CROSSING: Duration = Duration::from_secs(1);

/// How often a client that sends an empty scene is answered at most.
const ASKED: Duration = Duration::from_secs(1);

/// How many of the boards that a client was sent are remembered. An echo of an older one
/// counts as drawing, and holds a board for a moment.
const MAX_SENT: usize = 256;

const SECOND: Duration = Duration::from_secs(1);

/// A board that a client is to get.
#[derive(Debug)]
struct Due {
    since: Instant,
    /// The revision before the first change in it.
    previous: u64,
    /// There is nothing in it but what the client may have lost of its own.
    own_alone: bool,
}

/// A full client's scene, as far as it can be seen from here.
#[derive(Debug)]
pub(super) struct Scene {
    unread: Unread,
    /// This room's place among the rooms that send boards to the socket.
    place: Place,
    joined: Instant,
    due: Option<Due>,
    /// When it last drew or pointed.
    drew: Option<Instant>,
    /// When the newest of its changes that went to the service arrived.
    changed: Option<Instant>,
    /// The change that is being saved. After an unknown outcome it stays until the next one.
    saving: Option<Vec<ElementVersion>>,
    /// The revision of its newest answered change; until the feed has come there, a board
    /// from here may lack it.
    answered: u64,
    /// Its scene may lack a change of its own, because a board replaced it.
    lacks_own: bool,
    /// When it was last sent a board that did not only repeat its own changes. A change that
    /// arrives soon after may have crossed that board.
    replaced: Option<Instant>,
    /// When the last board was sent to it.
    sent: Option<Instant>,
    /// The revisions of the boards that it was sent, in ascending order.
    revisions: VecDeque<u64>,
    /// When its empty scene was last answered.
    asked: Option<Instant>,
}

impl Scene {
    pub(super) fn new(now: Now, unread: Unread, pace: &BoardPace) -> Self {
        Self {
            unread,
            place: pace.enter(),
            joined: now.instant,
            due: None,
            drew: None,
            changed: None,
            saving: None,
            answered: 0,
            lacks_own: false,
            replaced: None,
            sent: None,
            revisions: VecDeque::new(),
            asked: None,
        }
    }

    /// The client joins: it has been shown the board of this revision.
    pub(super) fn joined(&mut self, now: Now, revision: u64, at: u64) {
        self.joined = now.instant;
        self.due = None;
        self.place.step_back();
        self.lacks_own = self.is_under_way(at);
        self.remember(revision);
    }

    /// The room was reset: its revisions are those of another history.
    pub(super) fn reset(&mut self, now: Now, at: u64) {
        self.revisions.clear();
        self.due = None;
        self.others_changed(now, at);
    }

    /// The client gets the board, since it has changed after `previous`, or asked for it.
    pub(super) fn others_changed(&mut self, now: Now, previous: u64) {
        self.make_due(now, previous, false);
    }

    /// A change of its own came on the feed, which is now at `at`.
    pub(super) fn own_came(&mut self, now: Now, previous: u64, at: u64) {
        if self.lacks_own {
            self.make_due(now, previous, true);
        }
        if !self.is_under_way(at) {
            self.lacks_own = false;
        }
    }

    fn make_due(&mut self, now: Now, previous: u64, own_alone: bool) {
        match &mut self.due {
            Some(due) => due.own_alone &= own_alone,
            None => {
                self.due = Some(Due {
                    since: now.instant,
                    previous,
                    own_alone,
                });
            }
        }
    }

    /// The client sent a pointer.
    pub(super) fn pointed(&mut self, now: Now) {
        self.drew = Some(now.instant);
    }

    /// A change of the client arrived at `came`. It counts as drawing if it holds a state of
    /// an element that is neither stored nor was sent to this client.
    pub(super) fn change_came(
        &mut self,
        came: Instant,
        stamps: &[Option<ElementVersion>],
        board: &Board,
    ) {
        let is_new =
            |stamp: &ElementVersion| !board.stores(stamp) && !board.held(stamp, &self.revisions);
        if stamps.iter().flatten().any(is_new) {
            self.drew = self.drew.max(Some(came));
        }
    }

    /// A change that arrived at `came` goes to the service.
    pub(super) fn saving_begins(&mut self, came: Instant, stamps: Vec<ElementVersion>) {
        self.changed = self.changed.max(Some(came));
        self.saving = Some(stamps);
        let crossed = |replaced: Instant| came < replaced + CROSSING;
        // What arrived before the client joined is not in what it was shown.
        if came < self.joined || self.replaced.is_some_and(crossed) {
            self.lacks_own = true;
        }
    }

    /// The change that was being saved has been answered: `event_at` is the revision of its
    /// event, if it has one, and `at` the feed's. Returns what the change held.
    pub(super) fn saving_ended(&mut self, event_at: Option<u64>, at: u64) -> Vec<ElementVersion> {
        let held = self.saving.take().unwrap_or_default();
        self.answered = self.answered.max(event_at.unwrap_or_default());
        if !self.is_under_way(at) {
            self.lacks_own = false;
        }
        held
    }

    /// Whether a change of its own is not in the board of revision `at`, or may not be.
    fn is_under_way(&self, at: u64) -> bool {
        self.saving.is_some() || self.answered > at
    }

    /// The client sent an empty scene: whether it is to be answered.
    pub(super) fn asks(&mut self, now: Now) -> bool {
        let lately = |asked| now.instant.saturating_duration_since(asked) < ASKED;
        if self.asked.is_some_and(lately) {
            return false;
        }
        self.asked = Some(now.instant);
        true
    }

    /// If a board is due: from when on it cuts no stroke, while the feed is at `at`.
    pub(super) fn due(&self, now: Now, at: u64) -> Option<Instant> {
        let due = self.due.as_ref()?;
        let mut ready = now.instant;
        if let Some(drew) = self.drew {
            ready = ready.max(drew + QUIET);
        }
        if let Some(changed) = self.changed.filter(|_| self.is_under_way(at)) {
            ready = ready.max(changed + SAVED);
        }
        if self.unread.any() {
            ready = ready.max(now.instant + LOOK_AGAIN);
        }
        Some(ready.min(due.since + HELD))
    }

    /// When the last board was sent to the client.
    pub(super) fn last_sent(&self) -> Option<Instant> {
        self.sent
    }

    /// A board that is due waits for something else than the pace of the socket, so the
    /// other rooms of the socket do not wait for it.
    pub(super) fn lets_others_send(&mut self) {
        self.place.step_back();
    }

    /// Sends the board of revision `at`, of so many bytes, if the pace of the socket allows
    /// that. Returns the revision before the first change in it.
    ///
    /// # Errors
    ///
    /// When to look again, if boards of any room were sent to the socket too lately.
    pub(super) fn send_board(&mut self, now: Now, at: u64, bytes: usize) -> Result<u64, Instant> {
        self.place.take(now.instant, bytes)?;
        let due = self.due.take();
        if due.as_ref().is_none_or(|due| !due.own_alone) {
            self.replaced = Some(now.instant);
        }
        self.lacks_own = self.is_under_way(at);
        self.sent = Some(now.instant);
        self.remember(at);
        Ok(due.map_or(at, |due| due.previous))
    }

    fn remember(&mut self, revision: u64) {
        if self.revisions.back().is_none_or(|last| *last < revision) {
            self.revisions.push_back(revision);
        }
        while self.revisions.len() > MAX_SENT {
            self.revisions.pop_front();
        }
    }
}

/// How many bytes of boards the full clients of a room were sent in the last second.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// What was sent, in steps: when each began, and its bytes.
    sent: VecDeque<(Instant, usize)>,
    bytes: usize,
}

/// How many bytes of boards the full clients of a room are sent in a second, together.
const ROOM_BYTES_A_SECOND: usize = 32 << 20;

/// What is sent within this time counts as one step, so that a second has few of them.
const STEP: Duration = Duration::from_millis(16);

impl Window {
    /// How many boards of so many bytes may be sent now.
    pub(super) fn fit(&mut self, now: Now, bytes: usize) -> usize {
        while let Some((began, sent)) = self.sent.front().copied()
            && began + SECOND + STEP <= now.instant
        {
            self.bytes -= sent;
            self.sent.pop_front();
        }
        ROOM_BYTES_A_SECOND.saturating_sub(self.bytes) / bytes.max(1)
    }

    /// Counts what is sent.
    pub(super) fn add(&mut self, now: Now, bytes: usize) {
        self.bytes += bytes;
        match self.sent.back_mut() {
            Some((began, sent)) if *began + STEP > now.instant => *sent += bytes,
            Some(_) | None => self.sent.push_back((now.instant, bytes)),
        }
    }

    /// When more may be sent than now.
    pub(super) fn frees_at(&self) -> Option<Instant> {
        self.sent.front().map(|(began, _)| *began + SECOND + STEP)
    }
}
