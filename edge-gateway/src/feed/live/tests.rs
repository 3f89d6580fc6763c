use proto::{Element, Message, Participant, Position, room_event::Kind};

use super::*;
use crate::{
    contract::ElementVersion,
    feed::{
        BoardPace,
        live::{boards::NewChange, joining::Joiner},
        unread::Unread,
    },
};

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
    fn join(&mut self, key: MemberKey, sync: SyncMode, revision: u64) -> Unread {
        self.join_at_pace(key, sync, revision, &BoardPace::default())
    }

    /// A socket that joins and may already be in other rooms, at whose pace it is.
    fn join_at_pace(
        &mut self,
        key: MemberKey,
        sync: SyncMode,
        revision: u64,
        pace: &BoardPace,
    ) -> Unread {
        let unread = Unread::default();
        let joiner = Joiner {
            key,
            session_id: format!("s{key}"),
            sync,
            resumes: false,
            unread: unread.clone(),
            pace: pace.clone(),
            snapshot: proto::JoinRoomResponse::default(),
            position: Position {
                epoch: EPOCH,
                revision,
            },
            board: None,
        };
        self.live.join(self.now, joiner);
        unread
    }

    /// A member that has joined and been shown the room.
    fn member(&mut self, key: MemberKey, sync: SyncMode) -> Unread {
        let unread = self.join(key, sync, self.last);
        self.live.take_output();
        unread
    }

    /// A change of a full member arrives; which elements the service has to see.
    fn change_comes(&mut self, key: MemberKey, elements: &[(&str, u64)]) -> Vec<bool> {
        let now = self.now.instant;
        self.change_came_at(key, now, elements)
    }

    fn change_came_at(
        &mut self,
        key: MemberKey,
        came: Instant,
        elements: &[(&str, u64)],
    ) -> Vec<bool> {
        let stamp = |(id, version): &(&str, u64)| {
            Some(ElementVersion {
                id: (*id).to_owned(),
                version: *version,
                nonce: 0,
            })
        };
        let change = NewChange {
            unread: Unread::default().count(came),
            stamps: elements.iter().map(stamp).collect(),
            is_repeatable: false,
        };
        self.live.change_came(self.now, key, change).unwrap()
    }

    /// The service has answered a change of a full member.
    fn answered(&mut self, key: MemberKey, lost: bool, event_at: Option<u64>) {
        let answer = ChangeAnswer {
            lost,
            left_out: false,
            event_at,
        };
        self.live.change_ended(self.now, key, Some(answer));
    }

    /// A full member draws: its change arrives, is stored, comes on the feed, is answered.
    fn strokes(&mut self, key: MemberKey, id: &str, version: u64) {
        self.change_comes(key, &[(id, version)]);
        self.stored(key, id, version);
        self.answered(key, false, Some(self.last));
    }

    /// An element of this version comes on the feed.
    fn stored(&mut self, author: MemberKey, id: &str, version: u64) {
        let element = Element {
            version,
            ..element(id, self.last + 10)
        };
        self.board_event(author, vec![element]);
    }

    fn board_event(&mut self, author: MemberKey, elements: Vec<Element>) {
        self.event(
            author,
            Kind::WhiteboardChanged(proto::WhiteboardChanged {
                user_id: String::new(),
                elements,
            }),
        );
    }

    /// The next event of the feed, by the socket `author`.
    fn event(&mut self, author: MemberKey, kind: Kind) {
        let event = event(self.last, self.last + 10, author, kind);
        self.last += 10;
        self.live.on_event(self.now, event);
    }

    fn draws(&mut self, author: MemberKey, id: &str) {
        let elements = vec![element(id, self.last + 10)];
        self.board_event(author, elements);
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
    room.join(1, SyncMode::Delta, 10);
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
    room.join(1, SyncMode::Delta, 20);
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
    room.join(1, SyncMode::Delta, 10);
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
    room.join(1, SyncMode::Delta, 15);
    assert_eq!(room.told(), ["1 Stale"]);
}

