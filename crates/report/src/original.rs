//! What is given back of the original, and whether it may be put into another message as it is.

use memchr::memmem;
use sluice_mail::header::Headers;

use crate::{Notice, Original};

/// Most octets of a header section that are given back.
pub const HEADERS_MAX: usize = 64 << 10;
/// Most octets of a line, without its CRLF (RFC 5322 2.1.1).
pub(crate) const LINE_MAX: usize = 998;
/// Most octets of a Message-ID that is referred to.
const MESSAGE_ID_MAX: usize = 250;

/// The header section at the start of `body`, without the empty line: whole fields, [`HEADERS_MAX`] octets at most.
/// Looks at no more octets than these.
#[must_use]
pub fn header_section(body: &[u8]) -> &[u8] {
    if body.starts_with(b"\r\n") {
        return &[];
    }
    let window = &body[..body.len().min(HEADERS_MAX + 2)];
    if let Some(end) = memmem::find(window, b"\r\n\r\n") {
        return &body[..end + 2];
    }
    if body.len() <= HEADERS_MAX {
        return body;
    }
    // A field begins where a line does that does not begin with a blank.
    let border = memmem::rfind_iter(window, b"\r\n")
        .map(|at| at + 2)
        .find(|at| *at <= HEADERS_MAX && body.get(*at).is_some_and(|octet| !matches!(octet, b' ' | b'\t')));
    &body[..border.unwrap_or(0)]
}

/// The part that gives the original back.
pub(crate) struct Returned {
    pub(crate) content_type: &'static str,
    pub(crate) content: Vec<u8>,
    pub(crate) is_whole: bool,
}

/// What is given back; `None` when there is nothing.
pub(crate) fn returned(notice: &Notice<'_>) -> Option<Returned> {
    let flags = notice.envelope.flags;
    let (headers, whole) = match notice.original {
        Original::Headers(headers) => (headers, None),
        Original::Whole(body) => (body, (!flags.require_tls && may_be_enclosed(body)).then_some(body)),
        Original::Missing(_) => return None,
    };
    // RFC 6533 5: `global` means UTF-8; what else lies above 127 has no type of its own.
    let is_global = |octets: &[u8]| !octets.is_ascii() && flags.smtputf8 && std::str::from_utf8(octets).is_ok();
    if let Some(body) = whole {
        // The headers make it global; the text may be in any charset.
        let content_type = if is_global(header_section(body)) { "message/global" } else { "message/rfc822" };
        return Some(Returned { content_type, content: body.to_vec(), is_whole: true });
    }
    let content = headers_as_text(header_section(headers));
    let content_type = if is_global(&content) { "message/global-headers" } else { "text/rfc822-headers" };
    Some(Returned { content_type, content, is_whole: false })
}

/// Whether every line may stand in another message: `message/rfc822` admits no encoding that would mend it
/// (RFC 2046 5.2.1).
fn may_be_enclosed(body: &[u8]) -> bool {
    let ends: usize = memmem::find_iter(body, b"\r\n").count();
    let is_clean = memchr::memchr(0, body).is_none()
        && memchr::memchr_iter(b'\n', body).count() == ends
        && memchr::memchr_iter(b'\r', body).count() == ends;
    is_clean && lines(body).all(|line| line.len() <= LINE_MAX)
}

/// Lines without their ends, which are CRLF, CR or LF.
fn lines(octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = octets;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
        let line = &rest[..end];
        let skip = if rest[end..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = rest.get(end + skip..).unwrap_or_default();
        Some(line)
    })
}

