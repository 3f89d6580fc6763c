use redis::{FromRedisValue, aio::MultiplexedConnection};
use tempfile::TempDir;

use crate::process::{Process, open};

/// A Redis of a test's own, which ends with it.
#[derive(Debug)]
pub struct RedisServer {
    process: Process,
    data: TempDir,
}

impl RedisServer {
    /// Starts a server that keeps an append-only file, and waits until it answers.
    ///
    /// # Panics
    ///
    /// Where there is no `redis-server`, or it does not start.
    pub async fn start() -> Self {
        let data = tempfile::tempdir().expect("a temporary directory");
        let process = Process::start(data.path(), |port, _| arguments(port)).await;
        Self { process, data }
    }

    /// The address to connect to.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port())
    }

    /// The port it listens at.
    pub fn port(&self) -> u16 {
        self.process.port
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Ends the server at once, as a crash would. With `everysec` Redis keeps to itself
    /// what it acknowledges while an fsync lasts; without, the system has it all.
    ///
    /// # Panics
    ///
    /// Where it is not running.
    pub async fn kill(&mut self) {
        let _: () = self
            .process
            .run(&["CONFIG", "SET", "appendfsync", "no"])
            .await;
        self.process.kill();
    }

    /// Starts the server again on what it had stored.
    ///
    /// # Panics
    ///
    /// Where it does not start.
    pub async fn restart(&mut self) {
        self.process.restart(self.data.path()).await;
    }

    /// A connection of the test's own.
    ///
    /// # Panics
    ///
    /// Where the server does not answer.
    pub async fn connection(&self) -> MultiplexedConnection {
        open(self.port()).await.expect("the server answers")
    }

    /// Runs one command, given as its words.
    ///
    /// # Panics
    ///
    /// Where the server refuses it.
    pub async fn run<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command
            .query_async(&mut self.connection().await)
            .await
            .unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }
}

fn arguments(port: u16) -> Vec<String> {
    let port = port.to_string();
    [
        ("--port", port.as_str()),
        ("--bind", "127.0.0.1"),
        ("--appendonly", "yes"),
        ("--appendfsync", "everysec"),
        ("--save", ""),
        ("--enable-debug-command", "yes"),
    ]
    .into_iter()
    .flat_map(|(name, value)| [name.to_owned(), value.to_owned()])
    .collect()
}
