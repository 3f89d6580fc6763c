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

use roomkeeper_common::tasks::Tasks;
use roomkeeper_proto::v1::room_service_client::RoomServiceClient;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, timeout},
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

/// How long a service may take to be ready for the first time before the log warns: both
/// programs may be started at once, and a service checks its file, or waits for its Redis.
const START_PATIENCE: Duration = Duration::from_secs(10);

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

#[derive(Debug)]
struct Known {
    begun: Instant,
    health: AtomicU8,
    /// Whether it has ever served.
    has_served: AtomicBool,
    /// Whether the log says that it has not been ready yet: not, or as information, or as a
    /// warning.
    absence: AtomicU8,
    calls: AtomicUsize,
    watches: AtomicUsize,
}

/// What the log says of a service's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    /// It serves for the first time.
    Ready,
    /// It serves again.
    ReadyAgain,
    /// It does not serve yet.
    NotReadyYet,
    /// It has not served for [`START_PATIENCE`] since the start.
    NeverReady,
    /// It has served, and does not serve any more.
    NotReady,
}

impl Known {
    fn new() -> Self {
        Self {
            begun: Instant::now(),
            health: AtomicU8::default(),
            has_served: AtomicBool::default(),
            absence: AtomicU8::default(),
            calls: AtomicUsize::default(),
            watches: AtomicUsize::default(),
        }
    }

    /// Replaces the health and returns the one before.
    fn replace(&self, health: Health) -> Health {
        Health::of(self.health.swap(health as u8, Ordering::Relaxed))
    }

    /// What the log has not said yet, where the health was `before` and is `health` now.
    fn news(&self, before: Health, health: Health) -> Option<News> {
        if health == Health::Serving {
            return if !self.has_served.swap(true, Ordering::Relaxed) {
                Some(News::Ready)
            } else {
                (before != health).then_some(News::ReadyAgain)
            };
        }
        if self.has_served.load(Ordering::Relaxed) {
            return (before == Health::Serving).then_some(News::NotReady);
        }
        let (level, news) = if self.begun.elapsed() < START_PATIENCE {
            (1, News::NotReadyYet)
        } else {
            (2, News::NeverReady)
        };
        (self.absence.fetch_max(level, Ordering::Relaxed) < level).then_some(news)
    }
}

impl Health {
    fn of(number: u8) -> Self {
        match number {
            0 => Self::Serving,
            1 => Self::NotServing,
            _ => Self::Silent,
        }
    }
}

impl Endpoint {
    fn new(url: &str, changes: watch::Sender<()>, tasks: &Tasks) -> Result<Self, transport::Error> {
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
            pipeline: Pipeline::new(client(channel.clone()), tasks),
            channel,
            known: Arc::new(Known::new()),
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
        Health::of(self.known.health.load(Ordering::Relaxed))
    }

    /// Remembers what it has turned out to be, so that others are asked first.
    pub fn turns_out(&self, health: Health) {
        let before = self.known.replace(health);
        let url = &self.url;
        match self.known.news(before, health) {
            Some(News::Ready) => info!(service.url = %url, "persistence service: ready"),
            Some(News::ReadyAgain) => {
                info!(service.url = %url, "persistence service: ready again");
            }
            // Both programs may be started at once: nothing is wrong.
            Some(News::NotReadyYet) => {
                info!(service.url = %url, ?health, "persistence service: not ready yet");
            }
            Some(News::NeverReady) => {
                let waited = START_PATIENCE.as_secs();
                warn!(
                    service.url = %url, ?health,
                    "persistence service: has not been ready for {waited} s since the start",
                );
            }
            Some(News::NotReady) => {
                warn!(service.url = %url, ?health, "persistence service: not ready");
            }
            None => {}
        }
        if before != health {
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
    pub(super) fn begin_call(&self) -> Counted {
        Counted::new(self, |known| &known.calls)
    }

    /// Counts a room that is watched there, until what is returned is dropped.
    pub(crate) fn begin_watch(&self) -> Counted {
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
    pub(super) fn new(urls: &[String], tasks: &Tasks) -> Result<Self, transport::Error> {
        let changes = watch::Sender::new(());
        let all = urls
            .iter()
            .map(|url| Endpoint::new(url, changes.clone(), tasks))
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
    use tokio_util::sync::CancellationToken;

    use super::*;

    fn two() -> Endpoints {
        let urls = ["http://a:1".to_owned(), "http://b:1".to_owned()];
        Endpoints::new(&urls, &Tasks::until(CancellationToken::new())).unwrap()
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

    /// What the log says of a service whose health becomes these, one after another.
    fn news(known: &Known, healths: &[Health]) -> Vec<News> {
        let news = |health: &Health| known.news(known.replace(*health), *health);
        healths.iter().filter_map(news).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_is_not_ready_yet_is_no_reason_to_warn() {
        use Health::{NotServing, Serving, Silent};

        let known = Known::new();
        assert_eq!(
            news(
                &known,
                &[Silent, Silent, NotServing, Silent, Serving, Serving]
            ),
            [News::NotReadyYet, News::Ready]
        );
        assert_eq!(
            news(&known, &[NotServing, Silent, Silent, Serving]),
            [News::NotReady, News::ReadyAgain]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_stays_away_is_warned_about_once() {
        use Health::{NotServing, Serving, Silent};

        let known = Known::new();
        assert_eq!(news(&known, &[Silent]), [News::NotReadyYet]);
        tokio::time::advance(START_PATIENCE).await;
        assert_eq!(
            news(&known, &[Silent, NotServing, Silent]),
            [News::NeverReady]
        );
        assert_eq!(news(&known, &[Serving]), [News::Ready]);
    }

    #[tokio::test]
    async fn the_least_loaded_of_the_healthy_is_asked_first() {
        let endpoints = two();
        let busy = [endpoints.all[0].begin_call(), endpoints.all[0].begin_call()];
        let one = endpoints.all[1].begin_call();
        for _ in 0..3 {
            assert_eq!(urls(&endpoints.for_a_call()), ["http://b:1", "http://a:1"]);
        }
        let _watched = endpoints.all[1].begin_watch();
        for _ in 0..3 {
            assert_eq!(urls(&endpoints.for_a_watch()), ["http://a:1", "http://b:1"]);
        }
        drop(busy);
        for _ in 0..3 {
            assert_eq!(urls(&endpoints.for_a_call()), ["http://a:1", "http://b:1"]);
        }
        drop(one);
        endpoints.all[0].turns_out(Health::Silent);
        let _busy = endpoints.all[1].begin_call();
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