/// The section with CRLF lines of 998 octets at most: longer ones are cut, NUL becomes a blank, and lines left empty
/// are dropped, as an empty line would end the section.
fn headers_as_text(section: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(section.len() + 2);
    for line in lines(section) {
        let line = if line.len() > LINE_MAX { cut(line) } else { line };
        if line.iter().all(|octet| matches!(octet, b' ' | b'\t' | 0)) {
            continue;
        }
        out.extend(line.iter().map(|octet| if *octet == 0 { b' ' } else { *octet }));
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// The first 998 octets, without the beginning of a character of UTF-8 at their end.
fn cut(line: &[u8]) -> &[u8] {
    let start = line[..LINE_MAX].utf8_chunks().last().map_or(0, |chunk| chunk.invalid().len());
    let is_cut_within = line.get(LINE_MAX).is_some_and(|octet| octet & 0xc0 == 0x80);
    &line[..if is_cut_within { LINE_MAX - start } else { LINE_MAX }]
}

/// What the original tells of itself.
#[derive(Default)]
pub(crate) struct Marks {
    /// Its Message-ID with angle brackets, when it has one that may stand in a field of ours.
    pub(crate) message_id: Option<String>,
    /// Its subject, when it is plain text.
    pub(crate) subject: Option<String>,
}

pub(crate) fn marks(original: Original<'_>) -> Marks {
    let (Original::Headers(octets) | Original::Whole(octets)) = original else { return Marks::default() };
    let headers = Headers::scan(header_section(octets));
    let sole = |name: &str| {
        let mut fields = headers.named(name);
        let field = fields.next().filter(|_| fields.next().is_none())?;
        Some(field.text()?.trim().to_owned())
    };
    Marks {
        message_id: sole("message-id").filter(|id| is_message_id(id)),
        // Encoded words are for mail programs, not for the text of a report.
        subject: sole("subject").filter(|subject| !subject.is_empty() && !subject.contains("=?")),
    }
}

fn is_message_id(id: &str) -> bool {
    let Some(inner) = id.strip_prefix('<').and_then(|id| id.strip_suffix('>')) else { return false };
    let is_sane = |c: u8| matches!(c, b'!'..=b'~') && !matches!(c, b'<' | b'>' | b'(' | b')' | b'\\' | b'"' | b',');
    id.len() <= MESSAGE_ID_MAX
        && inner.bytes().all(is_sane)
        && inner.split_once('@').is_some_and(|(l, r)| !l.is_empty() && !r.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_sections_end_at_a_field() {
        for (body, expect) in [
            ("A: b\r\n\r\ntext\r\n", "A: b\r\n"),
            ("A: b\r\n c\r\nD: e\r\n\r\n\r\n", "A: b\r\n c\r\nD: e\r\n"),
            ("A: b\r\n", "A: b\r\n"),
            ("\r\ntext\r\n\r\n", ""),
            ("", ""),
        ] {
            assert_eq!(header_section(body.as_bytes()), expect.as_bytes(), "{body:?}");
        }
    }

    #[test]
    fn a_large_section_is_cut_between_fields() {
        let field = format!("X: {}\r\n {}\r\n", "a".repeat(500), "b".repeat(500));
        let body = field.repeat(1000) + "\r\ntext\r\n";
        let section = header_section(body.as_bytes());
        assert!(section.len() <= HEADERS_MAX && section.len() > HEADERS_MAX - field.len());
        assert_eq!(section.len() % field.len(), 0);
        assert_eq!(header_section(section), section);
        let one = format!("X: a\r\n{}", " b\r\n".repeat(HEADERS_MAX));
        assert_eq!(header_section(one.as_bytes()), b"");
        for over in 0..4 {
            let body = format!("A: {}\r\nB: c\r\n\r\nx", "a".repeat(HEADERS_MAX - 5 - over));
            let section = header_section(body.as_bytes());
            assert_eq!(section.len(), HEADERS_MAX - over, "{over}");
        }
    }

    #[test]
    fn lines_are_cut_between_characters() {
        let long = format!("S: {}", "ü".repeat(600));
        let text = headers_as_text(format!("{long}\r\nT: a\0b\n\n \r\nU: {}\r", "\u{e4}").as_bytes());
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<_> = text.split("\r\n").collect();
        assert_eq!(lines[0].len(), 997);
        assert_eq!(lines[1..], ["T: a b", "U: \u{e4}", ""]);
    }

    #[test]
    fn only_a_sane_message_id_is_referred_to() {
        for (header, expect) in [
            ("Message-ID: <a@b>\r\n", Some("<a@b>")),
            ("message-id:\r\n <a@b>\r\n", Some("<a@b>")),
            ("Message-ID: <a@b> <c@d>\r\n", None),
            ("Message-ID: <a@b>\r\nMessage-ID: <c@d>\r\n", None),
            ("Message-ID: a@b\r\n", None),
            ("Message-ID: <a>\r\n", None),
            ("Message-ID: <@b>\r\n", None),
            ("Message-ID: <a b@c>\r\n", None),
            ("Message-ID: <a\u{fc}@c>\r\n", None),
        ] {
            assert_eq!(marks(Original::Headers(header.as_bytes())).message_id.as_deref(), expect, "{header:?}");
        }
    }
}
