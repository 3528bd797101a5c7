//! Command lines: found in the input without copying.

use memchr::memchr;

/// What the input begins with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scan<'a> {
    /// No whole line yet.
    Partial,
    /// Already longer than a line may be, and not yet ended.
    Endless,
    /// A line that takes so many octets with its end; its text, or what is wrong with it.
    Line(usize, Result<&'a str, LineError>),
}

/// What is wrong with a line as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineError {
    /// Longer than allowed.
    TooLong,
    /// It ends with LF alone.
    BareLf,
    /// It has a CR elsewhere than before its LF, or another control character.
    Control,
    /// It is not UTF-8.
    NotUtf8,
}

impl LineError {
    /// The reply without its line end.
    pub(super) fn reply(self) -> &'static str {
        match self {
            Self::TooLong => "500 5.5.2 The line is too long",
            Self::BareLf => "500 5.5.2 Lines end with CRLF, this one with a bare LF",
            Self::Control => "500 5.5.2 The line holds a control character",
            Self::NotUtf8 => "500 5.5.2 The line is not valid UTF-8",
        }
    }
}

/// Looks for the first line of `input`, of `max` octets at most with its CRLF. The text comes without white space
/// at its end.
pub(super) fn scan(input: &[u8], max: usize) -> Scan<'_> {
    match memchr(b'\n', input) {
        Some(lf) => Scan::Line(lf + 1, check(&input[..=lf], max)),
        None if input.len() >= max => Scan::Endless,
        None => Scan::Partial,
    }
}

fn check(line: &[u8], max: usize) -> Result<&str, LineError> {
    if line.len() > max {
        return Err(LineError::TooLong);
    }
    let text = line.strip_suffix(b"\r\n").ok_or(LineError::BareLf)?;
    if text.iter().any(|b| b.is_ascii_control() && *b != b'\t') {
        return Err(LineError::Control);
    }
    let text = std::str::from_utf8(text).map_err(|_| LineError::NotUtf8)?;
    Ok(text.trim_end_matches([' ', '\t']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_lines_and_says_what_is_wrong_with_them() {
        use LineError::{BareLf, Control, NotUtf8, TooLong};
        use Scan::{Endless, Line, Partial};
        for (input, expect) in [
            (&b""[..], Partial),
            (b"NOOP", Partial),
            (b"NOOP\r", Partial),
            (b"NOOP\r\nQUIT\r\n", Line(6, Ok("NOOP"))),
            (b"NOOP \t \r\n", Line(9, Ok("NOOP"))),
            (b"\r\n", Line(2, Ok(""))),
            (b"NOOP\nQUIT\r\n", Line(5, Err(BareLf))),
            (b"NO\rOP\r\n", Line(7, Err(Control))),
            (b"NOOP\r\r\n", Line(7, Err(Control))),
            (b"NO\0OP\r\n", Line(7, Err(Control))),
            (b"NO\x7fOP\r\n", Line(7, Err(Control))),
            (b"\xffNO\r\n", Line(5, Err(NotUtf8))),
            (b"EHLO 345678901234567\r", Endless),
            (b"EHLO 34567890123456\r", Endless),
            (b"EHLO 34567890123456\r\n", Line(21, Err(TooLong))),
            (b"EHLO 3456789012345\r\n", Line(20, Ok("EHLO 3456789012345"))),
        ] {
            assert_eq!(scan(input, 20), expect, "{:?}", input.escape_ascii().to_string());
        }
    }
}
