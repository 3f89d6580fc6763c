use std::{
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, FromRedisValue, RedisError, RedisResult,
    aio::MultiplexedConnection,
};
use uuid::Uuid;

use crate::{DEADLINE, soon};

/// A `redis-server` of a test's own, which ends with it.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) port: u16,
    arguments: Vec<String>,
    child: Child,
    connection: MultiplexedConnection,
}

impl Process {
    /// Starts a server with the arguments for a port and another free one, and
    /// waits until it answers.
    pub(crate) async fn start(data: &Path, arguments: impl Fn(u16, u16) -> Vec<String>) -> Self {
        // Another process may take a port meanwhile; then the server ends, and
        // others are tried.
        for _ in 0..10 {
            let (port, second) = (free_port(), free_port());
            let arguments = arguments(port, second);
            let mut child = spawn(data, &arguments);
            if let Some(connection) = connect(port, &mut child).await {
                return Self {
                    port,
                    arguments,
                    child,
                    connection,
                };
            }
            end(&mut child);
        }
        panic!("redis-server did not start; is it installed?");
    }

    /// The process's id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends the server at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("the server runs");
        self.child.wait().expect("the server ends");
    }

    /// Starts a server that was killed again, on what it had stored.
    pub(crate) async fn restart(&mut self, data: &Path) {
        self.child = spawn(data, &self.arguments);
        self.connection = connect(self.port, &mut self.child)
            .await
            .expect("redis-server starts again");
    }

    /// Runs one command, given as its words.
    pub(crate) async fn try_run<T: FromRedisValue>(&self, words: &[&str]) -> Result<T, RedisError> {
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command.query_async(&mut self.connection.clone()).await
    }

    /// Runs one command that the server takes.
    pub(crate) async fn run<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_run(words)
            .await
            .unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn spawn(data: &Path, arguments: &[String]) -> Child {
    Command::new("redis-server")
        .args(arguments)
        .arg("--dir")
        .arg(data)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed")
}

fn end(child: &mut Child) {
    // One that was killed has been waited for already.
    if child.kill().is_ok() {
        drop(child.wait());
    }
}

/// A port below those that the system gives to outgoing connections: one of these
/// may be taken between here and the server's start.
fn free_port() -> u16 {
    loop {
        let chance = Uuid::new_v4().as_u128() % 12_000;
        let port = 20_000 + u16::try_from(chance).expect("a small number");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// A connection as patient as the tests are: a machine may be held up.
pub(crate) async fn open(port: u16) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(DEADLINE))
        .set_response_timeout(Some(DEADLINE));
    Client::open(format!("redis://127.0.0.1:{port}"))?
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

/// A connection to the server of this process, once it serves.
async fn connect(port: u16, child: &mut Child) -> Option<MultiplexedConnection> {
    let ours = format!("process_id:{}\r", child.id());
    let connecting = async {
        while matches!(child.try_wait(), Ok(None)) {
            if let Ok(mut connection) = open(port).await
                // Not while it loads what it had stored.
                && redis::cmd("PING").query_async::<()>(&mut connection).await.is_ok()
                && let Ok(info) = redis::cmd("INFO")
                    .arg("server")
                    .query_async::<String>(&mut connection)
                    .await
            {
                return info.contains(&ours).then_some(connection);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        None
    };
    soon("a redis-server", connecting).await
}

/// Ends a master at once, as a crash would, when its replica has what it has:
/// Redis promises no more than that.
pub(crate) async fn kill_master(master: &mut Process, replica: &Process) {
    let field = |info: String, name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.parse::<u64>().ok())
    };
    until("a replica in step", async || {
        let ours = field(
            master.run(&["INFO", "replication"]).await,
            "master_repl_offset:",
        );
        let theirs = field(
            replica.run(&["INFO", "replication"]).await,
            "slave_repl_offset:",
        );
        ours.is_some() && ours == theirs
    })
    .await;
    master.kill();
}

/// Asks again until the answer is the wanted one.
pub(crate) async fn until(what: &str, mut wanted: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !wanted().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(what, asking).await;
}
