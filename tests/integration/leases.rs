//! Leases as they stand in Redis: who is there is found again whatever was lost.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use persistence_service::{
    domain::{RoomCode, SessionId},
    repository::{Refusal, RepositoryError, Since, redis::RoomSettings},
};
use roomkeeper_tests::{RedisServer, Store, drawing, join, message, rectangle, soon};

const DUE: &str = "sessions:due";

/// Sessions that end soon, so that a test need not wait for long.
async fn with_short_leases() -> Store {
    Store::with(RoomSettings {
        ttl: Duration::from_secs(86_400),
        message_limit: 100,
        session_lease: Duration::from_millis(1_500),
    })
    .await
}

fn session(name: &str) -> SessionId {
    SessionId::parse("session_id", name).unwrap()
}

async fn comes(store: &Store, code: RoomCode, user: &str) {
    let join = join(code, user, user);
    store.rooms.join(&join).await.unwrap().unwrap();
}

/// Who is there, and how many the room says there are.
async fn present(store: &Store, code: RoomCode) -> (Vec<String>, u32) {
    let read = store.rooms.catch_up(code, Since::Now, 1).await;
    let room = read.unwrap().unwrap();
    let users = room.participants.iter();
    (
        users.map(|p| p.user_id.as_str().to_owned()).collect(),
        room.room.participant_count,
    )
}

/// Ends overdue sessions until these are there.
async fn expire_until(store: &Store, code: RoomCode, users: &[&str]) {
    let ended = async {
        while present(store, code).await.0 != users {
            store.rooms.expire_sessions().await.unwrap();
        }
    };
    soon("the end of the others", ended).await;
}

/// How often Redis ran each command since its statistics were reset.
async fn commands(redis: &RedisServer) -> BTreeMap<String, u64> {
    let info: String = redis.run(&["INFO", "commandstats"]).await;
    let counted = info.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let calls = rest.split_once(',')?.0.parse().ok()?;
        Some((name.to_owned(), calls))
    });
    // What goes on by itself, and how the scripts came there.
    let of_others = [
        "eval",
        "evalsha",
        "info",
        "config|resetstat",
        "role",
        "ping",
        "persist",
        "hello",
    ];
    counted
        .filter(|(name, _)| !of_others.contains(&name.as_str()) && !name.starts_with("client"))
        .collect()
}

#[tokio::test]
async fn two_hundred_who_join_at_once_fill_the_seats_and_no_more() {
    let store = Store::start().await;
    let code = store.room_of(20).await;
    let joins: Vec<_> = (0..200)
        .map(|n| join(code, &format!("user-{n}"), &format!("session-{n}")))
        .collect();
    let answers = join_all(joins.iter().map(|join| store.rooms.join(join))).await;
    let (mut seated, mut refused) = (0, 0);
    for answer in answers {
        match answer.unwrap() {
            Ok(_) => seated += 1,
            Err(refusal) => {
                assert_eq!(refusal, Refusal::Full);
                refused += 1;
            }
        }
    }
    assert_eq!((seated, refused), (20, 180));
    let (users, count) = present(&store, code).await;
    assert_eq!((users.len(), count), (20, 20));
    let indexed: usize = store.redis.run(&["ZCARD", DUE]).await;
    assert_eq!(indexed, 20, "who did not get in has no lease");
}

#[tokio::test]
async fn coming_and_going_costs_the_same_however_many_are_there() {
    let store = Store::start().await;
    let mut costs = Vec::new();
    for crowd in [2, 400] {
        let code = store.room_of(1_000).await;
        for n in 0..crowd {
            comes(&store, code, &format!("user-{n}")).await;
        }
        comes(&store, code, "ann").await;
        let ann = join(code, "ann", "ann");
        let mut cost = Vec::new();
        for change in ["renewal", "leave", "join"] {
            let _: String = store.redis.run(&["CONFIG", "RESETSTAT"]).await;
            match change {
                "renewal" => {
                    let sessions = [(code, ann.session.clone())];
                    let unknown = store.rooms.renew_sessions(&sessions).await.unwrap();
                    assert!(unknown.is_empty());
                }
                "leave" => {
                    let left = store
                        .rooms
                        .leave(code, &ann.participant.user_id, &ann.session);
                    left.await.unwrap().unwrap();
                }
                _ => comes(&store, code, "ann").await,
            }
            let mut commands = commands(&store.redis).await;
            // Only a second after the last change is a room's life renewed, and a
            // connection is looked at once a second.
            for timed in ["pexpireat", "time", "config|get"] {
                commands.remove(timed);
            }
            let reads_all = ["hgetall", "hkeys", "hvals", "smembers", "zrange", "scan"];
            assert!(
                change == "join" || reads_all.iter().all(|name| !commands.contains_key(*name)),
                "{change} reads no list of people: {commands:?}"
            );
            cost.push(commands);
        }
        costs.push(cost);
    }
    assert_eq!(costs[0], costs[1]);
}

