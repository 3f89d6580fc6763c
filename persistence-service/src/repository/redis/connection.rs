//! One supervised connection to Redis.
//!
//! The client library's own manager never notices a connection that is
//! silently dead. So a task of ours owns the connection: it asks for a sign of
//! life every second, replaces a connection that gives none, and says whether
//! there is one, and whether the server takes writes. Callers take the current
//! connection and never wait for long.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::Rng as _;
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, PushInfo, RedisError, aio::MultiplexedConnection,
};
use roomkeeper_common::tasks::Tasks;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    absence::Absence,
    address::{Server, Service},
    history::{Branch, History},
};
use crate::repository::RepositoryError;

/// How long a connection may take to open.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long an answer may take. With what a call waits for a connection this
/// stays below the two seconds within which a write is answered.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_millis(1_400);
/// How long after a connection was lost calls wait for the next one: enough for one to be
/// replaced. An outage that has lasted longer is answered at once, so that rooms of a server
/// that is away cost those of the others nothing.
pub(super) const CONNECTION_WAIT: Duration = Duration::from_millis(400);
/// How often a connection is asked for a sign of life.
pub(super) const PING_INTERVAL: Duration = Duration::from_secs(1);
/// How long a sentinel may take to tell the master: a silent one leaves time for
/// another.
const SENTINEL_TIMEOUT: Duration = Duration::from_millis(500);
/// The pauses between attempts to connect, jittered.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Whether a call may be sent once more when its connection broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It changes nothing.
    Read,
    /// It changes something, and doing it twice is doing it once.
    Repeatable,
    /// It may be done at most once.
    Once,
}

/// A call under way.
#[derive(Debug)]
pub(super) struct Attempt {
    effect: Effect,
    deadline: Instant,
    /// A server may have received it, and not answered.
    sent: bool,
}

impl Attempt {
    pub(super) fn new(effect: Effect) -> Self {
        Self {
            effect,
            deadline: Instant::now() + RESPONSE_TIMEOUT + CONNECTION_WAIT,
            sent: false,
        }
    }

    /// Until when it is tried.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether it may be sent again after its connection broke.
    pub(super) fn may_repeat(&self) -> bool {
        !self.sent || self.effect != Effect::Once
    }

    /// How it ends where no connection answered it.
    pub(super) fn unanswered(&self) -> RepositoryError {
        self.unavailable(if self.sent {
            "the connection broke"
        } else {
            "no connection"
        })
    }

    /// How it ends when it was not answered.
    pub(super) fn unavailable(&self, why: &str) -> RepositoryError {
        if self.sent && self.effect != Effect::Read {
            RepositoryError::OutcomeUnknown(why.to_owned())
        } else {
            RepositoryError::Unavailable(why.to_owned())
        }
    }

    /// How it ends with this error. A server that refuses it now says nothing of
    /// what another one did before.
    pub(super) fn failed(&self, error: &RedisError) -> RepositoryError {
        let meaning = classify(error);
        if let RepositoryError::Unavailable(why) = &meaning {
            return self.unavailable(why);
        }
        meaning
    }
}

/// What became of a call on one connection.
#[derive(Debug)]
pub(super) enum Tried<T> {
    /// The server did it.
    Answered(T),
    /// The server refused it.
    Refused(RedisError),
    /// No answer came in time.
    TimedOut,
    /// The connection broke.
    Broke,
}

/// A connection that is open, and which one of those there have been it is.
pub(super) type Live = (u64, MultiplexedConnection);

/// The key by which a server is asked whether it takes writes: one that it keeps. `None` where
/// no such key is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Probe(Arc<Mutex<Option<String>>>);

impl Probe {
    pub(super) fn set(&self, key: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = key;
    }

