//! The state of the control log at one offset, for looking up.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::dkim::{DkimName, LogKey, LogKeys};
use crate::{Account, Credential, Entry, Offset, RecordError, record};

/// All accounts and keys as of one offset. Never changes; a change of the log makes a new one that shares what stayed.
#[derive(Clone, Debug, Default)]
pub struct View {
    accounts: BTreeMap<Arc<str>, Arc<Account>>,
    logins: HashMap<Arc<str>, (Arc<Account>, Arc<Credential>)>,
    dkim: LogKeys,
    /// Grows with every change of `dkim`.
    dkim_version: u64,
    applied: Offset,
}

impl View {
    /// The account called `id`.
    #[must_use]
    pub fn account(&self, id: &str) -> Option<&Arc<Account>> {
        self.accounts.get(id)
    }

    /// The credential called `login`, with its account.
    #[must_use]
    pub fn credential(&self, login: &str) -> Option<(&Arc<Account>, &Arc<Credential>)> {
        self.logins.get(login).map(|(account, credential)| (account, credential))
    }

    /// Accounts in order of id, those after `after` only.
    pub fn accounts_after<'a>(&'a self, after: &str) -> impl Iterator<Item = &'a Arc<Account>> {
        let range = (std::ops::Bound::Excluded(Arc::from(after)), std::ops::Bound::Unbounded);
        self.accounts.range::<Arc<str>, _>(range).map(|(_, account)| account)
    }

    /// How many accounts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.accounts.len()
    }

    /// Whether there is no account.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// The offset up to which the log is in this view.
    #[must_use]
    pub fn applied(&self) -> Offset {
        self.applied
    }

    /// The DKIM keys of the log.
    pub(crate) fn dkim(&self) -> &LogKeys {
        &self.dkim
    }

    /// Another one when they changed.
    pub(crate) fn dkim_version(&self) -> u64 {
        self.dkim_version
    }

    /// Takes the next entry of the log in. Entries of kinds that this version does not know are passed over.
    pub(crate) fn apply(&mut self, entry: &Entry) -> Result<(), RecordError> {
        self.applied = entry.offset;
        if let Some(name) = DkimName::of_log_key(&entry.key) {
            return self.apply_dkim(name?, entry.value.as_deref());
        }
        let Some(id) = entry.key.strip_prefix(ACCOUNT_PREFIX) else { return Ok(()) };
        if let Some(old) = self.accounts.remove(id) {
            self.logins.retain(|_, (account, _)| account.id != old.id);
        }
        let Some(value) = &entry.value else { return Ok(()) };
        let account = Arc::new(record::decode(value)?);
        for credential in &account.credentials {
            self.logins.insert(Arc::clone(&credential.login), (Arc::clone(&account), Arc::clone(credential)));
        }
        self.accounts.insert(Arc::clone(&account.id), account);
        Ok(())
    }

    fn apply_dkim(&mut self, name: DkimName, value: Option<&[u8]>) -> Result<(), RecordError> {
        let key = value.map(|record| LogKey::decode(&name, record)).transpose()?;
        self.dkim_version += 1;
        match key {
            Some(key) => drop(self.dkim.insert(name, Arc::new(key))),
            None => drop(self.dkim.remove(&name)),
        }
        Ok(())
    }
}

const ACCOUNT_PREFIX: &str = "account/";

/// The log's key of an account.
pub(crate) fn account_key(id: &str) -> String {
    format!("{ACCOUNT_PREFIX}{id}")
}
