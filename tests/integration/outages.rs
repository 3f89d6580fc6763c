//! A Redis that falls silent, refuses or is too slow: each has its answer, and none
//! needs a restart.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use persistence_service::{
    domain::{EventKind, RoomCode},
    feed::Frame,
    repository::{Refusal, RepositoryError},
};
use roomkeeper_proto::v1 as proto;
use roomkeeper_tests::{Opened, Proxy, RedisServer, Store, message, new_room, request, soon};
use tokio::time::timeout;
use tonic::{Code, Status};

use crate::service::{Service, reason, room, said, start};

#[tokio::test]
async fn a_connection_that_falls_silent_is_replaced_within_three_seconds() {
    let redis = RedisServer::start().await;
    let proxy = Proxy::to(redis.port()).await;
    let url = format!("redis://127.0.0.1:{}", proxy.port());
    let store = Opened::at(&url, Duration::from_secs(86_400)).await;
    let code = RoomCode::from_number(4_711).unwrap();
    let (new, creation) = (new_room(10), request("CreateRoom", "ann", ""));
    let created = store.rooms.create_room(code, &new, &creation);
    created.await.unwrap().unwrap().unwrap();
    let mut watch = store.watch(code);
    soon("a catch-up", watch.next()).await.unwrap();

    proxy.mute();
    let begun = Instant::now();
    let lost = async {
        let lost = message(code, "ann", "lost");
        let answer = store.rooms.save_message(&lost).await;
        assert!(
            matches!(answer, Err(RepositoryError::OutcomeUnknown(_))),
            "{answer:?}"
        );
        assert!(begun.elapsed() < Duration::from_secs(2), "answered in time");
    };
    let first = message(code, "ann", "first");
    let written = async {
        loop {
            let patience = Duration::from_millis(200);
            match timeout(patience, store.rooms.save_message(&first)).await {
                Ok(Ok(saved)) => break drop(saved.unwrap()),
                Ok(Err(RepositoryError::Unavailable(_) | RepositoryError::OutcomeUnknown(_)))
                | Err(_) => {}
                Ok(Err(error)) => panic!("{error}"),
            }
        }
    };
    tokio::join!(lost, soon("a connection", written));
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    // The feed's connection fell silent too.
    let heard = async {
        loop {
            match watch.next().await.unwrap() {
                Frame::CaughtUp(read, _) if read.messages.is_empty() => {}
                Frame::CaughtUp(read, _) => break read.messages[0].text.clone(),
                Frame::Event(event) => {
                    let EventKind::Message(message) = &event.kind else {
                        panic!("{event:?}")
                    };
                    break message.text.clone();
                }
                Frame::Closed(reason) => panic!("{reason:?}"),
            }
        }
    };
    assert_eq!(soon("the message", heard).await, "first");
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_deletion_whose_answer_is_lost_is_answered_as_done() {
    let redis = RedisServer::start().await;
    let proxy = Proxy::to(redis.port()).await;
    let url = format!("redis://127.0.0.1:{}", proxy.port());
    let store = Opened::at(&url, Duration::from_secs(86_400)).await;
    let code = RoomCode::from_number(4_711).unwrap();
    let (new, creation) = (new_room(10), request("CreateRoom", "ann", ""));
    let created = store.rooms.create_room(code, &new, &creation);
    created.await.unwrap().unwrap().unwrap();

    proxy.lose_answer("\r\nok\r\n");
    let deleted = soon("an answer", store.rooms.delete_room(code)).await;
    assert_eq!(deleted.unwrap(), Ok(()));
    assert_eq!(
        store.rooms.room(code).await.unwrap().err(),
        Some(Refusal::Gone)
    );
    // Another call deletes nothing, and says so.
    let again = store.rooms.delete_room(code).await.unwrap();
    assert_eq!(again, Err(Refusal::Gone));
}

#[tokio::test]
async fn calls_under_way_are_bounded_and_one_too_many_is_refused_at_once() {
    let store = Store::start().await;
    let code = store.room().await;
    let _: String = store.redis.run(&["CLIENT", "PAUSE", "1200", "ALL"]).await;
    let reads = (0..5_000).map(async |_| {
        let begun = Instant::now();
        let answer = store.rooms.room(code).await;
        (answer, begun.elapsed())
    });
    let answers = join_all(reads).await;
    let refused: Vec<_> = answers
        .iter()
        .filter(|(answer, _)| matches!(answer, Err(RepositoryError::Unavailable(_))))
        .collect();
    assert!(refused.len() >= 5_000 - 4_096, "{} refused", refused.len());
    let at_once = refused
        .iter()
        .filter(|(_, took)| *took < Duration::from_millis(300))
        .count();
    assert!(at_once >= 5_000 - 4_096, "{at_once} refused at once");
    let after = async { while store.rooms.room(code).await.is_err() {} };
    soon("an answer", after).await;
}

/// A service whose Redis can be told to refuse.
struct Refusing {
    redis: RedisServer,
    service: Service,
    code: String,
}

impl Refusing {
    async fn start() -> Self {
        let redis = RedisServer::start().await;
        let mut service = start(&redis.url()).await;
        let code = room(&mut service.client).await;
        Self {
            redis,
            service,
            code,
        }
    }

    async fn redis(&self, words: &[&str]) {
        let _: redis::Value = self.redis.run(words).await;
    }

    async fn write(&mut self) -> Result<(), Status> {
        let request = said(&self.code, "hi");
        self.service.client.save_message(request).await.map(drop)
    }

    async fn read(&mut self) -> Result<(), Status> {
        let room_code = self.code.clone();
        let request = proto::GetRoomRequest { room_code };
        self.service.client.get_room(request).await.map(drop)
    }

    /// A write is refused as not possible now, with nothing told of why.
    async fn refuses_writes(&mut self, secret: &str) {
        let refused = async {
            loop {
                // Redis may take a moment to notice.
                if let Err(status) = self.write().await {
                    break status;
                }
            }
        };
        let status = soon(secret, refused).await;
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::Unavailable, "STORE_UNAVAILABLE"),
            "{secret}: {status:?}"
        );
        assert!(!status.message().contains(secret), "{status:?}");
    }

    async fn recovers(&mut self) {
        let begun = Instant::now();
        let written = async { while self.write().await.is_err() {} };
        soon("a write", written).await;
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
    }
}

