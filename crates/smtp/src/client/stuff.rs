//! Dot-stuffing (RFC 5321 4.5.2).

use bytes::{BufMut, Bytes, BytesMut};
use memchr::memmem;

/// A body ready for the wire: `content` and then `end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuffed {
    /// The body with a dot before each dot that begins a line. The body itself, uncopied, when there is none.
    pub content: Bytes,
    /// The final dot, with a line end before it when the body lacks one.
    pub end: &'static [u8],
}

impl Stuffed {
    /// Octets to write.
    #[must_use]
    pub fn len(&self) -> usize {
        self.content.len() + self.end.len()
    }

    /// Never: there is always the final dot.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }
}

/// Makes `body`, of CRLF lines, ready for the wire. Copies only when a line begins with a dot.
#[must_use]
pub fn stuff(body: Bytes) -> Stuffed {
    let end: &'static [u8] = if body.is_empty() || body.ends_with(b"\r\n") { b".\r\n" } else { b"\r\n.\r\n" };
    let finder = memmem::Finder::new(b"\r\n.");
    let leading = body.first() == Some(&b'.');
    if !leading && finder.find(&body).is_none() {
        return Stuffed { content: body, end };
    }
    let mut content = BytesMut::with_capacity(body.len() + usize::from(leading) + finder.find_iter(&body).count());
    if leading {
        content.put_u8(b'.');
    }
    let mut from = 0;
    for at in finder.find_iter(&body) {
        content.extend_from_slice(&body[from..at + 2]);
        content.put_u8(b'.');
        from = at + 2;
    }
    content.extend_from_slice(&body[from..]);
    Stuffed { content: content.freeze(), end }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wire(body: &'static [u8]) -> Vec<u8> {
        let stuffed = stuff(Bytes::from_static(body));
        assert_eq!(stuffed.len(), stuffed.content.len() + stuffed.end.len());
        [&stuffed.content, stuffed.end].concat()
    }

    #[test]
    fn doubles_dots_at_the_start_of_lines_only() {
        for (body, expect) in [
            (&b""[..], &b".\r\n"[..]),
            (b"a\r\n", b"a\r\n.\r\n"),
            (b"a", b"a\r\n.\r\n"),
            (b".", b"..\r\n.\r\n"),
            (b".\r\n", b"..\r\n.\r\n"),
            (b"..\r\n.\r\n", b"...\r\n..\r\n.\r\n"),
            (b"a.\r\nb.c\r\n", b"a.\r\nb.c\r\n.\r\n"),
            (b"a\r\n.b\r\n\r\n.\r\nc", b"a\r\n..b\r\n\r\n..\r\nc\r\n.\r\n"),
            (b"\r\n.\r\n.\r\n", b"\r\n..\r\n..\r\n.\r\n"),
        ] {
            assert_eq!(wire(body), expect, "{:?}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn copies_nothing_when_nothing_is_stuffed() {
        let body = Bytes::from(b"Subject: x\r\n\r\n a. b .\r\n".to_vec());
        assert_eq!(stuff(body.clone()).content.as_ptr(), body.as_ptr());
    }

    proptest! {
        /// What a receiver by RFC 5321 makes of it is the body again, with a line end at its end.
        #[test]
        fn unstuffs_to_the_same(lines in prop::collection::vec("[.a ]{0,4}", 0..12), ended in any::<bool>()) {
            let mut body = lines.join("\r\n");
            if ended && !body.is_empty() {
                body.push_str("\r\n");
            }
            let stuffed = stuff(Bytes::from(body.clone()));
            let wire = String::from_utf8([&stuffed.content, stuffed.end].concat()).unwrap();
            let mut read = String::new();
            let mut lines = wire.split_inclusive("\r\n");
            for line in lines.by_ref() {
                if line == ".\r\n" {
                    break;
                }
                read.push_str(line.strip_prefix('.').unwrap_or(line));
            }
            prop_assert_eq!(lines.next(), None);
            if !body.is_empty() && !body.ends_with("\r\n") {
                body.push_str("\r\n");
            }
            prop_assert_eq!(read, body);
        }
    }
}
