//! Why a recipient was refused, in one word: PowerMTA's categories of bounces.

mod patterns;

use sluice_mail::{EnhancedCode, Reply, Stage};

/// PowerMTA's categories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BounceClass {
    /// The mailbox does not exist.
    BadMailbox,
    /// The domain does not exist or takes no mail.
    BadDomain,
    /// The mailbox is closed, disabled or on hold.
    InactiveMailbox,
    /// The mailbox or the server is full.
    QuotaIssues,
    /// The server does not answer.
    NoAnswerFromHost,
    /// The server takes no mail for this domain, or not from us.
    RelayingIssues,
    /// No way there: DNS trouble, loops, prohibited addresses.
    RoutingErrors,
    /// The connection broke, or TLS failed.
    BadConnection,
    /// The message itself: its size, its form.
    ContentRelated,
    /// The sender address or its domain.
    InvalidSender,
    /// Given up because its time was over.
    MessageExpired,
    /// A rule of the receiver: authentication, rates, black lists without a word of spam.
    PolicyRelated,
    /// Syntax, sequence, extensions.
    ProtocolErrors,
    /// Unwanted mail, block lists, reputation.
    SpamRelated,
    /// A virus.
    VirusRelated,
    /// None of these.
    Other,
}

impl BounceClass {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::BadMailbox,
        Self::BadDomain,
        Self::InactiveMailbox,
        Self::QuotaIssues,
        Self::NoAnswerFromHost,
        Self::RelayingIssues,
        Self::RoutingErrors,
        Self::BadConnection,
        Self::ContentRelated,
        Self::InvalidSender,
        Self::MessageExpired,
        Self::PolicyRelated,
        Self::ProtocolErrors,
        Self::SpamRelated,
        Self::VirusRelated,
        Self::Other,
    ];

    /// PowerMTA's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadMailbox => "bad-mailbox",
            Self::BadDomain => "bad-domain",
            Self::InactiveMailbox => "inactive-mailbox",
            Self::QuotaIssues => "quota-issues",
            Self::NoAnswerFromHost => "no-answer-from-host",
            Self::RelayingIssues => "relaying-issues",
            Self::RoutingErrors => "routing-errors",
            Self::BadConnection => "bad-connection",
            Self::ContentRelated => "content-related",
            Self::InvalidSender => "invalid-sender",
            Self::MessageExpired => "message-expired",
            Self::PolicyRelated => "policy-related",
            Self::ProtocolErrors => "protocol-errors",
            Self::SpamRelated => "spam-related",
            Self::VirusRelated => "virus-related",
            Self::Other => "other",
        }
    }
}

/// Octets of a reply's text that are looked at.
const TEXT_MAX: usize = 4_096;

/// The class of a refusal: by its enhanced status where that is telling, else by the words of the reply, else by
/// what the status or the stage suggests. `status` is the one decided on; without it the reply's own counts.
///
/// Receivers give statuses that their own words belie (5.1.1 for a rate limit, 5.1.3 for a block list), so words that
/// can hardly mean anything else go first.
#[must_use]
pub fn classify(reply: &Reply, status: Option<EnhancedCode>, stage: Option<Stage>) -> BounceClass {
    let status = status.or(reply.enhanced);
    if let Some(EnhancedCode(_, 4, 7)) = status {
        return BounceClass::MessageExpired;
    }
    let text: String = reply.text.chars().take(TEXT_MAX).map(|c| if c.is_whitespace() { ' ' } else { c }).collect();
    let text = text.to_ascii_lowercase();
    patterns::unmistakable(&text)
        .or_else(|| status.and_then(telling))
        .or_else(|| patterns::likely(&text))
        .or_else(|| status.and_then(suggested))
        .or_else(|| stage.and_then(by_stage))
        .unwrap_or_else(|| by_code(reply.code))
}

/// Statuses of RFC 3463 and its registry that mean one thing.
fn telling(status: EnhancedCode) -> Option<BounceClass> {
    match (status.1, status.2) {
        (1, 1 | 6) => Some(BounceClass::BadMailbox),
        (1, 2 | 10) => Some(BounceClass::BadDomain),
        (1, 7 | 8) => Some(BounceClass::InvalidSender),
        (2, 1) => Some(BounceClass::InactiveMailbox),
        (2, 2) | (3, 1) => Some(BounceClass::QuotaIssues),
        (2, 3) | (3, 4) | (6, 1..=6) => Some(BounceClass::ContentRelated),
        (4, 1) => Some(BounceClass::NoAnswerFromHost),
        (4, 2) => Some(BounceClass::BadConnection),
        (4, 6) => Some(BounceClass::RoutingErrors),
        (5, 1..=6) | (6, 7..=10) => Some(BounceClass::ProtocolErrors),
        (7, 20..=29) => Some(BounceClass::PolicyRelated),
        (_, _) => None,
    }
}

/// What other statuses suggest when the words say nothing.
fn suggested(status: EnhancedCode) -> Option<BounceClass> {
    match (status.1, status.2) {
        (1, 3..=5) => Some(BounceClass::BadMailbox),
        (2, 4) => Some(BounceClass::BadMailbox),
        (3, 3) => Some(BounceClass::ProtocolErrors),
        (3, 5) | (4, 3 | 4) => Some(BounceClass::RoutingErrors),
        (4, 5) => Some(BounceClass::QuotaIssues),
        (4, _) => Some(BounceClass::BadConnection),
        (5, _) => Some(BounceClass::ProtocolErrors),
        (6, _) => Some(BounceClass::ContentRelated),
        (7, _) => Some(BounceClass::PolicyRelated),
        (_, _) => None,
    }
}

fn by_stage(stage: Stage) -> Option<BounceClass> {
    match stage {
        Stage::Resolve => Some(BounceClass::RoutingErrors),
        Stage::Connect => Some(BounceClass::NoAnswerFromHost),
        Stage::Greeting | Stage::Ehlo | Stage::Auth => Some(BounceClass::PolicyRelated),
        Stage::StartTls | Stage::Body => Some(BounceClass::BadConnection),
        Stage::Mail => Some(BounceClass::InvalidSender),
        Stage::Rcpt | Stage::Data | Stage::Dot | Stage::Rset => None,
    }
}

/// RFC 5321 4.2.3's meanings, where they are narrow.
fn by_code(code: u16) -> BounceClass {
    match code {
        500..=504 => BounceClass::ProtocolErrors,
        552 | 452 => BounceClass::QuotaIssues,
        551 | 553 => BounceClass::BadMailbox,
        _ => BounceClass::Other,
    }
}

#[cfg(test)]
mod tests;
