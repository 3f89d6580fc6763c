//! From what the service tells to what sockets hear; pure.

use std::sync::Arc;

use roomkeeper_proto::v1::{self as proto, room_event::Kind};

use crate::{
    contract::{self, Packet, Step, timestamp_ms},
    values::RoomCode,
};

/// One event of a room's feed.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    /// A change that has its place in the room's order.
    Stored(Stored),
    /// Something momentary.
    Signal {
        /// Who sent it, and need not hear it.
        session_id: String,
        /// What the others hear, if browsers know such a signal.
        packet: Option<Packet>,
    },
}

/// A stored change, translated once for all who hear it.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) position: proto::Position,
    pub(crate) previous: u64,
    /// When the room ends unless something more happens, in epoch milliseconds.
    pub(crate) expire_ms: i64,
    pub(crate) session_id: String,
    pub(crate) change: Change,
}

/// What a stored event changed.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Message(Packet),
    Board {
        /// What delta sockets hear.
        packet: Packet,
        elements: Arc<[proto::Element]>,
    },
    Joined(proto::Participant),
    Renamed(proto::Participant),
    Left(proto::Participant),
    /// A change of a kind that is newer than this gateway; it still moves the position.
    Unknown,
}

impl Stored {
    /// The room's position after this change and before it.
    pub(crate) fn step(&self) -> Step {
        Step {
            epoch: self.position.epoch,
            revision: self.position.revision,
            previous: self.previous,
        }
    }

    /// Whether it changed who is present.
    pub(crate) fn is_presence(&self) -> bool {
        matches!(
            self.change,
            Change::Joined(_) | Change::Renamed(_) | Change::Left(_)
        )
    }

    /// How many bytes it takes in memory, about.
    pub(crate) fn size(&self) -> usize {
        let held = match &self.change {
            Change::Message(packet) => packet.len(),
            Change::Board { packet, .. } => 2 * packet.len(),
            Change::Joined(_) | Change::Renamed(_) | Change::Left(_) | Change::Unknown => 256,
        };
        held + size_of::<Self>()
    }
}

/// Translates one event of `room`.
pub(crate) fn translate(room: &RoomCode, event: proto::RoomEvent) -> Happening {
    let proto::RoomEvent {
        position,
        previous,
        expire_time,
        session_id,
        kind,
        ..
    } = event;
    let Some(position) = position else {
        let packet = match kind {
            Some(Kind::Signal(signal)) => contract::signal(room, &signal),
            Some(
                Kind::MessageSaved(_)
                | Kind::WhiteboardChanged(_)
                | Kind::ParticipantJoined(_)
                | Kind::ParticipantRenamed(_)
                | Kind::ParticipantLeft(_),
            )
            | None => None,
        };
        return Happening::Signal { session_id, packet };
    };

    let step = Step {
        epoch: position.epoch,
        revision: position.revision,
        previous,
    };
    let change = match kind {
        Some(Kind::MessageSaved(proto::MessageSaved {
            message: Some(message),
        })) => Change::Message(contract::chat_message(&message, position.epoch, previous)),
        Some(Kind::WhiteboardChanged(changed)) => {
            let texts = changed.elements.iter().map(|element| element.json.as_str());
            Change::Board {
                packet: contract::whiteboard_update(room, texts, Some(step)),
                elements: changed.elements.into(),
            }
        }
        Some(Kind::ParticipantJoined(proto::ParticipantJoined {
            participant: Some(user),
        })) => Change::Joined(user),
        Some(Kind::ParticipantRenamed(proto::ParticipantRenamed {
            participant: Some(user),
        })) => Change::Renamed(user),
        Some(Kind::ParticipantLeft(proto::ParticipantLeft {
            participant: Some(user),
        })) => Change::Left(user),
        Some(
            Kind::MessageSaved(_)
            | Kind::ParticipantJoined(_)
            | Kind::ParticipantRenamed(_)
            | Kind::ParticipantLeft(_)
            | Kind::Signal(_),
        )
        | None => Change::Unknown,
    };
    let expire_ms = timestamp_ms(expire_time.as_ref());
    Happening::Stored(Stored {
        position,
        previous,
        expire_ms,
        session_id,
        change,
    })
}

/// A change that was missed, before it has its place in the chain.
#[derive(Debug, Clone, Copy)]
enum Part<'a> {
    Message(&'a proto::Message),
    /// The elements that one change left.
    Board(&'a [&'a proto::Element]),
    /// Who is present at the end.
    Presence(&'a [proto::Participant]),
}

/// What the members of a room are told of a catch-up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    /// The messages, unless they are told in another way.
    pub(crate) messages: bool,
    /// Who is present, if that has changed.
    pub(crate) presence: bool,
}

