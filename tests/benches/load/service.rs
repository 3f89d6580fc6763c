//! The service alone, by gRPC, and what limits it: its script, driven straight.

use std::{
    cell::Cell,
    process::Command,
    rc::Rc,
    time::{Duration, Instant},
};

use edge_gateway::persistence::Persistence;
use redis::aio::MultiplexedConnection;
use roomkeeper_common::tasks::Tasks;
use roomkeeper_proto::v1::{self as proto, room_service_client::RoomServiceClient};
use roomkeeper_tests::{RedisServer, soon};
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use tonic::{Code, transport::Channel};
use uuid::Uuid;

use crate::{
    content,
    machine::cpu_time,
    servers::{Program, binary, free_port, service},
};

/// Calls under way at once.
const IN_FLIGHT: usize = 256;

/// A service of its own, and its Redis.
pub(crate) struct Service {
    pub(crate) client: RoomServiceClient<Channel>,
    /// The gateway's client.
    gateway: Persistence,
    program: Program,
    pub(crate) redis: RedisServer,
}

impl Service {
    pub(crate) async fn start() -> Self {
        let redis = RedisServer::start().await;
        let listen = format!("127.0.0.1:{}", free_port());
        let program = Program::start("persistence-service", &mut service(&redis.url(), &listen));
        let client = connect(&listen).await;
        let url = format!("http://{listen}").parse().unwrap();
        let tasks = Tasks::until(CancellationToken::new());
        Self {
            client,
            gateway: Persistence::new(&url, &tasks).unwrap(),
            program,
            redis,
        }
    }

    pub(crate) async fn rooms(&self, count: usize) -> Vec<String> {
        create_rooms(&self.client, count).await
    }
}

/// Creates many rooms, several at once.
pub(crate) async fn create_rooms(client: &RoomServiceClient<Channel>, count: usize) -> Vec<String> {
    let mut codes = Vec::with_capacity(count);
    let mut creating = JoinSet::new();
    while codes.len() < count {
        if codes.len() + creating.len() < count && creating.len() < IN_FLIGHT {
            let mut client = client.clone();
            creating.spawn_local(async move {
                let room = proto::CreateRoomRequest {
                    name: "A room".to_owned(),
                    created_by: "Ann".to_owned(),
                    max_participants: Some(10_000),
                    request_id: String::new(),
                };
                let created = client.create_room(room).await.unwrap();
                created.into_inner().room.unwrap().code
            });
        } else {
            codes.push(creating.join_next().await.unwrap().unwrap());
        }
    }
    codes
}

