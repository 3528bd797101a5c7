//! Relaxed canonicalization (RFC 6376 3.4.2 and 3.4.4).
//!
//! Not mail-auth's: that takes lines of blanks at the end of a body for text, form feeds for blanks, and fields with a
//! blank before their colon for others, so that verifiers that go by the RFC refuse what it signs.

use std::ops::Range;

use mail_auth::common::headers::{Writable, Writer};
use memchr::memchr;
use sluice_mail::header::Field;

/// Appends a header field: the name in lower case, the value unfolded, each run of blanks as one, none at its ends.
pub(crate) fn write_field(field: &Field<'_>, out: &mut Vec<u8>) {
    out.extend(field.name().bytes().map(|byte| byte.to_ascii_lowercase()));
    out.push(b':');
    let start = out.len();
    let mut has_gap = false;
    for &byte in field.value() {
        match byte {
            b' ' | b'\t' => has_gap = true,
            b'\r' | b'\n' => {}
            _ => {
                if has_gap && out.len() > start {
                    out.push(b' ');
                }
                has_gap = false;
                out.push(byte);
            }
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// A body: no blanks at the ends of lines, each other run of them as one, no empty lines at its end, a CRLF after its
/// last line. Lines end with CRLF.
pub(crate) struct Body<'a>(pub(crate) &'a [u8]);

impl Writable for Body<'_> {
    fn write(self, writer: &mut impl Writer) {
        let body = self.0;
        // What is as it must be already, up to its last line with text, is written in one piece.
        let mut piece = 0..0;
        let mut empty = Empty::default();
        let mut at = 0;
        while at < body.len() {
            let end = memchr(b'\n', &body[at..]).map_or(body.len(), |i| at + i + 1);
            let line = &body[at..end];
            let text = &line[..text_len(line)];
            if text.is_empty() {
                empty.count(line);
            } else {
                let is_clean = is_clean(line, text);
                if !(is_clean && empty.is_clean) {
                    writer.write(&body[piece]);
                    empty.write(writer);
                    piece = at..at;
                }
                if is_clean {
                    piece.end = end;
                } else {
                    write_words(text, writer);
                    piece = Range { start: end, end };
                }
                empty = Empty::default();
            }
            at = end;
        }
        writer.write(&body[piece]);
    }
}

/// Empty lines of which it is not known yet whether text follows.
struct Empty {
    lines: usize,
    /// They hold no blanks.
    is_clean: bool,
}

impl Default for Empty {
    fn default() -> Self {
        Self { lines: 0, is_clean: true }
    }
}

impl Empty {
    fn count(&mut self, line: &[u8]) {
        self.lines += 1;
        self.is_clean &= line == b"\r\n";
    }

    fn write(&self, writer: &mut impl Writer) {
        for _ in 0..self.lines {
            writer.write(b"\r\n");
        }
    }
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// Octets of the line without its end and the blanks before that.
fn text_len(line: &[u8]) -> usize {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    line.iter().rposition(|byte| !is_blank(*byte)).map_or(0, |last| last + 1)
}

/// Whether the line is as it must be.
fn is_clean(line: &[u8], text: &[u8]) -> bool {
    line[text.len()..] == *b"\r\n" && !text.contains(&b'\t') && !text.windows(2).any(|two| two == b"  ")
}

fn write_words(text: &[u8], writer: &mut impl Writer) {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| is_blank(*byte)) {
        writer.write(&rest[..at]);
        writer.write(b" ");
        let gap = rest[at..].iter().take_while(|byte| is_blank(**byte)).count();
        rest = &rest[at + gap..];
    }
    writer.write(rest);
    writer.write(b"\r\n");
}

#[cfg(test)]
mod tests {
    use sluice_mail::header::Headers;

    use super::*;

    fn body(text: &str) -> String {
        let mut out = Vec::new();
        Body(text.as_bytes()).write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn bodies() {
        for (text, expect) in [
            ("", ""),
            ("\r\n", ""),
            (" \t\r\n\r\n", ""),
            ("a", "a\r\n"),
            ("a \t", "a\r\n"),
            ("a\r\n\r\nb\r\n\r\n\r\n", "a\r\n\r\nb\r\n"),
            ("a\r\n \r\nb\r\n\t\r\n", "a\r\n\r\nb\r\n"),
            ("\r\n\r\na\r\n", "\r\n\r\na\r\n"),
            (" \r\na\r\n", "\r\na\r\n"),
            ("a\r\n\r\nb  c\r\n\r\nd\r\n", "a\r\n\r\nb c\r\n\r\nd\r\n"),
            ("a  b\r\nc\r\n\r\nd\r\n", "a b\r\nc\r\n\r\nd\r\n"),
            ("  a\t\tb\tc \r\nd", " a b c\r\nd\r\n"),
            ("a\u{c}\u{b}\u{a0}b\r\n", "a\u{c}\u{b}\u{a0}b\r\n"),
            // RFC 6376 3.4.5
            (" C \r\nD \t E\r\n\r\n\r\n", " C\r\nD E\r\n"),
        ] {
            assert_eq!(body(text), expect, "{text:?}");
        }
    }

    #[test]
    fn fields() {
        for (text, expect) in [
            // RFC 6376 3.4.5
            ("A: X\r\n", "a:X\r\n"),
            ("B : Y\t\r\n\tZ  \r\n", "b:Y Z\r\n"),
            ("Subject:\r\n", "subject:\r\n"),
            ("Subject: \r\n \t\r\n", "subject:\r\n"),
            ("SUBJECT:x\r\n y\r\n", "subject:x y\r\n"),
            ("X:\r\n\ta\u{c}b:  c\r\n", "x:a\u{c}b: c\r\n"),
        ] {
            let mut out = Vec::new();
            write_field(&Headers::scan(text.as_bytes()).iter().next().unwrap(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expect, "{text:?}");
        }
    }
}
