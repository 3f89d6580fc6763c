//! A room with local members, as a state machine: frames, joins, leaves and time go in,
//! packets for members come out. It does no input or output of its own.
//!
//! Invariant: whenever a stored event other than presence has been told, every member's
//! chain ends at the room's position. Presence may lag behind by at most 100 ms, and is
//! told before anything else is.

mod boards;
mod catching_up;
mod joining;
mod scene;
mod telling;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, mem};

use roomkeeper_proto::v1 as proto;
use tokio::time::{Duration, Instant};
use tracing::{debug, warn};

pub(crate) use boards::{ChangeAnswer, NewChange};
pub(crate) use joining::{Joiner, Refusal};
use scene::{Scene, Window};

use super::{
    MemberKey,
    board::Board,
    ring::Ring,
    translate::{Change, Happening, Stored, translate},
};
use crate::{
    contract::{self, Ack, Over, Packet, SyncMode, timestamp_ms},
    values::RoomCode,
};

/// At most one presence update in this time.
const COALESCE: Duration = Duration::from_millis(100);

/// What is to be done, in this order.
#[derive(Debug)]
pub(crate) enum Output {
    /// These members are to hear this.
    Emit { to: Vec<MemberKey>, packet: Packet },
    /// This joiner has been shown the room: send the ack before anything else.
    Admit { key: MemberKey, ack: Ack },
    /// This joiner could not be let in yet.
    Refuse { key: MemberKey, why: Refusal },
    /// The room is to be watched anew from here; `None` is from now on.
    Watch {
        after: Option<proto::Position>,
        why: Rewatch,
    },
    /// The watch is live.
    Live,
    /// There is nothing more to be heard.
    End { existed: bool },
}

/// Why a room is watched anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rewatch {
    /// Something is missing: at once.
    Gap,
    /// The service cannot serve it now: another may; where none does, after a pause.
    Unavailable,
}

/// The moment at which something happens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// For intervals.
    pub(crate) instant: Instant,
    /// The wall clock in epoch milliseconds; only tells `expired` from `deleted`.
    pub(crate) wall_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A watch has been asked for and has not said where it begins.
    Watching,
    Live,
    Over,
}

#[derive(Debug)]
struct Member {
    session_id: String,
    sync: SyncMode,
    /// The revision that this member's chain has reached.
    told: u64,
    /// When it was told everything anew.
    reset: Option<Instant>,
    /// Of a full member, what is known of its scene. Boxed, because most members have none.
    scene: Option<Box<Scene>>,
}

/// One room with local members.
#[derive(Debug)]
pub(crate) struct LiveRoom {
    room: RoomCode,
    phase: Phase,
    position: Option<proto::Position>,
    expire_ms: i64,
    participants: Vec<proto::Participant>,
    members: BTreeMap<MemberKey, Member>,
    joiners: Vec<joining::Waiting>,
    ring: Ring,
    /// Kept while there is a full member.
    board: Option<Board>,
    presence_told: Option<Instant>,
    presence_held: bool,
    /// When boards that are held are to be looked at again.
    boards_at: Option<Instant>,
    boards_sent: Window,
    output: Vec<Output>,
}

impl LiveRoom {
    /// A room whose watch is being asked for.
    pub(crate) fn new(room: RoomCode) -> Self {
        Self {
            room,
            phase: Phase::Watching,
            position: None,
            expire_ms: 0,
            participants: Vec::new(),
            members: BTreeMap::new(),
            joiners: Vec::new(),
            ring: Ring::default(),
            board: None,
            presence_told: None,
            presence_held: false,
            boards_at: None,
            boards_sent: Window::default(),
            output: Vec::new(),
        }
    }

    /// What is to be done since this was last asked.
    pub(crate) fn take_output(&mut self) -> Vec<Output> {
        mem::take(&mut self.output)
    }

    /// Whether it has been heard of once, so that its events from then on are known here.
    pub(crate) fn is_known(&self) -> bool {
        self.position.is_some()
    }

