//! How a socket comes into a room that is being told: between two events, exactly where its
//! snapshot was taken.
//!
//! A snapshot that is ahead waits until the feed has come to it; one that is behind is
//! followed by the events that it lacks. So history and live messages leave no gap and
//! repeat nothing.

use std::mem;

use roomkeeper_proto::v1 as proto;
use tokio::time::{Duration, Instant};

use super::{LiveRoom, Member, Now, Output, Phase, Rewatch, Scene};
use crate::{
    contract::{self, Packet, Resumed, Step, SyncMode},
    feed::{BoardPace, MemberKey, board::Board, translate::Change, unread::Unread},
};

/// How long the feed may take to come to a snapshot before it is asked again: an event may
/// have been lost on the way.
const NUDGE_AFTER: Duration = Duration::from_millis(300);

/// How long a joiner waits in all.
const GIVE_UP_AFTER: Duration = Duration::from_millis(1_500);

/// A socket that has joined at the service and is to be brought in here.
#[derive(Debug)]
pub(crate) struct Joiner {
    pub(crate) key: MemberKey,
    pub(crate) session_id: String,
    pub(crate) sync: SyncMode,
    /// It said where it already was.
    pub(crate) resumes: bool,
    /// Changes of this socket that have arrived and that nobody has looked at.
    pub(crate) unread: Unread,
    /// How often boards may be sent to this socket, by all its rooms together.
    pub(crate) pace: BoardPace,
    /// What the room held, and when.
    pub(crate) snapshot: proto::JoinRoomResponse,
    pub(crate) position: proto::Position,
    /// The whole board and its revision, not later than the snapshot's, where the snapshot
    /// does not hold it.
    pub(crate) board: Option<(Vec<proto::Element>, u64)>,
}

/// Why a joiner was not let in with its snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The snapshot is too old to be followed up: take a fresh one.
    Stale,
    /// This room is over, or another one than the snapshot's: begin anew.
    Restart,
    /// The feed did not come to the snapshot in time.
    Late,
}

/// A joiner whose snapshot is ahead of the feed.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) joiner: Joiner,
    since: Instant,
    nudged: bool,
}

impl Waiting {
    pub(super) fn deadline(&self) -> Instant {
        self.since
            + if self.nudged {
                GIVE_UP_AFTER
            } else {
                NUDGE_AFTER
            }
    }
}

impl LiveRoom {
    /// Brings a joiner in, now or when the feed has come to its snapshot.
    pub(crate) fn join(&mut self, now: Now, joiner: Joiner) {
        if self.phase == Phase::Over {
            self.output.push(Output::Refuse {
                key: joiner.key,
                why: Refusal::Restart,
            });
            return;
        }
        self.joiners.push(Waiting {
            joiner,
            since: now.instant,
            nudged: false,
        });
        self.settle_joiners(now);
    }

    /// Lets in whose snapshot the feed has reached.
    pub(super) fn settle_joiners(&mut self, now: Now) {
        let Some(at) = self.position else { return };
        for waiting in mem::take(&mut self.joiners) {
            let joiner = waiting.joiner;
            let key = joiner.key;
            if joiner.position.epoch != at.epoch {
                self.output.push(Output::Refuse {
                    key,
                    why: Refusal::Restart,
                });
            } else if joiner.position.revision > at.revision {
                self.joiners.push(Waiting { joiner, ..waiting });
            } else if self.reaches_back(&joiner, at.revision) {
                self.admit(now, joiner);
            } else {
                self.output.push(Output::Refuse {
                    key,
                    why: Refusal::Stale,
                });
            }
        }
    }

    /// Asks for the feed anew where joiners wait too long, and gives up on the oldest.
    pub(super) fn lose_patience(&mut self, now: Now) {
        let mut nudge = false;
        for mut waiting in mem::take(&mut self.joiners) {
            let waited = now.instant.saturating_duration_since(waiting.since);
            if waited >= GIVE_UP_AFTER {
                let key = waiting.joiner.key;
                self.output.push(Output::Refuse {
                    key,
                    why: Refusal::Late,
                });
                continue;
            }
            if waited >= NUDGE_AFTER && !waiting.nudged {
                waiting.nudged = true;
                nudge = true;
            }
            self.joiners.push(waiting);
        }
        if nudge && self.phase == Phase::Live {
            self.watch_again(Rewatch::Gap);
        }
    }

    /// A joiner's time is over: it does not come in, unless it is in.
    pub(crate) fn give_up(&mut self, key: MemberKey) {
        let before = self.joiners.len();
        self.joiners.retain(|waiting| waiting.joiner.key != key);
        if self.joiners.len() < before {
            self.output.push(Output::Refuse {
                key,
                why: Refusal::Late,
            });
        }
    }

