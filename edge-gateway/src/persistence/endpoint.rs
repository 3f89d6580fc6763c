//! The services: one channel each, which to ask first, and when to leave one.
//!
//! The transport's own balancing keeps picking dead endpoints, so the picking is ours.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
    },
    time::Duration,
};

use roomkeeper_proto::v1::room_service_client::RoomServiceClient;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, timeout},
};
use tonic::{
    Code,
    transport::{self, Channel},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tracing::{info, warn};

use super::pipeline::Pipeline;

/// The name under which the service reports its health.
const SERVICE: &str = "roomkeeper.v1.RoomService";

/// How long a health check may take.
const PROBE_TIMEOUT: Duration = Duration::from_millis(390);

/// How long after one the next is begun.
const PROBE_INTERVAL: Duration = Duration::from_millis(200);

/// How many in a row must stay unanswered: one may be due to a busy moment. A service that
/// falls silent is known to be silent within a second.
const PROBES_MISSED: usize = 2;

/// The largest answer that is read: the largest board (8 MiB) with its history, and room
/// for what the encoding adds.
const MAX_DECODED: usize = 32 << 20;

/// The largest request that is sent; a board change is at most 1 MiB.
const MAX_ENCODED: usize = 16 << 20;

/// What is known of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It answers, and reaches its store.
    Serving = 0,
    /// It answers, and says that it does not serve.
    NotServing = 1,
    /// It does not answer.
    Silent = 2,
}