    /// Whether this socket hears of the room.
    pub(crate) fn is_member(&self, key: MemberKey) -> bool {
        self.members.contains_key(&key)
    }

    /// An event came on the room's watch.
    pub(crate) fn on_event(&mut self, now: Now, event: proto::RoomEvent) {
        if self.phase != Phase::Live {
            return;
        }
        match translate(&self.room, event) {
            Happening::Signal {
                session_id,
                packet: Some(packet),
            } => {
                self.tell(packet, |member| member.session_id != session_id);
            }
            Happening::Signal { packet: None, .. } => {}
            Happening::Stored(stored) => {
                let Some(position) = self.position else {
                    return;
                };
                if stored.position.epoch != position.epoch {
                    self.end(now, None);
                } else if stored.previous == position.revision
                    && stored.position.revision > position.revision
                {
                    self.apply(now, stored);
                } else {
                    debug!(
                        room.code = %self.room, last = position.revision,
                        previous = stored.previous, revision = stored.position.revision,
                        "gap in the feed"
                    );
                    self.watch_again(Rewatch::Gap);
                }
            }
        }
    }

    /// The watch says where the room is and what was missed.
    pub(crate) fn on_caught_up(&mut self, now: Now, caught_up: proto::CaughtUp) {
        if self.phase == Phase::Over {
            return;
        }
        let Some(at) = caught_up.position else {
            warn!(room.code = %self.room, "a catch-up without a position");
            return self.watch_again(Rewatch::Unavailable);
        };
        match self.position {
            None => self.participants.clone_from(&caught_up.participants),
            Some(last) if last.epoch != at.epoch => return self.end(now, None),
            Some(last) if caught_up.reset => self.replace(now, last, at, &caught_up),
            Some(last) if at.revision < last.revision => {
                // Only a reset can take a reader back; ask for everything.
                self.phase = Phase::Watching;
                let after = Some(proto::Position {
                    epoch: last.epoch,
                    revision: 0,
                });
                self.output.push(Output::Watch {
                    after,
                    why: Rewatch::Unavailable,
                });
                return;
            }
            Some(last) => self.catch_up(now, last, at, &caught_up),
        }
        self.position = Some(at);
        self.expire_ms = timestamp_ms(caught_up.expire_time.as_ref());
        if self.phase != Phase::Live {
            self.phase = Phase::Live;
            self.output.push(Output::Live);
        }
        self.settle_joiners(now);
    }

    /// The watch has ended.
    pub(crate) fn on_closed(&mut self, now: Now, closed: &proto::Closed) {
        use proto::CloseReason;
        match closed.reason() {
            CloseReason::Deleted => self.end(now, Some(Over::Deleted)),
            CloseReason::Expired => self.end(now, Some(Over::Expired)),
            CloseReason::NotFound => self.end(now, None),
            CloseReason::Draining | CloseReason::Unavailable => {
                self.watch_again(Rewatch::Unavailable);
            }
            CloseReason::Invalid | CloseReason::Unspecified => {
                warn!(room.code = %self.room, message = %closed.message, "a watch was refused");
                self.watch_again(Rewatch::Unavailable);
            }
        }
    }

    /// The stream that carried the watch broke, or could not keep it.
    pub(crate) fn on_lost(&mut self) {
        if self.phase != Phase::Over {
            self.watch_again(Rewatch::Unavailable);
        }
    }

    /// A member is to hear nothing more.
    pub(crate) fn leave(&mut self, key: MemberKey) {
        self.members.remove(&key);
        self.joiners.retain(|waiting| waiting.joiner.key != key);
        self.forget_board();
    }