    fn key(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// A connection that is kept open.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    history: Arc<History>,
    probe: Probe,
    // Std mutexes: nothing is awaited while they are held.
    current: Mutex<Current>,
    /// Since when the server has taken writes without a break.
    since: Mutex<Option<Instant>>,
    connected: watch::Sender<bool>,
    available: watch::Sender<bool>,
    broken: Notify,
}

/// The connection, or since when there is none.
#[derive(Debug)]
enum Current {
    Live(Live),
    NoneSince(Instant),
}

impl Connection {
    /// Begins to connect, and goes on as one of `tasks`.
    pub(super) fn open(server: Server, history: Arc<History>, probe: Probe, tasks: &Tasks) -> Self {
        let shared = Arc::new(Shared {
            history,
            probe,
            current: Mutex::new(Current::NoneSince(Instant::now())),
            since: Mutex::new(None),
            connected: watch::Sender::new(false),
            available: watch::Sender::new(false),
            broken: Notify::new(),
        });
        tasks.spawn("connection to Redis", {
            let shared = shared.clone();
            async move { shared.supervise(server).await }
        });
        Self { shared }
    }

    /// Whether there is a connection now, to a server that takes writes.
    pub(super) fn availability(&self) -> watch::Receiver<bool> {
        self.shared.available.subscribe()
    }

    /// Whether the server takes writes now.
    pub(super) fn is_available(&self) -> bool {
        *self.shared.available.borrow()
    }

    /// The connection, if there is one now.
    pub(super) fn now(&self) -> Option<Live> {
        match &*self.shared.current() {
            Current::Live(live) => Some(live.clone()),
            Current::NoneSince(_) => None,
        }
    }

    /// Until when it is worth while to wait for a connection.
    pub(super) fn patience(&self) -> Instant {
        match *self.shared.current() {
            // It may be lost before it is taken.
            Current::Live(_) => Instant::now() + CONNECTION_WAIT,
            Current::NoneSince(lost) => lost + CONNECTION_WAIT,
        }
    }

    /// Waits until there is a connection.
    pub(super) async fn connected(&self) {
        let mut connected = self.shared.connected.subscribe();
        // It cannot close before this returns: the sender is borrowed here.
        drop(connected.wait_for(|&connected| connected).await);
    }

    /// Whether the server has taken writes for so long, without a break.
    pub(super) fn has_been_up_for(&self, time: Duration) -> bool {
        let since = self.shared.since();
        since.is_some_and(|since| since.elapsed() >= time)
    }

    /// Runs a call, once more where its connection broke and it may be.
    pub(super) async fn attempt<T, F>(
        &self,
        attempt: &mut Attempt,
        call: impl Fn(MultiplexedConnection) -> F,
    ) -> Result<T, RepositoryError>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        for last_attempt in [false, true] {
            let Some(live) = self.soon(attempt.deadline).await else {
                break;
            };
            match self.try_on(live, attempt, &call).await {
                Tried::Answered(value) => return Ok(value),
                Tried::Refused(error) => return Err(attempt.failed(&error)),
                Tried::TimedOut => return Err(attempt.unavailable("no answer in time")),
                Tried::Broke if last_attempt || !attempt.may_repeat() => break,
                Tried::Broke => {}
            }
        }
        Err(attempt.unanswered())
    }

    /// Runs a call on this connection.
    pub(super) async fn try_on<T, F>(
        &self,
        (generation, connection): Live,
        attempt: &mut Attempt,
        call: impl Fn(MultiplexedConnection) -> F,
    ) -> Tried<T>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let error = match timeout_at(attempt.deadline, call(connection)).await {
            Ok(Ok(value)) => return Tried::Answered(value),
            Ok(Err(error)) if !error.is_timeout() => error,
            Ok(Err(_)) | Err(_) => {
                attempt.sent = true;
                return Tried::TimedOut;
            }
        };
        // What cannot be parsed is an answer that broke off.
        if error.is_io_error() || error.kind() == ErrorKind::Parse {
            self.shared.discard(generation);
            attempt.sent |= !error.is_connection_refusal();
            return Tried::Broke;
        }
        // A server that was demoted stays so; the next connection finds its master.
        if error.code() == Some("READONLY") {
            self.shared.discard(generation);
        }
        Tried::Refused(error)
    }

    /// The connection, or the next one if it comes soon.
    async fn soon(&self, deadline: Instant) -> Option<Live> {
        if let Some(live) = self.now() {
            return Some(live);
        }
        let deadline = deadline.min(self.patience());
        timeout_at(deadline, self.connected()).await.ok()?;
        self.now()
    }
}

