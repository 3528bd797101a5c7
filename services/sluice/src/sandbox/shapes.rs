//! The JSON of Mailpit's API, version 1.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::letter::{Contact, Letter, rfc3339};
use super::mailbox::{Entry, Totals};
use super::mime::{self, Body, File};

/// A list of messages.
#[derive(Debug, Serialize)]
pub(super) struct Listing {
    /// Messages in the mailbox.
    pub(super) total: usize,
    /// Of these, not opened.
    pub(super) unread: usize,
    /// Messages listed here.
    pub(super) count: usize,
    /// Messages that match.
    pub(super) messages_count: usize,
    /// Of these, not opened.
    pub(super) messages_unread: usize,
    /// How many were skipped.
    pub(super) start: usize,
    /// There are none.
    pub(super) tags: [&'static str; 0],
    /// The newest first.
    pub(super) messages: Vec<Item>,
}

/// A message in a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Item {
    #[serde(rename = "ID")]
    id: Arc<str>,
    #[serde(rename = "MessageID")]
    message_id: String,
    read: bool,
    from: Contact,
    to: Vec<Contact>,
    cc: Vec<Contact>,
    bcc: Vec<Contact>,
    reply_to: Vec<Contact>,
    subject: String,
    created: String,
    username: &'static str,
    tags: [&'static str; 0],
    size: usize,
    attachments: usize,
    snippet: String,
}

/// A whole message.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Whole {
    #[serde(rename = "ID")]
    id: Arc<str>,
    #[serde(rename = "MessageID")]
    message_id: String,
    from: Contact,
    to: Vec<Contact>,
    cc: Vec<Contact>,
    bcc: Vec<Contact>,
    reply_to: Vec<Contact>,
    return_path: String,
    subject: String,
    list_unsubscribe: Unsubscribe,
    date: String,
    tags: [&'static str; 0],
    username: &'static str,
    text: String,
    #[serde(rename = "HTML")]
    html: String,
    size: usize,
    inline: Vec<Part>,
    attachments: Vec<Part>,
}

/// The fields of RFC 2369 and RFC 8058, unread.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Unsubscribe {
    header: String,
    links: Vec<String>,
    errors: &'static str,
    header_post: String,
}

/// An attachment or an inline part.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Part {
    #[serde(rename = "PartID")]
    part_id: String,
    file_name: String,
    content_type: String,
    #[serde(rename = "ContentID")]
    content_id: String,
    size: usize,
}

/// What this is and how much it holds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Info {
    version: &'static str,
    latest_version: &'static str,
    database: &'static str,
    database_size: usize,
    messages: usize,
    unread: usize,
    tags: BTreeMap<String, u64>,
    runtime_stats: Stats,
}

/// Counts since the start.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Stats {
    uptime: u64,
    memory: usize,
    messages_deleted: u64,
    #[serde(rename = "SMTPAccepted")]
    smtp_accepted: u64,
    #[serde(rename = "SMTPAcceptedSize")]
    smtp_accepted_size: u64,
    #[serde(rename = "SMTPRejected")]
    smtp_rejected: u64,
    #[serde(rename = "SMTPIgnored")]
    smtp_ignored: u64,
}

impl Info {
    /// The counts, `uptime` after the start.
    pub(super) fn of(totals: &Totals, uptime: Duration) -> Self {
        Self {
            version: concat!("sluice-", env!("CARGO_PKG_VERSION")),
            latest_version: "",
            database: "memory",
            database_size: totals.bytes,
            messages: totals.messages,
            unread: totals.unread,
            tags: BTreeMap::new(),
            runtime_stats: Stats {
                uptime: uptime.as_secs(),
                memory: totals.bytes,
                messages_deleted: totals.deleted,
                smtp_accepted: totals.accepted,
                smtp_accepted_size: totals.accepted_bytes,
                smtp_rejected: 0,
                smtp_ignored: 0,
            },
        }
    }
}

impl Item {
    /// As the list shows it.
    pub(super) fn of(entry: &Entry) -> Self {
        let letter = &entry.letter;
        let summary = &letter.summary;
        Self {
            id: letter.id.clone(),
            message_id: summary.message_id.clone(),
            read: entry.read,
            from: summary.from.clone(),
            to: summary.to.clone(),
            cc: summary.cc.clone(),
            bcc: letter.bcc(),
            reply_to: summary.reply_to.clone(),
            subject: summary.subject.clone(),
            created: rfc3339(letter.received),
            username: "",
            tags: [],
            size: letter.raw.len(),
            attachments: summary.attachments,
            snippet: summary.snippet.clone(),
        }
    }
}

impl Whole {
    /// With its texts and the list of its files.
    pub(super) fn of(letter: &Letter) -> Self {
        let body = Body::read(&letter.raw);
        let summary = &letter.summary;
        let (inline, attachments) = body.files.into_iter().partition::<Vec<_>, _>(|file| file.inline);
        Self {
            id: letter.id.clone(),
            message_id: summary.message_id.clone(),
            from: summary.from.clone(),
            to: summary.to.clone(),
            cc: summary.cc.clone(),
            bcc: letter.bcc(),
            reply_to: summary.reply_to.clone(),
            return_path: letter.mail_from.clone(),
            subject: summary.subject.clone(),
            list_unsubscribe: Unsubscribe::of(&letter.raw),
            date: summary.date.clone().unwrap_or_else(|| rfc3339(letter.received)),
            tags: [],
            username: "",
            text: body.text,
            html: body.html,
            size: letter.raw.len(),
            inline: inline.into_iter().map(Part::of).collect(),
            attachments: attachments.into_iter().map(Part::of).collect(),
        }
    }
}

impl Unsubscribe {
    fn of(raw: &[u8]) -> Self {
        let mut fields = mime::headers(raw);
        let mut first = |name: &str| fields.remove(name).unwrap_or_default().into_iter().next().unwrap_or_default();
        let header = first("List-Unsubscribe");
        let bracketed = header.split('<').skip(1).filter_map(|rest| rest.split_once('>'));
        let links = bracketed.map(|(link, _)| link.trim().to_owned()).collect();
        Self { links, errors: "", header_post: first("List-Unsubscribe-Post"), header }
    }
}

impl Part {
    fn of(file: File<'_>) -> Self {
        Self {
            part_id: file.part_id,
            file_name: file.name,
            content_type: file.content_type,
            content_id: file.content_id,
            size: file.content.len(),
        }
    }
}
