//! One pass over an element's JSON: whether it is JSON, how deep it nests, what the fields
//! hold that the merge reads, and which fields have another form than the table says.

use std::borrow::Cow;

use super::forms::{FIELDS, Form, Member, READ, row_of};

/// The deepest nesting of an element's JSON.
pub(super) const MAX_DEPTH: usize = 64;

/// Why a text cannot be an element, whatever its fields hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    Syntax,
    NotAnObject,
    TooDeep,
}

/// What a pass found.
#[derive(Debug, Default)]
pub(super) struct Scan<'a> {
    /// The first [`READ`] fields of the table as they came, unless they are `null`.
    pub(super) read: [Option<&'a str>; READ],
    /// A bit for each row of the table whose field has another form.
    misformed: u64,
    /// A bit for each row of the table whose field came.
    seen: u64,
    /// A bit for each row of the table whose field came twice. Parsers differ on which of
    /// the two counts.
    repeated: u64,
}

const _: () = assert!(FIELDS.len() <= 64, "a row has a bit of its own");

impl<'a> Scan<'a> {
    /// Reads a whole JSON object.
    pub(super) fn of(json: &'a str) -> Result<Self, Malformed> {
        let mut cursor = Cursor { json, at: 0 };
        let mut scan = Self::default();
        cursor.space();
        if cursor.peek() != b'{' {
            return Err(Malformed::NotAnObject);
        }
        cursor.members(1, |cursor, name| scan.field(cursor, &name))?;
        cursor.space();
        if cursor.at != json.len() {
            return Err(Malformed::Syntax);
        }
        Ok(scan)
    }

    fn field(&mut self, cursor: &mut Cursor<'a>, name: &str) -> Result<(), Malformed> {
        let Some(row) = row_of(name) else {
            return cursor.value(&Form::Any, 1).map(|_| ());
        };
        let bit = 1 << row;
        self.repeated |= self.seen & bit;
        self.seen |= bit;
        let start = cursor.at;
        let is_null = cursor.peek() == b'n';
        let fits = cursor.value(&FIELDS[row].form, 1)?;
        if is_null {
            return Ok(());
        }
        if !fits {
            self.misformed |= bit;
        }
        if let Some(read) = self.read.get_mut(row) {
            *read = cursor.json.get(start..cursor.at);
        }
        Ok(())
    }

    /// The rows of the table whose fields do not have the form that it says.
    pub(super) fn misformed(&self) -> impl Iterator<Item = usize> {
        rows(self.misformed)
    }

    /// The rows of the table whose fields came twice.
    pub(super) fn repeated(&self) -> impl Iterator<Item = usize> {
        rows(self.repeated)
    }
}

fn rows(bits: u64) -> impl Iterator<Item = usize> {
    (0..FIELDS.len()).filter(move |row| bits & (1 << row) != 0)
}

