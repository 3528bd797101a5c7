//! The inside of a message: its text, its HTML and its files. Only the sandbox's page reads mail this way;
//! what Sluice delivers is never parsed for its MIME structure, and never changed.
//!
//! The walk over the parts is ours, so that it is bounded; headers and encodings are mail-parser's.

use std::borrow::Cow;
use std::collections::BTreeMap;

use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::html::html_to_text;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::{ContentType, Message, MessageParser, MimeHeaders};
use sluice_mail::header::{Headers, unfold};

/// Most parts of a message that are looked at; the rest is left out.
const MAX_PARTS: usize = 500;

/// Deepest nesting of multiparts that is looked into; below it they are files.
const MAX_DEPTH: usize = 20;

/// A file or an inline picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File<'r> {
    /// Where it stands in the message: `2`, `1.3`; `0` when it is the whole message.
    pub(super) part_id: String,
    /// Its name, else its Content-ID, else empty.
    pub(super) name: String,
    /// `type/subtype` in lower case.
    pub(super) content_type: String,
    /// Without its angle brackets; empty when there is none.
    pub(super) content_id: String,
    /// Belongs into the text, as a picture of an HTML part does.
    pub(super) inline: bool,
    /// Decoded.
    pub(super) content: Cow<'r, [u8]>,
}

/// What a reader sees of a message.
#[derive(Clone, Debug, Default)]
pub(super) struct Body<'r> {
    /// The plain text; made from the HTML when there is only that.
    pub(super) text: String,
    /// The HTML as it came, in UTF-8; empty when there is none.
    pub(super) html: String,
    /// Everything else, in the order in which it stands.
    pub(super) files: Vec<File<'r>>,
}

/// The header of a message or part, parsed; `None` when it has none that can be read.
pub(super) fn header(raw: &[u8]) -> Option<Message<'_>> {
    MessageParser::default().parse_headers(&raw[..Headers::scan(raw).len()])
}

/// The header's fields by name in Go's canonical form, each with its values unfolded and undecoded, as
/// Mailpit's API gives them.
pub(super) fn headers(raw: &[u8]) -> BTreeMap<String, Vec<String>> {
    let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for field in Headers::scan(raw).iter() {
        let value = String::from_utf8_lossy(&unfold(field.value())).trim().to_owned();
        fields.entry(canonical(field.name())).or_default().push(value);
    }
    fields
}

/// `message-ID` as `Message-Id`.
fn canonical(name: &str) -> String {
    let mut at_start = true;
    let cased = name.chars().map(|c| {
        let cased = if at_start { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
        at_start = c == '-';
        cased
    });
    cased.collect()
}

/// A part that is still to be looked at.
struct Place<'r> {
    raw: &'r [u8],
    path: String,
    depth: usize,
    /// What it is when it does not say.
    default_type: &'static str,
}

impl<'r> Body<'r> {
    /// Sorts the parts into text, HTML and files.
    pub(super) fn read(raw: &'r [u8]) -> Self {
        let mut body = Self::default();
        // The next one last.
        let mut ahead = vec![Place { raw, path: String::new(), depth: 0, default_type: "text/plain" }];
        for _ in 0..MAX_PARTS {
            let Some(place) = ahead.pop() else { break };
            let part = Part::read(&place);
            match part.boundary().filter(|_| place.depth < MAX_DEPTH) {
                Some(boundary) => {
                    let default_type = part.child_type();
                    let numbered = split(part.body, boundary).into_iter().enumerate().rev();
                    let depth = place.depth + 1;
                    ahead.extend(numbered.map(|(i, raw)| {
                        let path = child(&place.path, i + 1);
                        Place { raw, path, depth, default_type }
                    }));
                }
                None => body.add(&part, place.path),
            }
        }
        if body.text.is_empty() {
            body.text = html_to_text(&body.html);
        }
        body
    }

    fn add(&mut self, part: &Part<'r>, path: String) {
        match part.content_type.as_str() {
            "text/plain" if !part.is_file() => self.text.push_str(&part.text()),
            "text/html" if !part.is_file() => self.html.push_str(&part.text()),
            _ => self.files.push(part.file(path)),
        }
    }

    /// The HTML with each `cid:` of one of the message's own files replaced by its address below `base`.
    pub(super) fn linked_html(&self, base: &str) -> String {
        let mut html = self.html.clone();
        for file in self.files.iter().filter(|file| !file.content_id.is_empty()) {
            html = html.replace(&format!("cid:{}", file.content_id), &format!("{base}/part/{}", file.part_id));
        }
        html
    }
}

/// A part with its header read.
struct Part<'r> {
    header: Option<Message<'r>>,
    content_type: String,
    body: &'r [u8],
}

impl<'r> Part<'r> {
    fn read(place: &Place<'r>) -> Self {
        let header = header(place.raw);
        let said = header.as_ref().and_then(|header| header.content_type());
        let named = |said: &ContentType<'_>| format!("{}/{}", said.ctype(), said.subtype().unwrap_or("plain"));
        let content_type = said.map_or_else(|| place.default_type.to_owned(), named).to_ascii_lowercase();
        let body = &place.raw[Headers::scan(place.raw).len()..];
        Self { content_type, header, body }
    }

