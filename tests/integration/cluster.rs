//! Rooms in a Redis Cluster, and behind sentinels.

use std::time::{Duration, Instant};

use persistence_service::{
    domain::{EventKind, Position, RoomCode},
    feed::{Frame, Watch},
    repository::{RepositoryError, RoomRepository, Since},
};
use roomkeeper_tests::{
    Opened, RedisCluster, RedisSentinel, drawing, join, message, new_room, rectangle, request, soon,
};

const DAY: Duration = Duration::from_secs(86_400);

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
    let positions = rooms.positions(&codes).await.unwrap();
    for (position, reader) in positions.into_iter().zip(&readers) {
        assert_eq!(position, Some(reader.position));
    }

    let (listed, _) = rooms.rooms(None, 10).await.unwrap();
    let mut listed: Vec<RoomCode> = listed.into_iter().map(|room| room.code).collect();
    listed.sort_unstable();
    let mut all = codes.to_vec();
    all.sort_unstable();
    assert_eq!(listed, all);

    rooms.delete_room(codes[0]).await.unwrap().unwrap();
    assert!(rooms.room(codes[0]).await.unwrap().is_err());
    let end = soon("the end", readers[0].watch.next()).await;
    assert!(matches!(end, Some(Frame::Closed(_))), "{end:?}");
    let (listed, _) = rooms.rooms(None, 10).await.unwrap();
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
    assert_eq!(store.rooms.rooms(None, 10).await.unwrap().0.len(), 0);
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