/// A place in a JSON text. Each method reads on from there.
struct Cursor<'a> {
    json: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The next byte; 0 at the end, which no JSON holds outside a string.
    fn peek(&self) -> u8 {
        self.json.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    fn next(&mut self) -> u8 {
        let byte = self.peek();
        self.at += 1;
        byte
    }

    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\t' | b'\r') {
            self.at += 1;
        }
    }

    /// Reads a value and says whether it has a form.
    fn value(&mut self, form: &'static Form, depth: usize) -> Result<bool, Malformed> {
        match self.peek() {
            b'"' => self.string().map(|raw| form.takes_text(raw)),
            b'{' => self.object(form, depth + 1),
            b'[' => self.list(form, depth + 1),
            b't' => self.literal("true", matches!(form, Form::Any | Form::Flag)),
            b'f' => self.literal("false", matches!(form, Form::Any | Form::Flag)),
            b'n' => self.literal("null", matches!(form, Form::Any)),
            _ => self.number().map(|finite| form.takes_number(finite)),
        }
    }

    fn literal(&mut self, text: &str, fits: bool) -> Result<bool, Malformed> {
        let rest = &self.json.as_bytes()[self.at..];
        if !rest.starts_with(text.as_bytes()) {
            return Err(Malformed::Syntax);
        }
        self.at += text.len();
        Ok(fits)
    }

    /// Reads a string; what its quotes hold, escapes included.
    fn string(&mut self) -> Result<&'a str, Malformed> {
        if self.next() != b'"' {
            return Err(Malformed::Syntax);
        }
        let start = self.at;
        loop {
            match self.next() {
                b'"' => break,
                b'\\' => self.escape()?,
                // The end of the text too.
                0..0x20 => return Err(Malformed::Syntax),
                _ => {}
            }
        }
        (self.json.get(start..self.at - 1)).ok_or(Malformed::Syntax)
    }

    fn escape(&mut self) -> Result<(), Malformed> {
        match self.next() {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(()),
            b'u' if (0..4).all(|_| self.next().is_ascii_hexdigit()) => Ok(()),
            _ => Err(Malformed::Syntax),
        }
    }

    /// Reads a number and says whether JavaScript can hold it.
    fn number(&mut self) -> Result<bool, Malformed> {
        /// So many digits without an exponent are always finite.
        const FINITE: usize = 300;
        let start = self.at;
        if self.peek() == b'-' {
            self.at += 1;
        }
        let has_leading_zero = self.peek() == b'0';
        let digits = self.digits()?;
        if has_leading_zero && digits > 1 {
            return Err(Malformed::Syntax);
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        let has_exponent = matches!(self.peek(), b'e' | b'E');
        if has_exponent {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        if !has_exponent && digits <= FINITE {
            return Ok(true);
        }
        let number = self.json.get(start..self.at).map(str::parse);
        Ok(number.is_some_and(|number| number.is_ok_and(f64::is_finite)))
    }

    fn digits(&mut self) -> Result<usize, Malformed> {
        let start = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        match self.at - start {
            0 => Err(Malformed::Syntax),
            count => Ok(count),
        }
    }

    /// Goes into a list or an object.
    fn enter(&mut self, depth: usize) -> Result<(), Malformed> {
        if depth > MAX_DEPTH {
            return Err(Malformed::TooDeep);
        }
        self.at += 1;
        self.space();
        Ok(())
    }

    fn list(&mut self, form: &'static Form, depth: usize) -> Result<bool, Malformed> {
        let (item, least): (&'static Form, usize) = match form {
            Form::Any => (&Form::Any, 0),
            Form::Numbers(least) => (&Form::Number, *least),
            Form::List(item) => (item, 0),
            Form::Flag
            | Form::Number
            | Form::NumberOrDigits
            | Form::Text
            | Form::Index
            | Form::Link
            // No list is so long, so none fits.
            | Form::Object(_) => (&Form::Any, usize::MAX),
        };
        self.enter(depth)?;
        if self.peek() == b']' {
            self.at += 1;
            return Ok(least == 0);
        }
        let (mut fits, mut count) = (true, 0);
        loop {
            fits &= self.value(item, depth)?;
            count += 1;
            self.space();
            match self.next() {
                b',' => self.space(),
                b']' => return Ok(fits && count >= least),
                _ => return Err(Malformed::Syntax),
            }
        }
    }

    fn object(&mut self, form: &'static Form, depth: usize) -> Result<bool, Malformed> {
        let wanted: &'static [Member] = match form {
            Form::Object(members) => members,
            Form::Any
            | Form::Flag
            | Form::Number
            | Form::NumberOrDigits
            | Form::Text
            | Form::Index
            | Form::Link
            | Form::Numbers(_)
            | Form::List(_) => &[],
        };
        let mut fits = matches!(form, Form::Any | Form::Object(_));
        let mut found = 0_u32;
        self.members(depth, |cursor, name| {
            let is_null = cursor.peek() == b'n';
            let Some(i) = wanted.iter().position(|member| member.name == name) else {
                return cursor.value(&Form::Any, depth).map(|_| ());
            };
            found |= 1 << i;
            fits &= cursor.value(&wanted[i].form, depth)? || (is_null && !wanted[i].required);
            Ok(())
        })?;
        let has = |i: usize| found & (1 << i) != 0;
        let complete = (0..wanted.len()).all(|i| has(i) || !wanted[i].required);
        Ok(fits && complete)
    }

    /// Reads an object and hands each name to `member`, which reads the value.
    fn members(
        &mut self,
        depth: usize,
        mut member: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        self.enter(depth)?;
        if self.peek() == b'}' {
            self.at += 1;
            return Ok(());
        }
        loop {
            let start = self.at;
            let mut name = Cow::Borrowed(self.string()?);
            if name.contains('\\') {
                // Half a surrogate pair is in no name that anybody looks for.
                let quoted = self.json.get(start..self.at).unwrap_or_default();
                name = serde_json::from_str(quoted).unwrap_or_default();
            }
            self.space();
            if self.next() != b':' {
                return Err(Malformed::Syntax);
            }
            self.space();
            member(self, name)?;
            self.space();
            match self.next() {
                b',' => self.space(),
                b'}' => return Ok(()),
                _ => return Err(Malformed::Syntax),
            }
        }
    }
}
