//! Hears what happens in the rooms that somebody watches.
//!
//! One connection carries all subscriptions, and one task owns them and sends
//! them in order. When the connection breaks, or the server ends a
//! subscription, or is no master any more, a new one is opened with everything
//! that is watched, and the sink is told that events may have been lost.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::stream::{self, StreamExt as _};
use redis::{PushInfo, PushKind, RedisError, Value, aio::MultiplexedConnection};
use roomkeeper_common::tasks::Tasks;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};

use super::{
    address::Server,
    connection::{Backoff, PING_INTERVAL, RESPONSE_TIMEOUT, connect, is_alive},
    history::{Branch, History},
    keys, record,
};
use crate::{
    domain::RoomCode,
    repository::{FeedSink, RepositoryError},
};

/// How long somebody waits for a subscription: for a new connection and its
/// answer.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(2);

/// How many commands may wait for the connection. Whoever finds no place waits
/// as long as for an answer.
const COMMANDS: usize = 1_024;

/// How many subscriptions begin or end at once. Each is a command of its own: in a cluster a
/// command names channels of one slot only.
const SUBSCRIPTIONS_AT_ONCE: usize = 128;

#[derive(Debug)]
enum Command {
    Listen(RoomCode, oneshot::Sender<()>),
    Unlisten(RoomCode),
}

/// The handle of the listening task.
#[derive(Debug)]
pub(super) struct Listener {
    commands: mpsc::Sender<Command>,
    current: Arc<Mutex<Option<MultiplexedConnection>>>,
}

impl Listener {
    /// Begins to listen for this sink, as one of `tasks`.
    pub(super) fn open(
        server: Server,
        history: Arc<History>,
        sink: Arc<dyn FeedSink>,
        tasks: &Tasks,
    ) -> Self {
        let (commands, waiting) = mpsc::channel(COMMANDS);
        let current = Arc::new(Mutex::new(None));
        let task = Task {
            server,
            history,
            sink,
            waiting,
            unlisten: commands.clone(),
            current: current.clone(),
            subscribed: HashSet::new(),
        };
        tasks.spawn("listener at Redis", task.run());
        Self { commands, current }
    }

    /// Subscribes to a room; its events reach the sink when this returns.
    pub(super) async fn listen(&self, code: RoomCode) -> Result<(), RepositoryError> {
        let unavailable = || RepositoryError::Unavailable("no subscription in time".to_owned());
        let subscribing = async {
            let (done, confirmed) = oneshot::channel();
            self.commands
                .send(Command::Listen(code, done))
                .await
                .map_err(|_| unavailable())?;
            confirmed.await.map_err(|_| unavailable())
        };
        timeout(LISTEN_TIMEOUT, subscribing)
            .await
            .unwrap_or_else(|_| Err(unavailable()))
    }

    /// Lets a subscription go. If there is no place for the command, it goes
    /// with the room's next event.
    pub(super) fn unlisten(&self, code: RoomCode) {
        drop(self.commands.try_send(Command::Unlisten(code)));
    }

    /// Waits until everything that was published before has reached the sink:
    /// answers and events come in one order on one connection.
    pub(super) async fn settle(&self) -> Result<(), RepositoryError> {
        let current = self
            .current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let unavailable = || RepositoryError::Unavailable("the feed is interrupted".to_owned());
        let mut connection = current.ok_or_else(unavailable)?;
        let ping = redis::cmd("PING");
        match timeout(RESPONSE_TIMEOUT, ping.query_async::<()>(&mut connection)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(unavailable()),
        }
    }
}

/// The subscriptions of one connection that end at our own wish: the server confirms each of
/// them with the same push that it sends when it ends a subscription itself. There are at most
/// as many as commands at once.
#[derive(Clone, Debug, Default)]
struct Leaving(Arc<Mutex<HashSet<RoomCode>>>);

impl Leaving {
    fn codes(&self) -> MutexGuard<'_, HashSet<RoomCode>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Task {
    server: Server,
    history: Arc<History>,
    sink: Arc<dyn FeedSink>,
    waiting: mpsc::Receiver<Command>,
    unlisten: mpsc::Sender<Command>,
    current: Arc<Mutex<Option<MultiplexedConnection>>>,
    subscribed: HashSet<RoomCode>,
}

impl Task {
    async fn run(mut self) {
        let mut pause = Backoff::new();
        loop {
            let lost = Arc::new(Notify::new());
            let leaving = Leaving::default();
            // The supervised connection tells of an outage; this one only ends with it.
            let pushed = self.on_push(lost.clone(), leaving.clone());
            if let Ok((mut connection, branch)) = connect(&self.server, &self.history, pushed).await
                && self.subscribe_again(&mut connection).await.is_ok()
            {
                pause = Backoff::new();
                self.set_current(Some(connection.clone()));
                self.sink.interrupted();
                self.serve(connection, &branch, &lost, &leaving).await;
                self.set_current(None);
                tracing::debug!("the feed's connection was lost");
            }
            pause.wait().await;
        }
    }

    /// Serves commands until the connection gives no sign of life any more.
    async fn serve(
        &mut self,
        mut connection: MultiplexedConnection,
        branch: &Branch,
        lost: &Notify,
        leaving: &Leaving,
    ) {
        // Not a pause anew after each command: commands may come all the time.
        let mut pings = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut commands = Vec::new();
        loop {
            let alive = tokio::select! {
                biased;
                () = lost.notified() => false,
                _ = pings.tick() => is_alive(&mut connection, branch).await,
                received = self.waiting.recv_many(&mut commands, COMMANDS) => {
                    let commands = std::mem::take(&mut commands);
                    received > 0 && self.obey(commands, &connection, leaving).await.is_ok()
                }
            };
            if !alive {
                return;
            }
        }
    }

