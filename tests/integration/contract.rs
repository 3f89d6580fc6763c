//! The promises of `RoomRepository`, as functions over any store.

use std::{collections::HashSet, time::Duration};

use futures_util::future::join_all;
use persistence_service::{
    domain::{EventKind, Position, RequestId, RoomCode, SessionId, UserId},
    feed::Frame,
    repository::{Refusal, RoomCursor, RoomRepository, RoomSettings, Since},
};
use roomkeeper_tests::{
    AnyStore, StoreKind, drawing, join, message, new_room, participant, position, rectangle,
    request, soon,
};
use uuid::Uuid;

/// Runs each of these on every store.
macro_rules! on_every_store {
    ($($promise:ident)*) => {
        mod on_redis {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(roomkeeper_tests::StoreKind::Redis).await;
            })*
        }

        mod in_a_file {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(roomkeeper_tests::StoreKind::Embedded).await;
            })*
        }
    };
}

pub(crate) use on_every_store;

on_every_store! {
    a_created_room_is_read_as_it_was_made
    a_taken_code_is_refused_and_a_retried_creation_meets_its_own_room
    a_creation_whose_id_was_used_for_another_content_is_refused
    a_claimed_code_is_kept_until_it_proves_taken
    a_room_that_is_not_there_refuses_everything
    two_tabs_are_one_participant_and_the_last_one_takes_the_user_along
    a_late_disconnect_does_not_evict_a_reconnect
    a_session_belongs_to_one_user
    another_name_renames_and_keeps_the_place
    participants_stand_in_the_order_of_their_coming
    a_full_room_refuses_newcomers_and_never_who_is_in_it
    a_session_that_nobody_renews_ends_as_if_it_had_left
    a_renewed_session_stays_while_another_of_the_room_ends
    a_renewal_names_whom_a_room_does_not_know_and_creates_nobody
    a_user_of_a_backend_has_no_lease
    history_is_the_last_hundred_oldest_first
    a_retried_message_is_stored_once_and_answered_the_same
    a_request_id_with_another_content_is_refused
    a_request_of_an_earlier_room_of_the_code_is_not_this_rooms
    the_greater_version_wins_then_the_lower_nonce_then_the_stored_one
    people_who_draw_at_once_never_overwrite_each_other
    a_deleted_element_is_kept_for_those_who_resume_and_hidden_from_who_arrives
    a_full_board_refuses_more_and_prunes_tombstones_to_make_room
    the_bytes_of_a_board_are_bounded
    a_catch_up_gives_what_changed_after_a_position_or_says_what_it_cannot
    rooms_are_listed_newest_first_page_by_page
    a_transient_request_id_is_no_part_of_the_message
}

fn session(text: &str) -> SessionId {
    SessionId::parse("session_id", text).unwrap()
}

fn user(text: &str) -> UserId {
    UserId::parse("user_id", text).unwrap()
}

async fn everything(
    rooms: &dyn RoomRepository,
    code: RoomCode,
) -> persistence_service::domain::CatchUp {
    rooms
        .catch_up(code, Since::Arrival, 100)
        .await
        .unwrap()
        .unwrap()
}

async fn a_created_room_is_read_as_it_was_made(kind: StoreKind) {
    let store = kind.start().await;
    let code = store.room_of(7).await;
    let stats = store.rooms.room(code).await.unwrap().unwrap();
    assert_eq!(
        (stats.room.name.as_str(), stats.room.created_by.as_str()),
        ("A room", "Ann")
    );
    assert_eq!(
        (stats.room.max_participants, stats.room.participant_count),
        (7, 0)
    );
    assert_eq!(stats.room.position.epoch, stats.room.position.revision);
    assert_eq!(stats.room.create_time, stats.room.position.epoch / 1_000);
    assert_eq!(stats.room.expire_time, stats.room.create_time + 86_400_000);
}

async fn a_taken_code_is_refused_and_a_retried_creation_meets_its_own_room(kind: StoreKind) {
    let store = kind.start().await;
    let code = store.room().await;
    let room = new_room(3);
    assert!(
        store
            .rooms
            .create_room(code, &room, &request("CreateRoom", "bob", ""))
            .await
            .unwrap()
            .unwrap()
            .is_none()
    );

    let free = RoomCode::from_number(900_001).unwrap();
    let again = request("CreateRoom", "bob", "x");
    let first = store
        .rooms
        .create_room(free, &room, &again)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let second = store
        .rooms
        .create_room(free, &room, &again)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(first, second);
}