async fn connect(listen: &str) -> RoomServiceClient<Channel> {
    let ready = async {
        loop {
            if let Ok(mut client) = RoomServiceClient::connect(format!("http://{listen}")).await {
                let nobody = proto::GetRoomRequest {
                    room_code: "000000".to_owned(),
                };
                if client.get_room(nobody).await.err().map(|e| e.code()) == Some(Code::NotFound) {
                    return client;
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    soon("the service", ready).await
}

fn said(room: &str, number: u64) -> proto::SaveMessageRequest {
    saying(room, content::text(0, number, 0))
}

fn saying(room: &str, text: String) -> proto::SaveMessageRequest {
    proto::SaveMessageRequest {
        room_code: room.to_owned(),
        user_id: "ann".to_owned(),
        username: "Ann".to_owned(),
        text,
        ..Default::default()
    }
}

/// How many calls a second, and what they cost.
pub(crate) struct Throughput {
    pub(crate) per_second: f64,
    pub(crate) cpu_of_service: Duration,
    pub(crate) cpu_of_redis: Duration,
    pub(crate) cpu_of_generator: Duration,
}

/// Saves messages through the service, 256 at a time, round the rooms.
pub(crate) async fn save_messages(
    service: &Service,
    rooms: &[String],
    window: Duration,
) -> Throughput {
    let client = service.client.clone();
    let pids = (Some(service.program.pid()), service.redis.pid());
    keep_in_flight(window, pids, rooms, move |room, number| {
        let mut client = client.clone();
        async move {
            client.save_message(said(&room, number)).await.unwrap();
        }
    })
    .await
}

/// The same as a gateway does it: on the stream that all small calls share.
pub(crate) async fn pipeline_messages(
    service: &Service,
    rooms: &[String],
    window: Duration,
) -> Throughput {
    let gateway = service.gateway.clone();
    let pids = (Some(service.program.pid()), service.redis.pid());
    keep_in_flight(window, pids, rooms, move |room, number| {
        let gateway = gateway.clone();
        async move {
            gateway.save_message(said(&room, number)).await.unwrap();
        }
    })
    .await
}

/// The script that saves a message, as the service sends it.
pub(crate) struct Script {
    script: redis::Script,
    connection: MultiplexedConnection,
}

impl Script {
    pub(crate) async fn load(redis: &RedisServer) -> Self {
        macro_rules! lua {
            ($($part:literal),+) => {
                concat!($(include_str!(concat!(
                    "../../../persistence-service/src/repository/redis/lua/", $part, ".lua"
                )), "\n"),+)
            };
        }
        let lua = lua!(
            "prelude",
            "changing",
            "requests",
            "membership",
            "message",
            "save_message"
        );
        Self {
            script: redis::Script::new(lua),
            connection: redis.connection().await,
        }
    }
}

/// Runs the script that saves a message on one connection, 256 at a time.
pub(crate) async fn run_script(
    script: Rc<Script>,
    redis: &RedisServer,
    rooms: &[String],
    window: Duration,
) -> Throughput {
    keep_in_flight(window, (None, redis.pid()), rooms, move |room, number| {
        let script = script.clone();
        async move {
            let key = format!("room:{{{room}}}");
            let part = |name: &str| format!("{key}:{name}");
            let id = Uuid::new_v4();
            let text = content::text(0, number, 0);
            let head = format!(
                r#"{{"id":"{id}","roomId":"{room}","userId":"ann","username":"Ann","message":"{text}","timestamp":"#
            );
            let mut connection = script.connection.clone();
            let mut call = script.script.prepare_invoke();
            call.key(&key);
            for name in [
                "messages", "whiteboard", "changes", "tombstones", "participants", "arrivals",
                "sessions", "session-users", "user-sessions",
            ] {
                call.key(part(name));
            }
            call.key(part(&format!("request:{id}")));
            call.key(part("feed"));
            call.arg("").arg("ann").arg("0123456789abcdef0123456789abcdef");
            call.arg("60000").arg("100").arg(id.to_string()).arg("Ann");
            call.arg(head).arg("}");
            let answer: Vec<String> = call.invoke_async(&mut connection).await.unwrap();
            assert_eq!(answer[0], "ok");
        }
    })
    .await
}

async fn keep_in_flight<F>(
    window: Duration,
    (program, redis): (Option<u32>, u32),
    rooms: &[String],
    call: impl Fn(String, u64) -> F + Clone + 'static,
) -> Throughput
where
    F: Future<Output = ()>,
{
    let done = Rc::new(Cell::new(0_u64));
    let next = Rc::new(Cell::new(0_u64));
    let stopped = Rc::new(Cell::new(false));
    let rooms: Rc<[String]> = rooms.into();
    let mut tasks = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (done, next, stopped, rooms, call) = (
            done.clone(),
            next.clone(),
            stopped.clone(),
            rooms.clone(),
            call.clone(),
        );
        tasks.spawn_local(async move {
            while !stopped.get() {
                let number = next.get();
                next.set(number + 1);
                let room = rooms[number as usize % rooms.len()].clone();
                call(room, number).await;
                done.set(done.get() + 1);
            }
        });
    }
    // To warm up.
    sleep(Duration::from_millis(700)).await;
    let cpu = || {
        (
            program.map_or(Duration::ZERO, cpu_time),
            cpu_time(redis),
            cpu_time(std::process::id()),
        )
    };
    let (before, count, begun) = (cpu(), done.get(), Instant::now());
    sleep(window).await;
    let (after, count, elapsed) = (cpu(), done.get() - count, begun.elapsed());
    stopped.set(true);
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    let each = |total: Duration| total / (count.max(1) as u32);
    Throughput {
        per_second: count as f64 / elapsed.as_secs_f64(),
        cpu_of_service: each(after.0 - before.0),
        cpu_of_redis: each(after.1 - before.1),
        cpu_of_generator: each(after.2 - before.2),
    }
}

/// What saving one message costs where there are so many rooms.
pub(crate) struct Growth {
    pub(crate) rooms: usize,
    /// Redis's own count of the script.
    pub(crate) usec_per_call: f64,
    /// Of the service, counted by callgrind; `None` without valgrind.
    pub(crate) instructions: Option<f64>,
}

/// Saves messages in a hundred rooms, alone and then beside as many as `largest`.
pub(crate) async fn growth(largest: usize) -> Vec<Growth> {
    let service = Service::start().await;
    let talking = service.rooms(100).await;
    // Full lists, so that all messages cost the same.
    save_count(
        &service.client,
        &talking,
        100 * 110,
        IN_FLIGHT,
        Length::Text,
    )
    .await;
    let mut grown = Vec::new();
    for rooms in [100, largest] {
        if rooms > talking.len() {
            service.rooms(rooms - talking.len()).await;
        }
        save_count(&service.client, &talking, 10_000, IN_FLIGHT, Length::Text).await;
        let _: String = service.redis.run(&["CONFIG", "RESETSTAT"]).await;
        // One at a time: the more run together, the less each shows.
        save_count(&service.client, &talking, 10_000, 1, Length::Text).await;
        let stats: String = service.redis.run(&["INFO", "commandstats"]).await;
        let line = stats
            .lines()
            .find_map(|line| line.strip_prefix("cmdstat_evalsha:"))
            .unwrap();
        let usec = line
            .split(',')
            .find_map(|field| field.strip_prefix("usec_per_call="))
            .unwrap();
        grown.push(Growth {
            rooms,
            usec_per_call: usec.parse().unwrap(),
            instructions: instructions(&service.redis, &talking).await,
        });
    }
    grown
}

/// What is 300 bytes long.
#[derive(Clone, Copy)]
enum Length {
    /// The text of a message.
    Text,
    /// The message as it is stored, with its ids and times.
    Record,
}

async fn save_count(
    client: &RoomServiceClient<Channel>,
    rooms: &[String],
    count: u64,
    in_flight: usize,
    length: Length,
) {
    let mut tasks = JoinSet::new();
    for number in 0..count {
        if tasks.len() >= in_flight {
            let saved: Result<(), _> = tasks.join_next().await.unwrap();
            saved.unwrap();
        }
        let mut client = client.clone();
        let mut text = content::text(0, number, 0);
        if matches!(length, Length::Record) {
            text.truncate(109);
        }
        let request = saying(&rooms[number as usize % rooms.len()], text);
        tasks.spawn_local(async move {
            client.save_message(request).await.unwrap();
        });
    }
    while let Some(saved) = tasks.join_next().await {
        saved.unwrap();
    }
}

/// The instructions of one call: a service under callgrind, at so many calls and at twice
/// as many, and the difference.
async fn instructions(redis: &RedisServer, rooms: &[String]) -> Option<f64> {
    const CALLS: u64 = 1_000;
    let folder = tempfile::tempdir().unwrap();
    let mut totals = Vec::new();
    for times in [1, 2] {
        let listen = format!("127.0.0.1:{}", free_port());
        let file = folder.path().join(format!("{times}.out"));
        let valgrind = Command::new("valgrind")
            .arg("--tool=callgrind")
            .arg(format!("--callgrind-out-file={}", file.display()))
            .arg(binary("persistence-service"))
            .env("REDIS_URL", redis.url())
            .env("PERSISTENCE_LISTEN", &listen)
            .env("PERSISTENCE_WORKERS", "1")
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn();
        let mut valgrind = valgrind.ok()?;
        let client = connect(&listen).await;
        save_count(&client, rooms, 200, 1, Length::Text).await;
        save_count(&client, rooms, CALLS * times, 1, Length::Text).await;
        drop(client);
        // It writes its counts when it stops.
        Command::new("kill")
            .args(["-TERM", &valgrind.id().to_string()])
            .status()
            .unwrap();
        valgrind.wait().unwrap();
        let text = std::fs::read_to_string(&file).ok()?;
        let total = text.lines().find_map(|line| {
            line.strip_prefix("totals: ")
                .or(line.strip_prefix("summary: "))
        })?;
        totals.push(total.trim().parse::<f64>().ok()?);
    }
    Some((totals[1] - totals[0]) / CALLS as f64)
}

/// What rooms take in Redis.
pub(crate) struct Footprint {
    /// The bytes of one room's content: its messages and elements as they were given.
    pub(crate) content: u64,
    /// `MEMORY USAGE` of all keys of one room.
    pub(crate) keys: u64,
    /// What `used_memory` grows by, for each of many such rooms.
    pub(crate) each_of_many: u64,
}

/// Fills rooms with 100 messages of 300 bytes and a board of 10 KB, and weighs them once
/// the records of requests are gone, which end by themselves after a minute.
pub(crate) async fn footprint(count: usize) -> Footprint {
    const ELEMENTS: usize = 40;
    let service = Service::start().await;
    // What is weighed is memory; writing the file down would only take time.
    let _: String = service
        .redis
        .run(&["CONFIG", "SET", "appendonly", "no"])
        .await;
    let used = async || -> u64 {
        let info: String = service.redis.run(&["INFO", "memory"]).await;
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix("used_memory:"));
        line.unwrap().parse().unwrap()
    };
    // Buffers and scripts are there before.
    let warm = service.rooms(1).await;
    fill(&service, &warm, ELEMENTS).await;
    forget_requests(&service.redis).await;
    let before = used().await;
    let rooms = service.rooms(count).await;
    fill(&service, &rooms, ELEMENTS).await;
    forget_requests(&service.redis).await;
    let after = used().await;

    let room = &rooms[count / 2];
    let names: Vec<String> = service
        .redis
        .run(&["KEYS", &format!("room:{{{room}}}*")])
        .await;
    let mut keys = 0;
    for name in &names {
        let bytes: u64 = service
            .redis
            .run(&["MEMORY", "USAGE", name, "SAMPLES", "0"])
            .await;
        keys += bytes;
    }
    let stored: Vec<String> = service
        .redis
        .run(&["LRANGE", &format!("room:{{{room}}}:messages"), "0", "-1"])
        .await;
    assert_eq!(stored.len(), 100);
    let messages: usize = stored.iter().map(String::len).sum();
    let board: usize = (0..ELEMENTS)
        .map(|i| content::element(i, 1, 250).len())
        .sum();
    Footprint {
        content: (messages + board) as u64,
        keys,
        each_of_many: (after - before) / count as u64,
    }
}

async fn fill(service: &Service, rooms: &[String], elements: usize) {
    save_count(
        &service.client,
        rooms,
        rooms.len() as u64 * 100,
        IN_FLIGHT,
        Length::Record,
    )
    .await;
    let board: Vec<proto::Element> = (0..elements)
        .map(|i| proto::Element {
            json: content::element(i, 1, 250),
            ..Default::default()
        })
        .collect();
    let mut drawing = JoinSet::new();
    for room in rooms {
        if drawing.len() >= 64 {
            let drawn: Result<(), _> = drawing.join_next().await.unwrap();
            drawn.unwrap();
        }
        let mut client = service.client.clone();
        let request = proto::SaveWhiteboardRequest {
            room_code: room.clone(),
            user_id: "ann".to_owned(),
            elements: board.clone(),
            ..Default::default()
        };
        drawing.spawn_local(async move {
            client.save_whiteboard(request).await.unwrap();
        });
    }
    while let Some(drawn) = drawing.join_next().await {
        drawn.unwrap();
    }
}

/// Removes the records of requests, which would end by themselves.
async fn forget_requests(redis: &RedisServer) {
    let mut connection = redis.connection().await;
    let mut cursor = "0".to_owned();
    loop {
        let (next, keys): (String, Vec<String>) = redis::cmd("SCAN")
            .arg(&cursor)
            .arg("MATCH")
            .arg("*:request:*")
            .arg("COUNT")
            .arg(10_000)
            .query_async(&mut connection)
            .await
            .unwrap();
        let mut creations: Vec<String> = Vec::new();
        if cursor == "0" {
            creations = redis::cmd("KEYS")
                .arg("create:*")
                .query_async(&mut connection)
                .await
                .unwrap();
        }
        for keys in keys.chunks(1_000).chain(creations.chunks(1_000)) {
            let () = redis::cmd("DEL")
                .arg(keys)
                .query_async(&mut connection)
                .await
                .unwrap();
        }
        if next == "0" {
            return;
        }
        cursor = next;
    }
}
