use std::{borrow::Cow, cmp::Ordering, collections::HashSet, sync::Arc};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Invalid;

/// The largest integer that every JavaScript number holds exactly: 2^53 - 1.
pub const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// The deepest nesting of an element's JSON.
const MAX_DEPTH: usize = 64;

/// Excalidraw's element types but `iframe`, which Excalidraw renders without
/// validating it.
const TYPES: [&str; 12] = [
    "rectangle",
    "diamond",
    "ellipse",
    "line",
    "arrow",
    "freedraw",
    "text",
    "image",
    "frame",
    "magicframe",
    "embeddable",
    "selection",
];

/// How much a change and a board may hold.
#[derive(Clone, Copy, Debug)]
pub struct BoardLimits {
    /// Elements in one change.
    pub change_elements: usize,
    /// Bytes of JSON in one change.
    pub change_bytes: usize,
    /// Elements on a board, tombstones counted.
    pub board_elements: usize,
    /// Bytes of ids and JSON on a board, tombstones counted.
    pub board_bytes: usize,
}

/// The limits of the browser contract. A whole board fits a gRPC message.
pub const BOARD_LIMITS: BoardLimits = BoardLimits {
    change_elements: 5_000,
    change_bytes: 1 << 20,
    board_elements: 10_000,
    board_bytes: 8 << 20,
};

/// An element of the board, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// Its id.
    pub id: Arc<str>,
    /// Excalidraw's version: the greater one wins.
    pub version: u64,
    /// Excalidraw's nonce: among equal versions the lower one wins.
    pub version_nonce: u64,
    /// Whether it is a tombstone.
    pub is_deleted: bool,
    /// The room's revision at which it was last changed.
    pub revision: u64,
    /// Its place among the elements as they first came.
    pub ordinal: u64,
    /// Its JSON as it came, or a tombstone's own.
    pub json: Arc<str>,
}

/// An element that somebody wants to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElementChange {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: u64,
    /// Its nonce.
    pub version_nonce: u64,
    /// Whether it is a tombstone.
    pub is_deleted: bool,
    /// What is stored: its JSON as it came, or a tombstone stripped to what
    /// the merge needs.
    pub json: String,
}

/// The fields of an element that matter here, each as it came, so that one that
/// is wrong can be named; all else passes unread.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    version: Option<&'a RawValue>,
    #[serde(borrow, rename = "versionNonce")]
    version_nonce: Option<&'a RawValue>,
    #[serde(borrow, rename = "isDeleted")]
    is_deleted: Option<&'a RawValue>,
    #[serde(borrow)]
    link: Option<&'a RawValue>,
}

/// A field of an element: its value as it came, and what to call it.
struct Field<'a> {
    at: &'a str,
    name: &'static str,
    value: Option<&'a RawValue>,
}

impl<'a> Field<'a> {
    fn invalid(&self, problem: impl Into<String>) -> Invalid {
        Invalid::new(format!("{}.{}", self.at, self.name), problem)
    }

    fn required<T: Deserialize<'a>>(&self, wanted: &str) -> Result<T, Invalid> {
        let value = self.value.ok_or_else(|| self.invalid("is missing"))?;
        serde_json::from_str(value.get()).map_err(|_| self.invalid(format!("must be {wanted}")))
    }

    fn integer(&self) -> Result<u64, Invalid> {
        let wanted = "an integer, 0 to 2^53 - 1";
        let number = self.required(wanted)?;
        if number > MAX_SAFE_INTEGER {
            return Err(self.invalid(format!("must be {wanted}")));
        }
        Ok(number)
    }
}

