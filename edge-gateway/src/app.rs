//! The gateway as a whole: what is made of the settings, how it runs, and how it stops.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use axum::Router;
use roomkeeper_common::tasks::Tasks;
use socketioxide::SocketIo;
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    config::Config,
    http::{self, Http},
    persistence::Persistence,
    server,
    socket::Gateway,
};

/// How long the gateway goes on after it has said that it is not ready: whoever balances
/// browsers over several gateways looks about once a second.
const NOTICE: Duration = Duration::from_secs(1);

/// How long sockets have to hear that the gateway goes away.
const FAREWELL: Duration = Duration::from_millis(300);

/// How long sockets may stay to hear the answers to what they have sent.
const ANSWERS: Duration = Duration::from_millis(500);

/// How long closing the sockets may take: one that does not read is cut after that.
const CLOSING: Duration = Duration::from_secs(2);

/// How long their sessions may take to leave their rooms.
const LEAVING: Duration = Duration::from_secs(4);

/// How long what is left of the connections may take. All six together stay under the
/// 10 seconds that a stop may take.
const LAST_BYTES: Duration = Duration::from_millis(500);

/// A gateway that is ready to run.
#[derive(Debug)]
pub struct App {
    persistence: Persistence,
    gateway: Gateway,
    io: SocketIo,
    router: Router,
    draining: Arc<AtomicBool>,
    tasks: Tasks,
}

/// Makes a gateway of its settings; to be called in a runtime, in which its tasks run.
///
/// # Errors
///
/// A service URL that no channel can be made for.
pub fn build(config: &Config) -> anyhow::Result<App> {
    let tasks = Tasks::until(CancellationToken::new());
    let persistence = Persistence::new(&config.persistence_url, &tasks)
        .context("make a channel to GATEWAY_PERSISTENCE_URL")?;
    let gateway = Gateway::new(persistence.clone(), &tasks);
    let (layer, io) = gateway.layer();
    let draining = Arc::new(AtomicBool::new(false));
    let http = Http {
        persistence: persistence.clone(),
        draining: draining.clone(),
    };
    let router = http::router(http, layer, config.allowed_origins.clone());
    Ok(App {
        persistence,
        gateway,
        io,
        router,
        draining,
        tasks,
    })
}

impl App {
    /// The tasks without which the gateway stops.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Serves browsers on `listener` until `shutdown` is cancelled, then tells them, lets
    /// them go and leaves their rooms; all within 10 seconds.
    ///
    /// # Errors
    ///
    /// A task that never ends has failed; sockets were let go all the same.
    pub async fn run(
        self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let tasks = &self.tasks;
        // Without one of them sockets would stay, and hear nothing or lose their rooms.
        tasks.spawn(
            "health of services",
            self.persistence.clone().watch_health(),
        );
        tasks.spawn("renewal of sessions", self.gateway.clone().keep_sessions());
        tasks.spawn("pace of sockets", self.gateway.clone().keep_pace());
        let connections = TaskTracker::new();
        let end = CancellationToken::new();
        let stop_accepting = CancellationToken::new();
        let accepting = tasks.part();
        accepting.spawn(
            "accepting of connections",
            server::serve(
                listener,
                self.router,
                connections.clone(),
                stop_accepting.clone(),
                end.clone(),
            ),
        );

        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tasks.failed() => {}
        }
        self.draining.store(true, Ordering::Relaxed);
        info!("edge-gateway: draining: not ready");
        sleep(NOTICE).await;
        info!(
            sockets = self.io.sockets().len(),
            "edge-gateway: draining: sockets are told"
        );
        self.gateway.tell_draining(&self.io);
        sleep(FAREWELL).await;
        accepting.stop().await;
        stop_accepting.cancel();
        self.gateway.end_sessions();
        // Those that take longer leave their rooms below.
        let _ = timeout(ANSWERS, self.gateway.ended()).await;
        if timeout(CLOSING, self.io.close()).await.is_err() {
            info!("some sockets did not take their farewell");
        }
        end.cancel();
        if timeout(LEAVING, self.gateway.ended()).await.is_err() {
            warn!("some sessions could not leave their rooms in time");
        }
        connections.close();
        if timeout(LAST_BYTES, connections.wait()).await.is_err() {
            warn!("some connections did not end in time");
        }
        tasks.stop().await;
        anyhow::ensure!(!tasks.have_failed(), "a task that never ends has failed");
        Ok(())
    }
}
