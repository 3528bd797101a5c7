//! One message as the sink received it, and what a list of messages tells of it.

use std::sync::Arc;

use bytes::Bytes;
use mail_parser::{Address, Message};
use serde::Serialize;
use sluice_mail::UnixMs;

use super::mime;

/// Longest snippet in characters, as Mailpit has it.
const SNIPPET_CHARS: usize = 250;

/// A message in the sandbox. The content is exactly what was received.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    /// Its name in the API and on the page.
    pub(super) id: Arc<str>,
    /// When the sink took it.
    pub(super) received: UnixMs,
    /// The reverse-path; empty for the null sender.
    pub(super) mail_from: String,
    /// The envelope's recipients in the order in which they came.
    pub(super) recipients: Vec<String>,
    /// The message, octet for octet.
    pub(super) raw: Bytes,
    /// What its header and text say.
    pub(super) summary: Arc<Summary>,
}

/// An address with the name beside it. Empty where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Contact {
    /// The display name.
    pub(super) name: String,
    /// `local@domain`.
    pub(super) address: String,
}

/// What is read from a message once, when it comes in.
#[derive(Clone, Debug, Default)]
pub(super) struct Summary {
    /// Without its angle brackets.
    pub(super) message_id: String,
    /// The first address of `From`.
    pub(super) from: Contact,
    /// The addresses of `To`.
    pub(super) to: Vec<Contact>,
    /// The addresses of `Cc`.
    pub(super) cc: Vec<Contact>,
    /// The addresses of `Bcc`, when a message still has that field.
    pub(super) bcc: Vec<Contact>,
    /// The addresses of `Reply-To`.
    pub(super) reply_to: Vec<Contact>,
    /// Decoded.
    pub(super) subject: String,
    /// `Date` by RFC 3339, when it is there and valid.
    pub(super) date: Option<String>,
    /// How many attachments it has.
    pub(super) attachments: usize,
    /// How many inline parts it has.
    pub(super) inline: usize,
    /// The text's beginning on one line.
    pub(super) snippet: String,
    /// The text in lower case, for searching.
    pub(super) text: String,
}

impl Letter {
    /// Who got it without standing in `To` or `Cc`: the field itself, and the envelope's other recipients.
    pub(super) fn bcc(&self) -> Vec<Contact> {
        let mut bcc = self.summary.bcc.clone();
        for recipient in &self.recipients {
            let named = self.summary.to.iter().chain(&self.summary.cc).chain(&bcc);
            if !named.into_iter().any(|contact| contact.address.eq_ignore_ascii_case(recipient)) {
                bcc.push(Contact { name: String::new(), address: recipient.clone() });
            }
        }
        bcc
    }

    /// Octets of memory that it is counted with: content, text, recipients, and a kilobyte for the rest.
    pub(super) fn cost(&self) -> usize {
        let recipients: usize = self.recipients.iter().map(|r| r.len() + 32).sum();
        self.raw.len() + self.summary.text.len() + recipients + 1024
    }
}

impl Summary {
    /// Reads what it can. What is not understood stays empty: the page still has the source.
    pub(super) fn read(raw: &[u8]) -> Self {
        let Some(message) = mime::header(raw) else { return Self::default() };
        let body = mime::Body::read(raw);
        let count = |inline| body.files.iter().filter(|file| file.inline == inline).count();
        Self {
            message_id: message.message_id().unwrap_or_default().to_owned(),
            from: contacts(message.from()).into_iter().next().unwrap_or_default(),
            to: contacts(message.to()),
            cc: contacts(message.cc()),
            bcc: contacts(message.bcc()),
            reply_to: contacts(message.reply_to()),
            subject: message.subject().unwrap_or_default().to_owned(),
            date: date(&message),
            attachments: count(false),
            inline: count(true),
            snippet: snippet(&body.text),
            text: body.text.to_lowercase(),
        }
    }
}

