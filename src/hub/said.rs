//! What agents say in their own words: shown to people and logged, so one line, printable and short (T112).

/// The longest text that an agent may say of itself, characters.
pub(super) const NAME: usize = 128;

/// The longest text that an agent may say of a failure, characters.
pub(super) const MESSAGE: usize = 1024;

/// `text` without what could break a line, drive a terminal or turn the direction of reading; at most `most` characters.
pub(super) fn shown(text: &str, most: usize) -> String {
    text.chars().map(|c| if c == '\n' { ' ' } else { c }).filter(|c| !is_hidden(*c)).take(most).collect()
}

/// Control characters, and those that Unicode calls format: joiners, marks of direction, the byte order mark.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_one_printable_line() {
        for (said, expected) in [
            ("v1.36.3", "v1.36.3"),
            ("a\r\nb\n2026 ERROR", "a b 2026 ERROR"),
            ("\u{1b}[31mred", "[31mred"),
            ("a\u{202e}b\u{feff}c\u{0}", "abc"),
            ("żółw 🐢", "żółw 🐢"),
        ] {
            assert_eq!(shown(said, NAME), expected, "{said:?}");
        }
        assert_eq!(shown(&"ż".repeat(1_000), NAME).chars().count(), NAME);
    }
}
