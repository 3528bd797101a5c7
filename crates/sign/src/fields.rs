//! Which header fields a signature covers.

use sluice_mail::header::{Field, Headers};

/// Signed wherever they occur. What a reader sees or answers to, what a mail program acts on, and what tells the
/// message apart. Not: fields that hosts on the way add or change (Received, Return-Path, Authentication-Results,
/// Delivered-To, ARC), nor Bcc.
///
/// Both fields of one-click unsubscribing must be covered (RFC 8058 4).
pub(crate) const SIGNED: [&str; 25] = [
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Content-Disposition",
    "Content-ID",
    "Content-Description",
    "List-Id",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "List-Subscribe",
    "List-Post",
    "List-Help",
    "List-Owner",
    "List-Archive",
    "Feedback-ID",
];

/// Named once more than they occur, so that a second one, put in on the way, breaks the signature: a mail program
/// might show it instead of the signed one (RFC 6376 8.15).
pub(crate) const OVERSIGNED: [&str; 6] = ["From", "To", "Cc", "Subject", "Date", "Reply-To"];

/// Fields beyond the first of their name that are covered at most, so that a signature has a bound. No message needs
/// any: RFC 5322 allows each of [`SIGNED`] once.
const REPEATS_MAX: usize = 16;

/// What a signature covers of a header section.
pub(crate) struct Covered<'a> {
    /// The names for its `h=`: each as often as it occurs, those of [`OVERSIGNED`] once more.
    pub(crate) names: Vec<&'static str>,
    /// The fields in the order of the names; of those with one name the last comes first (RFC 6376 5.4.2).
    pub(crate) fields: Vec<Field<'a>>,
}

/// What is covered of `headers`. Of a field that is repeated more than [`REPEATS_MAX`] allows, the last ones are.
pub(crate) fn covered<'a>(headers: &Headers<'a>) -> Covered<'a> {
    let mut found: [Vec<Field<'a>>; SIGNED.len()] = Default::default();
    for field in headers {
        if let Some(at) = SIGNED.iter().position(|name| field.is(name)) {
            found[at].push(field);
        }
    }
    let mut repeats = REPEATS_MAX;
    let mut covered = Covered { names: Vec::with_capacity(24), fields: Vec::with_capacity(16) };
    for (name, found) in SIGNED.into_iter().zip(found) {
        let once_more = usize::from(OVERSIGNED.contains(&name));
        let named = found.len().min(repeats + 1);
        repeats -= named.saturating_sub(1);
        covered.names.extend(std::iter::repeat_n(name, named + once_more));
        covered.fields.extend(found.into_iter().rev().take(named + once_more));
    }
    covered
}
