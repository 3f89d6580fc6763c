//! The program, put together.

use std::{future::Future, sync::Arc, time::Duration};

use roomkeeper_common::tasks::Tasks;
use roomkeeper_proto::v1::room_service_server::RoomServiceServer;
use tokio::{
    net::TcpListener,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::TcpIncoming};
use tonic_health::ServingStatus;

use crate::{
    config::Config,
    feed::{Hub, Mailboxes},
    grpc::{HEALTH_NAMES, Readable, RoomService, follow_health},
    repository::{
        FeedSink, RoomRepository, RoomSettings, embedded::EmbeddedRooms, redis::RedisRooms,
    },
    rooms::{HistoryLimits, Rooms},
};

/// The largest message either way: the largest board passes.
const MESSAGE_BYTES: usize = 16 << 20;

/// What a room of ten thousand people with the longest names, a full board and
/// a full history comes to at most.
const RESPONSE_BYTES: usize = 32 << 20;

/// How many calls one connection may have open, watches counted.
const STREAMS_PER_CONNECTION: u32 = 10_000;

/// How soon a caller that vanished is noticed: so long after its last sign of
/// life it is asked for one, and then has as long to give it.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// How long the program goes on after it has said that it is going away: whoever
/// balances calls over several services looks at their health about once a second.
const NOTICE: Duration = Duration::from_secs(1);

/// How long calls that are under way may take to finish after that. Together they
/// stay under the ten seconds that a stop may take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// How often the index of active rooms is swept, unless rooms live shorter.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// How long a session lives without being renewed: three times as long as
/// gateways wait between renewals.
const SESSION_LEASE: Duration = Duration::from_secs(30);

/// How often sessions that nobody renewed are ended.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(3);

/// How long the store must have been there without a break before sessions are
/// ended: time for gateways that could not renew to do so.
const GRACE: Duration = Duration::from_secs(20);

/// How much longer than planned a round may take before it counts as a break:
/// the program itself was held up, and the renewals sent to it were as well.
const HELD_UP: Duration = Duration::from_secs(5);

