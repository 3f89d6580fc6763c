//! The masters of a Redis Cluster, each kept like a single server.
//!
//! The client library's own cluster connection is not used: it repeats what may
//! have been done already without saying so, subscribes again by itself, which
//! hides a gap, brings answers and events on two ways, so that none is a barrier
//! for the other, and lets everybody wait while it looks for one dead server.
//! Here each master has the same supervised connection and listener that a single
//! server has, so that the others go on when one dies, and this module knows which
//! of them owns which slot. It asks them every second, and at once when one sends
//! a call elsewhere.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::{join_all, select_all};
use redis::{RedisError, Value, aio::MultiplexedConnection};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    absence::Absence,
    address::{Seeds, Server},
    connection::{Attempt, CONNECTION_WAIT, Connection, failure, reach},
    history::{Branch, History},
    keys,
    listener::Listener,
};
use crate::{
    domain::{Event, RoomCode},
    repository::{FeedSink, RepositoryError, Since},
};

/// How many slots a cluster has.
const SLOTS: u16 = 16_384;

/// How long a server may take to tell who owns which slot.
const ASK_TIMEOUT: Duration = Duration::from_millis(500);

/// How often they are asked, and how often while one is away.
const ASK_INTERVAL: Duration = Duration::from_secs(1);
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// The least time between two such questions.
const ASK_PAUSE: Duration = Duration::from_millis(50);

/// How often a call is tried while servers send it elsewhere.
const HOPS: usize = 5;

/// How long to wait until a slot's keys may have arrived at its new owner.
const ARRIVAL_PAUSE: Duration = Duration::from_millis(50);

/// How long a master must have been there before sessions in its rooms are ended.
const STEADY: Duration = Duration::from_secs(20);

/// A cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    shared: Arc<Shared>,
}

/// One master.
#[derive(Debug)]
struct Node {
    address: String,
    connection: Connection,
    listener: Listener,
    history: Arc<History>,
    /// Ends both with the last one who uses them.
    _stop: DropGuard,
}

struct Shared {
    seeds: Seeds,
    sink: Arc<dyn FeedSink>,
    stop: CancellationToken,
    // A std mutex: nothing is awaited while it is held.
    map: Mutex<Map>,
    stale: Notify,
    available: watch::Sender<bool>,
}

#[derive(Default)]
struct Map {
    owners: Owners,
    nodes: HashMap<String, Arc<Node>>,
}

/// Who owns which slots: first, last, `host:port`, in order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Owners(Vec<(u16, u16, String)>);

impl Owners {
    fn of(&self, slot: u16) -> Option<&str> {
        let next = self.0.partition_point(|(first, ..)| *first <= slot);
        let (_, last, address) = self.0.get(next.checked_sub(1)?)?;
        (slot <= *last).then_some(address)
    }
}

impl Cluster {
    /// Begins to look for the cluster, until `stop`.
    pub(super) fn open(seeds: Seeds, sink: Arc<dyn FeedSink>, stop: CancellationToken) -> Self {
        let shared = Arc::new(Shared {
            seeds,
            sink,
            stop: stop.clone(),
            map: Mutex::default(),
            stale: Notify::new(),
            available: watch::Sender::new(false),
        });
        tokio::spawn({
            let shared = shared.clone();
            async move {
                stop.run_until_cancelled(shared.follow()).await;
                // The nodes hold this as their sink.
                shared.map().nodes.clear();
            }
        });
        Self { shared }
    }

    /// Whether any master can be reached now.
    pub(super) fn availability(&self) -> watch::Receiver<bool> {
        self.shared.available.subscribe()
    }

    /// Whether the owner of a room has been reached for so long, without a break,
    /// that whoever lives in the room could say so.
    pub(super) fn is_steady(&self, code: RoomCode) -> bool {
        self.shared
            .owner(slot_of(&keys::room(code)))
            .is_some_and(|node| node.connection.has_been_up_for(STEADY))
    }

    /// The owner of the room tells this history.
    pub(super) fn tell(&self, code: RoomCode, branch: &Branch, now: u64) {
        if let Some(node) = self.shared.owner(slot_of(&keys::room(code))) {
            node.history.is(branch, now);
        }
    }

    /// From where a reader of the room can be served.
    pub(super) fn trusted(&self, code: RoomCode, since: Since) -> Since {
        match self.shared.owner(slot_of(&keys::room(code))) {
            Some(node) => node.history.trusted(since),
            None => since,
        }
    }

