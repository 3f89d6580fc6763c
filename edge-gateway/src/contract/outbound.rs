//! What the gateway sends: packets for sockets, and acknowledgements.

use std::sync::Arc;

use roomkeeper_proto::v1 as proto;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tracing::error;

use super::{
    ClientEvent, Packet, ServerEvent,
    json::Fields,
    push_other_fields,
    shape::{Elements, Message, Participant, Step},
};
use crate::{error::Error, values::RoomCode};

/// What a resumed client is told of the point that it resumed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resumed {
    /// The point could not be served, and what comes is everything.
    pub(crate) reset: bool,
    /// Messages after the point have already fallen off the list.
    pub(crate) truncated: bool,
}

/// `chat:history`
pub(crate) fn chat_history(
    room: &RoomCode,
    messages: &[proto::Message],
    resumed: Option<Resumed>,
) -> Packet {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload<'a> {
        room_id: &'a str,
        messages: Vec<Message<'a>>,
        count: usize,
        #[serde(skip_serializing_if = "Option::is_none")]
        reset: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        truncated: Option<bool>,
    }
    let payload = Payload {
        room_id: room.as_str(),
        messages: messages.iter().map(Message::from).collect(),
        count: messages.len(),
        reset: resumed.map(|resumed| resumed.reset),
        truncated: resumed
            .filter(|resumed| resumed.truncated && !resumed.reset)
            .map(|_| true),
    };
    packet(ServerEvent::ChatHistory, &payload)
}

/// `whiteboard:state`; `reset` is for clients that resumed.
pub(crate) fn whiteboard_state<'a>(
    room: &RoomCode,
    elements: impl Iterator<Item = &'a str> + Clone,
    reset: Option<bool>,
) -> Packet {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload<'a, E> {
        room_id: &'a str,
        elements: E,
        #[serde(skip_serializing_if = "Option::is_none")]
        reset: Option<bool>,
    }
    let payload = Payload {
        room_id: room.as_str(),
        elements: Elements(elements),
        reset,
    };
    packet(ServerEvent::WhiteboardState, &payload)
}

/// `presence:update`
pub(crate) fn presence_update(
    room: &RoomCode,
    participants: &[proto::Participant],
    step: Step,
) -> Packet {
    let list: Vec<Participant<'_>> = participants.iter().map(Participant::from).collect();
    let at = At {
        room_id: room.as_str(),
        step,
    };
    Packet {
        second: Some(raw(&at)),
        ..packet(ServerEvent::PresenceUpdate, &list)
    }
}

/// A room and nothing but a step of its position.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct At<'a> {
    room_id: &'a str,
    #[serde(flatten)]
    step: Step,
}

/// `chat:message`
pub(crate) fn chat_message(message: &proto::Message, epoch: u64, previous: u64) -> Packet {
    #[derive(Serialize)]
    struct Payload<'a> {
        #[serde(flatten)]
        message: Message<'a>,
        epoch: u64,
        previous: u64,
    }
    let payload = Payload {
        message: message.into(),
        epoch,
        previous,
    };
    packet(ServerEvent::ChatMessage, &payload)
}

/// `whiteboard-update`; without a step it says nothing of the room's position.
pub(crate) fn whiteboard_update<'a>(
    room: &RoomCode,
    elements: impl Iterator<Item = &'a str> + Clone,
    step: Option<Step>,
) -> Packet {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload<'a, E> {
        room_id: &'a str,
        elements: E,
        #[serde(flatten)]
        step: Option<Step>,
    }
    let payload = Payload {
        room_id: room.as_str(),
        elements: Elements(elements),
        step,
    };
    packet(ServerEvent::WhiteboardUpdate, &payload)
}

