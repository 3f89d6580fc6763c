//! The programs under test: ours and the baseline, each with a Redis of its own with the
//! same settings.

use std::{
    env,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use roomkeeper_proto::v1::room_service_client::RoomServiceClient;
use roomkeeper_tests::{RedisServer, soon};
use tonic::transport::Channel;

use crate::machine::{cpu_time, resident};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    Baseline,
}

/// Both, ours first.
pub(crate) const BOTH: [Kind; 2] = [Kind::Ours, Kind::Baseline];

/// A process that ends with this.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    child: Child,
}

impl Program {
    pub(crate) fn start(name: &'static str, command: &mut Command) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}; run `make build`"));
        Self { name, child }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// One of the two, running.
pub(crate) struct Servers {
    pub(crate) address: SocketAddr,
    pub(crate) programs: Vec<Program>,
    pub(crate) redis: RedisServer,
    grpc: Option<String>,
}

impl Servers {
    pub(crate) async fn start(kind: Kind) -> Self {
        let redis = RedisServer::start().await;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let mut programs = Vec::new();
        let mut grpc = None;
        match kind {
            Kind::Ours => {
                let listen = format!("127.0.0.1:{}", free_port());
                programs.push(Program::start(
                    "persistence-service",
                    &mut service(&redis.url(), &listen),
                ));
                let url = format!("http://{listen}");
                programs.push(Program::start(
                    "edge-gateway",
                    Command::new(binary("edge-gateway"))
                        .current_dir(env::temp_dir())
                        .env("GATEWAY_LISTEN", address.to_string())
                        .env("GATEWAY_PERSISTENCE_URL", &url),
                ));
                grpc = Some(url);
            }
            Kind::Baseline => {
                let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/baseline");
                programs.push(Program::start(
                    "node",
                    Command::new("node")
                        .arg("server.mjs")
                        .current_dir(folder)
                        .env("NODE_ENV", "production")
                        .env("REDIS_URL", redis.url())
                        .env("BASELINE_LISTEN", address.to_string()),
                ));
            }
        }
        let servers = Self {
            address,
            programs,
            redis,
            grpc,
        };
        let path = match kind {
            Kind::Ours => "/readyz",
            Kind::Baseline => "/healthz",
        };
        let ready = async {
            while !servers.answers(path) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        soon("that the servers are ready", ready).await;
        servers
    }

    /// The CPU time of all processes together, Redis's too.
    pub(crate) fn cpu(&self) -> Duration {
        let programs: Duration = self.programs.iter().map(|p| cpu_time(p.pid())).sum();
        programs + cpu_time(self.redis.pid())
    }

    /// The CPU time of each process, by name.
    pub(crate) fn cpu_of_each(&self) -> Vec<(&'static str, Duration)> {
        let programs = self.programs.iter().map(|p| (p.name, cpu_time(p.pid())));
        programs
            .chain([("redis-server", cpu_time(self.redis.pid()))])
            .collect()
    }

    /// The resident memory of the programs, without Redis, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        self.programs.iter().map(|p| resident(p.pid())).sum()
    }

    /// A client of the service.
    pub(crate) async fn grpc(&self) -> RoomServiceClient<Channel> {
        let url = self.grpc.clone().expect("ours speaks gRPC");
        RoomServiceClient::connect(url).await.unwrap()
    }

    /// Creates a room and returns its code.
    pub(crate) fn create_room(&self, seats: u32) -> String {
        let body = format!(r#"{{"name":"A room","createdBy":"Ann","maxParticipants":{seats}}}"#);
        let answer = self.http(&format!(
            "POST /api/rooms HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ));
        let answer = answer.unwrap();
        let (_, rest) = answer.split_once(r#""code":""#).unwrap();
        rest[..6].to_owned()
    }

    fn answers(&self, path: &str) -> bool {
        self.http(&format!(
            "GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n"
        ))
        .is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    fn http(&self, request: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }
}

/// A service that keeps its rooms in this Redis.
pub(crate) fn service(redis: &str, listen: &str) -> Command {
    let mut command = Command::new(binary("persistence-service"));
    command
        .current_dir(env::temp_dir())
        .env("REDIS_URL", redis)
        .env("PERSISTENCE_LISTEN", listen);
    command
}

pub(crate) fn free_port() -> u16 {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.local_addr().unwrap().port()
}

/// A release binary, of BENCH_BINARIES if that is set (to compare two builds); the bench
/// itself runs from the target directory.
pub(crate) fn binary(name: &str) -> PathBuf {
    if let Some(folder) = env::var_os("BENCH_BINARIES") {
        return PathBuf::from(folder).join(name);
    }
    let bench = env::current_exe().unwrap();
    bench.ancestors().nth(2).unwrap().join(name)
}
