//! The names of everything in the file. Nothing else spells one.
//!
//! All rows stand in one table, ordered by their keys' bytes: numbers are
//! big-endian. What a room holds stands under its epoch, which no other room
//! has, so whatever an ended room leaves behind is never met by the next room of
//! its code. Within a room what a message touches comes first and side by side:
//! the head, the requests, and the messages from the newest to the oldest.

use std::ops::Range;

use uuid::Uuid;

use crate::domain::{RoomCode, SessionId, UserId};

pub(super) type Key = Vec<u8>;

/// The state of the store as a whole.
const STORE: u8 = 0;
/// The epoch of the living room of a code.
const LIVING: u8 = 1;
/// Living rooms by their time of creation and code.
const CREATED: u8 = 2;
/// What is to be looked at when its time has come.
const DUE: u8 = 3;
/// Ended rooms whose rows are still to be removed.
const ENDED: u8 = 4;
/// Sessions, by their room's epoch.
const SESSION: u8 = 5;
/// What a room holds, by its epoch.
const ROOM: u8 = 6;

const HEAD: u8 = 0;
const REQUEST: u8 = 1;
const MESSAGE: u8 = 2;
const PARTICIPANT: u8 = 3;
const CHANGE: u8 = 4;
const TOMBSTONE: u8 = 5;
const ELEMENT: u8 = 6;

/// The epoch under which creations that have no room yet are kept.
pub(super) const NO_ROOM: u64 = 0;

fn key(parts: &[&[u8]]) -> Key {
    parts.concat()
}

pub(super) fn store() -> Key {
    vec![STORE]
}

pub(super) fn living(code: RoomCode) -> Key {
    key(&[&[LIVING], code.as_str().as_bytes()])
}

pub(super) fn created(create_time: u64, code: RoomCode) -> Key {
    key(&[
        &[CREATED],
        &create_time.to_be_bytes(),
        code.as_str().as_bytes(),
    ])
}

/// Rooms that were created before this one, or all.
pub(super) fn created_before(bound: Option<(u64, RoomCode)>) -> Range<Key> {
    let end = bound.map_or_else(
        || vec![CREATED + 1],
        |(create_time, code)| created(create_time, code),
    );
    vec![CREATED]..end
}

/// The code in a key of [`created`].
pub(super) fn parse_created(key: &[u8]) -> Option<RoomCode> {
    RoomCode::parse("", std::str::from_utf8(key.get(9..)?).ok()?).ok()
}

/// A room that may end at this time, in Unix milliseconds.
pub(super) fn room_due(time: u64, epoch: u64) -> Key {
    key(&[&[DUE], &time.to_be_bytes(), b"r", &epoch.to_be_bytes()])
}

/// Requests that may be forgotten at this time, in Unix milliseconds; those of
/// one commit stand in one row.
pub(super) fn requests_due(time: u64, commit: u64) -> Key {
    key(&[&[DUE], &time.to_be_bytes(), b"q", &commit.to_be_bytes()])
}

/// What is due at this time, in Unix milliseconds.
pub(super) fn due_until(time: u64) -> Range<Key> {
    vec![DUE]..key(&[&[DUE], &time.saturating_add(1).to_be_bytes()])
}

/// What a row of the due is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Room { epoch: u64 },
    Requests,
}

pub(super) fn parse_due(key: &[u8]) -> Option<Due> {
    let (tag, number) = key.get(9..)?.split_first()?;
    let number = u64::from_be_bytes(number.try_into().ok()?);
    match tag {
        b'r' => Some(Due::Room { epoch: number }),
        b'q' => Some(Due::Requests),
        _ => None,
    }
}

pub(super) fn ended(epoch: u64) -> Key {
    key(&[&[ENDED], &epoch.to_be_bytes()])
}

pub(super) fn all_ended() -> Range<Key> {
    vec![ENDED]..vec![ENDED + 1]
}

/// The epoch in a key of [`ended`].
pub(super) fn parse_ended(key: &[u8]) -> Option<u64> {
    key.get(1..)?.try_into().ok().map(u64::from_be_bytes)
}

pub(super) fn session(epoch: u64, session: &SessionId) -> Key {
    key(&[
        &[SESSION],
        &epoch.to_be_bytes(),
        session.as_str().as_bytes(),
    ])
}

pub(super) fn all_sessions() -> Range<Key> {
    vec![SESSION]..vec![SESSION + 1]
}

/// The session in a key of [`session`].
pub(super) fn parse_session(key: &[u8]) -> Option<SessionId> {
    let text = std::str::from_utf8(key.get(9..)?).ok()?;
    Some(SessionId::stored(text))
}