/// What an error of the server means.
pub(super) fn classify(error: &RedisError) -> RepositoryError {
    const NOT_NOW: [&str; 12] = [
        "LOADING",
        "MASTERDOWN",
        "READONLY",
        "MOVED",
        "ASK",
        "TRYAGAIN",
        "CLUSTERDOWN",
        "NOREPLICAS",
        "MISCONF",
        "BUSY",
        "NOAUTH",
        "WRONGPASS",
    ];
    let code = error.code().unwrap_or_default();
    if code == "OOM" {
        RepositoryError::Full
    } else if error.is_io_error() || error.kind() == ErrorKind::Parse || NOT_NOW.contains(&code) {
        RepositoryError::Unavailable(error.to_string())
    } else {
        RepositoryError::Damaged(error.to_string())
    }
}

/// Whether the server refuses writes for now. An error that is about the key alone says
/// nothing of that.
fn refuses_writes(error: &RedisError) -> bool {
    const OF_THE_KEY: [&str; 3] = ["MOVED", "ASK", "TRYAGAIN"];
    matches!(classify(error), RepositoryError::Unavailable(_))
        && !OF_THE_KEY.contains(&error.code().unwrap_or_default())
}

impl Shared {
    async fn supervise(&self, server: Server) {
        let mut pause = Backoff::new();
        let mut absence = Absence::new();
        for generation in 0.. {
            match connect(&server, &self.history, |_| {}).await {
                Ok((connection, branch)) => {
                    tracing::info!("Redis: ready");
                    warn_of_eviction(connection.clone()).await;
                    pause = Backoff::new();
                    absence.end();
                    self.begin((generation, connection.clone()));
                    self.watch_over(generation, connection, &branch).await;
                    self.end(generation);
                    tracing::warn!("Redis: connection lost");
                }
                Err(error) => absence.log("not reached", &error),
            }
            pause.wait().await;
        }
    }

    /// Returns when the connection gives no sign of life any more.
    async fn watch_over(
        &self,
        generation: u64,
        mut connection: MultiplexedConnection,
        branch: &Branch,
    ) {
        let mut refused = false;
        loop {
            let writing = connection.clone();
            let (alive, refusal) =
                tokio::join!(is_alive(&mut connection, branch), self.refusal(writing));
            if !alive || !self.is_current(generation) {
                return;
            }
            match &refusal {
                Some(error) if !refused => {
                    tracing::warn!(%error, "Redis: writes are refused, reads go on");
                }
                None if refused => tracing::info!("Redis: writes are taken again"),
                Some(_) | None => {}
            }
            refused = refusal.is_some();
            self.takes_writes(!refused);
            tokio::select! {
                () = self.broken.notified() => {}
                () = sleep(PING_INTERVAL) => {}
            }
            // What broke may be the connection before this one.
            if !self.is_current(generation) {
                return;
            }
        }
    }

    /// Why the server takes no writes now, if so. It is asked to keep a key that has no end from
    /// ending: that is a write, changes nothing, and needs no memory, so a full server does it.
    async fn refusal(&self, mut connection: MultiplexedConnection) -> Option<RedisError> {
        let key = self.probe.key()?;
        let mut write = redis::cmd("PERSIST");
        write.arg(key);
        match timeout(PING_INTERVAL, write.query_async::<()>(&mut connection)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => refuses_writes(&error).then_some(error),
            Err(_) => Some(failure("a write was not answered in time")),
        }
    }

