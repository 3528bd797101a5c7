//! The part for programs: `message/delivery-status` (RFC 3464 2) or `message/global-delivery-status` (RFC 6533 4).

use sluice_mail::header::date::format_rfc5322;
use sluice_mail::{EnhancedCode, Outcome, Recipient, Reply};

use crate::clean::{self, field};
use crate::{Kind, Notice, dsn, utf8};

/// Most characters of a reply in `Diagnostic-Code`.
const DIAGNOSTIC_MAX: usize = 2_000;
/// Most characters of any other foreign value.
const VALUE_MAX: usize = 600;

/// The part. `is_international`: with bare UTF-8.
pub(crate) fn write(notice: &Notice<'_>, is_international: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    let envelope = notice.envelope;
    let plain = |text: String| if is_international { text } else { clean::ascii(&text) };
    field(&mut out, "Reporting-MTA", &format!("dns; {}", dsn::hostname(notice)));
    if let Some(id) = &envelope.envid {
        let id = plain(clean::line(&utf8::decode_xtext(id), VALUE_MAX));
        if !id.is_empty() {
            field(&mut out, "Original-Envelope-Id", &id);
        }
    }
    field(&mut out, "X-Sluice-Queue-ID", &envelope.queue_id.to_string());
    field(&mut out, "Arrival-Date", &format_rfc5322(envelope.accepted));
    for recipient in notice.recipients.iter().filter_map(|place| envelope.recipients.get(*place)) {
        out.extend_from_slice(b"\r\n");
        if let Some(value) = recipient.orcpt.as_deref().and_then(|orcpt| original_recipient(orcpt, is_international)) {
            field(&mut out, "Original-Recipient", &value);
        }
        field(&mut out, "Final-Recipient", &final_recipient(recipient, is_international));
        field(&mut out, "Action", action(notice.kind));
        field(&mut out, "Status", &status(notice.kind, recipient).to_string());
        let told = told(recipient);
        if let Some(mta) = told.mta {
            field(&mut out, "Remote-MTA", &format!("dns; {}", clean::ascii(&clean::line(mta, VALUE_MAX))));
        }
        if let Some(reply) = told.reply {
            let kind = if told.is_peers { "smtp" } else { "X-Sluice" };
            let words = plain(clean::line(&diagnostic(reply, told.is_peers), DIAGNOSTIC_MAX));
            field(&mut out, "Diagnostic-Code", &format!("{kind}; {words}"));
        }
        if let Some(trouble) = &recipient.trouble {
            field(&mut out, "Last-Attempt-Date", &format_rfc5322(trouble.at));
        }
        match notice.kind {
            Kind::Failed => {}
            Kind::Delayed { until } => field(&mut out, "Will-Retry-Until", &format_rfc5322(until)),
        }
    }
    out
}

/// In whose words it is told what went wrong.
pub(crate) struct Told<'a> {
    pub(crate) reply: Option<&'a Reply>,
    pub(crate) is_peers: bool,
    /// The peer, when the words are its own.
    pub(crate) mta: Option<&'a str>,
}

/// The last trouble, which is what decided or, when the time ran out, what stood in the way; else the outcome.
pub(crate) fn told(recipient: &Recipient) -> Told<'_> {
    match (&recipient.trouble, &recipient.outcome) {
        (Some(trouble), _) => Told {
            reply: Some(&trouble.reply),
            is_peers: trouble.is_peers,
            mta: trouble.mta.as_deref().filter(|_| trouble.is_peers),
        },
        (None, Some(Outcome::Bounced { reply, .. } | Outcome::Delivered { reply })) => {
            Told { reply: Some(reply), is_peers: false, mta: None }
        }
        (None, None) => Told { reply: None, is_peers: false, mta: None },
    }
}

/// `5.1.1` and the like; a status that fits when the peer gave none.
pub(crate) fn status(kind: Kind, recipient: &Recipient) -> EnhancedCode {
    match (kind, &recipient.outcome) {
        (Kind::Failed, Some(Outcome::Bounced { status, .. })) => *status,
        (Kind::Failed, Some(Outcome::Delivered { .. }) | None) => EnhancedCode(5, 0, 0),
        (Kind::Delayed { .. }, _) => {
            let said = recipient.trouble.as_ref().and_then(|trouble| trouble.reply.enhanced);
            said.filter(|code| code.0 == 4).unwrap_or(EnhancedCode(4, 0, 0))
        }
    }
}

fn action(kind: Kind) -> &'static str {
    match kind {
        Kind::Failed => "failed",
        Kind::Delayed { .. } => "delayed",
    }
}

/// A peer's reply with its codes; our own words with their status.
fn diagnostic(reply: &Reply, is_peers: bool) -> String {
    match (is_peers, reply.enhanced) {
        (true, _) => reply.to_string(),
        (false, Some(code)) => format!("{code} {}", reply.text),
        (false, None) => reply.text.clone(),
    }
}

fn final_recipient(recipient: &Recipient, is_international: bool) -> String {
    let address = clean::word(recipient.address.as_str());
    match (address.is_ascii(), is_international) {
        (true, _) => format!("rfc822; {address}"),
        (false, true) => format!("utf-8; {address}"),
        (false, false) => format!("utf-8; {}", utf8::to_xtext(&address)),
    }
}

/// RFC 3461 6.3: the type and the decoded address. `None` when the parameter does not have that form.
fn original_recipient(orcpt: &str, is_international: bool) -> Option<String> {
    let (kind, address) = orcpt.split_once(';')?;
    let is_atom = !kind.is_empty() && kind.len() <= 40 && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let address = utf8::decode_xtext(address);
    let address = if kind.eq_ignore_ascii_case("utf-8") {
        let address = clean::word(&utf8::to_unitext(&address));
        if is_international { address } else { utf8::to_xtext(&address) }
    } else if is_international {
        clean::word(&address)
    } else {
        clean::ascii(&clean::word(&address))
    };
    (is_atom && !address.is_empty() && address.chars().count() <= VALUE_MAX * 2).then(|| format!("{kind}; {address}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_original_recipient_is_decoded_and_harmless() {
        for (orcpt, ascii, international) in [
            ("rfc822;bob+2Btag@example.org", Some("rfc822; bob+tag@example.org"), Some("rfc822; bob+tag@example.org")),
            ("rfc822;a+0D+0ABcc:+20b", Some("rfc822; a??Bcc: b"), Some("rfc822; a??Bcc: b")),
            (
                r"utf-8;j\x{FC}rgen@example.org",
                Some(r"utf-8; j\x{FC}rgen@example.org"),
                Some("utf-8; jürgen@example.org"),
            ),
            ("utf-8;jürgen@example.org", Some(r"utf-8; j\x{FC}rgen@example.org"), Some("utf-8; jürgen@example.org")),
            (r"utf-8;a\x{0A}b", Some(r"utf-8; a?b"), Some("utf-8; a?b")),
            ("a@example.org", None, None),
            (";a@example.org", None, None),
            ("r f;a@example.org", None, None),
            ("rfc822;", None, None),
        ] {
            assert_eq!(original_recipient(orcpt, false).as_deref(), ascii, "{orcpt}");
            assert_eq!(original_recipient(orcpt, true).as_deref(), international, "{orcpt}");
        }
    }
}