async fn a_creation_whose_id_was_used_for_another_content_is_refused(kind: StoreKind) {
    let store = kind.start().await;
    let code = RoomCode::from_number(900_005).unwrap();
    let room = new_room(3);
    let request = request("CreateRoom", "bob", "one");
    store
        .rooms
        .create_room(code, &room, &request)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let other = persistence_service::domain::Request::new(request.id, "CreateRoom", "bob", ["two"]);
    let refused = store.rooms.create_room(code, &room, &other).await.unwrap();
    assert_eq!(refused.err(), Some(Refusal::Conflict));
}

async fn a_claimed_code_is_kept_until_it_proves_taken(kind: StoreKind) {
    let store = kind.start().await;
    let [a, b] = [900_002, 900_003].map(|number| RoomCode::from_number(number).unwrap());
    let request = request("CreateRoom", "bob", "");
    assert_eq!(store.rooms.claim_code(&request, a, None).await.unwrap(), a);
    assert_eq!(store.rooms.claim_code(&request, b, None).await.unwrap(), a);
    assert_eq!(
        store.rooms.claim_code(&request, b, Some(a)).await.unwrap(),
        b
    );
    assert_eq!(
        store.rooms.claim_code(&request, a, Some(a)).await.unwrap(),
        b
    );
    let other = persistence_service::domain::Request::new(request.id, "CreateRoom", "bob", ["x"]);
    assert_eq!(
        store.rooms.claim_code(&other, a, None).await.unwrap(),
        b,
        "another content meets the same room, which then refuses it"
    );
}

async fn a_room_that_is_not_there_refuses_everything(kind: StoreKind) {
    let store = kind.start().await;
    let rooms = &store.rooms;
    let code = RoomCode::from_number(900_004).unwrap();
    let gone = Some(Refusal::Gone);
    assert_eq!(rooms.room(code).await.unwrap().err(), gone);
    assert_eq!(
        rooms.join(&join(code, "ann", "s")).await.unwrap().err(),
        gone
    );
    assert_eq!(
        rooms
            .leave(code, &user("ann"), &session("s"))
            .await
            .unwrap()
            .err(),
        gone
    );
    assert_eq!(
        rooms
            .save_message(&message(code, "ann", "hi"))
            .await
            .unwrap()
            .err(),
        gone
    );
    assert_eq!(rooms.messages(code, None, 50).await.unwrap().err(), gone);
    assert_eq!(
        rooms
            .catch_up(code, Since::Arrival, 50)
            .await
            .unwrap()
            .err(),
        gone
    );
    assert_eq!(rooms.delete_room(code).await.unwrap().err(), gone);
    let drawing = drawing(code, "ann", &[rectangle("a", 1, 1, "")]);
    assert_eq!(rooms.save_whiteboard(&drawing).await.unwrap().err(), gone);
    assert_eq!(position(&**rooms, code).await, None);
}

