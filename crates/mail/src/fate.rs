//! The durable words on an envelope: the attempt that did not end it, the fate that did.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::{Address, Envelope, Host, Lane, Outcome, QueueId, Reply, Stage, UnixMs};

/// How an envelope ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FateKind {
    /// Every recipient was delivered.
    Delivered,
    /// At least one recipient bounced, none waits.
    Bounced,
    /// Given up because its time was over.
    Expired,
    /// Taken out by an operator.
    Cancelled,
}

impl FateKind {
    /// The word in logs, metrics and events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Bounced => "bounced",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One recipient and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipientResult {
    /// Whom.
    pub address: Address,
    /// RFC 3461 ORCPT, undecoded.
    pub orcpt: Option<Arc<str>>,
    /// How.
    pub outcome: Outcome,
    /// As [`Recipient::decided_in`](crate::Recipient::decided_in).
    pub decided_in: u32,
}

/// Where and how the last attempt was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttemptInfo {
    /// The site that limits and feedback were counted on.
    pub site: Option<Arc<str>>,
    /// The MX host's name.
    pub mx: Option<Arc<str>>,
    /// The peer's address.
    pub peer: Option<SocketAddr>,
    /// Our source address.
    pub source: Option<Arc<str>>,
    /// TLS version and cipher suite, when there was TLS.
    pub tls: Option<Arc<str>>,
    /// From the first command of the transaction to the final reply.
    pub duration: Duration,
}

impl AttemptInfo {
    /// The host as it is shown, as far as it is known: `mx.example.org [192.0.2.1]:25`, or `192.0.2.1:25` when it has
    /// no name.
    #[must_use]
    pub fn host(&self) -> Option<String> {
        match (&self.mx, self.peer) {
            (Some(mx), Some(peer)) if **mx != peer.ip().to_string() => {
                Some(format!("{mx} [{}]:{}", peer.ip(), peer.port()))
            }
            (Some(_) | None, Some(peer)) => Some(peer.to_string()),
            (Some(mx), None) => Some(mx.to_string()),
            (None, None) => None,
        }
    }
}

/// What a record about an envelope repeats of it, so that it can be read alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Which envelope.
    pub queue_id: QueueId,
    /// Who sent it.
    pub account: Arc<str>,
    /// The sender's name for a group of messages.
    pub campaign: Option<Arc<str>>,
    /// The sender's own mark.
    pub tag: Option<Arc<str>>,
    /// Priority class.
    pub lane: Lane,
    /// Reverse-path; `None` is the null sender `<>`.
    pub mail_from: Option<Address>,
    /// RFC 3461 ENVID or `X-Envid`, undecoded.
    pub envid: Option<Arc<str>>,
    /// Recipient domain.
    pub domain: Host,
    /// Set of sources it was to be sent from.
    pub pool: Option<Arc<str>>,
    /// Length of the body in octets.
    pub size: u32,
    /// When the message was accepted.
    pub accepted: UnixMs,
    /// The envelope that this one is a report (DSN) on.
    pub report_on: Option<QueueId>,
}

impl About {
    /// Of this envelope.
    #[must_use]
    pub fn envelope(envelope: &Envelope) -> Self {
        Self {
            queue_id: envelope.queue_id,
            account: envelope.account.clone(),
            campaign: envelope.campaign.clone(),
            tag: envelope.tag.clone(),
            lane: envelope.lane,
            mail_from: envelope.mail_from.clone(),
            envid: envelope.envid.clone(),
            domain: envelope.domain.clone(),
            pool: envelope.pool.clone(),
            size: envelope.size,
            accepted: envelope.accepted,
            report_on: envelope.report_on,
        }
    }
}

/// The record that ends an envelope: what became of each recipient and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// The envelope.
    pub about: About,
    /// How it ended.
    pub kind: FateKind,
    /// Each recipient.
    pub results: Vec<RecipientResult>,
    /// Attempts made, this one included.
    pub attempts: u32,
    /// When it ended.
    pub at: UnixMs,
    /// The last attempt.
    pub attempt: AttemptInfo,
    /// The report (DSN) to its sender that was made with this record.
    pub report: Option<QueueId>,
}

impl Fate {
    /// The recipients that this record is the first to tell of: those that were decided last. The others were told of
    /// by the [`Attempt`] that decided them.
    pub fn news(&self) -> impl Iterator<Item = &RecipientResult> {
        let last = self.results.iter().map(|result| result.decided_in).max().unwrap_or_default();
        self.results.iter().filter(move |result| result.decided_in == last)
    }
}

/// The record of an attempt after which the envelope waits again. Decides nothing; it is for events and accounting.
/// Its name is the envelope's queue id with `number`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The envelope.
    pub about: About,
    /// Which attempt of the envelope, counted from 1.
    pub number: u32,
    /// Those recipients that were open before it.
    pub results: Vec<AttemptResult>,
    /// When it ended.
    pub at: UnixMs,
    /// When the next is due.
    pub retry_at: UnixMs,
    /// Where and how.
    pub attempt: AttemptInfo,
    /// The report (DSN) to its sender that was made with this record.
    pub report: Option<QueueId>,
}

/// One recipient in an attempt after which the envelope waits again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptResult {
    /// Whom.
    pub address: Address,
    /// RFC 3461 ORCPT, undecoded.
    pub orcpt: Option<Arc<str>>,
    /// What came of it.
    pub tried: Tried,
}

/// What came of a recipient in one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// It ended.
    Decided(Outcome),
    /// It waits.
    Deferred {
        /// The peer's reply, or our own words.
        reply: Reply,
        /// Where it happened.
        stage: Stage,
        /// Whether it speaks of the whole site, not of this recipient or message.
        of_site: bool,
    },
}

/// What the log of events tells, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An envelope ended.
    Fate(Box<Fate>),
    /// An attempt ended, and the envelope waits again.
    Attempt(Box<Attempt>),
}

impl Event {
    /// The envelope.
    #[must_use]
    pub fn about(&self) -> &About {
        match self {
            Self::Fate(fate) => &fate.about,
            Self::Attempt(attempt) => &attempt.about,
        }
    }
}
