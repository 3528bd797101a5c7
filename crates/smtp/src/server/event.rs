//! What a session asks its host, and the host's answers.

use std::sync::Arc;

use sluice_mail::{Address, Reply};

use super::Secret;
use crate::content::Content;

/// What the host has to do. Until a question is answered the session consumes no more commands.
#[derive(Debug)]
pub enum Event {
    /// Write all output, make the TLS handshake, then call [`super::Session::handle_tls`]; close when it fails.
    StartTls,
    /// Verify this login, then call [`super::Session::handle_auth`].
    Authenticate(Login),
    /// May this sender begin a message? Answer with [`super::Session::handle_answer`].
    Mail(MailCommand),
    /// Is this recipient taken? Answer with [`super::Session::handle_answer`].
    Recipient(RcptCommand),
    /// A whole message: keep it durably, then answer with [`super::Session::handle_answer`].
    Message(Box<Submission>),
    /// The content was refused with this reply, by the session or by [`super::Session::refuse_content`].
    /// For the log only: no answer is awaited.
    ContentRefused(Reply),
    /// Write all output, then close the connection. Nothing follows.
    Close(CloseReason),
}

/// A client's claim to be somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// How it was sent.
    pub mechanism: Mechanism,
    /// The name, 1 to 255 octets without control characters.
    pub login: String,
    /// The password, perhaps empty.
    pub password: Secret,
}

/// A SASL mechanism that is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// The older exchange of name and password in two lines.
    Login,
}

impl Mechanism {
    /// Its name in EHLO, logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }
}

/// MAIL FROM with its parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailCommand {
    /// The sender; `None` is `<>`.
    pub reverse_path: Option<Address>,
    /// RFC 1870 SIZE as the client announced it; not over the limit.
    pub size: Option<u64>,
    /// `BODY=8BITMIME`.
    pub body_8bit: bool,
    /// RFC 6531 SMTPUTF8.
    pub smtputf8: bool,
    /// RFC 8689 REQUIRETLS.
    pub require_tls: bool,
    /// RFC 3461 RET, `FULL` or `HDRS`.
    pub ret: Option<Arc<str>>,
    /// RFC 3461 ENVID, still xtext, at most 100 octets.
    pub envid: Option<Arc<str>>,
}

/// RCPT TO with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RcptCommand {
    /// Whom to.
    pub address: Address,
    /// RFC 3461 NOTIFY, upper case, valid.
    pub notify: Option<Arc<str>>,
    /// RFC 3461 ORCPT, still xtext, at most 500 octets.
    pub orcpt: Option<Arc<str>>,
}

/// A message with its envelope.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The accepted MAIL.
    pub mail: MailCommand,
    /// The accepted recipients in their order; not empty.
    pub recipients: Vec<RcptCommand>,
    /// The content.
    pub content: Content,
    /// What the client called itself in EHLO or HELO; letters and digits of any script, and punctuation that has
    /// no meaning in a Received field; never blanks, quotes or control characters.
    pub hello: Arc<str>,
    /// The word for `with` in Received: `SMTP`, `ESMTP`, `ESMTPA`, `ESMTPS`, `ESMTPSA` or with `UTF8` before
    /// (RFC 3848, RFC 6531 4.3).
    pub protocol: &'static str,
}

/// The host's answer to [`Event::Mail`], [`Event::Recipient`] and [`Event::Message`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Yes, in the session's own words.
    Accept,
    /// Yes when positive, otherwise no. `421` closes the session.
    Reply(Reply),
}

/// The host's answer to [`Event::Authenticate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthAnswer {
    /// It is they: `235 2.7.0`.
    Accepted,
    /// Unknown name, wrong password, disabled, all alike: `535 5.7.8`.
    Refused,
    /// Nobody can tell now: `454 4.7.0`.
    Unavailable,
    /// Refused in the host's words; a positive reply is sent as [`Self::Unavailable`]. `421` closes the session.
    Reply(Reply),
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The client said QUIT.
    Quit,
    /// The client was silent for too long.
    Timeout,
    /// Too many commands that were not understood or out of order.
    BadCommands,
    /// Too many commands without a message.
    Commands,
    /// Too many failed authentications.
    AuthFailures,
    /// The client speaks another protocol.
    NotSmtp,
    /// Refused content did not end.
    EndlessContent,
    /// The process is ending.
    Shutdown,
    /// The host said so, in its greeting or by `421`.
    Refused,
}

impl CloseReason {
    /// The word in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quit => "quit",
            Self::Timeout => "timeout",
            Self::BadCommands => "bad_commands",
            Self::Commands => "commands",
            Self::AuthFailures => "auth_failures",
            Self::NotSmtp => "not_smtp",
            Self::EndlessContent => "endless_content",
            Self::Shutdown => "shutdown",
            Self::Refused => "refused",
        }
    }
}
