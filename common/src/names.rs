//! What people see of a name. The gateway and the service refuse the same names.

/// What is wrong with a name: it overrides the direction of text, so that it could pass for
/// another name, or it shows nothing. `None` if it can be shown as it is.
pub fn problem(name: &str) -> Option<&'static str> {
    if name.chars().any(turns_direction) {
        Some("must not contain characters that override the direction of text")
    } else if !name.chars().any(shows) {
        Some("must hold something that can be seen")
    } else {
        None
    }
}

/// Unicode's embeddings, overrides and isolates, and what ends them.
fn turns_direction(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a reader sees something where this character stands.
fn shows(c: char) -> bool {
    !(c.is_control() || c.is_whitespace() || has_no_width(c))
}

/// Unicode's `Default_Ignorable_Code_Point`: what is not drawn where it is not supported.
fn has_no_width(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_shows_something_and_turns_no_text() {
        for good in ["Ann", "a\nb", "👨\u{200d}👧", "א\u{200f}"] {
            assert_eq!(problem(good), None, "{good:?}");
        }
        for bad in [
            "",
            " ",
            "\u{1}",
            "\u{200b}\0",
            "a\u{202e}b",
            "\u{2066}a\u{2069}",
        ] {
            assert!(problem(bad).is_some(), "{bad:?}");
        }
    }
}