    /// Whether everything after the joiner's snapshot is at hand.
    fn reaches_back(&self, joiner: &Joiner, at: u64) -> bool {
        let reaches = |revision| revision == at || self.ring.since(revision).is_some();
        let board_revision = joiner.board.as_ref().map(|(_, revision)| *revision);
        reaches(joiner.position.revision)
            && (self.board.is_some() || board_revision.is_none_or(reaches))
    }

    /// Shows the room as the snapshot has it, then what happened since.
    fn admit(&mut self, now: Now, joiner: Joiner) {
        let Joiner {
            key,
            session_id,
            sync,
            resumes,
            unread,
            pace,
            mut snapshot,
            position,
            board,
        } = joiner;
        if sync == SyncMode::Full && self.board.is_none() {
            self.board = Some(match &board {
                Some((elements, revision)) => self.board_since(elements, *revision),
                None => self.board_since(&snapshot.elements, position.revision),
            });
        }

        let resumed = resumes.then_some(Resumed {
            reset: snapshot.reset,
            truncated: snapshot.history_truncated,
        });
        // The living board never holds tombstones; what changed since a point does.
        if resumed.is_none_or(|resumed| resumed.reset) {
            snapshot.elements.retain(|element| !element.is_deleted);
        }
        let elements = snapshot
            .elements
            .iter()
            .map(|element| element.json.as_str());
        let here = Step {
            epoch: position.epoch,
            revision: position.revision,
            previous: position.revision,
        };
        let shown = [
            contract::chat_history(&self.room, &snapshot.messages, resumed),
            contract::whiteboard_state(&self.room, elements, resumed.map(|r| r.reset)),
            contract::presence_update(&self.room, &snapshot.participants, here),
        ];
        for packet in shown {
            self.output.push(Output::Emit {
                to: vec![key],
                packet,
            });
        }
        self.output.push(Output::Admit {
            key,
            ack: contract::ack_join(&snapshot, position),
        });

        // What a member that joins again has drawn and was sent stays true.
        let before = self.members.remove(&key).and_then(|member| member.scene);
        let scene = (sync == SyncMode::Full).then(|| {
            let mut scene = before.unwrap_or_else(|| Box::new(Scene::new(now, unread, &pace)));
            scene.joined(now, position.revision, position.revision);
            scene
        });
        if let Some(board) = &mut self.board {
            board.was_sent(position.revision);
        }
        let mut member = Member {
            session_id,
            sync,
            told: position.revision,
            reset: None,
            scene,
        };
        self.follow_up(now, key, &mut member);
        self.members.insert(key, member);
        self.forget_board();
        self.send_boards(now);
    }

    /// Tells one new member what happened after its snapshot.
    fn follow_up(&mut self, now: Now, key: MemberKey, member: &mut Member) {
        let Some(at) = self.position else { return };
        let mut packets: Vec<Packet> = Vec::new();
        let mut presence_due = None;
        for event in self.ring.since(member.told).into_iter().flatten() {
            let revision = event.position.revision;
            if event.is_presence() {
                presence_due = Some(revision);
                continue;
            }
            if let Some(revision) = presence_due.take() {
                let step = Step {
                    epoch: at.epoch,
                    revision,
                    previous: member.told,
                };
                packets.push(contract::presence_update(
                    &self.room,
                    &self.participants,
                    step,
                ));
            }
            let own = event.session_id == member.session_id;
            match (&event.change, member.sync) {
                (Change::Message(packet), _) => packets.push(packet.clone()),
                (Change::Board { packet, .. }, SyncMode::Delta) if !own => {
                    packets.push(packet.clone())
                }
                (Change::Board { .. }, SyncMode::Full) => {
                    if let Some(scene) = &mut member.scene {
                        scene.others_changed(now, event.previous);
                    }
                }
                (Change::Board { .. } | Change::Unknown, SyncMode::Delta) => {
                    packets.push(contract::room_position(&self.room, event.step()));
                }
                (Change::Unknown, SyncMode::Full)
                | (Change::Joined(_) | Change::Renamed(_) | Change::Left(_), _) => {}
            }
            member.told = revision;
        }
        if let Some(revision) = presence_due {
            let step = Step {
                epoch: at.epoch,
                revision,
                previous: member.told,
            };
            packets.push(contract::presence_update(
                &self.room,
                &self.participants,
                step,
            ));
            member.told = revision;
        }
        for packet in packets {
            self.output.push(Output::Emit {
                to: vec![key],
                packet,
            });
        }
    }

    /// The board that held `elements` at `revision`, as it is now.
    fn board_since(&self, elements: &[proto::Element], revision: u64) -> Board {
        let mut board = Board::new(elements);
        // The joiner is shown it as it was then.
        board.was_sent(revision);
        for event in self.ring.since(revision).into_iter().flatten() {
            if let Change::Board { elements, .. } = &event.change {
                board.apply(elements.iter());
            }
        }
        board
    }
}
