//! How rooms begin and end, and how what they leave behind is removed.

use std::ops::Range;

use super::{
    change::Change,
    clock::microseconds,
    failure::Failure,
    keys::{self, Due, Key},
    record::{Head, Outcome, decode_requests, encode_epoch},
    rows::{self, Rows as _},
};
use crate::{
    domain::{EventKind, NewRoom, Request, Room, RoomCode},
    repository::{Decision, Refusal},
};

impl Change<'_> {
    /// Remembers which code a request to create a room is for.
    pub(super) fn claim_code(
        &mut self,
        request: &Request,
        candidate: RoomCode,
        taken: Option<RoomCode>,
    ) -> Result<RoomCode, Failure> {
        // Whatever its content: the room of the code tells whether that is the same.
        let recorded = self.kept_record(keys::NO_ROOM, request.id.id)?;
        if let Some(Outcome::Claimed(code)) = recorded.map(|recorded| recorded.outcome)
            && Some(code) != taken
        {
            return Ok(code);
        }
        let outcome = Outcome::Claimed(candidate);
        self.record(keys::NO_ROOM, request, u64::MAX, outcome)?;
        Ok(candidate)
    }

    /// Creates a room, or returns the one that this request created. `None`
    /// where the code is another room's.
    pub(super) fn create_room(
        &mut self,
        code: RoomCode,
        room: &NewRoom,
        request: &Request,
    ) -> Result<Decision<Option<Room>>, Failure> {
        let latest = rows::latest(&self.rows, code)?;
        if let Some(head) = latest {
            if head.expire_time > self.milliseconds() {
                return Ok(match self.recorded(head.epoch, request)? {
                    None => Ok(None),
                    Some(Ok(_)) => Ok(Some(head.room())),
                    Some(Err(refusal)) => Err(refusal),
                });
            }
            self.end(&head)?;
        }
        let epoch = self.next_epoch();
        let mut head = Head {
            code,
            epoch,
            revision: epoch,
            expire_time: 0,
            ttl: microseconds(self.settings.ttl) / 1_000,
            trimmed: 0,
            pruned: 0,
            max_participants: room.max_participants.number(),
            participant_count: 0,
            message_rows: 0,
            board_elements: 0,
            board_bytes: 0,
            board_ordinal: 0,
            name: room.name.as_str().to_owned(),
            created_by: room.created_by.as_str().to_owned(),
        };
        self.refresh(&mut head)?;
        self.put(&keys::living(code), &encode_epoch(epoch))?;
        let created = keys::created(head.create_time(), code);
        self.put(&created, &encode_epoch(epoch))?;
        self.put_due(&head)?;
        self.record(epoch, request, head.ttl, Outcome::Created)?;
        Ok(Ok(Some(head.room())))
    }

    /// Deletes a room and tells its readers. Its rows are removed by and by.
    pub(super) fn delete_room(&mut self, code: RoomCode) -> Result<Decision<()>, Failure> {
        let Some(mut head) = self.living(code)? else {
            return Ok(Err(Refusal::Gone));
        };
        self.end(&head)?;
        let previous = head.revision;
        head.revision = self.next_revision(&head);
        head.expire_time = self.milliseconds();
        self.tell(&head, previous, None, 0, || EventKind::Deleted);
        Ok(Ok(()))
    }

    /// Ends a room at once: nobody finds it from here on.
    fn end(&mut self, head: &Head) -> Result<(), Failure> {
        self.remove(&keys::living(head.code))?;
        self.remove(&keys::created(head.create_time(), head.code))?;
        self.put(&keys::ended(head.epoch), &[])
    }

    /// Has a room looked at when its time has come. Activity does not move this
    /// row: whoever comes to it looks at the room, and moves it then.
    fn put_due(&mut self, head: &Head) -> Result<(), Failure> {
        let due = keys::room_due(head.expire_time, head.epoch);
        self.put(&due, head.code.as_str().as_bytes())
    }

    /// Ends rooms whose time has passed and removes what is left of ended ones,
    /// up to so many rows.
    pub(super) fn sweep(&mut self, rows: usize) -> Result<Swept, Failure> {
        let mut swept = Swept {
            rooms: 0,
            budget: rows,
        };
        while swept.budget > 0 && (self.sweep_due(&mut swept)? || self.sweep_ended(&mut swept)?) {}
        Ok(swept)
    }

    /// The first of these rows, with its key.
    fn first(&self, rows: &Range<Key>) -> Result<Option<(Key, Vec<u8>)>, Failure> {
        let Some(row) = self.rows.walk(rows)?.next() else {
            return Ok(None);
        };
        let (key, row) = row?;
        Ok(Some((key.value().to_vec(), row.value().to_vec())))
    }

    /// Looks at what is due, a row. `false`: nothing is.
    fn sweep_due(&mut self, swept: &mut Swept) -> Result<bool, Failure> {
        let due = keys::due_until(self.milliseconds());
        let Some((key, row)) = self.first(&due)? else {
            return Ok(false);
        };
        swept.budget = swept.budget.saturating_sub(1);
        // First, so that a row which is damaged is not met again.
        self.remove(&key)?;
        let looked_at = match keys::parse_due(&key) {
            Some(Due::Room { epoch }) => self.look_at_room(epoch, &row, swept),
            Some(Due::Requests) => self.forget_requests(&row, swept),
            None => Err(Failure::Damaged("a row of the due is unknown".to_owned())),
        };
        match looked_at {
            Err(Failure::Damaged(problem)) => {
                tracing::error!(problem, "what is due cannot be looked at");
                Ok(true)
            }
            other => other.map(|()| true),
        }
    }

    fn look_at_room(&mut self, epoch: u64, code: &[u8], swept: &mut Swept) -> Result<(), Failure> {
        let code = std::str::from_utf8(code).unwrap_or_default();
        let code = RoomCode::parse("code", code)
            .map_err(|_| Failure::Damaged("a room that is due has no code".to_owned()))?;
        match rows::latest(&self.rows, code)? {
            Some(head) if head.epoch == epoch => {
                if head.expire_time > self.milliseconds() {
                    return self.put_due(&head);
                }
                swept.rooms += 1;
                self.end(&head)
            }
            // It was deleted, or another has its code by now.
            Some(_) | None => Ok(()),
        }
    }

    fn forget_requests(&mut self, row: &[u8], swept: &mut Swept) -> Result<(), Failure> {
        for (epoch, id) in decode_requests(row)? {
            let key = keys::request(epoch, id);
            // An id that was used again later is another request's.
            let until = rows::request_until(&self.rows, &key)?;
            if until.is_some_and(|until| until <= self.milliseconds()) {
                self.remove(&key)?;
                swept.budget = swept.budget.saturating_sub(1);
            }
        }
        Ok(())
    }

    /// Removes rows of an ended room. `false`: there is none.
    fn sweep_ended(&mut self, swept: &mut Swept) -> Result<bool, Failure> {
        let Some((ended, _)) = self.first(&keys::all_ended())? else {
            return Ok(false);
        };
        let Some(epoch) = keys::parse_ended(&ended) else {
            tracing::error!("an ended room has no epoch");
            swept.budget -= 1;
            return self.remove(&ended).map(|()| true);
        };
        for rows in keys::all_of(epoch) {
            let found = self
                .rows
                .walk(&rows)?
                .take(swept.budget)
                .map(|row| Ok(row?.0.value().to_vec()))
                .collect::<Result<Vec<_>, Failure>>()?;
            for key in &found {
                self.remove(key)?;
            }
            swept.budget -= found.len();
            if swept.budget == 0 {
                return Ok(true);
            }
        }
        swept.budget -= 1;
        self.remove(&ended)?;
        Ok(true)
    }
}

/// What a step of the sweep did.
#[derive(Debug)]
pub(super) struct Swept {
    /// How many rooms ended.
    pub(super) rooms: usize,
    budget: usize,
}

impl Swept {
    /// Whether there may be more to do.
    pub(super) fn has_more(&self) -> bool {
        self.budget == 0
    }
}
