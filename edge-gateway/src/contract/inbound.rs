//! What browsers send: each payload checked field by field, before any room is looked up.

use roomkeeper_proto::v1 as proto;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    ClientEvent, ElementVersion, SyncMode,
    json::{Fields, check_depth, only_argument},
};
use crate::{
    error::Error,
    values::{self, RoomCode},
};

/// The most elements in one change.
const MAX_ELEMENTS: usize = 5_000;

/// The most bytes of JSON in one change.
const MAX_CHANGE: usize = 1 << 20;

/// The most bytes of a signal, all its fields together.
const MAX_SIGNAL: usize = 2 << 10;

/// The longest name of an unknown event that is told back, in bytes.
const MAX_NAME: usize = 64;

/// How far a packet is read for it.
const MAX_NAME_READ: usize = 8 * MAX_NAME;

/// The payload of an event: the one argument that came with it, not nested too deep.
///
/// `text` is the packet's JSON, `["event", payload]`.
///
/// # Errors
///
/// [`Error::Invalid`] where it is no such thing.
pub(crate) fn payload(text: &str) -> Result<&str, Error> {
    check_depth(text, 1)?;
    only_argument(text)
}

/// The room that a payload names, as far as one can be made out: for the `error` event.
pub(crate) fn room_of(text: &str) -> Option<RoomCode> {
    let fields = Fields::parse("payload", payload(text).ok()?).ok()?;
    room(&fields).ok()
}

/// The name that an event came with, where it is short enough to be told back.
pub(crate) fn event_name(text: &str) -> Option<String> {
    let text = text.get(..MAX_NAME_READ).unwrap_or(text);
    let mut values = serde_json::Deserializer::from_str(text.trim_start().strip_prefix('[')?)
        .into_iter::<String>();
    let name = values.next()?.ok()?;
    (name.len() <= MAX_NAME).then_some(name)
}

fn room(fields: &Fields<'_>) -> Result<RoomCode, Error> {
    RoomCode::parse("roomId", &fields.string("roomId")?)
}

/// Who a later event says it is from; the server fills in what is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The room that the event is for.
    pub(crate) room: RoomCode,
    /// The user that it claims to be from, if it does.
    pub(crate) user_id: Option<String>,
}

fn claim(fields: &Fields<'_>) -> Result<Claim, Error> {
    let room = room(fields)?;
    let user_id = fields
        .optional_string("userId")?
        .map(|text| values::user_id("userId", text))
        .transpose()?;
    // The name that counts is the one given at join; this one must just be well formed.
    fields
        .optional_string("username")?
        .map(|text| values::username("username", text))
        .transpose()?;
    Ok(Claim { room, user_id })
}

/// `join`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Join {
    pub(crate) room: RoomCode,
    pub(crate) user_id: String,
    pub(crate) username: String,
    pub(crate) sync: SyncMode,
    pub(crate) after: Option<proto::Position>,
}

impl Join {
    /// Reads the payload of `join`.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let fields = Fields::parse("payload", payload(text)?)?;
        let room = room(&fields)?;
        let user_id = values::user_id("userId", fields.string("userId")?)?;
        let username = values::username("username", fields.string("username")?)?;
        let sync = match fields.optional_string("sync")?.as_deref() {
            None => SyncMode::Full,
            Some("delta") => SyncMode::Delta,
            Some(_) => {
                return Err(Error::invalid(
                    "sync",
                    "must be \"delta\" where it is given",
                ));
            }
        };
        let after = fields.raw("after").map(position).transpose()?;
        Ok(Self {
            room,
            user_id,
            username,
            sync,
            after,
        })
    }
}

fn position(text: &str) -> Result<proto::Position, Error> {
    let fields = Fields::parse("after", text)?;
    let member = |name: &str| {
        fields.optional_integer(name).ok().flatten().ok_or_else(|| {
            Error::invalid(format!("after.{name}"), "must be an integer of at least 0")
        })
    };
    Ok(proto::Position {
        epoch: member("epoch")?,
        revision: member("revision")?,
    })
}

/// `leave`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leave(pub(crate) Claim);

impl Leave {
    /// Reads the payload of `leave`.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        Ok(Self(claim(&Fields::parse("payload", payload(text)?)?)?))
    }
}

/// `chat:message`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChatMessage {
    pub(crate) claim: Claim,
    pub(crate) text: String,
    pub(crate) request_id: Option<String>,
}

impl ChatMessage {
    /// Reads the payload of `chat:message`.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let fields = Fields::parse("payload", payload(text)?)?;
        Ok(Self {
            claim: claim(&fields)?,
            text: values::chat_text("message", fields.string("message")?)?,
            request_id: request_id(&fields)?,
        })
    }
}