impl ElementChange {
    /// Takes an element's JSON as it came. `at` names it: `elements[3]`.
    pub fn parse(at: &str, json: &str) -> Result<Self, Invalid> {
        if depth_of(json) > MAX_DEPTH {
            return Err(Invalid::new(
                at,
                format!("must nest at most {MAX_DEPTH} deep"),
            ));
        }
        if !json.trim_start().starts_with('{') {
            return Err(Invalid::new(at, "must be an object"));
        }
        let fields: Fields<'_> =
            serde_json::from_str(json).map_err(|error| Invalid::new(at, problem(&error)))?;
        let field = |name, value| Field { at, name, value };

        let id_field = field("id", fields.id);
        let id: String = id_field.required("a string")?;
        if !(1..=64).contains(&id.chars().take(65).count()) {
            return Err(id_field.invalid("must be 1 to 64 characters"));
        }
        let kind_field = field("type", fields.kind);
        let kind: Cow<'_, str> = kind_field.required("a string")?;
        if !TYPES.contains(&&*kind) {
            return Err(kind_field.invalid("must be a type of Excalidraw's, not iframe"));
        }
        let version = field("version", fields.version).integer()?;
        let version_nonce = field("versionNonce", fields.version_nonce).integer()?;
        let is_deleted = match fields.is_deleted {
            Some(value) => field("isDeleted", Some(value)).required("true or false")?,
            None => false,
        };
        if fields.link.is_some() {
            check_link(&field("link", fields.link))?;
        }

        let json = if is_deleted {
            tombstone(&id, &kind, version, version_nonce)
        } else {
            json.to_owned()
        };
        Ok(Self {
            id,
            version,
            version_nonce,
            is_deleted,
            json,
        })
    }

    /// Whether this element wins over a stored one (`Greater`), loses to it
    /// (`Less`), or is the same (`Equal`), in which case the stored one stays.
    ///
    /// The greater version wins, among equal ones the lower nonce: Excalidraw's
    /// own rule, which makes merging commutative, associative and idempotent.
    pub(crate) fn against(&self, version: u64, version_nonce: u64) -> Ordering {
        let by_version = self.version.cmp(&version);
        by_version.then(version_nonce.cmp(&self.version_nonce))
    }

    /// Takes a whole change: every element valid, no id twice, within the
    /// limits of one change.
    pub fn parse_all<'a>(
        field: &str,
        elements: impl ExactSizeIterator<Item = &'a str>,
    ) -> Result<Vec<Self>, Invalid> {
        let mut seen = HashSet::with_capacity(elements.len());
        let mut changes = Vec::with_capacity(elements.len());
        for (i, json) in elements.enumerate() {
            let at = format!("{field}[{i}]");
            let change = Self::parse(&at, json)?;
            if !seen.insert(change.id.clone()) {
                return Err(Invalid::new(
                    format!("{at}.id"),
                    "must not come twice in a change",
                ));
            }
            changes.push(change);
        }
        Ok(changes)
    }
}

/// How every stored tombstone begins. A living element cannot: it would hold
/// `isDeleted: true` and so be a tombstone.
const TOMBSTONE: &str = r#"{"isDeleted":true,"#;

/// A tombstone keeps what the merge needs, and the type so that a client still
/// recognises it as an element.
fn tombstone(id: &str, kind: &str, version: u64, version_nonce: u64) -> String {
    let rest = serde_json::json!({
        "id": id,
        "type": kind,
        "version": version,
        "versionNonce": version_nonce,
    })
    .to_string();
    format!("{TOMBSTONE}{}", &rest[1..])
}

/// Whether the JSON of a stored element is a tombstone's.
pub(crate) fn is_tombstone(json: &str) -> bool {
    json.starts_with(TOMBSTONE)
}

/// A link is nothing, or one that a browser may follow without running it.
fn check_link(field: &Field<'_>) -> Result<(), Invalid> {
    let link: Option<String> = field.required("a string or null")?;
    let Some(link) = link else { return Ok(()) };
    let lower = link.trim_start().to_ascii_lowercase();
    if lower.is_empty()
        || ["http:", "https:", "mailto:"]
            .iter()
            .any(|s| lower.starts_with(s))
    {
        return Ok(());
    }
    Err(field.invalid("must be http, https or mailto"))
}

