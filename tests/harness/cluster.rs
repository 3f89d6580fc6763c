use std::collections::HashMap;

use persistence_service::domain::RoomCode;
use redis::FromRedisValue;
use tempfile::TempDir;

use crate::process::{Process, kill_master, until};

/// How many masters share the slots.
const MASTERS: usize = 3;

/// How many slots a master has; the last one has the rest too.
const SLOTS_EACH: usize = 16_384 / MASTERS;

/// A Redis Cluster of a test's own, which ends with it.
#[derive(Debug)]
pub struct RedisCluster {
    /// The masters, then their replicas in the same order.
    nodes: Vec<Process>,
    data: TempDir,
}

impl RedisCluster {
    /// Starts three masters, and a replica of each if one of them is to fail.
    ///
    /// # Panics
    ///
    /// Where it does not come up.
    pub async fn start(with_replicas: bool) -> Self {
        let data = tempfile::tempdir().expect("a temporary directory");
        let count = if with_replicas { MASTERS * 2 } else { MASTERS };
        // Where none is to fail, none that is only held up is to be taken for dead.
        let node_timeout = if with_replicas { "1000" } else { "5000" };
        let mut nodes = Vec::new();
        for _ in 0..count {
            let arguments = |port, bus| arguments(port, bus, node_timeout);
            nodes.push(Process::start(data.path(), arguments).await);
        }
        let cluster = Self { nodes, data };
        cluster.join().await;
        cluster
    }

    async fn join(&self) {
        let count = self.nodes.len();
        for (i, node) in self.nodes.iter().enumerate() {
            let epoch = (i + 1).to_string();
            let _: () = node.run(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await;
            if i < MASTERS {
                let first = i * SLOTS_EACH;
                let last = if i + 1 == MASTERS {
                    16_383
                } else {
                    first + SLOTS_EACH - 1
                };
                let (first, last) = (first.to_string(), last.to_string());
                let _: () = node.run(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]).await;
            }
        }
        let first = self.nodes[0].port.to_string();
        let nodes: String = self.nodes[0].run(&["CLUSTER", "NODES"]).await;
        let bus = bus_port(&nodes).to_owned();
        until("that all nodes know each other", async || {
            let mut joined = true;
            for (i, node) in self.nodes.iter().enumerate() {
                let nodes: String = node.run(&["CLUSTER", "NODES"]).await;
                let known = nodes.lines().count();
                // Again where a handshake took too long and was given up.
                if i > 0 && known == 1 {
                    let _: () = node
                        .run(&["CLUSTER", "MEET", "127.0.0.1", &first, &bus])
                        .await;
                }
                joined &= known == count && !nodes.contains("handshake");
            }
            joined
        })
        .await;
        for (master, replica) in self.nodes.iter().zip(&self.nodes[MASTERS..]) {
            let id: String = master.run(&["CLUSTER", "MYID"]).await;
            let _: () = replica.run(&["CLUSTER", "REPLICATE", &id]).await;
        }
        for node in &self.nodes {
            until("a cluster in service", async || {
                let info: String = node.run(&["CLUSTER", "INFO"]).await;
                let nodes: String = node.run(&["CLUSTER", "NODES"]).await;
                let link: String = node.run(&["INFO", "replication"]).await;
                info.contains("cluster_state:ok")
                    && nodes.matches(" connected").count() == count
                    && nodes.matches("slave").count() == count - MASTERS
                    && !link.contains("master_link_status:down")
            })
            .await;
        }
    }

    /// The address to connect to: two of the masters.
    pub fn url(&self) -> String {
        format!(
            "redis://127.0.0.1:{},127.0.0.1:{}",
            self.nodes[0].port, self.nodes[1].port
        )
    }

    /// The slot of a room.
    ///
    /// # Panics
    ///
    /// Where no server answers.
    pub async fn slot(&self, code: RoomCode) -> usize {
        let key = format!("room:{{{code}}}");
        for node in &self.nodes {
            // Any server knows that, and some may have been killed.
            if let Ok(slot) = node.try_run(&["CLUSTER", "KEYSLOT", &key]).await {
                return slot;
            }
        }
        panic!("no server of the cluster answers");
    }

    /// Which of the masters a room was on in the beginning.
    pub async fn master_of(&self, code: RoomCode) -> usize {
        self.master_of_slot(self.slot(code).await)
    }

    /// Which of the masters a slot was on in the beginning.
    pub fn master_of_slot(&self, slot: usize) -> usize {
        (slot / SLOTS_EACH).min(MASTERS - 1)
    }

    /// The first code whose slot is a wanted one.
    ///
    /// # Panics
    ///
    /// Where no code has one.
    pub async fn code_where(&self, wanted: impl Fn(usize) -> bool) -> RoomCode {
        let mut next = RoomCode::FIRST;
        loop {
            let code = RoomCode::from_number(next).expect("a code");
            if wanted(self.slot(code).await) {
                return code;
            }
            next += 1;
        }
    }

    /// So many codes of one range of 64 slots.
    ///
    /// # Panics
    ///
    /// Where there are not so many.
    pub async fn codes_of_one_range(&self, count: usize) -> Vec<RoomCode> {
        let mut ranges: HashMap<usize, Vec<RoomCode>> = HashMap::new();
        let mut next = RoomCode::FIRST;
        loop {
            let code = RoomCode::from_number(next).expect("a code");
            let range = ranges.entry(self.slot(code).await / 64).or_default();
            range.push(code);
            if range.len() == count {
                return range.clone();
            }
            next += 1;
        }
    }

