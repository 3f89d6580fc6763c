//! Reads rows, of a snapshot or of a commit under way.

use std::sync::Arc;

use redb::{AccessGuard, Range as Walk, ReadableTable};

use super::{
    failure::Failure,
    keys::{self, Key},
    record::{
        Head, Present, Recorded, decode_element, decode_epoch, decode_message, decode_session,
    },
};
use crate::{
    domain::{CatchUp, Element, Message, Participant, RoomCode, SessionId, UserId, in_board_order},
    repository::{Refusal, Since, living_board},
};

/// A walk over rows in the order of their keys.
pub(super) type RowWalk<'a> = Walk<'a, &'static [u8], &'static [u8]>;

/// All rows, by their keys.
pub(super) trait Rows {
    /// The row of a key.
    fn row(&self, key: &[u8]) -> Result<Option<AccessGuard<'_, &'static [u8]>>, Failure>;

    /// The rows of these keys.
    fn walk(&self, keys: &std::ops::Range<Key>) -> Result<RowWalk<'_>, Failure>;
}

impl<T: ReadableTable<&'static [u8], &'static [u8]>> Rows for T {
    fn row(&self, key: &[u8]) -> Result<Option<AccessGuard<'_, &'static [u8]>>, Failure> {
        Ok(self.get(key)?)
    }

    fn walk(&self, keys: &std::ops::Range<Key>) -> Result<RowWalk<'_>, Failure> {
        Ok(self.range::<&[u8]>(keys.start.as_slice()..keys.end.as_slice())?)
    }
}

/// A room by its epoch, whether it lives or not.
pub(super) fn head(rows: &impl Rows, epoch: u64) -> Result<Option<Head>, Failure> {
    let row = rows.row(&keys::head(epoch))?;
    row.map(|row| Head::decode(row.value())).transpose()
}

/// The room that last had this code, unless its rows are being removed.
pub(super) fn latest(rows: &impl Rows, code: RoomCode) -> Result<Option<Head>, Failure> {
    let Some(row) = rows.row(&keys::living(code))? else {
        return Ok(None);
    };
    let epoch = decode_epoch(row.value())?;
    match head(rows, epoch)? {
        Some(head) => Ok(Some(head)),
        None => Err(Failure::Damaged(format!("room {code} has no row"))),
    }
}

/// The room of this code, if it lives at this time in Unix milliseconds.
pub(super) fn living(rows: &impl Rows, code: RoomCode, now: u64) -> Result<Option<Head>, Failure> {
    Ok(latest(rows, code)?.filter(|head| head.expire_time > now))
}

/// The user of a session.
pub(super) fn session_user(
    rows: &impl Rows,
    epoch: u64,
    session: &SessionId,
) -> Result<Option<UserId>, Failure> {
    let Some(row) = rows.row(&keys::session(epoch, session))? else {
        return Ok(None);
    };
    Ok(Some(decode_session(row.value())?.1))
}

/// Why this session may not act for this user, if so.
pub(super) fn refused(
    rows: &impl Rows,
    epoch: u64,
    session: Option<&SessionId>,
    user: &UserId,
) -> Result<Option<Refusal>, Failure> {
    let Some(session) = session else {
        return Ok(None);
    };
    Ok(match session_user(rows, epoch, session)? {
        None => Some(Refusal::NotJoined),
        Some(owner) if owner != *user => Some(Refusal::IdentityMismatch),
        Some(_) => None,
    })
}

pub(super) fn present(
    rows: &impl Rows,
    epoch: u64,
    user: &UserId,
) -> Result<Option<Present>, Failure> {
    let row = rows.row(&keys::participant(epoch, user))?;
    row.map(|row| Present::decode(row.value())).transpose()
}

/// Everybody present, in the order of their coming.
fn participants(rows: &impl Rows, epoch: u64) -> Result<Vec<Participant>, Failure> {
    let mut present = Vec::new();
    for row in rows.walk(&keys::participants(epoch))? {
        let (key, row) = row?;
        let who = Present::decode(row.value())?;
        present.push((who.arrival, who.participant(key.value())?));
    }
    present.sort_by_key(|(arrival, _)| *arrival);
    Ok(present.into_iter().map(|(_, who)| who).collect())
}

