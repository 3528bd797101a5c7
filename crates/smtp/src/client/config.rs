//! What a session is told before it begins.

use std::sync::Arc;
use std::time::Duration;

/// How a session greets, whether it encrypts, how long it waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Our name in EHLO: a domain or an address literal.
    pub helo_name: Arc<str>,
    /// Whether STARTTLS is used.
    pub tls: TlsMode,
    /// Whether PIPELINING is used where it is offered.
    pub pipelining: bool,
    /// How long each answer may take.
    pub timeouts: Timeouts,
}

impl ClientConfig {
    /// Opportunistic TLS, pipelining and the time-outs of RFC 5321.
    #[must_use]
    pub fn new(helo_name: impl Into<Arc<str>>) -> Self {
        Self {
            helo_name: helo_name.into(),
            tls: TlsMode::Opportunistic,
            pipelining: true,
            timeouts: Timeouts::default(),
        }
    }
}

/// Whether STARTTLS is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    Off,
    /// When it is offered and not refused. A handshake that fails ends the connection; whether to come again in
    /// the clear is the caller's to say.
    Opportunistic,
    /// Always: without it no mail is sent.
    Required,
}

/// How long each answer may take, from when it became the next one due. The defaults are the least that
/// RFC 5321 4.5.3.2 asks for, where it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// The greeting after the connection is open: 5 minutes.
    pub greeting: Duration,
    /// EHLO and HELO: 5 minutes.
    pub ehlo: Duration,
    /// STARTTLS, and then the handshake: 2 minutes each.
    pub start_tls: Duration,
    /// MAIL, and a RSET before it: 5 minutes.
    pub mail: Duration,
    /// RCPT: 5 minutes.
    pub rcpt: Duration,
    /// DATA: 2 minutes.
    pub data: Duration,
    /// Progress in sending the content: 3 minutes.
    pub block: Duration,
    /// The final dot: 10 minutes.
    pub dot: Duration,
    /// QUIT, on which nothing depends: 10 seconds.
    pub quit: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        Self {
            greeting: minutes(5),
            ehlo: minutes(5),
            start_tls: minutes(2),
            mail: minutes(5),
            rcpt: minutes(5),
            data: minutes(2),
            block: minutes(3),
            dot: minutes(10),
            quit: Duration::from_secs(10),
        }
    }
}
