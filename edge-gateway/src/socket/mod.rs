//! The Socket.io side: what each event of the contract does, in one screen.

mod chat;
mod early;
mod inbox;
mod leases;
mod membership;
mod session;
mod signals;
mod whiteboard;

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rand::Rng as _;
use roomkeeper_common::tasks::Tasks;
use roomkeeper_proto::v1 as proto;
use socketioxide::{
    SocketIo, TransportType, extract::SocketRef, handler::ConnectHandler as _, layer::SocketIoLayer,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};
use uuid::Uuid;

use inbox::{Inbox, Incoming};
use leases::Leases;
use session::Session;

use crate::{
    contract::{self, ClientEvent},
    delivery::{Meter, Outbox, OutboxState, Pace, Reply},
    error::Error,
    feed::{BoardPace, Registry, UnreadEvent},
    persistence::Persistence,
    values::RoomCode,
};

/// Serves one event.
async fn dispatch(
    session: &mut Session,
    event: ClientEvent,
    text: &str,
    reply: &Reply,
    answer_by: Instant,
    unread: Option<UnreadEvent>,
) -> Result<(), Error> {
    match event {
        ClientEvent::Join => membership::join(session, text, reply, answer_by).await,
        ClientEvent::Leave => membership::leave(session, text, reply, answer_by).await,
        ClientEvent::ChatMessage => chat::message(session, text, reply).await,
        ClientEvent::WhiteboardChange => whiteboard::change(session, text, reply, unread).await,
        ClientEvent::Typing | ClientEvent::StopTyping | ClientEvent::Pointer => {
            signals::signal(session, event, text, reply).await
        }
        ClientEvent::Unknown => Err(Error::invalid("event", "is not known")),
    }
}

/// The largest message that is read, and refused by name if it is too large for what it is.
const MAX_PAYLOAD: usize = 4 << 20;

/// What a WebSocket message may be beyond that before the connection is closed: the type
/// and id of the packet.
const PACKET_OVERHEAD: usize = 1 << 10;

/// What is read from a WebSocket at once: most of what browsers send is shorter, and each
/// socket holds as much for as long as it lives.
const READ_BUFFER: usize = 1 << 10;

/// Packets that may wait for a socket; a burst of some seconds. The bytes are bounded by
/// [`Meter`].
const MAX_PACKETS: usize = 1_024;

/// Ping interval and time-out of the contract.
const PING: Duration = Duration::from_secs(15);

/// How long a connection may stay without joining the namespace.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How many sessions of gone sockets are ended at the service at once: a gateway that stops
/// with thousands must not swamp it.
const LEAVES_AT_ONCE: usize = 64;

/// How long, and how often, the end of a session is tried.
const LEAVE_FOR: Duration = Duration::from_secs(60);
const LEAVE_TRIES: u32 = 16;

/// The longest pause between two such tries.
const LEAVE_PAUSE: Duration = Duration::from_secs(5);

/// How far apart the sockets of a gateway that goes away are asked to come back.
const RECONNECT_WITHIN_MS: u64 = 2_000;

/// What all sockets of this gateway share.
#[derive(Debug, Clone)]
pub(crate) struct Gateway {
    persistence: Persistence,
    registry: Registry,
    /// Sessions, and what is left to do for those that have ended.
    tasks: TaskTracker,
    leaving: Arc<Semaphore>,
    leases: Leases,
    pace: Arc<Pace<Outbox>>,
    /// Whether this gateway goes away.
    draining: Arc<AtomicBool>,
    /// Cancelled when sessions are to take no more events.
    stopping: CancellationToken,
    /// This gateway's name in session ids: another process's sockets are others.
    instance: Arc<str>,
    next_key: Arc<AtomicU64>,
}

impl Gateway {
    /// A gateway to `persistence`; its feeds are some of `tasks`.
    pub(crate) fn new(persistence: Persistence, tasks: &Tasks) -> Self {
        Self {
            registry: Registry::new(persistence.clone(), tasks),
            persistence,
            tasks: TaskTracker::new(),
            leaving: Arc::new(Semaphore::new(LEAVES_AT_ONCE)),
            leases: Leases::default(),
            pace: Arc::default(),
            draining: Arc::default(),
            stopping: CancellationToken::new(),
            instance: Uuid::new_v4().simple().to_string()[..16].into(),
            next_key: Arc::new(AtomicU64::new(1)),
        }
    }

    /// Renews the sessions that live here, for ever.
    pub(crate) async fn keep_sessions(self) {
        self.leases.keep(self.persistence).await;
    }

    /// Writes to sockets what waits for more to go with it, for ever.
    pub(crate) async fn keep_pace(self) {
        self.pace.keep(|outbox| outbox.flush()).await;
    }

