//! Why a message is not taken.

use sluice_mail::{EnhancedCode, Reply};

/// A kind of refusal: the label of metrics, so there are few.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    /// No right to send as this address.
    Sender,
    /// The account may not use this pool or lane.
    Right,
    /// A control header whose value cannot be read.
    Control,
    /// A header section that cannot be read, or a field too many or too few.
    Header,
    /// A line over 998 octets.
    LongLine,
    /// Goes in circles.
    Loop,
    /// More messages or recipients a minute than the account may send.
    Rate,
    /// The spool is full.
    Full,
    /// The spool cannot be written, or the process is ending.
    Spool,
    /// More octets in flight than the process may hold.
    Memory,
    /// The content itself: bare CR or LF, too large.
    Content,
    /// No account, or one that is gone.
    Account,
    /// No key to sign it by, though the account must sign.
    Unsigned,
    /// Signing failed.
    Signing,
}

impl Reason {
    /// The word in logs and metrics.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Right => "right",
            Self::Control => "control",
            Self::Header => "header",
            Self::LongLine => "long_line",
            Self::Loop => "loop",
            Self::Rate => "rate",
            Self::Full => "full",
            Self::Spool => "spool",
            Self::Memory => "memory",
            Self::Content => "content",
            Self::Account => "account",
            Self::Unsigned => "unsigned",
            Self::Signing => "signing",
        }
    }
}

/// A refusal: what the client is told, and its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Its kind.
    pub(crate) reason: Reason,
    /// What the client is told.
    pub(crate) reply: Reply,
}

impl Refusal {
    /// A refusal of `reason` with a reply of `code`, `enhanced` and `text`.
    #[must_use]
    pub(crate) fn new(reason: Reason, code: u16, enhanced: EnhancedCode, text: impl Into<String>) -> Self {
        Self { reason, reply: Reply::new(code, enhanced, text) }
    }

    /// `554 5.6.0`: the content is at fault.
    pub(super) fn content(reason: Reason, text: impl Into<String>) -> Self {
        Self::new(reason, 554, EnhancedCode(5, 6, 0), text)
    }

    /// `550 5.7.1`: the account may not.
    pub(super) fn right(text: impl Into<String>) -> Self {
        Self::new(Reason::Right, 550, EnhancedCode(5, 7, 1), text)
    }

    /// `553 5.7.1`: the account may not send as this address, which stands in `place`.
    #[must_use]
    pub(crate) fn sender(account: &str, address: &str, place: &str) -> Self {
        let words = format!("account {account} may not send as <{}> ({place})", shown(address));
        Self::new(Reason::Sender, 553, EnhancedCode(5, 7, 1), words)
    }
}

/// A client's text as it can stand in a reply: printable ASCII, 320 octets at most.
#[must_use]
pub(crate) fn shown(text: &str) -> String {
    const MAX: usize = 320;
    let mut out: String = text.chars().take(MAX).map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect();
    if text.chars().nth(MAX).is_some() {
        out.push_str("...");
    }
    out
}
