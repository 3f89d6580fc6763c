mod forms;
mod fractional_index;
mod scan;

use std::{borrow::Cow, cmp::Ordering, collections::HashSet, sync::Arc};

use serde::Deserialize;
use serde_json::value::RawValue;

use self::{
    forms::{FIELDS, Kind, READ},
    scan::{MAX_DEPTH, Malformed, Scan},
};
use super::Invalid;

/// The largest integer that every JavaScript number holds exactly: 2^53 - 1.
pub const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// How many characters an id may have.
const MAX_ID: usize = 64;

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

/// Why an element is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadElement {
    /// It is no JSON object, or it lacks a field that every element needs.
    NoElement(Invalid),
    /// It holds all fields that it needs, and one of its fields has a value that this field
    /// cannot have.
    Field {
        /// Its id as it came, which may be the bad field and so have any length. If the id
        /// is no string, this is its JSON.
        id: String,
        /// The field.
        invalid: Invalid,
    },
}

impl BadElement {
    /// The field and what is wrong with it.
    pub fn into_invalid(self) -> Invalid {
        match self {
            Self::NoElement(invalid) | Self::Field { invalid, .. } => invalid,
        }
    }
}

/// What becomes of a change with an element that has a bad field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadFields {
    /// The change is refused.
    RefuseChange,
    /// That element is left out. This is for clients that send their whole scene with each
    /// change, where one element that was always bad would else refuse all others for good.
    LeaveOut,
}

/// A change whose elements were checked.
#[derive(Clone, Debug, Default)]
pub struct CheckedElements {
    /// The elements that the change stores.
    pub elements: Vec<ElementChange>,
    /// The ids of the elements that are left out, each with what is wrong. An id that is too
    /// long is cut.
    pub left_out: Vec<(String, Invalid)>,
}

/// The string that a JSON value is.
fn text(json: &str) -> Option<Cow<'_, str>> {
    let bare = json
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .filter(|text| !text.contains('\\'));
    match bare {
        Some(text) => Some(text.into()),
        None => serde_json::from_str(json).map(Cow::Owned).ok(),
    }
}

/// The version or the nonce that a JSON value is.
fn integer(json: &str) -> Option<u64> {
    let number = json.parse().ok();
    number.filter(|&number| number <= MAX_SAFE_INTEGER)
}

/// An id of any length as it is logged: whole, or its beginning.
fn cut(id: &str) -> String {
    match id.char_indices().nth(MAX_ID) {
        Some((end, _)) => format!("{}…", &id[..end]),
        None => id.to_owned(),
    }
}

fn invalid(at: &str, name: &str, problem: impl Into<String>) -> Invalid {
    Invalid::new(format!("{at}.{name}"), problem)
}

