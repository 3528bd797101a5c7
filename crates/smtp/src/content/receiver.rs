//! Takes content in pieces of any size. One search for line ends and one copy; nothing else is done per octet.

use std::fmt;

use bytes::{BytesMut, buf::Buf};
use memchr::memchr2;

use super::Content;

/// Octets of a line without its CRLF (RFC 5321 4.5.3.1.6).
const LINE_MAX: usize = 998;

/// Before this much was received, what the client announced with SIZE is not believed.
const TRUST_SIZE_FROM: usize = 64 << 10;

/// Receives one message's content. Only CRLF.CRLF ends it; a message with a bare CR or LF anywhere is refused as a
/// whole, so that no two servers can disagree where it ends (SMTP smuggling). Holds at most the limit in octets; once
/// refused it holds nothing and skips to the true end.
pub struct Receiver {
    limit: u64,
    announced: usize,
    body: BytesMut,
    at: At,
    line: u32,
    line_len: usize,
    header_len: Option<usize>,
    checked: usize,
    header_8bit: bool,
    body_8bit: bool,
    long_line: Option<u32>,
    defect: Option<Defect>,
    skipped: u64,
}

/// Where in a line the next octet stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// At its beginning.
    Start,
    /// After a dot at its beginning, which is not kept.
    Dot,
    /// After `.` CR at its beginning, neither kept.
    DotCr,
    /// Inside.
    Text,
    /// After a CR, kept.
    Cr,
}

/// Why content is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// A CR that no LF follows, in this line.
    BareCr(u32),
    /// A LF that no CR precedes, in this line.
    BareLf(u32),
    /// More octets than the limit.
    TooLarge,
    /// The host refused it.
    Refused,
}

/// How far a piece brought the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All was taken, more is to come.
    More,
    /// The end was found; what follows it was left.
    Ended,
    /// Refused content goes on for far longer than any message.
    Endless,
}

impl Receiver {
    /// A receiver for at most `limit` octets, of which the client announced `announced`.
    #[must_use]
    pub fn new(limit: u64, announced: Option<u64>) -> Self {
        let announced = announced.unwrap_or(0).min(limit);
        Self {
            limit,
            announced: usize::try_from(announced).unwrap_or(0),
            body: BytesMut::new(),
            at: At::Start,
            line: 1,
            line_len: 0,
            header_len: None,
            checked: 0,
            header_8bit: false,
            body_8bit: false,
            long_line: None,
            defect: None,
            skipped: 0,
        }
    }

    /// Takes from `input` up to the end of the content.
    pub fn push(&mut self, input: &mut BytesMut) -> Progress {
        if self.body.is_empty() && self.defect.is_none() {
            // A message that comes in one piece is then kept in a buffer of its size.
            let announced = self.announced.min(TRUST_SIZE_FROM);
            self.body.reserve(announced.max(input.len().min(TRUST_SIZE_FROM)));
        }
        let (taken, ended) = self.scan(input);
        input.advance(taken);
        if ended {
            return Progress::Ended;
        }
        if self.defect.is_some() {
            self.skipped += taken as u64;
            // A client without SIZE may send a few times the limit before it can hear of it.
            if self.skipped > self.limit.saturating_mul(8).saturating_add(64 << 20) {
                return Progress::Endless;
            }
        }
        Progress::More
    }

    /// Throws away what was received and what is to come.
    pub fn refuse(&mut self) {
        self.fail(Defect::Refused);
    }

