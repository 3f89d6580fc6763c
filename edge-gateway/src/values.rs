//! Values that browsers send, valid by construction.
//!
//! Lengths count Unicode scalar values.

use std::{fmt, sync::Arc};

use roomkeeper_common::names;

use crate::error::Error;

/// The most that a chat message may hold.
const MAX_TEXT: usize = 4_000;

/// The largest integer that JavaScript holds exactly.
pub const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// A room's code: six ASCII digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RoomCode(Arc<str>);

impl RoomCode {
    /// Checks a code that came as `field`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] that names `field`.
    pub fn parse(field: &str, text: &str) -> Result<Self, Error> {
        if text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_digit()) {
            Ok(Self(text.into()))
        } else {
            Err(Error::invalid(field, "must be a string of six digits"))
        }
    }

    /// The code in what a person may write for one: with white space, and with hyphens or
    /// dashes, as in `123-456`. The web client reads codes by the same rule.
    pub fn spelled(text: &str) -> Option<Self> {
        let is_filler = |c: char| c.is_whitespace() || matches!(c, '-' | '\u{2010}'..='\u{2015}');
        let digits: String = text.chars().filter(|c| !is_filler(*c)).collect();
        Self::parse("code", &digits).ok()
    }

    /// The six digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoomCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks a `userId`: 1 to 128 characters without control characters, in any scheme.
///
/// # Errors
///
/// [`Error::Invalid`] that names `field`.
pub fn user_id(field: &str, text: String) -> Result<String, Error> {
    let text = plain(field, text, 128)?;
    if text.chars().any(char::is_control) {
        return Err(Error::invalid(field, "must have no control characters"));
    }
    Ok(text)
}

/// Checks a `username`: 1 to 40 characters that show something and do not turn the text
/// around them.
///
/// # Errors
///
/// [`Error::Invalid`] that names `field`.
pub fn username(field: &str, text: String) -> Result<String, Error> {
    name(field, text, 40)
}

/// Checks and trims a room's name: 1 to 80 characters, otherwise as a `username`.
///
/// # Errors
///
/// [`Error::Invalid`] that names `field`.
pub fn room_name(field: &str, text: &str) -> Result<String, Error> {
    name(field, text.trim().to_owned(), 80)
}

/// Checks and trims a room's creator: 1 to 40 characters, otherwise as a `username`.
///
/// # Errors
///
/// [`Error::Invalid`] that names `field`.
pub fn created_by(field: &str, text: &str) -> Result<String, Error> {
    name(field, text.trim().to_owned(), 40)
}

/// Checks a chat text: 1 to 4,000 characters, not all white space; it stays as it came.
///
/// # Errors
///
/// [`Error::Invalid`] that names `field`.
pub fn chat_text(field: &str, text: String) -> Result<String, Error> {
    if text.chars().all(char::is_whitespace) {
        return Err(Error::invalid(field, "must hold something"));
    }
    if longer_than(&text, MAX_TEXT) {
        return Err(Error::invalid(field, "must have at most 4000 characters"));
    }
    Ok(text)
}

/// Checks a request id: a UUID in its usual form, with hyphens.
///
/// # Errors
///
/// [`Error::Invalid`] that names `field`.
pub fn request_id(field: &str, text: String) -> Result<String, Error> {
    let hyphenated = text.len() == 36 && text.as_bytes()[8] == b'-';
    if hyphenated && uuid::Uuid::try_parse(&text).is_ok() {
        Ok(text)
    } else {
        Err(Error::invalid(field, "must be a UUID"))
    }
}

fn plain(field: &str, text: String, most: usize) -> Result<String, Error> {
    if text.is_empty() {
        return Err(Error::invalid(field, "must not be empty"));
    }
    if longer_than(&text, most) {
        return Err(Error::invalid(
            field,
            format!("must have at most {most} characters"),
        ));
    }
    Ok(text)
}

fn name(field: &str, text: String, most: usize) -> Result<String, Error> {
    let text = plain(field, text, most)?;
    match names::problem(&text) {
        Some(problem) => Err(Error::invalid(field, problem)),
        None => Ok(text),
    }
}

fn longer_than(text: &str, most: usize) -> bool {
    text.chars().nth(most).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_code_is_six_ascii_digits() {
        assert!(RoomCode::parse("roomId", "000042").is_ok());
        for bad in ["", "12345", "1234567", "12345a", " 12345", "１２３４５６"] {
            let error = RoomCode::parse("roomId", bad).unwrap_err();
            assert!(error.to_string().starts_with("roomId: "), "{bad}");
        }
    }

    #[test]
    fn lengths_count_characters_and_not_bytes() {
        assert!(username("username", "ü".repeat(40)).is_ok());
        assert!(username("username", "ü".repeat(41)).is_err());
        assert!(user_id("userId", "x".repeat(129)).is_err());
        assert!(user_id("userId", "a\nb".to_owned()).is_err());
        assert!(chat_text("message", "😀".repeat(4_000)).is_ok());
        assert!(chat_text("message", "a".repeat(4_001)).is_err());
    }

    #[test]
    fn a_name_is_trimmed_and_a_text_is_not() {
        assert_eq!(room_name("name", "  a b ").unwrap(), "a b");
        assert!(room_name("name", "   ").is_err());
        assert_eq!(chat_text("message", " x\n".to_owned()).unwrap(), " x\n");
        assert!(chat_text("message", " \n\t".to_owned()).is_err());
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
            assert!(username("u", bad.to_owned()).is_err(), "{bad:?}");
            assert!(created_by("c", bad).is_err(), "{bad:?}");
            assert!(room_name("n", bad).is_err(), "{bad:?}");
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
            assert!(username("u", good.to_owned()).is_ok(), "{good:?}");
            assert!(room_name("n", good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn a_request_id_is_a_hyphenated_uuid() {
        assert!(
            request_id(
                "requestId",
                "67e55044-10b1-426f-9247-bb680e5fe0c8".to_owned()
            )
            .is_ok()
        );
        for bad in [
            "",
            "67e5504410b1426f9247bb680e5fe0c8",
            "{67e55044-10b1-426f-9247-bb680e5fe0}",
        ] {
            assert!(request_id("requestId", bad.to_owned()).is_err(), "{bad}");
        }
    }
}
