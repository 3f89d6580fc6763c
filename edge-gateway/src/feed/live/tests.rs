use proto::{Element, Message, Participant, Position, room_event::Kind};

use super::*;
use crate::feed::live::joining::Joiner;

const EPOCH: u64 = 1;

/// A room under test with a clock that stands still.
struct Room {
    live: LiveRoom,
    now: Now,
    last: u64,
}

impl Room {
    /// A room that is live at revision 10, with nobody here.
    fn new() -> Self {
        let room = RoomCode::parse("roomId", "123456").unwrap();
        let now = Now {
            instant: Instant::now(),
            wall_ms: 1_000,
        };
        let mut live = LiveRoom::new(room);
        live.on_caught_up(now, caught_up(10));
        live.take_output();
        Self {
            live,
            now,
            last: 10,
        }
    }

    fn wait(&mut self, ms: u64) {
        self.now.instant += Duration::from_millis(ms);
        self.live.on_time(self.now);
    }

    /// What is told, as `key event revision<previous`.
    fn told(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        for output in self.live.take_output() {
            match output {
                Output::Emit { to, packet } => {
                    told.extend(to.iter().map(|key| format!("{key} {}", brief(&packet))));
                }
                Output::Admit { key, .. } => told.push(format!("{key} ack")),
                Output::Refuse { key, why } => told.push(format!("{key} {why:?}")),
                Output::Watch { after, why } => {
                    told.push(format!(
                        "watch {:?} {why:?}",
                        after.map(|after| after.revision)
                    ));
                }
                Output::Live => told.push("live".to_owned()),
                Output::End { existed } => told.push(format!("end {existed}")),
            }
        }
        told
    }

    /// A socket that joins with a snapshot of `revision`.
    fn join(&mut self, key: MemberKey, sync: Sync, revision: u64) -> Arc<AtomicUsize> {
        let drawing = Arc::new(AtomicUsize::new(0));
        let joiner = Joiner {
            key,
            session_id: format!("s{key}"),
            sync,
            resumes: false,
            drawing: drawing.clone(),
            snapshot: proto::JoinRoomResponse::default(),
            position: Position {
                epoch: EPOCH,
                revision,
            },
            board: None,
        };
        self.live.join(self.now, joiner);
        drawing
    }

    /// A member that has joined and been shown the room.
    fn member(&mut self, key: MemberKey, sync: Sync) -> Arc<AtomicUsize> {
        let drawing = self.join(key, sync, self.last);
        self.live.take_output();
        drawing
    }

    /// The next event of the feed, by the socket `author`.
    fn event(&mut self, author: MemberKey, kind: Kind) {
        let event = event(self.last, self.last + 10, author, kind);
        self.last += 10;
        self.live.on_event(self.now, event);
    }

    fn draws(&mut self, author: MemberKey, id: &str) {
        let revision = self.last + 10;
        let elements = vec![element(id, revision)];
        self.event(
            author,
            Kind::WhiteboardChanged(proto::WhiteboardChanged {
                user_id: String::new(),
                elements,
            }),
        );
    }

    fn says(&mut self) {
        let message = Some(Message {
            revision: self.last + 10,
            ..Default::default()
        });
        self.event(0, Kind::MessageSaved(proto::MessageSaved { message }));
    }

    fn comes(&mut self, user_id: &str) {
        let participant = Some(user(user_id));
        self.event(
            0,
            Kind::ParticipantJoined(proto::ParticipantJoined { participant }),
        );
    }
}

fn user(user_id: &str) -> Participant {
    Participant {
        user_id: user_id.to_owned(),
        username: user_id.to_owned(),
    }
}

fn element(id: &str, revision: u64) -> Element {
    let json = format!("{{\"id\":\"{id}\"}}");
    Element {
        id: id.to_owned(),
        revision,
        json,
        ..Default::default()
    }
}

fn event(previous: u64, revision: u64, author: MemberKey, kind: Kind) -> proto::RoomEvent {
    proto::RoomEvent {
        position: Some(Position {
            epoch: EPOCH,
            revision,
        }),
        previous,
        session_id: format!("s{author}"),
        kind: Some(kind),
        ..Default::default()
    }
}

fn caught_up(revision: u64) -> proto::CaughtUp {
    let position = Some(Position {
        epoch: EPOCH,
        revision,
    });
    proto::CaughtUp {
        position,
        ..Default::default()
    }
}

fn brief(packet: &Packet) -> String {
    let (first, second) = packet.arguments();
    let at: serde_json::Value = serde_json::from_str(second.unwrap_or(first).get()).unwrap();
    let mut text = packet.event().name().to_owned();
    if let (Some(revision), Some(previous)) = (at["revision"].as_u64(), at["previous"].as_u64()) {
        text.push_str(&format!(" {revision}<{previous}"));
    }
    if let Some(elements) = at["elements"].as_array() {
        let ids: Vec<_> = elements.iter().map(|e| e["id"].as_str().unwrap()).collect();
        text.push_str(&format!(" [{}]", ids.join(" ")));
    }
    text
}