    /// What divides its parts, when it is a multipart.
    fn boundary(&self) -> Option<&str> {
        let is_multipart = self.content_type.starts_with("multipart/");
        self.attribute("boundary").filter(|boundary| is_multipart && !boundary.is_empty())
    }

    /// A parameter of the content type.
    fn attribute(&self, name: &str) -> Option<&str> {
        self.header.as_ref()?.content_type()?.attribute(name)
    }

    fn child_type(&self) -> &'static str {
        if self.content_type == "multipart/digest" { "message/rfc822" } else { "text/plain" }
    }

    /// Whether a text is there to be saved, not to be read.
    fn is_file(&self) -> bool {
        self.disposition().is_some_and(ContentType::is_attachment) || self.name().is_some()
    }

    fn disposition(&self) -> Option<&ContentType<'_>> {
        self.header.as_ref()?.content_disposition()
    }

    fn name(&self) -> Option<&str> {
        self.header.as_ref()?.attachment_name()
    }

    fn content_id(&self) -> &str {
        self.header.as_ref().and_then(|header| header.content_id()).unwrap_or_default()
    }

    fn content(&self) -> Cow<'r, [u8]> {
        let encoding = self.header.as_ref().and_then(|header| header.content_transfer_encoding());
        let decoded = match encoding.map(str::to_ascii_lowercase).as_deref() {
            Some("base64") => base64_decode(self.body),
            Some("quoted-printable") => quoted_printable_decode(self.body),
            _ => None,
        };
        decoded.map_or(Cow::Borrowed(self.body), Cow::Owned)
    }

    fn text(&self) -> String {
        let content = self.content();
        match self.attribute("charset").and_then(|charset| charset_decoder(charset.as_bytes())) {
            Some(decode) => decode(&content),
            None => String::from_utf8_lossy(&content).into_owned(),
        }
    }

    fn file(&self, path: String) -> File<'r> {
        let content_id = self.content_id().to_owned();
        let inline = match self.disposition() {
            Some(disposition) => !disposition.is_attachment(),
            None => !content_id.is_empty(),
        };
        File {
            part_id: if path.is_empty() { "0".to_owned() } else { path },
            name: self.name().map_or_else(|| content_id.clone(), str::to_owned),
            content_type: self.content_type.clone(),
            content_id,
            inline,
            content: self.content(),
        }
    }
}

fn child(path: &str, number: usize) -> String {
    if path.is_empty() { number.to_string() } else { format!("{path}.{number}") }
}

/// The parts between the lines that begin with `--boundary` (RFC 2046 5.1.1), without the line end before each;
/// [`MAX_PARTS`] at most.
fn split<'r>(body: &'r [u8], boundary: &str) -> Vec<&'r [u8]> {
    let mut parts = Vec::new();
    // Where the part that is being read began; none before the first line of that kind.
    let mut begun: Option<usize> = None;
    let mut at = 0;
    for line in body.split_inclusive(|octet| *octet == b'\n') {
        let start = at;
        at += line.len();
        let Some(rest) = line.strip_prefix(b"--").and_then(|line| line.strip_prefix(boundary.as_bytes())) else {
            continue;
        };
        let rest = rest.trim_ascii_end();
        if !matches!(rest, b"" | b"--") {
            continue;
        }
        if let Some(begin) = begun {
            parts.push(without_line_end(&body[begin..start]));
        }
        begun = Some(at);
        if rest == b"--" || parts.len() == MAX_PARTS {
            return parts;
        }
    }
    // Cut short: what there is of the last part.
    parts.extend(begun.filter(|begin| *begin < body.len()).map(|begin| &body[begin..]));
    parts
}