/// A signal with the server's word on who sent it; `None` if browsers do not know its kind.
pub(crate) fn signal(room: &RoomCode, signal: &proto::Signal) -> Option<Packet> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Identity<'a> {
        room_id: &'a str,
        user_id: &'a str,
        username: &'a str,
    }
    let event = super::signal::event_of(&signal.kind)?;
    let identity = Identity {
        room_id: room.as_str(),
        user_id: &signal.user_id,
        username: &signal.username,
    };
    let mut text = raw(&identity).get().to_owned();
    if let Ok(fields) = Fields::parse("json", &signal.json) {
        // The identity's closing brace makes place for the sender's own fields.
        text.pop();
        push_other_fields(&mut text, &fields, true);
        text.push('}');
    }
    let first = RawValue::from_string(text).ok()?;
    Some(Packet {
        event,
        first: first.into(),
        second: None,
    })
}

/// `room:position`
pub(crate) fn room_position(room: &RoomCode, step: Step) -> Packet {
    packet(
        ServerEvent::RoomPosition,
        &At {
            room_id: room.as_str(),
            step,
        },
    )
}

/// Why a room is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Over {
    Deleted,
    Expired,
}

/// `room:closed`
pub(crate) fn room_closed(room: &RoomCode, reason: Over) -> Packet {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload<'a> {
        room_id: &'a str,
        reason: Over,
    }
    packet(
        ServerEvent::RoomClosed,
        &Payload {
            room_id: room.as_str(),
            reason,
        },
    )
}

/// `server:draining`
pub(crate) fn draining(retry_after_ms: u64) -> Packet {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload {
        retry_after_ms: u64,
    }
    packet(ServerEvent::Draining, &Payload { retry_after_ms })
}

/// `error`, for a request that carried no ack.
///
/// `text` is what was sent, as far as it is to be looked at.
pub(crate) fn error(event: ClientEvent, text: &str, error: &Error) -> Packet {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload<'a> {
        message: String,
        code: &'static str,
        event: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        room_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    }
    let name = match event {
        ClientEvent::Unknown => super::event_name(text),
        ClientEvent::Join
        | ClientEvent::Leave
        | ClientEvent::ChatMessage
        | ClientEvent::WhiteboardChange
        | ClientEvent::Typing
        | ClientEvent::StopTyping
        | ClientEvent::Pointer => None,
    };
    let room = super::room_of(text);
    let payload = Payload {
        message: error.to_string(),
        code: error.code(),
        event: name.as_deref().unwrap_or(event.name()),
        room_id: room.as_ref().map(RoomCode::as_str),
        retry_after_ms: error.retry_after_ms(),
    };
    packet(ServerEvent::Error, &payload)
}

fn packet(event: ServerEvent, payload: &impl Serialize) -> Packet {
    Packet {
        event,
        first: raw(payload),
        second: None,
    }
}