    /// Octets of memory in use.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.body.len()
    }

    /// The content, after [`Progress::Ended`].
    pub fn finish(mut self) -> Result<Content, Defect> {
        self.check_8bit();
        if let Some(defect) = self.defect {
            return Err(defect);
        }
        let header_len = self.header_len.unwrap_or(self.body.len());
        Ok(Content {
            body: self.body.freeze(),
            header_len,
            header_8bit: self.header_8bit,
            body_8bit: self.body_8bit,
            long_line: self.long_line,
        })
    }

    /// Octets taken from `chunk`, and whether the content ended with them.
    fn scan(&mut self, chunk: &[u8]) -> (usize, bool) {
        let mut i = 0;
        while let Some(&octet) = chunk.get(i) {
            i += match (self.at, octet) {
                (At::Start, b'.') => self.go(At::Dot),
                (At::Dot, b'\r') => self.go(At::DotCr),
                (At::DotCr, b'\n') => return (i + 1, true),
                (At::DotCr, _) => {
                    self.keep(b"\r");
                    self.fail(Defect::BareCr(self.line));
                    self.go(At::Text) - 1
                }
                (At::Cr, b'\n') => {
                    self.keep(b"\n");
                    self.end_line(0, self.body.len());
                    self.go(At::Start)
                }
                (At::Cr, _) => {
                    self.fail(Defect::BareCr(self.line));
                    self.go(At::Text) - 1
                }
                (At::Start | At::Dot | At::Text, _) => self.lines(&chunk[i..]),
            };
        }
        self.check_8bit();
        (i, false)
    }

    /// Moves on by one octet.
    fn go(&mut self, at: At) -> usize {
        self.at = at;
        1
    }

    /// Takes text and line ends up to a line that begins with a dot, or all; gives the octets taken.
    fn lines(&mut self, text: &[u8]) -> usize {
        // What stands in text[run..] up to the place of the search is to be kept, and belongs from `line` on to one line.
        let (mut run, mut line, mut from) = (0, 0, 0);
        self.at = At::Text;
        while let Some(hit) = memchr2(b'\r', b'\n', &text[from..]).map(|i| from + i) {
            from = hit + 1;
            if text[hit] == b'\n' {
                self.keep(&text[run..hit]);
                self.fail(Defect::BareLf(self.line));
                run = from;
                continue;
            }
            match text.get(from) {
                Some(b'\n') => {
                    from += 1;
                    self.end_line(hit - line, self.body.len() + from - run);
                    line = from;
                    if text.get(from) == Some(&b'.') {
                        self.keep(&text[run..from]);
                        self.at = At::Start;
                        return from;
                    }
                }
                Some(_) => {
                    self.keep(&text[run..from]);
                    self.fail(Defect::BareCr(self.line));
                    run = from;
                }
                None => {
                    self.line_len += hit - line;
                    self.at = At::Cr;
                    self.keep(&text[run..]);
                    return text.len();
                }
            }
        }
        self.line_len += text.len() - line;
        if line == text.len() {
            self.at = At::Start;
        }
        self.keep(&text[run..]);
        text.len()
    }

    /// A line ended after `len` more octets; with its CRLF the content is `total` octets long.
    fn end_line(&mut self, len: usize, total: usize) {
        let len = self.line_len + len;
        if len == 0 && self.header_len.is_none() {
            self.header_len = Some(total);
        }
        if len > LINE_MAX && self.long_line.is_none() {
            self.long_line = Some(self.line);
        }
        self.line = self.line.saturating_add(1);
        self.line_len = 0;
    }

    fn keep(&mut self, run: &[u8]) {
        if self.defect.is_some() {
            return;
        }
        let total = self.body.len() + run.len();
        if total as u64 > self.limit {
            return self.fail(Defect::TooLarge);
        }
        if total > self.body.capacity() && total > TRUST_SIZE_FROM && total <= self.announced {
            self.body.reserve(self.announced - self.body.len());
        }
        self.body.extend_from_slice(run);
    }

    /// The first defect is the one that is told.
    fn fail(&mut self, defect: Defect) {
        if self.defect.is_none() {
            self.defect = Some(defect);
            self.body = BytesMut::new();
        }
    }

    /// Looks for octets above 127 in what was kept since the last call, while it is still in the processor's cache.
    fn check_8bit(&mut self) {
        let new = self.body.get(self.checked..).unwrap_or_default();
        let split = self.header_len.unwrap_or(usize::MAX).saturating_sub(self.checked).min(new.len());
        let (header, body) = new.split_at(split);
        self.header_8bit |= !header.is_ascii();
        self.body_8bit |= !body.is_ascii();
        self.checked = self.body.len();
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (octets, line) = (self.body.len(), self.line);
        f.debug_struct("Receiver").field("octets", &octets).field("line", &line).field("defect", &self.defect).finish()
    }
}
