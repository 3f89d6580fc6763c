//! JSON as it comes: its nesting is checked before anything recurses into it, and what is
//! passed on stays the text that it was.

use std::{borrow::Cow, fmt};

use memchr::memchr2;
use serde::{
    Deserialize,
    de::{DeserializeOwned, Deserializer, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{error::Error, values::MAX_SAFE_INTEGER};

/// How deep a payload may nest.
const MAX_DEPTH: usize = 64;

/// Checks that `text` nests at most 64 deep, `around` brackets not counted.
///
/// A scan of the bytes: it needs no valid JSON, and cannot recurse.
///
/// # Errors
///
/// [`Error::Invalid`] where it is deeper.
pub(crate) fn check_depth(text: &str, around: usize) -> Result<(), Error> {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => at = end_of_string(bytes, at),
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH + around {
                    return Err(Error::invalid("payload", "must nest at most 64 deep"));
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// Behind the quote that ends the string whose content begins at `at`; the end of the
/// text where none does.
fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        if bytes[at + found] == b'"' {
            return at + found + 1;
        }
        // What is escaped ends nothing.
        at += found + 2;
    }
    bytes.len()
}

/// The members of a JSON object, as raw text, in the order in which they came.
pub(crate) struct Fields<'a>(Vec<(Name<'a>, &'a RawValue)>);

/// A member's name, copied only where something in it is escaped.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Fields<'a> {
    /// Reads an object; anything else is refused in the name of `what`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] that names `what`.
    pub(crate) fn parse(what: &str, text: &'a str) -> Result<Self, Error> {
        if !text.trim_start().starts_with('{') {
            return Err(Error::invalid(what, "must be an object"));
        }
        serde_json::from_str(text).map_err(|_| Error::invalid(what, "is not valid JSON"))
    }

    /// The member of this name; of several the last, as in JavaScript.
    fn find(&self, name: &str) -> Option<&'a RawValue> {
        self.0
            .iter()
            .rev()
            .find(|(key, _)| key.0 == name)
            .map(|(_, value)| *value)
    }

    /// The text of a member that may be absent.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a str> {
        self.find(name).map(RawValue::get)
    }

    /// The members themselves.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(key, value)| (&*key.0, *value))
    }

    /// A member that may be absent, but if present is what `problem` says.
    fn optional<T: DeserializeOwned>(&self, name: &str, problem: &str) -> Result<Option<T>, Error> {
        self.raw(name)
            .map(|text| serde_json::from_str(text).map_err(|_| Error::invalid(name, problem)))
            .transpose()
    }

    /// A string that may be absent.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] where it is something else, `null` included.
    pub(crate) fn optional_string(&self, name: &str) -> Result<Option<String>, Error> {
        self.optional(name, "must be a string")
    }

    /// A string that must be there.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] where it is absent or something else.
    pub(crate) fn string(&self, name: &str) -> Result<String, Error> {
        self.optional_string(name)?
            .ok_or_else(|| Error::invalid(name, "is missing"))
    }

    /// An integer from 0 to 2^53 − 1 that may be absent.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] where it is something else.
    pub(crate) fn optional_integer(&self, name: &str) -> Result<Option<u64>, Error> {
        let number: Option<u64> = self.optional(name, "must be an integer of at least 0")?;
        match number {
            Some(number) if number > MAX_SAFE_INTEGER => {
                Err(Error::invalid(name, "must be at most 2^53 - 1"))
            }
            number => Ok(number),
        }
    }

    /// A number that must be there.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] where it is absent or something else.
    pub(crate) fn check_number(&self, name: &str) -> Result<(), Error> {
        match self.optional::<f64>(name, "must be a number")? {
            Some(_) => Ok(()),
            None => Err(Error::invalid(name, "is missing")),
        }
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;

        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::with_capacity(8);
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(FieldsVisitor)
    }
}

/// What follows the event's name in `["event", payload]`.
///
/// It is not read here: what is no single object of valid JSON, [`Fields::parse`] refuses.
///
/// # Errors
///
/// [`Error::Invalid`] where nothing follows.
pub(crate) fn only_argument(text: &str) -> Result<&str, Error> {
    let argument = || {
        let name = text
            .trim_ascii_start()
            .strip_prefix('[')?
            .trim_ascii_start();
        let name = name.strip_prefix('"')?;
        let rest = name.get(end_of_string(name.as_bytes(), 0)..)?;
        let rest = rest.trim_ascii_start().strip_prefix(',')?;
        Some(rest.trim_ascii().strip_suffix(']')?.trim_ascii())
    };
    argument().ok_or_else(|| Error::invalid("payload", "must be one object of valid JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_is_counted_outside_of_strings() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(check_depth(&nested(64), 0).is_ok());
        assert!(check_depth(&nested(65), 0).is_err());
        assert!(check_depth(&nested(65), 1).is_ok());
        assert!(check_depth(&nested(1_000_000), 0).is_err());
        assert!(check_depth(&format!("\"{}\"", "[\\\"".repeat(100)), 0).is_ok());
        assert!(check_depth("]]]]", 0).is_ok());
    }

    #[test]
    fn of_two_members_of_one_name_the_last_counts() {
        let fields = Fields::parse("payload", r#"{"a":1,"a":2}"#).unwrap();
        assert_eq!(fields.optional_integer("a").unwrap(), Some(2));
    }

    #[test]
    fn a_member_of_another_type_is_named() {
        let fields = Fields::parse("payload", r#"{"a":null,"b":-1,"c":1.5,"d":"1"}"#).unwrap();
        assert_eq!(
            fields.string("a"),
            Err(Error::invalid("a", "must be a string"))
        );
        assert_eq!(fields.string("z"), Err(Error::invalid("z", "is missing")));
        for name in ["a", "b", "c", "d"] {
            assert!(fields.optional_integer(name).is_err(), "{name}");
        }
    }

    #[test]
    fn only_one_payload_is_taken() {
        assert_eq!(only_argument(r#"["join", {"a": 1}]"#), Ok(r#"{"a": 1}"#));
        assert_eq!(only_argument(r#"["a\",\"b",{}]"#), Ok("{}"));
        for bad in [
            r#"["join"]"#,
            r#"["join",1,2]"#,
            r#"["join",{},{}]"#,
            r#"["join",{]"#,
            r#"["join",{}"#,
            r#"["join",{}]]"#,
            r#"["join,{}]"#,
            r#"["join\"#,
            "",
            "{}",
        ] {
            let parsed = only_argument(bad).and_then(|text| Fields::parse("payload", text));
            assert!(parsed.is_err(), "{bad}");
        }
    }
}