/// One service.
#[derive(Debug, Clone)]
pub struct Endpoint {
    url: Arc<str>,
    channel: Channel,
    pipeline: Pipeline,
    known: Arc<Known>,
    /// Told whenever the health of any service changes.
    changes: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Known {
    health: AtomicU8,
    /// Whether it has been asked before.
    is_met: AtomicBool,
    /// Whether it has ever served.
    has_served: AtomicBool,
    calls: AtomicUsize,
    watches: AtomicUsize,
}

impl Endpoint {
    fn new(url: &str, changes: watch::Sender<()>) -> Result<Self, transport::Error> {
        let channel = transport::Endpoint::new(url.to_owned())?
            .connect_timeout(Duration::from_secs(1))
            .tcp_keepalive(Some(Duration::from_secs(10)))
            // A service that is silently gone ends its connection, and with it the feed.
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_timeout(Duration::from_secs(3))
            .keep_alive_while_idle(true)
            .connect_lazy();
        Ok(Self {
            url: url.into(),
            pipeline: Pipeline::new(client(channel.clone())),
            channel,
            known: Arc::default(),
            changes,
        })
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A client of this service; cheap.
    pub fn client(&self) -> RoomServiceClient<Channel> {
        client(self.channel.clone())
    }

    /// The stream for small calls to this service.
    pub(super) fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// What is known of it.
    pub fn health(&self) -> Health {
        match self.known.health.load(Ordering::Relaxed) {
            0 => Health::Serving,
            1 => Health::NotServing,
            _ => Health::Silent,
        }
    }

    /// Remembers what it has turned out to be, so that others are asked first.
    pub fn turns_out(&self, health: Health) {
        let before = self.known.health.swap(health as u8, Ordering::Relaxed);
        let is_news = before != health as u8;
        let is_met = self.known.is_met.swap(true, Ordering::Relaxed);
        let url = &self.url;
        match health {
            Health::Serving if !self.known.has_served.swap(true, Ordering::Relaxed) => {
                info!(service.url = %url, "persistence service: ready");
            }
            Health::Serving if is_news => {
                info!(service.url = %url, "persistence service: ready again");
            }
            Health::Serving => {}
            // Both programs may be started at once: that one waits for the other is no trouble.
            Health::NotServing | Health::Silent if !is_met => {
                info!(service.url = %url, "persistence service: not ready yet");
            }
            Health::NotServing | Health::Silent if is_news => {
                warn!(service.url = %url, ?health, "persistence service: not ready");
            }
            Health::NotServing | Health::Silent => {}
        }
        if is_news {
            self.changes.send_replace(());
        }
    }

    /// Asks the service for its health, and remembers what it answers.
    pub async fn probe(&self) -> bool {
        let health = self.ask().await;
        if let Some(health) = health {
            self.turns_out(health);
        }
        health == Some(Health::Serving)
    }

    /// What it says; `None` if it does not answer in time.
    async fn ask(&self) -> Option<Health> {
        let request = HealthCheckRequest {
            service: SERVICE.to_owned(),
        };
        let mut client = HealthClient::new(self.channel.clone());
        let answer = timeout(PROBE_TIMEOUT, client.check(request)).await.ok()?;
        Some(match answer {
            Ok(answer) if answer.get_ref().status() == ServingStatus::Serving => Health::Serving,
            // One that goes away no longer knows its health.
            Ok(_) => Health::NotServing,
            Err(status) if status.code() == Code::NotFound => Health::NotServing,
            Err(_) => Health::Silent,
        })
    }

    /// Asks for its health regularly, for ever.
    async fn watch_health(&self) {
        let mut ticks = interval(PROBE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut missed = 0;
        loop {
            ticks.tick().await;
            match self.ask().await {
                Some(health) => {
                    missed = 0;
                    self.turns_out(health);
                }
                None => {
                    missed += 1;
                    if missed >= PROBES_MISSED {
                        self.turns_out(Health::Silent);
                    }
                }
            }
        }
    }

    /// Counts a call that is under way, until what is returned is dropped.
    pub(super) fn is_called(&self) -> Counted {
        Counted::new(self, |known| &known.calls)
    }

    /// Counts a room that is watched there, until what is returned is dropped.
    pub(crate) fn is_watched(&self) -> Counted {
        Counted::new(self, |known| &known.watches)
    }
}

fn client(channel: Channel) -> RoomServiceClient<Channel> {
    RoomServiceClient::new(channel)
        .max_decoding_message_size(MAX_DECODED)
        .max_encoding_message_size(MAX_ENCODED)
}

/// One more, as long as this is held.
#[derive(Debug)]
pub(crate) struct Counted {
    known: Arc<Known>,
    what: fn(&Known) -> &AtomicUsize,
}

impl Counted {
    fn new(endpoint: &Endpoint, what: fn(&Known) -> &AtomicUsize) -> Self {
        what(&endpoint.known).fetch_add(1, Ordering::Relaxed);
        Self {
            known: endpoint.known.clone(),
            what,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.what)(&self.known).fetch_sub(1, Ordering::Relaxed);
    }
}

/// All services.
#[derive(Debug, Clone)]
pub(super) struct Endpoints {
    all: Arc<[Endpoint]>,
    next: Arc<AtomicUsize>,
    changes: watch::Sender<()>,
}

impl Endpoints {
    pub(super) fn new(urls: &[String]) -> Result<Self, transport::Error> {
        let changes = watch::Sender::new(());
        let all = urls
            .iter()
            .map(|url| Endpoint::new(url, changes.clone()))
            .collect::<Result<Arc<[_]>, _>>()?;
        Ok(Self {
            all,
            next: Arc::new(AtomicUsize::new(0)),
            changes,
        })
    }

    /// For a call: the healthy ones, the least called first, equals in turn; then the
    /// others: one of those may be back.
    pub(super) fn for_a_call(&self) -> Vec<Endpoint> {
        self.ordered(|known| &known.calls)
    }

    /// The same for a room that is to be watched: the least watched first.
    pub(super) fn for_a_watch(&self) -> Vec<Endpoint> {
        self.ordered(|known| &known.watches)
    }

    fn ordered(&self, load: fn(&Known) -> &AtomicUsize) -> Vec<Endpoint> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let mut ordered: Vec<(Health, usize, Endpoint)> = (0..self.all.len())
            .map(|i| &self.all[(first + i) % self.all.len()])
            .map(|endpoint| {
                let load = load(&endpoint.known).load(Ordering::Relaxed);
                (endpoint.health(), load, endpoint.clone())
            })
            .collect();
        ordered.sort_by_key(|(health, load, _)| (*health as u8, *load));
        ordered
            .into_iter()
            .map(|(_, _, endpoint)| endpoint)
            .collect()
    }

    /// Waits until a service does not answer and another one serves: what is under way
    /// there is to be done here instead.
    pub(super) async fn silenced(&self, endpoint: &Endpoint) {
        self.replaceable(endpoint, |health| health == Health::Silent)
            .await;
    }

    /// Waits until a service does not serve, and another one does.
    pub(super) async fn unfit(&self, endpoint: &Endpoint) {
        self.replaceable(endpoint, |health| health != Health::Serving)
            .await;
    }

    async fn replaceable(&self, endpoint: &Endpoint, is_bad: impl Fn(Health) -> bool) {
        let mut changes = self.changes.subscribe();
        while !is_bad(endpoint.health())
            || !self.all.iter().any(|one| one.health() == Health::Serving)
        {
            if changes.changed().await.is_err() {
                // The sender lives as long as this.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Checks everybody's health regularly, for ever.
    pub(super) async fn watch_health(&self) {
        futures_util::future::join_all(self.all.iter().map(Endpoint::watch_health)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Endpoints {
        Endpoints::new(&["http://a:1".to_owned(), "http://b:1".to_owned()]).unwrap()
    }

    fn urls(endpoints: &[Endpoint]) -> Vec<&str> {
        endpoints.iter().map(Endpoint::url).collect()
    }

    #[tokio::test]
    async fn services_take_turns_and_the_unreachable_come_last() {
        let endpoints = two();
        assert_eq!(urls(&endpoints.for_a_call()), ["http://a:1", "http://b:1"]);
        assert_eq!(urls(&endpoints.for_a_call()), ["http://b:1", "http://a:1"]);

        endpoints.all[0].turns_out(Health::Silent);
        assert_eq!(urls(&endpoints.for_a_call()), ["http://b:1", "http://a:1"]);
        assert_eq!(urls(&endpoints.for_a_call()), ["http://b:1", "http://a:1"]);
        endpoints.all[0].turns_out(Health::Serving);
        assert_eq!(urls(&endpoints.for_a_call()), ["http://a:1", "http://b:1"]);
        endpoints.all[0].turns_out(Health::Silent);
        endpoints.all[1].turns_out(Health::NotServing);
        assert_eq!(urls(&endpoints.for_a_call()), ["http://b:1", "http://a:1"]);
        assert_eq!(urls(&endpoints.for_a_call()), ["http://b:1", "http://a:1"]);
    }

    #[tokio::test]
    async fn the_least_loaded_of_the_healthy_is_asked_first() {
        let endpoints = two();
        let busy = [endpoints.all[0].is_called(), endpoints.all[0].is_called()];
        let one = endpoints.all[1].is_called();
        for _ in 0..3 {
            assert_eq!(urls(&endpoints.for_a_call()), ["http://b:1", "http://a:1"]);
        }
        let _watched = endpoints.all[1].is_watched();
        for _ in 0..3 {
            assert_eq!(urls(&endpoints.for_a_watch()), ["http://a:1", "http://b:1"]);
        }
        drop(busy);
        for _ in 0..3 {
            assert_eq!(urls(&endpoints.for_a_call()), ["http://a:1", "http://b:1"]);
        }
        drop(one);
        endpoints.all[0].turns_out(Health::Silent);
        let _busy = endpoints.all[1].is_called();
        assert_eq!(urls(&endpoints.for_a_call()), ["http://b:1", "http://a:1"]);
    }

    #[tokio::test]
    async fn a_service_is_left_only_for_one_that_serves() {
        let endpoints = two();
        let [a, b] = [&endpoints.all[0], &endpoints.all[1]];
        let is_left = async || {
            timeout(Duration::from_millis(20), endpoints.silenced(a))
                .await
                .is_ok()
        };
        b.turns_out(Health::Silent);
        a.turns_out(Health::Silent);
        assert!(!is_left().await);
        let left = endpoints.silenced(a);
        tokio::pin!(left);
        assert!(futures_util::poll!(left.as_mut()).is_pending());
        b.turns_out(Health::Serving);
        left.await;
        a.turns_out(Health::NotServing);
        assert!(!is_left().await);
        endpoints.unfit(a).await;
    }
}
