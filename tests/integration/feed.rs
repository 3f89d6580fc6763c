//! Watches: what was missed, then what happens, through every loss.

use std::{collections::BTreeMap, time::Duration};

use persistence_service::{
    domain::{EventKind, Position, RoomCode},
    feed::{CloseReason, Frame, Watch},
    repository::{NewSignal, RoomRepository, Since},
};
use roomkeeper_tests::{
    AnyStore, Store, StoreKind, drawing, join, message, new_room, participant, position, rectangle,
    request, soon,
};

use crate::contract::on_every_store;

on_every_store! {
    a_watch_gives_what_was_missed_and_then_every_event_in_order
    a_watch_from_now_begins_empty
    watching_while_others_write_leaves_no_gap_and_repeats_nothing
    a_reader_who_does_not_read_catches_up_instead_of_buffering
    a_change_too_large_to_tell_reaches_its_readers_all_the_same
    a_signal_is_heard_and_leaves_no_trace
    a_watch_ends_with_its_own_reason
    a_watch_ends_when_its_room_expires_and_activity_puts_that_off
}

async fn next(watch: &mut Watch) -> Frame {
    soon("a frame", watch.next())
        .await
        .expect("the watch goes on")
}

/// What a reader knows from the frames that it got.
#[derive(Debug, Default, PartialEq, Eq)]
struct Reader {
    position: Position,
    messages: Vec<String>,
    elements: BTreeMap<String, u64>,
    participants: Vec<String>,
    resets: usize,
}

impl Reader {
    fn take(&mut self, frame: &Frame) {
        match frame {
            Frame::CaughtUp(catch_up, _) => {
                if catch_up.reset {
                    *self = Self {
                        resets: self.resets + 1,
                        ..Self::default()
                    };
                }
                self.messages
                    .extend(catch_up.messages.iter().map(|m| m.text.clone()));
                for element in &catch_up.elements {
                    self.elements
                        .insert(element.id.to_string(), element.version);
                }
                self.participants = catch_up
                    .participants
                    .iter()
                    .map(|p| p.user_id.as_str().to_owned())
                    .collect();
                self.position = catch_up.room.position;
            }
            Frame::Event(event) => {
                if matches!(event.kind, EventKind::Signal { .. }) {
                    return;
                }
                assert_eq!(
                    event.previous, self.position.revision,
                    "no gap and no repetition"
                );
                self.position = event.position;
                match &event.kind {
                    EventKind::Message(message) => self.messages.push(message.text.clone()),
                    EventKind::Whiteboard(change) => {
                        for element in &change.elements {
                            self.elements
                                .insert(element.id.to_string(), element.version);
                        }
                    }
                    EventKind::Joined(who) => {
                        self.participants.push(who.user_id.as_str().to_owned());
                    }
                    EventKind::Left(who) => {
                        self.participants.retain(|id| id != who.user_id.as_str());
                    }
                    EventKind::Renamed(_)
                    | EventKind::Deleted
                    | EventKind::Omitted
                    | EventKind::Signal { .. } => {}
                }
            }
            Frame::Closed(reason) => panic!("the watch ended: {reason:?}"),
        }
    }

    /// Reads until it is where the room is.
    async fn read_up_to(&mut self, watch: &mut Watch, revision: u64) {
        while self.position.revision < revision {
            let frame = next(watch).await;
            self.take(&frame);
        }
    }
}

async fn revision(store: &AnyStore, code: RoomCode) -> u64 {
    position(&*store.rooms, code).await.unwrap().revision
}

async fn say(rooms: &dyn RoomRepository, code: RoomCode, text: &str) {
    rooms
        .save_message(&message(code, "ann", text))
        .await
        .unwrap()
        .unwrap();
}

async fn a_watch_gives_what_was_missed_and_then_every_event_in_order(kind: StoreKind) {
    let store = kind.start().await;
    let code = store.room().await;
    say(&*store.rooms, code, "before").await;
    let mut watch = Watch::new(&store.hub, code, Some(Position::ZERO));
    let mut reader = Reader::default();
    reader.take(&next(&mut watch).await);
    assert_eq!((reader.resets, reader.messages.len()), (1, 1));

    store
        .rooms
        .join(&join(code, "ann", "a"))
        .await
        .unwrap()
        .unwrap();
    say(&*store.rooms, code, "after").await;
    let json = rectangle("a", 1, 1, "");
    store
        .rooms
        .save_whiteboard(&drawing(code, "ann", &[json]))
        .await
        .unwrap()
        .unwrap();
    let now = revision(&store, code).await;
    reader.read_up_to(&mut watch, now).await;
    assert_eq!(reader.messages, ["before", "after"]);
    assert_eq!(reader.participants, ["ann"]);
    assert_eq!(reader.elements.len(), 1);
}