#[test]
fn a_joiner_at_the_rooms_position_is_shown_it_and_then_acknowledged() {
    let mut room = Room::new();
    room.join(1, Sync::Delta, 10);
    assert_eq!(
        room.told(),
        [
            "1 chat:history",
            "1 whiteboard:state []",
            "1 presence:update 10<10",
            "1 ack"
        ]
    );
    room.says();
    assert_eq!(room.told(), ["1 chat:message 20<10"]);
}

#[test]
fn a_joiner_ahead_of_the_feed_waits_for_it() {
    let mut room = Room::new();
    room.join(1, Sync::Delta, 20);
    assert!(room.told().is_empty());
    room.says();
    assert_eq!(room.told()[3], "1 ack", "and the message is in the history");
    room.says();
    assert_eq!(room.told(), ["1 chat:message 30<20"]);
}

#[test]
fn a_joiner_behind_the_feed_is_told_what_came_after_its_snapshot() {
    let mut room = Room::new();
    room.says();
    room.comes("a");
    room.comes("b");
    room.draws(7, "e");
    room.join(1, Sync::Delta, 10);
    assert_eq!(
        room.told()[3..],
        [
            "1 ack",
            "1 chat:message 20<10",
            "1 presence:update 40<20",
            "1 whiteboard-update 50<40 [e]"
        ]
    );
}

#[test]
fn a_snapshot_too_old_to_be_followed_up_is_refused() {
    let mut room = Room::new();
    room.says();
    room.join(1, Sync::Delta, 15);
    assert_eq!(room.told(), ["1 Stale"]);
}

#[test]
fn a_snapshot_of_another_epoch_begins_anew() {
    let mut room = Room::new();
    let joiner = Joiner {
        key: 1,
        session_id: String::new(),
        sync: Sync::Delta,
        resumes: false,
        drawing: Arc::default(),
        snapshot: proto::JoinRoomResponse::default(),
        position: Position {
            epoch: 2,
            revision: 10,
        },
        board: None,
    };
    room.live.join(room.now, joiner);
    assert_eq!(room.told(), ["1 Restart"]);
}

#[test]
fn a_joiner_who_waits_too_long_has_the_feed_asked_and_is_then_given_up() {
    let mut room = Room::new();
    room.join(1, Sync::Delta, 20);
    room.wait(300);
    assert_eq!(room.told(), ["watch Some(10) Gap"]);
    room.wait(1_200);
    assert_eq!(room.told(), ["1 Late"]);
    assert_eq!(room.live.next_deadline(), None);
}

#[test]
fn a_join_that_is_given_up_does_not_come_about_unless_it_has() {
    let mut room = Room::new();
    room.join(1, Sync::Delta, 20);
    room.live.give_up(1);
    room.live.give_up(1);
    assert_eq!(room.told(), ["1 Late"]);
    room.member(2, Sync::Delta);
    room.live.give_up(2);
    room.says();
    assert_eq!(room.told(), ["2 chat:message 20<10"]);
}

#[test]
fn a_delta_socket_has_its_own_drawing_told_as_a_step() {
    let mut room = Room::new();
    room.member(1, Sync::Delta);
    room.member(2, Sync::Delta);
    room.draws(1, "e");
    assert_eq!(
        room.told(),
        ["2 whiteboard-update 20<10 [e]", "1 room:position 20<10"]
    );
}

#[test]
fn a_full_socket_is_told_the_whole_board_but_not_its_own_change() {
    let mut room = Room::new();
    room.member(1, Sync::Full);
    room.member(2, Sync::Full);
    room.draws(1, "a");
    assert_eq!(room.told(), ["2 whiteboard-update 20<10 [a]"]);
    room.wait(1_000);
    room.draws(2, "b");
    assert_eq!(room.told(), ["1 whiteboard-update 30<20 [a b]"]);
}

#[test]
fn a_full_socket_whose_change_may_have_crossed_a_board_is_told_the_board_once_more() {
    let mut room = Room::new();
    room.member(1, Sync::Full);
    room.draws(7, "a");
    room.wait(100);
    room.told();
    room.draws(1, "b");
    assert_eq!(room.told(), ["1 whiteboard-update 30<20 [a b]"]);
    room.wait(900);
    room.draws(1, "c");
    assert_eq!(
        room.told(),
        ["1 whiteboard-update 40<30 [a b c]"],
        "what it was told of its own change crosses the next one too"
    );
    room.wait(1_000);
    room.draws(1, "d");
    assert!(room.told().is_empty());
}

