//! What a session remembers.

use super::auth::AuthStep;
use super::{MailCommand, RcptCommand};

/// What the next octets are, or whose turn it is.
#[derive(Debug)]
pub(super) enum Phase {
    /// A command line.
    Command,
    /// The rest of a line that is too long already.
    Skip {
        /// It belongs to AUTH.
        auth: bool,
    },
    /// A line of an AUTH exchange.
    Auth(AuthStep),
    /// Content.
    Content,
    /// It is the host's turn.
    Asked(Question),
    /// Nothing: the session is over.
    Closed,
}

/// What the host was asked.
#[derive(Debug)]
pub(super) enum Question {
    Tls,
    Login,
    Mail(MailCommand),
    Recipient(RcptCommand),
    Message,
}

/// An accepted MAIL and what came after it.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) mail: MailCommand,
    pub(super) recipients: Vec<RcptCommand>,
    /// Whether any recipient was refused.
    pub(super) refused_recipient: bool,
}

/// What is bounded by count; all but the logins since the last accepted message.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) commands: u32,
    pub(super) bad: u32,
    pub(super) failed_logins: u32,
}
