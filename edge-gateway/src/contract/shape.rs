//! The parts that payloads and HTTP answers are made of.

use roomkeeper_proto::v1 as proto;
use serde::{
    Serialize, Serializer,
    ser::{Error as _, SerializeSeq as _},
};
use serde_json::value::RawValue;

/// A point in time of the store's clock in epoch milliseconds.
pub(crate) fn timestamp_ms(time: Option<&prost_types::Timestamp>) -> i64 {
    time.map_or(0, |time| {
        time.seconds * 1_000 + i64::from(time.nanos) / 1_000_000
    })
}

/// `Message` of the contract.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Message<'a> {
    id: &'a str,
    room_id: &'a str,
    user_id: &'a str,
    username: &'a str,
    message: &'a str,
    ts: i64,
    timestamp: i64,
    revision: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    request_id: &'a str,
}

impl<'a> From<&'a proto::Message> for Message<'a> {
    fn from(message: &'a proto::Message) -> Self {
        let at = timestamp_ms(message.create_time.as_ref());
        Self {
            id: &message.id,
            room_id: &message.room_code,
            user_id: &message.user_id,
            username: &message.username,
            message: &message.text,
            ts: at,
            timestamp: at,
            revision: message.revision,
            request_id: &message.request_id,
        }
    }
}

/// `{userId, username}`
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Participant<'a> {
    user_id: &'a str,
    username: &'a str,
}

impl<'a> From<&'a proto::Participant> for Participant<'a> {
    fn from(participant: &'a proto::Participant) -> Self {
        Self {
            user_id: &participant.user_id,
            username: &participant.username,
        }
    }
}

/// `room` of the contract.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Room<'a> {
    id: &'a str,
    code: &'a str,
    name: &'a str,
    created_by: &'a str,
    created_at: i64,
    participant_count: u32,
    max_participants: u32,
}

impl<'a> From<&'a proto::Room> for Room<'a> {
    fn from(room: &'a proto::Room) -> Self {
        Self {
            id: &room.code,
            code: &room.code,
            name: &room.name,
            created_by: &room.created_by,
            created_at: timestamp_ms(room.create_time.as_ref()),
            participant_count: room.participant_count,
            max_participants: room.max_participants,
        }
    }
}

/// The room's position after a change and before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Step {
    pub(crate) epoch: u64,
    pub(crate) revision: u64,
    pub(crate) previous: u64,
}

/// Elements as a JSON list of the texts that they came as.
#[derive(Debug, Clone)]
pub(crate) struct Elements<I>(pub(crate) I);

impl<'a, I> Serialize for Elements<I>
where
    I: Iterator<Item = &'a str> + Clone,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for json in self.0.clone() {
            let element: &RawValue = serde_json::from_str(json).map_err(S::Error::custom)?;
            list.serialize_element(element)?;
        }
        list.end()
    }
}
