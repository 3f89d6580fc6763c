//! One supervised connection to Redis.
//!
//! The client library's own manager never notices a connection that is
//! silently dead. So a task of ours owns the connection: it asks for a sign of
//! life every second, replaces a connection that gives none, and says whether
//! there is one. Callers take the current one and never wait for long.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rand::Rng as _;
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, ProtocolVersion, PushInfo, RedisError,
    ServerErrorKind, Value, aio::MultiplexedConnection,
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::repository::RepositoryError;

/// How long a connection may take to open.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long an answer may take. With what a call waits for a connection this
/// stays below the two seconds within which a write is answered.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_millis(1_400);
/// How long a call waits for a connection: enough for one to be replaced.
const CONNECTION_WAIT: Duration = Duration::from_millis(400);
/// How often a connection is asked for a sign of life, and how long it may take.
pub(super) const PING_INTERVAL: Duration = Duration::from_secs(1);
const PING_TIMEOUT: Duration = Duration::from_secs(1);
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

/// A connection that is kept open.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    // A std mutex: nothing is awaited while it is held.
    current: Mutex<Option<(u64, MultiplexedConnection)>>,
    available: watch::Sender<bool>,
    broken: Notify,
}

impl Connection {
    /// Begins to connect, and goes on until `stop`.
    pub(super) fn open(client: Client, stop: CancellationToken) -> Self {
        let shared = Arc::new(Shared {
            current: Mutex::new(None),
            available: watch::Sender::new(false),
            broken: Notify::new(),
        });
        tokio::spawn({
            let shared = shared.clone();
            async move {
                stop.run_until_cancelled(shared.supervise(client)).await;
            }
        });
        Self { shared }
    }

    /// Whether there is a connection now.
    pub(super) fn availability(&self) -> watch::Receiver<bool> {
        self.shared.available.subscribe()
    }

    /// Runs a call, once more where its connection broke and it may be.
    pub(super) async fn run<T, F>(
        &self,
        effect: Effect,
        call: impl Fn(MultiplexedConnection) -> F,
    ) -> Result<T, RepositoryError>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let deadline = Instant::now() + RESPONSE_TIMEOUT + CONNECTION_WAIT;
        let mut sent = false;
        for last_attempt in [false, true] {
            let Some((generation, connection)) = self.shared.take(deadline).await else {
                break;
            };
            let error = match timeout_at(deadline, call(connection)).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) => error,
                Err(_) => return Err(unanswered(effect, "no answer in time")),
            };
            if error.is_timeout() {
                return Err(unanswered(effect, "no answer in time"));
            }
            if error.is_io_error() {
                self.shared.discard(generation);
                sent |= !error.is_connection_refusal();
                if last_attempt || (sent && effect == Effect::Once) {
                    break;
                }
                continue;
            }
            // A server that was demoted stays so; the next connection finds its master.
            if error.code() == Some("READONLY") {
                self.shared.discard(generation);
            }
            return Err(classify(&error));
        }
        if sent {
            return Err(unanswered(effect, "the connection broke"));
        }
        Err(RepositoryError::Unavailable("no connection".to_owned()))
    }
}

fn unanswered(effect: Effect, why: &str) -> RepositoryError {
    match effect {
        Effect::Read => RepositoryError::Unavailable(why.to_owned()),
        Effect::Repeatable | Effect::Once => RepositoryError::OutcomeUnknown(why.to_owned()),
    }
}

/// What an error of the server means.
pub(super) fn classify(error: &RedisError) -> RepositoryError {
    const NOT_NOW: [&str; 10] = [
        "LOADING",
        "MASTERDOWN",
        "READONLY",
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
    } else if error.is_io_error() || NOT_NOW.contains(&code) {
        RepositoryError::Unavailable(error.to_string())
    } else {
        RepositoryError::Damaged(error.to_string())
    }
}

impl Shared {
    async fn supervise(&self, client: Client) {
        let mut pause = Backoff::new();
        let mut told = false;
        for generation in 0.. {
            match connect(&client, |_| {}).await {
                Ok(connection) => {
                    tracing::info!("Redis: ready");
                    warn_of_eviction(connection.clone()).await;
                    pause = Backoff::new();
                    told = false;
                    self.replace(Some((generation, connection.clone())));
                    self.watch_over(connection).await;
                    self.replace(None);
                    tracing::warn!("Redis: connection lost");
                }
                Err(error) => {
                    // Once per outage: the rest would only repeat it.
                    if !told {
                        tracing::warn!(%error, "Redis: not reached, trying again");
                        told = true;
                    }
                }
            }
            pause.wait().await;
        }
    }

    /// Returns when the connection gives no sign of life any more.
    async fn watch_over(&self, mut connection: MultiplexedConnection) {
        loop {
            tokio::select! {
                () = self.broken.notified() => return,
                () = sleep(PING_INTERVAL) => {}
            }
            if !is_alive(&mut connection).await {
                return;
            }
        }
    }

    fn replace(&self, connection: Option<(u64, MultiplexedConnection)>) {
        let available = connection.is_some();
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = connection;
        self.available.send_replace(available);
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
            self.available.send_replace(false);
            self.broken.notify_one();
        }
    }
}

/// Opens a connection that speaks RESP3 and hands over what is pushed on it.
pub(super) async fn connect(
    client: &Client,
    pushed: impl Fn(PushInfo) + Send + Sync + 'static,
) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT))
        .set_push_sender(move |push: PushInfo| {
            pushed(push);
            Ok::<(), std::convert::Infallible>(())
        });
    let opening = async {
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        // A server that is loading its data accepts connections and refuses commands.
        redis::cmd("PING")
            .query_async::<()>(&mut connection)
            .await?;
        if !is_alive(&mut connection).await {
            return Err(RedisError::from((ErrorKind::Io, "the server is no master")));
        }
        Ok(connection)
    };
    timeout(CONNECT_TIMEOUT * 2, opening)
        .await
        .unwrap_or_else(|_| {
            Err(RedisError::from((
                ErrorKind::Io,
                "the connection took too long to open",
            )))
        })
}

/// Whether the server answers, and still is the one that takes writes: one that
/// was demoted keeps its connections open, and its subscribers in silence.
pub(super) async fn is_alive(connection: &mut MultiplexedConnection) -> bool {
    let ask = redis::cmd("ROLE");
    match timeout(PING_TIMEOUT, ask.query_async::<Vec<Value>>(connection)).await {
        Ok(Ok(role)) => match role.first() {
            Some(Value::BulkString(role)) => role == b"master",
            _ => true,
        },
        // A user who may not ask for the role still gets an answer.
        Ok(Err(error)) => error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm),
        Err(_) => false,
    }
}

/// A client of this address that speaks RESP3 without Nagle's delay.
pub(super) fn client(url: &str) -> Result<Client, RedisError> {
    use redis::{IntoConnectionInfo as _, io::tcp::TcpSettings};

    let info = url.into_connection_info()?;
    let settings = info
        .redis_settings()
        .clone()
        .set_protocol(ProtocolVersion::RESP3);
    let tcp = TcpSettings::default().set_nodelay(true);
    Client::open(info.set_redis_settings(settings).set_tcp_settings(tcp))
}

async fn warn_of_eviction(mut connection: MultiplexedConnection) {
    let mut ask = redis::cmd("CONFIG");
    ask.arg("GET").arg("maxmemory-policy");
    // A hosted Redis may refuse to tell its configuration; then nothing is known.
    let Ok(answer) = ask.query_async::<Vec<String>>(&mut connection).await else {
        return;
    };
    if let Some(policy) = answer.get(1).filter(|policy| *policy != "noeviction") {
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
