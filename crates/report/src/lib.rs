//! Reports to senders: delivery status notifications (RFC 3464, RFC 6533), and the classes of bounces.
//!
//! Pure: from an envelope and what became of it to octets. Whether a report is owed is decided elsewhere; [`write()`]
//! writes one.

mod advice;
mod class;
mod clean;
mod dsn;
mod original;
mod status;
mod text;
mod utf8;

use bytes::Bytes;
use sluice_mail::{BodyFlags, Envelope, QueueId, UnixMs};

pub use class::{BounceClass, classify};
pub use dsn::write;
pub use original::{HEADERS_MAX, header_section};
pub use utf8::decode_xtext;

/// What is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The recipients failed for good.
    Failed,
    /// The recipients wait for another attempt.
    Delayed {
        /// Until when it is tried.
        until: UnixMs,
    },
}

/// What is given back of the original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Original<'a> {
    /// Its header section, as [`header_section`] gives it.
    Headers(&'a [u8]),
    /// The whole message. Its headers alone are given back when it cannot be put into another message as it is: a
    /// line of over 998 octets, a CR or LF alone, a NUL, or REQUIRETLS (RFC 8689 5).
    Whole(&'a [u8]),
    /// Nothing, and why: the end of a sentence, without its full stop.
    Missing(&'a str),
}

/// What a report is made of. The same notice is always written as the same octets.
#[derive(Clone, Debug)]
pub struct Notice<'a> {
    /// What is reported.
    pub kind: Kind,
    /// The report's own id; its Message-ID is made of it.
    pub id: QueueId,
    /// Our name, for `Reporting-MTA`, `From` and `Message-ID`.
    pub hostname: &'a str,
    /// The original, with its outcomes noted.
    pub envelope: &'a Envelope,
    /// Whom the report speaks of: places in the envelope's `recipients`. Others are ignored.
    pub recipients: &'a [usize],
    /// When the report is made.
    pub at: UnixMs,
    /// What is given back.
    pub original: Original<'a>,
}

/// A report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// A whole message by RFC 5322: CRLF lines of 998 octets at most, no NUL.
    pub body: Bytes,
    /// What it asks of the next hop: SMTPUTF8 only when the address that it goes to needs that. Never REQUIRETLS,
    /// for want of which a report must not be lost.
    pub flags: BodyFlags,
}

#[cfg(test)]
mod tests;