async fn a_watch_from_now_begins_empty(kind: StoreKind) {
    let store = kind.start().await;
    let code = store.room().await;
    say(&*store.rooms, code, "before").await;
    let mut watch = store.watch(code);
    let Frame::CaughtUp(caught_up, _) = next(&mut watch).await else {
        panic!("caught up first")
    };
    assert!(caught_up.messages.is_empty() && !caught_up.reset);
    assert_eq!(
        caught_up.room.position.revision,
        revision(&store, code).await
    );
}

async fn watching_while_others_write_leaves_no_gap_and_repeats_nothing(kind: StoreKind) {
    let store = kind.start().await;
    let code = store.room().await;
    let rooms = store.rooms.clone();
    let writer = tokio::spawn(async move {
        for i in 0..90 {
            say(&*rooms, code, &format!("m{i}")).await;
        }
    });
    let mut readers = Vec::new();
    for _ in 0..30 {
        let mut watch = Watch::new(&store.hub, code, Some(Position::ZERO));
        let mut reader = Reader::default();
        reader.take(&next(&mut watch).await);
        readers.push((watch, reader));
    }
    writer.await.unwrap();
    let now = revision(&store, code).await;
    let all: Vec<String> = (0..90).map(|i| format!("m{i}")).collect();
    for (watch, reader) in &mut readers {
        reader.read_up_to(watch, now).await;
        assert_eq!(reader.messages, all);
        assert_eq!(reader.resets, 1);
    }
}