impl ElementChange {
    /// Takes an element's JSON as it came. `at` names it: `elements[3]`.
    ///
    /// Nothing is kept of the other fields of a tombstone, so they are not checked: an
    /// element with a bad field, stored in whatever way, can always be deleted.
    pub fn parse(at: &str, json: &str) -> Result<Self, BadElement> {
        let scan = Scan::of(json).map_err(|malformed| {
            BadElement::NoElement(Invalid::new(
                at,
                match malformed {
                    Malformed::Syntax => "must be JSON".to_owned(),
                    Malformed::NotAnObject => "must be an object".to_owned(),
                    Malformed::TooDeep => format!("must nest at most {MAX_DEPTH} deep"),
                },
            ))
        })?;
        let [id, kind, version, version_nonce, is_deleted] = scan.read;
        let present = |name, value: Option<_>| {
            value.ok_or_else(|| BadElement::NoElement(invalid(at, name, "is missing")))
        };
        let id = present("id", id)?;
        let kind = present("type", kind)?;
        let version = present("version", version)?;
        let version_nonce = present("versionNonce", version_nonce)?;

        let id_text = text(id);
        let bad = |name, problem: &str| BadElement::Field {
            id: id_text.as_deref().unwrap_or(id).to_owned(),
            invalid: invalid(at, name, problem),
        };
        let id = id_text
            .as_deref()
            .ok_or_else(|| bad("id", "must be a string"))?;
        if !(1..=MAX_ID).contains(&id.chars().take(MAX_ID + 1).count()) {
            return Err(bad("id", "must be 1 to 64 characters"));
        }
        let kind_name = text(kind).ok_or_else(|| bad("type", "must be a string"))?;
        let kind = Kind::parse(&kind_name)
            .ok_or_else(|| bad("type", "must be a type of Excalidraw's, not iframe"))?;
        let of_safe_size = |name, json| {
            integer(json).ok_or_else(|| bad(name, "must be an integer, 0 to 2^53 - 1"))
        };
        let version = of_safe_size("version", version)?;
        let version_nonce = of_safe_size("versionNonce", version_nonce)?;
        let is_deleted = is_deleted == Some("true");

        if let Some((row, problem)) = first_bad_field(&scan, kind, is_deleted) {
            return Err(bad(FIELDS[row].name, &problem));
        }
        let json = if is_deleted {
            tombstone(id, &kind_name, version, version_nonce)
        } else {
            json.to_owned()
        };
        Ok(Self {
            id: id.to_owned(),
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

    /// Takes a whole change: every element valid or left out, no id twice.
    pub fn parse_all<'a>(
        field: &str,
        elements: impl ExactSizeIterator<Item = &'a str>,
        bad_fields: BadFields,
    ) -> Result<CheckedElements, Invalid> {
        let mut seen = HashSet::with_capacity(elements.len());
        let mut checked = CheckedElements::default();
        checked.elements.reserve_exact(elements.len());
        for (i, json) in elements.enumerate() {
            let at = format!("{field}[{i}]");
            let id = match (Self::parse(&at, json), bad_fields) {
                (Ok(change), _) => {
                    let id = change.id.clone();
                    checked.elements.push(change);
                    id
                }
                (Err(BadElement::Field { id, invalid }), BadFields::LeaveOut) => {
                    checked.left_out.push((cut(&id), invalid));
                    id
                }
                (Err(bad), _) => return Err(bad.into_invalid()),
            };
            if !seen.insert(id) {
                return Err(invalid(&at, "id", "must not come twice in a change"));
            }
        }
        Ok(checked)
    }
}

/// The first row of the table whose field an element may not hold as it came, and why.
fn first_bad_field(scan: &Scan<'_>, kind: Kind, is_deleted: bool) -> Option<(usize, String)> {
    let counts = |row: &usize| *row < READ || (!is_deleted && FIELDS[*row].is_of(kind));
    if let Some(row) = scan.repeated().find(counts) {
        return Some((row, "must not come twice in an element".to_owned()));
    }
    let row = scan.misformed().find(counts)?;
    Some((row, format!("must be {}", FIELDS[row].form.wanted())))
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

    fn check(elements: &[&str], bad_fields: BadFields) -> Result<CheckedElements, Invalid> {
        ElementChange::parse_all("elements", elements.iter().copied(), bad_fields)
    }

    /// The field that refuses an element of a type with this field; `None` if it passes.
    fn refused(kind: &str, name: &str, value: &str) -> Option<String> {
        let json = format!(
            r#"{{"{name}":{value},"id":"a","type":"{kind}","version":1,"versionNonce":2}}"#
        );
        let bad = ElementChange::parse("e", &json).err()?;
        assert!(matches!(bad, BadElement::Field { .. }), "{json}: {bad:?}");
        Some(bad.into_invalid().field)
    }

    #[test]
    fn an_element_is_kept_byte_for_byte() {
        let json = element(r#", "x" : 1.50e1,"y": 2,"ü":[1, "\u00fc"]"#);
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
            let bad = ElementChange::parse("e", &json).unwrap_err();
            assert_eq!(bad.into_invalid().field, field, "{json}");
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
        let error = check(&both, BadFields::RefuseChange).unwrap_err();
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

    #[test]
    fn a_field_that_excalidraw_fails_at_is_refused_by_its_name() {
        for (kind, name, values) in [
            (
                "rectangle",
                "index",
                r#""zz" "" "a" "a0V0" "A00000000000000000000000000" 7 {} []"#,
            ),
            ("rectangle", "x", r#""1" true {} [] [1] 1e400 -1e400"#),
            ("ellipse", "width", r#""1" {}"#),
            ("text", "angle", r#""0" []"#),
            ("diamond", "strokeColor", "7 {} [] true"),
            ("diamond", "backgroundColor", "7 {}"),
            (
                "rectangle",
                "strokeWidth",
                r#"{} "" "wide" "NaN" "inf" "1e400" []"#,
            ),
            ("rectangle", "opacity", r#""100" {}"#),
            (
                "rectangle",
                "roundness",
                r#""round" 3 [] {"type":"3"} {"value":{}}"#,
            ),
            (
                "rectangle",
                "boundElements",
                r#""x" 7 {} [1] ["a"] [{}] [{"id":7}] [{"id":null}] [{"id":"a","type":7}] [null]"#,
            ),
            ("rectangle", "boundElementIds", r#""x" 7 {} [1] [{}]"#),
            ("rectangle", "groupIds", r#""x" 7 {} [1] [null]"#),
            ("rectangle", "frameId", "7 {} []"),
            (
                "rectangle",
                "link",
                r#"7 {} "javascript:1" "\u006aavascript:1" "httpx:" "data:,""#,
            ),
            ("rectangle", "locked", r#""yes" 1 {}"#),
            (
                "freedraw",
                "points",
                r#""x" 7 {} [{},{}] [[]] [[1]] [[1,"2"]] [[1,null]] [[1,[2]]] [[0,0],7] [[1e400,0]] [[0,0,{}]]"#,
            ),
            ("line", "points", "[{}] [[1]]"),
            ("arrow", "points", "[{}] [[1]]"),
            ("freedraw", "pressures", r#"7 {} "x" [{}] ["1"] [null]"#),
            ("freedraw", "simulatePressure", r#"7 {} "x""#),
            (
                "arrow",
                "startBinding",
                r#"7 "a" [] {"elementId":7} {"focus":"1"} {"gap":{}} {"fixedPoint":[1]} {"fixedPoint":{}} {"mode":1}"#,
            ),
            ("arrow", "endBinding", "7"),
            ("arrow", "endArrowhead", "7 {}"),
            ("arrow", "elbowed", r#"7 "x""#),
            (
                "arrow",
                "fixedSegments",
                r#"7 "x" [7] [{}] [{"start":[0,0],"end":[1,1]}] [{"start":[0],"end":[1,1],"index":1}]"#,
            ),
            ("line", "polygon", r#"7 "x""#),
            ("text", "text", "7 {} []"),
            ("text", "originalText", "7"),
            ("text", "fontSize", r#""20" {}"#),
            ("text", "fontFamily", r#""Virgil" {}"#),
            ("text", "lineHeight", r#""1" {}"#),
            ("text", "textAlign", "7 {}"),
            ("text", "containerId", "7 {}"),
            ("text", "font", "7 {}"),
            ("text", "autoResize", r#"1 "yes""#),
            ("image", "fileId", "7 {}"),
            ("image", "status", "7 {}"),
            ("image", "scale", r#"7 "x" [] [1] {}"#),
            ("rectangle", "scale", r#"7 "x" [] [1] {}"#),
            (
                "image",
                "crop",
                r#"7 [] "x" {"x":"1"} {"naturalWidth":1e999}"#,
            ),
            ("frame", "name", "7 {} []"),
            ("magicframe", "name", "{}"),
        ] {
            for value in values.split(' ') {
                let field = refused(kind, name, value);
                assert_eq!(field, Some(format!("e.{name}")), "{kind} {name}: {value}");
            }
            assert_eq!(refused(kind, name, "null"), None, "{kind} {name}");
        }
    }

    #[test]
    fn what_any_release_has_written_passes() {
        for (kind, name, values) in [
            (
                "rectangle",
                "index",
                r#""a0" "Zz" "a0V" "\u00610" "zzzzzzzzzzzzzzzzzzzzzzzzzzz""#,
            ),
            (
                "rectangle",
                "x",
                "0 -0 1.5 -1e-400 1e308 123456789012345678901234567890",
            ),
            ("rectangle", "strokeWidth", r#"1 0.5 "3" "0.5""#),
            (
                "rectangle",
                "roundness",
                r#"{"type":3} {"type":1,"value":32} {}"#,
            ),
            (
                "rectangle",
                "boundElements",
                r#"[] [{"id":"a","type":"arrow"},{"type":"text","id":"b"}] [{"id":"a"}]"#,
            ),
            ("rectangle", "boundElementIds", r#"[] ["a"]"#),
            ("freedraw", "points", "[] [[0,0]] [[0,0,0.5],[1,1,0.25]]"),
            ("line", "points", "[] [[0,0],[1.5,-2e3]]"),
            (
                "arrow",
                "startBinding",
                r#"{"elementId":"a","focus":0.1,"gap":1} {"elementId":"a","fixedPoint":null,"focus":0,"gap":5.1} {"elementId":"a","mode":"orbit","fixedPoint":[0.5,0.5]}"#,
            ),
            (
                "arrow",
                "fixedSegments",
                r#"[] [{"start":[0,0],"end":[1,1],"index":2}]"#,
            ),
            ("rectangle", "points", "7 [{},{}]"),
            ("rectangle", "name", "{}"),
            ("rectangle", "customData", r#"7 {"x":1e400,"points":[{}]}"#),
            ("rectangle", "lastCommittedPoint", "[1,2] 7"),
            ("rectangle", "status", "7"),
            ("rectangle", "__proto__", "{}"),
            ("image", "scale", "[1,-1]"),
            (
                "image",
                "crop",
                r#"{"x":0,"y":0,"width":1,"height":1,"naturalWidth":2,"naturalHeight":2}"#,
            ),
            ("text", "font", r#""20px""#),
            ("text", "text", r#""" "\ud83d" "a\n""#),
        ] {
            for value in values.split(' ').filter(|value| !value.is_empty()) {
                assert_eq!(refused(kind, name, value), None, "{kind} {name}: {value}");
            }
        }
    }

    #[test]
    fn a_name_with_an_escape_is_the_name_that_it_stands_for() {
        assert_eq!(
            refused("rectangle", r"\u0078", "{}"),
            Some("e.x".to_owned())
        );
        assert_eq!(refused("rectangle", r"\ud83d", "{}"), None);
    }

    #[test]
    fn a_field_that_comes_twice_is_refused() {
        let twice = element(r#","x":1,"x":1"#);
        let bad = ElementChange::parse("e", &twice).unwrap_err();
        assert_eq!(bad.into_invalid().field, "e.x");
        let twice = element(r#","id":"b""#);
        let bad = ElementChange::parse("e", &twice).unwrap_err();
        assert_eq!(bad.into_invalid().field, "e.id");
        let unread = element(r#","points":1,"points":2,"mine":1,"mine":2"#);
        assert!(ElementChange::parse("e", &unread).is_ok());
    }

    #[test]
    fn an_element_with_a_bad_field_can_be_deleted() {
        let bad = element(r#","isDeleted":true,"index":"zz","x":{},"link":7"#);
        assert!(ElementChange::parse("e", &bad).unwrap().is_deleted);
    }

    #[test]
    fn only_json_is_an_element() {
        let good =
            r#"{"a":[],"b":{},"c":[1,{"d":"\"\\\u00e9"}],"e":-0.5E+2,"f":true,"g":false,"h":null,"#;
        let rest = r#""id":"a","type":"text","version":1,"versionNonce":1}"#;
        assert!(ElementChange::parse("e", &format!(" {good} {rest}\n")).is_ok());
        for bad in [
            "[,]",
            "[1,]",
            "[1 2]",
            "{,}",
            "{1:2}",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "+1",
            "tru",
            "nulL",
            "NaN",
            "Infinity",
            "'a'",
            r#""\x""#,
            r#""\u12g4""#,
            "\"\n\"",
            "",
            "]",
            "1 2",
        ] {
            let json = format!(r#"{{"mine":{bad},{rest}"#);
            let expected = serde_json::from_str::<serde_json::Value>(&json).is_ok();
            assert!(!expected, "{bad}");
            let bad = ElementChange::parse("e", &json).unwrap_err().into_invalid();
            assert_eq!(bad.problem, "must be JSON", "{json}");
        }
        for cut in 1..rest.len() {
            let json = format!("{{{}", &rest[..cut - 1]);
            assert!(ElementChange::parse("e", &json).is_err(), "{json}");
        }
    }

    #[test]
    fn an_element_with_a_bad_field_is_left_out_only_where_that_is_asked_for() {
        let good = element("");
        let bad = r#"{"id":"b","type":"line","points":[{}],"version":1,"versionNonce":1}"#;
        let error = check(&[&good, bad], BadFields::RefuseChange).unwrap_err();
        assert_eq!(error.field, "elements[1].points");
        let checked = check(&[bad, &good], BadFields::LeaveOut).unwrap();
        assert_eq!(checked.elements.len(), 1);
        assert_eq!(checked.left_out[0].0, "b");
        assert_eq!(checked.left_out[0].1.field, "elements[0].points");
        let error = check(&[bad, bad], BadFields::LeaveOut).unwrap_err();
        assert_eq!(error.field, "elements[1].id");
    }

    /// An element whose required fields have these values.
    fn with_head([id, kind, version, nonce]: [&str; 4]) -> String {
        format!(r#"{{"id":{id},"type":{kind},"version":{version},"versionNonce":{nonce}}}"#)
    }

    const HEAD: [&str; 4] = [r#""b""#, r#""text""#, "1", "1"];
    const NAMES: [&str; 4] = ["id", "type", "version", "versionNonce"];

    #[test]
    fn an_element_with_a_malformed_required_field_is_left_out_where_that_is_asked_for() {
        let good = element("");
        let long = format!(r#""{}""#, "é".repeat(65));
        let numbers = r#"-1 1.5 9007199254740992 1e400 "1" {} [] true"#;
        for (i, values) in [
            &*format!(r#""" 7 {{}} [] true "\ud800" {long}"#),
            r#""stickynote" "iframe" "draw" "" 7 {} [] false"#,
            numbers,
            numbers,
        ]
        .into_iter()
        .enumerate()
        {
            for value in values.split(' ') {
                let mut head = HEAD;
                head[i] = value;
                let bad = with_head(head);
                let field = format!("elements[0].{}", NAMES[i]);
                let error = check(&[&bad, &good], BadFields::RefuseChange).unwrap_err();
                assert_eq!(error.field, field, "{bad}");
                let checked = check(&[&bad, &good], BadFields::LeaveOut).unwrap();
                assert_eq!(checked.elements.len(), 1, "{bad}");
                assert_eq!(checked.left_out.len(), 1, "{bad}");
                assert_eq!(checked.left_out[0].1.field, field, "{bad}");
            }
        }
        // Each id is another one.
        let bad = [r#""""#, r#""c""#, "7", "8"].map(|id| with_head([id, "7", "1", "1"]));
        let checked = check(&bad.each_ref().map(|bad| &**bad), BadFields::LeaveOut).unwrap();
        let ids: Vec<_> = checked.left_out.iter().map(|(id, _)| &**id).collect();
        assert_eq!(ids, ["", "c", "7", "8"]);
    }

    #[test]
    fn an_element_that_lacks_a_required_field_refuses_the_change() {
        let good = element("");
        for i in 0..4 {
            // What else is wrong with the element does not matter.
            for others in [HEAD, ["7", "7", "-1", "-1"]] {
                let mut head = others;
                head[i] = "null";
                let null = with_head(head);
                let absent = null.replace(&format!(r#""{}":null"#, NAMES[i]), r#""mine":1"#);
                for bad in [&*null, &*absent] {
                    let error = check(&[&good, bad], BadFields::LeaveOut).unwrap_err();
                    assert_eq!(error.field, format!("elements[1].{}", NAMES[i]), "{bad}");
                    assert_eq!(error.problem, "is missing", "{bad}");
                }
            }
        }
        for bad in ["7", "[]", "null", r#""x""#] {
            let error = check(&[&good, bad], BadFields::LeaveOut).unwrap_err();
            assert_eq!(error.field, "elements[1]", "{bad}");
        }
    }

    #[test]
    fn a_malformed_id_that_comes_twice_refuses_the_change() {
        let long = format!(r#""{}""#, "x".repeat(65));
        for id in [r#""""#, "7", &long] {
            let bad = with_head([id, r#""text""#, "1", "1"]);
            let error = check(&[&bad, &bad], BadFields::LeaveOut).unwrap_err();
            assert_eq!(error.field, "elements[1].id", "{id}");
            assert_eq!(error.problem, "must not come twice in a change", "{id}");
        }
    }

    #[test]
    fn the_id_of_an_element_that_is_left_out_is_logged_in_bounded_length() {
        let long = "é".repeat(1_000);
        let other = format!("{long}2");
        let bad = [&long, &other].map(|id| with_head([&format!(r#""{id}""#), "7", "1", "1"]));
        // They differ behind what is logged.
        let checked = check(&[&bad[0], &bad[1]], BadFields::LeaveOut).unwrap();
        for (id, _) in checked.left_out {
            assert_eq!(id, format!("{}…", "é".repeat(64)));
        }
        let bad = with_head([&format!("[{}0]", "0,".repeat(1_000)), "7", "1", "1"]);
        let checked = check(&[&bad], BadFields::LeaveOut).unwrap();
        assert_eq!(checked.left_out[0].0.chars().count(), 65);
    }
}
