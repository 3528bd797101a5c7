//! Mailpit's search language, as far as test helpers use it. Pure.
//!
//! Every term must match: a word or a "quoted phrase" anywhere in addresses, subject and text;
//! `to:`, `from:`, `cc:`, `bcc:`, `reply-to:`, `addressed:` (any of these), `subject:`, `message-id:` in that
//! field; `is:read`, `is:unread`, `has:attachment`, `has:inline`. A `-` or `!` before a term turns it round.
//! Case does not matter.

use super::letter::{Contact, Letter, Summary};

/// Longest query that is looked at, in octets; what lies beyond is ignored.
const MAX_QUERY: usize = 4096;

/// A parsed query. The empty one matches every message.
#[derive(Clone, Debug, Default)]
pub(super) struct Query {
    terms: Vec<Term>,
}

#[derive(Clone, Debug)]
struct Term {
    negated: bool,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    /// The field holds this text, in lower case.
    Holds(Field, String),
    Read(bool),
    Attachment,
    Inline,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Anywhere,
    To,
    From,
    Cc,
    Bcc,
    ReplyTo,
    Addressed,
    Subject,
    MessageId,
}

const FIELDS: [(&str, Field); 8] = [
    ("to:", Field::To),
    ("from:", Field::From),
    ("cc:", Field::Cc),
    ("bcc:", Field::Bcc),
    ("reply-to:", Field::ReplyTo),
    ("addressed:", Field::Addressed),
    ("subject:", Field::Subject),
    ("message-id:", Field::MessageId),
];

impl Query {
    /// Reads a query. Any text is one; terms without a letter or digit are ignored.
    pub(super) fn parse(text: &str) -> Self {
        let end = (0..=text.len().min(MAX_QUERY)).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        Self { terms: words(&text[..end]).iter().filter_map(|word| Term::parse(word)).collect() }
    }

    /// Whether every term matches.
    pub(super) fn matches(&self, letter: &Letter, read: bool) -> bool {
        self.terms.iter().all(|term| term.test.holds(letter, read) != term.negated)
    }
}

impl Term {
    fn parse(word: &str) -> Option<Self> {
        let lower = word.to_lowercase();
        let (negated, rest) = match lower.strip_prefix(['-', '!']) {
            Some(rest) => (true, rest),
            None => (false, lower.as_str()),
        };
        if !rest.chars().any(char::is_alphanumeric) {
            return None;
        }
        let test = match rest {
            "is:read" => Test::Read(true),
            "is:unread" => Test::Read(false),
            "has:attachment" | "has:attachments" => Test::Attachment,
            "has:inline" | "has:inlines" => Test::Inline,
            _ => {
                let field = FIELDS.iter().find_map(|(prefix, field)| Some((*field, rest.strip_prefix(prefix)?)));
                let (field, value) = field.unwrap_or((Field::Anywhere, rest));
                Test::Holds(field, value.trim().to_owned())
            }
        };
        Some(Self { negated, test })
    }
}

impl Test {
    fn holds(&self, letter: &Letter, read: bool) -> bool {
        match self {
            Self::Holds(field, text) => field.holds(letter, text),
            Self::Read(wanted) => *wanted == read,
            Self::Attachment => letter.summary.attachments > 0,
            Self::Inline => letter.summary.inline > 0,
        }
    }
}

impl Field {
    fn holds(self, letter: &Letter, text: &str) -> bool {
        let summary: &Summary = &letter.summary;
        match self {
            Self::To => any(&summary.to, text),
            Self::From => any(std::slice::from_ref(&summary.from), text),
            Self::Cc => any(&summary.cc, text),
            Self::Bcc => any(&letter.bcc(), text),
            Self::ReplyTo => any(&summary.reply_to, text),
            Self::Subject => within(&summary.subject, text),
            Self::MessageId => within(&summary.message_id, text),
            Self::Addressed => {
                let fields = [Self::To, Self::From, Self::Cc, Self::Bcc, Self::ReplyTo];
                fields.iter().any(|field| field.holds(letter, text))
            }
            Self::Anywhere => {
                let fields = [Self::Subject, Self::Addressed, Self::MessageId];
                fields.iter().any(|field| field.holds(letter, text)) || summary.text.contains(text)
            }
        }
    }
}

fn any(contacts: &[Contact], text: &str) -> bool {
    contacts.iter().any(|contact| within(&contact.address, text) || within(&contact.name, text))
}

fn within(value: &str, text: &str) -> bool {
    value.to_lowercase().contains(text)
}

/// Splits at blanks outside quotes; the quotes go.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use sluice_mail::UnixMs;

    use super::*;

    #[test]
    fn terms_match_where_they_should() {
        let raw = "From: \"Ann Lee\" <ann@example.org>\r\nTo: Bob <bob@example.net>\r\nCc: cy@example.com\r\n\
            Reply-To: help@example.org\r\nSubject: Your Reçeipt 42\r\nMessage-ID: <id-1@example.org>\r\n\r\n\
            Thank you for the order.\r\n";
        let letter = Letter {
            id: "1".into(),
            received: UnixMs(0),
            mail_from: "bounce@example.org".to_owned(),
            recipients: vec!["bob@example.net".to_owned(), "audit@example.com".to_owned()],
            raw: Bytes::new(),
            summary: Arc::new(Summary::read(raw.as_bytes())),
        };
        for (query, expect) in [
            ("", true),
            ("   ", true),
            ("to:bob@example.net", true),
            ("to:BOB", true),
            ("to:ann", false),
            ("from:ann", true),
            ("from:\"ann lee\"", true),
            ("from:lee subject:42", true),
            ("from:lee subject:43", false),
            ("subject:\"your reçeipt\"", true),
            ("subject:RECEIPT", false),
            ("cc:cy", true),
            ("bcc:audit", true),
            ("bcc:bob", false),
            ("reply-to:help", true),
            ("addressed:audit", true),
            ("addressed:nobody", false),
            ("message-id:id-1", true),
            ("thank order", true),
            ("\"thank you for\"", true),
            ("\"thank order\"", false),
            ("-thank", false),
            ("!nothing", true),
            ("-to:ann", true),
            ("is:unread", true),
            ("is:read", false),
            ("-is:read", true),
            ("has:attachment", false),
            ("-has:attachment", true),
            ("- \"\" !!", true),
            ("audit", true),
        ] {
            assert_eq!(Query::parse(query).matches(&letter, false), expect, "{query:?}");
        }
    }

    #[test]
    fn any_text_is_a_query() {
        for text in ["\"", "to:", "::", &"ü".repeat(MAX_QUERY), &"\"a b ".repeat(2000)] {
            let _ = Query::parse(text);
        }
    }
}