#[tokio::test]
async fn a_session_is_in_the_index_before_it_is_in_its_room() {
    let store = Store::start().await;
    let code = store.room().await;
    let messages = format!("room:{{{code}}}:messages");
    let _: String = store.redis.run(&["SET", &messages, "garbage"]).await;
    let failed = store.rooms.join(&join(code, "ann", "a")).await;
    assert!(matches!(failed, Err(RepositoryError::Damaged(_))));
    let entry: Option<f64> = store
        .redis
        .run(&["ZSCORE", DUE, &format!("{code}:a")])
        .await;
    assert!(entry.is_some());
}

#[tokio::test]
async fn an_entry_that_is_early_is_put_where_its_lease_ends() {
    let store = Store::start().await;
    let code = store.room().await;
    comes(&store, code, "ann").await;
    let entry = format!("{code}:ann");
    let _: i64 = store.redis.run(&["ZADD", DUE, "1", &entry]).await;
    assert_eq!(store.rooms.expire_sessions().await.unwrap(), 0);
    let due: f64 = store.redis.run(&["ZSCORE", DUE, &entry]).await;
    let sessions = format!("room:{{{code}}}:sessions");
    let lease: f64 = store.redis.run(&["ZSCORE", &sessions, "ann"]).await;
    // Two readings of a clock, and not the time that was put there.
    assert!((due - lease).abs() < 10_000.0, "{due} and {lease}");
}

#[tokio::test]
async fn a_late_leave_does_not_take_the_entry_of_a_session_that_has_just_come() {
    let store = Store::start().await;
    let code = store.room().await;
    comes(&store, code, "ann").await;
    let entry = format!("{code}:ann");
    let noted: f64 = store.redis.run(&["ZSCORE", DUE, &entry]).await;
    // The same session is on its way into the room again.
    let later = format!("{}", noted + 60_000.0);
    let _: i64 = store.redis.run(&["ZADD", DUE, &later, &entry]).await;
    let ann = join(code, "ann", "ann");
    let left = store
        .rooms
        .leave(code, &ann.participant.user_id, &ann.session);
    left.await.unwrap().unwrap();
    let kept: Option<f64> = store.redis.run(&["ZSCORE", DUE, &entry]).await;
    assert_eq!(kept, Some(noted + 60_000.0));
}

#[tokio::test]
async fn sessions_that_the_index_has_lost_end_all_the_same() {
    let store = with_short_leases().await;
    let code = store.room().await;
    comes(&store, code, "gone").await;
    let _: i64 = store.redis.run(&["DEL", DUE]).await;
    comes(&store, code, "ann").await;
    let renewing = async {
        let living = [(code, session("ann"))];
        while present(&store, code).await.0 != ["ann"] {
            let unknown = store.rooms.renew_sessions(&living).await.unwrap();
            assert!(unknown.is_empty());
            store.rooms.expire_sessions().await.unwrap();
        }
    };
    soon("the end of who is gone", renewing).await;
    assert_eq!(present(&store, code).await.1, 1);
}

/// A room as it stood in Redis before there were leases: `extra` of its keys of
/// presence are there.
async fn old_room(store: &Store, extra: &[&[&str]]) -> RoomCode {
    let code = RoomCode::from_number(4_711).unwrap();
    let room = format!("room:{{{code}}}");
    let hash = [
        "HSET",
        &room,
        "id",
        "004711",
        "code",
        "004711",
        "name",
        "Old",
        "createdBy",
        "Ann",
        "createdAt",
        "1700000000000",
        "participantCount",
        "1",
        "maxParticipants",
        "2",
        "epoch",
        "1700000000000000",
        "revision",
        "1700000000000009",
        "trimmed",
        "0",
        "pruned",
        "0",
        "boardBytes",
        "70",
        "boardOrdinal",
        "1",
        "ttl",
        "86400000",
    ];
    let _: i64 = store.redis.run(&hash).await;
    let said = r#"{"id":"0c4f5fd0-8f5e-4b54-9c2a-1f6de9cbb001","roomId":"004711","userId":"u","username":"U","message":"old","timestamp":1700000000000,"revision":1700000000000005}"#;
    let _: i64 = store
        .redis
        .run(&["LPUSH", &format!("{room}:messages"), said])
        .await;
    let element = format!("1:1:1700000000000009:0 {}", rectangle("a", 1, 1, ""));
    let _: i64 = store
        .redis
        .run(&["HSET", &format!("{room}:whiteboard"), "a", &element])
        .await;
    let _: i64 = store
        .redis
        .run(&["ZADD", &format!("{room}:changes"), "1700000000000009", "a"])
        .await;
    for words in extra {
        let key = format!("{room}:{}", words[1]);
        let mut words = words.to_vec();
        words[1] = &key;
        let _: i64 = store.redis.run(&words).await;
    }
    code
}

