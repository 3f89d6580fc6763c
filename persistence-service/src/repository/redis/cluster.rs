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
use roomkeeper_common::tasks::Tasks;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::DropGuard;

use super::{
    absence::Absence,
    address::{Seeds, Server},
    connection::{Attempt, CONNECTION_WAIT, Connection, Live, Probe, Tried, failure, reach},
    history::{Branch, History},
    keys,
    listener::Listener,
    slots::slot_of,
};
use crate::{
    domain::{Event, RoomCode},
    repository::{FeedSink, RepositoryError, Since},
};

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

/// How many keys are tried to find one that a server keeps: with so many each slot has one.
const PROBES: u32 = 120_000;

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
    /// A key that this master keeps.
    probe: Probe,
    listener: Listener,
    history: Arc<History>,
    /// Ends both with the last one who uses them.
    _stop: DropGuard,
}

struct Shared {
    seeds: Seeds,
    sink: Arc<dyn FeedSink>,
    tasks: Tasks,
    // A std mutex: nothing is awaited while it is held.
    map: Mutex<Map>,
    stale: Notify,
    /// Changes when slots have moved.
    moves: watch::Sender<()>,
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

    /// A key that this server keeps: one of an index, or where it keeps none of these, one that
    /// nothing is stored in.
    fn probe_of(&self, address: &str) -> Option<String> {
        let indexes = keys::DUE_SESSIONS.all_parts().map(ToOwned::to_owned);
        let others = (0..PROBES).map(|number| format!("probe:{{{number}}}"));
        indexes
            .chain(others)
            .find(|key| self.of(slot_of(key)) == Some(address))
    }
}

impl Cluster {
    /// Begins to look for the cluster, as one of `tasks`.
    pub(super) fn open(seeds: Seeds, sink: Arc<dyn FeedSink>, tasks: Tasks) -> Self {
        let shared = Arc::new(Shared {
            seeds,
            sink,
            tasks: tasks.clone(),
            map: Mutex::default(),
            stale: Notify::new(),
            moves: watch::Sender::new(()),
            available: watch::Sender::new(false),
        });
        tasks.spawn("map of the cluster", {
            let following = Following(shared.clone());
            async move { following.0.follow().await }
        });
        Self { shared }
    }

    /// Whether any master takes writes now.
    pub(super) fn availability(&self) -> watch::Receiver<bool> {
        self.shared.available.subscribe()
    }

    /// Whether the owner of a room has taken writes for so long, without a break,
    /// that whoever lives in the room could say so.
    pub(super) fn is_steady(&self, code: RoomCode) -> bool {
        self.shared
            .owner(slot_of(&keys::room(code)))
            .is_some_and(|node| node.connection.has_been_up_for(STEADY))
    }

    /// The owner of the room tells this history.
    pub(super) fn tell(&self, code: RoomCode, branch: &Branch, now: u64) {
        if let Some(node) = self.shared.owner(slot_of(&keys::room(code))) {
            node.history.set(branch, now);
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
        let (mut sent_to, mut broken) = (None, false);
        for _ in 0..HOPS {
            let Some((node, live)) = self.reach(slot, sent_to.take(), attempt.deadline()).await
            else {
                return Err(attempt.unanswered());
            };
            match node.connection.try_on(live, attempt, &call).await {
                Tried::Answered(value) => return Ok(value),
                Tried::TimedOut => return Err(attempt.unavailable("no answer in time")),
                Tried::Broke if broken || !attempt.may_repeat() => {
                    return Err(attempt.unanswered());
                }
                Tried::Broke => broken = true,
                Tried::Refused(error) => match elsewhere_of(&error) {
                    None => return Err(attempt.failed(&error)),
                    Some(Elsewhere::Moved(address)) => {
                        self.shared.stale.notify_one();
                        sent_to = self.shared.node(&address, &node.address);
                    }
                    Some(Elsewhere::Later) => sleep(ARRIVAL_PAUSE).await,
                },
            }
        }
        Err(attempt.unavailable("no server of the cluster has this slot now"))
    }

    /// The node that a call was sent to, or else the owner of the slot, with its connection.
    /// Where that has none, the next one is waited for, or that the slot has moved to a node
    /// that has one.
    async fn reach(
        &self,
        slot: u16,
        sent_to: Option<Arc<Node>>,
        deadline: Instant,
    ) -> Option<(Arc<Node>, Live)> {
        let first = Instant::now() + CONNECTION_WAIT;
        let mut moves = self.shared.moves.subscribe();
        loop {
            let node = sent_to.clone().or_else(|| self.shared.owner(slot));
            let (connection, patience) = match &node {
                Some(node) => (Some(&node.connection), node.connection.patience()),
                // No server has the slot yet, or none is known yet.
                None => (None, first),
            };
            if let Some(live) = connection.and_then(Connection::now) {
                return node.map(|node| (node, live));
            }
            let connected = async {
                match connection {
                    Some(connection) => connection.connected().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = connected => {}
                // The sender lives as long as this.
                _ = moves.changed() => {}
                () = sleep_until(patience.min(deadline)) => return None,
            }
        }
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

    /// Which server each of these rooms is on; `None` where that is not known.
    pub(super) fn places(&self, codes: &[RoomCode]) -> Vec<Option<String>> {
        let map = self.shared.map();
        let place = |code: &RoomCode| map.owners.of(slot_of(&keys::room(*code)));
        codes
            .iter()
            .map(|code| place(code).map(ToOwned::to_owned))
            .collect()
    }

    /// Which server keeps this key; `None` where that is not known.
    pub(super) fn place(&self, key: &str) -> Option<String> {
        self.shared
            .map()
            .owners
            .of(slot_of(key))
            .map(ToOwned::to_owned)
    }

    /// Whether these two keys are on different servers.
    pub(super) fn is_apart(&self, one: &str, other: &str) -> bool {
        let map = self.shared.map();
        map.owners.of(slot_of(one)) != map.owners.of(slot_of(other))
    }

    /// Whether the owner of this key takes writes now.
    pub(super) fn can_keep(&self, key: &str) -> bool {
        let owner = self.shared.owner(slot_of(key));
        owner.is_some_and(|node| node.connection.is_available())
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

/// The task that follows the cluster. With its end the nodes go, which hold it as their sink.
struct Following(Arc<Shared>);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.map().nodes.clear();
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
        let tasks = self.tasks.part();
        let sink = Arc::new(OwnSlots {
            shared: self.clone(),
            address: address.clone(),
        });
        let (history, probe) = (Arc::new(History::default()), Probe::default());
        if map.owners.0.iter().any(|(.., owner)| *owner == address) {
            probe.set(map.owners.probe_of(&address));
        }
        let node = Arc::new(Node {
            address: address.clone(),
            connection: Connection::open(server.clone(), history.clone(), probe.clone(), &tasks),
            probe,
            listener: Listener::open(server, history.clone(), sink, &tasks),
            history,
            _stop: tasks.stop_on_drop(),
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
            let (_, connection) = node.connection.now()?;
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
        map.owners = owners;
        let addresses: Vec<String> = map
            .owners
            .0
            .iter()
            .map(|(.., owner)| owner.clone())
            .collect();
        for address in addresses {
            self.keep(&mut map, address);
        }
        if moved {
            for node in map.nodes.values() {
                node.probe.set(map.owners.probe_of(&node.address));
            }
        }
        drop(map);
        drop(left);
        self.moves.send_replace(());
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

#[cfg(test)]
mod tests {
    use super::*;

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