#[test]
fn a_full_socket_that_draws_before_it_is_shown_the_board_is_told_it_once_more() {
    let mut room = Room::new();
    let drawing = room.join(1, Sync::Full, 20);
    drawing.store(1, Ordering::Relaxed);
    room.says();
    room.told();
    room.draws(1, "a");
    assert_eq!(room.told(), ["1 whiteboard-update 30<20 [a]"]);
}

#[test]
fn whole_boards_are_told_once_in_100_ms_and_the_newest_wins() {
    let mut room = Room::new();
    room.member(1, Sync::Full);
    room.draws(7, "a");
    assert_eq!(room.told(), ["1 whiteboard-update 20<10 [a]"]);
    room.draws(7, "b");
    room.draws(7, "c");
    assert!(room.told().is_empty());
    room.wait(100);
    assert_eq!(room.told(), ["1 whiteboard-update 40<20 [a b c]"]);
    room.wait(100);
    assert!(room.told().is_empty());
}

#[test]
fn a_full_socket_whose_change_was_overtaken_is_told_the_board_once_more() {
    let mut room = Room::new();
    let drawing = room.member(1, Sync::Full);
    drawing.store(1, Ordering::Relaxed);
    room.draws(7, "a");
    room.draws(1, "b");
    room.wait(100);
    assert_eq!(
        room.told(),
        [
            "1 whiteboard-update 20<10 [a]",
            "1 whiteboard-update 30<20 [a b]"
        ]
    );
    drawing.store(0, Ordering::Relaxed);
    room.live.change_ended(room.now, 1, false, Some(30));
    room.wait(1_000);
    room.draws(1, "c");
    room.wait(100);
    assert!(room.told().is_empty());
}

#[test]
fn a_full_socket_whose_change_lost_is_told_the_board_once_more() {
    let mut room = Room::new();
    room.member(1, Sync::Full);
    room.draws(7, "a");
    room.wait(100);
    room.told();
    room.live.change_ended(room.now, 1, true, None);
    assert_eq!(room.told(), ["1 whiteboard-update 20<20 [a]"]);
}

#[test]
fn presence_is_told_at_once_then_held_and_told_before_anything_else() {
    let mut room = Room::new();
    room.member(1, Sync::Delta);
    room.comes("a");
    assert_eq!(room.told(), ["1 presence:update 20<10"]);
    room.comes("b");
    room.comes("c");
    assert!(room.told().is_empty());
    room.says();
    assert_eq!(
        room.told(),
        ["1 presence:update 40<20", "1 chat:message 50<40"]
    );
    room.comes("d");
    room.wait(100);
    assert_eq!(room.told(), ["1 presence:update 60<50"]);
}

#[test]
fn who_joins_while_presence_is_held_has_a_chain_of_their_own() {
    let mut room = Room::new();
    room.member(1, Sync::Delta);
    room.comes("a");
    room.comes("b");
    room.told();
    room.member(2, Sync::Delta);
    room.comes("c");
    room.member(3, Sync::Delta);
    room.wait(100);
    assert_eq!(
        room.told(),
        ["1 presence:update 40<20", "2 presence:update 40<30"]
    );
}

#[test]
fn a_gap_or_an_old_event_has_the_room_watched_again_from_its_position() {
    for (previous, revision) in [(15, 30), (10, 10), (0, 5), (20, 30)] {
        let mut room = Room::new();
        room.member(1, Sync::Delta);
        let kind = Kind::MessageSaved(proto::MessageSaved {
            message: Some(Message::default()),
        });
        room.live
            .on_event(room.now, event(previous, revision, 7, kind));
        assert_eq!(room.told(), ["watch Some(10) Gap"], "{previous} {revision}");
        // What still comes from the old watch is not heard.
        room.says();
        assert!(room.told().is_empty());
    }
}

#[test]
fn what_was_missed_is_one_unbroken_chain() {
    let mut room = Room::new();
    room.member(1, Sync::Delta);
    room.member(2, Sync::Full);
    room.live.on_lost();
    assert_eq!(room.told(), ["watch Some(10) Unavailable"]);
    let missed = proto::CaughtUp {
        participants: vec![user("a")],
        messages: vec![Message {
            revision: 30,
            ..Default::default()
        }],
        elements: vec![element("e", 20)],
        ..caught_up(40)
    };
    room.live.on_caught_up(room.now, missed);
    assert_eq!(
        room.told(),
        [
            "1 presence:update 10<10",
            "2 presence:update 10<10",
            "1 whiteboard-update 20<10 [e]",
            "1 chat:message 30<20",
            "2 chat:message 30<20",
            "1 room:position 40<30",
            "2 whiteboard-update 40<10 [e]",
            "live"
        ]
    );
    room.last = 40;
    room.says();
    assert_eq!(
        room.told(),
        ["1 chat:message 50<40", "2 chat:message 50<40"]
    );
}

