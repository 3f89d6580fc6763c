//! Rooms with something in them, and visits to them.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc,
    task::{JoinSet, spawn_local},
    time::sleep,
};

use crate::{
    client::{Client, Sync, joining},
    content,
    pace::{self, Latencies},
    servers::Servers,
};

/// What a filled room holds: fifty messages of 300 bytes, and a board of 10 KB.
const MESSAGES: u64 = 50;
const ELEMENTS: usize = 40;
const ELEMENT_BYTES: usize = 250;

/// How long something that was asked for at once may take in all.
const STORM: Duration = Duration::from_secs(60);

/// Creates rooms and fills them, as a member who then goes.
pub(crate) async fn filled(servers: &Servers, count: usize) -> Vec<String> {
    let mut rooms = Vec::with_capacity(count);
    let mut filling = JoinSet::new();
    for _ in 0..count {
        let room = servers.create_room(10_000);
        rooms.push(room.clone());
        let address = servers.address;
        filling.spawn_local(async move {
            let mut client = Client::connect(address).await;
            client.join(&room, "filler", Sync::Delta).await;
            for number in 1..=MESSAGES {
                let text = content::text(0, number, 0);
                client
                    .call("chat:message", &content::saying(&room, "filler", &text))
                    .await;
            }
            let board: Vec<_> = (0..ELEMENTS)
                .map(|i| content::element(i, 1, ELEMENT_BYTES))
                .collect();
            client
                .call("whiteboard-change", &content::change(&room, &board))
                .await;
            client.close().await;
        });
        if filling.len() >= 50 {
            filling.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(filled) = filling.join_next().await {
        filled.unwrap();
    }
    // Those who filled have gone when nobody speaks of them any more.
    sleep(Duration::from_millis(300)).await;
    rooms
}

/// What joins cost.
pub(crate) struct Joins {
    pub(crate) latency: Latencies,
    pub(crate) cpu_per_join: Duration,
}

/// How long somebody who was refused waits before they try again.
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// Waits for everything that a joiner is shown, and the ack; joins again where that was
/// refused, as in a storm it may be. How often it was.
async fn join_and_see(client: &mut Client, room: &str, user: &str) -> u32 {
    let mut refused = 0;
    loop {
        let id = client.emit("join", &joining(room, user, Sync::Full)).await;
        let (mut history, mut board) = (0, 0);
        let (joined, _) = client
            .answer(id, |packet| {
                if packet.starts_with(r#"42["chat:history""#) {
                    history += packet.matches(r#""message":""#).count();
                } else if packet.starts_with(r#"42["whiteboard:state""#) {
                    board += packet.matches(r#""type":"rectangle""#).count();
                }
            })
            .await;
        if joined {
            assert_eq!((history, board), (MESSAGES as usize, ELEMENTS), "{user}");
            return refused;
        }
        refused += 1;
        sleep(TRY_AGAIN).await;
    }
}

/// Joins into filled rooms at even distances, each by a socket that is connected already.
pub(crate) async fn joins(servers: &Servers, rooms: &[String], rate: f64, count: usize) -> Joins {
    let latency = Rc::new(RefCell::new(Latencies::new()));
    let mut joiners = JoinSet::new();
    let mut orders = Vec::new();
    let (leave, _) = tokio::sync::broadcast::channel::<()>(1);
    let (done, mut all_done) = mpsc::channel::<()>(count);
    for i in 0..count {
        let mut client = Client::connect(servers.address).await;
        let (order, mut due) = mpsc::channel(1);
        orders.push(order);
        let room = rooms[i % rooms.len()].clone();
        let (latency, done, mut left) = (latency.clone(), done.clone(), leave.subscribe());
        joiners.spawn_local(async move {
            let at = due.recv().await.unwrap();
            join_and_see(&mut client, &room, &format!("joiner-{i}")).await;
            latency.borrow_mut().record_since(at);
            done.send(()).await.unwrap();
            tokio::select! {
                // The others who join are told to it.
                () = async { loop { client.next().await; } } => {}
                _ = left.recv() => {}
            }
            client.close().await;
        });
    }
    let before = servers.cpu();
    let pacing = pace::schedule(rate, count, move |i, at| pace::order(&orders[i], at));
    for _ in 0..count {
        all_done.recv().await.unwrap();
    }
    let cpu = servers.cpu() - before;
    pacing.join().unwrap();
    leave.send(()).unwrap();
    while let Some(joined) = joiners.join_next().await {
        joined.unwrap();
    }
    sleep(Duration::from_millis(300)).await;
    Joins {
        latency: latency.replace(Latencies::new()),
        cpu_per_join: cpu / count as u32,
    }
}

/// A storm: everybody at once, into rooms of five.
pub(crate) struct Storm {
    /// Until the last one is in.
    pub(crate) took: Duration,
    pub(crate) cpu_per_join: Duration,
    /// How many joins were refused for now, and tried again.
    pub(crate) refused: u32,
}

/// All of these sockets join at once; with `reconnect` they connect first, as after a
/// gateway was restarted.
pub(crate) async fn storm(
    servers: &Servers,
    rooms: &[String],
    count: usize,
    reconnect: bool,
) -> Storm {
    let mut sockets = Vec::new();
    if !reconnect {
        for _ in 0..count {
            sockets.push(Client::connect(servers.address).await);
        }
        sleep(Duration::from_millis(200)).await;
    }
    let before = servers.cpu();
    let begun = Instant::now();
    let mut joiners = JoinSet::new();
    for i in 0..count {
        let (room, address, client) = (
            rooms[i % rooms.len()].clone(),
            servers.address,
            sockets.pop(),
        );
        joiners.spawn_local(async move {
            let mut client = match client {
                Some(client) => client,
                None => Client::connect(address).await,
            };
            let refused = join_and_see(&mut client, &room, &format!("stormer-{i}")).await;
            (client, refused)
        });
    }
    let mut clients = Vec::with_capacity(count);
    let mut refused = 0;
    while let Some(joined) = tokio::time::timeout(STORM, joiners.join_next())
        .await
        .unwrap()
    {
        let (client, times) = joined.unwrap();
        clients.push(client);
        refused += times;
    }
    let took = begun.elapsed();
    let cpu = servers.cpu() - before;
    for client in clients {
        client.close().await;
    }
    sleep(Duration::from_millis(500)).await;
    Storm {
        took,
        cpu_per_join: cpu / count as u32,
        refused,
    }
}

/// CPU time of a join and a leave of an empty room, one after the other, by one socket.
pub(crate) async fn visits(servers: &Servers, count: u32) -> Duration {
    let room = servers.create_room(10);
    let mut client = Client::connect(servers.address).await;
    let leaving = format!(r#"{{"roomId":"{room}","userId":"visitor"}}"#);
    let mut before = Duration::ZERO;
    // The first tenth warms up.
    for i in 0..count + count / 10 {
        if i == count / 10 {
            before = servers.cpu();
        }
        client.join(&room, "visitor", Sync::Full).await;
        client.call("leave", &leaving).await;
    }
    let cpu = servers.cpu() - before;
    client.close().await;
    cpu / count
}

/// One member draws, another sees it: how long that takes.
pub(crate) struct Strokes {
    pub(crate) latency: Latencies,
    pub(crate) cpu_per_change: Duration,
    /// What is on the board, in bytes of JSON.
    pub(crate) board_bytes: usize,
}

/// How a change is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// The element that changed.
    Delta,
    /// The scene, one element of which has changed.
    Scene,
}

/// Draws on a board of this many elements, at even distances.
pub(crate) async fn strokes(
    servers: &Servers,
    (elements, element_bytes): (usize, usize),
    change: Change,
    rate: f64,
    count: usize,
) -> Strokes {
    let room = servers.create_room(10);
    let sync = match change {
        Change::Delta => Sync::Delta,
        Change::Scene => Sync::Full,
    };
    let mut drawer = Client::connect(servers.address).await;
    drawer.join(&room, "drawer", sync).await;
    let board: Vec<String> = (0..elements)
        .map(|i| content::element(i, 1, element_bytes))
        .collect();
    for part in board.chunks((900 << 10) / element_bytes) {
        drawer
            .call("whiteboard-change", &content::change(&room, part))
            .await;
    }
    let mut viewer = Client::connect(servers.address).await;
    viewer.join(&room, "viewer", sync).await;

    let latency = Rc::new(RefCell::new(Latencies::new()));
    let (order, mut due) = mpsc::channel::<u64>(count + 1);
    let (drawn, mut to_see) = mpsc::channel::<u64>(count + 1);
    let before = servers.cpu();
    let pacing = pace::schedule(rate, count, move |_, at| pace::order(&order, at));
    let drawing = spawn_local({
        let mut board = board.clone();
        async move {
            let mut version = 1;
            loop {
                tokio::select! {
                    // Its own acks, and what a full member is told of its own change.
                    _ = drawer.next() => {}
                    at = due.recv() => {
                        let Some(at) = at else { return drawer };
                        version += 1;
                        let changed = content::element(0, version, element_bytes);
                        let payload = match change {
                            Change::Delta => content::change(&room, &[changed]),
                            Change::Scene => {
                                board[0] = changed;
                                content::change(&room, &board)
                            }
                        };
                        drawn.send(at).await.unwrap();
                        drawer.emit("whiteboard-change", &payload).await;
                    }
                }
            }
        }
    });
    let mut version = 1;
    while let Some(at) = to_see.recv().await {
        version += 1;
        let wanted = format!(r#""version":{version},"#);
        // A later version of the element shows this one too: updates may be merged.
        loop {
            let packet = viewer.next().await;
            if packet.starts_with(r#"42["whiteboard-update""#) {
                if packet.contains(&wanted) {
                    latency.borrow_mut().record_since(at);
                    break;
                }
                let seen = seen_version(&packet);
                if seen > version {
                    // It stands for every change up to it.
                    latency.borrow_mut().record_since(at);
                    while version < seen {
                        version += 1;
                        let at = to_see.recv().await.unwrap();
                        latency.borrow_mut().record_since(at);
                    }
                    break;
                }
            }
        }
    }
    let cpu = servers.cpu() - before;
    pacing.join().unwrap();
    drawing.await.unwrap().close().await;
    viewer.close().await;
    Strokes {
        latency: latency.replace(Latencies::new()),
        cpu_per_change: cpu / count as u32,
        board_bytes: board.iter().map(String::len).sum(),
    }
}

/// One member draws whole scenes, two others see them and never draw.
pub(crate) struct Scenes {
    pub(crate) latency: Latencies,
    /// Scenes that both have seen, a second.
    pub(crate) per_second: f64,
    pub(crate) cpu_per_change: Duration,
}

/// Draws the next scene when both viewers have seen the last one, for `window`.
pub(crate) async fn scenes(
    servers: &Servers,
    (elements, element_bytes): (usize, usize),
    window: Duration,
) -> Scenes {
    let room = servers.create_room(10);
    let mut drawer = Client::connect(servers.address).await;
    drawer.join(&room, "drawer", Sync::Full).await;
    let mut board: Vec<String> = (0..elements)
        .map(|i| content::element(i, 1, element_bytes))
        .collect();
    drawer
        .call("whiteboard-change", &content::change(&room, &board))
        .await;
    let mut viewers = Vec::new();
    for name in ["one", "two"] {
        let mut viewer = Client::connect(servers.address).await;
        viewer.join(&room, name, Sync::Full).await;
        viewers.push(viewer);
    }

    let mut latency = Latencies::new();
    let mut version = 1;
    let (before, began) = (servers.cpu(), Instant::now());
    while began.elapsed() < window {
        version += 1;
        board[0] = content::element(0, version, element_bytes);
        let at = pace::now();
        drawer
            .call("whiteboard-change", &content::change(&room, &board))
            .await;
        for viewer in &mut viewers {
            while seen_version(&viewer.next().await) < version {}
            latency.record_since(at);
        }
    }
    let (cpu, took) = (servers.cpu() - before, began.elapsed());
    drawer.close().await;
    for viewer in viewers {
        viewer.close().await;
    }
    let count = (version - 1) as u32;
    Scenes {
        latency,
        per_second: f64::from(count) / took.as_secs_f64(),
        cpu_per_change: cpu / count,
    }
}

/// The version of the element that is drawn on.
fn seen_version(packet: &str) -> u64 {
    let Some(start) = packet.find(r#""id":"element-0","#) else {
        return 0;
    };
    let Some((_, rest)) = packet[start..].split_once(r#""version":"#) else {
        return 0;
    };
    let digits = rest.find(',').unwrap_or(0);
    rest[..digits].parse().unwrap_or(0)
}

/// What sits idle in rooms of five costs in memory.
pub(crate) struct Idle {
    /// Of the programs, without Redis, with the first thousand, in bytes.
    pub(crate) resident: u64,
    /// Of each further one.
    pub(crate) each_further: u64,
}

/// Joins that many twice, and measures after each.
pub(crate) async fn idle(servers: &Servers, members: usize, in_rooms: usize) -> Idle {
    let rooms: Vec<_> = (0..in_rooms).map(|_| servers.create_room(10_000)).collect();
    let mut sockets = JoinSet::new();
    let mut residents = Vec::new();
    for round in 0..2 {
        for i in 0..members {
            let mut client = Client::connect(servers.address).await;
            let user = format!("member-{round}-{i}");
            client.join(&rooms[i % in_rooms], &user, Sync::Delta).await;
            sockets.spawn_local(client.idle());
        }
        // Until they have heard of each other, and the leases were renewed once.
        sleep(Duration::from_secs(11)).await;
        residents.push(servers.resident());
    }
    sockets.abort_all();
    Idle {
        resident: residents[0],
        each_further: residents[1].saturating_sub(residents[0]) / members as u64,
    }
}