/// What a parser's error says of the value, without its position in the text.
fn problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// How deep a JSON text nests, found without recursion.
fn depth_of(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Puts elements in the order of the board: those with Excalidraw's fractional
/// `index` by its bytes, then by id; then those without, as they first came.
pub fn in_board_order(mut elements: Vec<Element>) -> Vec<Element> {
    elements.sort_by_cached_key(|element| match fractional_index(&element.json) {
        Some(index) => (0, index, 0, element.id.clone()),
        None => (1, String::new(), element.ordinal, element.id.clone()),
    });
    elements
}

fn fractional_index(json: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Indexed<'a> {
        #[serde(borrow)]
        index: Option<&'a RawValue>,
    }

    let indexed: Indexed<'_> = serde_json::from_str(json).ok()?;
    // An index of another type is no index; an element may hold what it likes.
    serde_json::from_str(indexed.index?.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(extra: &str) -> String {
        format!(r#"{{"id":"a","type":"rectangle","version":1,"versionNonce":2{extra}}}"#)
    }

    #[test]
    fn an_element_is_kept_byte_for_byte() {
        let json = element(r#", "x" : 1.50e1,"y":[1, 2],"ü":"\u00fc""#);
        assert_eq!(ElementChange::parse("e", &json).unwrap().json, json);
    }

    #[test]
    fn a_tombstone_is_stripped_to_what_the_merge_needs() {
        let change =
            ElementChange::parse("e", &element(r#","isDeleted":true,"points":[1,2]"#)).unwrap();
        let json: serde_json::Value = serde_json::from_str(&change.json).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"id":"a","type":"rectangle","version":1,"versionNonce":2,"isDeleted":true})
        );
        assert!(is_tombstone(&change.json));
        assert!(!is_tombstone(&element("")));
    }

    #[test]
    fn every_bad_element_names_its_field() {
        for (json, field) in [
            (
                r#"{"type":"text","version":1,"versionNonce":1}"#.to_owned(),
                "e.id",
            ),
            (
                r#"{"id":"","type":"text","version":1,"versionNonce":1}"#.to_owned(),
                "e.id",
            ),
            (
                r#"{"id":"a","type":"iframe","version":1,"versionNonce":1}"#.to_owned(),
                "e.type",
            ),
            (
                r#"{"id":"a","type":"text","version":1.5,"versionNonce":1}"#.to_owned(),
                "e.version",
            ),
            (
                r#"{"id":"a","type":"text","version":-1,"versionNonce":1}"#.to_owned(),
                "e.version",
            ),
            (
                r#"{"id":"a","type":"text","version":9007199254740992,"versionNonce":1}"#
                    .to_owned(),
                "e.version",
            ),
            (element(r#","link":"javascript:alert(1)""#), "e.link"),
            (element(r#","link":" JavaScript:alert(1)""#), "e.link"),
            (element(r#","link":7"#), "e.link"),
            (element(r#","isDeleted":"yes""#), "e.isDeleted"),
            ("[]".to_owned(), "e"),
            ("7".to_owned(), "e"),
            ("{".to_owned(), "e"),
            (
                element(&format!(r#","x":{}{}"#, "[".repeat(64), "]".repeat(64))),
                "e",
            ),
        ] {
            assert_eq!(
                ElementChange::parse("e", &json).unwrap_err().field,
                field,
                "{json}"
            );
        }
    }

    #[test]
    fn links_that_a_browser_may_follow_pass() {
        for link in [
            "null",
            r#""""#,
            r#""https://a.b""#,
            r#""HTTP://a""#,
            r#""mailto:a@b.c""#,
        ] {
            let json = element(&format!(r#","link":{link}"#));
            assert!(ElementChange::parse("e", &json).is_ok(), "{link}");
        }
    }

    #[test]
    fn an_id_twice_refuses_the_change() {
        let json = element("");
        let both = [json.as_str(), json.as_str()];
        let error = ElementChange::parse_all("elements", both.into_iter()).unwrap_err();
        assert_eq!(error.field, "elements[1].id");
    }

    #[test]
    fn the_board_is_ordered_by_index_then_by_first_coming() {
        let stored = |id: &str, ordinal, extra: &str| Element {
            id: id.into(),
            version: 1,
            version_nonce: 1,
            is_deleted: false,
            revision: 1,
            ordinal,
            json: format!(r#"{{"id":"{id}"{extra}}}"#).into(),
        };
        let order: Vec<_> = in_board_order(vec![
            stored("late", 9, ""),
            stored("early", 2, r#","index":null"#),
            stored("b", 0, r#","index":"a1""#),
            stored("a", 8, r#","index":"a1""#),
            stored("upper", 7, r#","index":"Zz""#),
        ])
        .into_iter()
        .map(|e| e.id.to_string())
        .collect();
        assert_eq!(order, ["upper", "a", "b", "early", "late"]);
    }
}
