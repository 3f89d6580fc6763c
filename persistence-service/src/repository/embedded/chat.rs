//! What is said in a room.

use uuid::Uuid;

use super::{
    change::Change,
    failure::Failure,
    keys,
    record::{Head, Outcome, encode_message},
    rows::Rows as _,
};
use crate::{
    domain::EventKind,
    repository::{Decision, NewMessage, Refusal, SavedMessage},
};

/// How many messages more than it keeps a room may have rows of: they are
/// removed together, since they stand together and a removal costs as much as
/// what it touches.
const SLACK: usize = 25;

impl Change<'_> {
    /// Saves a message.
    pub(super) fn save_message(
        &mut self,
        message: &NewMessage,
    ) -> Result<Decision<SavedMessage>, Failure> {
        let Some(mut head) = self.living(message.code)? else {
            return Ok(Err(Refusal::Gone));
        };
        let epoch = head.epoch;
        match self.recorded(epoch, &message.request)? {
            None => {}
            Some(Err(refusal)) => return Ok(Err(refusal)),
            Some(Ok(Outcome::Said {
                revision,
                id,
                username,
            })) => {
                let message = message.stored(id, username, revision);
                let duplicate = message.request_id.is_some();
                return Ok(Ok(SavedMessage {
                    message,
                    epoch,
                    duplicate,
                }));
            }
            // The fingerprint tells calls apart, so this is none of ours.
            Some(Ok(Outcome::Claimed(_) | Outcome::Created | Outcome::Drawn { .. })) => {
                return Ok(Err(Refusal::Conflict));
            }
        }
        let user = &message.author.user_id;
        if let Some(refusal) = self.refused(epoch, message.session.as_ref(), user)? {
            return Ok(Err(refusal));
        }
        let dropped = self.overdue_messages(&head)?;

        let id = Uuid::new_v4();
        let previous = head.revision;
        head.revision = self.next_revision(&head);
        head.message_rows += 1;
        for key in &dropped {
            self.remove(key)?;
            head.message_rows = head.message_rows.saturating_sub(1);
        }
        // The newest of them comes first.
        if let Some(revision) = dropped.first().and_then(|key| keys::parse_message(key)) {
            head.trimmed = revision;
        }
        self.refresh(&mut head)?;
        let row = encode_message(id, message);
        self.put(&keys::message(epoch, head.revision), &row)?;
        let username = message.author.username.as_str();
        let outcome = Outcome::Said {
            revision: head.revision,
            id,
            username: username.to_owned(),
        };
        self.record(epoch, &message.request, head.ttl, outcome)?;
        let message_stored = message.stored(id, username.to_owned(), head.revision);
        let told = message_stored.clone();
        self.tell(&head, previous, message.session.as_ref(), row.len(), || {
            EventKind::Message(told.into())
        });
        Ok(Ok(SavedMessage {
            message: message_stored,
            epoch,
            duplicate: false,
        }))
    }

    /// The keys of the messages that make place for another one, newest first.
    fn overdue_messages(&self, head: &Head) -> Result<Vec<keys::Key>, Failure> {
        let kept = self.settings.message_limit;
        let rows = usize::try_from(head.message_rows).unwrap_or(usize::MAX);
        if rows < kept + SLACK {
            return Ok(Vec::new());
        }
        let mut dropped = Vec::new();
        for row in self.rows.walk(&keys::messages(head.epoch))?.rev() {
            // With the new one there are as many as the room keeps.
            if dropped.len() + kept > rows {
                break;
            }
            dropped.push(row?.0.value().to_vec());
        }
        dropped.reverse();
        Ok(dropped)
    }
}
