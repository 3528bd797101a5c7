//! Fields and their folding, by RFC 5322 2.2 with the obsolete blanks before the colon (4.5.1).

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use memchr::{memchr, memchr2};

/// Most fields of a header section; a section with more has the defect [`DefectKind::TooManyFields`].
pub const MAX_FIELDS: usize = 2_000;

/// The fields of a header section in their order. Keeps [`MAX_FIELDS`] at most.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    section: &'a [u8],
    fields: Vec<Span>,
    defect: Option<Defect>,
    len: usize,
    ended: bool,
}

/// One field: its name, its value, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    section: &'a [u8],
    span: Span,
}

/// The fields that [`Headers::iter`] and [`Headers::named`] walk over.
#[derive(Clone, Debug)]
pub struct Fields<'h, 'a> {
    headers: &'h Headers<'a>,
    next: usize,
}

/// The first thing in a header section that readers disagree about. A message that has one should be refused
/// where its header decides anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defect {
    /// Line of the section, from 1.
    pub line: u32,
    /// What it is.
    pub kind: DefectKind,
}

/// What is wrong with a header section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefectKind {
    /// A line that is neither a field nor a continuation nor empty. Some readers take it as the first of the body.
    NoColon,
    /// The name before the colon is empty or holds something other than printable ASCII without blanks.
    BadName,
    /// A continuation line with no field before it.
    Continuation,
    /// CR or LF alone.
    BareNewline,
    /// A NUL octet.
    Nul,
    /// More than [`MAX_FIELDS`] fields.
    TooManyFields,
}

/// Offsets into the section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    start: usize,
    name_end: usize,
    value_start: usize,
    /// Past the CRLF of the field's last line.
    end: usize,
    line: u32,
}

impl<'a> Headers<'a> {
    /// Reads `section` up to its empty line, or to its end when there is none. Never fails: what cannot be read
    /// is skipped and reported by [`Self::defect`].
    #[must_use]
    pub fn scan(section: &'a [u8]) -> Self {
        let mut headers = Self { section, fields: Vec::with_capacity(16), defect: None, len: 0, ended: false };
        let mut line = 0;
        // Whether the line before belongs to a field that a continuation may lengthen.
        let mut within = Within::Nothing;
        while headers.len < section.len() && !headers.ended {
            line += 1;
            let start = headers.len;
            let end = memchr(b'\n', &section[start..]).map_or(section.len(), |i| start + i + 1);
            headers.len = end;
            let text = headers.line_text(start..end, line);
            match text.first() {
                None => headers.ended = true,
                Some(b' ' | b'\t') => headers.continuation(&within, end, line),
                Some(_) => within = headers.field(text, start..end, line),
            }
        }
        if let Some(at) = memchr(0, &section[..headers.len]) {
            let line = 1 + memchr::memchr_iter(b'\n', &section[..at]).count();
            headers.report(u32::try_from(line).unwrap_or(u32::MAX), DefectKind::Nul);
        }
        headers
    }

    /// All fields in their order.
    #[must_use]
    pub fn iter(&self) -> Fields<'_, 'a> {
        Fields { headers: self, next: 0 }
    }

    /// The fields of that name, in any case, blanks before the colon ignored.
    pub fn named(&self, name: &str) -> impl Iterator<Item = Field<'a>> {
        self.iter().filter(move |field| field.is(name))
    }

    /// What readers disagree about, when there is anything.
    #[must_use]
    pub fn defect(&self) -> Option<Defect> {
        self.defect
    }

    /// Octets of the section, its empty line included. The body begins here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Whether the section ends with an empty line. A message without one has no body.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// What remains of the section, its empty line included, when the fields that `remove` names are taken out:
    /// as few ranges as there can be, in order.
    pub fn without(&self, mut remove: impl FnMut(Field<'a>) -> bool) -> Vec<Range<usize>> {
        let mut kept = Vec::new();
        let mut from = 0;
        for field in self.iter().filter(|field| remove(*field)) {
            if from < field.span.start {
                kept.push(from..field.span.start);
            }
            from = field.span.end;
        }
        if from < self.len {
            kept.push(from..self.len);
        }
        kept
    }

    /// The line without its end; reports CR or LF alone.
    fn line_text(&mut self, at: Range<usize>, line: u32) -> &'a [u8] {
        let whole = &self.section[at];
        let text = whole.strip_suffix(b"\n").unwrap_or(whole);
        let ended = text.strip_suffix(b"\r");
        if (ended.is_none() && text.len() < whole.len()) || memchr(b'\r', ended.unwrap_or(text)).is_some() {
            self.report(line, DefectKind::BareNewline);
        }
        ended.unwrap_or(text)
    }

    fn continuation(&mut self, within: &Within, end: usize, line: u32) {
        match (within, self.fields.last_mut()) {
            (Within::Field, Some(last)) => last.end = end,
            (Within::Nothing, _) | (Within::Field, None) => self.report(line, DefectKind::Continuation),
            (Within::Defect, _) => {}
        }
    }

    fn field(&mut self, text: &[u8], at: Range<usize>, line: u32) -> Within {
        let Some(colon) = memchr(b':', text) else {
            self.report(line, DefectKind::NoColon);
            return Within::Defect;
        };
        let name = text[..colon].trim_ascii_end();
        if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
            self.report(line, DefectKind::BadName);
            return Within::Defect;
        }
        if self.fields.len() == MAX_FIELDS {
            self.report(line, DefectKind::TooManyFields);
            return Within::Defect;
        }
        let value_start = at.start + colon + 1;
        self.fields.push(Span { start: at.start, name_end: at.start + name.len(), value_start, end: at.end, line });
        Within::Field
    }

    fn report(&mut self, line: u32, kind: DefectKind) {
        self.defect.get_or_insert(Defect { line, kind });
    }
}

