//! Changes of a signed message, after which no signature may verify.

use anyhow::{Context as _, Result};

/// What somebody does to a message on the way.
pub(super) struct Change {
    pub(super) name: &'static str,
    /// Whether the signatures must stand it.
    pub(super) is_harmless: bool,
    pub(super) apply: fn(&str) -> Option<String>,
}

const fn harm(name: &'static str, apply: fn(&str) -> Option<String>) -> Change {
    Change { name, is_harmless: false, apply }
}

const fn harmless(name: &'static str, apply: fn(&str) -> Option<String>) -> Change {
    Change { name, is_harmless: true, apply }
}

/// The message that is changed, from [`super::world::BOTH`].
pub(super) const MESSAGE: &str = "From: Alice <alice@both.test>\r\nTo: <r@plain.test>\r\nSubject: hello\r\n\
    List-Unsubscribe: <https://both.test/u>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nX-Other: 1\r\n\
    X-Case: changed\r\n\r\nHello Bob.\r\n\r\nBye.\r\n";

pub(super) const ALL: [Change; 18] = [
    harm("a letter of the body's first line", |text| everywhere(text, "Hello Bob", "Hallo Bob")),
    harm("the last letter of the body", |text| everywhere(text, "Bye.", "Bye!")),
    harm("a line after the body", |text| Some(format!("{text}Buy!\r\n"))),
    harm("a line less", |text| everywhere(text, "Bye.\r\n", "")),
    harm("an empty line within the body less", |text| everywhere(text, "Bob.\r\n\r\n", "Bob.\r\n")),
    harm("From's name", |text| everywhere(text, "From: Alice", "From: Elice")),
    harm("From's domain", |text| everywhere(text, "alice@both.test>", "alice@both.tesT>")),
    harm("the subject", |text| everywhere(text, "Subject: hello", "Subject: hallo")),
    harm("To", |text| everywhere(text, "To: <r@", "To: <s@")),
    harm("where to unsubscribe", |text| everywhere(text, "both.test/u", "both.test/v")),
    harm("how to unsubscribe", |text| everywhere(text, "One-Click", "One-Cluck")),
    harm("a second From", |text| Some(format!("From: Mallory <m@evil.test>\r\n{text}"))),
    harm("a second Subject", |text| Some(format!("Subject: other\r\n{text}"))),
    harm("a Reply-To", |text| Some(format!("Reply-To: m@evil.test\r\n{text}"))),
    harm("the time of signing", |text| everywhere(text, " t=", " t=1")),
    harmless("a Received field more", |text| Some(format!("Received: from a by b;\r\n\tdate\r\n{text}"))),
    harmless("a field that is not covered", |text| everywhere(text, "X-Other: 1", "X-Other: 2")),
    harmless("blanks and empty lines at ends", |text| {
        everywhere(text, "hello\r\n", "  hello \r\n")
            .and_then(|text| everywhere(&text, "Bye.\r\n", "Bye. \r\n\r\n \r\n"))
    }),
];

/// All places where it stands, as each signature must be met.
fn everywhere(text: &str, from: &str, to: &str) -> Option<String> {
    text.contains(from).then(|| text.replace(from, to))
}

impl Change {
    pub(super) fn of(&self, message: &[u8]) -> Result<Vec<u8>> {
        let text = std::str::from_utf8(message)?;
        let changed = (self.apply)(text).with_context(|| format!("{}: nothing to change in {text}", self.name))?;
        Ok(changed.into_bytes())
    }
}
