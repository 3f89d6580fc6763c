//! Each call one at a time, against the release binary and a Redis with an
//! append-only file; then messages, as many at once as said, on both stores.
//! Prints tables in Markdown.

#![expect(clippy::print_stdout, reason = "the table is what it is for")]
#![expect(clippy::unwrap_used, reason = "in a bench a panic is the report")]

use std::{
    future::Future,
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use roomkeeper_proto::v1::{self as proto, room_service_client::RoomServiceClient};
use roomkeeper_tests::{RedisServer, soon};
use tonic::{Code, transport::Channel};

/// How often each call is measured, after a tenth of that to warm up.
const CALLS: usize = 2_000;

/// What the design expects of a call's median, in milliseconds.
struct Row {
    call: &'static str,
    expected: &'static str,
    times: Vec<Duration>,
}

struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::main]
async fn main() {
    let redis = RedisServer::start().await;
    let (_service, mut client) = start("REDIS_URL", &redis.url()).await;
    let mut rows = Vec::new();

    rows.push(
        measure("CreateRoom", "1–2", &client, async |client, _| {
            client.create_room(new_room(10)).await.unwrap();
        })
        .await,
    );

    let code = create(&mut client, 10_000).await;
    let room = || code.clone();
    for i in 0..100 {
        client.save_message(said(&room(), i)).await.unwrap();
    }
    let board = (0..40).map(|i| element(i, 1)).collect();
    client.save_whiteboard(drawn(&room(), board)).await.unwrap();

    rows.push(
        measure("GetRoom", "< 1", &client, async |client, _| {
            client
                .get_room(proto::GetRoomRequest { room_code: room() })
                .await
                .unwrap();
        })
        .await,
    );
    rows.push(
        measure(
            "SaveMessage, 300 bytes",
            "1–2",
            &client,
            async |client, i| {
                client.save_message(said(&room(), i)).await.unwrap();
            },
        )
        .await,
    );
    rows.push(
        measure("ListMessages, 50", "3–5", &client, async |client, _| {
            let request = proto::ListMessagesRequest {
                room_code: room(),
                ..Default::default()
            };
            assert_eq!(
                client
                    .list_messages(request)
                    .await
                    .unwrap()
                    .into_inner()
                    .messages
                    .len(),
                50
            );
        })
        .await,
    );
    rows.push(
        measure(
            "SaveWhiteboard, 40 elements, 12 KB",
            "2–3",
            &client,
            async |client, i| {
                let board = (0..40).map(|e| element(e, i + 2)).collect();
                client.save_whiteboard(drawn(&room(), board)).await.unwrap();
            },
        )
        .await,
    );
    rows.push(
        measure(
            "GetWhiteboard, the same",
            "1–2",
            &client,
            async |client, _| {
                let request = proto::GetWhiteboardRequest {
                    room_code: room(),
                    after: None,
                };
                assert_eq!(
                    client
                        .get_whiteboard(request)
                        .await
                        .unwrap()
                        .into_inner()
                        .elements
                        .len(),
                    40
                );
            },
        )
        .await,
    );

    let small = create(&mut client, 10_000).await;
    rows.push(
        measure(
            "JoinRoom, a room without history",
            "1",
            &client,
            async |client, i| {
                client
                    .join_room(joining(&small, &format!("user-{i}")))
                    .await
                    .unwrap();
                let leave = proto::LeaveRoomRequest {
                    room_code: small.clone(),
                    user_id: format!("user-{i}"),
                    session_id: String::new(),
                };
                client.leave_room(leave).await.unwrap();
            },
        )
        .await,
    );
    // A join and a leave were measured together: one is half of it.
    if let Some(row) = rows.last_mut() {
        row.call = "JoinRoom or LeaveRoom, half of both";
        row.times.iter_mut().for_each(|time| *time /= 2);
    }
    rows.push(
        measure(
            "JoinRoom, 50 messages and 40 elements",
            "5–10",
            &client,
            async |client, _| {
                client.join_room(joining(&room(), "visitor")).await.unwrap();
            },
        )
        .await,
    );

    println!("| call | p50 ms | p99 ms | expected p50 |\n| --- | --- | --- | --- |");
    for mut row in rows {
        row.times.sort_unstable();
        let at = |percent: usize| row.times[row.times.len() * percent / 100].as_secs_f64() * 1e3;
        println!(
            "| {} | {:.2} | {:.2} | {} |",
            row.call,
            at(50),
            at(99),
            row.expected
        );
    }
    compare_stores(&redis, client).await;
}

/// How long messages are saved for one line of the comparison.
const SAVING: Duration = Duration::from_secs(3);

/// Over how many rooms they are spread.
const ROOMS: usize = 100;

