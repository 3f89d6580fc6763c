//! The file of the embedded store: its space, and what it gives back when it is
//! opened again.

use std::{fs, path::Path, sync::Arc, time::Duration};

use futures_util::stream::{self, StreamExt as _};
use persistence_service::{
    domain::{Position, RoomCode, SessionId},
    feed::Mailboxes,
    repository::{RoomRepository, RoomSettings, Since, embedded::EmbeddedRooms},
};
use roomkeeper_tests::{
    drawing, join, message, new_room, participant, rectangle, request, settings, soon,
};
use tempfile::TempDir;

const DAY: Duration = Duration::from_secs(86_400);

/// How many calls are under way at once where many are made.
const AT_ONCE: usize = 256;

async fn open(folder: &TempDir, settings: RoomSettings) -> EmbeddedRooms {
    let sink = Arc::new(Mailboxes::default());
    EmbeddedRooms::open(folder.path().to_owned(), settings, sink)
        .await
        .unwrap()
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn file_length(folder: &Path) -> u64 {
    fs::metadata(folder.join("rooms.redb")).unwrap().len()
}

async fn create(rooms: &EmbeddedRooms, number: u32) -> RoomCode {
    let code = RoomCode::from_number(number).unwrap();
    let request = request("CreateRoom", "ann", "");
    let created = rooms.create_room(code, &new_room(10), &request).await;
    created.unwrap().unwrap().unwrap().code
}

async fn say(rooms: &EmbeddedRooms, code: RoomCode, text: &str) {
    let saved = rooms.save_message(&message(code, "ann", text)).await;
    saved.unwrap().unwrap();
}

/// Creates rooms of these numbers with five messages of some length each.
async fn fill(rooms: &EmbeddedRooms, numbers: std::ops::Range<u32>) {
    let text = "x".repeat(400);
    stream::iter(numbers)
        .for_each_concurrent(AT_ONCE, async |number| {
            let code = create(rooms, number).await;
            for _ in 0..5 {
                say(rooms, code, &text).await;
            }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_space_of_rooms_that_ended_is_given_back() {
    const ROOMS: u32 = 1_000;
    const LIVING: u32 = 100;
    let folder = folder();
    let rooms = open(&folder, settings(Duration::from_secs(2))).await;
    fill(&rooms, 1_000..1_000 + ROOMS).await;
    let full = file_length(folder.path());
    let ended = async {
        while !rooms.rooms(None, 1).await.unwrap().rooms.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    soon("the end of the rooms", ended).await;
    rooms.close().await;

    // Others live on while those are removed.
    let rooms = open(&folder, settings(DAY)).await;
    fill(&rooms, 500_000..500_000 + LIVING).await;
    // A room of five messages, with what makes them safe to repeat.
    let living = u64::from(LIVING) * 5 * 500;
    rooms.sweep().await.unwrap();
    let given_back = async {
        while file_length(folder.path()) > 2 * living {
            tokio::task::yield_now().await;
        }
    };
    soon("the space", given_back).await;
    assert!(
        full > 4 * living,
        "there was something to give back: {full}"
    );

    assert_eq!(rooms.rooms(None, 1_000).await.unwrap().rooms.len(), 100);
    rooms.close().await;
    let rooms = open(&folder, settings(DAY)).await;
    let code = RoomCode::from_number(500_000).unwrap();
    let (kept, _) = rooms.messages(code, None, 100).await.unwrap().unwrap();
    assert_eq!(kept.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_while_the_file_is_written_anew_is_kept() {
    let folder = folder();
    let long = RoomSettings {
        message_limit: 1_000,
        ..settings(DAY)
    };
    let rooms = open(&folder, long).await;
    let kept = create(&rooms, 900_000).await;
    let mut said = 0;
    for round in 0..2_u32 {
        let numbers = 1_000 + round * 1_000..1_600 + round * 1_000;
        fill(&rooms, numbers.clone()).await;
        let full = file_length(folder.path());
        for number in numbers {
            let code = RoomCode::from_number(number).unwrap();
            rooms.delete_room(code).await.unwrap().unwrap();
        }
        rooms.sweep().await.unwrap();
        let writing = async {
            while file_length(folder.path()) >= full / 2 {
                say(&rooms, kept, &format!("m{said}")).await;
                said += 1;
            }
        };
        soon("the new file", writing).await;
        say(&rooms, kept, &format!("m{said}")).await;
        said += 1;
    }
    rooms.close().await;
    let rooms = open(&folder, long).await;
    let (messages, _) = rooms.messages(kept, None, 1_000).await.unwrap().unwrap();
    let texts: Vec<_> = messages
        .iter()
        .map(|message| message.text.clone())
        .collect();
    let all: Vec<_> = (0..said).map(|n| format!("m{n}")).collect();
    assert_eq!(texts, all[all.len() - texts.len()..]);
    assert_eq!(texts.len(), said.min(1_000));
}

#[tokio::test]
async fn all_of_a_room_is_there_when_the_store_is_opened_again() {
    let folder = folder();
    let rooms = open(&folder, settings(DAY)).await;
    let code = create(&rooms, 7_000).await;
    rooms.join(&join(code, "ann", "a")).await.unwrap().unwrap();
    let said = message(code, "ann", "kept");
    let first = rooms.save_message(&said).await.unwrap().unwrap();
    let elements = [
        rectangle("a", 1, 1, r#", "x" : 1.50e1"#),
        rectangle("b", 1, 1, r#","isDeleted":true"#),
    ];
    let drawn = rooms
        .save_whiteboard(&drawing(code, "ann", &elements))
        .await;
    let drawn = drawn.unwrap().unwrap().position.unwrap();
    let read = async |rooms: &EmbeddedRooms| {
        let since = Since::Position(Position {
            epoch: drawn.epoch,
            revision: first.message.revision,
        });
        rooms.catch_up(code, since, 100).await.unwrap().unwrap()
    };
    let before = read(&rooms).await;
    rooms.close().await;

    let rooms = open(&folder, settings(DAY)).await;
    let after = read(&rooms).await;
    assert_eq!(after.room, before.room);
    assert_eq!(after.elements, before.elements);
    assert_eq!(after.participants, [participant("ann")]);
    let again = rooms.save_message(&said).await.unwrap().unwrap();
    assert!(again.duplicate && again.message == first.message);
    let session = SessionId::parse("session_id", "a").unwrap();
    let unknown = rooms.renew_sessions(&[(code, session)]).await.unwrap();
    assert!(unknown.is_empty(), "who was there is known");
    let next = rooms.save_message(&message(code, "ann", "next")).await;
    assert!(next.unwrap().unwrap().message.revision > drawn.revision);
}

#[tokio::test]
async fn sessions_that_nobody_renews_after_an_opening_end() {
    let folder = folder();
    let short = RoomSettings {
        session_lease: Duration::from_millis(200),
        ..settings(DAY)
    };
    let rooms = open(&folder, short).await;
    let code = create(&rooms, 7_000).await;
    rooms.join(&join(code, "ann", "a")).await.unwrap().unwrap();
    rooms.close().await;
    let rooms = open(&folder, short).await;
    let gone = async { while rooms.expire_sessions().await.unwrap() == 0 {} };
    soon("the end of the lease", gone).await;
    let stats = rooms.room(code).await.unwrap().unwrap();
    assert_eq!(stats.room.participant_count, 0);
}

#[tokio::test]
async fn what_a_deleted_room_held_is_removed_in_steps_and_not_met_by_the_next() {
    let folder = folder();
    let rooms = open(&folder, settings(DAY)).await;
    let code = create(&rooms, 7_000).await;
    let elements: Vec<_> = (0..3_000)
        .map(|n| rectangle(&format!("e{n}"), 1, 1, ""))
        .collect();
    let drawing = drawing(code, "ann", &elements);
    rooms.save_whiteboard(&drawing).await.unwrap().unwrap();
    rooms.join(&join(code, "ann", "a")).await.unwrap().unwrap();
    rooms.delete_room(code).await.unwrap().unwrap();
    create(&rooms, 7_000).await;
    let read = async || {
        let all = rooms.catch_up(code, Since::Arrival, 100).await;
        let all = all.unwrap().unwrap();
        (all.elements.len(), all.participants.len())
    };
    assert_eq!(read().await, (0, 0));
    // Calls are served while the sweep goes on.
    let (swept, ()) = tokio::join!(rooms.sweep(), say(&rooms, code, "meanwhile"));
    assert_eq!(swept.unwrap(), 0, "no room's time had passed");
    assert_eq!(read().await, (0, 0));
}