    /// Runs a call at the owner of a key, and where that sends it.
    pub(super) async fn run<T, F>(
        &self,
        attempt: &mut Attempt,
        key: &str,
        call: impl Fn(MultiplexedConnection) -> F,
    ) -> Result<T, RepositoryError>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let slot = slot_of(key);
        let mut node = self.owner_soon(slot, attempt.deadline()).await;
        for _ in 0..HOPS {
            let Some(current) = node else { break };
            let elsewhere = Mutex::new(None);
            let answer = current
                .connection
                .attempt(attempt, |connection| {
                    let called = call(connection);
                    let elsewhere = &elsewhere;
                    async move {
                        let answer = called.await;
                        let sent_to = answer.as_ref().err().and_then(elsewhere_of);
                        *elsewhere.lock().unwrap_or_else(PoisonError::into_inner) = sent_to;
                        answer
                    }
                })
                .await;
            let elsewhere = elsewhere
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner);
            node = match elsewhere {
                None => return answer,
                Some(Elsewhere::Moved(address)) => {
                    self.shared.stale.notify_one();
                    self.shared.node(&address, &current.address)
                }
                Some(Elsewhere::Later) => {
                    sleep(ARRIVAL_PAUSE).await;
                    self.shared.owner(slot)
                }
            };
        }
        Err(attempt.unavailable("no server of the cluster has this slot now"))
    }

    /// Subscribes to a room; its events reach the sink when this returns.
    pub(super) async fn listen(&self, code: RoomCode) -> Result<(), RepositoryError> {
        self.owner_of(code)?.listener.listen(code).await
    }

    /// Lets a subscription go.
    pub(super) fn unlisten(&self, code: RoomCode) {
        if let Ok(node) = self.owner_of(code) {
            node.listener.unlisten(code);
        }
    }

    /// Waits until everything that was published in this room before has
    /// reached the sink.
    pub(super) async fn settle(&self, code: RoomCode) -> Result<(), RepositoryError> {
        self.owner_of(code)?.listener.settle().await
    }

    fn owner_of(&self, code: RoomCode) -> Result<Arc<Node>, RepositoryError> {
        self.shared
            .owner(slot_of(&keys::room(code)))
            .ok_or_else(|| RepositoryError::Unavailable("no server has this room".to_owned()))
    }

    /// The owner of a slot, or the one that is found soon.
    async fn owner_soon(&self, slot: u16, deadline: Instant) -> Option<Arc<Node>> {
        if let Some(node) = self.shared.owner(slot) {
            return Some(node);
        }
        let deadline = deadline.min(Instant::now() + CONNECTION_WAIT);
        let mut available = self.availability();
        timeout_at(deadline, available.wait_for(|&available| available))
            .await
            .ok()?
            .ok()?;
        self.shared.owner(slot)
    }
}

/// Where a server sends a call.
#[derive(Debug, PartialEq, Eq)]
enum Elsewhere {
    /// To the slot's new owner, from now on.
    Moved(String),
    /// Nowhere, until all keys of the slot have moved. The new owner would answer
    /// when it is asked in the right way, but not to a script of which any key is
    /// absent, and of a room some always are.
    Later,
}

fn elsewhere_of(error: &RedisError) -> Option<Elsewhere> {
    match error.code()? {
        "MOVED" => {
            let (address, _) = error.redirect_node()?;
            Some(Elsewhere::Moved(address.to_owned()))
        }
        "ASK" | "TRYAGAIN" => Some(Elsewhere::Later),
        _ => None,
    }
}