/// What was missed between the revisions `last` and `at`, as packets in the order in which
/// it was stored.
///
/// Each carries its own revision and the one before it, from `last` on, so that a reader's
/// chain stays unbroken: a reader that has received an item has received everything up to its
/// revision.
pub(crate) fn missed(
    room: &RoomCode,
    caught_up: &proto::CaughtUp,
    last: u64,
    at: proto::Position,
    told: Told,
) -> Vec<Missed> {
    let mut elements: Vec<&proto::Element> = caught_up.elements.iter().collect();
    // Stable, so that elements of one change keep the order of the board.
    elements.sort_by_key(|element| element.revision);
    let changes = elements.chunk_by(|a, b| a.revision == b.revision);
    let mut parts: Vec<(u64, Part<'_>)> = changes
        .map(|change| (change[0].revision, Part::Board(change)))
        .collect();
    if told.messages {
        let messages = caught_up.messages.iter();
        parts.extend(messages.map(|message| (message.revision, Part::Message(message))));
    }
    parts.sort_by_key(|(revision, _)| *revision);
    if told.presence {
        let revision = revision_of_presence(&parts, last, at.revision);
        parts.push((revision, Part::Presence(&caught_up.participants)));
        parts.sort_by_key(|(revision, _)| *revision);
    }

    let mut previous = last;
    parts
        .into_iter()
        .map(|(revision, part)| {
            let step = Step {
                epoch: at.epoch,
                revision,
                previous,
            };
            previous = revision;
            part.missed(room, caught_up, step)
        })
        .collect()
}

/// The revision at which changed presence is told: the one before the first change that
/// leaves one free.
///
/// A catch-up does not say at which revisions the members came and went. None of them is that
/// of another change, so one is free, and presence moves the chain as any other change does.
fn revision_of_presence(parts: &[(u64, Part<'_>)], last: u64, at: u64) -> u64 {
    let revisions = parts.iter().map(|(revision, _)| *revision);
    let before = std::iter::once(last).chain(revisions.clone());
    before
        .zip(revisions)
        .find(|(previous, revision)| previous + 1 < *revision)
        .map_or(at, |(_, revision)| revision - 1)
}

impl Part<'_> {
    fn missed(self, room: &RoomCode, caught_up: &proto::CaughtUp, step: Step) -> Missed {
        let (packet, board_author) = match self {
            Part::Message(message) => {
                let packet = contract::chat_message(message, step.epoch, step.previous);
                (packet, None)
            }
            Part::Board(change) => {
                let texts = change.iter().map(|element| element.json.as_str());
                let author = caught_up
                    .authors
                    .iter()
                    .find(|author| author.revision == step.revision);
                let author = author.map_or_else(String::new, |a| a.session_id.clone());
                (
                    contract::whiteboard_update(room, texts, Some(step)),
                    Some(author),
                )
            }
            Part::Presence(participants) => {
                (contract::presence_update(room, participants, step), None)
            }
        };
        Missed {
            packet,
            step,
            board_author,
        }
    }
}

/// One item of what was missed.
#[derive(Debug)]
pub(crate) struct Missed {
    pub(crate) packet: Packet,
    pub(crate) step: Step,
    /// Of a change of the board, which session made it, empty where that is not known.
    /// Sockets that get the whole board do not hear of it in this way.
    pub(crate) board_author: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room() -> RoomCode {
        RoomCode::parse("roomId", "123456").unwrap()
    }

    fn position(revision: u64) -> proto::Position {
        proto::Position { epoch: 1, revision }
    }

    #[test]
    fn an_event_without_a_position_is_a_signal() {
        let signal = proto::Signal {
            kind: "typing".to_owned(),
            ..Default::default()
        };
        let event = proto::RoomEvent {
            session_id: "s".to_owned(),
            kind: Some(Kind::Signal(signal)),
            ..Default::default()
        };
        let Happening::Signal { session_id, packet } = translate(&room(), event) else {
            panic!()
        };
        assert_eq!(session_id, "s");
        assert_eq!(
            packet.unwrap().event(),
            crate::contract::ServerEvent::Typing
        );
    }

    #[test]
    fn a_kind_from_the_future_still_moves_the_position() {
        let event = proto::RoomEvent {
            position: Some(proto::Position {
                epoch: 1,
                revision: 9,
            }),
            previous: 8,
            ..Default::default()
        };
        let Happening::Stored(stored) = translate(&room(), event) else {
            panic!()
        };
        assert!(matches!(stored.change, Change::Unknown));
        assert_eq!(
            stored.step(),
            Step {
                epoch: 1,
                revision: 9,
                previous: 8
            }
        );
    }

    #[test]
    fn what_was_missed_is_one_chain_in_the_order_of_revisions() {
        let message = |revision| proto::Message {
            revision,
            ..Default::default()
        };
        let element = |revision| proto::Element {
            revision,
            json: format!("{{\"r\":{revision}}}"),
            ..Default::default()
        };
        let caught_up = proto::CaughtUp {
            messages: vec![message(12), message(15)],
            elements: vec![element(14), element(11), element(14)],
            ..Default::default()
        };
        let told = Told {
            messages: true,
            presence: false,
        };
        let items = missed(&room(), &caught_up, 10, position(16), told);
        let revisions: Vec<_> = items.iter().map(|item| item.step.revision).collect();
        assert_eq!(revisions, [11, 12, 14, 15]);
        for (item, previous) in items.iter().zip([10, 11, 12, 14]) {
            let text = format!("{:?}", item.packet);
            assert!(text.contains(&format!("\"previous\":{previous}")), "{text}");
        }
    }

    #[test]
    fn presence_that_was_missed_is_a_step_where_a_revision_is_free_for_it() {
        for (messages, at, presence, previous) in [
            (&[][..], 14, 14, 10),
            (&[13, 14], 14, 12, 10),
            (&[11, 12, 14], 14, 13, 12),
            (&[11, 12], 13, 13, 12),
        ] {
            let message = |revision: &u64| proto::Message {
                revision: *revision,
                ..Default::default()
            };
            let caught_up = proto::CaughtUp {
                messages: messages.iter().map(message).collect(),
                ..Default::default()
            };
            let told = Told {
                messages: true,
                presence: true,
            };
            let items = missed(&room(), &caught_up, 10, position(at), told);
            let mut chain = 10;
            for item in &items {
                assert_eq!(item.step.previous, chain, "{messages:?}");
                assert!(item.step.revision > chain, "{messages:?}");
                chain = item.step.revision;
            }
            let is_presence =
                |item: &&Missed| item.packet.event() == contract::ServerEvent::PresenceUpdate;
            let step = items.iter().find(is_presence).unwrap().step;
            assert_eq!((step.revision, step.previous), (presence, previous));
        }
    }
}