fn request_id(fields: &Fields<'_>) -> Result<Option<String>, Error> {
    fields
        .optional_string("requestId")?
        .map(|text| values::request_id("requestId", text))
        .transpose()
}

/// `whiteboard-change`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WhiteboardChange {
    pub(crate) claim: Claim,
    /// Each element's JSON as it came; what is in them is the service's to check.
    pub(crate) elements: Vec<proto::Element>,
    pub(crate) request_id: Option<String>,
}

impl WhiteboardChange {
    /// Reads the payload of `whiteboard-change`.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let fields = Fields::parse("payload", payload(text)?)?;
        Ok(Self {
            claim: claim(&fields)?,
            elements: elements(&fields)?,
            request_id: request_id(&fields)?,
        })
    }
}

impl WhiteboardChange {
    /// Of each element its state, where that can be read.
    pub(crate) fn stamps(&self) -> Vec<Option<ElementVersion>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Header {
            id: String,
            version: u64,
            version_nonce: u64,
        }
        let stamp = |element: &proto::Element| {
            let header: Header = serde_json::from_str(&element.json).ok()?;
            Some(ElementVersion {
                id: header.id,
                version: header.version,
                nonce: header.version_nonce,
            })
        };
        self.elements.iter().map(stamp).collect()
    }
}

fn elements(fields: &Fields<'_>) -> Result<Vec<proto::Element>, Error> {
    let text = fields
        .raw("elements")
        .ok_or_else(|| Error::invalid("elements", "is missing"))?;
    let elements: Vec<&RawValue> =
        serde_json::from_str(text).map_err(|_| Error::invalid("elements", "must be an array"))?;
    if elements.len() > MAX_ELEMENTS {
        return Err(Error::TooLarge("elements: must be at most 5000".to_owned()));
    }
    let bytes: usize = elements.iter().map(|element| element.get().len()).sum();
    if bytes > MAX_CHANGE {
        return Err(Error::TooLarge(
            "elements: must be at most 1 MiB of JSON".to_owned(),
        ));
    }
    Ok(elements
        .into_iter()
        .map(|element| proto::Element {
            json: element.get().to_owned(),
            ..Default::default()
        })
        .collect())
}

/// `chat:typing`, `chat:stopTyping` and `whiteboard-pointer`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signal {
    pub(crate) claim: Claim,
    /// A JSON object: what came, without the fields that the server fills in.
    pub(crate) rest: String,
}

