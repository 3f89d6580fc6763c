use redis::FromRedisValue;
use tempfile::TempDir;

use crate::process::{Process, kill_master, until};

/// A master with a replica and the sentinel that watches them, of a test's own.
#[derive(Debug)]
pub struct RedisSentinel {
    master: Process,
    replica: Process,
    sentinel: Process,
    _data: TempDir,
}

impl RedisSentinel {
    /// Starts all three.
    ///
    /// # Panics
    ///
    /// Where they do not come up.
    pub async fn start() -> Self {
        let data = tempfile::tempdir().expect("a temporary directory");
        let master = Process::start(data.path(), |port, _| server(port, None)).await;
        let replica = Process::start(data.path(), |port, _| server(port, Some(master.port))).await;
        until("a replica in step", async || {
            let info: String = replica.run(&["INFO", "replication"]).await;
            info.contains("master_link_status:up")
        })
        .await;
        let sentinel = Process::start(data.path(), |port, _| {
            let file = data.path().join(format!("sentinel-{port}.conf"));
            let settings = format!(
                "port {port}\nbind 127.0.0.1\n\
                 sentinel monitor rooms 127.0.0.1 {} 1\n\
                 sentinel down-after-milliseconds rooms 1000\n\
                 sentinel failover-timeout rooms 5000\n",
                master.port
            );
            std::fs::write(&file, settings).expect("a temporary file");
            vec![file.display().to_string(), "--sentinel".to_owned()]
        })
        .await;
        until("that the sentinel knows the replica", async || {
            let info: String = sentinel.run(&["INFO", "sentinel"]).await;
            info.contains("status=ok") && info.contains("slaves=1")
        })
        .await;
        Self {
            master,
            replica,
            sentinel,
            _data: data,
        }
    }

    /// The address to connect to.
    pub fn url(&self) -> String {
        format!("redis+sentinel://127.0.0.1:{}/rooms", self.sentinel.port)
    }

    /// Runs one command at the master, given as its words.
    pub async fn run<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.master.run(words).await
    }

    /// Ends the master at once, as a crash would.
    pub async fn kill_master(&mut self) {
        kill_master(&mut self.master, &self.replica).await;
    }
}

fn server(port: u16, master: Option<u16>) -> Vec<String> {
    let mut words: Vec<String> = ["--bind", "127.0.0.1", "--save", ""]
        .map(ToOwned::to_owned)
        .into();
    words.extend(["--repl-diskless-sync-delay".to_owned(), "0".to_owned()]);
    words.extend(["--dbfilename".to_owned(), format!("dump-{port}.rdb")]);
    words.extend(["--port".to_owned(), port.to_string()]);
    if let Some(master) = master {
        words.extend(["--replicaof".to_owned(), format!("127.0.0.1 {master}")]);
    }
    words
}
