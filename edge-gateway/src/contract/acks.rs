//! Acknowledgements, and the failures that HTTP answers with too.

use std::sync::Arc;

use roomkeeper_proto::v1 as proto;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    outbound::raw,
    shape::{Message, Participant, Room},
};
use crate::error::Error;

/// An acknowledgement's content.
pub(crate) type Ack = Arc<RawValue>;

/// `{success: true}`
pub(crate) fn ack_success() -> Ack {
    #[derive(Serialize)]
    struct Payload {
        success: bool,
    }
    raw(&Payload { success: true })
}

/// The ack of `join`, the only one that moves a client's position.
pub(crate) fn ack_join(joined: &proto::JoinRoomResponse, position: proto::Position) -> Ack {
    #[derive(Serialize)]
    struct Payload<'a> {
        success: bool,
        room: Option<Room<'a>>,
        participants: Vec<Participant<'a>>,
        epoch: u64,
        revision: u64,
    }
    raw(&Payload {
        success: true,
        room: joined.room.as_ref().map(Room::from),
        participants: joined.participants.iter().map(Participant::from).collect(),
        epoch: position.epoch,
        revision: position.revision,
    })
}

/// The ack of `chat:message`.
pub(crate) fn ack_chat_message(message: &proto::Message, duplicate: bool) -> Ack {
    #[derive(Serialize)]
    struct Payload<'a> {
        success: bool,
        message: Message<'a>,
        duplicate: bool,
    }
    raw(&Payload {
        success: true,
        message: message.into(),
        duplicate,
    })
}

/// The ack of `whiteboard-change`.
pub(crate) fn ack_whiteboard_change(saved: &proto::SaveWhiteboardResponse) -> Ack {
    #[derive(Serialize)]
    struct Payload {
        success: bool,
        accepted: u32,
        rejected: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        revision: Option<u64>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        duplicate: bool,
    }
    raw(&Payload {
        success: true,
        accepted: saved.accepted_count,
        rejected: saved.rejected_count,
        revision: saved.position.map(|position| position.revision),
        duplicate: saved.duplicate,
    })
}

/// `{success: false, …}`, in acknowledgements and over HTTP.
pub(crate) fn failure(error: &Error) -> Ack {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload {
        success: bool,
        error: String,
        code: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    }
    raw(&Payload {
        success: false,
        error: error.to_string(),
        code: error.code(),
        retry_after_ms: error.retry_after_ms(),
    })
}
