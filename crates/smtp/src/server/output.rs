//! The reply buffer.

use std::fmt;

use bytes::{BufMut, BytesMut};
use sluice_mail::Reply;

/// Octets of text in a line, so that with code and line end it stays within RFC 5321's 512.
const TEXT_MAX: usize = 480;

/// Replies that were not yet fetched, in wire form.
#[derive(Default)]
pub(super) struct Output(BytesMut);

impl Output {
    /// One line, with its CRLF added.
    pub(super) fn line(&mut self, line: &str) {
        self.0.reserve(line.len() + 2);
        self.0.put_slice(line.as_bytes());
        self.0.put_slice(b"\r\n");
    }

    /// One line from pieces, with its CRLF added.
    pub(super) fn line_fmt(&mut self, line: fmt::Arguments<'_>) {
        // Writing to a growing buffer does not fail.
        let _ = fmt::Write::write_fmt(&mut self.0, line);
        self.0.put_slice(b"\r\n");
    }

    /// A reply from elsewhere: each line of its text cut to the size of a reply line, control characters replaced.
    pub(super) fn reply(&mut self, reply: &Reply) {
        let mut rest = reply.text.trim_end_matches(['\r', '\n']);
        loop {
            let end = rest.find('\n').unwrap_or(rest.len()).min(rest.floor_char_boundary(TEXT_MAX));
            let (text, more) = rest.split_at(end);
            let last = more.is_empty();
            self.reply_line(reply, text, last);
            if last {
                return;
            }
            rest = more.strip_prefix('\n').unwrap_or(more);
        }
    }

    fn reply_line(&mut self, reply: &Reply, text: &str, last: bool) {
        let sep = if last { ' ' } else { '-' };
        // Writing to a growing buffer does not fail.
        let _ = match reply.enhanced {
            Some(enhanced) => fmt::Write::write_fmt(&mut self.0, format_args!("{}{sep}{enhanced} ", reply.code)),
            None => fmt::Write::write_fmt(&mut self.0, format_args!("{}{sep}", reply.code)),
        };
        let start = self.0.len();
        self.0.put_slice(text.as_bytes());
        self.0[start..].iter_mut().filter(|b| b.is_ascii_control()).for_each(|b| *b = b' ');
        self.0.put_slice(b"\r\n");
    }

    /// All of it, if there is any.
    pub(super) fn take(&mut self) -> Option<bytes::Bytes> {
        (!self.0.is_empty()).then(|| self.0.split().freeze())
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Output({} octets)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use sluice_mail::EnhancedCode;

    use super::*;

    fn wire(reply: &Reply) -> String {
        let mut output = Output::default();
        output.reply(reply);
        String::from_utf8(output.take().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn a_reply_never_breaks_the_protocol() {
        let code = EnhancedCode(5, 7, 1);
        assert_eq!(wire(&Reply::new(550, code, "no")), "550 5.7.1 no\r\n");
        assert_eq!(wire(&Reply::new(550, code, "a\nb\n")), "550-5.7.1 a\r\n550 5.7.1 b\r\n");
        assert_eq!(wire(&Reply::new(550, code, "a\r\n250 b\0")), "550-5.7.1 a \r\n550 5.7.1 250 b \r\n");
        assert_eq!(wire(&Reply { code: 421, enhanced: None, text: String::new() }), "421 \r\n");
    }

    #[test]
    fn long_text_goes_on_in_the_next_line() {
        let text = "ü".repeat(700);
        let wire = wire(&Reply::new(553, EnhancedCode(5, 7, 1), text.clone()));
        assert!(wire.lines().all(|l| l.len() <= 510), "{wire}");
        let joined: String = wire.lines().map(|l| &l["553 5.7.1 ".len()..]).collect();
        assert_eq!(joined, text);
    }
}
