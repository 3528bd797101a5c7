//! What a session is told before it begins.

use std::sync::Arc;
use std::time::Duration;

/// Everything a session needs to know of its listener; shared by all sessions of one kind.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// The name we greet with, also the domain of `<Postmaster>`.
    pub hostname: Arc<str>,
    /// The word behind `ESMTP` in the greeting.
    pub software: Arc<str>,
    /// Whether the connection can be, or already is, encrypted.
    pub tls: TlsState,
    /// When AUTH is offered and taken.
    pub auth: AuthPolicy,
    /// The client may send without AUTH, since it comes from a trusted network.
    pub authenticated: bool,
    /// Offer RFC 3461 DSN and take NOTIFY, ORCPT, RET and ENVID; otherwise they are refused as unknown parameters.
    pub dsn: bool,
    /// Offer RFC 8689 REQUIRETLS under TLS and take its parameter.
    pub require_tls: bool,
    /// The session's bounds.
    pub limits: Limits,
}

impl SessionConfig {
    /// A session of `hostname` without TLS and AUTH, open to nobody, with the default limits.
    #[must_use]
    pub fn new(hostname: impl Into<Arc<str>>) -> Self {
        Self {
            hostname: hostname.into(),
            software: "Sluice".into(),
            tls: TlsState::Unavailable,
            auth: AuthPolicy::UnderTls,
            authenticated: false,
            dsn: false,
            require_tls: false,
            limits: Limits::default(),
        }
    }
}

/// Encryption of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsState {
    /// There is none and will be none.
    Unavailable,
    /// STARTTLS is offered.
    Offered,
    /// The connection is encrypted from its first octet.
    Active,
}

/// When AUTH is offered and taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthPolicy {
    /// On encrypted connections only.
    UnderTls,
    /// Also in the clear: for clients on the same machine, when configured.
    Always,
    /// Never: the listener serves trusted networks only.
    Never,
}

/// The bounds of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets of content after dot-unstuffing, per message; announced with SIZE.
    pub max_message_size: u64,
    /// Accepted recipients per message; more get `452 4.5.3`.
    pub max_recipients: usize,
    /// Commands that were not understood or came out of order since the last accepted message, then `421`.
    pub max_bad_commands: u32,
    /// Commands, accepted recipients aside, since the last accepted message, then `421`. Of a client that may not
    /// send yet at most 100.
    pub max_commands: u32,
    /// Failed authentications per session, then `421`.
    pub max_auth_failures: u32,
    /// Octets of a command line with its line end; lines of AUTH may have 12,288 (RFC 4954 4).
    pub max_line: usize,
    /// From one reply to the end of the next command.
    pub command_timeout: Duration,
    /// Between two pieces of content.
    pub data_timeout: Duration,
    /// For the whole content of one message.
    pub content_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_size: 25 << 20,
            max_recipients: 1_000,
            max_bad_commands: 20,
            max_commands: 10_000,
            max_auth_failures: 5,
            max_line: 2_048,
            command_timeout: Duration::from_secs(300),
            data_timeout: Duration::from_secs(180),
            content_timeout: Duration::from_secs(3_600),
        }
    }
}