/// Saves messages on both stores in turn, so that what else the machine does
/// concerns all alike.
async fn compare_stores(redis: &RedisServer, on_redis: RoomServiceClient<Channel>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let (_service, in_file) = start("PERSISTENCE_DATA_DIR", path).await;
    let mut stores = Vec::new();
    for (store, fsync, mut client) in [
        (
            "Redis, `appendfsync everysec`",
            Some("everysec"),
            on_redis.clone(),
        ),
        ("Redis, `appendfsync always`", Some("always"), on_redis),
        ("the file, each commit", None, in_file),
    ] {
        let mut rooms = Vec::new();
        for _ in 0..ROOMS {
            rooms.push(create(&mut client, 10).await);
        }
        stores.push((store, fsync, client, rooms));
    }
    println!("\n| store, and its `fsync` | at once | SaveMessage a second | p50 ms | p99 ms |");
    println!("| --- | --- | --- | --- | --- |");
    for at_once in [1, 64, 256] {
        for (store, fsync, client, rooms) in &stores {
            if let Some(fsync) = fsync {
                let set = ["CONFIG", "SET", "appendfsync", fsync];
                redis.run::<String>(&set).await;
            }
            let (rate, p50, p99) = save_at_once(client, rooms, at_once).await;
            println!("| {store} | {at_once} | {rate:.0} | {p50:.2} | {p99:.2} |");
        }
    }
}

/// Messages a second, and the median and the 99th percentile of how long one
/// takes, in milliseconds; each of so many callers waits for its answer.
async fn save_at_once(
    client: &RoomServiceClient<Channel>,
    rooms: &[String],
    at_once: usize,
) -> (f64, f64, f64) {
    let begun = Instant::now();
    let callers: Vec<_> = (0..at_once)
        .map(|caller| {
            let (mut client, rooms) = (client.clone(), rooms.to_vec());
            tokio::spawn(async move {
                let mut times = Vec::new();
                while begun.elapsed() < SAVING {
                    let room = &rooms[(caller + times.len()) % rooms.len()];
                    let sent = Instant::now();
                    client.save_message(said(room, times.len())).await.unwrap();
                    times.push(sent.elapsed());
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for caller in callers {
        times.extend(caller.await.unwrap());
    }
    let seconds = begun.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |percent: usize| times[times.len() * percent / 100].as_secs_f64() * 1e3;
    let rate = f64::from(u32::try_from(times.len()).unwrap()) / seconds;
    (rate, at(50), at(99))
}

async fn measure<F>(
    call: &'static str,
    expected: &'static str,
    client: &RoomServiceClient<Channel>,
    mut run: F,
) -> Row
where
    F: AsyncFnMut(&mut RoomServiceClient<Channel>, usize),
{
    let mut client = client.clone();
    let mut times = Vec::with_capacity(CALLS);
    for i in 0..CALLS + CALLS / 10 {
        let begun = Instant::now();
        run(&mut client, i).await;
        if i >= CALLS / 10 {
            times.push(begun.elapsed());
        }
    }
    Row {
        call,
        expected,
        times,
    }
}

/// Starts the service on a store that this setting names.
async fn start(setting: &str, store: &str) -> (Service, RoomServiceClient<Channel>) {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let address = format!("127.0.0.1:{port}");
    let process = Command::new(binary())
        .env(setting, store)
        .env("PERSISTENCE_LISTEN", &address)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the release binary is built; run `make build`");
    let service = Service(process);
    let ready = async {
        let mut client = loop {
            if let Ok(client) = RoomServiceClient::connect(format!("http://{address}")).await {
                break client;
            }
            pause().await;
        };
        let nobody = proto::GetRoomRequest {
            room_code: "000000".to_owned(),
        };
        while client
            .get_room(nobody.clone())
            .await
            .err()
            .map(|e| e.code())
            != Some(Code::NotFound)
        {
            pause().await;
        }
        client
    };
    let client = soon("the service", ready).await;
    (service, client)
}

fn pause() -> impl Future<Output = ()> {
    tokio::time::sleep(Duration::from_millis(10))
}

/// The bench itself runs from the target directory.
fn binary() -> PathBuf {
    let bench = std::env::current_exe().unwrap();
    bench
        .ancestors()
        .nth(2)
        .unwrap()
        .join("persistence-service")
}

fn new_room(seats: u32) -> proto::CreateRoomRequest {
    proto::CreateRoomRequest {
        name: "A room".to_owned(),
        created_by: "Ann".to_owned(),
        max_participants: Some(seats),
        request_id: String::new(),
    }
}

async fn create(client: &mut RoomServiceClient<Channel>, seats: u32) -> String {
    client
        .create_room(new_room(seats))
        .await
        .unwrap()
        .into_inner()
        .room
        .unwrap()
        .code
}

fn joining(code: &str, user: &str) -> proto::JoinRoomRequest {
    proto::JoinRoomRequest {
        room_code: code.to_owned(),
        user_id: user.to_owned(),
        username: user.to_owned(),
        ..Default::default()
    }
}

fn said(code: &str, i: usize) -> proto::SaveMessageRequest {
    proto::SaveMessageRequest {
        room_code: code.to_owned(),
        user_id: "ann".to_owned(),
        username: "Ann".to_owned(),
        text: format!("{i:0>300}"),
        ..Default::default()
    }
}

fn element(i: usize, version: usize) -> proto::Element {
    let json = format!(
        r#"{{"id":"element-{i}","type":"rectangle","version":{version},"versionNonce":7,"text":"{}"}}"#,
        "x".repeat(220)
    );
    proto::Element {
        json,
        ..Default::default()
    }
}

fn drawn(code: &str, elements: Vec<proto::Element>) -> proto::SaveWhiteboardRequest {
    proto::SaveWhiteboardRequest {
        room_code: code.to_owned(),
        user_id: "ann".to_owned(),
        elements,
        ..Default::default()
    }
}