/// What a continuation line would continue.
enum Within {
    Nothing,
    Field,
    Defect,
}

impl<'a> Field<'a> {
    /// The name as it was written, without blanks before the colon.
    #[must_use]
    pub fn name(&self) -> &'a str {
        // Names are ASCII, or the line would have been reported.
        std::str::from_utf8(&self.section[self.span.start..self.span.name_end]).unwrap_or_default()
    }

    /// Whether the field has that name, in any case.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.section[self.span.start..self.span.name_end].eq_ignore_ascii_case(name.as_bytes())
    }

    /// What stands after the colon, folding and blanks included, without the last CRLF.
    #[must_use]
    pub fn value(&self) -> &'a [u8] {
        let value = &self.section[self.span.value_start..self.span.end];
        let value = value.strip_suffix(b"\n").unwrap_or(value);
        value.strip_suffix(b"\r").unwrap_or(value)
    }

    /// The value unfolded and without blanks around it; `None` when it is not UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<Cow<'a, str>> {
        match unfold(self.value()) {
            Cow::Borrowed(value) => Some(Cow::Borrowed(std::str::from_utf8(value).ok()?.trim_matches([' ', '\t']))),
            Cow::Owned(value) => {
                let value = String::from_utf8(value).ok()?;
                Some(Cow::Owned(value.trim_matches([' ', '\t']).to_owned()))
            }
        }
    }

    /// The whole field with its last CRLF.
    #[must_use]
    pub fn raw(&self) -> &'a [u8] {
        &self.section[self.raw_range()]
    }

    /// Where [`Self::raw`] stands in the section.
    #[must_use]
    pub fn raw_range(&self) -> Range<usize> {
        self.span.start..self.span.end
    }

    /// Its first line in the section, from 1.
    #[must_use]
    pub fn line(&self) -> u32 {
        self.span.line
    }
}

impl<'a> Iterator for Fields<'_, 'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let span = *self.headers.fields.get(self.next)?;
        self.next += 1;
        Some(Field { section: self.headers.section, span })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.headers.fields.len() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Fields<'_, '_> {}

impl<'h, 'a> IntoIterator for &'h Headers<'a> {
    type Item = Field<'a>;
    type IntoIter = Fields<'h, 'a>;

    fn into_iter(self) -> Fields<'h, 'a> {
        self.iter()
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, kind } = self;
        match kind {
            DefectKind::NoColon => write!(f, "header line {line} is not a field: it has no colon"),
            DefectKind::BadName => write!(f, "header line {line} has a field name that is not allowed"),
            DefectKind::Continuation => write!(f, "header line {line} continues a field but none stands before it"),
            DefectKind::BareNewline => write!(f, "header line {line} has a CR or LF alone"),
            DefectKind::Nul => write!(f, "header line {line} has a NUL"),
            DefectKind::TooManyFields => write!(f, "header line {line} is one field more than {MAX_FIELDS}"),
        }
    }
}

