//! What one socket has sent and has not been answered, in the order in which it came.
//!
//! Socketioxide spawns a task for each event, so events of one socket would overtake each
//! other; what runs before a handler's first await does not. There each event is queued,
//! and the session's one task serves the queue.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use socketioxide::{
    adapter::LocalAdapter,
    extract::{AckSender, SocketRef},
    handler::FromMessageParts,
    socket::Socket,
};
use socketioxide_core::Value;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tracing::debug;

use crate::{
    contract::{self, ClientEvent},
    delivery::{Outbox, OutboxState, Reply},
    error::Error,
    feed::{Unread, UnreadEvent},
};

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
    /// When the time for its answer begins: as it came, or when its wait for a join ended.
    pub(crate) served_from: Instant,
    /// Counts a change or a pointer until somebody has looked at it.
    pub(crate) unread: Option<UnreadEvent>,
    _slot: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

/// A socket's events on their way to its session's task.
///
/// A queue of our own, because the runtime's makes place for 32 at once, and most sockets
/// say nothing.
#[derive(Debug)]
pub(crate) struct Inbox {
    // A std mutex: nothing awaits while it is held.
    queue: Mutex<Queue>,
    some: Notify,
    slots: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    unread: Unread,
    outbox_state: Arc<OutboxState>,
}

#[derive(Debug, Default)]
struct Queue {
    works: VecDeque<Box<Work>>,
    is_closed: bool,
}

impl Inbox {
    /// An empty one.
    pub(crate) fn new(outbox_state: Arc<OutboxState>) -> Self {
        Self {
            queue: Mutex::default(),
            some: Notify::new(),
            slots: Arc::new(Semaphore::new(MAX_EVENTS)),
            bytes: Arc::new(Semaphore::new(MAX_BYTES / BYTES_UNIT)),
            unread: Unread::default(),
            outbox_state,
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What outboxes of the socket share.
    pub(crate) fn outbox_state(&self) -> Arc<OutboxState> {
        self.outbox_state.clone()
    }

    /// How many changes and pointers have arrived and wait to be looked at.
    pub(crate) fn unread(&self) -> Unread {
        self.unread.clone()
    }

    /// Queues an event, or refuses it at once.
    pub(crate) fn push(&self, event: ClientEvent, incoming: Incoming) {
        let Incoming {
            socket,
            text,
            has_binary,
            ack,
        } = incoming;
        let outbox = Outbox::new(socket, self.outbox_state.clone());
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
        let received = Instant::now();
        let may_be_drawing = matches!(event, ClientEvent::WhiteboardChange | ClientEvent::Pointer);
        let work = Work {
            event,
            text,
            has_binary,
            reply,
            received,
            served_from: received,
            unread: may_be_drawing.then(|| self.unread.count(received)),
            _slot: slot,
            _bytes: bytes,
        };

        let mut queue = self.queue();
        if queue.is_closed {
            return debug!("an event came for a session that has ended");
        }
        queue.works.push_back(Box::new(work));
        self.some.notify_one();
    }

    /// The next event; `None` once it is closed and empty. For one task alone.
    pub(crate) async fn next(&self) -> Option<Box<Work>> {
        loop {
            {
                let mut queue = self.queue();
                if let Some(work) = queue.works.pop_front() {
                    return Some(work);
                }
                if queue.is_closed {
                    return None;
                }
            }
            self.some.notified().await;
        }
    }

    /// Takes no more events: what is here is still served.
    pub(crate) fn close(&self) {
        self.queue().is_closed = true;
        self.some.notify_one();
    }

    /// Drops what will not be served: each event holds the socket, which holds this.
    pub(crate) fn end(&self) {
        let mut queue = self.queue();
        queue.is_closed = true;
        queue.works.clear();
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
        reply.send(&contract::failure(error));
    } else {
        outbox.tell(&contract::error(event, text, error));
    }
}