/// The messages that a room keeps, newest first. There may be rows of more.
pub(super) fn messages(
    rows: &impl Rows,
    epoch: u64,
    kept: usize,
) -> Result<impl Iterator<Item = Result<Message, Failure>>, Failure> {
    let walk = rows.walk(&keys::messages(epoch))?;
    Ok(walk.take(kept).map(|row| {
        let (key, row) = row?;
        decode_message(key.value(), row.value())
    }))
}

/// The newest `limit` messages after a revision, oldest first, and whether there
/// were others that the room keeps no longer.
fn messages_after(
    rows: &impl Rows,
    head: &Head,
    revision: u64,
    kept: usize,
    limit: usize,
) -> Result<(Vec<Arc<Message>>, bool), Failure> {
    let mut newer = Vec::new();
    let mut truncated = head.trimmed > revision;
    for (place, row) in rows.walk(&keys::messages(head.epoch))?.enumerate() {
        let (key, row) = row?;
        let message = decode_message(key.value(), row.value())?;
        if message.revision <= revision {
            break;
        }
        if place >= kept {
            truncated = true;
            break;
        }
        if place < limit {
            newer.push(Arc::new(message));
        }
    }
    newer.reverse();
    Ok((newer, truncated))
}

/// An element of the board.
pub(super) fn element(rows: &impl Rows, epoch: u64, id: &str) -> Result<Option<Element>, Failure> {
    let row = rows.row(&keys::element(epoch, id))?;
    row.map(|row| decode_element(id, row.value())).transpose()
}

fn elements_after(rows: &impl Rows, epoch: u64, revision: u64) -> Result<Vec<Element>, Failure> {
    let mut changed = Vec::new();
    for row in rows.walk(&keys::changes_after(epoch, revision))? {
        let (key, _) = row?;
        let parsed = keys::parse_at_revision(key.value());
        let found = match parsed {
            Some((_, id)) => element(rows, epoch, id)?,
            None => None,
        };
        changed.push(
            found.ok_or_else(|| {
                Failure::Damaged("a change of the board has no element".to_owned())
            })?,
        );
    }
    Ok(changed)
}

fn whole_board(rows: &impl Rows, epoch: u64) -> Result<Vec<Element>, Failure> {
    let mut board = Vec::new();
    for row in rows.walk(&keys::elements(epoch))? {
        let (key, row) = row?;
        let id = keys::parse_name(key.value())
            .ok_or_else(|| Failure::Damaged("an element has no id".to_owned()))?;
        board.push(decode_element(id, row.value())?);
    }
    Ok(board)
}

/// All of a room, or what changed in it after a position: of one snapshot.
///
/// A position of another epoch, above the room's revision or before the newest
/// pruned tombstone cannot be served: then it is everything.
pub(super) fn catch_up(
    rows: &impl Rows,
    head: &Head,
    since: Since,
    limits: MessageLimits,
    now: u64,
) -> Result<CatchUp, Failure> {
    let servable = match since {
        Since::Position(after) => {
            after.epoch == head.epoch
                && after.revision <= head.revision
                && after.revision >= head.pruned
        }
        Since::Arrival | Since::Now => true,
    };
    let (mut messages, mut elements, mut history_truncated) = (Vec::new(), Vec::new(), false);
    match since {
        Since::Now => {}
        Since::Position(after) if servable => {
            (messages, history_truncated) =
                messages_after(rows, head, after.revision, limits.kept, limits.wanted)?;
            elements = elements_after(rows, head.epoch, after.revision)?;
        }
        Since::Arrival | Since::Position(_) => {
            let newest = limits.wanted.min(limits.kept);
            messages = self::messages(rows, head.epoch, newest)?
                .map(|message| message.map(Arc::new))
                .collect::<Result<_, _>>()?;
            messages.reverse();
            elements = whole_board(rows, head.epoch)?;
        }
    }
    let catch_up = CatchUp {
        room: head.room(),
        ttl: head.expire_time.saturating_sub(now),
        reset: !servable,
        history_truncated,
        participants: participants(rows, head.epoch)?,
        messages,
        elements: in_board_order(elements),
    };
    Ok(living_board(catch_up, since))
}

/// How many messages there are to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct MessageLimits {
    /// How many a room keeps.
    pub(super) kept: usize,
    /// How many of them the caller wants.
    pub(super) wanted: usize,
}

/// When the request of this key may be forgotten, in Unix milliseconds.
pub(super) fn request_until(rows: &impl Rows, key: &[u8]) -> Result<Option<u64>, Failure> {
    let row = rows.row(key)?;
    row.map(|row| Recorded::decode_until(row.value()))
        .transpose()
}
