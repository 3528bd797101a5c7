//! What a session is told before it begins.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How a session greets, whether it encrypts and logs in, how long it waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Our name in EHLO: a domain or an address literal.
    pub helo_name: Arc<str>,
    /// Whether STARTTLS is used.
    pub tls: TlsMode,
    /// Whether PIPELINING is used where it is offered.
    pub pipelining: bool,
    /// How we log in. `None`: not at all; else no mail is sent before it succeeded.
    pub login: Option<Arc<Login>>,
    /// Whether we log in without TLS too: for peers on this machine.
    pub login_in_clear: bool,
    /// Whether mail of 8 bits is refused to a peer without 8BITMIME (RFC 6152). Otherwise its octets go as they are,
    /// which nearly all such peers take.
    pub bounce_8bit: bool,
    /// Our own names: a peer that greets by one of them is ourselves, and mail to it would go round for ever. Empty
    /// where mail may be sent to ourselves.
    pub own_names: Arc<[Arc<str>]>,
    /// How long each answer may take.
    pub timeouts: Timeouts,
}

impl ClientConfig {
    /// Opportunistic TLS, pipelining, no log-in and the time-outs of RFC 5321.
    #[must_use]
    pub fn new(helo_name: impl Into<Arc<str>>) -> Self {
        Self {
            helo_name: helo_name.into(),
            tls: TlsMode::Opportunistic,
            pipelining: true,
            login: None,
            login_in_clear: false,
            bounce_8bit: false,
            own_names: Arc::default(),
            timeouts: Timeouts::default(),
        }
    }
}

/// Who we are to the peer.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The name, without NUL.
    pub username: String,
    /// The secret, without NUL. In no debug text.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("username", &self.username).finish_non_exhaustive()
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
    /// The connection is under TLS from its first octet (RFC 8314 3.3), so STARTTLS has no place.
    Implicit,
}

/// How long each answer may take, from when it became the next one due. The defaults are the least that
/// RFC 5321 4.5.3.2 asks for, where it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// The greeting after the connection is open: 5 minutes.
    pub greeting: Duration,
    /// EHLO, HELO and each step of AUTH: 5 minutes.
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
