//! The part for people.

use std::time::Duration;

use sluice_mail::header::date::format_rfc5322;
use sluice_mail::{EnhancedCode, Recipient, Reply};

use crate::advice::advice;
use crate::original::{Marks, Returned};
use crate::{BounceClass, Kind, Notice, Original, classify, clean, dsn, status};

/// Columns of the text.
const COLUMNS: usize = 74;
/// Characters after which a word is broken: 800 octets at most, so that no line exceeds RFC 5322's 998.
const WORD_MAX: usize = 200;
/// Most characters that are shown of a line of a reply, and most lines.
const REPLY_LINE_MAX: usize = 500;
const REPLY_LINES_MAX: usize = 12;
/// Most characters that are shown of a subject.
const SUBJECT_MAX: usize = 150;

/// The part. Recipients of whom the same is to be told stand together.
pub(crate) fn write(notice: &Notice<'_>, marks: &Marks, returned: Option<&Returned>) -> String {
    let mut out = String::with_capacity(2048);
    opening(&mut out, notice, marks);
    let mut stories: Vec<(String, Vec<String>)> = Vec::new();
    for recipient in notice.recipients.iter().filter_map(|place| notice.envelope.recipients.get(*place)) {
        let story = story(notice, recipient);
        let address = clean::word(recipient.address.as_str());
        match stories.iter_mut().find(|(known, _)| *known == story) {
            Some((_, addresses)) => addresses.push(address),
            None => stories.push((story, vec![address])),
        }
    }
    for (story, addresses) in stories {
        out.push_str("\r\n");
        for address in addresses {
            paragraph(&mut out, "  ", &format!("<{address}>"));
        }
        out.push_str("\r\n");
        out.push_str(&story);
    }
    closing(&mut out, notice, returned);
    out
}

fn opening(out: &mut String, notice: &Notice<'_>, marks: &Marks) {
    let accepted = format_rfc5322(notice.envelope.accepted);
    let whom = if notice.recipients.len() == 1 { "the recipient below" } else { "the recipients below" };
    let what = match notice.kind {
        Kind::Failed => format!("Your message could not be delivered to {whom}, and will not be tried again."),
        Kind::Delayed { until } => format!(
            "Your message has not been delivered to {whom} yet. You need not do anything: it will be tried until {}. \
             Should it fail for good, you will be told.",
            format_rfc5322(until)
        ),
    };
    paragraph(out, "", &format!("This is the mail system at {}.", dsn::hostname(notice)));
    out.push_str("\r\n");
    paragraph(out, "", &what);
    out.push_str("\r\n");
    if let Some(subject) = &marks.subject {
        paragraph(out, "  ", &format!("Subject: {}", clean::line(subject, SUBJECT_MAX)));
    }
    paragraph(out, "  ", &format!("Sent:    {accepted}"));
}

/// What happened to a recipient and what to do.
fn story(notice: &Notice<'_>, recipient: &Recipient) -> String {
    let mut out = String::new();
    let told = status::told(recipient);
    let code = status::status(notice.kind, recipient);
    let is_expired = matches!(notice.kind, Kind::Failed) && matches!(code, EnhancedCode(_, 4, 7));
    if is_expired {
        let waited = span(notice.at.since(notice.envelope.accepted));
        paragraph(&mut out, "    ", &format!("It was tried for {waited} without success. What stood in the way last:"));
    }
    let spoken_to = recipient.trouble.as_ref().and_then(|trouble| trouble.mta.as_deref());
    match (told.mta, told.is_peers, spoken_to) {
        (Some(mta), ..) => {
            paragraph(&mut out, "    ", &format!("The mail server {} answered:", clean::line(mta, REPLY_LINE_MAX)));
        }
        (None, true, _) => paragraph(&mut out, "    ", "The recipient's mail server answered:"),
        (None, false, Some(mta)) => {
            let mta = clean::line(mta, REPLY_LINE_MAX);
            paragraph(&mut out, "    ", &format!("It could not be handed to the mail server {mta}:"));
        }
        (None, false, None) if is_expired => {}
        (None, false, None) => paragraph(&mut out, "    ", "It could not be handed to the recipient's mail server:"),
    }
    out.push_str("\r\n");
    if let Some(reply) = told.reply {
        quote(&mut out, reply, told.is_peers);
    }
    match notice.kind {
        Kind::Delayed { .. } => {}
        Kind::Failed => {
            let class = match (is_expired, told.reply) {
                (true, _) => BounceClass::MessageExpired,
                (false, Some(reply)) => classify(reply, Some(code), None),
                (false, None) => BounceClass::Other,
            };
            out.push_str("\r\n");
            paragraph(&mut out, "    ", &format!("What to do: {}", advice(class)));
        }
    }
    out
}

