//! Chat: everybody in a room says something, everybody in it hears it.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::{JoinHandle, spawn_local},
    time::{Instant, sleep},
};

use crate::{
    client::{Client, Sync},
    content,
    machine::cpu_time,
    pace::{self, Latencies, now},
    servers::Servers,
};

/// How long servers are warmed up before anything is counted.
const WARM_UP: Duration = Duration::from_secs(1);

/// How long late deliveries are waited for before they count as lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who talks to whom.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) rooms: usize,
    pub(crate) members: usize,
}

/// How it is said.
#[derive(Clone, Copy)]
pub(crate) enum Load {
    /// Each member says the next thing when it has heard its last and got its ack.
    Closed,
    /// So many messages a second over all rooms, whether anybody keeps up or not.
    Open(f64),
}

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) sent_per_second: f64,
    pub(crate) delivered_per_second: f64,
    /// From the moment a message was due to its delivery, over all deliveries.
    pub(crate) delivery: Latencies,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    /// Of all server processes, Redis's too, per message sent.
    pub(crate) cpu_per_message: Duration,
    /// Of each process, per message sent.
    pub(crate) cpu_of_each: Vec<(&'static str, Duration)>,
    /// Of each process, per delivery.
    pub(crate) cpu_per_delivery: Vec<(&'static str, Duration)>,
    /// The generator's part of two cores, 0 to 1.
    pub(crate) generator: f64,
}

/// What all members count together.
struct Tally {
    recording: Cell<bool>,
    stopped: Cell<bool>,
    sent: Cell<u64>,
    acked: Cell<u64>,
    delivered: Cell<u64>,
    lost: Cell<u64>,
    doubled: Cell<u64>,
    delivery: RefCell<Latencies>,
}

/// One member: what it says and hears.
struct Member {
    client: Client,
    room: Rc<str>,
    user: String,
    sender: usize,
    said: u64,
    /// The ack that it waits for.
    unacked: HashMap<u64, ()>,
    /// How many of its own messages it has not heard.
    unheard: u64,
    /// The number of the last message heard of each sender.
    heard: Vec<u64>,
    tally: Rc<Tally>,
}

impl Member {
    async fn say(&mut self, at: u64) {
        self.said += 1;
        let text = content::text(self.sender, self.said, at);
        let payload = content::saying(&self.room, &self.user, &text);
        let ack = self.client.emit("chat:message", &payload).await;
        self.unacked.insert(ack, ());
        self.unheard += 1;
        add(&self.tally.sent);
    }

    /// Takes a packet in; whether it concerned this member's own message.
    fn take(&mut self, packet: &str) {
        if let Some(ack) = packet.strip_prefix("43") {
            let (id, _) = ack.split_once('[').unwrap();
            let id: u64 = id.parse().unwrap();
            assert!(packet.contains(r#""success":true"#), "{packet}");
            self.unacked.remove(&id).expect("each ack comes once");
            add(&self.tally.acked);
            return;
        }
        if !packet.starts_with(r#"42["chat:message""#) {
            return;
        }
        let (sender, number, at) = content::read(packet).unwrap();
        let last = &mut self.heard[sender];
        if number > *last {
            self.tally
                .lost
                .set(self.tally.lost.get() + number - *last - 1);
            *last = number;
            add(&self.tally.delivered);
        } else {
            // Said again, or out of order, which is as bad.
            add(&self.tally.doubled);
        }
        if sender == self.sender {
            self.unheard -= 1;
        }
        if self.tally.recording.get() {
            self.tally.delivery.borrow_mut().record_since(at);
        }
    }

    async fn talk_closed(mut self) {
        loop {
            if self.unacked.is_empty() && self.unheard == 0 && !self.tally.stopped.get() {
                self.say(now()).await;
            }
            let packet = self.client.next().await;
            self.take(&packet);
        }
    }

    async fn talk_open(mut self, mut orders: mpsc::Receiver<u64>) {
        loop {
            tokio::select! {
                packet = self.client.next() => self.take(&packet),
                Some(at) = orders.recv() => self.say(at).await,
            }
        }
    }
}

fn add(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

/// Lets a shape of rooms talk for a while.
pub(crate) async fn run(servers: &Servers, shape: Shape, load: Load, window: Duration) -> Outcome {
    let tally = Rc::new(Tally {
        recording: Cell::new(false),
        stopped: Cell::new(false),
        sent: Cell::new(0),
        acked: Cell::new(0),
        delivered: Cell::new(0),
        lost: Cell::new(0),
        doubled: Cell::new(0),
        delivery: RefCell::new(Latencies::new()),
    });
    let mut tasks: Vec<JoinHandle<()>> = Vec::new();
    let mut orders = Vec::new();
    let mut talkers = Vec::new();
    for _ in 0..shape.rooms {
        let room: Rc<str> = servers.create_room(10_000).into();
        for sender in 0..shape.members {
            let user = format!("user-{sender}");
            let mut client = Client::connect(servers.address).await;
            client.join(&room, &user, Sync::Delta).await;
            talkers.push(Member {
                client,
                room: room.clone(),
                user,
                sender,
                said: 0,
                unacked: HashMap::new(),
                unheard: 0,
                heard: vec![0; shape.members],
                tally: tally.clone(),
            });
        }
    }
    for member in talkers {
        match load {
            Load::Closed => tasks.push(spawn_local(member.talk_closed())),
            Load::Open(_) => {
                let (order, due) = mpsc::channel(4_096);
                orders.push(order);
                tasks.push(spawn_local(member.talk_open(due)));
            }
        }
    }
    let pacing = match load {
        Load::Closed => None,
        Load::Open(rate) => {
            let count = (rate * (WARM_UP + window).as_secs_f64()) as usize;
            let (rooms, members) = (shape.rooms, shape.members);
            Some(pace::schedule(rate, count, move |i, at| {
                // Round the rooms, and round the members in each.
                let member = (i % rooms) * members + (i / rooms) % members;
                pace::order(&orders[member], at);
            }))
        }
    };

    sleep(WARM_UP).await;
    tally.delivery.borrow_mut().clear();
    tally.recording.set(true);
    let (sent, delivered) = (tally.sent.get(), tally.delivered.get());
    let before = servers.cpu_of_each();
    let generator_before = cpu_time(std::process::id());
    let begun = Instant::now();
    sleep(window).await;
    let elapsed = begun.elapsed();
    let after = servers.cpu_of_each();
    let generator = cpu_time(std::process::id()) - generator_before;
    tally.recording.set(false);
    tally.stopped.set(true);
    let sent_in_window = tally.sent.get() - sent;
    let delivered_in_window = tally.delivered.get() - delivered;
    if let Some(pacing) = pacing {
        while !pacing.is_finished() {
            sleep(Duration::from_millis(5)).await;
        }
        pacing.join().unwrap();
    }

    let patient_until = Instant::now() + PATIENCE;
    let everybody_heard = || {
        tally.acked.get() == tally.sent.get()
            && tally.delivered.get() + tally.lost.get() == tally.sent.get() * shape.members as u64
    };
    // Orders may still be on their way to their members.
    sleep(Duration::from_millis(50)).await;
    while !everybody_heard() && Instant::now() < patient_until {
        sleep(Duration::from_millis(5)).await;
    }
    for task in &tasks {
        task.abort();
    }
    for task in tasks {
        // Aborted, unless it has panicked.
        if let Err(error) = task.await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }

    let per = |count: u64| {
        let parts = before.iter().zip(&after);
        let count = u32::try_from(count.max(1)).unwrap();
        parts
            .map(|((name, before), (_, after))| (*name, (*after - *before) / count))
            .collect::<Vec<_>>()
    };
    let cpu_of_each = per(sent_in_window);
    let cpu_per_delivery = per(delivered_in_window);
    let missing = (tally.sent.get() * shape.members as u64)
        .saturating_sub(tally.delivered.get() + tally.lost.get());
    Outcome {
        sent_per_second: sent_in_window as f64 / elapsed.as_secs_f64(),
        delivered_per_second: delivered_in_window as f64 / elapsed.as_secs_f64(),
        delivery: tally.delivery.replace(Latencies::new()),
        lost: tally.lost.get() + missing,
        doubled: tally.doubled.get(),
        cpu_per_message: cpu_of_each.iter().map(|(_, cpu)| *cpu).sum(),
        cpu_of_each,
        cpu_per_delivery,
        generator: generator.as_secs_f64() / elapsed.as_secs_f64() / 2.0,
    }
}
