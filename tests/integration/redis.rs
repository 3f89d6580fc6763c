//! What stands in Redis, as its operators see it.

use std::{collections::BTreeMap, time::Duration};

use persistence_service::{
    domain::{Participant, RoomCode},
    repository::{RepositoryError, RoomSettings, Since},
};
use roomkeeper_tests::{
    Store, drawing, join, message, participant, position, rectangle, settings, soon,
};

/// The keys of a room but those of its requests, with when they end.
async fn expiries(store: &Store, code: RoomCode) -> BTreeMap<String, i64> {
    let keys: Vec<String> = store
        .redis
        .run(&["KEYS", &format!("room:{{{code}}}*")])
        .await;
    let mut expiries = BTreeMap::new();
    for key in keys.into_iter().filter(|key| !key.contains(":request:")) {
        let instant: i64 = store.redis.run(&["PEXPIRETIME", &key]).await;
        expiries.insert(key, instant);
    }
    expiries
}

async fn fill(store: &Store, code: RoomCode) {
    store
        .rooms
        .join(&join(code, "ann", "a"))
        .await
        .unwrap()
        .unwrap();
    store
        .rooms
        .save_message(&message(code, "ann", "hi"))
        .await
        .unwrap()
        .unwrap();
    let elements = [
        rectangle("a", 1, 1, ""),
        rectangle("b", 1, 1, r#","isDeleted":true"#),
    ];
    store
        .rooms
        .save_whiteboard(&drawing(code, "ann", &elements))
        .await
        .unwrap()
        .unwrap();
}

/// Waits until the store's clock shows this many milliseconds.
async fn clock_shows(store: &Store, wanted: i64) {
    let reading = async {
        loop {
            let (seconds, micros): (i64, i64) = store.redis.run(&["TIME"]).await;
            if seconds * 1_000 + micros / 1_000 >= wanted {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    soon("that moment", reading).await;
}

#[tokio::test]
async fn every_key_of_a_room_ends_at_one_instant_which_activity_moves() {
    // The instant moves by a hundredth of such a time to live at least.
    const TTL: Duration = Duration::from_secs(10);
    const LEAST_MS: i64 = 100;
    let store = Store::with_ttl(TTL).await;
    let code = store.room().await;
    fill(&store, code).await;
    let ttl_ms = i64::try_from(TTL.as_millis()).unwrap();
    let mut last = *expiries(&store, code).await.values().next().unwrap();
    for activity in ["message", "drawing", "join", "leave"] {
        clock_shows(&store, last - ttl_ms + LEAST_MS).await;
        match activity {
            "message" => {
                store
                    .rooms
                    .save_message(&message(code, "ann", "more"))
                    .await
                    .unwrap()
                    .unwrap();
            }
            "drawing" => {
                let elements = [rectangle("a", 2, 1, "")];
                store
                    .rooms
                    .save_whiteboard(&drawing(code, "ann", &elements))
                    .await
                    .unwrap()
                    .unwrap();
            }
            "join" => {
                store
                    .rooms
                    .join(&join(code, "bob", "b"))
                    .await
                    .unwrap()
                    .unwrap();
            }
            _ => {
                let bob = join(code, "bob", "b");
                store
                    .rooms
                    .leave(code, &bob.participant.user_id, &bob.session)
                    .await
                    .unwrap()
                    .unwrap();
            }
        }
        let expiries = expiries(&store, code).await;
        assert_eq!(expiries.len(), 10, "{expiries:?}");
        let instants: Vec<_> = expiries.values().collect();
        assert!(
            instants.iter().all(|i| *i == instants[0]),
            "{activity}: {expiries:?}"
        );
        assert!(*instants[0] > last, "{activity} is an activity");
        last = *instants[0];
    }
}

#[tokio::test]
async fn between_two_renewals_a_new_key_ends_with_the_others() {
    let store = Store::start().await;
    let code = store.room().await;
    // All within a second of the room's creation, as a rule; a slow run renews once more,
    // and the keys must agree all the same.
    fill(&store, code).await;
    let instants = expiries(&store, code).await;
    assert_eq!(instants.len(), 10, "{instants:?}");
    let first = instants.values().next().unwrap();
    assert!(
        instants.values().all(|instant| instant == first),
        "{instants:?}"
    );
}

#[tokio::test]
async fn a_room_nobody_touches_is_gone_whole_and_from_the_index() {
    let store = Store::with_ttl(Duration::from_secs(2)).await;
    let code = store.room().await;
    fill(&store, code).await;
    let gone = async {
        loop {
            let keys: Vec<String> = store.redis.run(&["KEYS", "room:*"]).await;
            if keys.is_empty() {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    soon("the end of the room", gone).await;
    let listed: i64 = store.redis.run(&["ZCARD", "rooms:active"]).await;
    assert_eq!(listed, 1);
    assert_eq!(store.rooms.sweep().await.unwrap(), 1);
    let listed: i64 = store.redis.run(&["ZCARD", "rooms:active"]).await;
    assert_eq!(listed, 0);
}

#[tokio::test]
async fn the_index_is_repaired_by_the_next_join() {
    let store = Store::start().await;
    let code = store.room().await;
    let _: i64 = store.redis.run(&["DEL", "rooms:active"]).await;
    store
        .rooms
        .join(&join(code, "ann", "a"))
        .await
        .unwrap()
        .unwrap();
    let listed = store.rooms.rooms(None, 10).await.unwrap();
    assert_eq!(listed.rooms.len(), 1);
}

#[tokio::test]
async fn pages_go_on_behind_a_room_that_is_listed_from_an_older_entry() {
    let store = Store::start().await;
    for _ in 0..3 {
        store.room().await;
    }
    let newest = store.rooms.rooms(None, 10).await.unwrap().rooms;
    let mut order: Vec<RoomCode> = newest.into_iter().map(|room| room.code).collect();
    // The newest room is listed behind the second one, and the oldest one behind both.
    order.swap(0, 1);
    for (score, code) in [("2", order[1]), ("1", order[2])] {
        let words = ["ZADD", "rooms:active", score, code.as_str()];
        let _: i64 = store.redis.run(&words).await;
    }
    let (mut found, mut cursor) = (Vec::new(), None);
    while found.len() <= order.len() {
        let page = store.rooms.rooms(cursor, 1).await.unwrap();
        found.extend(page.rooms.into_iter().map(|room| room.code));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(found, order);
}

#[tokio::test]
async fn what_stands_in_redis_has_the_documented_shapes() {
    let store = Store::start().await;
    let code = store.room().await;
    fill(&store, code).await;
    let room = format!("room:{{{code}}}");
    let participants: BTreeMap<String, String> = store
        .redis
        .run(&["HGETALL", &format!("{room}:participants")])
        .await;
    assert_eq!(participants, [("ann".to_owned(), "ann".to_owned())].into());
    let count: String = store.redis.run(&["HGET", &room, "participantCount"]).await;
    assert_eq!(count, "1");
    let stored: Vec<String> = store
        .redis
        .run(&["LRANGE", &format!("{room}:messages"), "0", "-1"])
        .await;
    let json: serde_json::Value = serde_json::from_str(&stored[0]).unwrap();
    for field in [
        "id",
        "roomId",
        "userId",
        "username",
        "message",
        "timestamp",
        "revision",
    ] {
        assert!(!json[field].is_null(), "{field}");
    }
    let element: String = store
        .redis
        .run(&["HGET", &format!("{room}:whiteboard"), "a"])
        .await;
    assert!(element.ends_with(&rectangle("a", 1, 1, "")), "{element}");
}

#[tokio::test]
async fn a_revision_follows_the_last_one_where_the_clock_has_not_moved_past_it() {
    let store = Store::start().await;
    let code = store.room().await;
    let ahead = 9_000_000_000_000_000_u64;
    let room = format!("room:{{{code}}}");
    let _: i64 = store
        .redis
        .run(&["HSET", &room, "revision", &ahead.to_string()])
        .await;
    let saved = store
        .rooms
        .save_message(&message(code, "ann", "hi"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(saved.message.revision, ahead + 1);
    let stored: String = store.redis.run(&["HGET", &room, "revision"]).await;
    assert_eq!(stored, (ahead + 1).to_string());
}

#[tokio::test]
async fn a_full_redis_refuses_writes_whole_and_lets_people_leave() {
    let store = Store::start().await;
    let code = store.room().await;
    fill(&store, code).await;
    let _: String = store
        .redis
        .run(&["CONFIG", "SET", "maxmemory", "1mb"])
        .await;
    let before = position(&*store.rooms, code).await;
    let refused = store
        .rooms
        .save_message(&message(code, "ann", "no room"))
        .await;
    assert!(matches!(refused, Err(RepositoryError::Full)), "{refused:?}");
    assert_eq!(position(&*store.rooms, code).await, before);
    assert_eq!(
        store
            .rooms
            .messages(code, None, 50)
            .await
            .unwrap()
            .unwrap()
            .0
            .len(),
        1
    );
    let ann = join(code, "ann", "a");
    let session = [(code, ann.session.clone())];
    let unknown = store.rooms.renew_sessions(&session).await.unwrap();
    assert!(
        unknown.is_empty(),
        "who lives is not lost because the store is full"
    );
    let again = store.rooms.join(&ann).await.unwrap().unwrap();
    assert_eq!(again.messages.len(), 1, "and may ask again what there is");
    store
        .rooms
        .leave(code, &ann.participant.user_id, &ann.session)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        store
            .rooms
            .room(code)
            .await
            .unwrap()
            .unwrap()
            .room
            .participant_count,
        0
    );
}

#[tokio::test]
async fn a_key_of_the_wrong_type_fails_its_room_alone_and_changes_nothing() {
    let store = Store::start().await;
    let [broken, sound] = [store.room().await, store.room().await];
    fill(&store, broken).await;
    let room = format!("room:{{{broken}}}");
    for part in ["messages", "whiteboard", "sessions"] {
        let key = format!("{room}:{part}");
        let _: i64 = store.redis.run(&["DEL", &key]).await;
        let _: String = store.redis.run(&["SET", &key, "garbage"]).await;
        let before = position(&*store.rooms, broken).await;
        let failed = match part {
            "messages" => store
                .rooms
                .save_message(&message(broken, "ann", "x"))
                .await
                .map(drop),
            "whiteboard" => {
                let drawing = drawing(broken, "ann", &[rectangle("z", 1, 1, "")]);
                store.rooms.save_whiteboard(&drawing).await.map(drop)
            }
            _ => store.rooms.join(&join(broken, "bob", "b")).await.map(drop),
        };
        assert!(
            matches!(failed, Err(RepositoryError::Damaged(_))),
            "{part}: {failed:?}"
        );
        assert_eq!(position(&*store.rooms, broken).await, before, "{part}");
    }
    fill(&store, sound).await;
}

#[tokio::test]
async fn scripts_are_loaded_again_where_redis_forgot_them() {
    let store = Store::start().await;
    let code = store.room().await;
    fill(&store, code).await;
    let _: String = store.redis.run(&["SCRIPT", "FLUSH"]).await;
    fill(&store, store.room().await).await;
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_crash_of_redis() {
    let mut store = Store::start().await;
    let code = store.room().await;
    for i in 0..50 {
        store
            .rooms
            .save_message(&message(code, "ann", &format!("m{i}")))
            .await
            .unwrap()
            .unwrap();
    }
    store.redis.kill().await;
    store.redis.restart().await;
    let mut available = store.rooms.availability();
    soon("the store", available.wait_for(|&up| up))
        .await
        .unwrap();
    let read = async {
        loop {
            // The first call after the crash may meet the old connection.
            if let Ok(Ok(page)) = store.rooms.messages(code, None, 100).await {
                break page;
            }
        }
    };
    assert_eq!(soon("the messages", read).await.0.len(), 50);
}

/// Who is in a room.
async fn present(store: &Store, code: RoomCode) -> Vec<Participant> {
    let now = store.rooms.catch_up(code, Since::Now, 1).await;
    now.unwrap().unwrap().participants
}

#[tokio::test]
async fn what_a_missing_room_refuses_leaves_no_key() {
    let store = Store::start().await;
    let code = RoomCode::from_number(900_004).unwrap();
    let joined = store.rooms.join(&join(code, "ann", "s")).await.unwrap();
    let said = store.rooms.save_message(&message(code, "ann", "hi")).await;
    assert!(joined.is_err() && said.unwrap().is_err());
    let keys: Vec<String> = store.redis.run(&["KEYS", "*"]).await;
    assert!(keys.is_empty(), "{keys:?}");
}

#[tokio::test]
async fn a_session_that_ended_leaves_no_entry_in_the_index() {
    let store = Store::with(RoomSettings {
        session_lease: Duration::from_millis(200),
        ..settings(Duration::from_secs(86_400))
    })
    .await;
    let code = store.room().await;
    store
        .rooms
        .join(&join(code, "ann", "a"))
        .await
        .unwrap()
        .unwrap();
    let gone = async {
        while !present(&store, code).await.is_empty() {
            store.rooms.expire_sessions().await.unwrap();
        }
    };
    soon("the end of the lease", gone).await;
    let due: i64 = store.redis.run(&["ZCARD", "sessions:due"]).await;
    assert_eq!(due, 0);
}

#[tokio::test]
async fn an_entry_of_the_index_that_is_wrong_ends_nobody() {
    let store = Store::start().await;
    let code = store.room().await;
    store
        .rooms
        .join(&join(code, "ann", "a"))
        .await
        .unwrap()
        .unwrap();
    let due = format!("{code}:a");
    for entry in [
        due.as_str(),
        "nonsense",
        "999999:x",
        &format!("{code}:unknown"),
    ] {
        let _: i64 = store.redis.run(&["ZADD", "sessions:due", "1", entry]).await;
    }
    assert_eq!(store.rooms.expire_sessions().await.unwrap(), 0);
    assert_eq!(present(&store, code).await, [participant("ann")]);
    let left: Vec<String> = store
        .redis
        .run(&["ZRANGE", "sessions:due", "0", "-1"])
        .await;
    assert_eq!(left, [due], "who lives is noted anew, the rest is removed");
}