async fn two_tabs_are_one_participant_and_the_last_one_takes_the_user_along(kind: StoreKind) {
    let store = kind.start().await;
    let rooms = &store.rooms;
    let code = store.room().await;
    rooms.join(&join(code, "bob", "b")).await.unwrap().unwrap();
    let first = rooms
        .join(&join(code, "ann", "t:1"))
        .await
        .unwrap()
        .unwrap();
    let second = rooms
        .join(&join(code, "ann", "t:2"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(first.room.participant_count, 2);
    assert_eq!(
        second.room.position, first.room.position,
        "a second tab changes nothing to see"
    );
    assert_eq!(
        second.participants,
        [participant("bob"), participant("ann")]
    );

    rooms
        .leave(code, &user("ann"), &session("t:1"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(everything(&**rooms, code).await.participants.len(), 2);
    rooms
        .leave(code, &user("ann"), &session("t:2"))
        .await
        .unwrap()
        .unwrap();
    rooms
        .leave(code, &user("ann"), &session("t:2"))
        .await
        .unwrap()
        .unwrap();
    let left = everything(&**rooms, code).await;
    assert_eq!(left.participants, [participant("bob")]);
    assert_eq!(left.room.participant_count, 1);
}

async fn a_late_disconnect_does_not_evict_a_reconnect(kind: StoreKind) {
    let store = kind.start().await;
    let code = store.room().await;
    store
        .rooms
        .join(&join(code, "ann", "old"))
        .await
        .unwrap()
        .unwrap();
    store
        .rooms
        .join(&join(code, "ann", "new"))
        .await
        .unwrap()
        .unwrap();
    store
        .rooms
        .leave(code, &user("ann"), &session("old"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        everything(&*store.rooms, code).await.participants,
        [participant("ann")]
    );
}

async fn a_session_belongs_to_one_user(kind: StoreKind) {
    let store = kind.start().await;
    let rooms = &store.rooms;
    let code = store.room().await;
    rooms.join(&join(code, "ann", "s")).await.unwrap().unwrap();
    let refused = Some(Refusal::IdentityMismatch);
    assert_eq!(
        rooms.join(&join(code, "bob", "s")).await.unwrap().err(),
        refused
    );
    assert_eq!(
        rooms
            .leave(code, &user("bob"), &session("s"))
            .await
            .unwrap()
            .err(),
        refused
    );
    let mut said = message(code, "bob", "hi");
    said.session = Some(session("s"));
    assert_eq!(rooms.save_message(&said).await.unwrap().err(), refused);
    said.session = Some(session("other"));
    assert_eq!(
        rooms.save_message(&said).await.unwrap().err(),
        Some(Refusal::NotJoined)
    );
    assert_eq!(everything(&**rooms, code).await.messages.len(), 0);
}

async fn another_name_renames_and_keeps_the_place(kind: StoreKind) {
    let store = kind.start().await;
    let code = store.room().await;
    store
        .rooms
        .join(&join(code, "ann", "a"))
        .await
        .unwrap()
        .unwrap();
    store
        .rooms
        .join(&join(code, "bob", "b"))
        .await
        .unwrap()
        .unwrap();
    let mut renamed = join(code, "ann", "a");
    renamed.participant.username = participant("Anna").username;
    let snapshot = store.rooms.join(&renamed).await.unwrap().unwrap();
    let names: Vec<_> = snapshot
        .participants
        .iter()
        .map(|p| p.username.as_str())
        .collect();
    assert_eq!(names, ["Anna", "bob"]);
    assert_eq!(snapshot.room.participant_count, 2);
}

async fn participants_stand_in_the_order_of_their_coming(kind: StoreKind) {
    let store = kind.start().await;
    let code = store.room_of(500).await;
    // More than Redis keeps in order in a small hash.
    let names: Vec<String> = (0..300)
        .map(|i| format!("user-{}", i * 7919 % 300))
        .collect();
    for name in &names {
        store
            .rooms
            .join(&join(code, name, name))
            .await
            .unwrap()
            .unwrap();
    }
    let snapshot = everything(&*store.rooms, code).await;
    let present: Vec<_> = snapshot
        .participants
        .iter()
        .map(|p| p.user_id.as_str().to_owned())
        .collect();
    assert_eq!(present, names);
}

async fn a_full_room_refuses_newcomers_and_never_who_is_in_it(kind: StoreKind) {
    let store = kind.start().await;
    let code = store.room_of(50).await;
    let joins = (0..200).map(|i| {
        let rooms = store.rooms.clone();
        async move {
            rooms
                .join(&join(code, &format!("u{i}"), &format!("s{i}")))
                .await
                .unwrap()
        }
    });
    let outcomes = join_all(joins).await;
    assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 50);
    assert!(
        outcomes
            .iter()
            .flat_map(|o| o.as_ref().err())
            .all(|r| *r == Refusal::Full)
    );
    let inside = outcomes.iter().position(Result::is_ok).unwrap();
    store
        .rooms
        .join(&join(code, &format!("u{inside}"), "another-tab"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        everything(&*store.rooms, code).await.room.participant_count,
        50
    );
}

/// Sessions that end soon, so that a test need not wait for long.
async fn with_short_leases(kind: StoreKind) -> AnyStore {
    with_leases(kind, Duration::from_millis(200)).await
}

async fn with_leases(kind: StoreKind, session_lease: Duration) -> AnyStore {
    kind.with(RoomSettings {
        ttl: Duration::from_secs(86_400),
        message_limit: 100,
        session_lease,
    })
    .await
}

/// Ends overdue sessions until somebody is gone.
async fn expire_until(store: &AnyStore, present: usize, code: RoomCode) {
    let gone = async {
        while everything(&*store.rooms, code).await.participants.len() > present {
            store.rooms.expire_sessions().await.unwrap();
        }
    };
    soon("the end of the leases", gone).await;
}

async fn a_session_that_nobody_renews_ends_as_if_it_had_left(kind: StoreKind) {
    let store = with_short_leases(kind).await;
    let code = store.room().await;
    store
        .rooms
        .join(&join(code, "ann", "a"))
        .await
        .unwrap()
        .unwrap();
    let mut watch = store.watch(code);
    soon("the feed", watch.next()).await.unwrap();
    expire_until(&store, 0, code).await;
    assert_eq!(
        everything(&*store.rooms, code).await.room.participant_count,
        0
    );
    let Some(Frame::Event(event)) = soon("an event", watch.next()).await else {
        panic!("left")
    };
    assert!(matches!(&event.kind, EventKind::Left(who) if *who == participant("ann")));
    assert_eq!(store.rooms.expire_sessions().await.unwrap(), 0);
}

async fn a_renewed_session_stays_while_another_of_the_room_ends(kind: StoreKind) {
    // Longer than a round of the loop below takes on a busy machine.
    let store = with_leases(kind, Duration::from_millis(1_500)).await;
    let code = store.room().await;
    store
        .rooms
        .join(&join(code, "ann", "a"))
        .await
        .unwrap()
        .unwrap();
    store
        .rooms
        .join(&join(code, "bob", "b"))
        .await
        .unwrap()
        .unwrap();
    let ann = [(code, session("a"))];
    let gone = async {
        while everything(&*store.rooms, code).await.participants.len() > 1 {
            assert!(store.rooms.renew_sessions(&ann).await.unwrap().is_empty());
            store.rooms.expire_sessions().await.unwrap();
        }
    };
    soon("the end of bob's lease", gone).await;
    assert_eq!(
        everything(&*store.rooms, code).await.participants,
        [participant("ann")]
    );
}

async fn a_renewal_names_whom_a_room_does_not_know_and_creates_nobody(kind: StoreKind) {
    let store = kind.start().await;
    let code = store.room().await;
    let nowhere = RoomCode::from_number(900_006).unwrap();
    store
        .rooms
        .join(&join(code, "ann", "a"))
        .await
        .unwrap()
        .unwrap();
    let asked = [
        (code, session("a")),
        (code, session("b")),
        (nowhere, session("c")),
    ];
    let mut unknown = store.rooms.renew_sessions(&asked).await.unwrap();
    unknown.sort_by_key(|(_, session)| session.as_str().to_owned());
    assert_eq!(unknown, asked[1..]);
    assert_eq!(
        everything(&*store.rooms, code).await.participants,
        [participant("ann")]
    );
}

async fn a_user_of_a_backend_has_no_lease(kind: StoreKind) {
    let store = with_short_leases(kind).await;
    let code = store.room().await;
    let mut ann = join(code, "ann", "a");
    ann.session = SessionId::unnamed(&ann.participant.user_id);
    store.rooms.join(&ann).await.unwrap().unwrap();
    store
        .rooms
        .join(&join(code, "bob", "b"))
        .await
        .unwrap()
        .unwrap();
    expire_until(&store, 1, code).await;
    assert_eq!(
        everything(&*store.rooms, code).await.participants,
        [participant("ann")]
    );
}

async fn history_is_the_last_hundred_oldest_first(kind: StoreKind) {
    let store = kind.start().await;
    let code = store.room().await;
    for i in 0..120 {
        store
            .rooms
            .save_message(&message(code, "ann", &format!("m{i}")))
            .await
            .unwrap()
            .unwrap();
    }
    let (page, more) = store
        .rooms
        .messages(code, None, 100)
        .await
        .unwrap()
        .unwrap();
    let texts: Vec<_> = page.iter().map(|m| m.text.clone()).collect();
    assert_eq!(
        texts,
        (20..120).map(|i| format!("m{i}")).collect::<Vec<_>>()
    );
    assert!(!more);
    let (page, more) = store
        .rooms
        .messages(code, Some(page[60].revision), 50)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (page[0].text.as_str(), page[49].text.as_str(), more),
        ("m30", "m79", true)
    );
    let snapshot = store
        .rooms
        .join(&join(code, "bob", "b"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(snapshot.messages.len(), 50);
    assert_eq!(snapshot.messages[0].text, "m70");
    assert_eq!(
        store.rooms.room(code).await.unwrap().unwrap().message_count,
        100
    );
}

async fn a_retried_message_is_stored_once_and_answered_the_same(kind: StoreKind) {
    let store = kind.start().await;
    let code = store.room().await;
    let said = message(code, "ann", "once");
    let first = store.rooms.save_message(&said).await.unwrap().unwrap();
    store
        .rooms
        .save_message(&message(code, "bob", "between"))
        .await
        .unwrap()
        .unwrap();
    let mut retry = said.clone();
    retry.author.username = participant("Renamed").username;
    let second = store.rooms.save_message(&retry).await.unwrap().unwrap();
    assert!(!first.duplicate && second.duplicate);
    assert_eq!(first.message, second.message);
    assert_eq!(first.message.request_id, Some(said.request.id.id));
    assert_eq!(
        *everything(&*store.rooms, code).await.messages[0],
        first.message
    );
    assert_eq!(everything(&*store.rooms, code).await.messages.len(), 2);
}

async fn a_request_id_with_another_content_is_refused(kind: StoreKind) {
    let store = kind.start().await;
    let code = store.room().await;
    let said = message(code, "ann", "one");
    store.rooms.save_message(&said).await.unwrap().unwrap();
    let mut other = message(code, "ann", "two");
    other.request =
        persistence_service::domain::Request::new(said.request.id, "SaveMessage", "ann", ["two"]);
    assert_eq!(
        store.rooms.save_message(&other).await.unwrap().err(),
        Some(Refusal::Conflict)
    );
    assert_eq!(everything(&*store.rooms, code).await.messages.len(), 1);
}

async fn a_request_of_an_earlier_room_of_the_code_is_not_this_rooms(kind: StoreKind) {
    let store = kind.start().await;
    let code = store.room().await;
    let said = message(code, "ann", "hi");
    store.rooms.save_message(&said).await.unwrap().unwrap();
    store.rooms.delete_room(code).await.unwrap().unwrap();
    store
        .rooms
        .create_room(code, &new_room(3), &request("CreateRoom", "x", ""))
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(
        !store
            .rooms
            .save_message(&said)
            .await
            .unwrap()
            .unwrap()
            .duplicate
    );
}

async fn the_greater_version_wins_then_the_lower_nonce_then_the_stored_one(kind: StoreKind) {
    let store = kind.start().await;
    let code = store.room().await;
    let draw = |json: String| {
        let drawing = drawing(code, "ann", &[json]);
        let rooms = store.rooms.clone();
        async move { rooms.save_whiteboard(&drawing).await.unwrap().unwrap() }
    };
    assert_eq!(draw(rectangle("a", 5, 50, "")).await.accepted, 1);
    let older = draw(rectangle("a", 4, 1, "")).await;
    assert_eq!(
        (older.accepted, older.rejected, older.position),
        (0, 1, None)
    );
    assert_eq!(
        (older.winners[0].version, older.winners[0].version_nonce),
        (5, 50)
    );
    assert_eq!(draw(rectangle("a", 5, 51, "")).await.rejected, 1);
    let tie = draw(rectangle("a", 5, 50, r#","x":1"#)).await;
    assert_eq!((tie.accepted, tie.rejected, tie.position), (0, 0, None));
    assert_eq!(draw(rectangle("a", 5, 49, "")).await.accepted, 1);
    assert_eq!(
        draw(rectangle("a", 9_007_199_254_740_991, 3, ""))
            .await
            .accepted,
        1
    );
    let board = everything(&*store.rooms, code).await.elements;
    assert_eq!(
        *board[0].json,
        *rectangle("a", 9_007_199_254_740_991, 3, "")
    );
}

async fn people_who_draw_at_once_never_overwrite_each_other(kind: StoreKind) {
    let store = kind.start().await;
    let code = store.room().await;
    let strokes = (0..60).map(|i| {
        let rooms = store.rooms.clone();
        async move {
            let json = rectangle(&format!("e{i}"), 1, 1, "");
            rooms
                .save_whiteboard(&drawing(code, "ann", &[json]))
                .await
                .unwrap()
                .unwrap()
        }
    });
    let positions: HashSet<_> = join_all(strokes)
        .await
        .into_iter()
        .map(|s| s.position.unwrap().revision)
        .collect();
    assert_eq!(positions.len(), 60, "each change has a revision of its own");
    assert_eq!(everything(&*store.rooms, code).await.elements.len(), 60);
}

async fn a_deleted_element_is_kept_for_those_who_resume_and_hidden_from_who_arrives(
    kind: StoreKind,
) {
    let store = kind.start().await;
    let code = store.room().await;
    let first = store
        .rooms
        .save_whiteboard(&drawing(
            code,
            "ann",
            &[rectangle("a", 1, 1, ""), rectangle("b", 1, 1, "")],
        ))
        .await
        .unwrap()
        .unwrap();
    let gone = rectangle("a", 2, 1, r#","isDeleted":true,"points":[1,2,3]"#);
    store
        .rooms
        .save_whiteboard(&drawing(code, "ann", &[gone]))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(everything(&*store.rooms, code).await.elements.len(), 1);
    let since = Since::Position(first.position.unwrap());
    let missed = store
        .rooms
        .catch_up(code, since, 100)
        .await
        .unwrap()
        .unwrap();
    assert!(!missed.reset);
    assert_eq!(missed.elements.len(), 1);
    assert!(missed.elements[0].is_deleted && !missed.elements[0].json.contains("points"));
    let stale = rectangle("a", 1, 1, "");
    let saved = store
        .rooms
        .save_whiteboard(&drawing(code, "bob", &[stale]))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(saved.rejected, 1, "a stale tab cannot undo newer work");
}

async fn a_full_board_refuses_more_and_prunes_tombstones_to_make_room(kind: StoreKind) {
    let store = kind.start().await;
    let code = store.room().await;
    for half in 0..2 {
        let elements: Vec<_> = (0..5_000)
            .map(|i| rectangle(&format!("e{half}-{i}"), 1, 1, ""))
            .collect();
        store
            .rooms
            .save_whiteboard(&drawing(code, "ann", &elements))
            .await
            .unwrap()
            .unwrap();
    }
    let before = everything(&*store.rooms, code).await.room.position;
    let one_more = drawing(code, "ann", &[rectangle("more", 1, 1, "")]);
    assert_eq!(
        store.rooms.save_whiteboard(&one_more).await.unwrap().err(),
        Some(Refusal::BoardFull)
    );
    assert_eq!(
        everything(&*store.rooms, code).await.room.position,
        before,
        "nothing changed"
    );

    let dead = rectangle("e0-0", 2, 1, r#","isDeleted":true"#);
    let deleted = store
        .rooms
        .save_whiteboard(&drawing(code, "ann", &[dead]))
        .await
        .unwrap()
        .unwrap();
    store
        .rooms
        .save_whiteboard(&drawing(code, "ann", &[rectangle("more", 1, 2, "")]))
        .await
        .unwrap()
        .unwrap();
    let board = everything(&*store.rooms, code).await;
    assert_eq!(board.elements.len(), 10_000);

    // Who was away since before the deletion cannot be told of it any more.
    let missed = store
        .rooms
        .catch_up(code, Since::Position(before), 100)
        .await
        .unwrap()
        .unwrap();
    assert!(missed.reset);
    let since = Since::Position(deleted.position.unwrap());
    assert!(
        !store
            .rooms
            .catch_up(code, since, 100)
            .await
            .unwrap()
            .unwrap()
            .reset
    );
}

async fn the_bytes_of_a_board_are_bounded(kind: StoreKind) {
    let store = kind.start().await;
    let code = store.room().await;
    let filling = "x".repeat(1_000_000);
    for i in 0..8 {
        let json = rectangle(&format!("e{i}"), 1, 1, &format!(r#","text":"{filling}""#));
        store
            .rooms
            .save_whiteboard(&drawing(code, "ann", &[json]))
            .await
            .unwrap()
            .unwrap();
    }
    let json = rectangle("e8", 1, 1, &format!(r#","text":"{filling}""#));
    let ninth = store
        .rooms
        .save_whiteboard(&drawing(code, "ann", &[json]))
        .await
        .unwrap();
    assert_eq!(ninth.err(), Some(Refusal::BoardFull));
    // Replacing what is there needs no more room.
    let json = rectangle("e7", 2, 1, r#","text":"""#);
    store
        .rooms
        .save_whiteboard(&drawing(code, "ann", &[json]))
        .await
        .unwrap()
        .unwrap();
    let json = rectangle("e8", 1, 1, &format!(r#","text":"{filling}""#));
    store
        .rooms
        .save_whiteboard(&drawing(code, "ann", &[json]))
        .await
        .unwrap()
        .unwrap();
}

async fn a_catch_up_gives_what_changed_after_a_position_or_says_what_it_cannot(kind: StoreKind) {
    let store = kind.start().await;
    let rooms = &store.rooms;
    let code = store.room().await;
    let start = everything(&**rooms, code).await.room.position;
    for i in 0..30 {
        rooms
            .save_message(&message(code, "ann", &format!("m{i}")))
            .await
            .unwrap()
            .unwrap();
    }
    let middle = everything(&**rooms, code).await;
    let since = |position| rooms.catch_up(code, Since::Position(position), 100);
    let missed = since(Position {
        revision: middle.messages[9].revision,
        ..start
    })
    .await;
    let missed = missed.unwrap().unwrap();
    assert_eq!(missed.messages.len(), 20);
    assert!(!missed.history_truncated && !missed.reset);

    let now = rooms
        .catch_up(code, Since::Now, 100)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (now.messages.len(), now.room.position),
        (0, middle.room.position)
    );

    for i in 30..130 {
        rooms
            .save_message(&message(code, "ann", &format!("m{i}")))
            .await
            .unwrap()
            .unwrap();
    }
    let missed = since(start).await.unwrap().unwrap();
    assert!(missed.history_truncated && !missed.reset);
    assert_eq!(missed.messages.len(), 100);
    let edge = Position {
        revision: middle.messages[29].revision,
        ..start
    };
    assert!(
        !since(edge).await.unwrap().unwrap().history_truncated,
        "nothing of its is lost"
    );

    for unservable in [
        Position::ZERO,
        Position {
            epoch: start.epoch - 1,
            ..start
        },
        Position {
            revision: start.revision + 3_600_000_000,
            ..start
        },
    ] {
        let all = since(unservable).await.unwrap().unwrap();
        assert!(all.reset);
        assert_eq!(all.messages.len(), 100);
    }
}

async fn rooms_are_listed_newest_first_page_by_page(kind: StoreKind) {
    let store = kind.start().await;
    let mut codes = Vec::new();
    for _ in 0..25 {
        codes.push(store.room().await);
    }
    codes.reverse();
    let mut listed: Vec<RoomCode> = Vec::new();
    let mut cursor: Option<RoomCursor> = None;
    loop {
        let page = store.rooms.rooms(cursor, 10).await.unwrap();
        assert!(!page.incomplete);
        listed.extend(page.rooms.iter().map(|room| room.code));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
        assert_eq!(page.rooms.len(), 10);
    }
    assert_eq!(listed.len(), 25);
    assert_eq!(
        listed.iter().collect::<HashSet<_>>(),
        codes.iter().collect()
    );
    assert_eq!(listed.first(), codes.first());
    store.rooms.delete_room(codes[3]).await.unwrap().unwrap();
    let page = store.rooms.rooms(None, 100).await.unwrap();
    assert!(page.rooms.iter().all(|room| room.code != codes[3]));
}

async fn a_transient_request_id_is_no_part_of_the_message(kind: StoreKind) {
    let store = kind.start().await;
    let code = store.room().await;
    let mut said = message(code, "ann", "hi");
    let id = RequestId {
        id: Uuid::new_v4(),
        transient: true,
    };
    said.request = persistence_service::domain::Request::new(id, "SaveMessage", "ann", ["hi"]);
    let saved = store.rooms.save_message(&said).await.unwrap().unwrap();
    assert_eq!(saved.message.request_id, None);
    assert_eq!(
        *everything(&*store.rooms, code).await.messages[0],
        saved.message
    );
}
