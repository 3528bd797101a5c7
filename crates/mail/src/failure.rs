//! What went wrong in an attempt, as data; what follows from it is `sluice_queue::judge`'s to say.

use std::fmt;

use crate::{EnhancedCode, Reply};

/// Where in an attempt it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Finding the hosts.
    Resolve,
    /// Opening the connection.
    Connect,
    /// The peer's greeting.
    Greeting,
    /// EHLO or HELO.
    Ehlo,
    /// STARTTLS and the handshake.
    StartTls,
    /// AUTH towards a smart host.
    Auth,
    /// MAIL FROM.
    Mail,
    /// RCPT TO.
    Rcpt,
    /// DATA up to 354.
    Data,
    /// The content, before its final dot was sent.
    Body,
    /// After the final dot was sent: the peer may have taken the message.
    Dot,
    /// RSET between two transactions.
    Rset,
}

impl Stage {
    /// All of them, in the order of a session.
    pub const ALL: [Self; 12] = [
        Self::Resolve,
        Self::Connect,
        Self::Greeting,
        Self::Ehlo,
        Self::StartTls,
        Self::Auth,
        Self::Mail,
        Self::Rcpt,
        Self::Data,
        Self::Body,
        Self::Dot,
        Self::Rset,
    ];

    /// Reads the words of [`Self::as_str`].
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == word)
    }

    /// The word in logs, metrics and records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Greeting => "greeting",
            Self::Ehlo => "ehlo",
            Self::StartTls => "starttls",
            Self::Auth => "auth",
            Self::Mail => "mail",
            Self::Rcpt => "rcpt",
            Self::Data => "data",
            Self::Body => "body",
            Self::Dot => "dot",
            Self::Rset => "rset",
        }
    }
}

/// Whom a failure speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The site or host: every message to it is concerned.
    Site,
    /// The sender address, account or source.
    Sender,
    /// This message.
    Message,
    /// This recipient.
    Recipient,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The peer said so.
    Reply(Reply),
    /// No reply, or no progress, in time.
    Timeout,
    /// The peer closed or reset the connection.
    Closed,
    /// The connection could not be opened or was broken by the system: its words.
    Io(String),
    /// TLS could not be agreed: its words.
    Tls(String),
    /// The peer does not speak SMTP: what it said, shortened.
    Protocol(String),
    /// The name cannot exist or takes no mail (NXDOMAIN, null MX): status and words.
    NoSuchHost(EnhancedCode, String),
    /// The name could not be resolved now (SERVFAIL, time-out).
    Dns(String),
    /// The peer lacks an extension that the message needs (SMTPUTF8, SIZE, 8BITMIME): status and words.
    Unsupported(EnhancedCode, String),
    /// Every address is one that must not be connected to: status and words.
    Prohibited(EnhancedCode, String),
}

/// A failed step of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Where.
    pub stage: Stage,
    /// What.
    pub cause: Cause,
}

impl Failure {
    /// A failure of `cause` at `stage`.
    #[must_use]
    pub fn new(stage: Stage, cause: Cause) -> Self {
        Self { stage, cause }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = self.stage.as_str();
        match &self.cause {
            Cause::Reply(reply) => write!(f, "{reply} (at {stage})"),
            Cause::Timeout => write!(f, "no answer in time (at {stage})"),
            Cause::Closed => write!(f, "the peer closed the connection (at {stage})"),
            Cause::Io(words) | Cause::Dns(words) => write!(f, "{words} (at {stage})"),
            Cause::Tls(words) => write!(f, "TLS: {words} (at {stage})"),
            Cause::Protocol(words) => write!(f, "not SMTP: {words} (at {stage})"),
            Cause::NoSuchHost(code, words) | Cause::Unsupported(code, words) | Cause::Prohibited(code, words) => {
                write!(f, "{code} {words} (at {stage})")
            }
        }
    }
}

/// What follows for a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Taken by the peer.
    Delivered,
    /// To be tried again.
    Deferred {
        /// Whom it speaks of.
        blame: Blame,
    },
    /// Given up: status by RFC 3463.
    Bounced {
        /// Status by RFC 3463, class 5.
        status: EnhancedCode,
        /// Whom it speaks of.
        blame: Blame,
    },
}
