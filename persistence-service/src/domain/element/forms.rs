//! The forms that the fields of an element may have.
//!
//! Excalidraw does not check what it draws. A field of another type takes the whole board
//! down for everybody who has it open, again at each join. So this table lists, for each
//! field that Excalidraw reads while it restores, draws or hit-tests an element, the form
//! that every release since 2020 has written. Its sources are `element/types.ts`,
//! `restoreElement`, the renderer and the hit test of Excalidraw 0.18, and the types of
//! later versions.
//!
//! The table says nothing about other fields, `customData` among them: they pass unread.
//! A field that is absent or `null` always passes.

use super::fractional_index;

/// What a value must be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// Any JSON.
    Any,
    /// `true` or `false`.
    Flag,
    /// A number that JavaScript does not read as `Infinity`.
    Number,
    /// A number, or a string that holds one: `strokeWidth` was once written as `"3"`.
    NumberOrDigits,
    /// A string.
    Text,
    /// Excalidraw's fractional index.
    Index,
    /// An address that a browser can follow without running it.
    Link,
    /// A list of numbers, at least so many.
    Numbers(usize),
    /// A list whose items all have one form.
    List(&'static Form),
    /// An object whose listed members, where present, have their forms.
    Object(&'static [Member]),
}

/// A member of an object inside a field.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: &'static str,
    pub(super) form: Form,
    /// Whether Excalidraw fails without it.
    pub(super) required: bool,
}

/// The types of elements: Excalidraw's, but `iframe`, which Excalidraw renders without
/// validating it, and `draw`, which it no longer renders and restores as `line`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Rectangle,
    Diamond,
    Ellipse,
    Line,
    Arrow,
    Freedraw,
    Text,
    Image,
    Frame,
    Magicframe,
    Embeddable,
    Selection,
}

impl Kind {
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "rectangle" => Self::Rectangle,
            "diamond" => Self::Diamond,
            "ellipse" => Self::Ellipse,
            "line" => Self::Line,
            "arrow" => Self::Arrow,
            "freedraw" => Self::Freedraw,
            "text" => Self::Text,
            "image" => Self::Image,
            "frame" => Self::Frame,
            "magicframe" => Self::Magicframe,
            "embeddable" => Self::Embeddable,
            "selection" => Self::Selection,
            _ => return None,
        })
    }
}

/// A row of the table: a field, its form, and the types of elements that rely on it.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) form: Form,
    kinds: u16,
}

impl Field {
    const fn new(name: &'static str, form: Form, kinds: &[Kind]) -> Self {
        let (mut bits, mut i) = (0, 0);
        while i < kinds.len() {
            bits |= 1 << kinds[i] as u16;
            i += 1;
        }
        Self {
            name,
            form,
            kinds: bits,
        }
    }

    const fn of_all(name: &'static str, form: Form) -> Self {
        Self {
            name,
            form,
            kinds: u16::MAX,
        }
    }

    /// Whether Excalidraw reads this field of such an element.
    pub(super) fn is_of(&self, kind: Kind) -> bool {
        self.kinds & (1 << kind as u16) != 0
    }
}

const fn required(name: &'static str, form: Form) -> Member {
    Member {
        name,
        form,
        required: true,
    }
}

const fn optional(name: &'static str, form: Form) -> Member {
    Member {
        name,
        form,
        required: false,
    }
}

/// Two coordinates. Strokes of 2021 have a pressure behind them.
const POINT: Form = Form::Numbers(2);

/// The shapes and texts that are bound to an element.
const BOUND: Form = Form::Object(&[required("id", Form::Text), optional("type", Form::Text)]);

/// What an end of an arrow is bound to.
const BINDING: Form = Form::Object(&[
    optional("elementId", Form::Text),
    optional("focus", Form::Number),
    optional("gap", Form::Number),
    optional("fixedPoint", POINT),
    optional("mode", Form::Text),
]);

const ROUNDNESS: Form = Form::Object(&[
    optional("type", Form::Number),
    optional("value", Form::Number),
]);

/// A part of an elbow arrow that its drawer has fixed.
const SEGMENT: Form = Form::Object(&[
    required("start", POINT),
    required("end", POINT),
    required("index", Form::Number),
]);

const CROP: Form = Form::Object(&[
    optional("x", Form::Number),
    optional("y", Form::Number),
    optional("width", Form::Number),
    optional("height", Form::Number),
    optional("naturalWidth", Form::Number),
    optional("naturalHeight", Form::Number),
]);

/// How many rows at the top of the table hold what the merge reads itself.
pub(super) const READ: usize = 5;