    /// Obeys all commands that wait. Each room is brought from what it is to what is wished
    /// now, so a room that was left and joined again meanwhile costs no command.
    async fn obey(
        &mut self,
        commands: Vec<Command>,
        connection: &MultiplexedConnection,
        leaving: &Leaving,
    ) -> Result<(), RedisError> {
        let (mut codes, mut asking) = (HashSet::new(), Vec::new());
        for command in commands {
            match command {
                Command::Listen(code, done) => {
                    codes.insert(code);
                    asking.push((code, done));
                }
                Command::Unlisten(code) => {
                    codes.insert(code);
                }
            }
        }
        // A room is watched before its command is sent, so what is read here is no older than
        // any of these commands.
        let (wanted, unwanted): (HashSet<_>, HashSet<_>) = codes
            .into_iter()
            .filter(|code| self.sink.is_watched(*code) != self.subscribed.contains(code))
            .partition(|code| !self.subscribed.contains(code));
        self.unsubscribe_all(unwanted, connection, leaving).await?;
        self.subscribe_all(wanted, connection).await?;
        for (code, done) in asking {
            if self.subscribed.contains(&code) {
                // Whoever asked may have given up; nothing is lost by that.
                let _ = done.send(());
            }
        }
        Ok(())
    }

    async fn unsubscribe_all(
        &mut self,
        codes: HashSet<RoomCode>,
        connection: &MultiplexedConnection,
        leaving: &Leaving,
    ) -> Result<(), RedisError> {
        let mut unsubscribing = stream::iter(codes)
            .map(|code| unsubscribe(connection.clone(), code, leaving))
            .buffer_unordered(SUBSCRIPTIONS_AT_ONCE);
        while let Some(unsubscribed) = unsubscribing.next().await {
            self.subscribed.remove(&unsubscribed?);
        }
        Ok(())
    }

    async fn subscribe_again(
        &mut self,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), RedisError> {
        self.subscribed.clear();
        self.subscribe_all(self.sink.watched(), connection).await
    }

    async fn subscribe_all(
        &mut self,
        codes: impl IntoIterator<Item = RoomCode>,
        connection: &MultiplexedConnection,
    ) -> Result<(), RedisError> {
        let mut subscribing = stream::iter(codes)
            .map(|code| {
                let subscribing = subscribe(connection.clone(), code);
                async move { (code, subscribing.await) }
            })
            .buffer_unordered(SUBSCRIPTIONS_AT_ONCE);
        while let Some((code, subscribed)) = subscribing.next().await {
            if subscribed? {
                self.subscribed.insert(code);
            }
        }
        Ok(())
    }

    fn set_current(&self, connection: Option<MultiplexedConnection>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = connection;
    }

    /// Takes what Redis pushes, in the order of its coming, and never waits.
    fn on_push(
        &self,
        lost: Arc<Notify>,
        leaving: Leaving,
    ) -> impl Fn(PushInfo) + Send + Sync + 'static {
        let sink = self.sink.clone();
        let unlisten = self.unlisten.clone();
        move |push| {
            if push.kind == PushKind::Disconnection {
                lost.notify_one();
                return;
            }
            let mut data = push.data.into_iter();
            let Some(Value::BulkString(channel)) = data.next() else {
                return;
            };
            let Some(code) = keys::room_of_feed(&channel) else {
                return;
            };
            if push.kind == PushKind::SUnsubscribe {
                // Not at our wish: a slot that moves to another node ends it so. The client
                // library takes such a push for an answer, so answers are out of step then.
                if !leaving.codes().remove(&code) {
                    lost.notify_one();
                }
            } else if push.kind == PushKind::SMessage
                && let Some(Value::BulkString(payload)) = data.next()
            {
                match record::event(&payload) {
                    Ok(event) => {
                        if !sink.event(code, Arc::new(event)) {
                            drop(unlisten.try_send(Command::Unlisten(code)));
                        }
                    }
                    // Readers find the gap and catch up.
                    Err(error) => {
                        tracing::error!(room.code = %code, %error, "an event was not understood");
                    }
                }
            }
        }
    }
}

/// Ends the subscription to a room, and returns that room. A server that refuses has ended it
/// already: a slot of a cluster may belong to another one by now.
async fn unsubscribe(
    mut connection: MultiplexedConnection,
    code: RoomCode,
    leaving: &Leaving,
) -> Result<RoomCode, RedisError> {
    leaving.codes().insert(code);
    let mut command = redis::cmd("SUNSUBSCRIBE");
    command.arg(keys::feed(code));
    let answer = command.query_async::<Value>(&mut connection).await;
    leaving.codes().remove(&code);
    match answer {
        Err(error) if error.is_io_error() => Err(error),
        Ok(_) => Ok(code),
        Err(error) => {
            tracing::debug!(room.code = %code, %error, "a subscription had ended already");
            Ok(code)
        }
    }
}

/// Subscribes to a room. `false`: the server refuses, and the others go on; a
/// slot of a cluster may belong to another one by now.
async fn subscribe(
    mut connection: MultiplexedConnection,
    code: RoomCode,
) -> Result<bool, RedisError> {
    let mut command = redis::cmd("SSUBSCRIBE");
    command.arg(keys::feed(code));
    match command.query_async::<Value>(&mut connection).await {
        Ok(_) => Ok(true),
        Err(error) if error.is_io_error() => Err(error),
        Err(error) => {
            tracing::debug!(room.code = %code, %error, "a room was not subscribed to");
            Ok(false)
        }
    }
}