#[tokio::test]
async fn a_reader_whose_connection_was_cut_ends_with_what_an_undisturbed_one_has() {
    let store = Store::start().await;
    let code = store.room().await;
    let mut watch = store.watch(code);
    let mut reader = Reader::default();
    reader.take(&next(&mut watch).await);
    for round in 0..5 {
        let killed: i64 = store.redis.run(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        assert_eq!(killed, 1, "the feed was connected in round {round}");
        for i in 0..10 {
            say(&*store.rooms, code, &format!("m{round}-{i}")).await;
            let json = rectangle(&format!("e{i}"), round + 1, 1, "");
            store
                .rooms
                .save_whiteboard(&drawing(code, "ann", &[json]))
                .await
                .unwrap()
                .unwrap();
        }
        let now = revision(&store, code).await;
        reader.read_up_to(&mut watch, now).await;
    }
    let all = store
        .rooms
        .catch_up(code, Since::Arrival, 100)
        .await
        .unwrap()
        .unwrap();
    let texts: Vec<_> = all.messages.iter().map(|m| m.text.clone()).collect();
    assert_eq!(reader.messages, texts);
    assert_eq!(
        reader.elements,
        (0..10).map(|i| (format!("e{i}"), 5)).collect()
    );
    assert_eq!(reader.resets, 0);
}

/// Changes a room as a service would whose event nobody hears.
const UNHEARD: &str = "redis.call('LPUSH', KEYS[2], ARGV[1]) \
    return redis.call('HINCRBY', KEYS[1], 'revision', 1)";

#[tokio::test]
async fn a_lost_last_event_is_found_without_another_one() {
    let store = Store::start().await;
    let code = store.room().await;
    let mut watch = store.watch(code);
    let mut reader = Reader::default();
    reader.take(&next(&mut watch).await);
    let next_revision = reader.position.revision + 1;
    let unheard = format!(
        r#"{{"id":"{}","roomId":"{code}","userId":"u","username":"U","message":"lost","timestamp":1,"revision":{next_revision}}}"#,
        "0c4f5fd0-8f5e-4b54-9c2a-1f6de9cbb001"
    );
    let room = format!("room:{{{code}}}");
    let messages = format!("{room}:messages");
    let _: i64 = store
        .redis
        .run(&["EVAL", UNHEARD, "2", &room, &messages, &unheard])
        .await;
    reader.read_up_to(&mut watch, next_revision).await;
    assert_eq!(reader.messages, ["lost"]);
}

#[tokio::test]
async fn a_history_that_forked_is_read_anew() {
    let store = Store::start().await;
    let code = store.room().await;
    say(&*store.rooms, code, "kept").await;
    let kept = revision(&store, code).await;
    let mut watch = store.watch(code);
    let mut reader = Reader::default();
    reader.take(&next(&mut watch).await);
    say(&*store.rooms, code, "lost").await;
    let lost = revision(&store, code).await;
    reader.read_up_to(&mut watch, lost).await;
    // A failover to a replica that had not received the last write.
    let room = format!("room:{{{code}}}");
    let _: i64 = store
        .redis
        .run(&["HSET", &room, "revision", &kept.to_string()])
        .await;
    let _: String = store
        .redis
        .run(&["LPOP", &format!("{room}:messages")])
        .await;
    say(&*store.rooms, code, "other").await;
    let now = revision(&store, code).await;
    reader.read_up_to(&mut watch, now).await;
    assert_eq!(
        (reader.messages, reader.resets),
        (vec!["kept".to_owned(), "other".to_owned()], 1)
    );
}

async fn a_reader_who_does_not_read_catches_up_instead_of_buffering(kind: StoreKind) {
    let store = kind.start().await;
    let code = store.room().await;
    let mut watch = store.watch(code);
    let mut reader = Reader::default();
    reader.take(&next(&mut watch).await);
    for i in 0..400 {
        say(&*store.rooms, code, &format!("m{i}")).await;
    }
    let now = revision(&store, code).await;
    let mut truncated = false;
    while reader.position.revision < now {
        let frame = next(&mut watch).await;
        truncated |= matches!(&frame, Frame::CaughtUp(c, _) if c.history_truncated);
        reader.take(&frame);
    }
    assert!(truncated, "what fell off the history meanwhile is said");
    assert_eq!(reader.messages.last().map(String::as_str), Some("m399"));
}

async fn a_change_too_large_to_tell_reaches_its_readers_all_the_same(kind: StoreKind) {
    let store = kind.start().await;
    let code = store.room().await;
    let mut watch = store.watch(code);
    let mut reader = Reader::default();
    reader.take(&next(&mut watch).await);
    let json = rectangle(
        "big",
        1,
        1,
        &format!(r#","text":"{}""#, "x".repeat(100_000)),
    );
    store
        .rooms
        .save_whiteboard(&drawing(code, "ann", &[json]))
        .await
        .unwrap()
        .unwrap();
    let now = revision(&store, code).await;
    reader.read_up_to(&mut watch, now).await;
    assert_eq!(reader.elements.len(), 1);
}

async fn a_signal_is_heard_and_leaves_no_trace(kind: StoreKind) {
    let store = kind.start().await;
    let code = store.room().await;
    let mut watch = store.watch(code);
    let mut reader = Reader::default();
    reader.take(&next(&mut watch).await);
    let before = revision(&store, code).await;
    let signal = NewSignal {
        code,
        from: participant("ann"),
        session: None,
        kind: persistence_service::domain::SignalKind::parse("kind", "typing").unwrap(),
        json: "{}".to_owned(),
    };
    store.rooms.signal(&signal).await.unwrap().unwrap();
    let Frame::Event(event) = next(&mut watch).await else {
        panic!("an event")
    };
    assert!(matches!(&event.kind, EventKind::Signal { kind, .. } if kind.as_str() == "typing"));
    assert_eq!(revision(&store, code).await, before);
}

async fn a_watch_ends_with_its_own_reason(kind: StoreKind) {
    let store = kind.start().await;
    let missing = RoomCode::from_number(999_999).unwrap();
    let mut watch = store.watch(missing);
    assert!(matches!(
        next(&mut watch).await,
        Frame::Closed(CloseReason::NotFound)
    ));
    assert!(soon("the end", watch.next()).await.is_none());

    let deleted = store.room().await;
    let mut watch = store.watch(deleted);
    next(&mut watch).await;
    store.rooms.delete_room(deleted).await.unwrap().unwrap();
    assert!(matches!(
        next(&mut watch).await,
        Frame::Closed(CloseReason::Deleted)
    ));

    let drained = store.room().await;
    let mut watch = store.watch(drained);
    next(&mut watch).await;
    store.draining.cancel();
    assert!(matches!(
        next(&mut watch).await,
        Frame::Closed(CloseReason::Draining)
    ));
}

#[tokio::test]
async fn a_watch_is_never_moved_into_a_new_room_of_the_same_code() {
    let store = Store::start().await;
    let code = store.room().await;
    let mut watch = store.watch(code);
    next(&mut watch).await;
    let _: i64 = store.redis.run(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    store.rooms.delete_room(code).await.unwrap().unwrap();
    store
        .rooms
        .create_room(code, &new_room(3), &request("CreateRoom", "x", ""))
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(matches!(
        next(&mut watch).await,
        Frame::Closed(CloseReason::Deleted)
    ));
}

async fn a_watch_ends_when_its_room_expires_and_activity_puts_that_off(kind: StoreKind) {
    let store = kind.with_ttl(Duration::from_millis(1_500)).await;
    let code = store.room().await;
    let mut watch = store.watch(code);
    let mut reader = Reader::default();
    reader.take(&next(&mut watch).await);
    say(&*store.rooms, code, "still here").await;
    let now = revision(&store, code).await;
    reader.read_up_to(&mut watch, now).await;
    assert!(matches!(
        next(&mut watch).await,
        Frame::Closed(CloseReason::Expired)
    ));
}

#[tokio::test]
async fn a_watch_outlives_a_crash_of_redis() {
    let mut store = Store::start().await;
    let code = store.room().await;
    let mut watch = store.watch(code);
    let mut reader = Reader::default();
    reader.take(&next(&mut watch).await);
    say(&*store.rooms, code, "before").await;
    store.redis.kill().await;
    store.redis.restart().await;
    let mut available = store.rooms.availability();
    soon("the store", available.wait_for(|&up| up))
        .await
        .unwrap();
    loop {
        // The first call after the crash may meet the old connection.
        let said = store
            .rooms
            .save_message(&message(code, "ann", "after"))
            .await;
        if said.is_ok() {
            break;
        }
    }
    while reader.messages.last().map(String::as_str) != Some("after") {
        let frame = next(&mut watch).await;
        reader.take(&frame);
    }
    assert_eq!(
        reader.messages[0], "before",
        "what was acknowledged is there"
    );
}

#[tokio::test]
async fn rooms_nobody_watches_are_not_listened_to() {
    let store = Store::start().await;
    let code = store.room().await;
    let mut watch = store.watch(code);
    next(&mut watch).await;
    drop(watch);
    let listened = async {
        loop {
            let channels: Vec<String> = store.redis.run(&["PUBSUB", "SHARDCHANNELS"]).await;
            if channels.is_empty() {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    soon("the end of the subscription", listened).await;
}

/// A number from a section of `INFO`.
async fn counted(store: &Store, section: &str, field: &str) -> u64 {
    let info: String = store.redis.run(&["INFO", section]).await;
    let rest = info.lines().find_map(|line| line.strip_prefix(field));
    let digits = |text: &str| {
        text.split(|c: char| !c.is_ascii_digit())
            .next()
            .map(str::to_owned)
    };
    rest.and_then(digits)
        .map_or(0, |number| number.parse().unwrap())
}

#[tokio::test]
async fn a_room_that_is_left_and_joined_again_and_again_costs_other_rooms_nothing() {
    const OTHERS: u64 = 250;
    const CYCLES: u64 = 500;
    let store = Store::start().await;
    let mut others = Vec::new();
    for _ in 0..OTHERS {
        let code = store.room().await;
        let mut watch = store.watch(code);
        next(&mut watch).await;
        others.push((code, watch));
    }
    let code = store.room().await;
    let before = counted(&store, "stats", "total_connections_received:").await;
    for cycle in 0..CYCLES {
        let mut watch = store.watch(code);
        next(&mut watch).await;
        drop(watch);
        // The next watch begins before, while and after the server confirms the end of this one.
        for _ in 0..cycle % 8 {
            tokio::task::yield_now().await;
        }
    }
    let subscribed = counted(&store, "commandstats", "cmdstat_ssubscribe:calls=").await;
    assert!(subscribed <= OTHERS + CYCLES, "{subscribed} subscriptions");
    let after = counted(&store, "stats", "total_connections_received:").await;
    // Each reading of the statistics opens a connection of the test's own.
    assert_eq!(after - before, 2, "the feed's connection was kept");
    let (code, other) = &mut others[0];
    say(&*store.rooms, *code, "still heard").await;
    assert!(matches!(next(other).await, Frame::Event(_)));
}