impl Shared {
    fn map(&self) -> MutexGuard<'_, Map> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn owner(&self, slot: u16) -> Option<Arc<Node>> {
        let map = self.map();
        map.nodes.get(map.owners.of(slot)?).cloned()
    }

    /// The node at an address that another one named. Without a host it is the
    /// host of that one.
    fn node(self: &Arc<Self>, address: &str, named_by: &str) -> Option<Arc<Node>> {
        let address = if address.starts_with(':') {
            let (host, _) = named_by.rsplit_once(':')?;
            format!("{host}{address}")
        } else {
            address.to_owned()
        };
        self.keep(&mut self.map(), address)
    }

    /// The node at an address, opened if need be.
    fn keep(self: &Arc<Self>, map: &mut Map, address: String) -> Option<Arc<Node>> {
        if let Some(node) = map.nodes.get(&address) {
            return Some(node.clone());
        }
        let server = Server::Fixed(self.seeds.server(&address)?);
        let stop = self.stop.child_token();
        let sink = Arc::new(OwnSlots {
            shared: self.clone(),
            address: address.clone(),
        });
        let history = Arc::new(History::default());
        let node = Arc::new(Node {
            address: address.clone(),
            connection: Connection::open(server.clone(), history.clone(), stop.clone()),
            listener: Listener::open(server, history.clone(), sink, stop.clone()),
            history,
            _stop: stop.drop_guard(),
        });
        map.nodes.insert(address, node.clone());
        Some(node)
    }

    /// Follows the cluster's changes.
    async fn follow(self: &Arc<Self>) {
        let mut absence = Absence::new();
        loop {
            match self.ask().await {
                Ok(owners) => {
                    absence.end();
                    self.take(owners);
                }
                Err(error) => absence.log("no cluster was found", &error),
            }
            sleep(ASK_PAUSE).await;
            self.something_new().await;
        }
    }

    /// Waits until the cluster is to be asked again: sooner while a master is
    /// away, for another one will take its place. Tells meanwhile whether any of
    /// them can be reached.
    async fn something_new(&self) {
        let asked = Instant::now();
        loop {
            let mut connections: Vec<_> = self
                .map()
                .nodes
                .values()
                .map(|node| node.connection.availability())
                .collect();
            let up = connections
                .iter_mut()
                .filter_map(|connection| connection.borrow_and_update().then_some(()))
                .count();
            self.available.send_if_modified(|available| {
                let before = std::mem::replace(available, up > 0);
                before != *available
            });
            let all = up > 0 && up == connections.len();
            let next = asked + if all { ASK_INTERVAL } else { ASK_AGAIN };
            if connections.is_empty() {
                return sleep_until(next).await;
            }
            let changed = select_all(
                connections
                    .iter_mut()
                    .map(|connection| Box::pin(connection.changed())),
            );
            tokio::select! {
                () = self.stale.notified() => return,
                () = sleep_until(next) => return,
                _ = changed => {}
            }
        }
    }

    /// Who owns which slot, as the masters say, or else the seeds.
    async fn ask(&self) -> Result<Owners, RedisError> {
        let nodes: Vec<_> = self.map().nodes.values().cloned().collect();
        let asked = nodes.iter().filter_map(|node| {
            let connection = node.connection.now()?;
            Some(answer(connection, &node.address))
        });
        if let Ok(answer) = newest(join_all(asked).await) {
            return Ok(answer.owners);
        }
        let asked = self.seeds.addresses().map(|address| async move {
            let seed = self.seeds.server(&address);
            let seed = seed.ok_or_else(|| failure("an address is no host and port"))?;
            answer(reach(&seed).await?, &address).await
        });
        newest(join_all(asked).await).map(|answer| answer.owners)
    }

    /// Takes over who owns which slot.
    fn take(self: &Arc<Self>, owners: Owners) {
        let mut map = self.map();
        let moved = map.owners != owners;
        let first = map.owners.0.is_empty();
        let left: HashMap<_, _> = map
            .nodes
            .extract_if(|address, _| !owners.0.iter().any(|(.., owner)| owner == address))
            .collect();
        for (.., address) in &owners.0 {
            self.keep(&mut map, address.clone());
        }
        map.owners = owners;
        drop(map);
        drop(left);
        if moved && !first {
            tracing::info!("Redis: the cluster's slots have moved");
            // The old owner's listener may have missed what the new one's did not hear yet.
            self.sink.interrupted();
        }
    }
}

/// What a server says about its cluster.
struct Answer {
    in_service: bool,
    epoch: u64,
    owners: Owners,
}

/// The answer of the server that knows most: one that is cut off from the others
/// knows less. Or why none answered.
fn newest(answers: Vec<Result<Answer, RedisError>>) -> Result<Answer, RedisError> {
    let mut newest: Result<Answer, _> = Err(failure("no server is known"));
    for answer in answers {
        let better = match (&newest, &answer) {
            (Ok(known), Ok(other)) => {
                (other.in_service, other.epoch) > (known.in_service, known.epoch)
            }
            (Ok(_), Err(_)) => false,
            (Err(_), _) => true,
        };
        if better {
            newest = answer;
        }
    }
    newest
}

async fn answer(
    mut connection: MultiplexedConnection,
    address: &str,
) -> Result<Answer, RedisError> {
    let asking = async {
        let mut ask = redis::cmd("CLUSTER");
        let info: String = ask.arg("INFO").query_async(&mut connection).await?;
        let mut ask = redis::cmd("CLUSTER");
        let slots: Value = ask.arg("SLOTS").query_async(&mut connection).await?;
        let field = |name: &str| {
            info.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        };
        let answer = || {
            Some(Answer {
                in_service: field("cluster_state")? == "ok",
                epoch: field("cluster_current_epoch")?.parse().ok()?,
                owners: owners(&slots, address)?,
            })
        };
        answer().ok_or_else(|| failure("the cluster was not understood"))
    };
    timeout(ASK_TIMEOUT, asking)
        .await
        .unwrap_or_else(|_| Err(failure("a server did not tell its cluster in time")))
}