#[test]
fn a_catch_up_that_missed_nothing_tells_nothing() {
    let mut room = Room::new();
    room.member(1, Sync::Delta);
    room.live.on_lost();
    room.live.on_caught_up(room.now, caught_up(10));
    assert_eq!(room.told(), ["watch Some(10) Unavailable", "live"]);
}

#[test]
fn a_reset_replaces_everything_and_moves_every_chain() {
    let mut room = Room::new();
    room.member(1, Sync::Delta);
    room.member(2, Sync::Full);
    let everything = proto::CaughtUp {
        reset: true,
        elements: vec![element("e", 4)],
        ..caught_up(5)
    };
    room.live.on_caught_up(room.now, everything);
    assert_eq!(
        room.told(),
        [
            "1 chat:history",
            "1 whiteboard:state [e]",
            "2 chat:history",
            "2 whiteboard:state [e]",
            "1 presence:update 5<10",
            "2 presence:update 5<10"
        ]
    );
    room.last = 5;
    room.draws(7, "f");
    assert_eq!(
        room.told(),
        [
            "1 whiteboard-update 15<5 [f]",
            "2 whiteboard-update 15<5 [e f]"
        ]
    );
}

#[test]
fn a_change_that_was_answered_before_a_reset_and_comes_after_it_is_shown_to_its_author() {
    let mut room = Room::new();
    room.member(1, Sync::Delta);
    let everything = proto::CaughtUp {
        reset: true,
        ..caught_up(10)
    };
    room.live.on_caught_up(room.now, everything);
    room.told();
    room.draws(1, "own");
    assert_eq!(room.told(), ["1 whiteboard-update 20<10 [own]"]);
    room.wait(5_000);
    room.draws(1, "later");
    assert_eq!(room.told(), ["1 room:position 30<20"]);
}

#[test]
fn another_epoch_ends_the_room_and_moves_nobody() {
    let mut room = Room::new();
    room.member(1, Sync::Delta);
    let position = Some(Position {
        epoch: 2,
        revision: 99,
    });
    room.live.on_caught_up(
        room.now,
        proto::CaughtUp {
            position,
            ..Default::default()
        },
    );
    let output = room.live.take_output();
    let Output::Emit { packet, .. } = &output[0] else {
        panic!()
    };
    assert!(format!("{packet:?}").contains("deleted"));
    assert!(matches!(output[1], Output::End { existed: true }));
}

#[test]
fn a_room_that_vanishes_after_its_time_has_expired() {
    let mut room = Room::new();
    let expire_time = Some(prost_types::Timestamp {
        seconds: 0,
        nanos: 500_000_000,
    });
    room.live.on_caught_up(
        room.now,
        proto::CaughtUp {
            expire_time,
            ..caught_up(10)
        },
    );
    room.member(1, Sync::Delta);
    let reason = proto::CloseReason::NotFound.into();
    room.live.on_closed(
        room.now,
        &proto::Closed {
            reason,
            message: String::new(),
        },
    );
    let output = room.live.take_output();
    let Output::Emit { packet, .. } = &output[0] else {
        panic!()
    };
    assert!(format!("{packet:?}").contains("expired"));
}

#[test]
fn a_room_that_was_never_there_ends_without_a_word() {
    let room = RoomCode::parse("roomId", "123456").unwrap();
    let mut live = LiveRoom::new(room);
    let now = Now {
        instant: Instant::now(),
        wall_ms: 0,
    };
    let reason = proto::CloseReason::NotFound.into();
    live.on_closed(
        now,
        &proto::Closed {
            reason,
            message: String::new(),
        },
    );
    assert!(matches!(
        live.take_output()[..],
        [Output::End { existed: false }]
    ));
}

#[test]
fn a_signal_reaches_everybody_but_its_sender() {
    let mut room = Room::new();
    room.member(1, Sync::Delta);
    room.member(2, Sync::Full);
    let signal = proto::Signal {
        kind: "typing".to_owned(),
        ..Default::default()
    };
    let event = proto::RoomEvent {
        session_id: "s1".to_owned(),
        kind: Some(Kind::Signal(signal)),
        ..Default::default()
    };
    room.live.on_event(room.now, event);
    assert_eq!(room.told(), ["2 chat:typing"]);
}

#[test]
fn who_left_hears_nothing_more() {
    let mut room = Room::new();
    room.member(1, Sync::Full);
    room.live.leave(1);
    room.says();
    room.draws(7, "e");
    room.wait(1_000);
    assert!(room.told().is_empty());
    assert!(room.live.board.is_none());
}
