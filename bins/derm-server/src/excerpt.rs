//! Excerpts: what an error message repeats of a client's input.

/// Most characters of input in a message.
const MOST: usize = 80;

/// The first characters of a text; those that are not printable are replaced.
pub(crate) fn excerpt(text: &str) -> String {
    let shown = |c: char| if is_printable(c) { c } else { '\u{fffd}' };
    let mut short: String = text.chars().take(MOST).map(shown).collect();
    if text.chars().nth(MOST).is_some() {
        short.pop();
        short.push('…');
    }
    short
}

/// An excerpt in quotation marks.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", excerpt(text))
}

/// Letters, digits, punctuation and the space; no control characters, and none that are invisible or
/// change the direction of what follows.
fn is_printable(c: char) -> bool {
    let is_invisible = matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..);
    c == ' ' || !(c.is_control() || c.is_whitespace() || is_invisible)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_80_printable_characters() {
        assert_eq!(quoted("mel"), "\"mel\"");
        assert_eq!(excerpt(&"é".repeat(80)), "é".repeat(80));
        assert_eq!(excerpt(&"é".repeat(81)), "é".repeat(79) + "…");
        let hostile = "a\u{1b}[31m\n\u{202e}\u{0}\u{7f}\u{feff}b";
        assert_eq!(excerpt(hostile), "a\u{fffd}[31m\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}b");
    }
}