/// Serializes what cannot fail, but for an element of the service's that is no JSON.
pub(super) fn raw(payload: &impl Serialize) -> Arc<RawValue> {
    match to_raw_value(payload) {
        Ok(text) => text.into(),
        Err(problem) => {
            error!("a payload cannot be written: {problem}");
            RawValue::NULL.to_owned().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{ack_chat_message, failure},
        *,
    };

    fn room() -> RoomCode {
        RoomCode::parse("roomId", "123456").unwrap()
    }

    fn message() -> proto::Message {
        proto::Message {
            id: "m".to_owned(),
            room_code: "123456".to_owned(),
            user_id: "u".to_owned(),
            username: "n".to_owned(),
            text: "hi".to_owned(),
            create_time: Some(prost_types::Timestamp {
                seconds: 2,
                nanos: 3_000_000,
            }),
            revision: 7,
            request_id: String::new(),
        }
    }

    #[test]
    fn a_message_has_the_fields_of_the_contract() {
        assert_eq!(
            format!("{:?}", chat_message(&message(), 1, 6)),
            r#"chat:message {"id":"m","roomId":"123456","userId":"u","username":"n","message":"hi","ts":2003,"timestamp":2003,"revision":7,"epoch":1,"previous":6}"#
        );
        let mut repeatable = message();
        repeatable.request_id = "r".to_owned();
        assert!(
            ack_chat_message(&repeatable, true)
                .get()
                .contains(r#""requestId":"r""#)
        );
    }

    #[test]
    fn history_counts_itself_and_says_of_a_resume_what_it_is() {
        assert_eq!(
            format!("{:?}", chat_history(&room(), &[], None)),
            r#"chat:history {"roomId":"123456","messages":[],"count":0}"#
        );
        let resumed = |reset, truncated| {
            let packet = chat_history(&room(), &[], Some(Resumed { reset, truncated }));
            packet.first.get().split_once("0,").unwrap().1.to_owned()
        };
        assert_eq!(resumed(false, false), r#""reset":false}"#);
        assert_eq!(resumed(false, true), r#""reset":false,"truncated":true}"#);
        assert_eq!(resumed(true, true), r#""reset":true}"#);
    }

    #[test]
    fn presence_is_a_list_and_a_step() {
        let present = [proto::Participant {
            user_id: "u".to_owned(),
            username: "n".to_owned(),
        }];
        let packet = presence_update(
            &room(),
            &present,
            Step {
                epoch: 1,
                revision: 3,
                previous: 2,
            },
        );
        assert_eq!(
            format!("{packet:?}"),
            r#"presence:update [{"userId":"u","username":"n"}] {"roomId":"123456","epoch":1,"revision":3,"previous":2}"#
        );
    }

    #[test]
    fn an_update_keeps_the_elements_text() {
        let elements = [r#"{"id":"a", "x":1.0}"#];
        let step = Step {
            epoch: 1,
            revision: 3,
            previous: 2,
        };
        assert_eq!(
            format!(
                "{:?}",
                whiteboard_update(&room(), elements.into_iter(), Some(step))
            ),
            r#"whiteboard-update {"roomId":"123456","elements":[{"id":"a", "x":1.0}],"epoch":1,"revision":3,"previous":2}"#
        );
        assert_eq!(
            format!(
                "{:?}",
                whiteboard_update(&room(), elements.into_iter(), None)
            ),
            r#"whiteboard-update {"roomId":"123456","elements":[{"id":"a", "x":1.0}]}"#
        );
    }

    #[test]
    fn a_signal_carries_the_servers_word_on_who_sent_it() {
        let pointer = proto::Signal {
            user_id: "u".to_owned(),
            username: "n".to_owned(),
            kind: "pointer".to_owned(),
            json: r#"{"x":1,"userId":"liar","y":2}"#.to_owned(),
        };
        assert_eq!(
            format!("{:?}", signal(&room(), &pointer).unwrap()),
            r#"whiteboard-pointer {"roomId":"123456","userId":"u","username":"n","x":1,"y":2}"#
        );
        assert!(
            signal(
                &room(),
                &proto::Signal {
                    kind: "x".to_owned(),
                    ..pointer
                }
            )
            .is_none()
        );
    }

    #[test]
    fn a_refusal_says_what_and_when() {
        assert_eq!(
            failure(&Error::NotJoined).get(),
            r#"{"success":false,"error":"join the room first","code":"NOT_JOINED"}"#
        );
        assert!(
            failure(&Error::rate_limited())
                .get()
                .contains(r#""retryAfterMs":1000"#)
        );
        assert_eq!(
            format!(
                "{:?}",
                error(
                    ClientEvent::Leave,
                    r#"["leave",{"roomId":"123456"}]"#,
                    &Error::NotJoined
                )
            ),
            r#"error {"message":"join the room first","code":"NOT_JOINED","event":"leave","roomId":"123456"}"#
        );
        for (text, name) in [
            (r#"["shout",{}]"#.to_owned(), "shout"),
            (format!("[\"{}\",{{}}]", "x".repeat(10_000)), "unknown"),
            (String::new(), "unknown"),
        ] {
            let packet = error(ClientEvent::Unknown, &text, &Error::NotJoined);
            let told = format!("{packet:?}");
            assert!(told.contains(&format!(r#""event":"{name}""#)), "{told}");
        }
    }

    #[test]
    fn a_length_is_that_of_the_wire() {
        let packet = room_closed(&room(), Over::Expired);
        let wire = format!("42[\"room:closed\",{}]", packet.first);
        assert_eq!(packet.len(), wire.len());
    }
}