    fn begin(&self, live: Live) {
        *self.current() = Current::Live(live);
        self.connected.send_replace(true);
    }

    fn is_current(&self, generation: u64) -> bool {
        matches!(&*self.current(), Current::Live((current, _)) if *current == generation)
    }

    fn takes_writes(&self, yes: bool) {
        let mut since = self.since();
        if yes {
            since.get_or_insert_with(Instant::now);
        } else {
            *since = None;
        }
        drop(since);
        self.available.send_if_modified(|available| {
            let before = std::mem::replace(available, yes);
            before != yes
        });
    }

    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends this connection, if it still is the current one.
    fn end(&self, generation: u64) -> bool {
        let mut current = self.current();
        let is_current = matches!(&*current, Current::Live((live, _)) if *live == generation);
        if is_current {
            *current = Current::NoneSince(Instant::now());
            drop(current);
            self.connected.send_replace(false);
            self.takes_writes(false);
        }
        is_current
    }

    /// Drops a connection that proved broken.
    fn discard(&self, generation: u64) {
        if self.end(generation) {
            self.broken.notify_one();
        }
    }
}

/// Opens a connection to a server that takes writes, and hands over what is
/// pushed on it. Which history it tells is known before anybody uses it.
pub(super) async fn connect(
    server: &Server,
    history: &History,
    pushed: impl Fn(PushInfo) + Send + Sync + 'static,
) -> Result<(MultiplexedConnection, Branch), RedisError> {
    let config = config().set_push_sender(move |push: PushInfo| {
        pushed(push);
        Ok::<(), std::convert::Infallible>(())
    });
    in_time(async {
        match server {
            Server::Fixed(client) => connect_to_master(client, history, &config).await,
            Server::Master(service) => {
                let mut problem = failure("no sentinel knows the master");
                for sentinel in service.sentinels() {
                    let found = async {
                        let master = master(&sentinel, service).await?;
                        connect_to_master(&master, history, &config).await
                    };
                    match found.await {
                        Ok(connection) => return Ok(connection),
                        Err(error) => problem = error,
                    }
                }
                Err(problem)
            }
        }
    })
    .await
}

/// Opens a connection to a server, whatever its role.
pub(super) async fn reach(client: &Client) -> Result<MultiplexedConnection, RedisError> {
    let config = config();
    in_time(client.get_multiplexed_async_connection_with_config(&config)).await
}

fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT))
}

/// A failure to connect.
pub(super) fn failure(what: &'static str) -> RedisError {
    RedisError::from((ErrorKind::Io, what))
}

async fn in_time<T>(opening: impl Future<Output = Result<T, RedisError>>) -> Result<T, RedisError> {
    timeout(CONNECT_TIMEOUT * 2, opening)
        .await
        .unwrap_or_else(|_| Err(failure("the connection took too long to open")))
}

async fn connect_to_master(
    client: &Client,
    history: &History,
    config: &AsyncConnectionConfig,
) -> Result<(MultiplexedConnection, Branch), RedisError> {
    let mut connection = client
        .get_multiplexed_async_connection_with_config(config)
        .await?;
    // A server that is loading its data accepts connections and refuses commands.
    redis::cmd("PING")
        .query_async::<()>(&mut connection)
        .await?;
    let (seconds, microseconds): (u64, u64) =
        redis::cmd("TIME").query_async(&mut connection).await?;
    let branch = Branch::of(&mut connection)
        .await
        .ok_or_else(|| failure("the server is no master"))?;
    history.set(&branch, seconds * 1_000_000 + microseconds);
    Ok((connection, branch))
}

