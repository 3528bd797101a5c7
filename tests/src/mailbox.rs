//! Real mailboxes, and what Python's `email` makes of a message in one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::process;

/// The messages in a Maildir, in the order of their arrival, lines with LF. None when there is no such folder yet.
pub fn maildir(folder: &Path) -> Result<Vec<Vec<u8>>> {
    let Ok(entries) = fs::read_dir(folder.join("new")) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        found.push((fs::metadata(&path)?.modified()?, path));
    }
    found.sort();
    found.into_iter().map(|(_, path)| fs::read(&path).with_context(|| path.display().to_string())).collect()
}

/// Debian's Python, which has what Debian's packages bring; another one may come first in `PATH`.
pub const PYTHON: &str = "/usr/bin/python3";

/// A program of ours for Python.
#[must_use]
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(name)
}

/// A message as Python's `email` reads it.
#[derive(Clone, Debug)]
pub struct Letter {
    facts: Value,
}

/// What a delivery status notification says of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// `failed` or `delayed`.
    pub action: String,
    /// Such as `5.1.1`.
    pub status: String,
    /// Its address, without the type in front.
    pub recipient: String,
    /// The reply, with its type in front: `smtp; 550 5.1.1 …`.
    pub diagnostic: String,
    /// The host that said it, without the type in front; empty when none did.
    pub remote: String,
}

impl Letter {
    /// Has Python read `message`.
    pub fn read(message: &[u8]) -> Result<Self> {
        let finished = process::run(Command::new(PYTHON).arg(script("read_mail.py")), message)?.success()?;
        Ok(Self { facts: serde_json::from_str(&finished.stdout)? })
    }

    /// The value of a header field, its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.facts["headers"][name].as_str().unwrap_or_default()
    }

    /// A field of the returned message or header section.
    #[must_use]
    pub fn original(&self, name: &str) -> &str {
        self.facts["original"][name].as_str().unwrap_or_default()
    }

    /// The text for people.
    #[must_use]
    pub fn text(&self) -> &str {
        self.facts["text"].as_str().unwrap_or_default()
    }

    /// Whether it is a delivery status notification.
    #[must_use]
    pub fn is_report(&self) -> bool {
        let kind = self.facts["report_type"].as_str().unwrap_or_default();
        self.facts["type"] == "multipart/report" && ["delivery-status", "global-delivery-status"].contains(&kind)
    }

    /// The types of its parts.
    #[must_use]
    pub fn parts(&self) -> Vec<&str> {
        self.facts["parts"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// What Python did not like about it.
    #[must_use]
    pub fn defects(&self) -> String {
        let list = self.facts["defects"].as_array().into_iter().flatten().filter_map(Value::as_str);
        list.collect::<Vec<_>>().join(", ")
    }

    /// What it says of the message as a whole, the name in lower case.
    #[must_use]
    pub fn of_message(&self, name: &str) -> &str {
        self.facts["status"][0][name].as_str().unwrap_or_default()
    }

    /// What it says of each recipient.
    #[must_use]
    pub fn statuses(&self) -> Vec<Status> {
        let blocks = self.facts["status"].as_array().map_or(&[][..], Vec::as_slice);
        let text = |block: &Value, name: &str| block[name].as_str().unwrap_or_default().to_owned();
        let bare = |text: String| text.split_once(';').map_or(text.clone(), |(_, rest)| rest.trim().to_owned());
        let status = |block: &Value| Status {
            action: text(block, "action"),
            status: text(block, "status"),
            recipient: plain(&bare(text(block, "final-recipient"))),
            diagnostic: text(block, "diagnostic-code"),
            remote: bare(text(block, "remote-mta")),
        };
        blocks.iter().skip(1).map(status).collect()
    }
}

/// An address in RFC 6533's form for ASCII, `jos\x{E9}@…`, as it is meant.
fn plain(address: &str) -> String {
    let mut parts = address.split("\\x{");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (code, rest) = part.split_once('}').unwrap_or((part, ""));
        out.extend(u32::from_str_radix(code, 16).ok().and_then(char::from_u32));
        out.push_str(rest);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_rfc_6533_are_read() {
        assert_eq!(plain("jos\\x{E9}@b\\x{FC}cher.test"), "jos\u{e9}@b\u{fc}cher.test");
        assert_eq!(plain("jos@test"), "jos@test");
    }

    #[test]
    fn a_report_is_read_by_python() {
        let text = "From: Mail <mailer@mx.test>\nSubject: Not delivered\nMIME-Version: 1.0\n\
            Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n\
            --b\nContent-Type: text/plain\n\nSorry.\n--b\nContent-Type: message/delivery-status\n\n\
            Reporting-MTA: dns; mx.test\n\n\
            Final-Recipient: rfc822; a@b.test\nAction: failed\nStatus: 5.1.1\n\
            Remote-MTA: dns; mx.b.test\nDiagnostic-Code: smtp; 550 5.1.1 no\n such user\n\n\
            --b\nContent-Type: text/rfc822-headers\n\nSubject: hello\n\n--b--\n";
        let letter = Letter::read(text.as_bytes()).unwrap();
        assert!(letter.is_report() && letter.defects().is_empty(), "{letter:?}");
        assert_eq!(letter.parts(), ["text/plain", "message/delivery-status", "text/rfc822-headers"]);
        assert_eq!((letter.of_message("reporting-mta"), letter.original("subject")), ("dns; mx.test", "hello"));
        let expected = Status {
            action: "failed".into(),
            status: "5.1.1".into(),
            recipient: "a@b.test".into(),
            diagnostic: "smtp; 550 5.1.1 no such user".into(),
            remote: "mx.b.test".into(),
        };
        assert_eq!(letter.statuses(), [expected]);
    }
}
