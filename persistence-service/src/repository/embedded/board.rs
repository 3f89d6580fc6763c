//! What is drawn in a room.

use std::{cmp::Ordering, collections::HashSet};

use super::{
    change::Change,
    clock::microseconds,
    failure::Failure,
    keys,
    record::{self, Head, Outcome, encode_element},
    rows::{self, Rows as _},
};
use crate::{
    domain::{BOARD_LIMITS, Element, ElementChange, EventKind, Position, Whiteboard},
    repository::{Decision, Drawing, Refusal, SavedDrawing, TOMBSTONE_AGE},
};

/// How many old tombstones one change prunes.
const PRUNED_AT_ONCE: usize = 500;

/// Elements that win over what is stored, with that, and the stored ones that
/// win over others.
#[derive(Default)]
struct Merge<'d> {
    accepted: Vec<(&'d ElementChange, Option<Element>)>,
    winners: Vec<Element>,
}

impl Change<'_> {
    /// Merges elements into the board.
    pub(super) fn save_whiteboard(
        &mut self,
        drawing: &Drawing,
    ) -> Result<Decision<SavedDrawing>, Failure> {
        let Some(mut head) = self.living(drawing.code)? else {
            return Ok(Err(Refusal::Gone));
        };
        let epoch = head.epoch;
        let first = match self.recorded(epoch, &drawing.request)? {
            None => None,
            Some(Err(refusal)) => return Ok(Err(refusal)),
            Some(Ok(outcome)) => Some(outcome),
        };
        if first.is_none()
            && let Some(refusal) = self.refused(epoch, drawing.session.as_ref(), &drawing.user)?
        {
            return Ok(Err(refusal));
        }
        let merge = self.merge(epoch, &drawing.elements)?;
        let count = |elements: usize| u32::try_from(elements).unwrap_or(u32::MAX);
        match first {
            None => {}
            Some(Outcome::Drawn {
                revision,
                accepted,
                rejected,
            }) => {
                return Ok(Ok(SavedDrawing {
                    position: (revision > 0).then_some(Position { epoch, revision }),
                    accepted,
                    rejected,
                    winners: merge.winners,
                    duplicate: !drawing.request.id.transient,
                }));
            }
            // The fingerprint tells calls apart, so this is none of ours.
            Some(Outcome::Claimed(_) | Outcome::Created | Outcome::Said { .. }) => {
                return Ok(Err(Refusal::Conflict));
            }
        }
        let (accepted, rejected) = (count(merge.accepted.len()), count(merge.winners.len()));
        let mut saved = SavedDrawing {
            position: None,
            accepted,
            rejected,
            winners: merge.winners,
            duplicate: false,
        };
        if merge.accepted.is_empty() {
            let outcome = Outcome::Drawn {
                revision: 0,
                accepted,
                rejected,
            };
            self.record(epoch, &drawing.request, head.ttl, outcome)?;
            return Ok(Ok(saved));
        }
        let previous = head.revision;
        head.revision = self.next_revision(&head);
        for (change, old) in &merge.accepted {
            head.board_bytes += size(change.json.len());
            match old {
                Some(old) => head.board_bytes = head.board_bytes.saturating_sub(bytes_of(old)),
                None => {
                    head.board_elements += 1;
                    head.board_bytes += size(change.id.len());
                }
            }
        }
        let Some(pruned) = self.prune(&mut head, &merge.accepted)? else {
            return Ok(Err(Refusal::BoardFull));
        };

        for (revision, element) in &pruned {
            self.remove(&keys::element(epoch, &element.id))?;
            self.remove(&keys::change(epoch, element.revision, &element.id))?;
            self.remove(&keys::tombstone(epoch, *revision, &element.id))?;
        }
        let body = merge
            .accepted
            .iter()
            .map(|(change, _)| change.id.len() + change.json.len())
            .sum();
        let elements = self.write_elements(&mut head, merge.accepted)?;
        self.refresh(&mut head)?;
        let outcome = Outcome::Drawn {
            revision: head.revision,
            accepted,
            rejected,
        };
        self.record(epoch, &drawing.request, head.ttl, outcome)?;
        let user_id = drawing.user.clone();
        self.tell(&head, previous, drawing.session.as_ref(), body, || {
            EventKind::Whiteboard(Whiteboard { user_id, elements })
        });
        saved.position = Some(head.position());
        Ok(Ok(saved))
    }

    fn merge<'d>(&self, epoch: u64, changes: &'d [ElementChange]) -> Result<Merge<'d>, Failure> {
        let mut merge = Merge::default();
        for change in changes {
            let stored = rows::element(&self.rows, epoch, &change.id)?;
            let order = stored.as_ref().map_or(Ordering::Greater, |stored| {
                change.against(stored.version, stored.version_nonce)
            });
            match order {
                Ordering::Greater => merge.accepted.push((change, stored)),
                Ordering::Equal => {}
                Ordering::Less => merge.winners.extend(stored),
            }
        }
        Ok(merge)
    }

    /// The tombstones that go: those that are old, and sooner where the board
    /// needs the room, the oldest first. `None` where that does not suffice.
    fn prune(
        &self,
        head: &mut Head,
        accepted: &[(&ElementChange, Option<Element>)],
    ) -> Result<Option<Vec<(u64, Element)>>, Failure> {
        let is_too_much = |head: &Head| {
            head.board_elements > u32::try_from(BOARD_LIMITS.board_elements).unwrap_or(u32::MAX)
                || head.board_bytes > size(BOARD_LIMITS.board_bytes)
        };
        let old = self.now.saturating_sub(microseconds(TOMBSTONE_AGE));
        let kept: HashSet<&str> = accepted
            .iter()
            .map(|(change, _)| change.id.as_str())
            .collect();
        let mut gone = Vec::new();
        for row in self.rows.walk(&keys::tombstones(head.epoch))? {
            let (key, _) = row?;
            let (revision, id) = keys::parse_at_revision(key.value())
                .ok_or_else(|| Failure::Damaged("a tombstone has no element".to_owned()))?;
            let is_old = revision <= old && gone.len() < PRUNED_AT_ONCE;
            if !is_old && !is_too_much(head) {
                break;
            }
            if kept.contains(id) {
                continue;
            }
            let element = rows::element(&self.rows, head.epoch, id)?
                .ok_or_else(|| Failure::Damaged("a tombstone has no element".to_owned()))?;
            head.board_elements = head.board_elements.saturating_sub(1);
            head.board_bytes = head
                .board_bytes
                .saturating_sub(size(id.len()) + bytes_of(&element));
            head.pruned = head.pruned.max(revision);
            gone.push((revision, element));
        }
        Ok((!is_too_much(head)).then_some(gone))
    }

    /// Writes the elements at the room's new revision.
    fn write_elements(
        &mut self,
        head: &mut Head,
        accepted: Vec<(&ElementChange, Option<Element>)>,
    ) -> Result<Vec<Element>, Failure> {
        let (epoch, revision) = (head.epoch, head.revision);
        let mut elements = Vec::with_capacity(accepted.len());
        for (change, old) in accepted {
            let id = &change.id;
            let ordinal = match &old {
                Some(old) => old.ordinal,
                None => {
                    head.board_ordinal += 1;
                    head.board_ordinal - 1
                }
            };
            if let Some(old) = old {
                self.remove(&keys::change(epoch, old.revision, id))?;
                if old.is_deleted {
                    self.remove(&keys::tombstone(epoch, old.revision, id))?;
                }
            }
            let row = encode_element(change, revision, ordinal);
            self.put(&keys::element(epoch, id), &row)?;
            self.put(&keys::change(epoch, revision, id), &[])?;
            if change.is_deleted {
                self.put(&keys::tombstone(epoch, revision, id), &[])?;
            }
            elements.push(record::element(change, revision, ordinal));
        }
        Ok(elements)
    }
}

fn size(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// How much a stored element's JSON counts. Its id is counted as long as it is
/// on the board.
fn bytes_of(element: &Element) -> u64 {
    size(element.json.len())
}
