//! Which history a server tells.
//!
//! A failover may lose the last writes. Whoever has seen them holds a position that
//! the room seems to have passed as soon as somebody writes again, so that no
//! comparison of revisions finds the difference. Redis gives its history a new name
//! where a replica takes over; positions from before that are not trusted. Each read
//! from a position says which history it read, so that none comes between a failover
//! and its being noticed.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{ErrorKind, ServerErrorKind, Value, aio::MultiplexedConnection};
use tokio::time::timeout;

use crate::{domain::Position, repository::Since};

/// How long a server may take to say what it is.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// What a master says of its history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Branch {
    id: String,
    /// It was a replica, and goes on with what it had of its master's history.
    took_over: bool,
}

impl Branch {
    /// The history that the server tells, if it answers and takes writes: one that
    /// was demoted keeps its connections open, and its subscribers in silence.
    pub(super) async fn of(connection: &mut MultiplexedConnection) -> Option<Self> {
        let mut ask = redis::cmd("INFO");
        ask.arg("replication");
        match timeout(ANSWER_WITHIN, ask.query_async::<String>(connection)).await {
            Ok(Ok(text)) => Self::parse(&text),
            // A user who may not ask still gets an answer.
            Ok(Err(error)) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => {
                Some(Self::default())
            }
            Ok(Err(_)) | Err(_) => None,
        }
    }

    /// The history that a script read, by the server's clock in microseconds; the
    /// last two parts of its answer.
    pub(super) fn told(answer: &Value) -> Option<(Self, u64)> {
        let Value::Array(parts) = answer else {
            return None;
        };
        let [.., Value::BulkString(branch), Value::BulkString(now)] = parts.as_slice() else {
            return None;
        };
        let branch = Self::parse(std::str::from_utf8(branch).ok()?)?;
        let now = std::str::from_utf8(now).ok()?.parse().ok()?;
        // Where the server may not be asked it says nothing.
        (!branch.id.is_empty()).then_some((branch, now))
    }

    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .unwrap_or_default()
        };
        if field("role") == "slave" {
            return None;
        }
        let earlier = field("master_replid2");
        Some(Self {
            id: field("master_replid").to_owned(),
            took_over: earlier.bytes().any(|byte| byte != b'0'),
        })
    }

    /// Whether this may be another history than the one that was known.
    ///
    /// A server that starts, or gets its first replica, takes a new name and has
    /// taken over nothing.
    pub(super) fn may_differ_from(&self, known: &Self) -> bool {
        self.took_over && self.id != known.id
    }
}

/// What is known of a server's history.
#[derive(Debug, Default)]
pub(super) struct History {
    // A std mutex: nothing is awaited while it is held.
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    branch: Branch,
    /// Positions before this revision may be of a history that is lost.
    trusted_from: u64,
}

impl History {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the history that the server has at `now`, by its clock in microseconds.
    pub(super) fn set(&self, branch: &Branch, now: u64) {
        let mut known = self.known();
        if branch.may_differ_from(&known.branch) {
            tracing::warn!("Redis: a replica took over; readers begin anew");
            known.trusted_from = now;
        }
        known.branch = branch.clone();
    }

    /// From where a reader can be served: from nowhere, if its position may be of
    /// a history that is lost.
    pub(super) fn trusted(&self, since: Since) -> Since {
        match since {
            Since::Position(position) if position.revision < self.known().trusted_from => {
                Since::Position(Position::ZERO)
            }
            Since::Position(_) | Since::Arrival | Since::Now => since,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED: &str = "# Replication\r\nrole:master\r\nmaster_replid:aa\r\n\
        master_replid2:0000\r\nmaster_repl_offset:0\r\n";
    const TOOK_OVER: &str = "role:master\r\nmaster_replid:bb\r\nmaster_replid2:aa\r\n";

    fn after(revision: u64) -> Since {
        Since::Position(Position { epoch: 7, revision })
    }

    #[test]
    fn a_replica_tells_no_history() {
        assert_eq!(Branch::parse("role:slave\r\nmaster_replid:aa\r\n"), None);
    }

    #[test]
    fn a_server_that_starts_anew_tells_its_own_history_on() {
        let started = Branch::parse(STARTED).unwrap();
        let again = Branch {
            id: "cc".to_owned(),
            ..started.clone()
        };
        assert!(!again.may_differ_from(&started));
        let history = History::default();
        history.set(&started, 100);
        history.set(&again, 200);
        assert_eq!(history.trusted(after(50)), after(50));
    }

    #[test]
    fn a_read_says_which_history_it_read() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let answer = |history, now| {
            Value::Array(vec![
                text("ok"),
                Value::Array(vec![]),
                text(history),
                text(now),
            ])
        };
        let (branch, now) = Branch::told(&answer(TOOK_OVER, "77")).unwrap();
        assert_eq!(
            (branch.id.as_str(), branch.took_over, now),
            ("bb", true, 77)
        );
        assert_eq!(Branch::told(&answer("", "77")), None);
        assert_eq!(Branch::told(&Value::Array(vec![text("gone")])), None);
    }

    #[test]
    fn positions_from_before_a_takeover_are_not_trusted() {
        let history = History::default();
        history.set(&Branch::parse(STARTED).unwrap(), 100);
        let took_over = Branch::parse(TOOK_OVER).unwrap();
        history.set(&took_over, 200);
        assert_eq!(history.trusted(after(199)), Since::Position(Position::ZERO));
        assert_eq!(history.trusted(after(200)), after(200));
        assert_eq!(history.trusted(Since::Now), Since::Now);
        // The same history, seen once more.
        history.set(&took_over, 300);
        assert_eq!(history.trusted(after(200)), after(200));
    }

    #[test]
    fn whoever_comes_after_a_takeover_trusts_nothing_from_before_he_came() {
        let history = History::default();
        history.set(&Branch::parse(TOOK_OVER).unwrap(), 300);
        assert_eq!(history.trusted(after(299)), Since::Position(Position::ZERO));
    }
}