#[tokio::test]
async fn too_few_replicas_refuse_writes_and_reads_go_on() {
    let mut it = Refusing::start().await;
    it.redis(&["CONFIG", "SET", "min-replicas-to-write", "1"])
        .await;
    it.refuses_writes("NOREPLICAS").await;
    it.read().await.unwrap();
    it.redis(&["CONFIG", "SET", "min-replicas-to-write", "0"])
        .await;
    it.recovers().await;
}

#[tokio::test]
async fn a_redis_that_cannot_save_refuses_writes_and_reads_go_on() {
    let mut it = Refusing::start().await;
    let dir: Vec<String> = it.redis.run(&["CONFIG", "GET", "dir"]).await;
    // The file cannot take a folder's place.
    let file = std::path::Path::new(&dir[1]).join("dump.rdb");
    std::fs::create_dir(&file).unwrap();
    it.redis(&["CONFIG", "SET", "save", "3600 1"]).await;
    it.redis(&["BGSAVE", "SCHEDULE"]).await;
    it.refuses_writes("MISCONF").await;
    it.read().await.unwrap();
    it.redis(&["CONFIG", "SET", "save", ""]).await;
    it.recovers().await;
}

#[tokio::test]
async fn a_demoted_redis_is_left_until_it_is_a_master_again() {
    let mut it = Refusing::start().await;
    for stale in ["yes", "no"] {
        it.redis(&["CONFIG", "SET", "replica-serve-stale-data", stale])
            .await;
        it.redis(&["REPLICAOF", "127.0.0.1", "1"]).await;
        it.refuses_writes("READONLY").await;
        it.refuses_writes("MASTERDOWN").await;
        it.redis(&["REPLICAOF", "NO", "ONE"]).await;
        it.recovers().await;
    }
}

