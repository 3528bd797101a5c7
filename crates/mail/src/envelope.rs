//! One message for the recipients of one domain: the unit of queueing and of delivery.

use std::fmt;
use std::sync::Arc;

use crate::{Address, EnhancedCode, Host, QueueId, Reply, UnixMs};

/// Partition p of every mail topic; the embedded engine has only shard 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(pub u16);

/// A submission's priority class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Receipts, password resets: somebody waits for it.
    #[default]
    Transactional,
    /// Campaigns.
    Bulk,
}

impl Lane {
    /// `transactional` or `bulk`, the words of config, headers and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transactional => "transactional",
            Self::Bulk => "bulk",
        }
    }

    /// Reads the words of [`Self::as_str`] in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Transactional, Self::Bulk].into_iter().find(|lane| lane.as_str().eq_ignore_ascii_case(text))
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the next hop must be able to do for this body and envelope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BodyFlags {
    /// The body has octets above 127 (RFC 6152).
    pub eight_bit: bool,
    /// Addresses or headers hold UTF-8 (RFC 6531).
    pub smtputf8: bool,
    /// The client said REQUIRETLS (RFC 8689).
    pub require_tls: bool,
}

/// One recipient, with what became of it so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// Where to.
    pub address: Address,
    /// RFC 3461 ORCPT, undecoded, at most 500 octets.
    pub orcpt: Option<Arc<str>>,
    /// RFC 3461 NOTIFY, as it was given.
    pub notify: Option<Arc<str>>,
    /// Decided in an earlier attempt; `None`: still to be delivered.
    pub outcome: Option<Outcome>,
    /// The number of the attempt that decided it, counted from 1; one more than were made when it was given up without
    /// another; 0 while it is open.
    pub decided_in: u32,
    /// What went wrong the last time that something did; kept for the report to the sender.
    pub trouble: Option<Trouble>,
}

/// What came of a recipient when it was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The peer's reply, or our own words.
    pub reply: Reply,
    /// Whether it is the peer's.
    pub is_peers: bool,
    /// The host that was spoken to: its name, or its address in brackets.
    pub mta: Option<Arc<str>>,
    /// When.
    pub at: UnixMs,
}

impl Recipient {
    /// A recipient without DSN parameters and still to be delivered.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self { address, orcpt: None, notify: None, outcome: None, decided_in: 0, trouble: None }
    }
}

/// How a recipient ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A server took responsibility for it.
    Delivered {
        /// Its reply.
        reply: Reply,
    },
    /// Refused for good, or given up.
    Bounced {
        /// Status by RFC 3463.
        status: EnhancedCode,
        /// The peer's reply, or our own words.
        reply: Reply,
    },
}

/// One message for the recipients of one domain, 100 at most. The body is held beside it, never in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Its name.
    pub queue_id: QueueId,
    /// Records of this envelope before this one.
    pub generation: u32,
    /// Who sent it.
    pub account: Arc<str>,
    /// The sender's name for a group of messages (`X-Sluice-Campaign`, `X-Job`).
    pub campaign: Option<Arc<str>>,
    /// The sender's own mark (`X-Sluice-Tag`).
    pub tag: Option<Arc<str>>,
    /// Priority class.
    pub lane: Lane,
    /// Reverse-path; `None` is the null sender `<>`.
    pub mail_from: Option<Address>,
    /// Forward-paths, all of `domain`; not empty.
    pub recipients: Vec<Recipient>,
    /// RFC 3461 RET (`FULL` or `HDRS`).
    pub ret: Option<Arc<str>>,
    /// RFC 3461 ENVID or `X-Envid`, undecoded.
    pub envid: Option<Arc<str>>,
    /// The domain or literal of all its recipients.
    pub domain: Host,
    /// Set of sources to send from.
    pub pool: Option<Arc<str>>,
    /// When 250 was given.
    pub accepted: UnixMs,
    /// When it is given up; after the last attempt that begins before this.
    pub expires: UnixMs,
    /// Not to be tried before.
    pub not_before: UnixMs,
    /// What the next hop must be able to do.
    pub flags: BodyFlags,
    /// Length of the body in octets, without dot-stuffing.
    pub size: u32,
    /// CRC-32C of the body.
    pub body_crc: u32,
    /// Attempts made.
    pub attempts: u32,
    /// What the last attempt came to, in one line for people.
    pub last_reply: Option<Arc<str>>,
    /// Warnings of delay that the sender was sent so far (`notify_of_delay_every`).
    pub delay_notices: u32,
    /// The envelope that this one is a report (DSN) on; `None`: it is no report of ours.
    pub report_on: Option<QueueId>,
}

impl Envelope {
    /// The recipients that are still to be delivered, with their places in [`Self::recipients`].
    pub fn open_recipients(&self) -> impl Iterator<Item = (usize, &Recipient)> {
        self.recipients.iter().enumerate().filter(|(_, r)| r.outcome.is_none())
    }
}
