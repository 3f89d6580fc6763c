//! When everybody is behind at once: few catch-ups at a time, and one for all
//! who wait for the same.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use persistence_service::{
    domain::RoomCode,
    feed::{Frame, Watch},
};
use roomkeeper_tests::{Observed, Opened, RedisServer, message, new_room, request, soon};

/// A hub that is looked at, on a Redis of its own.
async fn observed() -> (RedisServer, Opened, Arc<Observed>) {
    let redis = RedisServer::start().await;
    let mut observed = None;
    let opened = Opened::looked_at(&redis.url(), Duration::from_secs(86_400), |store| {
        let look = Arc::new(Observed::new(store));
        observed = Some(look.clone());
        look
    })
    .await;
    (redis, opened, observed.unwrap())
}

async fn room(opened: &Opened, number: u32) -> RoomCode {
    let code = RoomCode::from_number(number).unwrap();
    let request = request("CreateRoom", "ann", "");
    let created = opened
        .rooms
        .create_room(code, &new_room(10), &request)
        .await;
    created.unwrap().unwrap().unwrap().code
}

async fn caught_up(watch: &mut Watch) -> Arc<persistence_service::domain::CatchUp> {
    match soon("a catch-up", watch.next()).await {
        Some(Frame::CaughtUp(catch_up, _)) => catch_up,
        other => panic!("a catch-up, not {other:?}"),
    }
}

#[tokio::test]
async fn a_thousand_watched_rooms_do_not_read_all_at_once_when_the_feed_breaks() {
    const ROOMS: u32 = 1_000;
    let (redis, opened, observed) = observed().await;
    let codes: Vec<RoomCode> = join_all((0..ROOMS).map(|n| room(&opened, 2_000 + n))).await;
    let mut watches: Vec<Watch> = codes.iter().map(|code| opened.watch(*code)).collect();
    join_all(watches.iter_mut().map(caught_up)).await;
    assert!(observed.most.load(Ordering::SeqCst) <= 32);
    observed.forget();

    // Missed by every watch, so that each has something to catch up on.
    let killed: i64 = redis.run(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    assert_eq!(killed, 1);
    let told = join_all(watches.iter_mut().zip(&codes).map(async |(watch, code)| {
        let message = message(*code, "ann", "hi");
        opened.rooms.save_message(&message).await.unwrap().unwrap();
        loop {
            match soon("a frame", watch.next()).await {
                Some(Frame::CaughtUp(c, _)) if c.messages.is_empty() => {}
                Some(Frame::CaughtUp(c, _)) => return c.messages.len(),
                Some(Frame::Event(_)) => return 1,
                other => panic!("{other:?}"),
            }
        }
    }))
    .await;
    assert!(told.iter().all(|messages| *messages == 1));
    let most = observed.most.load(Ordering::SeqCst);
    assert!((1..=32).contains(&most), "{most} at once");
}

#[tokio::test]
async fn one_read_serves_all_who_wait_for_the_same() {
    const WATCHES: usize = 200;
    let (redis, opened, observed) = observed().await;
    let code = room(&opened, 2_000).await;
    let mut watches: Vec<Watch> = (0..WATCHES).map(|_| opened.watch(code)).collect();
    join_all(watches.iter_mut().map(caught_up)).await;
    observed.forget();
    let _: i64 = redis.run(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    join_all(watches.iter_mut().map(caught_up)).await;
    let reads = observed.reads.load(Ordering::SeqCst);
    assert!((1..=WATCHES / 10).contains(&reads), "{reads} reads");
}

#[tokio::test]
async fn a_read_that_was_sent_before_a_watch_began_is_not_its_own() {
    let (_redis, opened, observed) = observed().await;
    let code = room(&opened, 2_000).await;
    observed.hold(true);
    let mut first = opened.watch(code);
    let first_read = tokio::spawn(async move { caught_up(&mut first).await });
    let read = async {
        while observed.reads.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    soon("the first read", read).await;

    let message = message(code, "ann", "between");
    let saved = opened.rooms.save_message(&message).await.unwrap().unwrap();
    let mut second = opened.watch(code);
    let second_read = tokio::spawn(async move { caught_up(&mut second).await });
    observed.hold(false);
    let first = soon("the first catch-up", first_read).await.unwrap();
    let second = soon("the second catch-up", second_read).await.unwrap();
    assert!(first.room.position.revision < saved.message.revision);
    assert!(second.room.position.revision >= saved.message.revision);
}

#[tokio::test]
async fn a_catch_up_that_panics_keeps_nobody_waiting() {
    let (_redis, opened, observed) = observed().await;
    let code = room(&opened, 2_000).await;
    observed.panic_once();
    let end = soon("an end", opened.watch(code).next()).await;
    assert!(matches!(end, Some(Frame::Closed(_))), "{end:?}");
    let mut watch = opened.watch(code);
    assert!(caught_up(&mut watch).await.messages.is_empty());
    assert_eq!(observed.reads.load(Ordering::SeqCst), 1);
}