/// The reply line by line, indented.
fn quote(out: &mut String, reply: &Reply, is_peers: bool) {
    let code = match (is_peers, reply.enhanced) {
        (true, Some(enhanced)) => format!("{} {enhanced} ", reply.code),
        (true, None) => format!("{} ", reply.code),
        (false, Some(enhanced)) => format!("{enhanced} "),
        (false, None) => String::new(),
    };
    let lines: Vec<_> = reply.text.split(['\n', '\r']).map(|line| clean::line(line, REPLY_LINE_MAX)).collect();
    let mut shown = lines.iter().filter(|line| !line.is_empty());
    for (nth, line) in shown.by_ref().take(REPLY_LINES_MAX).enumerate() {
        paragraph(out, "        ", &if nth == 0 { format!("{code}{line}") } else { line.clone() });
    }
    if shown.next().is_some() {
        paragraph(out, "        ", "[...]");
    }
    if lines.iter().all(String::is_empty) {
        paragraph(out, "        ", &code);
    }
}

fn closing(out: &mut String, notice: &Notice<'_>, returned: Option<&Returned>) {
    out.push_str("\r\n");
    let enclosed = match (notice.original, returned) {
        (Original::Missing(why), _) => format!("Your message is not enclosed: {}.", clean::line(why, REPLY_LINE_MAX)),
        (_, None) => "Your message is not enclosed.".to_owned(),
        (Original::Whole(_), Some(returned)) if !returned.is_whole => {
            "Only the headers of your message are enclosed, as it cannot be enclosed unchanged.".to_owned()
        }
        (_, Some(returned)) if returned.is_whole => "Your message is enclosed.".to_owned(),
        (_, Some(_)) => "The headers of your message are enclosed.".to_owned(),
    };
    paragraph(out, "", &enclosed);
    let id = notice.envelope.queue_id;
    paragraph(out, "", &format!("When you ask your administrator about it, give this number: {id}"));
}

/// `4 days`, `3 hours`, `20 minutes`: the largest unit of which there are two, else the next smaller.
fn span(waited: Duration) -> String {
    let minutes = waited.as_secs() / 60;
    match minutes {
        0 => "less than a minute".to_owned(),
        1 => "a minute".to_owned(),
        2..=119 => format!("{minutes} minutes"),
        120..=2_879 => format!("{} hours", minutes / 60),
        2_880.. => format!("{} days", minutes / 1_440),
    }
}

/// Appends `words`, each line after `indent`, broken at blanks to [`COLUMNS`], and words of over [`WORD_MAX`].
fn paragraph(out: &mut String, indent: &str, words: &str) {
    let mut column = 0;
    for mut word in words.split(' ') {
        loop {
            let (piece, rest) = word.char_indices().nth(WORD_MAX).map_or((word, ""), |(at, _)| word.split_at(at));
            let width = piece.chars().count();
            if column > 0 && column + 1 + width > COLUMNS {
                out.push_str("\r\n");
                column = 0;
            }
            if column == 0 {
                out.push_str(indent);
                column = indent.len();
            } else {
                out.push(' ');
                column += 1;
            }
            out.push_str(piece);
            column += width;
            if rest.is_empty() {
                break;
            }
            word = rest;
        }
    }
    out.push_str("\r\n");
}