#[tokio::test]
async fn a_room_from_before_there_were_leases_opens_without_its_ghosts() {
    let store = Store::start().await;
    let code = old_room(
        &store,
        &[
            &[
                "HSET",
                "participants",
                "ghost",
                "Ghost",
                "spectre",
                "Spectre",
            ],
            &["HSET", "session-users", "old", "ghost"],
        ],
    )
    .await;
    let ann = join(code, "ann", "ann");
    let room = store.rooms.join(&ann).await.unwrap().unwrap();
    assert_eq!((room.messages.len(), room.elements.len()), (1, 1));
    assert_eq!(present(&store, code).await, (vec!["ann".to_owned()], 1));
    let said = message(code, "ann", "new");
    store.rooms.save_message(&said).await.unwrap().unwrap();
    let drawn = drawing(code, "ann", &[rectangle("a", 2, 1, "")]);
    let drawn = store.rooms.save_whiteboard(&drawn).await.unwrap().unwrap();
    assert_eq!(drawn.accepted, 1);
    let ends: i64 = store
        .redis
        .run(&["PTTL", &format!("room:{{{code}}}")])
        .await;
    assert!(ends > 86_000_000);
}

#[tokio::test]
async fn sessions_that_were_never_indexed_end_when_somebody_else_renews() {
    let store = Store::start().await;
    let code = old_room(
        &store,
        &[
            &["HSET", "participants", "ghost", "Ghost"],
            &["ZADD", "arrivals", "1700000000000001", "ghost"],
            &["ZADD", "sessions", "1700000030000", "old"],
            &["HSET", "session-users", "old", "ghost"],
            &["HSET", "user-sessions", "ghost", "1"],
        ],
    )
    .await;
    comes(&store, code, "ann").await;
    assert_eq!(present(&store, code).await.0, ["ghost", "ann"]);
    let living = [(code, session("ann"))];
    assert!(
        store
            .rooms
            .renew_sessions(&living)
            .await
            .unwrap()
            .is_empty()
    );
    expire_until(&store, code, &["ann"]).await;
}

#[tokio::test]
async fn whoever_is_there_is_found_again_when_a_key_of_presence_is_lost() {
    let store = Store::start().await;
    for part in [
        "participants",
        "arrivals",
        "sessions",
        "session-users",
        "user-sessions",
    ] {
        let code = store.room().await;
        let mut watch = store.watch(code);
        soon("a catch-up", watch.next()).await.unwrap();
        for user in ["ann", "bob"] {
            comes(&store, code, user).await;
        }
        let key = format!("room:{{{code}}}:{part}");
        let _: i64 = store.redis.run(&["DEL", &key]).await;
        let living = ["ann", "bob"].map(|user| (code, session(user)));
        let unknown = store.rooms.renew_sessions(&living).await.unwrap();
        assert_eq!(unknown, living, "{part}");
        for user in ["ann", "bob"] {
            comes(&store, code, user).await;
        }
        assert_eq!(
            present(&store, code).await,
            (vec!["ann".to_owned(), "bob".to_owned()], 2),
            "{part}"
        );
        let ann = join(code, "ann", "ann");
        let left = store
            .rooms
            .leave(code, &ann.participant.user_id, &ann.session);
        left.await.unwrap().unwrap();
        assert_eq!(
            present(&store, code).await,
            (vec!["bob".to_owned()], 1),
            "{part}"
        );
    }
}

#[tokio::test]
async fn a_damaged_room_keeps_nobody_elses_session_from_being_renewed_or_ended() {
    let store = with_short_leases().await;
    let [broken, sound] = [store.room().await, store.room().await];
    comes(&store, broken, "ann").await;
    comes(&store, sound, "bob").await;
    let mut watch = store.watch(sound);
    soon("a catch-up", watch.next()).await.unwrap();
    let key = format!("room:{{{broken}}}");
    let _: i64 = store.redis.run(&["DEL", &key]).await;
    let _: String = store.redis.run(&["SET", &key, "garbage"]).await;

    let sessions = [
        (broken, session("ann")),
        (sound, session("bob")),
        (sound, session("x")),
    ];
    let unknown = store.rooms.renew_sessions(&sessions).await.unwrap();
    assert_eq!(unknown, [(sound, session("x"))]);
    let positions = store.rooms.positions(&[broken, sound]).await;
    assert!(matches!(&positions[0], Err(RepositoryError::Damaged(_))));
    assert!(matches!(&positions[1], Ok(Some(_))));
    assert_eq!(store.rooms.sweep().await.unwrap(), 0);
    expire_until(&store, sound, &[]).await;
}