/// `at` by RFC 3339 with milliseconds, in UTC.
pub(super) fn rfc3339(at: UnixMs) -> String {
    let seconds = i64::try_from(at.0 / 1000).unwrap_or(i64::MAX);
    let text = mail_parser::DateTime::from_timestamp(seconds).to_rfc3339();
    format!("{}.{:03}Z", text.trim_end_matches('Z'), at.0 % 1000)
}

fn date(message: &Message<'_>) -> Option<String> {
    message.date().filter(|date| date.is_valid()).map(mail_parser::DateTime::to_rfc3339)
}

fn contacts(addresses: Option<&Address<'_>>) -> Vec<Contact> {
    let text = |part: Option<&str>| part.unwrap_or_default().to_owned();
    let all = addresses.into_iter().flat_map(Address::iter);
    all.map(|a| Contact { name: text(a.name()), address: text(a.address()) }).collect()
}

/// The beginning of `text` with every run of blanks as one.
fn snippet(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_whitespace() {
        if out.chars().count() + word.chars().count() >= SNIPPET_CHARS {
            let room = SNIPPET_CHARS.saturating_sub(out.chars().count() + 1);
            out.extend(word.chars().take(room));
            out.push('…');
            break;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(raw: &str, recipients: &[&str]) -> Letter {
        Letter {
            id: "1".into(),
            received: UnixMs(0),
            mail_from: "a@example.org".to_owned(),
            recipients: recipients.iter().map(|r| (*r).to_owned()).collect(),
            raw: Bytes::copy_from_slice(raw.as_bytes()),
            summary: Arc::new(Summary::read(raw.as_bytes())),
        }
    }

    fn addresses(contacts: &[Contact]) -> Vec<&str> {
        contacts.iter().map(|c| c.address.as_str()).collect()
    }

    #[test]
    fn reads_encoded_headers() {
        let summary = Summary::read(
            b"From: =?utf-8?q?J=C3=BCrgen?= <j@example.org>\r\nTo: Team: a@b.example, \"B, C\" <c@d.example>;\r\n\
              Subject: =?iso-8859-1?q?Gr=FC=DFe?=\r\n folded\r\nDate: Mon, 23 Nov 2026 20:00:00 +0100\r\n\
              Message-ID: <1@x>\r\n\r\nHello\r\n  there\r\n",
        );
        assert_eq!(summary.from, Contact { name: "Jürgen".into(), address: "j@example.org".into() });
        assert_eq!(addresses(&summary.to), ["a@b.example", "c@d.example"]);
        assert_eq!(summary.to[1].name, "B, C");
        assert_eq!(summary.subject, "Grüße folded");
        assert_eq!(summary.date.as_deref(), Some("2026-11-23T20:00:00+01:00"));
        assert_eq!(summary.message_id, "1@x");
        assert_eq!(summary.snippet, "Hello there");
    }

    #[test]
    fn recipients_that_no_header_names_are_bcc() {
        let raw = "From: a@example.org\r\nTo: B@example.org\r\nCc: c@example.org\r\n\r\nx\r\n";
        let letter = letter(raw, &["b@example.org", "c@example.org", "d@example.org", "D@example.org"]);
        assert_eq!(addresses(&letter.bcc()), ["d@example.org"]);
    }

    #[test]
    fn what_is_no_message_is_kept_without_a_summary() {
        for raw in [&b""[..], b"\r\n", b"no header at all", &[0xff, 0, 0xfe]] {
            let summary = Summary::read(raw);
            assert!(summary.subject.is_empty() && summary.to.is_empty(), "{raw:?}");
        }
    }

    #[test]
    fn a_snippet_is_bounded_and_on_one_line() {
        for text in ["word ".repeat(100), "ü".repeat(1000), format!("{} x", "y".repeat(249))] {
            let snippet = snippet(&text);
            assert!(snippet.chars().count() <= SNIPPET_CHARS, "{}", snippet.chars().count());
            assert!(snippet.ends_with('…'));
        }
        assert_eq!(snippet("\r\n a\t b \r\n"), "a b");
    }

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(rfc3339(UnixMs(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(UnixMs(1_795_464_000_042)), "2026-11-23T20:00:00.042Z");
    }
}
