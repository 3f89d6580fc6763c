//! The ids, names and texts that callers send.

use std::{borrow::Borrow, fmt, sync::Arc};

use roomkeeper_common::names;
use uuid::Uuid;

/// Why a value from outside is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Invalid {
    /// The field, as the caller knows it: `room_code`, `elements[3].version`.
    pub field: String,
    /// What is wrong with it, for people.
    pub problem: String,
}

impl Invalid {
    /// Names a field and its problem.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

/// A room's code: six ASCII digits, leading zeros allowed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomCode([u8; 6]);

impl RoomCode {
    /// The first code that is ever given out; those below are left to tests and tools.
    pub const FIRST: u32 = 1_000;
    /// The last code.
    pub const LAST: u32 = 999_999;

    /// Takes a code as it came.
    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        <[u8; 6]>::try_from(text.as_bytes())
            .ok()
            .filter(|digits| digits.iter().all(u8::is_ascii_digit))
            .map(Self)
            .ok_or_else(|| Invalid::new(field, "must be six digits"))
    }

    /// The code of a number; `None` above [`RoomCode::LAST`].
    pub fn from_number(number: u32) -> Option<Self> {
        if number > Self::LAST {
            return None;
        }
        Self::parse("", &format!("{number:06}")).ok()
    }

    /// The six digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for RoomCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RoomCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Checks a length in Unicode scalar values.
fn length(field: &str, text: &str, least: usize, most: usize) -> Result<(), Invalid> {
    // A character is one byte to four, so most texts need no counting.
    if text.len() <= most && text.len() >= least * 4 {
        return Ok(());
    }
    let count = text.chars().take(most + 1).count();
    if count < least {
        return Err(Invalid::new(field, "must not be empty"));
    }
    if count > most {
        return Err(Invalid::new(
            field,
            format!("must be at most {most} characters"),
        ));
    }
    Ok(())
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text! {
    /// A user's id: 1 to 128 characters without control characters.
    UserId
}
text! {
    /// A user's name: 1 to 40 characters that show something and do not turn the text
    /// around them.
    Username
}
text! {
    /// A room's name: 1 to 80 characters that show something and do not turn the text
    /// around them, without white space at its ends.
    RoomName
}
text! {
    /// A chat message's text: 1 to 4,000 characters, not all white space.
    ChatText
}
text! {
    /// A connection of a user: 1 to 64 characters of `A-Z a-z 0-9 - _ . :`, or
    /// the one unnamed session that a user of a backend has.
    SessionId
}
text! {
    /// What a signal is, as its sender named it: 1 to 64 characters without
    /// control characters.
    SignalKind
}

macro_rules! stored {
    ($($name:ident)*) => {$(
        impl $name {
            /// Takes a text that the store holds, which was checked when it came.
            pub(crate) fn stored(text: &str) -> Self {
                Self(text.into())
            }
        }
    )*};
}

stored! { UserId Username SignalKind SessionId }

impl UserId {
    /// Takes an id as it came.
    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        length(field, text, 1, 128)?;
        without_controls(field, text)?;
        Ok(Self(text.into()))
    }
}

impl Username {
    /// Takes a name as it came.
    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        length(field, text, 1, 40)?;
        shown_as_it_is(field, text)?;
        Ok(Self(text.into()))
    }

    /// Takes a name without the white space at its ends.
    pub fn parse_trimmed(field: &str, text: &str) -> Result<Self, Invalid> {
        Self::parse(field, text.trim())
    }
}

impl RoomName {
    /// Takes a name without the white space at its ends.
    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        length(field, text, 1, 80)?;
        shown_as_it_is(field, text)?;
        Ok(Self(text.into()))
    }
}

impl ChatText {
    /// Takes a text as it came, without trimming it.
    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        length(field, text, 1, 4_000)?;
        if text.chars().all(char::is_whitespace) {
            return Err(Invalid::new(
                field,
                "must hold something that is not white space",
            ));
        }
        Ok(Self(text.into()))
    }
}

impl SignalKind {
    /// Takes a kind as it came.
    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        length(field, text, 1, 64)?;
        without_controls(field, text)?;
        Ok(Self(text.into()))
    }
}

