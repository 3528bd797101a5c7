//! The durable word that ends an envelope.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::{Address, Host, Outcome, QueueId, UnixMs};

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
    /// How.
    pub outcome: Outcome,
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

/// The record that ends an envelope: what became of each recipient and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// Which envelope.
    pub queue_id: QueueId,
    /// How it ended.
    pub kind: FateKind,
    /// Each recipient.
    pub results: Vec<RecipientResult>,
    /// Who sent it.
    pub account: Arc<str>,
    /// The sender's name for a group of messages.
    pub campaign: Option<Arc<str>>,
    /// The sender's own mark.
    pub tag: Option<Arc<str>>,
    /// Recipient domain.
    pub domain: Host,
    /// Attempts made, this one included.
    pub attempts: u32,
    /// When the message was accepted.
    pub accepted: UnixMs,
    /// When it ended.
    pub at: UnixMs,
    /// The last attempt.
    pub attempt: AttemptInfo,
}
