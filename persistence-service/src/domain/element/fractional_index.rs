//! The form of Excalidraw's fractional index, which orders the elements of a board.
//!
//! It is the order key of npm's `fractional-indexing`: an integer part, then a fraction.
//! The first letter says how long the integer part is, so that keys sort by their bytes.

/// The lowest integer part of all. It is no key, since no key would go before it.
const LOWEST: &str = "A00000000000000000000000000";

/// Whether a text is a key that the algorithm can have made, and so can make others from.
pub(super) fn is_valid(key: &str) -> bool {
    let integer = match key.bytes().next() {
        Some(head @ b'a'..=b'z') => usize::from(head - b'a') + 2,
        Some(head @ b'A'..=b'Z') => usize::from(b'Z' - head) + 2,
        Some(_) | None => return false,
    };
    // A fraction that ended in 0 would equal the same one without it.
    let whole = key.len() == integer || (key.len() > integer && !key.ends_with('0'));
    whole && key != LOWEST && key.bytes().all(|digit| digit.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_integer_part_that_its_first_letter_says() {
        for key in [
            "a0",
            "a1",
            "Zz",
            "az",
            "b00",
            "b125",
            "Yzz",
            "a0V",
            "a00G",
            "Zz8",
            "zzzzzzzzzzzzzzzzzzzzzzzzzzz",
            "A00000000000000000000000001",
            "A00000000000000000000000000V",
        ] {
            assert!(is_valid(key), "{key}");
        }
        for bad in [
            "",
            "a",
            "Z",
            "b0",
            "zz",
            "a10",
            "a0V0",
            "a-",
            "a 1",
            "a0é",
            "00",
            "1a",
            "-1",
            "{0",
            "[0",
            "@0",
            "`0",
            "A00000000000000000000000000",
            "zzzzzzzzzzzzzzzzzzzzzzzzzz",
            "A0000000000000000000000000",
        ] {
            assert!(!is_valid(bad), "{bad}");
        }
    }
}
