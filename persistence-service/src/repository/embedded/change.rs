//! What one commit changes.
//!
//! Several calls share a commit, each after the other, and each sees what those
//! before it did. A call that fails by a damaged row must have written nothing
//! by then: it reads and decides first. A failure of the engine takes the whole
//! commit with it.

use std::sync::Arc;

use redb::Table;
use uuid::Uuid;

use super::{
    clock::microseconds,
    failure::Failure,
    keys::{self, Key},
    leases::Leases,
    record::{Head, Outcome, Recorded, Store, encode_requests},
    rows::{self, Rows as _},
};
use crate::{
    domain::{Event, EventKind, Position, Request, RoomCode, SessionId, UserId},
    repository::{Refusal, RoomSettings},
};

/// The largest event that is told with its body; readers of a larger one catch
/// up.
const LARGEST_EVENT: usize = 64 << 10;

/// The calls of one commit.
pub(super) struct Change<'t> {
    pub(super) rows: Table<'t, &'static [u8], &'static [u8]>,
    /// Unix microseconds, the same for all calls of the commit.
    pub(super) now: u64,
    pub(super) settings: RoomSettings,
    pub(super) leases: &'t Leases,
    pub(super) told: &'t mut Told,
    requests: Vec<(u64, u64, Uuid)>,
    last_epoch: u64,
    bytes: u64,
    is_dirty: bool,
}

/// What is to happen when the commit is done, or has failed.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// What to tell, in the order of the calls.
    pub(super) events: Vec<(RoomCode, Arc<Event>)>,
    /// The leases of the sessions that were ended, with what remained of them.
    pub(super) ended: Vec<(RoomCode, SessionId, u64)>,
    /// The keys that were written or removed, where somebody wants to know.
    pub(super) touched: Option<Vec<Key>>,
}

impl<'t> Change<'t> {
    pub(super) fn new(
        rows: Table<'t, &'static [u8], &'static [u8]>,
        now: u64,
        last: Store,
        settings: RoomSettings,
        leases: &'t Leases,
        told: &'t mut Told,
    ) -> Self {
        Self {
            rows,
            now,
            settings,
            leases,
            told,
            requests: Vec::new(),
            last_epoch: last.clock,
            bytes: last.bytes,
            is_dirty: false,
        }
    }

    /// Writes what the commit as a whole leaves behind. `None`: nothing was
    /// changed, and there is nothing to commit.
    pub(super) fn finish(mut self, last: Store) -> Result<Option<Store>, Failure> {
        if !self.is_dirty {
            return Ok(None);
        }
        let commit = last.commit + 1;
        let mut requests = std::mem::take(&mut self.requests);
        requests.sort_unstable();
        for ended in requests.chunk_by(|a, b| a.0 == b.0) {
            let Some((until, ..)) = ended.first() else {
                continue;
            };
            let names: Vec<_> = ended.iter().map(|(_, epoch, id)| (*epoch, *id)).collect();
            let key = keys::requests_due(*until, commit);
            self.put(&key, &encode_requests(&names))?;
        }
        let store = Store {
            commit,
            clock: self.now.max(self.last_epoch),
            bytes: self.bytes,
        };
        // Its own bytes are not counted: it is always there.
        self.rows
            .insert(keys::store().as_slice(), store.encode().as_slice())?;
        Ok(Some(store))
    }

    /// Unix milliseconds.
    pub(super) fn milliseconds(&self) -> u64 {
        self.now / 1_000
    }