    /// The first codes of rooms that are on each of the masters.
    ///
    /// # Panics
    ///
    /// Never: they are within a dozen.
    pub async fn one_code_each(&self) -> [RoomCode; MASTERS] {
        let mut codes = [None; MASTERS];
        let mut next = RoomCode::FIRST;
        while codes.contains(&None) {
            let code = RoomCode::from_number(next).expect("a code");
            codes[self.master_of(code).await].get_or_insert(code);
            next += 1;
        }
        codes.map(|code| code.expect("a code"))
    }

    /// Ends a master that has a replica at once, as a crash would.
    pub async fn kill(&mut self, master: usize) {
        let (masters, replicas) = self.nodes.split_at_mut(MASTERS);
        kill_master(&mut masters[master], &replicas[master]).await;
    }

    /// Ends a master that has no replica at once: its rooms are away from now on.
    pub fn lose(&mut self, master: usize) {
        self.nodes[master].kill();
    }

    /// Starts a master that was lost again, on nothing: these servers keep no file.
    pub async fn find_again(&mut self, master: usize) {
        self.nodes[master].restart(self.data.path()).await;
        until("that it is in service", async || {
            let info: String = self.nodes[master].run(&["CLUSTER", "INFO"]).await;
            info.contains("cluster_state:ok")
        })
        .await;
    }

    /// Stops a master as it is, until it goes on: it answers nothing, and closes nothing.
    pub fn freeze(&self, master: usize) {
        signal(self.nodes[master].pid(), "STOP");
    }

    /// Lets a master go on that was stopped.
    pub fn thaw(&self, master: usize) {
        signal(self.nodes[master].pid(), "CONT");
    }

    /// Runs one command at a master, given as its words.
    pub async fn run<T: FromRedisValue>(&self, master: usize, words: &[&str]) -> T {
        self.nodes[master].run(words).await
    }

    /// Lets a master that has a replica change places with it.
    pub async fn hand_over(&self, master: usize) {
        let replica = &self.nodes[MASTERS + master];
        let _: () = replica.run(&["CLUSTER", "FAILOVER"]).await;
        until("the other role", async || {
            let info: String = replica.run(&["INFO", "replication"]).await;
            info.contains("role:master")
        })
        .await;
    }

    /// Lets all nodes forget their scripts.
    pub async fn forget_scripts(&self) {
        for node in &self.nodes {
            let _: () = node.run(&["SCRIPT", "FLUSH"]).await;
        }
    }

    /// Begins to move a room's slot to another master.
    pub async fn begin_to_move(&self, code: RoomCode, to: usize) {
        let from = self.master_of(code).await;
        let slot = self.slot(code).await.to_string();
        let from_id: String = self.nodes[from].run(&["CLUSTER", "MYID"]).await;
        let to_id: String = self.nodes[to].run(&["CLUSTER", "MYID"]).await;
        let _: () = self.nodes[to]
            .run(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id])
            .await;
        let _: () = self.nodes[from]
            .run(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id])
            .await;
    }

    /// Moves what is in the slot, and the slot.
    pub async fn finish_the_move(&self, code: RoomCode, to: usize) {
        let from = self.master_of(code).await;
        let slot = self.slot(code).await.to_string();
        let keys: Vec<String> = self.nodes[from]
            .run(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"])
            .await;
        let port = self.nodes[to].port.to_string();
        let mut words = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
        words.extend(keys.iter().map(String::as_str));
        let _: () = self.nodes[from].run(&words).await;
        let id: String = self.nodes[to].run(&["CLUSTER", "MYID"]).await;
        for master in [to, from] {
            let _: () = self.nodes[master]
                .run(&["CLUSTER", "SETSLOT", &slot, "NODE", &id])
                .await;
        }
    }
}

fn signal(pid: u32, name: &str) {
    let sent = std::process::Command::new("kill")
        .args([format!("-{name}"), pid.to_string()])
        .status()
        .expect("kill is installed");
    assert!(sent.success(), "the server runs");
}

fn arguments(port: u16, bus: u16, node_timeout: &str) -> Vec<String> {
    let config = format!("nodes-{port}.conf");
    [
        ("--port", port.to_string().as_str()),
        ("--bind", "127.0.0.1"),
        ("--save", ""),
        ("--cluster-enabled", "yes"),
        ("--cluster-port", &bus.to_string()),
        ("--cluster-config-file", &config),
        ("--cluster-node-timeout", node_timeout),
        // A shard that is down does not stop the others.
        ("--cluster-require-full-coverage", "no"),
        ("--repl-diskless-sync-delay", "0"),
    ]
    .into_iter()
    .flat_map(|(name, value)| [name.to_owned(), value.to_owned()])
    .collect()
}

/// The port of the cluster's bus, from `id host:port@bus flags …`.
fn bus_port(nodes: &str) -> &str {
    nodes
        .split_once('@')
        .and_then(|(_, rest)| rest.split([' ', ',']).next())
        .expect("a line of CLUSTER NODES")
}