    /// The Socket.io layer that serves `/socket.io/`, and its handle.
    pub(crate) fn layer(&self) -> (SocketIoLayer, SocketIo) {
        let (layer, io) = SocketIo::builder()
            .ping_interval(PING)
            .ping_timeout(PING)
            .connect_timeout(CONNECT_TIMEOUT)
            .max_payload(MAX_PAYLOAD as u64)
            .ws_max_message_size(MAX_PAYLOAD + PACKET_OVERHEAD)
            .ws_max_frame_size(MAX_PAYLOAD + PACKET_OVERHEAD)
            .ws_read_buffer_size(READ_BUFFER)
            .max_buffer_size(MAX_PACKETS)
            .transports([TransportType::Polling, TransportType::Websocket])
            .build_layer();
        let gateway = self.clone();
        let start = move |socket: SocketRef| {
            let gateway = gateway.clone();
            async move { gateway.start(socket) }
        };
        // The client is told that it is connected before the connect handler runs, and may
        // send at once: the event handlers must be there before, in a middleware.
        let pace = self.pace.clone();
        let listen = move |socket: SocketRef| {
            listen(&socket, &pace);
            async { Ok::<(), Infallible>(()) }
        };
        io.ns("/", start.with(listen));
        (layer, io)
    }

    /// Starts the session of a socket that has connected.
    fn start(&self, socket: SocketRef) {
        let Some(Opened { inbox, gone }) = socket.extensions.remove() else {
            return;
        };
        if self.draining.load(Ordering::SeqCst) {
            bid_farewell(&socket);
        }
        let key = self.next_key.fetch_add(1, Ordering::Relaxed);
        let session = Session {
            id: format!("{}:{}:{key}", self.instance, socket.id),
            begun: 0,
            key,
            unread: inbox.unread(),
            pace: BoardPace::default(),
            outbox: Outbox::new(socket, inbox.outbox_state()),
            gateway: self.clone(),
            rooms: HashMap::new(),
        };
        debug!(session.id = %session.id, "socket connected");
        self.tasks.spawn(session.run(inbox, gone));
    }

    /// Ends a session's membership at the service, trying again while it cannot be reached.
    fn leave_surely(&self, room: RoomCode, user_id: String, session_id: Arc<str>) {
        let gateway = self.clone();
        self.tasks.spawn(async move {
            // The semaphore is never closed.
            let Ok(_permit) = gateway.leaving.acquire().await else {
                return;
            };
            let until = Instant::now() + LEAVE_FOR;
            let mut pause = Duration::from_millis(200);
            for _ in 0..LEAVE_TRIES {
                let request = proto::LeaveRoomRequest {
                    room_code: room.as_str().to_owned(),
                    user_id: user_id.clone(),
                    session_id: session_id.as_ref().to_owned(),
                };
                match gateway.persistence.leave_room(request).await {
                    Err(Error::StoreUnavailable | Error::OutcomeUnknown)
                        if Instant::now() < until =>
                    {
                        let jittered = pause.mul_f64(rand::rng().random_range(0.5..=1.0));
                        sleep(jittered).await;
                        pause = LEAVE_PAUSE.min(pause * 2);
                    }
                    Ok(()) | Err(Error::RoomNotFound) => return,
                    Err(error) => {
                        warn!(room.code = %room, session.id = %session_id, %error, "no leave");
                        return;
                    }
                }
            }
            warn!(room.code = %room, session.id = %session_id, "no leave: gave up");
        });
    }

    /// Tells every socket that this gateway goes away, and when to come back.
    pub(crate) fn tell_draining(&self, io: &SocketIo) {
        // First this, so that a socket that connects meanwhile is told at least once.
        self.draining.store(true, Ordering::SeqCst);
        for socket in io.sockets() {
            bid_farewell(&socket);
        }
    }

    /// Has every session serve what it has received, and nothing after.
    ///
    /// Closing the sockets does not do that: socketioxide forgets its namespaces first, so
    /// that no disconnect handler runs.
    pub(crate) fn end_sessions(&self) {
        self.stopping.cancel();
    }

    /// Waits until every session has ended and left its rooms.
    pub(crate) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Tells a socket that this gateway goes away.
fn bid_farewell(socket: &SocketRef) {
    let retry_after_ms = rand::rng().random_range(100..RECONNECT_WITHIN_MS);
    let packet = contract::draining(retry_after_ms);
    // One that cannot take it is closed in a moment anyhow.
    let _ = socket.emit(packet.event().name(), &(packet.arguments().0,));
}

/// What a socket is given before it is connected.
#[derive(Debug, Clone)]
struct Opened {
    inbox: Arc<Inbox>,
    gone: CancellationToken,
}

/// Makes a socket's events go to its queue.
fn listen(socket: &SocketRef, pace: &Arc<Pace<Outbox>>) {
    let meter = match socket.req_parts().extensions.get::<Arc<Meter>>() {
        Some(meter) => meter.clone(),
        // Every request of a new session carries one.
        None => return warn!("a session without a meter"),
    };
    let outbox_state = Arc::new(OutboxState::new(meter, pace.clone()));
    let inbox = Arc::new(Inbox::new(outbox_state));
    for event in ClientEvent::ALL {
        let inbox = inbox.clone();
        socket.on(event.name(), move |incoming: Incoming| {
            inbox.push(event, incoming);
            async {}
        });
    }
    let unknown = inbox.clone();
    socket.on_fallback(move |incoming: Incoming| {
        unknown.push(ClientEvent::Unknown, incoming);
        async {}
    });
    let gone = CancellationToken::new();
    let (closing, is_gone) = (inbox.clone(), gone.clone());
    socket.on_disconnect(move || {
        is_gone.cancel();
        closing.close();
        async {}
    });
    socket.extensions.insert(Opened { inbox, gone });
}