impl Signal {
    /// Reads the payload of such an event.
    pub(crate) fn parse(event: ClientEvent, text: &str) -> Result<Self, Error> {
        let payload = payload(text)?;
        let fields = Fields::parse("payload", payload)?;
        let claim = claim(&fields)?;
        if event == ClientEvent::Pointer {
            fields.check_number("x")?;
            fields.check_number("y")?;
        }
        if payload.len() > MAX_SIGNAL {
            return Err(Error::TooLarge("payload: must be at most 2 KiB".to_owned()));
        }
        let mut rest = String::with_capacity(payload.len());
        rest.push('{');
        super::push_other_fields(&mut rest, &fields, false);
        rest.push('}');
        Ok(Self { claim, rest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a refused payload complains of.
    fn field<T: std::fmt::Debug>(parsed: Result<T, Error>) -> String {
        let error = parsed.unwrap_err();
        if let Error::Invalid { field, .. } = error {
            field
        } else {
            error.code().to_owned()
        }
    }

    #[test]
    fn a_payload_that_is_no_object_is_refused_for_every_event() {
        for payload in ["null", "1", "\"x\"", "[]", "[{}]", "true"] {
            let text = format!("[\"event\",{payload}]");
            assert_eq!(field(Join::parse(&text)), "payload");
            assert_eq!(field(Leave::parse(&text)), "payload");
            assert_eq!(field(ChatMessage::parse(&text)), "payload");
            assert_eq!(field(WhiteboardChange::parse(&text)), "payload");
            for event in [ClientEvent::Typing, ClientEvent::Pointer] {
                assert_eq!(field(Signal::parse(event, &text)), "payload");
            }
        }
        assert_eq!(field(Join::parse("[\"event\"]")), "payload");
    }

    #[test]
    fn a_payload_nested_too_deep_is_refused() {
        let deep = format!("[\"join\",{}1{}]", "{\"a\":".repeat(65), "}".repeat(65));
        assert_eq!(field(Join::parse(&deep)), "payload");
        let deepest = format!("[\"join\",{}1{}]", "{\"a\":".repeat(64), "}".repeat(64));
        assert_eq!(field(Join::parse(&deepest)), "roomId");
    }

    #[test]
    fn join_names_the_first_bad_field() {
        for (fields, bad) in [
            ("", "roomId"),
            ("\"roomId\":123456", "roomId"),
            ("\"roomId\":\"12345\"", "roomId"),
            ("\"roomId\":\"123456\"", "userId"),
            ("\"roomId\":\"123456\",\"userId\":\"\"", "userId"),
            ("\"roomId\":\"123456\",\"userId\":\"u\"", "username"),
            (
                "\"roomId\":\"123456\",\"userId\":\"u\",\"username\":null",
                "username",
            ),
            (
                "\"roomId\":\"123456\",\"userId\":\"u\",\"username\":\"n\",\"sync\":\"x\"",
                "sync",
            ),
            (
                "\"roomId\":\"123456\",\"userId\":\"u\",\"username\":\"n\",\"after\":3",
                "after",
            ),
            (
                "\"roomId\":\"123456\",\"userId\":\"u\",\"username\":\"n\",\"after\":{\"epoch\":1}",
                "after.revision",
            ),
        ] {
            assert_eq!(
                field(Join::parse(&format!("[\"join\",{{{fields}}}]"))),
                bad,
                "{fields}"
            );
        }
    }

    #[test]
    fn join_reads_where_a_client_already_is() {
        let join = Join::parse(
            r#"["join",{"roomId":"123456","userId":"u","username":"n","sync":"delta","after":{"epoch":1,"revision":2}}]"#,
        )
        .unwrap();
        assert_eq!(join.sync, SyncMode::Delta);
        assert_eq!(
            join.after,
            Some(proto::Position {
                epoch: 1,
                revision: 2
            })
        );
    }

    #[test]
    fn elements_stay_the_text_that_they_were() {
        let change = WhiteboardChange::parse(
            r#"["whiteboard-change",{"roomId":"123456","elements":[{"id":"a", "x":1.0e2}, 7]}]"#,
        )
        .unwrap();
        let texts: Vec<_> = change
            .elements
            .iter()
            .map(|element| element.json.as_str())
            .collect();
        assert_eq!(texts, [r#"{"id":"a", "x":1.0e2}"#, "7"]);
    }

    #[test]
    fn a_change_has_its_limits() {
        let change = |elements: String| {
            WhiteboardChange::parse(&format!(
                "[\"whiteboard-change\",{{\"roomId\":\"123456\",\"elements\":{elements}}}]"
            ))
        };
        assert!(change(format!("[{}0]", "0,".repeat(4_999))).is_ok());
        assert_eq!(
            field(change(format!("[{}0]", "0,".repeat(5_000)))),
            "PAYLOAD_TOO_LARGE"
        );
        assert_eq!(
            field(change(format!("[\"{}\"]", "x".repeat(1 << 20)))),
            "PAYLOAD_TOO_LARGE"
        );
        assert_eq!(field(change("{}".to_owned())), "elements");
        assert_eq!(field(change("null".to_owned())), "elements");
    }

    #[test]
    fn a_signal_keeps_its_own_fields_and_loses_the_servers() {
        let pointer = Signal::parse(
            ClientEvent::Pointer,
            r#"["whiteboard-pointer",{"roomId":"123456","x":1,"userId":"u","tool":{"a":[1]},"username":"n","y":2.50}]"#,
        )
        .unwrap();
        assert_eq!(pointer.rest, r#"{"x":1,"tool":{"a":[1]},"y":2.50}"#);
        assert_eq!(pointer.claim.user_id.as_deref(), Some("u"));

        let large = format!(
            r#"["whiteboard-pointer",{{"roomId":"123456","x":1,"y":2,"z":"{}"}}]"#,
            "z".repeat(2048)
        );
        assert_eq!(
            field(Signal::parse(ClientEvent::Pointer, &large)),
            "PAYLOAD_TOO_LARGE"
        );
        assert_eq!(
            field(Signal::parse(
                ClientEvent::Pointer,
                r#"["p",{"roomId":"123456","x":"1","y":2}]"#
            )),
            "x"
        );
        assert_eq!(
            field(Signal::parse(
                ClientEvent::Pointer,
                r#"["p",{"roomId":"123456","x":1}]"#
            )),
            "y"
        );
        let typing = r#"["t",{"roomId":"123456","draft":true}]"#;
        let typing = Signal::parse(ClientEvent::Typing, typing).unwrap();
        assert_eq!(typing.rest, r#"{"draft":true}"#);
    }
}
