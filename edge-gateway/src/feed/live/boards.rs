//! Whole boards for full members: who gets one, and when.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::{LiveRoom, Now, Output};
use crate::{
    contract::{self, ElementVersion, Step},
    feed::{MemberKey, unread::UnreadEvent},
};

/// A change of a full member, before it goes to the service.
#[derive(Debug)]
pub(crate) struct NewChange {
    /// Counts until it has been looked at; says when the change arrived.
    pub(crate) unread: UnreadEvent,
    /// Of each element its state, where that can be read.
    pub(crate) stamps: Vec<Option<ElementVersion>>,
    /// It carries a request id of the client's.
    pub(crate) is_repeatable: bool,
}

/// How the service answered a change of a full member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChangeAnswer {
    /// Elements of it lost to stored ones, or may have since it was saved.
    pub(crate) lost: bool,
    /// The service left out elements of it because of a bad field. No board can mend that,
    /// because the client may keep the element and send it again with each scene.
    pub(crate) left_out: bool,
    /// The revision of its event, if it has one.
    pub(crate) event_at: Option<u64>,
}

impl LiveRoom {
    /// A full member's change has arrived. Returns which of its elements the service has to
    /// see; `None` where that cannot be said here.
    pub(crate) fn change_came(
        &mut self,
        now: Now,
        key: MemberKey,
        change: NewChange,
    ) -> Option<Vec<bool>> {
        let NewChange {
            unread,
            stamps,
            is_repeatable,
        } = change;
        let came = unread.came;
        // From here on it has been looked at.
        drop(unread);
        let at = self.position?;
        let board = self.board.as_ref()?;
        let scene = self.members.get_mut(&key)?.scene.as_mut()?;
        if stamps.is_empty() && !board.is_empty() && scene.asks(now) {
            scene.others_changed(now, at.revision);
        }
        scene.change_came(came, &stamps, board);
        let all_count = is_repeatable || !are_plain(&stamps);
        let new: Vec<bool> = stamps
            .iter()
            .map(|stamp| all_count || stamp.as_ref().is_none_or(|stamp| !board.stores(stamp)))
            .collect();
        if is_repeatable || new.contains(&true) {
            let pairs = stamps.into_iter().zip(&new);
            let sent = pairs.filter_map(|(stamp, new)| stamp.filter(|_| *new));
            scene.saving_begins(came, sent.collect());
        }
        self.send_boards(now);
        Some(new)
    }

    /// A full member's change was answered by the service; without an answer nothing of it
    /// was stored.
    pub(crate) fn change_ended(&mut self, now: Now, key: MemberKey, answer: Option<ChangeAnswer>) {
        let Some(at) = self.position else { return };
        let member = self.members.get_mut(&key);
        let Some(scene) = member.and_then(|member| member.scene.as_mut()) else {
            return;
        };
        let event_at = answer.and_then(|answer| answer.event_at);
        let held = scene.saving_ended(event_at, at.revision);
        if let Some(answer) = answer {
            if answer.lost {
                scene.others_changed(now, at.revision);
            } else if !answer.left_out
                && event_at.unwrap_or_default() <= at.revision
                && let Some(board) = &mut self.board
            {
                // The service stores all of it, and the board has what was accepted.
                board.learn(held);
            }
        }
        self.send_boards(now);
    }

    /// A full member has sent a pointer.
    pub(crate) fn pointed(&mut self, now: Now, key: MemberKey) {
        let member = self.members.get_mut(&key);
        if let Some(scene) = member.and_then(|member| member.scene.as_mut()) {
            scene.pointed(now);
        }
    }

    /// The board has changed since `previous`: full members are to see it. Its author sees it
    /// only if their scene may lack the change.
    pub(super) fn boards_are_due(&mut self, now: Now, author: &str, previous: u64) {
        let Some(at) = self.position else { return };
        for member in self.members.values_mut() {
            let Some(scene) = &mut member.scene else {
                continue;
            };
            if member.session_id == author {
                scene.own_came(now, previous, at.revision);
            } else {
                scene.others_changed(now, previous);
            }
        }
        self.send_boards(now);
    }

    /// Sends the board to every member that may be sent one now, and finds out when to look
    /// again.
    pub(super) fn send_boards(&mut self, now: Now) {
        self.boards_at = None;
        let (Some(at), Some(board)) = (self.position, &mut self.board) else {
            return;
        };
        let bytes = board.bytes();
        let mut next: Option<Instant> = None;
        let mut ready = Vec::new();
        for (key, member) in &mut self.members {
            let Some(scene) = &mut member.scene else {
                continue;
            };
            match scene.due(now, at.revision) {
                Some(from) if from <= now.instant => ready.push((scene.last_sent(), *key)),
                Some(from) => {
                    scene.lets_others_send();
                    next = next.into_iter().chain([from]).min();
                }
                None => {}
            }
        }
        let mut fit = self.boards_sent.fit(now, bytes);
        if fit < ready.len() {
            // Members whose last board was sent longest ago come first.
            ready.sort_unstable();
        }
        let mut by_previous: BTreeMap<u64, Vec<MemberKey>> = BTreeMap::new();
        for (_, key) in ready {
            let member = self.members.get_mut(&key);
            let Some(scene) = member.and_then(|member| member.scene.as_mut()) else {
                continue;
            };
            if fit == 0 {
                scene.lets_others_send();
                next = next.into_iter().chain(self.boards_sent.frees_at()).min();
                continue;
            }
            match scene.send_board(now, at.revision, bytes) {
                Ok(previous) => {
                    fit -= 1;
                    by_previous.entry(previous).or_default().push(key);
                }
                Err(from) => next = next.into_iter().chain([from]).min(),
            }
        }
        self.boards_at = next;

        for (previous, to) in by_previous {
            board.was_sent(at.revision);
            self.boards_sent.add(now, bytes * to.len());
            let step = Step {
                epoch: at.epoch,
                revision: at.revision,
                previous,
            };
            let packet = contract::whiteboard_update(&self.room, board.living(), Some(step));
            self.output.push(Output::Emit { to, packet });
        }
    }
}

/// Whether each element can be read and none comes twice. If not, the service refuses the
/// change, and names the element by its place in all of it.
fn are_plain(stamps: &[Option<ElementVersion>]) -> bool {
    let mut seen = std::collections::HashSet::with_capacity(stamps.len());
    stamps
        .iter()
        .all(|stamp| stamp.as_ref().is_some_and(|stamp| seen.insert(&*stamp.id)))
}
