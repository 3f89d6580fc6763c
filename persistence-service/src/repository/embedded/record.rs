//! How rows are written down, and read again.

use std::sync::Arc;

use uuid::Uuid;

use super::{failure::Failure, keys};
use crate::{
    domain::{
        Element, ElementChange, Message, Participant, Position, Room, RoomCode, UserId,
        is_tombstone,
    },
    repository::{NewMessage, stored_participant},
};

/// The fields of a row, one after the other: numbers little-endian, texts with
/// their length before them.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }

    fn long(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn int(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.int()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    fn rest(self) -> Option<&'a str> {
        std::str::from_utf8(self.0).ok()
    }

    fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// A row that is being written.
#[derive(Default)]
struct Row(Vec<u8>);

impl Row {
    fn long(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    fn int(mut self, number: u32) -> Self {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    fn text(self, text: &str) -> Self {
        // No text of a room is near that long.
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let mut row = self.int(length);
        row.0.extend_from_slice(text.as_bytes());
        row
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
}

fn whole<T>(what: &str, record: Option<T>) -> Result<T, Failure> {
    record.ok_or_else(|| Failure::Damaged(format!("{what} is not as it was written")))
}

/// The state of the store as a whole, written with each commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Store {
    /// How many commits there have been.
    pub(super) commit: u64,
    /// The store's clock at the last one, in Unix microseconds.
    pub(super) clock: u64,
    /// How many bytes all rows have, with their keys.
    pub(super) bytes: u64,
}

/// What the first byte of the store's row says: how the rows are written.
const FORMAT: u32 = 1;

impl Store {
    pub(super) fn encode(self) -> Vec<u8> {
        let row = Row::default().int(FORMAT);
        row.long(self.commit).long(self.clock).long(self.bytes).0
    }

    pub(super) fn decode(row: &[u8]) -> Result<Self, Failure> {
        let mut fields = Fields(row);
        match fields.int() {
            Some(FORMAT) => {}
            Some(other) => {
                return Err(Failure::Damaged(format!(
                    "it is written in format {other}, and this program reads format {FORMAT}"
                )));
            }
            None => return whole("the store's row", None),
        }
        let parse = || {
            let store = Self {
                commit: fields.long()?,
                clock: fields.long()?,
                bytes: fields.long()?,
            };
            fields.end().map(|()| store)
        };
        whole("the store's row", parse())
    }
}

/// A room without what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) code: RoomCode,
    pub(super) epoch: u64,
    pub(super) revision: u64,
    /// When it ends, in Unix milliseconds.
    pub(super) expire_time: u64,
    /// How long it lives after its last activity, in milliseconds.
    pub(super) ttl: u64,
    /// The revision of the newest message that was removed.
    pub(super) trimmed: u64,
    /// The revision of the newest tombstone that was pruned.
    pub(super) pruned: u64,
    pub(super) max_participants: u32,
    pub(super) participant_count: u32,
    /// How many message rows there are; more than the room keeps until the next
    /// removal.
    pub(super) message_rows: u32,
    pub(super) board_elements: u32,
    pub(super) board_bytes: u64,
    /// The place of the next element that is new on the board.
    pub(super) board_ordinal: u64,
    pub(super) name: String,
    pub(super) created_by: String,
}

impl Head {
    pub(super) fn encode(&self) -> Vec<u8> {
        Row::default()
            .bytes(self.code.as_str().as_bytes())
            .long(self.epoch)
            .long(self.revision)
            .long(self.expire_time)
            .long(self.ttl)
            .long(self.trimmed)
            .long(self.pruned)
            .int(self.max_participants)
            .int(self.participant_count)
            .int(self.message_rows)
            .int(self.board_elements)
            .long(self.board_bytes)
            .long(self.board_ordinal)
            .text(&self.name)
            .text(&self.created_by)
            .0
    }

    pub(super) fn decode(row: &[u8]) -> Result<Self, Failure> {
        let mut fields = Fields(row);
        let mut parse = || {
            let code = fields.array::<6>()?;
            Some(Self {
                code: RoomCode::parse("", std::str::from_utf8(&code).ok()?).ok()?,
                epoch: fields.long()?,
                revision: fields.long()?,
                expire_time: fields.long()?,
                ttl: fields.long()?,
                trimmed: fields.long()?,
                pruned: fields.long()?,
                max_participants: fields.int()?,
                participant_count: fields.int()?,
                message_rows: fields.int()?,
                board_elements: fields.int()?,
                board_bytes: fields.long()?,
                board_ordinal: fields.long()?,
                name: fields.text()?.to_owned(),
                created_by: fields.text()?.to_owned(),
            })
        };
        let head = parse();
        whole("a room's row", head.filter(|_| fields.end().is_some()))
    }

    pub(super) fn create_time(&self) -> u64 {
        self.epoch / 1_000
    }

    pub(super) fn position(&self) -> Position {
        Position {
            epoch: self.epoch,
            revision: self.revision,
        }
    }

    pub(super) fn room(&self) -> Room {
        Room {
            code: self.code,
            name: self.name.clone(),
            created_by: self.created_by.clone(),
            create_time: self.create_time(),
            participant_count: self.participant_count,
            max_participants: self.max_participants,
            expire_time: self.expire_time,
            position: self.position(),
        }
    }
}

/// An epoch that another row names.
pub(super) fn encode_epoch(epoch: u64) -> Vec<u8> {
    Row::default().long(epoch).0
}

pub(super) fn decode_epoch(row: &[u8]) -> Result<u64, Failure> {
    let mut fields = Fields(row);
    whole("the epoch of a code", fields.long())
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recorded {
    /// When it may be forgotten, in Unix milliseconds.
    pub(super) until: u64,
    pub(super) fingerprint: String,
    pub(super) outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The code that a creation is for.
    Claimed(RoomCode),
    Created,
    Said {
        revision: u64,
        id: Uuid,
        username: String,
    },
    Drawn {
        /// 0 where nothing changed.
        revision: u64,
        accepted: u32,
        rejected: u32,
    },
}

impl Recorded {
    pub(super) fn encode(&self) -> Vec<u8> {
        let row = Row::default().long(self.until).text(&self.fingerprint);
        match &self.outcome {
            Outcome::Claimed(code) => row.bytes(b"c").bytes(code.as_str().as_bytes()),
            Outcome::Created => row.bytes(b"n"),
            Outcome::Said {
                revision,
                id,
                username,
            } => row
                .bytes(b"m")
                .long(*revision)
                .bytes(id.as_bytes())
                .text(username),
            Outcome::Drawn {
                revision,
                accepted,
                rejected,
            } => row
                .bytes(b"d")
                .long(*revision)
                .int(*accepted)
                .int(*rejected),
        }
        .0
    }

    pub(super) fn decode(row: &[u8]) -> Result<Self, Failure> {
        let mut fields = Fields(row);
        let mut parse = || {
            let until = fields.long()?;
            let fingerprint = fields.text()?.to_owned();
            let outcome = match &fields.array::<1>()? {
                b"c" => {
                    let code = fields.array::<6>()?;
                    Outcome::Claimed(RoomCode::parse("", std::str::from_utf8(&code).ok()?).ok()?)
                }
                b"n" => Outcome::Created,
                b"m" => Outcome::Said {
                    revision: fields.long()?,
                    id: Uuid::from_bytes(fields.array()?),
                    username: fields.text()?.to_owned(),
                },
                b"d" => Outcome::Drawn {
                    revision: fields.long()?,
                    accepted: fields.int()?,
                    rejected: fields.int()?,
                },
                _ => return None,
            };
            Some(Self {
                until,
                fingerprint,
                outcome,
            })
        };
        let recorded = parse();
        whole(
            "the record of a request",
            recorded.filter(|_| fields.end().is_some()),
        )
    }

    /// When the request of this row may be forgotten.
    pub(super) fn decode_until(row: &[u8]) -> Result<u64, Failure> {
        whole("the record of a request", Fields(row).long())
    }
}

/// The requests that end at one time.
pub(super) fn encode_requests(requests: &[(u64, Uuid)]) -> Vec<u8> {
    let row = Row(Vec::with_capacity(requests.len() * 24));
    requests
        .iter()
        .fold(row, |row, (epoch, id)| {
            row.long(*epoch).bytes(id.as_bytes())
        })
        .0
}

pub(super) fn decode_requests(row: &[u8]) -> Result<Vec<(u64, Uuid)>, Failure> {
    let mut fields = Fields(row);
    let mut requests = Vec::with_capacity(row.len() / 24);
    while !fields.0.is_empty() {
        let request = fields.long().zip(fields.array().map(Uuid::from_bytes));
        requests.push(whole("the requests of a commit", request)?);
    }
    Ok(requests)
}

/// A message under its key, which holds its revision.
pub(super) fn encode_message(id: Uuid, message: &NewMessage) -> Vec<u8> {
    let own_id = message.request.own_id();
    Row::default()
        .bytes(id.as_bytes())
        .bytes(&[u8::from(own_id.is_some())])
        .bytes(own_id.unwrap_or_default().as_bytes())
        .text(message.author.user_id.as_str())
        .text(message.author.username.as_str())
        .bytes(message.text.as_str().as_bytes())
        .0
}

pub(super) fn decode_message(key: &[u8], row: &[u8]) -> Result<Message, Failure> {
    let mut fields = Fields(row);
    let parse = || {
        let revision = keys::parse_message(key)?;
        let id = Uuid::from_bytes(fields.array()?);
        let [has_own_id] = fields.array()?;
        let own_id = Uuid::from_bytes(fields.array()?);
        Some(Message {
            id,
            user_id: fields.text()?.to_owned(),
            username: fields.text()?.to_owned(),
            text: fields.rest()?.to_owned(),
            timestamp: revision / 1_000,
            revision,
            request_id: (has_own_id == 1).then_some(own_id),
        })
    };
    whole("a message", parse())
}

/// A user who is present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Present {
    /// The revision at which they came.
    pub(super) arrival: u64,
    pub(super) sessions: u32,
    pub(super) username: String,
}

impl Present {
    pub(super) fn encode(&self) -> Vec<u8> {
        let row = Row::default().long(self.arrival).int(self.sessions);
        row.bytes(self.username.as_bytes()).0
    }

    pub(super) fn decode(row: &[u8]) -> Result<Self, Failure> {
        let mut fields = Fields(row);
        let parse = || {
            Some(Self {
                arrival: fields.long()?,
                sessions: fields.int()?,
                username: fields.rest()?.to_owned(),
            })
        };
        whole("a participant", parse())
    }

    pub(super) fn participant(&self, key: &[u8]) -> Result<Participant, Failure> {
        let user = whole("a participant's key", keys::parse_name(key))?;
        Ok(stored_participant(user, &self.username))
    }
}

/// The user of a session, and the room it is in.
pub(super) fn encode_session(code: RoomCode, user: &UserId) -> Vec<u8> {
    let row = Row::default().bytes(code.as_str().as_bytes());
    row.bytes(user.as_str().as_bytes()).0
}

pub(super) fn decode_session(row: &[u8]) -> Result<(RoomCode, UserId), Failure> {
    let mut fields = Fields(row);
    let parse = || {
        let code = fields.array::<6>()?;
        let code = RoomCode::parse("", std::str::from_utf8(&code).ok()?).ok()?;
        Some((code, UserId::stored(fields.rest()?)))
    };
    whole("a session", parse())
}

/// An element under its id.
pub(super) fn encode_element(change: &ElementChange, revision: u64, ordinal: u64) -> Vec<u8> {
    let row = Row(Vec::with_capacity(32 + change.json.len()));
    row.long(change.version)
        .long(change.version_nonce)
        .long(revision)
        .long(ordinal)
        .bytes(change.json.as_bytes())
        .0
}

pub(super) fn decode_element(id: &str, row: &[u8]) -> Result<Element, Failure> {
    let mut fields = Fields(row);
    let parse = || {
        Some(Element {
            id: id.into(),
            version: fields.long()?,
            version_nonce: fields.long()?,
            revision: fields.long()?,
            ordinal: fields.long()?,
            is_deleted: false,
            json: fields.rest()?.into(),
        })
    };
    let mut element: Element = whole("an element", parse())?;
    element.is_deleted = is_tombstone(&element.json);
    Ok(element)
}

/// An element as it is stored by this change.
pub(super) fn element(change: &ElementChange, revision: u64, ordinal: u64) -> Element {
    Element {
        id: Arc::from(change.id.as_str()),
        version: change.version,
        version_nonce: change.version_nonce,
        is_deleted: change.is_deleted,
        revision,
        ordinal,
        json: Arc::from(change.json.as_str()),
    }
}