/// The store says that it is, or is not, available, without a call that could find out.
async fn says(store: &Store, what: &str, wanted: bool) {
    let mut available = store.rooms.availability();
    soon(what, available.wait_for(|&up| up == wanted))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_redis_that_refuses_writes_is_not_ready_and_is_ready_when_it_takes_them() {
    let store = Store::start().await;
    let code = store.room().await;
    let set = async |name: &str, value: &str| {
        let _: String = store.redis.run(&["CONFIG", "SET", name, value]).await;
    };
    set("min-replicas-to-write", "1").await;
    says(&store, "too few replicas", false).await;
    store.rooms.room(code).await.unwrap().unwrap();
    set("min-replicas-to-write", "0").await;
    says(&store, "enough replicas", true).await;

    let dir: Vec<String> = store.redis.run(&["CONFIG", "GET", "dir"]).await;
    let file = std::path::Path::new(&dir[1]).join("dump.rdb");
    std::fs::create_dir(&file).unwrap();
    set("save", "3600 1").await;
    let _: redis::Value = store.redis.run(&["BGSAVE", "SCHEDULE"]).await;
    says(&store, "that it cannot save", false).await;
    store.rooms.room(code).await.unwrap().unwrap();
    set("save", "").await;
    says(&store, "that it need not save", true).await;

    let _: redis::Value = store.redis.run(&["REPLICAOF", "127.0.0.1", "1"]).await;
    says(&store, "its demotion", false).await;
    let _: redis::Value = store.redis.run(&["REPLICAOF", "NO", "ONE"]).await;
    says(&store, "its promotion", true).await;
}

#[tokio::test]
async fn a_full_redis_is_ready_since_reads_and_leaves_go_on() {
    let store = Store::start().await;
    let code = store.room().await;
    let _: String = store
        .redis
        .run(&["CONFIG", "SET", "maxmemory", "1mb"])
        .await;
    let refused = store.rooms.save_message(&message(code, "ann", "no")).await;
    assert!(matches!(refused, Err(RepositoryError::Full)), "{refused:?}");
    let mut available = store.rooms.availability();
    // Two questions to the server lie within this time.
    let changed = timeout(Duration::from_millis(2_500), available.wait_for(|&up| !up)).await;
    assert!(changed.is_err(), "it is ready all the time");
}

#[tokio::test]
async fn a_redis_that_runs_somebody_elses_script_is_busy_until_it_ends() {
    let mut it = Refusing::start().await;
    it.redis(&["CONFIG", "SET", "busy-reply-threshold", "100"])
        .await;
    let mut other = it.redis.connection().await;
    let endless = tokio::spawn(async move {
        let mut script = redis::cmd("EVAL");
        script.arg("while true do end").arg(0);
        script.query_async::<()>(&mut other).await
    });
    let busy = async {
        loop {
            let mut connection = it.redis.connection().await;
            let answer = redis::cmd("PING").query_async::<()>(&mut connection).await;
            if answer.is_err_and(|error| error.code() == Some("BUSY")) {
                break;
            }
        }
    };
    soon("a busy Redis", busy).await;
    it.refuses_writes("BUSY").await;
    it.redis(&["SCRIPT", "KILL"]).await;
    assert!(soon("its end", endless).await.unwrap().is_err());
    it.recovers().await;
}

#[tokio::test]
async fn a_redis_that_loads_its_data_is_waited_for() {
    let mut it = Refusing::start().await;
    let keys: Vec<String> = (0..300)
        .flat_map(|n| [format!("k{n}"), "v".repeat(100)])
        .collect();
    let words: Vec<&str> = std::iter::once("MSET")
        .chain(keys.iter().map(String::as_str))
        .collect();
    it.redis(&words).await;
    // It answers between keys while it loads, and each takes its time.
    it.redis(&[
        "CONFIG",
        "SET",
        "loading-process-events-interval-bytes",
        "1024",
    ])
    .await;
    it.redis(&["CONFIG", "SET", "key-load-delay", "5000"]).await;
    let mut other = it.redis.connection().await;
    let loading = tokio::spawn(async move {
        let mut reload = redis::cmd("DEBUG");
        reload.arg("RELOAD");
        reload.query_async::<()>(&mut other).await
    });
    it.refuses_writes("LOADING").await;
    it.recovers().await;
    soon("the end of the loading", loading)
        .await
        .unwrap()
        .unwrap();
}