/// Takes the line ends out of a folded value (RFC 5322 2.2.3): CRLF goes, the blanks after it stay.
#[must_use]
pub fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    if memchr2(b'\r', b'\n', value).is_none() {
        return Cow::Borrowed(value);
    }
    Cow::Owned(value.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_and_values(section: &[u8]) -> Vec<(String, String)> {
        let headers = Headers::scan(section);
        headers.iter().map(|f| (f.name().to_owned(), f.text().unwrap().into_owned())).collect()
    }

    fn defect(section: &[u8]) -> Option<(u32, DefectKind)> {
        Headers::scan(section).defect().map(|d| (d.line, d.kind))
    }

    #[test]
    fn reads_names_values_and_folding() {
        let section =
            b"From: a@b.org\r\nSubject:one\r\n two\r\n\tthree \r\nX-Empty:\r\nFrom \t: c@d.org\r\n\r\nBody: x\r\n";
        let expect = [("From", "a@b.org"), ("Subject", "one two\tthree"), ("X-Empty", ""), ("From", "c@d.org")];
        assert_eq!(names_and_values(section), expect.map(|(n, v)| (n.to_owned(), v.to_owned())));
        let headers = Headers::scan(section);
        assert_eq!(headers.defect(), None);
        assert!(headers.is_ended());
        assert_eq!(&section[headers.len()..], b"Body: x\r\n");
        assert_eq!(headers.named("FROM").map(|f| f.line()).collect::<Vec<_>>(), [1, 6]);
        assert_eq!(headers.named("subject").next().unwrap().raw(), b"Subject:one\r\n two\r\n\tthree \r\n");
    }

    #[test]
    fn a_message_may_end_with_its_header() {
        for section in [&b"Subject: x\r\n"[..], b"Subject: x", b""] {
            let headers = Headers::scan(section);
            assert_eq!((headers.defect(), headers.is_ended(), headers.len()), (None, false, section.len()));
        }
        let headers = Headers::scan(b"\r\nFrom: in the body\r\n");
        assert!(headers.is_ended() && headers.is_empty());
    }

    #[test]
    fn reports_what_readers_disagree_about() {
        for (section, expect) in [
            (&b"hello\r\n"[..], (1, DefectKind::NoColon)),
            (b"A: b\r\nhello\r\n more\r\nFrom: x\r\n\r\n", (2, DefectKind::NoColon)),
            (b" From: x\r\nA: b\r\n\r\n", (1, DefectKind::Continuation)),
            (b": x\r\n\r\n", (1, DefectKind::BadName)),
            (b"From me: x\r\n\r\n", (1, DefectKind::BadName)),
            (b"From a@b.org Mon Nov 23 20:00:00 2026\r\nA: b\r\n\r\n", (1, DefectKind::BadName)),
            (b"A: b\r\n\x01From: x\r\n\r\n", (2, DefectKind::BadName)),
            ("A: b\r\nFr\u{43e}m: x\r\n\r\n".as_bytes(), (2, DefectKind::BadName)),
            (b"A: b\nB: c\r\n\r\n", (1, DefectKind::BareNewline)),
            (b"A: b\rFrom: x\r\n\r\n", (1, DefectKind::BareNewline)),
            (b"A: b\r\nB: c\r\r\n\r\n", (2, DefectKind::BareNewline)),
            (b"A: b\r\n\n", (2, DefectKind::BareNewline)),
            (b"A: b\r\nB: \0\r\n\r\n", (2, DefectKind::Nul)),
        ] {
            assert_eq!(defect(section), Some(expect), "{:?}", String::from_utf8_lossy(section));
        }
    }

    #[test]
    fn fields_after_a_defect_are_still_seen() {
        let section = b"hello\r\nFrom : x\r\nnothing\r\nFROM: y\r\n\r\n";
        assert_eq!(Headers::scan(section).named("from").count(), 2);
        assert_eq!(Headers::scan(b"A: b\nFrom: x\r\n").named("from").count(), 1);
    }

    #[test]
    fn a_blank_continuation_does_not_end_the_section() {
        let section = b"Subject: x\r\n \t\r\nFrom: y\r\n\r\n";
        assert_eq!(names_and_values(section).len(), 2);
        assert_eq!(defect(section), None);
    }

    #[test]
    fn the_number_of_fields_is_bounded() {
        let section = b"a:\r\n".repeat(MAX_FIELDS + 5);
        let headers = Headers::scan(&section);
        assert_eq!(headers.iter().len(), MAX_FIELDS);
        assert_eq!(headers.defect().unwrap().kind, DefectKind::TooManyFields);
        assert_eq!(headers.defect().unwrap().line as usize, MAX_FIELDS + 1);
    }

    #[test]
    fn removing_fields_leaves_every_other_byte() {
        let section = b"A: 1\r\nBcc: x\r\n y\r\nB: 2\r\nbcc : z\r\nC: 3\r\n\r\nbody";
        let kept = |remove: &[&str]| -> Vec<u8> {
            let headers = Headers::scan(section);
            let ranges = headers.without(|f| remove.iter().any(|name| f.is(name)));
            ranges.into_iter().flat_map(|r| section[r].to_vec()).collect()
        };
        assert_eq!(kept(&["Bcc"]), b"A: 1\r\nB: 2\r\nC: 3\r\n\r\n");
        assert_eq!(kept(&[]), &section[..section.len() - 4]);
        assert_eq!(kept(&["a", "b", "c", "bcc"]), b"\r\n");
        assert_eq!(
            Headers::scan(section).without(|f| f.is("B") || f.is("Bcc")),
            [0..6, section.len() - 12..section.len() - 4]
        );
    }

    #[test]
    fn a_value_that_is_not_utf8_has_no_text() {
        let headers = Headers::scan(b"Subject: \xff\r\nFrom: \xc3\xbc\r\n\r\n");
        let texts: Vec<_> = headers.iter().map(|f| f.text()).collect();
        assert_eq!(texts, [None, Some("ü".into())]);
    }
}
