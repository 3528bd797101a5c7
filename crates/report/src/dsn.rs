//! The report as a message: its header, its parts, and a boundary that stands in none of them.

use bytes::Bytes;
use memchr::memmem;
use sluice_mail::BodyFlags;
use sluice_mail::header::date::format_rfc5322;

use crate::{Kind, Notice, Report, clean, original, status, text};

/// Writes the report.
#[must_use]
pub fn write(notice: &Notice<'_>) -> Report {
    let marks = original::marks(notice.original);
    let returned = original::returned(notice);
    let is_international = is_international(notice);
    let text = text::write(notice, &marks, returned.as_ref());
    let status = status::write(notice, is_international);
    let status_type = if is_international { "message/global-delivery-status" } else { "message/delivery-status" };

    let mut parts: Vec<(&str, &str, &[u8])> = vec![
        ("text/plain; charset=utf-8", "What happened, and what to do", text.as_bytes()),
        (status_type, "For programs", &status),
    ];
    if let Some(returned) = &returned {
        let description = if returned.is_whole { "Your message" } else { "Headers of your message" };
        parts.push((returned.content_type, description, &returned.content));
    }
    let boundary = boundary(notice, &parts);
    let size: usize = parts.iter().map(|(_, _, content)| content.len() + 300).sum();
    let mut out = Vec::with_capacity(size + 1024);
    let is_8bit = parts.iter().any(|(_, _, content)| !content.is_ascii());
    header(&mut out, notice, &marks, &boundary, is_8bit);
    for (content_type, description, content) in parts {
        out.extend_from_slice(format!("\r\n--{boundary}\r\n").as_bytes());
        clean::field(&mut out, "Content-Description", description);
        clean::field(&mut out, "Content-Type", content_type);
        clean::field(&mut out, "Content-Transfer-Encoding", encoding(content.is_ascii()));
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(content);
    }
    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    let flags = BodyFlags { eight_bit: !out.is_ascii(), smtputf8: is_international, require_tls: false };
    Report { body: Bytes::from(out), flags }
}

/// Whether the address that the report goes to needs SMTPUTF8. Only then may the report need it as well: else it
/// could not be delivered to somebody whose own address is plain.
fn is_international(notice: &Notice<'_>) -> bool {
    notice.envelope.mail_from.as_ref().is_some_and(|address| !address.is_ascii())
}

fn encoding(is_ascii: bool) -> &'static str {
    if is_ascii { "7bit" } else { "8bit" }
}

fn header(out: &mut Vec<u8>, notice: &Notice<'_>, marks: &original::Marks, boundary: &str, is_8bit: bool) {
    let hostname = hostname(notice);
    let subject = match notice.kind {
        Kind::Failed => "Undelivered Mail Returned to Sender",
        Kind::Delayed { .. } => "Delayed Mail (still being retried)",
    };
    let status_type = if is_international(notice) { "global-delivery-status" } else { "delivery-status" };
    // A report is not written to the null sender; were it asked for, this names nobody.
    let to = notice.envelope.mail_from.as_ref().map_or("undisclosed-recipients:;".to_owned(), |a| format!("<{a}>"));
    clean::field(out, "Date", &format_rfc5322(notice.at));
    clean::field(out, "From", &format!("Mail Delivery System <MAILER-DAEMON@{hostname}>"));
    clean::field(out, "To", &to);
    clean::field(out, "Subject", subject);
    clean::field(out, "Message-ID", &format!("<{}@{hostname}>", notice.id));
    if let Some(id) = &marks.message_id {
        clean::field(out, "In-Reply-To", id);
        clean::field(out, "References", id);
    }
    clean::field(out, "Auto-Submitted", "auto-replied");
    clean::field(out, "MIME-Version", "1.0");
    let content_type = format!("multipart/report; report-type={status_type}; boundary=\"{boundary}\"");
    clean::field(out, "Content-Type", &content_type);
    clean::field(out, "Content-Transfer-Encoding", encoding(!is_8bit));
    out.extend_from_slice(b"\r\nThis is a delivery report in MIME format.\r\n");
}

/// Our name as it may stand in any field.
pub(crate) fn hostname(notice: &Notice<'_>) -> String {
    notice.hostname.chars().filter(char::is_ascii_graphic).take(255).collect()
}

/// Made of the report's id. Another is made when it stands in a part, which ends as parts are finite.
fn boundary(notice: &Notice<'_>, parts: &[(&str, &str, &[u8])]) -> String {
    let mut nth = 0u64;
    loop {
        let boundary = format!("=_{}_{nth}", notice.id);
        let finder = memmem::Finder::new(&boundary);
        if !parts.iter().any(|(_, _, content)| finder.find(content).is_some()) {
            return boundary;
        }
        nth += 1;
    }
}
