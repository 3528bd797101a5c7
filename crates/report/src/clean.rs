//! Making foreign words harmless: no control characters, bounded, folded.

/// Octets of a line of a structured field before it is folded, when it has a blank to fold at.
const FOLD_AT: usize = 76;
/// Octets after which a word without blanks is broken, so that no line exceeds RFC 5322's 998.
const BREAK_AT: usize = 900;

/// `text` as one line of `max` characters at most: controls become blanks, runs of blanks one, what changes the
/// direction of writing is dropped. What is cut ends in `[...]`.
pub(crate) fn line(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max * 4));
    let mut count = 0;
    for c in text.trim().chars().filter(|c| !turns_writing(*c)) {
        let c = if c.is_control() || c.is_whitespace() { ' ' } else { c };
        if c == ' ' && (out.is_empty() || out.ends_with(' ')) {
            continue;
        }
        if count == max {
            out.push_str("[...]");
            return out;
        }
        out.push(c);
        count += 1;
    }
    out.truncate(out.trim_end().len());
    out
}

/// As an address or id: controls become `?`, blanks stay as they are, so that a quoted local part keeps its form.
pub(crate) fn word(text: &str) -> String {
    let chars = text.trim().chars().filter(|c| !turns_writing(*c));
    chars.map(|c| if c.is_control() || is_line_end(c) { '?' } else { c }).collect()
}

/// What is not ASCII becomes `?`.
pub(crate) fn ascii(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect()
}

/// U+2028 and U+2029 end a line for some readers.
fn is_line_end(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}')
}

/// Marks, embeddings, overrides and isolates of direction, and the byte order mark.
fn turns_writing(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Appends `name: value` and CRLF, folded before blanks, so that unfolding gives `value` again. A word without blanks
/// of over 900 octets is broken. `value` holds no controls.
pub(crate) fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    let mut column = name.len() + 1;
    let mut rest = value.trim();
    let mut is_first = true;
    while !rest.is_empty() {
        // A word with the blanks before it.
        let blanks = rest.len() - rest.trim_start_matches(' ').len();
        let end = rest[blanks..].find(' ').map_or(rest.len(), |i| blanks + i);
        let end = floor_char(rest, end.min(BREAK_AT));
        let (word, tail) = rest.split_at(end);
        let is_fresh = !word.starts_with(' ');
        if !is_first && column + word.len() > FOLD_AT {
            out.extend_from_slice(b"\r\n");
            column = 0;
        }
        // Before the first word, and before the second half of a broken one, which no blank precedes.
        if is_first || (is_fresh && column == 0) {
            out.push(b' ');
            column += 1;
        }
        out.extend_from_slice(word.as_bytes());
        column += word.len();
        rest = tail;
        is_first = false;
    }
    out.extend_from_slice(b"\r\n");
}

/// The last border of a character at or before `at`; never 0 for a text that is not empty.
fn floor_char(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while at > 0 && !text.is_char_boundary(at) {
        at -= 1;
    }
    if at == 0 { text.chars().next().map_or(0, char::len_utf8) } else { at }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_words_become_one_harmless_line() {
        for (text, max, expect) in [
            ("a b", 9, "a b"),
            (" a\r\nBcc: b\0c\u{85}d ", 99, "a Bcc: b c d"),
            ("a \t  b\u{a0}", 9, "a b"),
            ("pay \u{202e}moc.elgoog\u{202c}", 99, "pay moc.elgoog"),
            ("12345678901", 10, "1234567890[...]"),
            ("1234567890", 10, "1234567890"),
            ("", 9, ""),
        ] {
            assert_eq!(line(text, max), expect, "{text:?}");
        }
        assert_eq!(word("\"a  b\"@c\r\nX\u{2028}y"), "\"a  b\"@c??X?y");
    }

    #[test]
    fn a_folded_field_unfolds_to_what_it_was() {
        let long = "x".repeat(2000);
        let words = "lorem  ipsum dolor ".repeat(30);
        for value in ["a", "", words.trim(), "\"a b\"@example.org", &"ü".repeat(400)] {
            let mut out = Vec::new();
            field(&mut out, "Name", value);
            let text = String::from_utf8(out).unwrap();
            let lines: Vec<_> = text.strip_suffix("\r\n").unwrap().split("\r\n").collect();
            assert!(lines.iter().all(|line| line.len() <= 901 && !line.trim().is_empty()), "{lines:?}");
            assert_eq!(lines.concat().strip_prefix("Name:").unwrap().trim_start(), value);
        }
        let mut out = Vec::new();
        field(&mut out, "Name", &long);
        let text = String::from_utf8(out).unwrap();
        assert!(text.split("\r\n").all(|line| line.len() < 998 && (line.is_empty() || !line.trim().is_empty())));
        assert_eq!(text.replace("\r\n ", "").trim_end(), format!("Name: {long}"));
    }
}
