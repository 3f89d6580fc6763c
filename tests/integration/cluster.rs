//! Rooms in a Redis Cluster, and behind sentinels.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    time::{Duration, Instant},
};

use clap::Parser as _;
use edge_gateway::persistence::Persistence;
use persistence_service::{
    domain::{EventKind, Position, RoomCode, SessionId},
    feed::{Frame, Watch},
    repository::{RepositoryError, RoomRepository, Since},
    rooms::{HistoryLimits, RoomError, Rooms},
};
use roomkeeper_proto::v1 as proto;
use roomkeeper_tests::{
    Opened, RedisCluster, RedisSentinel, drawing, join, message, new_room, rectangle, request, soon,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::service;

const DAY: Duration = Duration::from_secs(86_400);

const LIMITS: HistoryLimits = HistoryLimits {
    kept: 100,
    on_join: 50,
};

/// Within which a write is answered, whatever happens to Redis.
const ANSWER: Duration = Duration::from_secs(2);

async fn create(rooms: &dyn RoomRepository, code: RoomCode) {
    let request = request("CreateRoom", "ann", "");
    // A server may be connected to a moment later than the first one.
    let created = async {
        loop {
            match rooms.create_room(code, &new_room(10), &request).await {
                Err(RepositoryError::Unavailable(_) | RepositoryError::OutcomeUnknown(_)) => {}
                answer => return answer,
            }
        }
    };
    let created = soon("a room", created).await.unwrap().unwrap();
    assert_eq!(created.unwrap().code, code);
}

async fn say(rooms: &dyn RoomRepository, code: RoomCode, text: &str) {
    let saved = rooms.save_message(&message(code, "ann", text)).await;
    saved.unwrap().unwrap();
}

/// Says the same until it is taken, each time within two seconds; returns how
/// often it was not.
async fn say_until_taken(rooms: &dyn RoomRepository, code: RoomCode, text: &str) -> usize {
    let message = message(code, "ann", text);
    let saying = async {
        for refused in 0.. {
            let begun = Instant::now();
            let answer = rooms.save_message(&message).await;
            assert!(begun.elapsed() < ANSWER, "{:?}", begun.elapsed());
            match answer {
                Ok(saved) => {
                    saved.unwrap();
                    return refused;
                }
                Err(RepositoryError::Unavailable(_) | RepositoryError::OutcomeUnknown(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        unreachable!("there is no last number")
    };
    soon("a store that takes writes", saying).await
}

/// The texts of a room's messages, oldest first.
async fn texts(rooms: &dyn RoomRepository, code: RoomCode) -> Vec<String> {
    let (messages, _) = rooms.messages(code, None, 100).await.unwrap().unwrap();
    messages.into_iter().map(|message| message.text).collect()
}

/// Somebody who watches a room and keeps its messages.
struct Reader {
    watch: Watch,
    position: Position,
    texts: Vec<String>,
}

impl Reader {
    async fn of(store: &Opened, code: RoomCode) -> Self {
        let mut reader = Self {
            watch: store.watch(code),
            position: Position::ZERO,
            texts: Vec::new(),
        };
        reader.read().await;
        reader
    }

    async fn read(&mut self) {
        match soon("a frame", self.watch.next()).await.unwrap() {
            Frame::CaughtUp(catch_up, _) => {
                if catch_up.reset {
                    self.texts.clear();
                }
                let texts = catch_up.messages.iter().map(|message| message.text.clone());
                self.texts.extend(texts);
                self.position = catch_up.room.position;
            }
            Frame::Event(event) => {
                assert_eq!(event.previous, self.position.revision);
                self.position = event.position;
                if let EventKind::Message(message) = &event.kind {
                    self.texts.push(message.text.clone());
                }
            }
            Frame::Closed(reason) => panic!("the watch ended: {reason:?}"),
        }
    }

    /// Reads until it is where the room is; then it has what the store has.
    async fn ends_like(&mut self, rooms: &dyn RoomRepository, code: RoomCode) {
        let now = async {
            loop {
                match rooms.catch_up(code, Since::Now, 0).await {
                    // Another server may have the room since a moment ago.
                    Err(RepositoryError::Unavailable(_)) => {}
                    answer => return answer,
                }
            }
        };
        let now = soon("an answer", now).await.unwrap().unwrap();
        while self.position != now.room.position {
            self.read().await;
        }
        assert_eq!(self.texts, texts(rooms, code).await);
    }
}

#[tokio::test]
async fn rooms_of_all_servers_of_a_cluster_work_alike() {
    let cluster = RedisCluster::start(false).await;
    let store = Opened::at(&cluster.url(), DAY).await;
    let rooms = &*store.rooms;
    let codes = cluster.one_code_each().await;
    let mut readers = Vec::new();
    for code in codes {
        create(rooms, code).await;
        readers.push(Reader::of(&store, code).await);
    }
    for (code, reader) in codes.into_iter().zip(&mut readers) {
        let joined = rooms.join(&join(code, "ann", "s")).await.unwrap().unwrap();
        assert_eq!(joined.room.participant_count, 1);
        say(rooms, code, "one").await;
        cluster.forget_scripts().await;
        say(rooms, code, "two").await;
        let drawn = drawing(code, "ann", &[rectangle("a", 1, 1, "")]);
        let drawn = rooms.save_whiteboard(&drawn).await.unwrap().unwrap();
        assert_eq!(drawn.accepted, 1);
        reader.ends_like(rooms, code).await;
        assert_eq!(reader.texts, ["one", "two"]);
    }
    let positions = rooms.positions(&codes).await;
    for (position, reader) in positions.into_iter().zip(&readers) {
        assert_eq!(position.unwrap(), Some(reader.position));
    }

    let listed = rooms.rooms(None, 10).await.unwrap().rooms;
    let mut listed: Vec<RoomCode> = listed.into_iter().map(|room| room.code).collect();
    listed.sort_unstable();
    let mut all = codes.to_vec();
    all.sort_unstable();
    assert_eq!(listed, all);

    rooms.delete_room(codes[0]).await.unwrap().unwrap();
    assert!(rooms.room(codes[0]).await.unwrap().is_err());
    let end = soon("the end", readers[0].watch.next()).await;
    assert!(matches!(end, Some(Frame::Closed(_))), "{end:?}");
    let listed = rooms.rooms(None, 10).await.unwrap().rooms;
    assert_eq!(listed.len(), 2);
}

#[tokio::test]
async fn rooms_that_ended_anywhere_in_a_cluster_are_swept_from_its_index() {
    let cluster = RedisCluster::start(false).await;
    let store = Opened::at(&cluster.url(), Duration::from_millis(300)).await;
    let codes = cluster.one_code_each().await;
    for code in codes {
        create(&*store.rooms, code).await;
    }
    let swept = async {
        let mut swept = 0;
        while swept < codes.len() {
            swept += store.rooms.sweep().await.unwrap();
        }
        swept
    };
    assert_eq!(soon("the end of the rooms", swept).await, codes.len());
    assert_eq!(store.rooms.rooms(None, 10).await.unwrap().rooms.len(), 0);
}

#[tokio::test]
async fn a_room_is_followed_to_another_server_of_the_cluster() {
    let cluster = RedisCluster::start(false).await;
    let store = Opened::at(&cluster.url(), DAY).await;
    let rooms = &*store.rooms;
    let [code, stays, _] = cluster.one_code_each().await;
    for code in [code, stays] {
        create(rooms, code).await;
    }
    let mut moving = Reader::of(&store, code).await;
    let mut staying = Reader::of(&store, stays).await;
    say(rooms, code, "before").await;

    cluster.begin_to_move(code, 1).await;
    let under_way = rooms.save_message(&message(code, "ann", "never")).await;
    assert!(
        matches!(under_way, Err(RepositoryError::Unavailable(_))),
        "{under_way:?}"
    );
    say(rooms, stays, "meanwhile").await;
    cluster.finish_the_move(code, 1).await;
    say(rooms, code, "after").await;

    moving.ends_like(rooms, code).await;
    assert_eq!(moving.texts, ["before", "after"]);
    say(rooms, code, "live again").await;
    moving.ends_like(rooms, code).await;
    staying.ends_like(rooms, stays).await;
    assert_eq!(staying.texts, ["meanwhile"]);
}

#[tokio::test]
async fn a_server_of_a_cluster_that_dies_stops_its_own_rooms_until_its_replica_takes_over() {
    let mut cluster = RedisCluster::start(true).await;
    let store = Opened::at(&cluster.url(), DAY).await;
    let rooms = &*store.rooms;
    let [code, lives, also_lives] = cluster.one_code_each().await;
    for code in [code, lives, also_lives] {
        create(rooms, code).await;
    }
    let mut reader = Reader::of(&store, code).await;
    let mut other = Reader::of(&store, lives).await;
    say(rooms, code, "before").await;
    reader.ends_like(rooms, code).await;

    cluster.kill(0).await;
    let outage = say_until_taken(rooms, code, "after");
    let meanwhile = async {
        for i in 0..50 {
            let begun = Instant::now();
            say(rooms, lives, &i.to_string()).await;
            say(rooms, also_lives, &i.to_string()).await;
            assert!(begun.elapsed() < ANSWER, "{:?}", begun.elapsed());
            other.ends_like(rooms, lives).await;
        }
        assert!(*rooms.availability().borrow());
    };
    let (refused, ()) = tokio::join!(outage, meanwhile);
    assert!(refused > 0, "the outage was seen");

    reader.ends_like(rooms, code).await;
    assert_eq!(reader.texts.last().unwrap(), "after");
    say(rooms, code, "live again").await;
    reader.ends_like(rooms, code).await;
    assert_eq!(texts(rooms, lives).await.len(), 50);
}

#[tokio::test]
async fn a_server_of_a_cluster_that_hands_over_to_its_replica_leaves_no_reader_behind() {
    let cluster = RedisCluster::start(true).await;
    let store = Opened::at(&cluster.url(), DAY).await;
    let rooms = &*store.rooms;
    let [code, ..] = cluster.one_code_each().await;
    create(rooms, code).await;
    let mut reader = Reader::of(&store, code).await;
    say(rooms, code, "before").await;
    cluster.hand_over(0).await;
    say_until_taken(rooms, code, "after").await;
    reader.ends_like(rooms, code).await;
    say(rooms, code, "live again").await;
    reader.ends_like(rooms, code).await;
    assert_eq!(reader.texts, ["before", "after", "live again"]);
}

#[tokio::test]
async fn the_master_that_sentinels_know_is_found_again_after_a_failover() {
    let mut redis = RedisSentinel::start().await;
    let store = Opened::at(&redis.url(), DAY).await;
    let rooms = &*store.rooms;
    let code = RoomCode::from_number(RoomCode::FIRST).unwrap();
    create(rooms, code).await;
    let mut reader = Reader::of(&store, code).await;
    say(rooms, code, "before").await;
    reader.ends_like(rooms, code).await;

    redis.kill_master().await;
    let refused = say_until_taken(rooms, code, "after").await;
    assert!(refused > 0, "the outage was seen");
    reader.ends_like(rooms, code).await;
    assert_eq!(reader.texts.last().unwrap(), "after");
    say(rooms, code, "live again").await;
    reader.ends_like(rooms, code).await;
}

fn session(name: &str) -> SessionId {
    SessionId::parse("session_id", name).unwrap()
}

/// A renewal of a session that is in none of these rooms names it in those that answer, each
/// time within the time that a caller waits.
async fn renewals_name(rooms: &dyn RoomRepository, asked: &[RoomCode], living: &[RoomCode]) {
    let sessions: Vec<_> = asked.iter().map(|code| (*code, session("x"))).collect();
    let named = async {
        loop {
            let begun = Instant::now();
            let unknown = rooms.renew_sessions(&sessions).await;
            assert!(begun.elapsed() < ANSWER, "{:?}", begun.elapsed());
            let unknown = unknown.unwrap_or_default();
            let unknown: Vec<RoomCode> = unknown.into_iter().map(|(code, _)| code).collect();
            if living.iter().all(|code| unknown.contains(code)) {
                return unknown;
            }
        }
    };
    let unknown = soon("the names of the unknown", named).await;
    assert_eq!(unknown.len(), living.len());
}

#[tokio::test]
async fn a_renewal_reaches_the_rooms_of_living_servers_while_another_is_dead_or_silent() {
    let mut cluster = RedisCluster::start(false).await;
    let store = Opened::at(&cluster.url(), DAY).await;
    let rooms = &*store.rooms;
    let codes = cluster.one_code_each().await;
    for code in codes {
        create(rooms, code).await;
    }
    let living = &codes[1..];
    renewals_name(rooms, &codes, &codes).await;
    cluster.freeze(0);
    renewals_name(rooms, &codes, living).await;
    cluster.thaw(0);
    renewals_name(rooms, &codes, &codes).await;
    cluster.lose(0);
    renewals_name(rooms, &codes, living).await;
}

#[tokio::test]
async fn a_server_that_has_been_away_for_a_while_costs_no_waiting() {
    let mut cluster = RedisCluster::start(false).await;
    let store = Opened::at(&cluster.url(), DAY).await;
    let rooms = &*store.rooms;
    let [code, ..] = cluster.one_code_each().await;
    create(rooms, code).await;
    cluster.lose(0);
    // The first calls wait for the connection to be replaced.
    let lost = async { while rooms.positions(&[code]).await[0].is_ok() {} };
    soon("the outage", lost).await;
    let begun = Instant::now();
    for _ in 0..20 {
        let read = rooms.positions(&[code]).await;
        assert!(
            matches!(read[0], Err(RepositoryError::Unavailable(_))),
            "{read:?}"
        );
    }
    // Each alone would wait for 400 milliseconds.
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
}

/// Changes a room as a service would whose event nobody hears.
const UNHEARD: &str = "redis.call('LPUSH', KEYS[2], ARGV[1]) \
    return redis.call('HINCRBY', KEYS[1], 'revision', 1)";

#[tokio::test]
async fn a_lost_event_is_found_on_a_living_server_while_another_is_dead() {
    let mut cluster = RedisCluster::start(false).await;
    let store = Opened::at(&cluster.url(), DAY).await;
    let rooms = &*store.rooms;
    let [dead, code, _] = cluster.one_code_each().await;
    for code in [dead, code] {
        create(rooms, code).await;
    }
    // Both are compared in one step.
    let _dead = Reader::of(&store, dead).await;
    let mut reader = Reader::of(&store, code).await;
    cluster.lose(0);
    let revision = reader.position.revision + 1;
    let message = format!(
        r#"{{"id":"0c4f5fd0-8f5e-4b54-9c2a-1f6de9cbb001","roomId":"{code}","userId":"u","username":"U","message":"lost","timestamp":1,"revision":{revision}}}"#
    );
    let (room, messages) = (
        format!("room:{{{code}}}"),
        format!("room:{{{code}}}:messages"),
    );
    let _: i64 = cluster
        .run(1, &["EVAL", UNHEARD, "2", &room, &messages, &message])
        .await;
    while reader.position.revision < revision {
        reader.read().await;
    }
    assert_eq!(reader.texts, ["lost"]);
}

/// Waits until the store says that it is, or is not, available.
async fn available(store: &Opened, wanted: bool) {
    let mut available = store.rooms.availability();
    soon("word of the store", available.wait_for(|&up| up == wanted))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_cluster_is_ready_while_any_shard_serves_and_not_when_it_is_down() {
    let mut cluster = RedisCluster::start(false).await;
    let store = Opened::at(&cluster.url(), DAY).await;
    let rooms = &*store.rooms;
    let [_, code, _] = cluster.one_code_each().await;
    create(rooms, code).await;
    cluster.lose(0);
    let lost = async {
        while cluster
            .run::<String>(1, &["CLUSTER", "NODES"])
            .await
            .matches("fail")
            .count()
            == 0
        {}
    };
    soon("the end of a master", lost).await;
    say(rooms, code, "served").await;
    assert!(*rooms.availability().borrow());
    // The last master is no majority. No call is made that could find it.
    cluster.lose(2);
    available(&store, false).await;
    let answer = rooms.save_message(&message(code, "ann", "never")).await;
    assert!(
        matches!(answer, Err(RepositoryError::Unavailable(_))),
        "{answer:?}"
    );
    cluster.find_again(2).await;
    available(&store, true).await;
    say_until_taken(rooms, code, "again").await;
}

#[tokio::test]
async fn a_cluster_whose_masters_all_refuse_writes_is_not_ready_until_one_takes_them() {
    let cluster = RedisCluster::start(false).await;
    let store = Opened::at(&cluster.url(), DAY).await;
    for master in 0..3 {
        assert!(*store.rooms.availability().borrow());
        let set = ["CONFIG", "SET", "min-replicas-to-write", "1"];
        let _: () = cluster.run(master, &set).await;
    }
    available(&store, false).await;
    let set = ["CONFIG", "SET", "min-replicas-to-write", "0"];
    let _: () = cluster.run(1, &set).await;
    available(&store, true).await;
}

#[tokio::test]
async fn a_master_that_sentinels_know_is_not_ready_while_it_lacks_its_replica() {
    let redis = RedisSentinel::start().await;
    let store = Opened::at(&redis.url(), DAY).await;
    available(&store, true).await;
    let _: () = redis
        .run(&["CONFIG", "SET", "min-replicas-to-write", "2"])
        .await;
    available(&store, false).await;
    let _: () = redis
        .run(&["CONFIG", "SET", "min-replicas-to-write", "1"])
        .await;
    available(&store, true).await;
}

/// Joins and leaves a room, each at the first try and within the time that a caller waits.
async fn comes_and_goes(rooms: &dyn RoomRepository, code: RoomCode) {
    let join = join(code, "ann", "s");
    let begun = Instant::now();
    rooms.join(&join).await.unwrap().unwrap();
    assert!(begun.elapsed() < ANSWER, "{:?}", begun.elapsed());
    let left = rooms.leave(code, &join.participant.user_id, &join.session);
    left.await.unwrap().unwrap();
}

async fn listed(rooms: &dyn RoomRepository) -> (BTreeSet<RoomCode>, bool) {
    let list = rooms.rooms(None, 100).await.unwrap();
    let codes = list.rooms.into_iter().map(|room| room.code);
    (codes.collect(), list.incomplete)
}

/// Waits until the store knows that the server of this room is away.
async fn is_known_to_be_away(rooms: &dyn RoomRepository, code: RoomCode) {
    let away = async {
        while rooms.can_keep(code) {
            tokio::task::yield_now().await;
        }
    };
    soon("that the outage is known", away).await;
}

/// Creates a room as a gateway does: where the place of its id is away, under the id that the
/// service names.
async fn created(rooms: &Rooms) -> RoomCode {
    let mut room = new_room(10);
    match rooms.create(room.clone()).await {
        Ok(created) => created.code,
        Err(RoomError::NotCreated { usable_id, .. }) => {
            room.request_id.id = usable_id;
            rooms.create(room).await.unwrap().code
        }
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn whichever_master_dies_rooms_of_the_others_are_joined_left_created_and_listed() {
    for dead in 0..3 {
        let mut cluster = RedisCluster::start(false).await;
        let store = Opened::at(&cluster.url(), DAY).await;
        let rooms = &*store.rooms;
        let codes = cluster.one_code_each().await;
        for code in codes {
            create(rooms, code).await;
        }
        assert_eq!(listed(rooms).await, (codes.into(), false));
        cluster.lose(dead);
        let mut living: BTreeSet<RoomCode> = codes.into();
        living.remove(&codes[dead]);
        for code in &living {
            comes_and_goes(rooms, *code).await;
        }
        is_known_to_be_away(rooms, codes[dead]).await;
        let service = Rooms::new(store.rooms.clone(), LIMITS);
        for _ in 0..12 {
            let code = created(&service).await;
            assert_ne!(cluster.master_of(code).await, dead);
            comes_and_goes(rooms, code).await;
            living.insert(code);
        }
        assert_eq!(listed(rooms).await, (living, true));
    }
}

#[tokio::test]
async fn a_request_of_the_callers_own_keeps_its_place_and_waits_for_it() {
    let mut cluster = RedisCluster::start(false).await;
    let store = Opened::at(&cluster.url(), DAY).await;
    let rooms = &*store.rooms;
    let [code, ..] = cluster.one_code_each().await;
    create(rooms, code).await;
    cluster.lose(0);
    is_known_to_be_away(rooms, code).await;
    let service = Rooms::new(store.rooms.clone(), LIMITS);
    let mut refused = 0;
    for _ in 0..40 {
        let room = new_room(10);
        let first = service.create(room.clone()).await;
        let again = service.create(room).await;
        match (first, again) {
            (Ok(first), Ok(again)) => assert_eq!(first.code, again.code),
            (Err(RoomError::NotCreated { error, .. }), Err(RoomError::NotCreated { .. })) => {
                assert!(matches!(error, RepositoryError::Unavailable(_)), "{error}");
                refused += 1;
            }
            answers => panic!("{answers:?}"),
        }
    }
    // A third of all ids have their place on the dead server.
    assert!((1..40).contains(&refused), "{refused} refused");
}

#[tokio::test]
async fn a_request_that_has_a_room_is_given_no_other_id_while_the_rooms_server_is_away() {
    let mut cluster = RedisCluster::start(false).await;
    let store = Opened::at(&cluster.url(), DAY).await;
    let rooms = &*store.rooms;
    for code in cluster.one_code_each().await {
        create(rooms, code).await;
    }
    let service = Rooms::new(store.rooms.clone(), LIMITS);
    let (request, code) = loop {
        let request = new_room(10);
        let claim = format!("create:{{{}}}", request.request_id.id);
        let code = service.create(request.clone()).await.unwrap().code;
        if cluster.master_of(code).await == 0 && master_of_key(&cluster, &claim).await != 0 {
            break (request, code);
        }
    };
    cluster.lose(0);
    // The first try may find the outage, and then its outcome is unknown.
    let again = service.create(request.clone()).await;
    assert!(matches!(again, Err(RoomError::Repository(_))), "{again:?}");
    is_known_to_be_away(rooms, code).await;
    let again = service.create(request).await;
    assert!(
        matches!(
            again,
            Err(RoomError::Repository(RepositoryError::Unavailable(_)))
        ),
        "{again:?}"
    );
}

/// The range in which the slots of the first master end, and the tag of its indexes.
const SHARED_RANGE: usize = 85;
const SHARED_TAG: &str = "450";

#[tokio::test]
async fn a_room_whose_index_is_on_a_dead_server_is_noted_there_when_that_is_back() {
    let mut cluster = RedisCluster::start(false).await;
    let store = Opened::at(&cluster.url(), DAY).await;
    let rooms = &*store.rooms;
    let [first, ..] = cluster.one_code_each().await;
    create(rooms, first).await;
    let due = format!("sessions:due:{{{SHARED_TAG}}}");
    let active = format!("rooms:active:{{{SHARED_TAG}}}");
    let index: usize = cluster.run(0, &["CLUSTER", "KEYSLOT", &due]).await;
    assert_eq!(index / 64, SHARED_RANGE);
    let index_master = cluster.master_of_slot(index);
    let code = cluster
        .code_where(|slot| {
            slot / 64 == SHARED_RANGE && cluster.master_of_slot(slot) != index_master
        })
        .await;
    cluster.lose(index_master);
    create(rooms, code).await;
    let join = join(code, "ann", "s");
    rooms.join(&join).await.unwrap().unwrap();
    let (found, incomplete) = listed(rooms).await;
    assert!(incomplete && found.contains(&code), "{found:?}");

    cluster.find_again(index_master).await;
    let complete = async {
        loop {
            let (found, incomplete) = listed(rooms).await;
            assert!(found.contains(&code));
            if !incomplete {
                break;
            }
        }
    };
    soon("a complete list", complete).await;
    let noted = async {
        let (mut session, mut listed): (Option<f64>, Option<f64>) = (None, None);
        while session.is_none() || listed.is_none() {
            // Every three seconds the service does this.
            rooms.expire_sessions().await.unwrap();
            session = cluster
                .run(index_master, &["ZSCORE", &due, &format!("{code}:s")])
                .await;
            listed = cluster
                .run(index_master, &["ZSCORE", &active, code.as_str()])
                .await;
        }
    };
    soon("the notes", noted).await;
    assert!(listed(rooms).await.0.contains(&code));
}

/// The master that keeps a key.
async fn master_of_key(cluster: &RedisCluster, key: &str) -> usize {
    let slot: usize = cluster.run(0, &["CLUSTER", "KEYSLOT", key]).await;
    cluster.master_of_slot(slot)
}

/// Leaves the indexes as a version before the split had them: rooms in one key, sessions in
/// none.
async fn index_as_before_the_split(cluster: &RedisCluster, rooms: &[(RoomCode, u64)]) {
    for master in 0..3 {
        for kind in ["rooms:active:*", "sessions:due:*"] {
            let keys: Vec<String> = cluster.run(master, &["KEYS", kind]).await;
            for key in keys {
                let _: i64 = cluster.run(master, &["DEL", &key]).await;
            }
        }
    }
    let master = master_of_key(cluster, "rooms:active").await;
    for (code, time) in rooms {
        let add = ["ZADD", "rooms:active", &time.to_string(), code.as_str()];
        let _: i64 = cluster.run(master, &add).await;
    }
}

/// The keys of an index's parts.
async fn parts_of(cluster: &RedisCluster, index: &str) -> usize {
    let mut parts = 0;
    for master in 0..3 {
        let keys: Vec<String> = cluster.run(master, &["KEYS", &format!("{index}:*")]).await;
        parts += keys.len();
    }
    parts
}

#[tokio::test]
async fn rooms_in_use_come_to_their_parts_after_an_upgrade_and_no_list_lacks_one_meanwhile() {
    let mut cluster = RedisCluster::start(false).await;
    let store = Opened::at(&cluster.url(), DAY).await;
    let rooms = &*store.rooms;
    let codes = cluster.one_code_each().await;
    let mut indexed = Vec::new();
    for code in codes {
        create(rooms, code).await;
        rooms.join(&join(code, "ann", "s")).await.unwrap().unwrap();
        let stats = rooms.room(code).await.unwrap().unwrap();
        indexed.push((code, stats.room.create_time));
    }
    let ended = RoomCode::from_number(RoomCode::LAST).unwrap();
    let whole = [&indexed[..], &[(ended, 1)]].concat();
    index_as_before_the_split(&cluster, &whole).await;

    let lists = async {
        loop {
            let (found, incomplete) = listed(rooms).await;
            assert!(incomplete || codes.iter().all(|code| found.contains(code)));
        }
    };
    tokio::select! {
        () = lists => {}
        swept = rooms.sweep() => {
            // A list may have removed the room that ended before.
            assert!(swept.unwrap() <= 1);
        }
    }
    let old_master = master_of_key(&cluster, "rooms:active").await;
    let left: usize = cluster.run(old_master, &["ZCARD", "rooms:active"]).await;
    assert_eq!(left, 0);
    assert_eq!(parts_of(&cluster, "rooms:active").await, codes.len());

    let sessions = codes.map(|code| (code, session("s")));
    assert!(rooms.renew_sessions(&sessions).await.unwrap().is_empty());
    assert_eq!(parts_of(&cluster, "sessions:due").await, codes.len());

    cluster.lose(old_master);
    is_known_to_be_away(rooms, codes[old_master]).await;
    let mut living: BTreeSet<RoomCode> = codes.into();
    living.remove(&codes[old_master]);
    assert_eq!(listed(rooms).await, (living, true));
}

#[tokio::test]
async fn what_a_version_before_the_split_has_indexed_is_found() {
    let cluster = RedisCluster::start(false).await;
    let store = Opened::at(&cluster.url(), DAY).await;
    let rooms = &*store.rooms;
    let codes = cluster.one_code_each().await;
    let mut indexed = Vec::new();
    for code in codes {
        create(rooms, code).await;
        rooms.join(&join(code, "ann", "s")).await.unwrap().unwrap();
        let stats = rooms.room(code).await.unwrap().unwrap();
        indexed.push((code, stats.room.create_time));
    }
    index_as_before_the_split(&cluster, &[]).await;
    assert!(listed(rooms).await.0.is_empty());
    index_as_before_the_split(&cluster, &indexed).await;
    assert_eq!(listed(rooms).await, (codes.into(), false));
    // A join lists the room in its own part; it is listed once all the same.
    rooms
        .join(&join(codes[0], "bob", "b"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        rooms.rooms(None, 100).await.unwrap().rooms.len(),
        codes.len()
    );
    rooms.delete_room(codes[1]).await.unwrap().unwrap();
    assert_eq!(rooms.sweep().await.unwrap(), 1);

    let master = master_of_key(&cluster, "sessions:due").await;
    let entry = format!("{}:s", codes[0]);
    let _: i64 = cluster
        .run(master, &["ZADD", "sessions:due", "1", &entry])
        .await;
    assert_eq!(rooms.expire_sessions().await.unwrap(), 0);
    // The store is too young to end anybody, so what is due is put off.
    let score: f64 = cluster
        .run(master, &["ZSCORE", "sessions:due", &entry])
        .await;
    assert!(score > 1.0, "{score}");
}

#[tokio::test]
async fn a_clusters_rooms_are_listed_once_each_newest_first_page_by_page() {
    let cluster = RedisCluster::start(false).await;
    let store = Opened::at(&cluster.url(), DAY).await;
    let rooms = &*store.rooms;
    // More of one part than are read of it at once, and some of others.
    let codes = cluster.codes_of_one_range(40).await;
    let mut all: Vec<RoomCode> = codes.clone();
    all.extend(cluster.one_code_each().await);
    all.dedup();
    let mut made = BTreeSet::new();
    for code in all {
        if made.insert(code) {
            create(rooms, code).await;
        }
    }
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = rooms.rooms(cursor, 7).await.unwrap();
        assert!(!page.incomplete);
        found.extend(page.rooms);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert!(found.is_sorted_by_key(|room| std::cmp::Reverse((room.create_time, room.code))));
    let codes: Vec<RoomCode> = found.iter().map(|room| room.code).collect();
    assert_eq!(codes.len(), made.len());
    assert_eq!(codes.into_iter().collect::<BTreeSet<_>>(), made);
}

#[tokio::test]
async fn all_rooms_of_living_servers_are_listed_page_by_page_while_another_is_silent() {
    let cluster = RedisCluster::start(false).await;
    let store = Opened::at(&cluster.url(), DAY).await;
    let rooms = &*store.rooms;
    let mut living = BTreeSet::new();
    for number in RoomCode::FIRST..RoomCode::FIRST + 200 {
        let code = RoomCode::from_number(number).unwrap();
        create(rooms, code).await;
        if cluster.master_of(code).await != 0 {
            living.insert(code);
        }
    }
    cluster.freeze(0);
    let (mut found, mut incomplete, mut cursor) = (BTreeSet::new(), false, None);
    loop {
        let begun = Instant::now();
        let page = rooms.rooms(cursor, 1_000).await.unwrap();
        assert!(begun.elapsed() < ANSWER, "{:?}", begun.elapsed());
        let codes = page.rooms.into_iter().map(|room| room.code);
        found.extend(codes);
        incomplete |= page.incomplete;
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    cluster.thaw(0);
    assert!(incomplete);
    let missing: Vec<_> = living.difference(&found).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// What a gateway answers to a request over HTTP.
async fn http(address: SocketAddr, path: &str) -> String {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_gateway_creates_and_lists_rooms_and_is_ready_while_a_master_is_dead() {
    let mut cluster = RedisCluster::start(false).await;
    let service = service::start(&cluster.url()).await;
    let url = service.address.as_str();
    let arguments = ["edge-gateway", "--gateway-persistence-url", url];
    let config = edge_gateway::config::Config::try_parse_from(arguments).unwrap();
    let gateway = edge_gateway::app::build(&config).unwrap();
    let persistence = Persistence::new(&config.persistence_url, gateway.tasks()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let running = tokio::spawn(gateway.run(listener, CancellationToken::new()));
    let request = || proto::CreateRoomRequest {
        name: "A room".to_owned(),
        created_by: "Ann".to_owned(),
        request_id: Uuid::new_v4().to_string(),
        ..Default::default()
    };
    let first = async { while persistence.create_room(request()).await.is_err() {} };
    soon("a room", first).await;
    let complete = http(address, "/api/rooms").await;
    assert!(!complete.contains("incomplete"), "{complete}");

    cluster.lose(2);
    let incomplete = async {
        while !http(address, "/api/rooms")
            .await
            .contains(r#""incomplete":true"#)
        {}
    };
    soon("an incomplete list", incomplete).await;
    for _ in 0..20 {
        persistence.create_room(request()).await.unwrap();
    }
    let ready = http(address, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    running.abort();
}
