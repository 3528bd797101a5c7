//! Which keys sign a message, and whether it may go without.

use std::sync::Arc;

use sluice_mail::header::Headers;
use sluice_mail::{Address, Domain, EnhancedCode};
use sluice_sign::Key;

use super::{Facts, Reason, Refusal};

/// The keys for one message.
pub(crate) struct Signing {
    /// In the order in which their signatures stand.
    pub(crate) keys: Vec<Arc<Key>>,
    /// Why there is none.
    pub(crate) unsigned: Option<Unsigned>,
}

/// Why a message is not signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsigned {
    /// No key fits its From domain.
    NoKey,
    /// It came with a signature, and the account leaves it at that.
    Signed,
}

impl Unsigned {
    /// The word in logs and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NoKey => "no_key",
            Self::Signed => "signed_already",
        }
    }
}

/// The keys for the first address of From: it is the one whose domain receivers ask for (RFC 7489 3.1 takes one).
pub(super) fn choose(headers: &Headers<'_>, from: &[Address], facts: &Facts<'_>) -> Result<Signing, Refusal> {
    let rules = &facts.sender.account.rules;
    if rules.leave_signed && is_signed(headers) {
        return Ok(Signing { keys: Vec::new(), unsigned: Some(Unsigned::Signed) });
    }
    let domain = from.first().and_then(|address| address.host().domain());
    let picked = domain.map(|domain| facts.keys.pick(&facts.sender.account.id, domain, facts.at)).unwrap_or_default();
    let keys: Vec<_> = picked.into_iter().cloned().collect();
    if !keys.is_empty() {
        return Ok(Signing { keys, unsigned: None });
    }
    if rules.require_dkim {
        return Err(no_key(domain, &facts.sender.account.id));
    }
    Ok(Signing { keys, unsigned: Some(Unsigned::NoKey) })
}

/// Whether the message came with a signature.
pub(super) fn is_signed(headers: &Headers<'_>) -> bool {
    headers.named("DKIM-Signature").next().is_some()
}

fn no_key(domain: Option<&Domain>, account: &str) -> Refusal {
    let of = domain.map_or("an address without a domain".to_owned(), |domain| format!("the From domain {domain}"));
    let words = format!("account {account} must sign its mail, and there is no DKIM key for {of}");
    Refusal::new(Reason::Unsigned, 550, EnhancedCode(5, 7, 20), words)
}
