//! What happens when a task that never ends has failed.

use std::{future::pending, sync::Arc, time::Duration};

use clap::Parser as _;
use edge_gateway::{app as gateway_app, config::Config as GatewayConfig};
use persistence_service::{
    app as service_app,
    config::Config as ServiceConfig,
    domain::{Event, RoomCode},
    feed::Mailboxes,
    repository::{
        FeedSink, RoomRepository as _, RoomSettings,
        redis::{RedisAddress, RedisRooms},
    },
};
use roomkeeper_common::tasks::Tasks;
use roomkeeper_tests::{RedisCluster, RedisServer, soon};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A sink that fails whoever uses it.
#[derive(Debug)]
struct Panics;

impl FeedSink for Panics {
    fn event(&self, _: RoomCode, _: Arc<Event>) -> bool {
        panic!("on purpose")
    }

    fn interrupted(&self) {
        panic!("on purpose")
    }

    fn watched(&self) -> Vec<RoomCode> {
        Vec::new()
    }

    fn is_watched(&self, _: RoomCode) -> bool {
        panic!("on purpose")
    }
}

fn open(url: &str, sink: Arc<dyn FeedSink>, tasks: &Tasks) -> RedisRooms {
    let settings = RoomSettings {
        ttl: Duration::from_secs(60),
        message_limit: 100,
        session_lease: Duration::from_secs(30),
    };
    let address = RedisAddress::parse(url).unwrap();
    RedisRooms::open(address, settings, sink, tasks.clone())
}

#[tokio::test]
async fn a_listener_that_panics_fails_the_program() {
    let redis = RedisServer::start().await;
    let tasks = Tasks::until(CancellationToken::new());
    let rooms = open(&redis.url(), Arc::new(Panics), &tasks);
    soon("the failure", tasks.failed()).await;
    drop(rooms);
}

#[tokio::test]
async fn a_listener_of_a_cluster_that_panics_fails_the_program() {
    let cluster = RedisCluster::start(false).await;
    let tasks = Tasks::until(CancellationToken::new());
    let rooms = open(&cluster.url(), Arc::new(Panics), &tasks);
    soon("the failure", tasks.failed()).await;
    drop(rooms);
}

#[tokio::test]
async fn rooms_that_are_closed_have_not_failed() {
    let redis = RedisServer::start().await;
    let tasks = Tasks::until(CancellationToken::new());
    let rooms = open(&redis.url(), Arc::new(Mailboxes::default()), &tasks);
    let mut available = rooms.availability();
    soon("a connection", available.wait_for(|&up| up))
        .await
        .unwrap();
    soon("the end of all tasks", tasks.stop()).await;
    assert!(!tasks.have_failed());
}

#[tokio::test]
async fn a_gateway_of_which_a_task_has_failed_stops_with_an_error() {
    let config = GatewayConfig::try_parse_from(["edge-gateway"]).unwrap();
    let gateway = gateway_app::build(&config).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    gateway.tasks().spawn("others", pending());
    gateway
        .tasks()
        .spawn("on purpose", async { panic!("on purpose") });
    let running = gateway.run(listener, CancellationToken::new());
    let error = soon("the end", running).await.unwrap_err();
    assert_eq!(error.to_string(), "a task that never ends has failed");
}

#[tokio::test]
async fn a_gateway_that_is_told_to_stop_has_no_failed_task() {
    let config = GatewayConfig::try_parse_from(["edge-gateway"]).unwrap();
    let gateway = gateway_app::build(&config).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    soon("the end", gateway.run(listener, shutdown))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_service_of_which_a_task_has_failed_stops_with_an_error() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let config = ServiceConfig::try_parse_from(["persistence-service", "--redis-url", &url]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tasks = Tasks::until(CancellationToken::new());
    tasks.spawn("on purpose", async { panic!("on purpose") });
    let running = service_app::run(config.unwrap(), listener, tasks, pending());
    let error = soon("the end", running).await.unwrap_err();
    assert_eq!(error.to_string(), "a task that never ends has failed");
}
