//! How a room's parts are written down in Redis, and read again.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use redis::Value;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::reply::{Reply, number};
use crate::{
    domain::{
        CatchUp, Element, Event, EventKind, Message, Position, Room, RoomCode, SignalKind, UserId,
        Whiteboard, in_board_order, is_tombstone,
    },
    repository::{NewMessage, RepositoryError, stored_participant},
};

fn damaged(what: &str) -> RepositoryError {
    RepositoryError::Damaged(what.to_owned())
}

/// A room from its hash's fields and values.
pub(super) fn room(
    code: RoomCode,
    fields: Vec<String>,
    expire_time: u64,
) -> Result<Room, RepositoryError> {
    let mut hash = HashMap::with_capacity(fields.len() / 2);
    let mut fields = fields.into_iter();
    while let (Some(field), Some(value)) = (fields.next(), fields.next()) {
        hash.insert(field, value);
    }
    let mut text = |name: &str| {
        hash.remove(name)
            .ok_or_else(|| damaged(&format!("the room hash lacks {name}")))
    };
    let small = |text: String| {
        text.parse::<u32>()
            .map_err(|_| damaged("a field of the room hash is no small number"))
    };
    Ok(Room {
        code,
        name: text("name")?,
        created_by: text("createdBy")?,
        create_time: number(&text("createdAt")?)?,
        participant_count: small(text("participantCount")?)?,
        max_participants: small(text("maxParticipants")?)?,
        expire_time,
        position: Position {
            epoch: number(&text("epoch")?)?,
            revision: number(&text("revision")?)?,
        },
    })
}

/// A message as it stands in the list. The fields' order is the record's.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessageRecord<'a> {
    id: Uuid,
    #[serde(borrow)]
    room_id: Cow<'a, str>,
    #[serde(borrow)]
    user_id: Cow<'a, str>,
    #[serde(borrow)]
    username: Cow<'a, str>,
    #[serde(borrow)]
    message: Cow<'a, str>,
    #[serde(default, skip_serializing)]
    timestamp: u64,
    #[serde(default, skip_serializing)]
    revision: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request_id: Option<Uuid>,
}

