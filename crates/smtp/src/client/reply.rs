//! Reading replies (RFC 5321 4.2), generously in form and within a bound.

use memchr::memchr;
use sluice_mail::{Cause, EnhancedCode, Reply};

/// Longest reply in octets, all its lines together.
pub const MAX_REPLY: usize = 64 * 1024;

/// Longest text of a [`Reply`] in octets: what is more is cut, as replies are kept and logged.
const MAX_TEXT: usize = 2 * 1024;

/// Octets of buffer that are kept between replies.
const KEPT: usize = 1024;

/// Takes replies out of the stream, however it is cut. Holds one unfinished reply at most.
#[derive(Debug, Default)]
pub(super) struct ReplyReader {
    pending: Vec<u8>,
    /// Where in `pending` the line begins that is not ended yet.
    line_start: usize,
    /// `pending` is the reply that was given out last.
    given: bool,
}

/// A whole reply as it came: lines with their codes and line ends. Nothing is copied for it when it came in one piece.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawReply<'a> {
    /// The code of its last line.
    pub(super) code: u16,
    raw: &'a [u8],
}

impl ReplyReader {
    /// The next whole reply, taken off the front of `input`; `None` when all of `input` was taken and more is
    /// needed. An error is final.
    pub(super) fn next<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8]) -> Result<Option<RawReply<'s>>, Cause> {
        if self.given {
            self.pending.clear();
            // A connection is kept for long; the room for one giant reply is not.
            self.pending.shrink_to(KEPT);
            self.line_start = 0;
            self.given = false;
        }
        if self.pending.is_empty() { self.read_piece(input) } else { self.read_on(input) }
    }

    fn read_piece<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<RawReply<'i>>, Cause> {
        let whole = *input;
        let mut end = 0;
        while let Some(i) = memchr(b'\n', &whole[end..]) {
            let line = &whole[end..=end + i];
            end += i + 1;
            check_len(end)?;
            let (code, last) = read_line(line)?;
            if last {
                *input = &whole[end..];
                return Ok(Some(RawReply { code, raw: &whole[..end] }));
            }
        }
        check_len(whole.len())?;
        self.pending.extend_from_slice(whole);
        self.line_start = end;
        *input = &[];
        Ok(None)
    }

    fn read_on(&mut self, input: &mut &[u8]) -> Result<Option<RawReply<'_>>, Cause> {
        while let Some(i) = memchr(b'\n', input) {
            let (line_end, rest) = input.split_at(i + 1);
            check_len(self.pending.len() + line_end.len())?;
            self.pending.extend_from_slice(line_end);
            *input = rest;
            let (code, last) = read_line(&self.pending[self.line_start..])?;
            if last {
                self.given = true;
                return Ok(Some(RawReply { code, raw: &self.pending }));
            }
            self.line_start = self.pending.len();
        }
        check_len(self.pending.len() + input.len())?;
        self.pending.extend_from_slice(input);
        *input = &[];
        Ok(None)
    }
}

impl<'a> RawReply<'a> {
    /// 2, 3, 4 or 5.
    pub(super) fn class(&self) -> u16 {
        self.code / 100
    }

    /// The first word of its text: in a greeting and after EHLO the peer's name. Empty when there is none.
    pub(super) fn first_word(&self) -> &'a [u8] {
        let line = self.lines().next().unwrap_or_default();
        line.split(|b| *b == b' ').next().unwrap_or_default()
    }

    /// The texts of its lines, without code and line end.
    pub(super) fn lines(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.raw.split_inclusive(|b| *b == b'\n').map(|line| {
            let line = without_end(line);
            line.get(4..).unwrap_or_default()
        })
    }

    /// The reply in our words: enhanced codes taken off its lines, control characters made blanks.
    pub(super) fn to_reply(self) -> Reply {
        let mut enhanced = None;
        let mut text = String::with_capacity(self.raw.len().min(MAX_TEXT));
        for (i, line) in self.lines().enumerate() {
            let line = String::from_utf8_lossy(line);
            let (code, rest) = self.split_enhanced(line.trim());
            enhanced = enhanced.or(code);
            if i > 0 {
                text.push('\n');
            }
            text.extend(rest.chars().map(|c| if c.is_control() { ' ' } else { c }));
            if text.len() > MAX_TEXT {
                text.truncate(text.floor_char_boundary(MAX_TEXT));
                break;
            }
        }
        Reply { code: self.code, enhanced, text }
    }

    /// An enhanced code counts only when its class is the code's (RFC 2034 4).
    fn split_enhanced<'t>(&self, line: &'t str) -> (Option<EnhancedCode>, &'t str) {
        match EnhancedCode::parse_prefix(line) {
            Some((code, rest)) if u16::from(code.0) == self.class() => (Some(code), rest.trim_start()),
            Some(_) | None => (None, line),
        }
    }
}

