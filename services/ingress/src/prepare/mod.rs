//! From what a client submitted to what is kept: the rules for headers and recipients. Pure.
//!
//! The body stays as it came, octet by octet: fields that are not for the recipient are taken out, a Received
//! field and what is missing of Date and Message-ID are put before everything else, and nothing is refolded.

mod control;
mod envelopes;
mod originator;
mod prepared;
mod refusal;
mod signing;
mod trace;

use std::net::IpAddr;

use bytes::Bytes;
use sluice_mail::header::{Field, Headers};
use sluice_mail::{BodyFlags, EnhancedCode, QueueId, UnixMs};
use sluice_sign::{KeyRing, MAX_FIELD};
use sluice_smtp::content::Content;
use sluice_smtp::server::Submission;

pub(crate) use prepared::Prepared;
pub(crate) use refusal::{Reason, Refusal};
pub(crate) use signing::{Signing, Unsigned};

use refusal::shown;

use crate::Lifetimes;
use crate::sender::Sender;

/// Octets of a header section at most, which bounds what reading it costs; receivers take far less. The documentation
/// of `max_message_size` tells it, too.
const MAX_HEADER: usize = 1 << 20;

/// Received fields that a message may have; more means that it goes in circles.
const MAX_RECEIVED: usize = 50;

/// Fields that RFC 5322 3.6 allows once. Receivers refuse or misread messages that have them twice.
const ONCE: [&str; 8] = ["From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID"];

/// What is known about a message besides what the client sent.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    /// Our name.
    pub(crate) hostname: &'a str,
    /// Who sends it.
    pub(crate) sender: &'a Sender,
    /// The client's address, when it is known.
    pub(crate) client: Option<IpAddr>,
    /// The message's id.
    pub(crate) queue_id: QueueId,
    /// Now.
    pub(crate) at: UnixMs,
    /// How long delivery may be tried at most.
    pub(crate) lifetimes: &'a Lifetimes,
    /// The keys there are for signing.
    pub(crate) keys: &'a KeyRing,
}

/// The message but for its signatures, or why it is not taken.
pub(crate) fn prepare(submission: Submission, facts: &Facts<'_>) -> Result<Prepared, Refusal> {
    let Submission { mail, recipients, content, hello, protocol } = submission;
    check_lines(&content, facts)?;
    check_header_len(content.header_len)?;
    let headers = Headers::scan(&content.body[..content.header_len]);
    check_fields(&headers)?;
    let from = originator::check(&headers, facts.sender)?;
    let signing = signing::choose(&headers, &from, facts)?;
    let wishes = control::read(&headers)?.resolve(facts)?;
    let stamp = trace::Stamp { hello: &hello, protocol, smtputf8: mail.smtputf8, facts };
    let room = signing.keys.len() * MAX_FIELD;
    let message = assemble(&content.body, &headers, &stamp, room);
    let addresses_ascii = mail.reverse_path.iter().chain(recipients.iter().map(|r| &r.address)).all(|a| a.is_ascii());
    let flags = BodyFlags {
        // By the octets and not by the client's word. A header with 8 bits but without SMTPUTF8 passes as it is:
        // much software sends such subjects, receivers take them, and to demand SMTPUTF8 of the next host for them
        // would turn mail that arrives today into bounces.
        eight_bit: content.header_8bit || content.body_8bit,
        smtputf8: mail.smtputf8 && (content.header_8bit || !addresses_ascii),
        require_tls: mail.require_tls,
    };
    Ok(Prepared { mail, recipients, wishes, flags, message, start: room, at: facts.at, signing })
}

fn check_lines(content: &Content, facts: &Facts<'_>) -> Result<(), Refusal> {
    match content.long_line {
        Some(line) if !facts.sender.account.rules.allow_long_lines => Err(Refusal::content(
            Reason::LongLine,
            format!("line {line} has more than 998 octets; encode the text as quoted-printable or base64"),
        )),
        Some(_) | None => Ok(()),
    }
}

fn check_header_len(octets: usize) -> Result<(), Refusal> {
    if octets > MAX_HEADER {
        let words = format!("the header section has {octets} octets; there may be {MAX_HEADER}");
        return Err(Refusal::content(Reason::Header, words));
    }
    Ok(())
}

fn check_fields(headers: &Headers<'_>) -> Result<(), Refusal> {
    if let Some(defect) = headers.defect() {
        return Err(Refusal::content(Reason::Header, defect.to_string()));
    }
    let mut seen = [false; ONCE.len()];
    let mut received = 0;
    for field in headers {
        if let Some(i) = ONCE.iter().position(|name| field.is(name)) {
            if seen[i] {
                let words = format!("a second {} field on line {}; there may be one", ONCE[i], field.line());
                return Err(Refusal::content(Reason::Header, words));
            }
            seen[i] = true;
        }
        received += usize::from(field.is("Received"));
    }
    if received >= MAX_RECEIVED {
        let words = format!("{received} Received fields: the message goes in circles");
        return Err(Refusal::new(Reason::Loop, 554, EnhancedCode(5, 4, 6), words));
    }
    Ok(())
}

/// Room for what is added before the message later, then the added fields, then what is kept of the message: one
/// allocation, one copy.
fn assemble(message: &Bytes, headers: &Headers<'_>, stamp: &trace::Stamp<'_>, room: usize) -> Vec<u8> {
    let kept = headers.without(|field| is_private(&field));
    let kept_len: usize = kept.iter().map(ExactSizeIterator::len).sum();
    let mut body = Vec::with_capacity(room + trace::ROOM + kept_len + message.len() - headers.len());
    body.resize(room, 0);
    stamp.write(headers, &mut body);
    for range in kept {
        body.extend_from_slice(&message[range]);
    }
    body.extend_from_slice(&message[headers.len()..]);
    body
}

/// Whether a field is not for the recipients' eyes.
fn is_private(field: &Field<'_>) -> bool {
    ["Bcc", "Resent-Bcc", "Return-Path"].iter().any(|name| field.is(name)) || control::is_control(field)
}

#[cfg(test)]
mod tests;