    pub(super) fn put(&mut self, key: &[u8], row: &[u8]) -> Result<(), Failure> {
        self.touch(key);
        let old = self.rows.insert(key, row)?;
        let old = old.map_or(0, |old| size(key, old.value()));
        self.bytes = (self.bytes + size(key, row)).saturating_sub(old);
        Ok(())
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> Result<(), Failure> {
        self.touch(key);
        let old = self.rows.remove(key)?;
        let old = old.map_or(0, |old| size(key, old.value()));
        self.bytes = self.bytes.saturating_sub(old);
        Ok(())
    }

    fn touch(&mut self, key: &[u8]) {
        self.is_dirty = true;
        if let Some(touched) = &mut self.told.touched {
            touched.push(key.to_vec());
        }
    }

    /// The room of this code, if it lives.
    pub(super) fn living(&self, code: RoomCode) -> Result<Option<Head>, Failure> {
        rows::living(&self.rows, code, self.milliseconds())
    }

    /// An epoch that no room has had.
    pub(super) fn next_epoch(&mut self) -> u64 {
        self.last_epoch = self.now.max(self.last_epoch + 1);
        self.last_epoch
    }

    /// The next revision of a room: the clock, or one more than its last where
    /// the clock has not moved past it.
    pub(super) fn next_revision(&self, head: &Head) -> u64 {
        self.now.max(head.revision + 1)
    }

    /// Writes a room's head after an activity, which its life begins anew with.
    pub(super) fn refresh(&mut self, head: &mut Head) -> Result<(), Failure> {
        head.expire_time = self.milliseconds() + head.ttl;
        self.put(&keys::head(head.epoch), &head.encode())
    }

    /// Tells a change of a room, which is at its new revision, once that is
    /// committed. `size` is that of the event's body in bytes.
    pub(super) fn tell(
        &mut self,
        head: &Head,
        previous: u64,
        session: Option<&SessionId>,
        size: usize,
        kind: impl FnOnce() -> EventKind,
    ) {
        let event = Event {
            position: Position {
                epoch: head.epoch,
                revision: head.revision,
            },
            previous,
            expire_time: head.expire_time,
            session_id: session.map_or_else(String::new, |session| session.as_str().to_owned()),
            kind: if size > LARGEST_EVENT {
                EventKind::Omitted
            } else {
                kind()
            },
        };
        self.told.events.push((head.code, Arc::new(event)));
    }

    /// What came of a request of this room: nothing yet, or whether its content
    /// is the same and what came of it.
    pub(super) fn recorded(
        &self,
        epoch: u64,
        request: &Request,
    ) -> Result<Option<Result<Outcome, Refusal>>, Failure> {
        let recorded = self.kept_record(epoch, request.id.id)?;
        Ok(recorded.map(|recorded| {
            if recorded.fingerprint == request.fingerprint() {
                Ok(recorded.outcome)
            } else {
                Err(Refusal::Conflict)
            }
        }))
    }

    /// The record of a request that is not to be forgotten yet.
    pub(super) fn kept_record(&self, epoch: u64, id: Uuid) -> Result<Option<Recorded>, Failure> {
        let row = self.rows.row(&keys::request(epoch, id))?;
        let recorded = row.map(|row| Recorded::decode(row.value())).transpose()?;
        Ok(recorded.filter(|recorded| recorded.until > self.milliseconds()))
    }

    /// Keeps what came of a request for as long as a retry may come, and no
    /// longer than its room's life.
    pub(super) fn record(
        &mut self,
        epoch: u64,
        request: &Request,
        longest: u64,
        outcome: Outcome,
    ) -> Result<(), Failure> {
        let kept_for = microseconds(request.kept_for()) / 1_000;
        let recorded = Recorded {
            until: self.milliseconds() + kept_for.min(longest),
            fingerprint: request.fingerprint().to_owned(),
            outcome,
        };
        self.requests.push((recorded.until, epoch, request.id.id));
        self.put(&keys::request(epoch, request.id.id), &recorded.encode())
    }

    /// Why this session may not act for this user, if so. A trusted backend acts
    /// without a session.
    pub(super) fn refused(
        &self,
        epoch: u64,
        session: Option<&SessionId>,
        user: &UserId,
    ) -> Result<Option<Refusal>, Failure> {
        rows::refused(&self.rows, epoch, session, user)
    }
}

/// How much a row counts.
fn size(key: &[u8], row: &[u8]) -> u64 {
    u64::try_from(key.len() + row.len()).unwrap_or(u64::MAX)
}