/// The table.
pub(super) static FIELDS: [Field; 52] = {
    use Form::{Any, Flag, Index, Link, List, Number, NumberOrDigits, Numbers, Text};
    use Kind::{Arrow, Frame, Freedraw, Image, Line, Magicframe};
    [
        // These are required, and `ElementChange::parse` checks their values.
        Field::of_all("id", Any),
        Field::of_all("type", Any),
        Field::of_all("version", Any),
        Field::of_all("versionNonce", Any),
        Field::of_all("isDeleted", Flag),
        Field::of_all("index", Index),
        Field::of_all("x", Number),
        Field::of_all("y", Number),
        Field::of_all("width", Number),
        Field::of_all("height", Number),
        Field::of_all("angle", Number),
        Field::of_all("strokeColor", Text),
        Field::of_all("backgroundColor", Text),
        Field::of_all("fillStyle", Text),
        Field::of_all("strokeWidth", NumberOrDigits),
        Field::of_all("strokeStyle", Text),
        Field::of_all("roughness", Number),
        Field::of_all("opacity", Number),
        Field::of_all("seed", Number),
        Field::of_all("roundness", ROUNDNESS),
        // What `roundness` and `boundElements` were until 2022.
        Field::of_all("strokeSharpness", Text),
        Field::of_all("boundElementIds", List(&Text)),
        Field::of_all("boundElements", List(&BOUND)),
        Field::of_all("groupIds", List(&Text)),
        Field::of_all("frameId", Text),
        Field::of_all("link", Link),
        Field::of_all("locked", Flag),
        // Of images, and read in every element that has it.
        Field::of_all("scale", POINT),
        Field::new("points", List(&POINT), &[Line, Arrow, Freedraw]),
        Field::new("startBinding", BINDING, &[Line, Arrow]),
        Field::new("endBinding", BINDING, &[Line, Arrow]),
        Field::new("startArrowhead", Text, &[Line, Arrow]),
        Field::new("endArrowhead", Text, &[Line, Arrow]),
        Field::new("polygon", Flag, &[Line]),
        Field::new("elbowed", Flag, &[Arrow]),
        Field::new("fixedSegments", List(&SEGMENT), &[Arrow]),
        Field::new("pressures", Numbers(0), &[Freedraw]),
        Field::new("simulatePressure", Flag, &[Freedraw]),
        Field::new("text", Text, &[Kind::Text]),
        Field::new("originalText", Text, &[Kind::Text]),
        Field::new("fontSize", Number, &[Kind::Text]),
        Field::new("fontFamily", Number, &[Kind::Text]),
        Field::new("lineHeight", Number, &[Kind::Text]),
        Field::new("textAlign", Text, &[Kind::Text]),
        Field::new("verticalAlign", Text, &[Kind::Text]),
        Field::new("autoResize", Flag, &[Kind::Text]),
        Field::new("containerId", Text, &[Kind::Text]),
        // What `fontSize` and `fontFamily` were until May 2020.
        Field::new("font", Text, &[Kind::Text]),
        Field::new("fileId", Text, &[Image]),
        Field::new("status", Text, &[Image]),
        Field::new("crop", CROP, &[Image]),
        Field::new("name", Text, &[Frame, Magicframe]),
    ]
};

/// How many places the names of the fields are spread over: a power of two, over twice
/// their number.
const PLACES: usize = 128;

/// No field has this place.
const FREE: u8 = u8::MAX;

/// The row of each field, found by its name's [`place`].
#[expect(
    clippy::cast_possible_truncation,
    reason = "the table has fewer rows than a byte can count"
)]
static ROWS: [u8; PLACES] = {
    let mut rows = [FREE; PLACES];
    let mut row = 0;
    while row < FIELDS.len() {
        let mut at = place(FIELDS[row].name.as_bytes());
        while rows[at] != FREE {
            at = (at + 1) % PLACES;
        }
        rows[at] = row as u8;
        row += 1;
    }
    rows
};

const fn place(name: &[u8]) -> usize {
    let (Some(first), Some(last)) = (name.first(), name.last()) else {
        return 0;
    };
    (name.len() * 11 + *first as usize * 3 + *last as usize * 29) % PLACES
}

/// The row of a field, if the table has it.
pub(super) fn row_of(name: &str) -> Option<usize> {
    let mut at = place(name.as_bytes());
    while ROWS[at] != FREE {
        let row = usize::from(ROWS[at]);
        if FIELDS[row].name == name {
            return Some(row);
        }
        at = (at + 1) % PLACES;
    }
    None
}

impl Form {
    /// What to call this form in a refusal.
    pub(super) fn wanted(self) -> &'static str {
        match self {
            Self::Any => "JSON",
            Self::Flag => "true or false",
            Self::Number => "a finite number",
            Self::NumberOrDigits => "a finite number, or a string that holds one",
            Self::Text => "a string",
            Self::Index => "a fractional index of Excalidraw's",
            Self::Link => "a link with http, https or mailto",
            Self::Numbers(0) => "a list of finite numbers",
            Self::Numbers(_) => "a list of two finite numbers",
            Self::List(Self::Text) => "a list of strings",
            Self::List(Self::Numbers(_)) => "a list of points, each a list of two finite numbers",
            Self::List(_) => "a list of objects, each with the members that Excalidraw needs",
            Self::Object(_) => "an object with members of Excalidraw's types",
        }
    }

    /// Whether a string may stand here; `raw` is what its quotes hold, escapes included.
    pub(super) fn takes_text(self, raw: &str) -> bool {
        match self {
            Self::Any | Self::Text => true,
            Self::NumberOrDigits => raw.trim().parse().is_ok_and(f64::is_finite),
            Self::Index => fractional_index::is_valid(&unescaped(raw)),
            Self::Link => is_link(&unescaped(raw)),
            Self::Flag | Self::Number | Self::Numbers(_) | Self::List(_) | Self::Object(_) => false,
        }
    }

    /// Whether a number may stand here.
    pub(super) fn takes_number(self, finite: bool) -> bool {
        match self {
            Self::Any => true,
            Self::Number | Self::NumberOrDigits => finite,
            Self::Flag
            | Self::Text
            | Self::Index
            | Self::Link
            | Self::Numbers(_)
            | Self::List(_)
            | Self::Object(_) => false,
        }
    }
}

/// The string that a JSON string stands for; empty where it holds half a surrogate pair,
/// which no form that reads a string allows.
fn unescaped(raw: &str) -> std::borrow::Cow<'_, str> {
    if !raw.contains('\\') {
        return raw.into();
    }
    let text: Option<String> = serde_json::from_str(&format!("\"{raw}\"")).ok();
    text.unwrap_or_else(|| "\\".to_owned()).into()
}

fn is_link(link: &str) -> bool {
    let link = link.trim_start();
    let begins_with = |scheme: &str| {
        (link.get(..scheme.len())).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    link.is_empty() || ["http:", "https:", "mailto:"].into_iter().any(begins_with)
}