/// Reads what `CLUSTER SLOTS` answers. A server that does not know its own host
/// means the one that it was reached at.
fn owners(slots: &Value, answered_by: &str) -> Option<Owners> {
    fn list(value: &Value) -> Option<&[Value]> {
        let Value::Array(values) = value else {
            return None;
        };
        Some(values)
    }
    fn number(value: &Value) -> Option<u16> {
        let Value::Int(number) = value else {
            return None;
        };
        u16::try_from(*number).ok()
    }
    let mut owners = Vec::new();
    for range in list(slots)? {
        let [first, last, master, ..] = list(range)? else {
            return None;
        };
        let [host, port, ..] = list(master)? else {
            return None;
        };
        let mut known = answered_by.rsplit_once(':')?.0;
        if let Value::BulkString(host) = host
            && !host.is_empty()
        {
            known = std::str::from_utf8(host).ok()?;
        }
        owners.push((
            number(first)?,
            number(last)?,
            format!("{known}:{}", number(port)?),
        ));
    }
    owners.sort_unstable();
    Some(Owners(owners))
}

/// The part of the feed that one node's listener serves.
struct OwnSlots {
    shared: Arc<Shared>,
    address: String,
}

impl OwnSlots {
    fn owns(&self, code: RoomCode) -> bool {
        let slot = slot_of(&keys::room(code));
        self.shared.map().owners.of(slot) == Some(&self.address)
    }
}

impl std::fmt::Debug for OwnSlots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OwnSlots").field(&self.address).finish()
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("owners", &self.map().owners)
            .finish_non_exhaustive()
    }
}

impl FeedSink for OwnSlots {
    fn event(&self, code: RoomCode, event: Arc<Event>) -> bool {
        self.shared.sink.event(code, event)
    }

    fn interrupted(&self) {
        self.shared.sink.interrupted();
    }

    fn watched(&self) -> Vec<RoomCode> {
        let mut codes = self.shared.sink.watched();
        codes.retain(|code| self.owns(*code));
        codes
    }

    fn is_watched(&self, code: RoomCode) -> bool {
        self.owns(code) && self.shared.sink.is_watched(code)
    }
}

/// The slot of a key, or of what stands in its first braces.
fn slot_of(key: &str) -> u16 {
    let tag = key
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'))
        .map_or(key, |(tag, _)| if tag.is_empty() { key } else { tag });
    // CRC-16/XMODEM, bit by bit: a key is short, and a tag shorter.
    let crc = tag.bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            }
        })
    });
    crc % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        // As CLUSTER KEYSLOT of Redis 7.0.15 answers.
        assert_eq!(slot_of("foo"), 12_182);
        assert_eq!(slot_of("room:{bar}:messages"), 5_061);
        assert_eq!(slot_of("{foo}:{bar}"), slot_of("foo"));
        assert_eq!(slot_of("{}foo"), slot_of("{}foo"));
        assert_ne!(slot_of("{}foo"), slot_of(""));
    }

    #[test]
    fn an_answer_tells_the_owner_of_each_slot() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let range = |first, last, host, port| {
            let master = Value::Array(vec![host, Value::Int(port), text("an id")]);
            Value::Array(vec![Value::Int(first), Value::Int(last), master])
        };
        let answer = Value::Array(vec![
            range(100, 200, text("b"), 2),
            range(0, 50, Value::Nil, 1),
        ]);
        let owners = owners(&answer, "asked:9").unwrap();
        assert_eq!(owners.of(0), Some("asked:1"));
        assert_eq!(owners.of(50), Some("asked:1"));
        assert_eq!(owners.of(51), None);
        assert_eq!(owners.of(150), Some("b:2"));
        assert_eq!(owners.of(201), None);
        assert_eq!(Owners::default().of(0), None);
        assert!(super::owners(&Value::Nil, "asked:9").is_none());
        assert!(super::owners(&Value::Array(vec![Value::Array(vec![])]), "asked:9").is_none());
    }

    #[test]
    fn a_call_goes_where_a_server_sends_it() {
        let error = |text: &str| {
            redis::parse_redis_value(text.as_bytes())
                .unwrap()
                .extract_error()
                .unwrap_err()
        };
        let moved = error("-MOVED 1 10.0.0.1:7000\r\n");
        assert_eq!(
            elsewhere_of(&moved),
            Some(Elsewhere::Moved("10.0.0.1:7000".to_owned()))
        );
        for later in ["-ASK 1 10.0.0.1:7000\r\n", "-TRYAGAIN later\r\n"] {
            assert_eq!(elsewhere_of(&error(later)), Some(Elsewhere::Later));
        }
        assert_eq!(elsewhere_of(&error("-CLUSTERDOWN\r\n")), None);
    }
}
