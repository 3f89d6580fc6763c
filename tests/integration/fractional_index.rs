//! The keys of npm's `fractional-indexing`, made by its published algorithm, are all taken
//! as an element's `index`; texts that are no such keys are not.

use persistence_service::domain::ElementChange;
use proptest::{collection::vec, prelude::any, test_runner::TestCaseError};
use roomkeeper_tests::{always, rectangle};

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The key of a board's first element.
const ZERO: &str = "a0";

/// The lowest integer part; it is no key by itself.
const LOWEST: &str = "A00000000000000000000000000";

fn value(digit: u8) -> usize {
    DIGITS.iter().position(|one| *one == digit).unwrap()
}

fn digit(value: usize) -> char {
    char::from(DIGITS[value])
}

/// How long the integer part of a key is.
fn integer_length(key: &str) -> usize {
    match key.as_bytes()[0] {
        head @ b'a'..=b'z' => usize::from(head - b'a') + 2,
        head => usize::from(b'Z' - head) + 2,
    }
}

/// A fraction between two fractions; no `to` is the end of all.
fn midpoint(from: &str, to: Option<&str>) -> String {
    if let Some(to) = to {
        let padded = from.bytes().chain(std::iter::repeat(b'0'));
        let same = padded.zip(to.bytes()).take_while(|(a, b)| a == b).count();
        if same > 0 {
            let rest = from.get(same..).unwrap_or_default();
            return to[..same].to_owned() + &midpoint(rest, Some(&to[same..]));
        }
    }
    let low = from.bytes().next().map_or(0, value);
    let high = to.map_or(62, |to| value(to.as_bytes()[0]));
    if high - low > 1 {
        return digit((low + high).div_ceil(2)).to_string();
    }
    match to {
        Some(to) if to.len() > 1 => to[..1].to_owned(),
        Some(_) | None => {
            let rest = from.get(1..).unwrap_or_default();
            digit(low).to_string() + &midpoint(rest, None)
        }
    }
}

/// The next integer part, or the one before; none beyond the last.
fn stepped(integer: &str, up: bool) -> Option<String> {
    let (from, to) = if up { (61, 0) } else { (0, 61) };
    let mut digits: Vec<usize> = integer[1..].bytes().map(value).collect();
    for one in digits.iter_mut().rev() {
        if *one != from {
            *one = if up { *one + 1 } else { *one - 1 };
            let digits: String = digits.into_iter().map(digit).collect();
            return Some(integer[..1].to_owned() + &digits);
        }
        *one = to;
    }
    let head = match (integer.as_bytes()[0], up) {
        (b'Z', true) => 'a',
        (b'a', false) => 'Z',
        (b'z', true) | (b'A', false) => return None,
        (head, true) => char::from(head + 1),
        (head, false) => char::from(head - 1),
    };
    let head = head.to_string();
    let digits = digit(to).to_string().repeat(integer_length(&head) - 1);
    Some(head + &digits)
}

/// A key between two keys.
fn key_between(from: Option<&str>, to: Option<&str>) -> String {
    let integer_of = |key: &str| key[..integer_length(key)].to_owned();
    match (from, to) {
        (None, None) => ZERO.to_owned(),
        (None, Some(to)) => {
            let integer = integer_of(to);
            if integer == LOWEST {
                return integer + &midpoint("", Some(&to[LOWEST.len()..]));
            }
            if integer.as_str() < to {
                return integer;
            }
            match stepped(&integer, false).unwrap() {
                lower if lower == LOWEST => lower + &midpoint("", None),
                lower => lower,
            }
        }
        (Some(from), to) => {
            let integer = integer_of(from);
            let fraction = &from[integer.len()..];
            if let Some(to) = to
                && integer_of(to) == integer
            {
                return integer.clone() + &midpoint(fraction, Some(&to[integer.len()..]));
            }
            match stepped(&integer, true) {
                Some(next) if to.is_none_or(|to| next.as_str() < to) => next,
                Some(_) | None => integer.clone() + &midpoint(fraction, None),
            }
        }
    }
}

fn is_taken(key: &str) -> bool {
    let json = rectangle("a", 1, 1, &format!(r#","index":"{key}""#));
    ElementChange::parse("e", &json).is_ok()
}

#[test]
fn every_key_that_the_algorithm_makes_is_taken() {
    let places = vec(any::<u16>(), 1..120);
    let begins = proptest::sample::select(vec![
        ZERO,
        "Zz",
        "az",
        "Yzz",
        "zzzzzzzzzzzzzzzzzzzzzzzzzzz",
        "A00000000000000000000000001",
    ]);
    // Few places bring many keys between the same two, and long fractions.
    always(256, (begins, 1..8_usize, places), |(begin, of, places)| {
        let mut keys = vec![begin.to_owned()];
        for place in places {
            let at = usize::from(place) % (keys.len().min(of) + 1);
            let (before, after) = (at.checked_sub(1).map(|i| &keys[i]), keys.get(at));
            let key = key_between(before.map(String::as_str), after.map(String::as_str));
            if before.is_some_and(|before| *before >= key)
                || after.is_some_and(|after| key >= *after)
            {
                return Err(TestCaseError::fail(format!("{before:?} {key} {after:?}")));
            }
            if !is_taken(&key) {
                return Err(TestCaseError::fail(format!("{key} is refused")));
            }
            keys.insert(at, key);
        }
        Ok(())
    });
}

#[test]
fn a_key_that_is_cut_off_or_ends_in_zero_is_refused() {
    always(
        256,
        (0..62_usize, vec(0..62_usize, 1..30)),
        |(head, digits)| {
            let key: String = std::iter::once(head).chain(digits).map(digit).collect();
            let is_letter = !key.as_bytes()[0].is_ascii_digit();
            let rest = key.len().checked_sub(integer_length_or_none(&key));
            let wanted = is_letter
                && rest.is_some_and(|fraction| fraction == 0 || !key.ends_with('0'))
                && key != LOWEST;
            if is_taken(&key) == wanted {
                Ok(())
            } else {
                Err(TestCaseError::fail(key))
            }
        },
    );
}

/// As [`integer_length`]; longer than any key where the head is no letter.
fn integer_length_or_none(key: &str) -> usize {
    if key.as_bytes()[0].is_ascii_digit() {
        usize::MAX
    } else {
        integer_length(key)
    }
}
