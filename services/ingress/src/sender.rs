//! Who sends, and by which right.

use std::sync::Arc;

use sluice_mail::Lane;
use sluice_registry::{Account, Credential};

/// An account with the right to send in this session.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    /// As it stands now.
    pub(crate) account: Arc<Account>,
    /// What it logged in with; `None`: it comes from a trusted network.
    pub(crate) credential: Option<Arc<Credential>>,
}

impl Sender {
    /// The lane of a message that asks for none: the credential's, else the account's.
    #[must_use]
    pub(crate) fn default_lane(&self) -> Lane {
        let own = self.credential.as_ref().and_then(|credential| credential.lane);
        own.unwrap_or_else(|| self.account.default_lane())
    }

    /// The pool of a message that asks for none: the credential's, else the account's.
    #[must_use]
    pub(crate) fn default_pool(&self) -> Option<Arc<str>> {
        let own = self.credential.as_ref().and_then(|credential| credential.pool.clone());
        own.or_else(|| self.account.default_pool().cloned())
    }
}