/// A message's JSON around what only the store knows: up to the timestamp's
/// value, and from behind the revision's.
pub(super) fn message_around(id: Uuid, message: &NewMessage) -> (String, String) {
    let record = MessageRecord {
        id,
        room_id: message.code.as_str().into(),
        user_id: message.author.user_id.as_str().into(),
        username: message.author.username.as_str().into(),
        message: message.text.as_str().into(),
        timestamp: 0,
        revision: 0,
        request_id: None,
    };
    // Room for what is not text; where texts need escapes it grows.
    let texts = record.user_id.len() + record.username.len() + record.message.len();
    let mut head = Vec::with_capacity(texts + 256);
    // Writing to memory cannot fail, nor can these fields.
    let _ = serde_json::to_writer(&mut head, &record);
    head.pop();
    let mut head = String::from_utf8(head).unwrap_or_default();
    head.push_str(r#","timestamp":"#);
    let tail = match message.request.own_id() {
        Some(id) => format!(r#","requestId":"{id}"}}"#),
        None => "}".to_owned(),
    };
    (head, tail)
}

/// A message from its JSON.
pub(super) fn message(json: &str) -> Result<Message, RepositoryError> {
    let record: MessageRecord<'_> =
        serde_json::from_str(json).map_err(|_| damaged("a message is not its JSON"))?;
    Ok(Message {
        id: record.id,
        user_id: record.user_id.into_owned(),
        username: record.username.into_owned(),
        text: record.message.into_owned(),
        timestamp: record.timestamp,
        revision: record.revision,
        request_id: record.request_id,
    })
}

/// An element from its id and `version:versionNonce:revision:ordinal JSON`.
pub(super) fn element(id: &str, value: &str) -> Result<Element, RepositoryError> {
    let parse = || {
        let (header, json) = value.split_once(' ')?;
        let mut numbers = header.split(':').map(|number| number.parse().ok());
        let mut next = || numbers.next().flatten();
        Some(Element {
            id: id.into(),
            version: next()?,
            version_nonce: next()?,
            revision: next()?,
            ordinal: next()?,
            is_deleted: is_tombstone(json),
            json: json.into(),
        })
    };
    parse().ok_or_else(|| damaged("an element of the board lacks its header"))
}

/// Elements from id, value, id, value.
pub(super) fn elements(values: &[String]) -> Result<Vec<Element>, RepositoryError> {
    values
        .chunks_exact(2)
        .map(|pair| match pair {
            [id, value] => element(id, value),
            _ => Err(damaged("an element lacks its value")),
        })
        .collect()
}

/// What a room holds, read beside the script that read the rest.
#[derive(Debug)]
pub(super) struct Contents {
    /// JSON, the newest first.
    messages: Vec<String>,
    /// Id, value, id, value.
    board: Vec<String>,
}

impl Contents {
    /// From the answers of `LRANGE` and `HGETALL`.
    pub(super) fn of(messages: Value, board: Value) -> Result<Self, RepositoryError> {
        Ok(Self {
            messages: Reply::of(messages)?.rest()?,
            board: Reply::of(board)?.rest()?,
        })
    }
}

/// What `snapshot` of the scripts returns; `contents` where it did not read them.
pub(super) fn catch_up(
    code: RoomCode,
    mut reply: Reply,
    contents: Option<Contents>,
) -> Result<CatchUp, RepositoryError> {
    let fields = reply.texts()?;
    let expire_time = reply.number()?;
    let now = reply.number()?;
    let order = reply.texts()?;
    let names = reply.texts()?;
    let within = Contents {
        messages: reply.texts()?,
        board: reply.texts()?,
    };
    let Contents { messages, board } = contents.unwrap_or(within);
    let reset = reply.text()? == "1";
    let history_truncated = reply.text()? == "1";

    let names: HashMap<&str, &str> = names
        .chunks_exact(2)
        .filter_map(|pair| Some((pair.first()?.as_str(), pair.get(1)?.as_str())))
        .collect();
    let participants = order
        .iter()
        .filter_map(|id| Some(stored_participant(id, names.get(id.as_str())?)))
        .collect();

    Ok(CatchUp {
        room: room(code, fields, expire_time)?,
        ttl: expire_time.saturating_sub(now),
        reset,
        history_truncated,
        participants,
        messages: messages
            .iter()
            .rev()
            .map(|json| message(json).map(Arc::new))
            .collect::<Result<_, _>>()?,
        elements: in_board_order(elements(&board)?),
    })
}

/// An event from its fields, each as length, colon, bytes.
pub(crate) fn event(payload: &[u8]) -> Result<Event, RepositoryError> {
    let mut fields = Fields(payload);
    let kind = fields.next()?;
    let epoch = fields.number()?;
    let revision = fields.number()?;
    let previous = fields.number()?;
    let expire_time = fields.number()?;
    let session_id = fields.next()?.to_owned();
    let kind = match kind {
        "message" => EventKind::Message(Arc::new(message(fields.next()?)?)),
        "board" => {
            let user_id = UserId::stored(fields.next()?);
            let mut elements = Vec::new();
            while !fields.0.is_empty() {
                let id = fields.next()?;
                elements.push(element(id, fields.next()?)?);
            }
            EventKind::Whiteboard(Whiteboard { user_id, elements })
        }
        "joined" => EventKind::Joined(stored_participant(fields.next()?, fields.next()?)),
        "renamed" => EventKind::Renamed(stored_participant(fields.next()?, fields.next()?)),
        "left" => EventKind::Left(stored_participant(fields.next()?, fields.next()?)),
        "deleted" => EventKind::Deleted,
        "omitted" => EventKind::Omitted,
        "signal" => EventKind::Signal {
            from: stored_participant(fields.next()?, fields.next()?),
            kind: SignalKind::stored(fields.next()?),
            json: fields.next()?.to_owned(),
        },
        _ => return Err(damaged("an event is of no known kind")),
    };
    let position = Position { epoch, revision };
    Ok(Event {
        position,
        previous,
        expire_time,
        session_id,
        kind,
    })
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<&'a str, RepositoryError> {
        let mut parse = || {
            let colon = self.0.iter().take(12).position(|&byte| byte == b':')?;
            let length: usize = std::str::from_utf8(&self.0[..colon]).ok()?.parse().ok()?;
            let end = colon.checked_add(1)?.checked_add(length)?;
            let field = std::str::from_utf8(self.0.get(colon + 1..end)?).ok()?;
            self.0 = &self.0[end..];
            Some(field)
        };
        parse().ok_or_else(|| damaged("an event is cut off"))
    }

    fn number(&mut self) -> Result<u64, RepositoryError> {
        number(self.next()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ChatText, Request, RequestId};

    fn said(text: &str, transient: bool) -> NewMessage {
        let id = RequestId {
            id: Uuid::from_u128(7),
            transient,
        };
        NewMessage {
            code: RoomCode::from_number(123_456).unwrap(),
            author: stored_participant("ann", "Ann \"A\""),
            text: ChatText::parse("text", text).unwrap(),
            session: None,
            request: Request::new(id, "SaveMessage", "ann", [text]),
        }
    }

    #[test]
    fn a_message_survives_the_round_trip_with_what_the_store_adds() {
        let text = r#"quote " and ,"revision":99 and 😀"#;
        for transient in [true, false] {
            let (head, tail) = message_around(Uuid::from_u128(1), &said(text, transient));
            let json = format!(r#"{head}1762345678901,"revision":1762345678901200{tail}"#);
            let read = message(&json).unwrap();
            assert_eq!(read.text, text);
            assert_eq!(read.username, "Ann \"A\"");
            assert_eq!(read.timestamp, 1_762_345_678_901);
            assert_eq!(read.revision, 1_762_345_678_901_200);
            assert_eq!(read.request_id, (!transient).then(|| Uuid::from_u128(7)));
        }
    }

    #[test]
    fn an_element_survives_the_round_trip() {
        let read = element("a", r#"3:4:1762345678901200:2 {"id":"a", "x":1}"#).unwrap();
        assert_eq!((read.version, read.version_nonce, read.ordinal), (3, 4, 2));
        assert_eq!(&*read.json, r#"{"id":"a", "x":1}"#);
        assert!(element("a", "garbage").is_err());
        assert!(element("a", "1:2:3 {}").is_err());
    }

    #[test]
    fn an_event_survives_the_round_trip_and_no_garbage_panics() {
        let fields = ["joined", "5", "9", "8", "1000", "s:1", "ann", "Ann:é"];
        let payload: String = fields.iter().map(|f| format!("{}:{f}", f.len())).collect();
        let read = event(payload.as_bytes()).unwrap();
        assert_eq!((read.position.revision, read.previous), (9, 8));
        assert!(matches!(&read.kind, EventKind::Joined(p) if p.username.as_str() == "Ann:é"));
        for end in 0..payload.len() {
            assert!(event(&payload.as_bytes()[..end]).is_err());
        }
        assert!(event(b"99999999999999999999:x").is_err());
        assert!(event(b"18446744073709551615:x").is_err());
    }
}