    /// When [`LiveRoom::on_time`] wants to be called.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let presence = self.presence_deadline();
        let joiners = self.joiners.iter().map(joining::Waiting::deadline);
        let others = presence.into_iter().chain(self.boards_at);
        others.chain(joiners).min()
    }

    /// Time has passed.
    pub(crate) fn on_time(&mut self, now: Now) {
        if self
            .presence_deadline()
            .is_some_and(|deadline| deadline <= now.instant)
        {
            self.tell_presence(now);
        }
        if self.boards_at.is_some_and(|at| at <= now.instant) {
            self.send_boards(now);
        }
        self.lose_patience(now);
    }

    /// Applies the event that follows the room's position.
    fn apply(&mut self, now: Now, stored: Stored) {
        if !stored.is_presence() {
            self.flush_presence(now);
        }
        self.position = Some(stored.position);
        self.expire_ms = stored.expire_ms;
        match &stored.change {
            Change::Joined(user) | Change::Renamed(user) => {
                match self
                    .participants
                    .iter_mut()
                    .find(|known| known.user_id == user.user_id)
                {
                    Some(known) => known.username.clone_from(&user.username),
                    None => self.participants.push(user.clone()),
                }
                self.tell_presence_in_time(now);
            }
            Change::Left(user) => {
                self.participants
                    .retain(|known| known.user_id != user.user_id);
                self.tell_presence_in_time(now);
            }
            Change::Message(packet) => {
                self.tell(packet.clone(), |_| true);
                self.all_are_at(stored.position.revision);
            }
            Change::Board { packet, elements } => {
                if let Some(board) = &mut self.board {
                    board.apply(elements.iter());
                }
                let author = stored.session_id.as_str();
                let sees = |member: &Member| {
                    member.session_id != author || member.may_have_lost_its_own(now)
                };
                self.tell(packet.clone(), |member| {
                    member.sync == SyncMode::Delta && sees(member)
                });
                let step = contract::room_position(&self.room, stored.step());
                self.tell(step, |member| {
                    member.sync == SyncMode::Delta && !sees(member)
                });
                self.all_are_at(stored.position.revision);
                self.boards_are_due(now, author, stored.previous);
            }
            Change::Unknown => {
                let step = contract::room_position(&self.room, stored.step());
                self.tell(step, |member| member.sync == SyncMode::Delta);
                self.all_are_at(stored.position.revision);
            }
        }
        self.ring.push(stored);
        self.settle_joiners(now);
    }

    /// The room is over; without a reason, the time says which.
    fn end(&mut self, now: Now, reason: Option<Over>) {
        let existed = self.position.is_some();
        self.phase = Phase::Over;
        if existed {
            let reason = reason.unwrap_or({
                let expired = self.expire_ms != 0 && self.expire_ms <= now.wall_ms;
                if expired {
                    Over::Expired
                } else {
                    Over::Deleted
                }
            });
            self.tell(contract::room_closed(&self.room, reason), |_| true);
        }
        self.members.clear();
        for waiting in mem::take(&mut self.joiners) {
            let key = waiting.joiner.key;
            self.output.push(Output::Refuse {
                key,
                why: Refusal::Restart,
            });
        }
        self.output.push(Output::End { existed });
    }

    fn watch_again(&mut self, why: Rewatch) {
        self.phase = Phase::Watching;
        self.output.push(Output::Watch {
            after: self.position,
            why,
        });
    }

    fn tell(&mut self, packet: Packet, who: impl Fn(&Member) -> bool) {
        let to: Vec<MemberKey> = self
            .members
            .iter()
            .filter(|(_, member)| who(member))
            .map(|(key, _)| *key)
            .collect();
        if !to.is_empty() {
            self.output.push(Output::Emit { to, packet });
        }
    }

    fn all_are_at(&mut self, revision: u64) {
        for member in self.members.values_mut() {
            member.told = revision;
        }
    }

    /// Drops the board once nobody here wants to see it whole.
    fn forget_board(&mut self) {
        let wanted = self
            .members
            .values()
            .any(|member| member.sync == SyncMode::Full);
        if !wanted {
            self.board = None;
        }
    }
}
