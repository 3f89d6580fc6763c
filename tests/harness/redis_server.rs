use std::{
    net::{Ipv4Addr, TcpListener},
    process::{Child, Command, Stdio},
    time::Duration,
};

use redis::{Client, FromRedisValue, aio::MultiplexedConnection};
use tempfile::TempDir;

/// A Redis of a test's own, which ends with it.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    data: TempDir,
    process: Child,
}

impl RedisServer {
    /// Starts a server that keeps an append-only file, and waits until it answers.
    ///
    /// # Panics
    ///
    /// Where there is no `redis-server`, or it does not start.
    pub async fn start() -> Self {
        let data = tempfile::tempdir().expect("a temporary directory");
        // Another process may take the port meanwhile; then the server does not
        // answer with our name and another port is tried.
        for _ in 0..10 {
            let port = free_port();
            let mut process = spawn(port, &data);
            if is_up(port, &mut process).await {
                return Self {
                    port,
                    data,
                    process,
                };
            }
        }
        panic!("redis-server did not start; is it installed?");
    }

    /// The address to connect to.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The port it listens at.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Ends the server at once, as a crash would.
    ///
    /// # Panics
    ///
    /// Where it is not running.
    pub fn kill(&mut self) {
        self.process.kill().expect("the server runs");
        self.process.wait().expect("the server ends");
    }

    /// Starts the server again on what it had stored.
    ///
    /// # Panics
    ///
    /// Where it does not start.
    pub async fn restart(&mut self) {
        self.process = spawn(self.port, &self.data);
        assert!(
            is_up(self.port, &mut self.process).await,
            "redis-server starts again"
        );
    }

    /// A connection of the test's own.
    ///
    /// # Panics
    ///
    /// Where the server does not answer.
    pub async fn connection(&self) -> MultiplexedConnection {
        let client = Client::open(self.url()).expect("an address");
        client
            .get_multiplexed_async_connection()
            .await
            .expect("the server answers")
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

impl Drop for RedisServer {
    fn drop(&mut self) {
        // A test that killed it has waited for its end already.
        if self.process.kill().is_ok() {
            drop(self.process.wait());
        }
    }
}

fn free_port() -> u16 {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    socket.local_addr().expect("an address").port()
}

fn spawn(port: u16, data: &TempDir) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args([
            "--appendonly",
            "yes",
            "--appendfsync",
            "everysec",
            "--save",
            "",
        ])
        .args(["--enable-debug-command", "yes"])
        .arg("--dir")
        .arg(data.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed")
}

/// Whether the server of this process answers.
async fn is_up(port: u16, process: &mut Child) -> bool {
    let client = Client::open(format!("redis://127.0.0.1:{port}")).expect("an address");
    for _ in 0..200 {
        if !matches!(process.try_wait(), Ok(None)) {
            return false;
        }
        if let Ok(mut connection) = client.get_multiplexed_async_connection().await
            && redis::cmd("PING")
                .query_async::<()>(&mut connection)
                .await
                .is_ok()
        {
            let info: String = redis::cmd("INFO")
                .arg("server")
                .query_async(&mut connection)
                .await
                .unwrap_or_default();
            return info.contains(&format!("process_id:{}\r", process.id()));
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    false
}