/// Code, and whether it is the last line. Takes `250`, `250 ` and `250 text`, ended by CRLF or LF.
fn read_line(line: &[u8]) -> Result<(u16, bool), Cause> {
    let text = without_end(line);
    let &[a @ b'2'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9', ref rest @ ..] = text else {
        return Err(not_smtp(text));
    };
    let code = [a, b, c].iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    match rest.first() {
        None | Some(b' ' | b'\t') => Ok((code, true)),
        Some(b'-') => Ok((code, false)),
        Some(_) => Err(not_smtp(text)),
    }
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn check_len(len: usize) -> Result<(), Cause> {
    if len > MAX_REPLY { Err(Cause::Protocol(format!("a reply of more than {MAX_REPLY} octets"))) } else { Ok(()) }
}

/// "the peer said", shortened and fit for a log.
fn not_smtp(line: &[u8]) -> Cause {
    let said: String =
        String::from_utf8_lossy(line).chars().take(80).map(|c| if c.is_control() { ' ' } else { c }).collect();
    Cause::Protocol(format!("the peer said {said:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All replies of `stream`, fed in pieces of `step` octets.
    fn read(stream: &[u8], step: usize) -> Result<Vec<Reply>, Cause> {
        let (mut reader, mut replies) = (ReplyReader::default(), Vec::new());
        for mut piece in stream.chunks(step) {
            while let Some(raw) = reader.next(&mut piece)? {
                replies.push(raw.to_reply());
            }
        }
        Ok(replies)
    }

    fn check(stream: &[u8], expect: &[(u16, Option<EnhancedCode>, &str)]) {
        let expect: Vec<_> = expect
            .iter()
            .map(|(code, enhanced, text)| Reply { code: *code, enhanced: *enhanced, text: (*text).into() })
            .collect();
        for step in 1..=stream.len() {
            assert_eq!(read(stream, step).as_ref(), Ok(&expect), "{:?} by {step}", String::from_utf8_lossy(stream));
        }
    }

    #[test]
    fn reads_every_form_at_every_cut() {
        let code = |a, b, c| Some(EnhancedCode(a, b, c));
        check(b"250 2.1.0 fine\r\n", &[(250, code(2, 1, 0), "fine")]);
        check(b"250\r\n250 \r\n250 ok\n", &[(250, None, ""), (250, None, ""), (250, None, "ok")]);
        check(b"250-\r\n250-a\n250-\r\n250\n", &[(250, None, "\na\n\n")]);
        check(
            b"550-5.7.1 a\r\n550-5.7.1  b\r\n550 5.7.1 c\r\n354 go\r\n",
            &[(550, code(5, 7, 1), "a\nb\nc"), (354, None, "go")],
        );
        check(b"550 4.7.1 odd\r\n", &[(550, None, "4.7.1 odd")]);
        check(b"250 2.0.0\r\n", &[(250, code(2, 0, 0), "")]);
        check(b"250-old\r\n450 new\r\n", &[(450, None, "old\nnew")]);
        check(b"250 a\x00\x1b[31m\rb\xff\r\n", &[(250, None, "a  [31m b\u{fffd}")]);
    }

    #[test]
    fn refuses_what_is_no_reply() {
        for stream in [
            &b"SSH-2.0-x\r\n"[..],
            b"\r\n",
            b"25 x\r\n",
            b"2500 x\r\n",
            b"250x\r\n",
            b"150 x\r\n",
            b"650 x\r\n",
            b" 250 x\r\n",
            b"250-a\r\nb\r\n",
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            b"\xff\xfe\n",
        ] {
            for step in 1..=stream.len() {
                assert!(matches!(read(stream, step), Err(Cause::Protocol(_))), "{:?}", String::from_utf8_lossy(stream));
            }
        }
        let said = read(format!("{}\u{7}\r\n", "x".repeat(500)).as_bytes(), 7);
        assert_eq!(said, Err(Cause::Protocol(format!("the peer said {:?}", "x".repeat(80)))));
    }

    #[test]
    fn replies_are_bounded() {
        let line = [b"250-".as_slice(), &b"x".repeat(996), b"\r\n"].concat();
        let fits = [line.repeat(65), b"250 end\r\n".to_vec()].concat();
        let over = [line.repeat(66), b"250 end\r\n".to_vec()].concat();
        let endless = [b"250 ".to_vec(), b"x".repeat(MAX_REPLY)].concat();
        for step in [1, 1000, 4096, MAX_REPLY, over.len()] {
            let replies = read(&fits, step).unwrap();
            assert_eq!((replies.len(), replies[0].text.len()), (1, MAX_TEXT));
            assert!(matches!(read(&over, step), Err(Cause::Protocol(_))));
            assert!(matches!(read(&endless, step), Err(Cause::Protocol(_))));
        }
    }
}
