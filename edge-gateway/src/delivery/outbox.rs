//! What goes to one socket: packets and acknowledgements.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use socketioxide::{
    SendError, SocketError,
    extract::{AckSender, SocketRef},
};
use tracing::{debug, info};

use super::{
    meter::Meter,
    pace::{Pace, SendQueue},
};
use crate::contract::{Ack, Packet, ServerEvent};

/// Sends packets to one socket, and never waits. A socket that cannot keep up is cut; its
/// client reconnects and resumes from its position.
#[derive(Clone)]
pub(crate) struct Outbox {
    socket: SocketRef,
    state: Arc<OutboxState>,
}

/// What all outboxes of a socket share. It does not hold the socket, because the socket
/// holds it.
#[derive(Debug)]
pub(crate) struct OutboxState {
    meter: Arc<Meter>,
    queue: SendQueue<Outgoing>,
    pace: Arc<Pace<Outbox>>,
}

impl OutboxState {
    pub(crate) fn new(meter: Arc<Meter>, pace: Arc<Pace<Outbox>>) -> Self {
        Self {
            meter,
            queue: SendQueue::default(),
            pace,
        }
    }
}

/// Something for a socket.
enum Outgoing {
    Event(Packet),
    Ack(AckSender, Ack),
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Event(packet) => packet.event().name(),
            Self::Ack(..) => "ack",
        })
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Outbox").field(&self.socket.id).finish()
    }
}

impl Outbox {
    pub(crate) fn new(socket: SocketRef, state: Arc<OutboxState>) -> Self {
        Self { socket, state }
    }

    /// Queues a packet.
    pub(crate) fn tell(&self, packet: &Packet) {
        let is_state = matches!(
            packet.event(),
            ServerEvent::ChatHistory | ServerEvent::WhiteboardState
        );
        if self.socket.connected() && self.has_room(packet.len(), is_state) {
            self.put(Outgoing::Event(packet.clone()));
        }
    }

    /// Writes what waits for more to go with it.
    pub(crate) fn flush(&self) {
        self.state.queue.flush(|outgoing| self.write(outgoing));
    }

    fn put(&self, outgoing: Outgoing) {
        if self.state.queue.put(outgoing) {
            self.state.pace.flush_soon(self.clone());
        }
    }

    fn write(&self, outgoing: Outgoing) {
        self.check(match outgoing {
            Outgoing::Event(packet) => {
                let name = packet.event().name();
                match packet.arguments() {
                    (first, None) => self.socket.emit(name, &(first,)),
                    (first, Some(second)) => self.socket.emit(name, &(first, second)),
                }
            }
            Outgoing::Ack(sender, content) => sender.send(&(&*content,)),
        });
    }

    fn has_room(&self, bytes: usize, is_state: bool) -> bool {
        let fits = !self.state.meter.is_cut() && self.state.meter.add(bytes, is_state);
        if !fits {
            self.cut("too many bytes wait for it");
        }
        fits
    }

    fn check(&self, queued: Result<(), SendError>) {
        match queued {
            Ok(()) | Err(SendError::Socket(SocketError::Closed)) => {}
            Err(SendError::Socket(SocketError::InternalChannelFull)) => {
                self.cut("too many packets wait for it");
            }
            Err(SendError::Serialize(problem)) => debug!(%problem, "a packet cannot be written"),
        }
    }

    fn cut(&self, why: &str) {
        if self.state.meter.cut() {
            info!(session.id = %self.socket.id, why, "socket cut");
        }
    }
}

/// The acknowledgement that an event may have asked for, sent at most once.
#[derive(Clone)]
pub(crate) struct Reply {
    outbox: Outbox,
    ack: Option<Arc<Mutex<Option<AckSender>>>>,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("is_wanted", &self.is_wanted())
            .finish_non_exhaustive()
    }
}

impl Reply {
    /// `ack` where the event asked for one.
    pub(crate) fn new(outbox: Outbox, ack: Option<AckSender>) -> Self {
        Self {
            outbox,
            ack: ack.map(|ack| Arc::new(Mutex::new(Some(ack)))),
        }
    }

    /// Whether the event asked for an answer.
    pub(crate) fn is_wanted(&self) -> bool {
        self.ack.is_some()
    }

    /// Answers, where that was asked for and has not been done.
    pub(crate) fn send(&self, content: &Ack) {
        let sender = self
            .ack
            .as_ref()
            .and_then(|ack| ack.lock().unwrap_or_else(PoisonError::into_inner).take());
        let Some(sender) = sender else { return };
        // `43<id>[content]`
        let bytes = content.get().len() + 8;
        if self.outbox.socket.connected() && self.outbox.has_room(bytes, false) {
            self.outbox.put(Outgoing::Ack(sender, content.clone()));
        }
    }
}
