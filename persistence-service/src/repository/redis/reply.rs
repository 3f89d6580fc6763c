//! Takes a script's answer apart.

use redis::Value;

use crate::repository::{Decision, Refusal, RepositoryError};

/// The values of an answer, one after the other.
#[derive(Debug)]
pub(super) struct Reply(std::vec::IntoIter<Value>);

impl Reply {
    /// The values of a list, or of a hash: field, value, field, value.
    pub(super) fn of(value: Value) -> Result<Self, RepositoryError> {
        let found = kind_of(&value);
        let values = if let Value::Map(pairs) = value {
            pairs
                .into_iter()
                .flat_map(|(field, value)| [field, value])
                .collect()
        } else if let Value::Array(values) = value {
            values
        } else {
            return Err(unexpected("a list", found));
        };
        Ok(Self(values.into_iter()))
    }

    /// What the room decided: the outcome's name and what follows it.
    pub(super) fn decided(value: Value) -> Result<Decision<(String, Self)>, RepositoryError> {
        let mut reply = Self::of(value)?;
        let outcome = reply.text()?;
        Ok(match outcome.as_str() {
            "gone" => Err(Refusal::Gone),
            "full" => Err(Refusal::Full),
            "not_joined" => Err(Refusal::NotJoined),
            "identity_mismatch" => Err(Refusal::IdentityMismatch),
            "conflict" => Err(Refusal::Conflict),
            "board_full" => Err(Refusal::BoardFull),
            _ => Ok((outcome, reply)),
        })
    }

    fn next(&mut self) -> Result<Value, RepositoryError> {
        self.0
            .next()
            .ok_or_else(|| RepositoryError::Damaged("a reply is too short".to_owned()))
    }

    pub(super) fn text(&mut self) -> Result<String, RepositoryError> {
        text(self.next()?)
    }

    /// The next text, or nothing at the end.
    pub(super) fn text_if_any(&mut self) -> Result<Option<String>, RepositoryError> {
        self.0.next().map(text).transpose()
    }

    pub(super) fn number(&mut self) -> Result<u64, RepositoryError> {
        number(&self.text()?)
    }

    pub(super) fn list(&mut self) -> Result<Self, RepositoryError> {
        Self::of(self.next()?)
    }

    pub(super) fn texts(&mut self) -> Result<Vec<String>, RepositoryError> {
        self.list()?.rest()
    }

    /// All that is left, as texts.
    pub(super) fn rest(self) -> Result<Vec<String>, RepositoryError> {
        self.0.map(text).collect()
    }
}

fn text(value: Value) -> Result<String, RepositoryError> {
    let found = kind_of(&value);
    let Value::BulkString(bytes) = value else {
        return Err(unexpected("a text", found));
    };
    String::from_utf8(bytes)
        .map_err(|_| RepositoryError::Damaged("a value is not UTF-8".to_owned()))
}

/// A number that the store holds as text.
pub(super) fn number(text: &str) -> Result<u64, RepositoryError> {
    text.parse()
        .map_err(|_| RepositoryError::Damaged(format!("{text:?} is no number")))
}

fn unexpected(wanted: &str, found: &str) -> RepositoryError {
    RepositoryError::Damaged(format!("expected {wanted}, found {found}"))
}

/// What a value is; the value itself may be large, and somebody's own.
fn kind_of(value: &Value) -> &'static str {
    if matches!(value, Value::Nil) {
        "nothing"
    } else if matches!(value, Value::BulkString(_) | Value::SimpleString(_)) {
        "a text"
    } else if matches!(value, Value::Array(_)) {
        "a list"
    } else {
        "another kind of value"
    }
}
