//! The browser contract in code: the only place that spells an event's name or the shape
//! of a payload.

mod acks;
mod inbound;
pub(crate) mod json;
mod outbound;
mod shape;

use std::{fmt, sync::Arc};

use serde_json::value::RawValue;

pub(crate) use acks::{
    Ack, ack_chat_message, ack_join, ack_success, ack_whiteboard_change, failure,
};
pub(crate) use inbound::{
    ChatMessage, Claim, Join, Leave, Signal, WhiteboardChange, event_name, room_of,
};
pub(crate) use outbound::*;
pub(crate) use shape::{Elements, Message, Room, Step, timestamp_ms};

/// What a client is sent of its room's board; `sync` of its join says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SyncMode {
    /// The whole living board each time.
    Full,
    /// Only what changed, with every step of the room's position.
    Delta,
}

/// One state of an element: the same id, version and nonce mean the same content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ElementVersion {
    pub(crate) id: String,
    pub(crate) version: u64,
    pub(crate) nonce: u64,
}

/// An event that a browser sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientEvent {
    Join,
    Leave,
    ChatMessage,
    WhiteboardChange,
    Typing,
    StopTyping,
    Pointer,
    /// One that the contract does not know.
    Unknown,
}

impl ClientEvent {
    /// The events of the contract.
    pub(crate) const ALL: [Self; 7] = [
        Self::Join,
        Self::Leave,
        Self::ChatMessage,
        Self::WhiteboardChange,
        Self::Typing,
        Self::StopTyping,
        Self::Pointer,
    ];

    /// The event's name on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Leave => "leave",
            Self::ChatMessage => "chat:message",
            Self::WhiteboardChange => "whiteboard-change",
            Self::Typing => "chat:typing",
            Self::StopTyping => "chat:stopTyping",
            Self::Pointer => "whiteboard-pointer",
            Self::Unknown => "unknown",
        }
    }
}

/// An event that the gateway sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerEvent {
    ChatHistory,
    WhiteboardState,
    PresenceUpdate,
    ChatMessage,
    WhiteboardUpdate,
    Typing,
    StopTyping,
    Pointer,
    RoomPosition,
    RoomClosed,
    Draining,
    Error,
}

impl ServerEvent {
    /// The event's name on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ChatHistory => "chat:history",
            Self::WhiteboardState => "whiteboard:state",
            Self::PresenceUpdate => "presence:update",
            Self::ChatMessage => "chat:message",
            Self::WhiteboardUpdate => "whiteboard-update",
            Self::Typing => "chat:typing",
            Self::StopTyping => "chat:stopTyping",
            Self::Pointer => "whiteboard-pointer",
            Self::RoomPosition => "room:position",
            Self::RoomClosed => "room:closed",
            Self::Draining => "server:draining",
            Self::Error => "error",
        }
    }
}

/// The kinds of signals on gRPC, and the browser's events that they are.
pub(crate) mod signal {
    use super::{ClientEvent, ServerEvent};

    /// The kind that a browser's event is sent as, if it is a signal.
    pub(crate) fn kind_of(event: ClientEvent) -> Option<&'static str> {
        match event {
            ClientEvent::Typing => Some("typing"),
            ClientEvent::StopTyping => Some("stop_typing"),
            ClientEvent::Pointer => Some("pointer"),
            ClientEvent::Join
            | ClientEvent::Leave
            | ClientEvent::ChatMessage
            | ClientEvent::WhiteboardChange
            | ClientEvent::Unknown => None,
        }
    }

    /// The event that a signal of this kind is told as, if browsers know it.
    pub(crate) fn event_of(kind: &str) -> Option<ServerEvent> {
        match kind {
            "typing" => Some(ServerEvent::Typing),
            "stop_typing" => Some(ServerEvent::StopTyping),
            "pointer" => Some(ServerEvent::Pointer),
            _ => None,
        }
    }
}

/// One event for sockets, serialized once however many hear it.
#[derive(Clone)]
pub(crate) struct Packet {
    event: ServerEvent,
    first: Arc<RawValue>,
    second: Option<Arc<RawValue>>,
}

impl Packet {
    pub(crate) fn event(&self) -> ServerEvent {
        self.event
    }

    /// The one or two arguments.
    pub(crate) fn arguments(&self) -> (&RawValue, Option<&RawValue>) {
        (&self.first, self.second.as_deref())
    }

    /// How many bytes it takes on the wire, framing aside.
    pub(crate) fn len(&self) -> usize {
        // `42["event",first,second]`
        let second = self
            .second
            .as_ref()
            .map_or(0, |second| second.get().len() + 1);
        self.event.name().len() + self.first.get().len() + second + 7
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.event.name(), self.first)?;
        match &self.second {
            Some(second) => write!(f, " {second}"),
            None => Ok(()),
        }
    }
}

/// Appends an object's members but those that the server fills in, as raw text.
fn push_other_fields(text: &mut String, fields: &json::Fields<'_>, mut after_others: bool) {
    for (name, value) in fields.iter() {
        if matches!(name, "roomId" | "userId" | "username") {
            continue;
        }
        if after_others {
            text.push(',');
        }
        after_others = true;
        text.push_str(&serde_json::Value::from(name).to_string());
        text.push(':');
        text.push_str(value.get());
    }
}
