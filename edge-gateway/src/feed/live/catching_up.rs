//! What members are told when events could not be handed over one by one: what they missed,
//! or everything anew.

use roomkeeper_proto::v1 as proto;
use tracing::info;

use super::{LiveRoom, Now};
use crate::{
    contract::{self, Resumed, Step, SyncMode},
    feed::{
        board::Board,
        translate::{Told, missed},
    },
};

/// How many messages a full member is shown after a reset where the service is too old to
/// say how many a joiner is shown.
const HISTORY: usize = 50;

impl LiveRoom {
    /// Tells what was missed between `last` and `at`.
    pub(super) fn catch_up(
        &mut self,
        now: Now,
        last: proto::Position,
        at: proto::Position,
        caught_up: &proto::CaughtUp,
    ) {
        if at.revision == last.revision {
            return;
        }
        self.flush_presence(now);
        self.ring.clear();
        let presence = self.participants != caught_up.participants;
        if presence {
            self.participants.clone_from(&caught_up.participants);
            self.presence_told = Some(now.instant);
        }
        let truncated = caught_up.history_truncated;
        if truncated {
            info!(room.code = %self.room, "messages were lost from the history while catching up");
            let resumed = Some(Resumed {
                reset: false,
                truncated: true,
            });
            let history = contract::chat_history(&self.room, &caught_up.messages, resumed);
            self.tell(history, |_| true);
        }
        let told = Told {
            messages: !truncated,
            presence,
        };
        let items = missed(&self.room, caught_up, last.revision, at, told);
        let mut authors = items.iter().filter_map(|item| item.board_author.clone());
        // Whose changes these are, if they are all of one session.
        let author = authors.next().unwrap_or_default();
        let author = if authors.all(|other| other == author) {
            author
        } else {
            String::new()
        };
        let mut previous = last.revision;
        for item in items {
            previous = item.step.revision;
            let Some(author) = item.board_author else {
                self.tell(item.packet, |_| true);
                continue;
            };
            // Nobody has a session without a name, so an unknown author hears it too.
            self.tell(item.packet, |member| {
                member.sync == SyncMode::Delta && member.session_id != author
            });
            self.tell(contract::room_position(&self.room, item.step), |member| {
                member.sync == SyncMode::Delta && member.session_id == author
            });
        }
        self.all_are_at(previous);

        self.position = Some(at);
        self.close_chains(at);
        if !caught_up.elements.is_empty() {
            if let Some(board) = &mut self.board {
                board.apply(&caught_up.elements);
            }
            self.boards_are_due(now, &author, last.revision);
        }
    }

    /// Replaces everything: what members hold and is not in it is gone.
    pub(super) fn replace(
        &mut self,
        now: Now,
        last: proto::Position,
        at: proto::Position,
        caught_up: &proto::CaughtUp,
    ) {
        info!(room.code = %self.room, from = last.revision, to = at.revision, "the room was reset");
        self.flush_presence(now);
        self.ring.clear();
        self.participants.clone_from(&caught_up.participants);
        if self.board.is_some() {
            self.board = Some(Board::new(&caught_up.elements));
        }

        let living = caught_up
            .elements
            .iter()
            .filter(|element| !element.is_deleted)
            .map(|element| element.json.as_str());
        let resumed = Some(Resumed {
            reset: true,
            truncated: false,
        });
        let delta = [
            contract::chat_history(&self.room, &caught_up.messages, resumed),
            contract::whiteboard_state(&self.room, living, Some(true)),
        ];
        for packet in delta {
            self.tell(packet, |member| member.sync == SyncMode::Delta);
        }
        let shown = match caught_up.history_limit {
            0 => HISTORY,
            limit => usize::try_from(limit).unwrap_or(usize::MAX),
        };
        let newest = caught_up.messages.len().saturating_sub(shown);
        let history = contract::chat_history(&self.room, &caught_up.messages[newest..], None);
        self.tell(history, |member| member.sync == SyncMode::Full);
        let step = Step {
            epoch: at.epoch,
            revision: at.revision,
            previous: last.revision,
        };
        let presence = contract::presence_update(&self.room, &self.participants, step);
        self.tell(presence, |_| true);
        self.presence_told = Some(now.instant);
        self.all_are_at(at.revision);
        for member in self.members.values_mut() {
            member.reset = Some(now.instant);
            // A full member gets the board like any other, so that no stroke is cut.
            if let Some(scene) = &mut member.scene {
                scene.reset(now, at.revision);
            }
        }
        self.position = Some(at);
        self.send_boards(now);
    }
}