impl SessionId {
    /// Takes an id as it came.
    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        let fits = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b));
        if !fits {
            return Err(Invalid::new(
                field,
                "must be 1 to 64 characters of A-Z a-z 0-9 - _ . :",
            ));
        }
        Ok(Self(text.into()))
    }

    /// The session of a user whom a backend lets in without naming one. The
    /// leading space keeps it apart from every named session.
    pub fn unnamed(user: &UserId) -> Self {
        Self(format!(" {}", user.as_str()).into())
    }

    /// A stored session's name as callers know it: empty where it was never named.
    pub fn as_named(stored: &str) -> &str {
        if stored.starts_with(' ') { "" } else { stored }
    }

    /// Whether this is the session of a user who has none.
    pub fn is_unnamed(&self) -> bool {
        self.0.starts_with(' ')
    }
}

/// A caller's name for one change, which makes it safe to repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId {
    /// The UUID.
    pub id: Uuid,
    /// Nobody but the caller's own retries knows it: it is kept only for a
    /// minute and is not part of what is stored.
    pub transient: bool,
}

impl RequestId {
    /// Takes an id as it came, or makes one where none did.
    pub fn parse(field: &str, text: &str, transient: bool) -> Result<Self, Invalid> {
        if text.is_empty() {
            return Ok(Self {
                id: Uuid::new_v4(),
                transient: true,
            });
        }
        let id = Uuid::try_parse(text).map_err(|_| Invalid::new(field, "must be a UUID"))?;
        Ok(Self { id, transient })
    }
}

/// Checks that a name can be shown as it is.
fn shown_as_it_is(field: &str, name: &str) -> Result<(), Invalid> {
    names::problem(name).map_or(Ok(()), |problem| Err(Invalid::new(field, problem)))
}

fn without_controls(field: &str, text: &str) -> Result<(), Invalid> {
    if text.chars().any(char::is_control) {
        return Err(Invalid::new(field, "must not contain control characters"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_exactly_six_ascii_digits() {
        assert_eq!(RoomCode::parse("c", "001000").unwrap().as_str(), "001000");
        for bad in [
            "",
            "12345",
            "1234567",
            "12345a",
            "１２３４５６",
            " 12345",
            "-12345",
        ] {
            assert!(RoomCode::parse("c", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lengths_count_unicode_scalar_values() {
        assert!(Username::parse("u", &"é".repeat(40)).is_ok());
        assert!(Username::parse("u", &"é".repeat(41)).is_err());
        assert!(ChatText::parse("t", &"😀".repeat(4_000)).is_ok());
        assert!(ChatText::parse("t", &"😀".repeat(4_001)).is_err());
    }

    #[test]
    fn a_room_name_is_trimmed_and_a_chat_text_is_not() {
        assert_eq!(RoomName::parse("n", "  a b ").unwrap().as_str(), "a b");
        assert!(RoomName::parse("n", "   ").is_err());
        assert_eq!(ChatText::parse("t", "  a ").unwrap().as_str(), "  a ");
        assert!(ChatText::parse("t", " \u{3000}\n").is_err());
    }

    #[test]
    fn a_name_shows_something_and_leaves_the_direction_of_text_alone() {
        for bad in [
            "\u{200b}",
            "\u{200b}\u{200d}\u{2060}\u{feff}",
            "\u{200b} \u{200b}",
            "\u{ad}",
            "\u{3164}",
            "\u{e0020}",
            "   ",
            "\u{a0}\u{3000}",
            "\u{1}",
            "\u{200b}\u{0}",
            "\u{85} \u{7f}\n",
            "a\u{202e}b",
            "\u{202a}a",
            "a\u{2066}",
            "a\u{2069}b",
        ] {
            assert!(Username::parse("u", bad).is_err(), "{bad:?}");
            assert!(Username::parse_trimmed("u", bad).is_err(), "{bad:?}");
            assert!(RoomName::parse("n", bad).is_err(), "{bad:?}");
        }
        for good in [
            "👨\u{200d}👩\u{200d}👧",
            "می\u{200c}خواهم",
            "❤\u{fe0f}",
            "a\u{200b}",
            "\u{200f}שלום",
            "Zoë",
            "a\nb",
            "\u{1}a",
            "   .",
        ] {
            assert!(Username::parse("u", good).is_ok(), "{good:?}");
            assert!(RoomName::parse("n", good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn a_user_id_has_no_control_characters() {
        assert!(UserId::parse("u", "a\u{0}").is_err());
        assert!(UserId::parse("u", "a\u{85}").is_err());
        assert!(UserId::parse("u", "auth0|Zoë 7").is_ok());
    }

    #[test]
    fn an_unnamed_session_cannot_be_named_by_a_caller() {
        let user = UserId::parse("u", "ann").unwrap();
        assert!(SessionId::parse("s", SessionId::unnamed(&user).as_str()).is_err());
    }
}