#[test]
fn a_snapshot_of_another_epoch_begins_anew() {
    let mut room = Room::new();
    let joiner = Joiner {
        key: 1,
        session_id: String::new(),
        sync: SyncMode::Delta,
        resumes: false,
        unread: Unread::default(),
        pace: BoardPace::default(),
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
    room.join(1, SyncMode::Delta, 20);
    room.wait(300);
    assert_eq!(room.told(), ["watch Some(10) Gap"]);
    room.wait(1_200);
    assert_eq!(room.told(), ["1 Late"]);
    assert_eq!(room.live.next_deadline(), None);
}

#[test]
fn a_join_that_is_given_up_does_not_come_about_unless_it_has() {
    let mut room = Room::new();
    room.join(1, SyncMode::Delta, 20);
    room.live.give_up(1);
    room.live.give_up(1);
    assert_eq!(room.told(), ["1 Late"]);
    room.member(2, SyncMode::Delta);
    room.live.give_up(2);
    room.says();
    assert_eq!(room.told(), ["2 chat:message 20<10"]);
}

#[test]
fn a_delta_socket_has_its_own_drawing_told_as_a_step() {
    let mut room = Room::new();
    room.member(1, SyncMode::Delta);
    room.member(2, SyncMode::Delta);
    room.draws(1, "e");
    assert_eq!(
        room.told(),
        ["2 whiteboard-update 20<10 [e]", "1 room:position 20<10"]
    );
}

#[test]
fn a_full_socket_is_told_the_whole_board_but_not_its_own_change() {
    let mut room = Room::new();
    room.member(1, SyncMode::Full);
    room.member(2, SyncMode::Full);
    room.draws(1, "a");
    assert_eq!(room.told(), ["2 whiteboard-update 20<10 [a]"]);
    room.wait(1_000);
    room.draws(2, "b");
    assert_eq!(room.told(), ["1 whiteboard-update 30<20 [a b]"]);
}

/// The board that one member was sent at `revision`, which is told by its own elements.
fn sent(key: MemberKey, step: &str, elements: &str) -> Vec<String> {
    vec![format!("{key} whiteboard-update {step} [{elements}]")]
}

#[test]
fn a_member_that_draws_is_sent_no_board_and_one_after_it_has_stopped() {
    let mut room = Room::new();
    room.member(1, SyncMode::Full);
    room.member(2, SyncMode::Full);
    room.strokes(1, "a", 1);
    assert_eq!(room.told(), sent(2, "20<10", "a"));
    room.wait(400);
    for version in 1..=60 {
        room.strokes(2, "b", version);
        room.wait(17);
        let told = room.told();
        assert!(told.iter().all(|told| told.starts_with("1 ")), "{told:?}");
    }
    room.wait(282);
    room.told();
    room.wait(1);
    assert_eq!(
        room.told(),
        sent(2, "620<20", "a b"),
        "300 ms after the last"
    );
    room.wait(60_000);
    assert!(room.told().is_empty());
}

#[test]
fn a_member_that_echoes_each_board_with_its_whole_scene_is_sent_no_more_boards() {
    let mut room = Room::new();
    room.member(1, SyncMode::Full);
    room.member(2, SyncMode::Full);
    room.strokes(1, "a", 1);
    room.told();
    assert_eq!(room.change_comes(2, &[("a", 1)]), [false]);
    room.wait(400);
    for version in 1..=60 {
        let new = room.change_comes(2, &[("a", 1), ("b", version)]);
        assert_eq!(new, [false, true]);
        room.stored(2, "b", version);
        let revision = room.last;
        room.answered(2, false, Some(revision));
        // The viewer sends back what it was shown, while the next version is on its way.
        room.wait(17);
        assert_eq!(
            room.change_comes(1, &[("a", 1), ("b", version)]),
            [false; 2]
        );
        assert!(!room.told().iter().any(|told| told.starts_with("2 ")));
    }
    room.wait(300);
    assert_eq!(room.told(), sent(2, "620<20", "a b"));
    assert_eq!(room.change_comes(2, &[("a", 1), ("b", 60)]), [false; 2]);
    room.wait(60_000);
    assert!(room.told().is_empty());
}

#[test]
fn an_echo_is_no_drawing_even_if_the_board_has_moved_on() {
    let mut room = Room::new();
    room.member(1, SyncMode::Full);
    room.stored(7, "a", 1);
    room.wait(100);
    room.stored(7, "a", 2);
    room.wait(100);
    room.told();
    // It was sent version 1, which has lost by now.
    assert_eq!(room.change_comes(1, &[("a", 1)]), [true]);
    room.answered(1, true, None);
    assert_eq!(room.told(), sent(1, "30<30", "a"), "at once");
    // Version 3 was sent to nobody here, so this is a stroke.
    room.change_comes(1, &[("a", 3)]);
    room.wait(100);
    room.stored(7, "b", 1);
    assert!(room.told().is_empty());
}

#[test]
fn a_state_that_another_member_was_sent_is_a_stroke_of_its_author() {
    let mut room = Room::new();
    room.member(1, SyncMode::Full);
    room.member(2, SyncMode::Full);
    room.strokes(1, "a", 1);
    room.strokes(1, "a", 2);
    room.wait(1_000);
    room.told();
    room.change_comes(1, &[("a", 1)]);
    room.answered(1, true, None);
    assert!(room.told().is_empty());
    room.wait(300);
    assert_eq!(room.told(), sent(1, "30<30", "a"));
}

#[test]
fn a_pointer_holds_the_board_as_a_stroke_does() {
    let mut room = Room::new();
    room.member(1, SyncMode::Full);
    room.live.pointed(room.now, 1);
    room.wait(200);
    room.stored(7, "a", 1);
    assert!(room.told().is_empty());
    room.wait(99);
    assert!(room.told().is_empty());
    room.wait(1);
    assert_eq!(room.told(), sent(1, "20<10", "a"));
}

#[test]
fn a_member_that_never_stops_drawing_is_sent_the_board_after_30_s() {
    let mut room = Room::new();
    room.member(1, SyncMode::Full);
    room.live.pointed(room.now, 1);
    room.stored(7, "a", 1);
    for boards in 1..=2 {
        for _ in 0..299 {
            room.wait(100);
            room.live.pointed(room.now, 1);
            assert!(room.told().is_empty());
        }
        room.wait(100);
        assert_eq!(room.told().len(), 1, "board {boards}");
        room.live.pointed(room.now, 1);
        room.stored(7, "a", boards + 1);
    }
}

#[test]
fn an_event_that_nobody_has_looked_at_holds_the_board() {
    let mut room = Room::new();
    let unread = room.member(1, SyncMode::Full);
    let event = unread.count(room.now.instant);
    room.stored(7, "a", 1);
    room.wait(1_000);
    assert!(room.told().is_empty());
    assert!(room.live.next_deadline().is_some());
    drop(event);
    room.wait(20);
    assert_eq!(room.told(), sent(1, "20<10", "a"));
}

#[test]
fn a_change_within_a_second_of_a_board_is_answered_with_one_more_and_that_opens_no_second() {
    let mut room = Room::new();
    room.member(1, SyncMode::Full);
    room.stored(7, "a", 1);
    room.told();
    room.wait(999);
    room.strokes(1, "b", 1);
    room.wait(299);
    assert!(room.told().is_empty());
    room.wait(1);
    assert_eq!(room.told(), sent(1, "30<20", "a b"));
    room.wait(500);
    room.strokes(1, "b", 2);
    room.wait(60_000);
    assert!(room.told().is_empty(), "its own board opened no second");
}

#[test]
fn a_change_more_than_a_second_after_a_board_is_answered_with_none() {
    let mut room = Room::new();
    room.member(1, SyncMode::Full);
    room.stored(7, "a", 1);
    room.told();
    room.wait(1_000);
    room.strokes(1, "b", 1);
    room.wait(60_000);
    assert!(room.told().is_empty());
}

#[test]
fn a_change_that_waited_in_the_queue_crossed_the_board_that_was_sent_meanwhile() {
    let mut room = Room::new();
    room.member(1, SyncMode::Full);
    let came = room.now.instant;
    room.wait(1);
    room.stored(7, "a", 1);
    room.told();
    room.wait(5_000);
    room.change_came_at(1, came, &[("b", 1)]);
    room.stored(1, "b", 1);
    assert_eq!(room.told(), sent(1, "30<20", "a b"));
}

#[test]
fn a_member_that_drew_before_it_was_shown_the_board_is_sent_it_once_more() {
    let mut room = Room::new();
    let came = room.now.instant;
    room.wait(1);
    room.member(1, SyncMode::Full);
    room.wait(1);
    room.change_came_at(1, came, &[("a", 1)]);
    room.stored(1, "a", 1);
    room.answered(1, false, Some(20));
    room.wait(300);
    assert_eq!(room.told(), sent(1, "20<10", "a"));
}

#[test]
fn a_board_that_lacks_a_change_under_way_is_followed_by_one_that_holds_it() {
    let mut room = Room::new();
    room.member(1, SyncMode::Full);
    room.change_comes(1, &[("b", 1)]);
    room.stored(7, "a", 1);
    room.wait(599);
    assert!(room.told().is_empty(), "the change may still come");
    room.wait(1);
    assert_eq!(room.told(), sent(1, "20<10", "a"));
    room.wait(1_500);
    // The answer comes before the event.
    room.answered(1, false, Some(30));
    assert!(room.told().is_empty());
    room.stored(1, "b", 1);
    assert_eq!(room.told(), sent(1, "30<20", "a b"));
}

#[test]
fn a_change_with_an_unknown_outcome_is_shown_when_it_comes_after_all() {
    let mut room = Room::new();
    room.member(1, SyncMode::Full);
    room.change_comes(1, &[("b", 1)]);
    room.stored(7, "a", 1);
    room.wait(5_000);
    assert_eq!(room.told(), sent(1, "20<10", "a"));
    room.wait(5_000);
    room.stored(1, "b", 1);
    assert_eq!(room.told(), sent(1, "30<20", "a b"));
}

#[test]
fn a_change_that_was_refused_leaves_nothing_to_show() {
    let mut room = Room::new();
    room.member(1, SyncMode::Full);
    room.stored(7, "a", 1);
    room.told();
    room.change_comes(1, &[("b", 1)]);
    room.live.change_ended(room.now, 1, None);
    room.wait(60_000);
    assert!(room.told().is_empty());
}

#[test]
fn a_member_whose_change_lost_is_sent_the_board_after_it_has_stopped_drawing() {
    let mut room = Room::new();
    room.member(1, SyncMode::Full);
    room.stored(7, "a", 5);
    room.wait(5_000);
    room.told();
    room.change_comes(1, &[("a", 4), ("c", 1)]);
    // Part of it won, and the answer comes before the event.
    room.answered(1, true, Some(30));
    room.wait(299);
    room.stored(1, "c", 1);
    assert!(room.told().is_empty());
    room.wait(1);
    assert_eq!(room.told(), sent(1, "30<20", "a c"));
    room.wait(60_000);
    assert!(room.told().is_empty());
}

#[test]
fn a_member_that_keeps_an_element_that_is_left_out_is_sent_no_board_for_it() {
    let mut room = Room::new();
    room.member(1, SyncMode::Full);
    room.stored(7, "a", 1);
    assert_eq!(room.told(), sent(1, "20<10", "a"));
    for _ in 0..10 {
        // The service has to see the element each time, so that it counts it as rejected.
        let new = room.change_comes(1, &[("a", 1), ("bad", 1)]);
        assert_eq!(new, [false, true]);
        let answer = ChangeAnswer {
            lost: false,
            left_out: true,
            event_at: None,
        };
        room.live.change_ended(room.now, 1, Some(answer));
        room.wait(1_000);
        assert!(room.told().is_empty());
    }
    // An element that lost in the same change makes a board due as ever.
    room.change_comes(1, &[("a", 0), ("bad", 1)]);
    let answer = ChangeAnswer {
        lost: true,
        left_out: true,
        event_at: None,
    };
    room.live.change_ended(room.now, 1, Some(answer));
    room.wait(300);
    assert_eq!(room.told(), sent(1, "20<20", "a"));
}

#[test]
fn an_empty_scene_is_answered_with_the_board_once_a_second_if_that_holds_anything() {
    let mut room = Room::new();
    room.member(1, SyncMode::Full);
    assert!(room.change_comes(1, &[]).is_empty());
    assert!(room.told().is_empty());
    room.stored(7, "a", 1);
    room.told();
    room.wait(100);
    room.change_comes(1, &[]);
    assert_eq!(room.told(), sent(1, "20<20", "a"));
    room.wait(900);
    room.change_comes(1, &[]);
    room.wait(99);
    assert!(room.told().is_empty());
    room.wait(1);
    room.change_comes(1, &[]);
    assert_eq!(room.told(), sent(1, "20<20", "a"));
}

#[test]
fn an_element_goes_to_the_service_unless_the_board_holds_it() {
    let mut room = Room::new();
    room.member(1, SyncMode::Full);
    room.stored(7, "a", 1);
    room.stored(7, "b", 1);
    let scene = [("a", 1), ("b", 2), ("c", 1)];
    assert_eq!(room.change_comes(1, &scene), [false, true, true]);
    assert_eq!(room.change_comes(1, &[("a", 1), ("b", 1)]), [false, false]);
    let twice = [("a", 1), ("a", 1)];
    assert_eq!(
        room.change_comes(1, &twice),
        [true, true],
        "it is refused whole"
    );
    let change = NewChange {
        unread: Unread::default().count(room.now.instant),
        stamps: vec![
            Some(ElementVersion {
                id: "a".to_owned(),
                version: 1,
                nonce: 0,
            }),
            None,
        ],
        is_repeatable: false,
    };
    let new = room.live.change_came(room.now, 1, change).unwrap();
    assert_eq!(new, [true, true], "it is refused whole");
    let change = NewChange {
        unread: Unread::default().count(room.now.instant),
        stamps: vec![Some(ElementVersion {
            id: "a".to_owned(),
            version: 1,
            nonce: 0,
        })],
        is_repeatable: true,
    };
    let new = room.live.change_came(room.now, 1, change).unwrap();
    assert_eq!(new, [true], "a repeated request is compared whole");
}

#[test]
fn a_tombstone_that_is_older_than_the_board_goes_to_the_service_once() {
    let mut room = Room::new();
    room.member(1, SyncMode::Full);
    assert_eq!(room.change_comes(1, &[("gone", 4)]), [true]);
    room.answered(1, false, None);
    assert_eq!(room.change_comes(1, &[("gone", 4)]), [false]);
}

#[test]
fn a_small_board_is_sent_at_once_and_60_times_a_second() {
    let mut room = Room::new();
    room.member(1, SyncMode::Full);
    let mut boards = 0;
    for version in 1..=2_000 {
        room.stored(7, "a", version);
        boards += room.told().len();
        assert!(version > 1 || boards == 1, "the first comes at once");
        room.wait(1);
        boards += room.told().len();
    }
    assert!((115..=121).contains(&boards), "{boards} in 2 s");
    room.wait(50);
    room.told();
    room.wait(50);
    for version in 3_001..=3_003 {
        room.stored(7, "a", version);
        assert_eq!(room.told().len(), 1, "a few follow each other closely");
        room.wait(1);
    }
    room.stored(7, "a", 3_004);
    assert!(room.told().is_empty());
}

/// An element of so many bytes.
fn large(id: &str, revision: u64, bytes: usize) -> Element {
    let json = format!("{{\"id\":\"{id}\",\"x\":\"{}\"}}", "x".repeat(bytes));
    Element {
        version: revision,
        json,
        ..element(id, revision)
    }
}

/// Whom boards of so many bytes are sent within so many seconds while one small element
/// changes all the time.
fn boards_of(room: &mut Room, bytes: usize, seconds: u64) -> Vec<MemberKey> {
    let mut boards = Vec::new();
    room.board_event(77, vec![large("a", room.last + 10, bytes)]);
    for version in 0..seconds * 100 {
        room.stored(77, "b", version);
        room.wait(10);
        for output in room.live.take_output() {
            if let Output::Emit { to, .. } = output {
                boards.extend(to);
            }
        }
    }
    boards
}

#[test]
fn one_socket_is_sent_4_mib_of_boards_a_second() {
    for bytes in [100 << 10, 1 << 20, 3 << 20, 8 << 20] {
        let mut room = Room::new();
        room.member(1, SyncMode::Full);
        let boards = boards_of(&mut room, bytes, 4).len();
        let fit = 4 * (4 << 20) / bytes;
        // The first is sent at the very beginning.
        assert!(boards <= fit + 1, "{boards} of {bytes}");
        assert!(boards * 4 >= fit * 3 - 4, "{boards} of {bytes}");
    }
}

/// Rooms whose clocks agree, and one socket that is a full member of all of them.
fn rooms_of_one_socket(count: usize) -> Vec<Room> {
    let pace = BoardPace::default();
    let mut rooms: Vec<Room> = (0..count).map(|_| Room::new()).collect();
    let now = rooms[0].now;
    for room in &mut rooms {
        room.now = now;
        room.join_at_pace(1, SyncMode::Full, 10, &pace);
        room.live.take_output();
    }
    rooms
}

/// Lets a millisecond pass in each room. Returns the rooms that have sent a board.
fn pass(rooms: &mut [Room]) -> Vec<usize> {
    let mut sent = Vec::new();
    for (index, room) in rooms.iter_mut().enumerate() {
        room.wait(1);
        sent.extend(room.told().iter().map(|_| index));
    }
    sent
}

#[test]
fn the_rooms_of_one_socket_are_sent_boards_at_one_pace_in_turn_and_each_its_newest() {
    for (bytes, a_second) in [(300_000, 13), (100, 60)] {
        let mut rooms = rooms_of_one_socket(4);
        for room in &mut rooms {
            room.board_event(77, vec![large("a", 20, bytes)]);
        }
        let mut boards = Vec::new();
        for ms in 0..4_000 {
            for room in &mut rooms {
                room.stored(77, "b", ms);
            }
            for room in pass(&mut rooms) {
                boards.push((ms, room));
            }
        }
        for (first, (from, _)) in boards.iter().enumerate() {
            let second = boards[first..]
                .iter()
                .take_while(|(ms, _)| *ms < from + 1_000);
            let count = second.count();
            assert!(count <= a_second, "{count} boards of {bytes} in a second");
        }
        for room in 0..rooms.len() {
            let count = boards.iter().filter(|(_, of)| *of == room).count();
            assert!(count >= a_second * 3 / 4, "{count} boards of {bytes}");
        }
        // The newest board of each room comes in the end.
        let mut missing: Vec<usize> = (0..rooms.len()).collect();
        for _ in 0..400 {
            let sent = pass(&mut rooms);
            missing.retain(|room| !sent.contains(room));
        }
        assert!(missing.is_empty(), "{missing:?}");
        assert!(rooms.iter().all(|room| room.live.boards_at.is_none()));
    }
}

#[test]
fn a_room_that_changes_all_the_time_leaves_the_other_rooms_of_the_socket_their_turn() {
    let mut rooms = rooms_of_one_socket(2);
    rooms[0].board_event(77, vec![large("a", 20, 400_000)]);
    for version in 0..20 {
        rooms[1].stored(77, "quiet", version);
        let mut waited = 0;
        let mut sent = rooms[1].told().len();
        while sent == 0 {
            rooms[0].stored(77, "b", version * 1_000 + waited);
            sent = pass(&mut rooms).iter().filter(|room| **room == 1).count();
            waited += 1;
        }
        assert!(waited <= 300, "{waited} ms");
    }
}

#[test]
fn a_room_whose_board_is_held_keeps_no_other_room_of_the_socket_waiting() {
    let mut rooms = rooms_of_one_socket(2);
    // The first board takes half a second, and the next ones wait for it.
    rooms[0].board_event(77, vec![large("a", 20, 2_000_000)]);
    assert_eq!(rooms[0].told().len(), 1);
    rooms[0].stored(77, "b", 1);
    rooms[1].stored(77, "c", 1);
    assert!(pass(&mut rooms).is_empty());
    let mut sent = Vec::new();
    for ms in 0..700 {
        if ms % 100 == 0 {
            let now = rooms[0].now;
            rooms[0].live.pointed(now, 1);
        }
        sent.extend(pass(&mut rooms));
    }
    assert_eq!(sent, [1], "the member draws in the other room");
}

#[test]
fn the_full_members_of_a_room_are_sent_32_mib_a_second_together_and_in_turn() {
    let mut room = Room::new();
    for key in 1..=40 {
        room.member(key, SyncMode::Full);
    }
    let boards = boards_of(&mut room, 1 << 20, 4);
    assert!((100..=128).contains(&boards.len()), "{}", boards.len());
    for key in 1..=40 {
        let count = boards.iter().filter(|to| **to == key).count();
        assert!((2..=4).contains(&count), "{count} for {key}");
    }
}

#[test]
fn a_member_that_joins_again_goes_on_drawing() {
    let mut room = Room::new();
    room.member(1, SyncMode::Full);
    room.change_comes(1, &[("b", 1)]);
    room.member(1, SyncMode::Full);
    room.stored(7, "a", 1);
    assert!(room.told().is_empty());
    room.stored(1, "b", 1);
    room.answered(1, false, Some(30));
    room.wait(300);
    assert_eq!(room.told(), sent(1, "30<10", "a b"));
}

#[test]
fn presence_is_told_at_once_then_held_and_told_before_anything_else() {
    let mut room = Room::new();
    room.member(1, SyncMode::Delta);
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
    room.member(1, SyncMode::Delta);
    room.comes("a");
    room.comes("b");
    room.told();
    room.member(2, SyncMode::Delta);
    room.comes("c");
    room.member(3, SyncMode::Delta);
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
        room.member(1, SyncMode::Delta);
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
    room.member(1, SyncMode::Delta);
    room.member(2, SyncMode::Full);
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
            "1 presence:update 19<10",
            "2 presence:update 19<10",
            "1 whiteboard-update 20<19 [e]",
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
fn members_that_came_while_events_were_lost_move_every_chain() {
    let mut room = Room::new();
    room.member(1, SyncMode::Delta);
    room.member(2, SyncMode::Full);
    room.live.on_lost();
    let missed = proto::CaughtUp {
        participants: vec![user("a")],
        ..caught_up(40)
    };
    room.live.on_caught_up(room.now, missed);
    assert_eq!(
        room.told(),
        [
            "watch Some(10) Unavailable",
            "1 presence:update 40<10",
            "2 presence:update 40<10",
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
    room.member(1, SyncMode::Delta);
    room.live.on_lost();
    room.live.on_caught_up(room.now, caught_up(10));
    assert_eq!(room.told(), ["watch Some(10) Unavailable", "live"]);
}

#[test]
fn a_reset_replaces_everything_and_moves_every_chain() {
    let mut room = Room::new();
    room.member(1, SyncMode::Delta);
    room.member(2, SyncMode::Full);
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
            "1 presence:update 5<10",
            "2 presence:update 5<10",
            "2 whiteboard-update 5<5 [e]"
        ]
    );
    room.last = 5;
    room.wait(17);
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
fn a_reset_cuts_no_stroke_of_a_full_member() {
    let mut room = Room::new();
    room.member(1, SyncMode::Full);
    room.live.pointed(room.now, 1);
    let everything = proto::CaughtUp {
        reset: true,
        elements: vec![element("e", 4)],
        ..caught_up(5)
    };
    room.live.on_caught_up(room.now, everything);
    assert_eq!(room.told(), ["1 chat:history", "1 presence:update 5<10"]);
    room.wait(300);
    assert_eq!(room.told(), sent(1, "5<5", "e"));
}

#[test]
fn a_full_member_is_shown_as_many_messages_after_a_reset_as_a_joiner() {
    for (history_limit, shown) in [(3, 3), (80, 80), (0, 50)] {
        let mut room = Room::new();
        room.member(1, SyncMode::Full);
        let everything = proto::CaughtUp {
            reset: true,
            messages: (1..=100).map(saved).collect(),
            history_limit,
            ..caught_up(500)
        };
        room.live.on_caught_up(room.now, everything);
        let Output::Emit { packet, .. } = &room.live.take_output()[0] else {
            panic!()
        };
        let history: serde_json::Value = serde_json::from_str(packet.arguments().0.get()).unwrap();
        assert_eq!(history["count"], shown);
        assert_eq!(history["messages"][shown - 1]["revision"], 100);
    }
}

fn saved(revision: u64) -> Message {
    Message {
        revision,
        ..Default::default()
    }
}

#[test]
fn a_change_that_was_answered_before_a_reset_and_comes_after_it_is_shown_to_its_author() {
    let mut room = Room::new();
    room.member(1, SyncMode::Delta);
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
    room.member(1, SyncMode::Delta);
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
    room.member(1, SyncMode::Delta);
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
    room.member(1, SyncMode::Delta);
    room.member(2, SyncMode::Full);
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
    room.member(1, SyncMode::Full);
    room.live.leave(1);
    room.says();
    room.draws(7, "e");
    room.wait(1_000);
    assert!(room.told().is_empty());
    assert!(room.live.board.is_none());
}