/// All rows of a room: its sessions, and what it holds.
pub(super) fn all_of(epoch: u64) -> [Range<Key>; 2] {
    [SESSION, ROOM].map(|table| {
        let bound = |epoch: u64| key(&[&[table], &epoch.to_be_bytes()]);
        bound(epoch)..bound(epoch + 1)
    })
}

fn part(epoch: u64, part: u8, name: &[u8]) -> Key {
    key(&[&[ROOM], &epoch.to_be_bytes(), &[part], name])
}

fn whole(epoch: u64, of: u8) -> Range<Key> {
    part(epoch, of, b"")..part(epoch, of + 1, b"")
}

pub(super) fn head(epoch: u64) -> Key {
    part(epoch, HEAD, b"")
}

pub(super) fn request(epoch: u64, id: Uuid) -> Key {
    part(epoch, REQUEST, id.as_bytes())
}

pub(super) fn message(epoch: u64, revision: u64) -> Key {
    part(epoch, MESSAGE, &(!revision).to_be_bytes())
}

/// A room's messages, newest first.
pub(super) fn messages(epoch: u64) -> Range<Key> {
    whole(epoch, MESSAGE)
}

/// The revision in a key of [`message`].
pub(super) fn parse_message(key: &[u8]) -> Option<u64> {
    let revision = key.get(10..)?.try_into().ok()?;
    Some(!u64::from_be_bytes(revision))
}

pub(super) fn participant(epoch: u64, user: &UserId) -> Key {
    part(epoch, PARTICIPANT, user.as_str().as_bytes())
}

pub(super) fn participants(epoch: u64) -> Range<Key> {
    whole(epoch, PARTICIPANT)
}

/// The text at the end of a key of a participant or an element.
pub(super) fn parse_name(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.get(10..)?).ok()
}

fn at_revision(epoch: u64, of: u8, revision: u64, id: &str) -> Key {
    let mut key = part(epoch, of, &revision.to_be_bytes());
    key.extend_from_slice(id.as_bytes());
    key
}

/// That an element was last changed at this revision.
pub(super) fn change(epoch: u64, revision: u64, id: &str) -> Key {
    at_revision(epoch, CHANGE, revision, id)
}

/// The elements that were changed after a revision, in the order of the changes.
pub(super) fn changes_after(epoch: u64, revision: u64) -> Range<Key> {
    change(epoch, revision + 1, "")..part(epoch, CHANGE + 1, b"")
}

/// That an element was deleted at this revision.
pub(super) fn tombstone(epoch: u64, revision: u64, id: &str) -> Key {
    at_revision(epoch, TOMBSTONE, revision, id)
}

/// The deleted elements, the longest deleted first.
pub(super) fn tombstones(epoch: u64) -> Range<Key> {
    whole(epoch, TOMBSTONE)
}

/// The revision and the element's id in a key of a change or a tombstone.
pub(super) fn parse_at_revision(key: &[u8]) -> Option<(u64, &str)> {
    let (revision, id) = key.get(10..)?.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*revision), std::str::from_utf8(id).ok()?))
}

pub(super) fn element(epoch: u64, id: &str) -> Key {
    part(epoch, ELEMENT, id.as_bytes())
}

pub(super) fn elements(epoch: u64) -> Range<Key> {
    whole(epoch, ELEMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_key_holds_is_read_back() {
        let code = RoomCode::from_number(7_000).unwrap();
        assert_eq!(parse_created(&created(5, code)), Some(code));
        assert_eq!(parse_due(&room_due(9, 4)), Some(Due::Room { epoch: 4 }));
        assert_eq!(parse_due(&requests_due(9, 4)), Some(Due::Requests));
        assert_eq!(parse_ended(&ended(4)), Some(4));
        assert_eq!(parse_message(&message(4, 77)), Some(77));
        assert_eq!(parse_at_revision(&change(4, 77, "é")), Some((77, "é")));
        assert_eq!(parse_name(&element(4, "é")), Some("é"));
        let tab = SessionId::parse("", "t:1").unwrap();
        assert_eq!(parse_session(&session(4, &tab)), Some(tab));
    }

    #[test]
    fn newer_messages_and_the_parts_of_other_rooms_are_told_apart_by_order() {
        assert!(message(4, 78) < message(4, 77));
        assert!(messages(4).contains(&message(4, 1)));
        assert!(!messages(4).contains(&message(5, 1)));
        assert!(changes_after(4, 77).contains(&change(4, 78, "a")));
        assert!(!changes_after(4, 77).contains(&change(4, 77, "z")));
        assert!(due_until(9).contains(&room_due(9, u64::MAX)));
        assert!(!due_until(9).contains(&room_due(10, 0)));
        let [_, rows] = all_of(4);
        assert!(rows.contains(&head(4)) && rows.contains(&element(4, "zz")));
        assert!(!rows.contains(&head(5)));
    }
}
