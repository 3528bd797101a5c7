//! Which header fields a signature covers.

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

/// Those of [`SIGNED`] that the header section `names` has, each once; then those of [`OVERSIGNED`], once more.
pub(crate) fn to_sign<'a>(names: impl Iterator<Item = &'a [u8]>) -> Vec<&'static str> {
    let mut found = [false; SIGNED.len()];
    for name in names {
        if let Some(at) = SIGNED.iter().position(|signed| signed.as_bytes().eq_ignore_ascii_case(name)) {
            found[at] = true;
        }
    }
    let present = SIGNED.into_iter().zip(found).filter(|(_, found)| *found).map(|(name, _)| name);
    present.chain(OVERSIGNED).collect()
}
