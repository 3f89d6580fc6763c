//! One supervised connection to Redis.
//!
//! The client library's own manager never notices a connection that is
//! silently dead. So a task of ours owns the connection: it asks for a sign of
//! life every second, replaces a connection that gives none, and says whether
//! there is one. Callers take the current one and never wait for long.

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
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

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
/// How long a call waits for a connection: enough for one to be replaced.
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
    fn failed(&self, error: &RedisError) -> RepositoryError {
        let meaning = classify(error);
        if let RepositoryError::Unavailable(why) = &meaning {
            return self.unavailable(why);
        }
        meaning
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
    // A std mutex: nothing is awaited while it is held.
    current: Mutex<Option<(u64, MultiplexedConnection)>>,
    /// Since when there has been a connection without a break.
    since: Mutex<Option<Instant>>,
    available: watch::Sender<bool>,
    broken: Notify,
}

impl Connection {
    /// Begins to connect, and goes on until `stop`.
    pub(super) fn open(server: Server, history: Arc<History>, stop: CancellationToken) -> Self {
        let shared = Arc::new(Shared {
            history,
            current: Mutex::new(None),
            since: Mutex::new(None),
            available: watch::Sender::new(false),
            broken: Notify::new(),
        });
        tokio::spawn({
            let shared = shared.clone();
            async move {
                stop.run_until_cancelled(shared.supervise(server)).await;
            }
        });
        Self { shared }
    }

    /// Whether there is a connection now.
    pub(super) fn availability(&self) -> watch::Receiver<bool> {
        self.shared.available.subscribe()
    }

    /// The connection, if there is one now.
    pub(super) fn now(&self) -> Option<MultiplexedConnection> {
        let (_, connection) = self.shared.current()?;
        Some(connection)
    }

    /// Whether there has been one for so long, without a break.
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
            let Some((generation, connection)) = self.shared.take(attempt.deadline).await else {
                break;
            };
            let error = match timeout_at(attempt.deadline, call(connection)).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) if !error.is_timeout() => error,
                Ok(Err(_)) | Err(_) => {
                    attempt.sent = true;
                    return Err(attempt.unavailable("no answer in time"));
                }
            };
            // What cannot be parsed is an answer that broke off.
            if error.is_io_error() || error.kind() == ErrorKind::Parse {
                self.shared.discard(generation);
                attempt.sent |= !error.is_connection_refusal();
                if last_attempt || (attempt.sent && attempt.effect == Effect::Once) {
                    break;
                }
                continue;
            }
            // A server that was demoted stays so; the next connection finds its master.
            if error.code() == Some("READONLY") {
                self.shared.discard(generation);
            }
            return Err(attempt.failed(&error));
        }
        Err(attempt.unavailable(if attempt.sent {
            "the connection broke"
        } else {
            "no connection"
        }))
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
                    self.replace(Some((generation, connection.clone())));
                    self.watch_over(generation, connection, &branch).await;
                    self.replace(None);
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
        loop {
            tokio::select! {
                () = self.broken.notified() => {}
                () = sleep(PING_INTERVAL) => {}
            }
            // What broke may be the connection before this one.
            if self
                .current()
                .is_none_or(|(current, _)| current != generation)
            {
                return;
            }
            if !is_alive(&mut connection, branch).await {
                return;
            }
        }
    }

    fn replace(&self, connection: Option<(u64, MultiplexedConnection)>) {
        let available = connection.is_some();
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = connection;
        *self.since() = available.then(Instant::now);
        self.available.send_replace(available);
    }

    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Option<(u64, MultiplexedConnection)> {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The connection, or the next one if it comes soon.
    async fn take(&self, deadline: Instant) -> Option<(u64, MultiplexedConnection)> {
        if let Some(connection) = self.current() {
            return Some(connection);
        }
        let deadline = deadline.min(Instant::now() + CONNECTION_WAIT);
        let mut available = self.available.subscribe();
        timeout_at(deadline, available.wait_for(|&available| available))
            .await
            .ok()?
            .ok()?;
        self.current()
    }

    /// Drops a connection that proved broken, if it still is the current one.
    fn discard(&self, generation: u64) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|(g, _)| *g == generation) {
            *current = None;
            drop(current);
            *self.since() = None;
            self.available.send_replace(false);
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
    history.is(&branch, seconds * 1_000_000 + microseconds);
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
