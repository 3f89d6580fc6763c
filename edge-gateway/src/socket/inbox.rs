//! What one socket has sent and has not been answered, in the order in which it came.
//!
//! Socketioxide spawns a task for each event, so events of one socket would overtake each
//! other; what runs before a handler's first await does not. There each event is queued,
//! and the session's one task serves the queue.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use socketioxide::{
    adapter::LocalAdapter,
    extract::{AckSender, SocketRef},
    handler::FromMessageParts,
    socket::Socket,
};
use socketioxide_core::Value;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::Instant,
};
use tracing::debug;

use super::{
    outbox::{Outbox, Reply, Way},
    payload::{self, ClientEvent},
};
use crate::error::Error;

/// How many events of a socket may be outstanding, the one being served counted.
const MAX_EVENTS: usize = 256;

/// How many bytes they may take together: two of the largest messages.
const MAX_BYTES: usize = 8 << 20;

/// How long an event that finds no place may be for its room to be made out.
const MAX_LOOKED_AT: usize = 8 << 10;

/// The unit in which bytes are counted, since a semaphore counts in `u32`.
const BYTES_UNIT: usize = 1 << 10;

/// An event as it came.
pub(crate) struct Incoming {
    socket: SocketRef,
    /// `["event", payload]`
    text: Box<str>,
    has_binary: bool,
    ack: Option<AckSender>,
}

impl FromMessageParts<LocalAdapter> for Incoming {
    type Error = Infallible;

    fn from_message_parts(
        socket: &Arc<Socket<LocalAdapter>>,
        value: &mut Value,
        ack_id: &Option<i64>,
    ) -> Result<Self, Infallible> {
        // A copy, so that a short event does not keep the transport's buffer.
        let (text, has_binary) = match &*value {
            Value::Str(text, binaries) => (text.as_str().into(), binaries.is_some()),
            Value::Bytes(_) => ("".into(), true),
        };
        let sender = AckSender::from_message_parts(socket, value, ack_id)?;
        let ack = ack_id.map(|_| sender);
        Ok(Self {
            socket: socket.clone().into(),
            text,
            has_binary,
            ack,
        })
    }
}

/// An event that waits to be served; counts as outstanding until it is dropped.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) event: ClientEvent,
    pub(crate) text: Box<str>,
    pub(crate) has_binary: bool,
    pub(crate) reply: Reply,
    /// When it came.
    pub(crate) received: Instant,
    _slot: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

/// The receiving end of a socket's queue. Boxed, because a queue makes place for 32 at once,
/// and most sockets say nothing.
pub(crate) type Queue = mpsc::Receiver<Box<Work>>;

/// The sending end of a socket's queue.
#[derive(Debug)]
pub(crate) struct Inbox {
    // A std mutex: nothing awaits while it is held.
    queue: Mutex<Option<mpsc::Sender<Box<Work>>>>,
    slots: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    drawing: Arc<AtomicUsize>,
    way: Arc<Way>,
}

impl Inbox {
    /// An empty queue.
    pub(crate) fn new(way: Arc<Way>) -> (Self, Queue) {
        let (sender, queue) = mpsc::channel(MAX_EVENTS);
        let inbox = Self {
            queue: Mutex::new(Some(sender)),
            slots: Arc::new(Semaphore::new(MAX_EVENTS)),
            bytes: Arc::new(Semaphore::new(MAX_BYTES / BYTES_UNIT)),
            drawing: Arc::default(),
            way,
        };
        (inbox, queue)
    }

    /// How many board changes have arrived and are not answered.
    pub(crate) fn drawing(&self) -> Arc<AtomicUsize> {
        self.drawing.clone()
    }

    /// Queues an event, or refuses it at once.
    pub(crate) fn push(&self, event: ClientEvent, incoming: Incoming) {
        let Incoming {
            socket,
            text,
            has_binary,
            ack,
        } = incoming;
        let outbox = Outbox::new(socket, self.way.clone());
        let reply = Reply::new(outbox.clone(), ack);
        let units = u32::try_from(text.len() / BYTES_UNIT).unwrap_or(u32::MAX);
        let (Ok(slot), Ok(bytes)) = (
            self.slots.clone().try_acquire_owned(),
            self.bytes.clone().try_acquire_many_owned(units),
        ) else {
            // A flood is answered cheaply: only what is short is looked at.
            let looked_at = if text.len() <= MAX_LOOKED_AT {
                &*text
            } else {
                ""
            };
            return refuse(&outbox, &reply, event, looked_at, &Error::rate_limited());
        };
        let work = Work {
            event,
            text,
            has_binary,
            reply,
            received: Instant::now(),
            _slot: slot,
            _bytes: bytes,
        };

        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        // After a disconnect nothing is received any more.
        let Some(queue) = &*queue else { return };
        if event == ClientEvent::WhiteboardChange {
            self.drawing.fetch_add(1, Ordering::Relaxed);
        }
        if queue.try_send(Box::new(work)).is_err() {
            // The slots keep it from being full, so the session's task is gone.
            debug!("an event came for a session that has ended");
        }
    }

    /// Ends the queue: what is in it is still served.
    pub(crate) fn close(&self) {
        self.queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }
}

/// Tells a socket why its request failed: by ack, or else by an `error` event.
pub(crate) fn refuse(
    outbox: &Outbox,
    reply: &Reply,
    event: ClientEvent,
    text: &str,
    error: &Error,
) {
    if reply.is_wanted() {
        reply.send(&payload::failure(error));
    } else {
        outbox.tell(&payload::error(event, text, error));
    }
}