fn without_line_end(part: &[u8]) -> &[u8] {
    let part = part.strip_suffix(b"\n").unwrap_or(part);
    part.strip_suffix(b"\r").unwrap_or(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIXED: &str = "From: a@example.org\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/mixed; boundary=m\r\n\r\n\
        --m\r\nContent-Type: multipart/related; boundary=r\r\n\r\n\
        --r\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n\
        --a\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\nGr\u{fc}n\r\n\
        --a\r\nContent-Type: text/html\r\n\r\n<p>Hi <img src=\"cid:pic@x\"></p>\r\n--a--\r\n\
        --r\r\nContent-Type: image/png\r\nContent-ID: <pic@x>\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw==\r\n--r--\r\n\
        --m\r\nContent-Type: application/pdf; name=\"b.pdf\"\r\nContent-Disposition: attachment;\r\n filename*=utf-8''%C3%BC.pdf\r\n\r\nPDF\r\n--m--\r\n";

    #[test]
    fn finds_text_html_and_files() {
        // As Latin-1 octets.
        let raw: Vec<u8> = MIXED.chars().map(|c| c as u8).collect();
        let body = Body::read(&raw);
        assert_eq!(body.text, "Grün");
        assert_eq!(body.html, "<p>Hi <img src=\"cid:pic@x\"></p>");
        let seen: Vec<_> = body.files.iter().map(|f| (f.part_id.as_str(), f.name.as_str(), f.inline)).collect();
        assert_eq!(seen, [("1.2", "pic@x", true), ("2", "ü.pdf", false)]);
        assert_eq!(*body.files[0].content, [0x89, b'P', b'N', b'G']);
        assert_eq!(body.files[1].content_type, "application/pdf");
        assert_eq!(body.linked_html("/api/v1/message/7"), "<p>Hi <img src=\"/api/v1/message/7/part/1.2\"></p>");
    }

    #[test]
    fn makes_text_of_html_but_no_html_of_text() {
        let html = Body::read(b"Content-Type: text/html\r\n\r\n<p>One<br>two</p>");
        assert!(html.text.contains("One") && html.text.contains("two") && !html.text.contains('<'));
        assert_eq!(html.html, "<p>One<br>two</p>");
        let text = Body::read(b"Subject: x\r\n\r\n<p>");
        assert_eq!((text.text.as_str(), text.html.as_str()), ("<p>", ""));
    }

    #[test]
    fn a_message_that_is_one_file_has_it() {
        let file =
            Body::read(b"Content-Type: application/zip\r\nContent-Disposition: attachment; filename=a.zip\r\n\r\nPK");
        assert_eq!((file.files[0].part_id.as_str(), file.files[0].name.as_str()), ("0", "a.zip"));
    }

    #[test]
    fn headers_have_canonical_names_and_unfolded_values() {
        let fields = headers(b"x-A: 1\r\nX-a: 2\r\n 3\r\nmessage-ID: <a>\r\n\r\nBody: no\r\n");
        let expect = [("Message-Id", vec!["<a>"]), ("X-A", vec!["1", "2 3"])];
        let got: Vec<_> = fields.iter().map(|(n, v)| (n.as_str(), v.iter().map(String::as_str).collect())).collect();
        assert_eq!(got, expect);
    }

    #[test]
    fn endless_nesting_is_survived() {
        for (unit, times) in [
            ("Content-Type: message/rfc822\r\n\r\n", 100_000),
            ("Content-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\n", 50_000),
            ("Content-Type: multipart/mixed; boundary=d\r\n\r\n--d\r\n", 50_000),
            ("Content-Type: multipart/mixed; boundary=d\r\n\r\n--d\r\n\r\n\r\n--d\r\n", 50_000),
        ] {
            let raw = unit.repeat(times);
            assert!(Body::read(raw.as_bytes()).files.len() <= MAX_PARTS);
        }
        let flat = format!(
            "Content-Type: multipart/mixed; boundary=d\r\n\r\n{}",
            "--d\r\nContent-Type: a/b\r\n\r\n".repeat(9_999)
        );
        assert_eq!(Body::read(flat.as_bytes()).files.len(), MAX_PARTS - 1);
    }

    #[test]
    fn broken_multiparts_show_what_there_is() {
        let read = |body: &str| {
            let raw = format!("Content-Type: multipart/mixed; boundary=\"a b\"\r\n\r\n{body}");
            Body::read(raw.as_bytes()).text
        };
        assert_eq!(read("--a b\r\n\r\none\r\n--a b \t\r\n\r\ntwo"), "onetwo");
        assert_eq!(
            read("preamble\r\n--a b\r\n\r\none\r\n--a bc\r\n --a b\r\n--a b--\r\nepilogue"),
            "one\r\n--a bc\r\n --a b"
        );
        assert_eq!(read("--a b\n\none\n--a b--\n"), "one");
        assert_eq!(read("no part at all"), "");
        assert_eq!(Body::read(b"Content-Type: multipart/mixed\r\n\r\nx").files.len(), 1, "no boundary: one file");
    }

    #[test]
    fn texts_are_decoded() {
        for (head, body, expect) in [
            (
                "text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable",
                "gr=C3=BCn =\r\nja\r\n",
                "grün ja\r\n",
            ),
            ("text/plain; charset=\"utf-8\"\r\nContent-Transfer-Encoding: BASE64", "Z3LD\r\nvG4=\r\n", "grün"),
            ("text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit", "grün", "grün"),
            ("text/plain; charset=unknown", "a", "a"),
            ("TEXT/PLAIN", "a", "a"),
        ] {
            assert_eq!(Body::read(format!("Content-Type: {head}\r\n\r\n{body}").as_bytes()).text, expect, "{head}");
        }
    }

    #[test]
    fn an_attached_message_is_a_file() {
        let raw = b"Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n\r\nsee\r\n\
            --m\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nhi\r\n--m--\r\n";
        let body = Body::read(raw);
        assert_eq!(body.files.len(), 1);
        assert_eq!(body.files[0].content_type, "message/rfc822");
    }
}