/// The master of a service, as a sentinel knows it. Whether it takes that role
/// is for the server itself to say.
async fn master(sentinel: &Client, service: &Service) -> Result<Client, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(SENTINEL_TIMEOUT))
        .set_response_timeout(Some(SENTINEL_TIMEOUT));
    let mut connection = sentinel
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    let mut ask = redis::cmd("SENTINEL");
    ask.arg("GET-MASTER-ADDR-BY-NAME").arg(&service.name);
    let address: Option<(String, u16)> = ask.query_async(&mut connection).await?;
    address
        .and_then(|(host, port)| service.master(host, port))
        .ok_or_else(|| failure("the sentinel does not know the service"))
}

/// Whether the server answers, still is the one that takes writes, and tells the same
/// history: one that was demoted and promoted again may have lost some of it.
pub(super) async fn is_alive(connection: &mut MultiplexedConnection, branch: &Branch) -> bool {
    Branch::of(connection)
        .await
        .is_some_and(|now| !now.may_differ_from(branch))
}

async fn warn_of_eviction(mut connection: MultiplexedConnection) {
    let mut ask = redis::cmd("CONFIG");
    ask.arg("GET").arg("maxmemory-policy");
    // A hosted Redis may refuse to tell its configuration; then nothing is known.
    let Ok(answer) = ask
        .query_async::<HashMap<String, String>>(&mut connection)
        .await
    else {
        return;
    };
    let policy = answer.get("maxmemory-policy");
    if let Some(policy) = policy.filter(|policy| *policy != "noeviction") {
        tracing::warn!(
            maxmemory_policy = policy.as_str(),
            "Redis may evict rooms when its memory is full; set maxmemory-policy to noeviction"
        );
    }
}

/// Pauses that double up to a bound, jittered so that many do not come at once.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) fn new() -> Self {
        Self(BACKOFF.0)
    }

    pub(super) async fn wait(&mut self) {
        let jitter = rand::rng().random_range(0.5..1.0);
        sleep(self.0.mul_f64(jitter)).await;
        self.0 = (self.0 * 2).min(BACKOFF.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(line: &str) -> RepositoryError {
        let error = redis::parse_redis_value(format!("-{line}\r\n").as_bytes())
            .unwrap()
            .extract_error()
            .unwrap_err();
        classify(&error)
    }

    #[test]
    fn what_redis_refuses_for_now_is_not_available_and_changed_nothing() {
        for line in [
            "LOADING Redis is loading the dataset in memory",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "READONLY You can't write against a read only replica.",
            "NOREPLICAS Not enough good replicas to write.",
            "MISCONF Redis is configured to save RDB snapshots, but is unable to.",
            "BUSY Redis is busy running a script.",
            "CLUSTERDOWN The cluster is down",
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "NOAUTH Authentication required.",
            "WRONGPASS invalid username-password pair or user is disabled.",
        ] {
            let meaning = answered(line);
            assert!(
                matches!(meaning, RepositoryError::Unavailable(_)),
                "{line}: {meaning:?}"
            );
            let mut attempt = Attempt::new(Effect::Repeatable);
            attempt.sent = true;
            let error = redis::parse_redis_value(format!("-{line}\r\n").as_bytes())
                .unwrap()
                .extract_error()
                .unwrap_err();
            let meaning = attempt.failed(&error);
            assert!(
                matches!(meaning, RepositoryError::OutcomeUnknown(_)),
                "sent before and then {line}: {meaning:?}"
            );
        }
    }

    #[test]
    fn a_full_redis_is_full_and_what_is_not_ours_is_damage() {
        let full = answered("OOM command not allowed when used memory > 'maxmemory'.");
        assert!(matches!(full, RepositoryError::Full), "{full:?}");
        for line in [
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            "DAMAGED the room hash lacks its epoch, revision or ttl",
            "ERR unknown command",
        ] {
            let meaning = answered(line);
            assert!(
                matches!(meaning, RepositoryError::Damaged(_)),
                "{line}: {meaning:?}"
            );
        }
    }
}