/// Serves until `shutdown`, or until one of `tasks` has failed, then lets calls finish and ends watches.
///
/// The listener is bound by the caller, so that it may be on any port. Redis
/// need not be there: until it is, calls are answered as unavailable. The file of
/// the embedded store must be.
///
/// # Errors
///
/// [`OpenError`](crate::repository::embedded::OpenError) where the embedded store
/// cannot be opened; others where the server cannot be set up or fails as a
/// whole, or the embedded store does, or a task that never ends; then calls could
/// finish all the same.
pub async fn run(
    config: Config,
    listener: TcpListener,
    tasks: Tasks,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let _stop_all = tasks.stop_on_drop();
    let draining = CancellationToken::new();
    let _end_watches = draining.clone().drop_guard();

    let settings = RoomSettings {
        ttl: config.room_ttl,
        message_limit: config.message_limit.into(),
        session_lease: SESSION_LEASE,
    };
    let history = HistoryLimits {
        kept: config.message_limit.into(),
        on_join: config.history_limit.into(),
    };
    let mailboxes = Arc::new(Mailboxes::default());
    let store = Store::open(&config, settings, mailboxes.clone(), &tasks).await?;
    let repository = store.rooms();
    let hub = Hub::new(
        repository.clone(),
        mailboxes,
        history.kept,
        history.shown_on_join(),
        draining.clone(),
    );
    let rooms = Rooms::new(repository.clone(), history);

    let (mut reporter, health) = tonic_health::server::health_reporter();
    // Without one of them people who are gone would stay in their rooms, or readers or
    // health would lag behind the store unnoticed.
    let keepers = tasks.part();
    keepers.spawn("comparison of positions", hub.clone().compare());
    keepers.spawn(
        "health",
        follow_health(reporter.clone(), repository.availability()),
    );
    keepers.spawn("end of sessions", expire(repository.clone()));
    keepers.spawn(
        "sweep of rooms",
        sweep(repository, config.room_ttl.min(SWEEP_INTERVAL)),
    );

    let service = RoomServiceServer::new(RoomService::new(rooms, hub))
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(RESPONSE_BYTES);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(roomkeeper_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // So that tools show what an error's details say.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let server = Server::builder()
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .add_service(Readable(service))
        .add_service(Readable(health))
        .add_service(Readable(reflection().build_v1()?))
        .add_service(Readable(reflection().build_v1alpha()?));

    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let serving = server.serve_with_incoming_shutdown(incoming, draining.clone().cancelled_owned());
    tokio::pin!(serving);
    let leave = async {
        tokio::select! {
            () = shutdown => {}
            () = tasks.failed() => {}
        }
        tracing::info!("persistence-service: draining: not ready");
        // Health among them, which would follow the store again.
        keepers.stop().await;
        for name in HEALTH_NAMES {
            reporter
                .set_service_status(name, ServingStatus::NotServing)
                .await;
        }
        sleep(NOTICE).await;
        tracing::info!("persistence-service: draining: watches end, calls under way finish");
        // Whoever watches its health would keep it from ending.
        for name in HEALTH_NAMES {
            reporter.clear_service_status(name).await;
        }
        draining.cancel();
    };
    tokio::select! {
        result = &mut serving => result?,
        () = leave => match timeout(DRAIN_TIMEOUT, serving).await {
            Ok(result) => result?,
            Err(_) => tracing::warn!("calls under way did not finish in time"),
        },
        () = store.failed() => anyhow::bail!("the store has failed; started again, it is checked"),
    }
    store.close().await;
    anyhow::ensure!(!tasks.have_failed(), "a task that never ends has failed");
    tracing::info!("persistence-service: stopped");
    Ok(())
}

/// The store that the settings choose.
enum Store {
    Redis(Arc<RedisRooms>),
    Embedded(Arc<EmbeddedRooms>),
}

impl Store {
    async fn open(
        config: &Config,
        settings: RoomSettings,
        sink: Arc<dyn FeedSink>,
        tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        Ok(match &config.redis_url {
            Some(address) => {
                let rooms = RedisRooms::open(address.clone(), settings, sink, tasks.clone());
                Self::Redis(Arc::new(rooms))
            }
            None => {
                let folder = config.persistence_data_dir.clone();
                Self::Embedded(Arc::new(EmbeddedRooms::open(folder, settings, sink).await?))
            }
        })
    }

    fn rooms(&self) -> Arc<dyn RoomRepository> {
        match self {
            Self::Redis(rooms) => rooms.clone(),
            Self::Embedded(rooms) => rooms.clone(),
        }
    }

    /// Returns when the store can only be helped by a new start.
    async fn failed(&self) {
        match self {
            Self::Redis(_) => std::future::pending().await,
            Self::Embedded(rooms) => rooms.failed().cancelled_owned().await,
        }
    }

    async fn close(&self) {
        match self {
            Self::Redis(_) => {}
            Self::Embedded(rooms) => rooms.close().await,
        }
    }
}

/// Removes rooms that are gone from the index, again and again.
async fn sweep(repository: Arc<dyn RoomRepository>, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match repository.sweep().await {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "rooms that ended were removed from the index"),
            Err(error) => tracing::debug!(%error, "the index was not swept"),
        }
    }
}

/// Ends sessions that nobody renewed, again and again.
///
/// Only after the store has been there for a while, and this program has not been
/// held up: after an outage everybody's lease has passed, and those who live need
/// the time to say so.
async fn expire(repository: Arc<dyn RoomRepository>) {
    let mut available = repository.availability();
    loop {
        if available.wait_for(|&up| up).await.is_err() {
            return;
        }
        tokio::select! {
            lost = available.wait_for(|&up| !up) => if lost.is_err() {
                return;
            },
            () = expire_while_available(&*repository) => {}
        }
    }
}

/// Ends sessions after the time of grace; returns when the program was held up.
async fn expire_while_available(repository: &dyn RoomRepository) {
    let begun = Instant::now();
    sleep(GRACE).await;
    if begun.elapsed() > GRACE + HELD_UP {
        return;
    }
    loop {
        let begun = Instant::now();
        match repository.expire_sessions().await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "sessions that nobody renewed were ended"),
            Err(error) => tracing::debug!(%error, "overdue sessions were not ended"),
        }
        sleep(EXPIRE_INTERVAL).await;
        if begun.elapsed() > EXPIRE_INTERVAL + HELD_UP {
            tracing::info!("held up: sessions have time to be renewed before any is ended");
            return;
        }
    }
}
