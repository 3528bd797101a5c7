//! The accounts and DKIM keys of this installation: looked up in memory, changed through the control log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;
use sluice_mail::Clock;
use sluice_sign::KeyRing;
use tokio::sync::{Mutex, Semaphore};

use crate::account::check_account_id;
use crate::verify::{Checked, Verifier};
use crate::view::account_key;
use crate::{
    Account, AccountRules, AuthOutcome, ControlLog, Credential, DKIM_KEYS_MAX, DkimName, Grant, LogError,
    PasswordError, PasswordHash, RecordError, VerifyConfig, View, Violation, record,
};

/// Most accounts, so that the view stays within memory.
const ACCOUNTS_MAX: usize = 1_000_000;
/// Entries read from the log at a time.
const READ_MAX: usize = 1_000;

/// Shared by all parts of the process. Looking up takes no lock; writes come one after the other.
pub struct Registry {
    log: Box<dyn ControlLog>,
    pub(crate) view: ArcSwap<View>,
    /// The keys that sign now; made from those of the view and `file_keys`, whenever one of them changes.
    pub(crate) ring: ArcSwap<KeyRing>,
    pub(crate) file_keys: ArcSwap<Vec<sluice_sign::Entry>>,
    /// Held from the look at the view that a write is based on until the write is in the view.
    pub(crate) writing: Mutex<()>,
    verifier: Verifier,
    /// Bounds the hashing of new passwords, which costs as much as a check.
    hashing: Semaphore,
    pub(crate) clock: Arc<dyn Clock>,
    /// The log could not be written; it may take no more until it is opened again.
    broken: AtomicBool,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}

/// Why an account could not be read or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The request breaks rules; every one is named.
    #[error("{}", all(.0))]
    Invalid(Vec<Violation>),
    /// There is one of that name.
    #[error("{0} exists already")]
    Exists(String),
    /// There is none of that name.
    #[error("there is no {0}")]
    NotFound(String),
    /// It is not of the version that the change was made for.
    #[error("account {id} was changed by another meanwhile: its version is {is}, not {expected}")]
    Changed {
        /// The account.
        id: String,
        /// The version that it has.
        is: u64,
        /// The version that the change was made for.
        expected: u64,
    },
    /// No room for another account.
    #[error("there are {ACCOUNTS_MAX} accounts already")]
    Full,
    /// No room for another DKIM key.
    #[error("there are {DKIM_KEYS_MAX} DKIM keys already: delete retired ones")]
    TooManyKeys,
    /// The key comes from a file.
    #[error("key {0} comes from a file that the configuration names: change it there")]
    FromFile(DkimName),
    /// The key signs, and is to be deleted.
    #[error("key {0} still signs: retire it first (`sluice dkim retire`), or delete it with force (`--force`)")]
    Signs(DkimName),
    /// A stored record cannot be read.
    #[error("the record {key} cannot be read: {error}")]
    Record {
        /// Its key in the control log.
        key: String,
        /// Why.
        error: RecordError,
    },
    /// The control log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The password could not be hashed.
    #[error("the password could not be hashed")]
    Hash,
}

/// An account before and after a change of its rules; the same when nothing changed.
#[derive(Clone, Debug)]
pub struct Updated {
    /// Before.
    pub before: Arc<Account>,
    /// Now.
    pub after: Arc<Account>,
}

fn all(violations: &[Violation]) -> String {
    let each: Vec<String> = violations.iter().map(|v| format!("{}: {}", v.field, v.problem)).collect();
    each.join("; ")
}

impl Registry {
    /// Reads the whole log into a view.
    pub async fn open(
        log: impl ControlLog,
        config: VerifyConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, RegistryError> {
        let verifier = Verifier::new(config).map_err(|_| RegistryError::Hash)?;
        let registry = Self {
            log: Box::new(log),
            view: ArcSwap::default(),
            ring: ArcSwap::default(),
            file_keys: ArcSwap::default(),
            writing: Mutex::new(()),
            verifier,
            hashing: Semaphore::new(config.parallel.max(1)),
            clock,
            broken: AtomicBool::new(false),
        };
        registry.catch_up().await?;
        Ok(registry)
    }

    /// What holds now. Cheap and without a lock; hold it for one decision, not longer.
    pub fn view(&self) -> Guard<Arc<View>> {
        self.view.load()
    }

    /// The account called `id`, as it is now. A read of a snapshot in memory: no lock, no disk, nothing copied; fit for
    /// asking once a message or attempt.
    #[must_use]
    pub fn account(&self, id: &str) -> Option<Arc<Account>> {
        self.view.load().account(id).cloned()
    }

    /// Whether `password` logs `login` in. An unknown name takes as long as a wrong password.
    pub async fn verify(&self, login: &str, password: &str) -> AuthOutcome {
        let found = self.candidate(login);
        let credential = found.as_ref().map(|grant| &*grant.credential);
        match (self.verifier.check(self.clock.now(), login, password, credential).await, found) {
            (Checked::Right, Some(grant)) => self.still_holds(grant),
            (Checked::Right | Checked::Wrong, _) => AuthOutcome::Refused,
            (Checked::Busy, _) => AuthOutcome::Busy,
        }
    }

    /// Whether the log-in succeeded lately, so that it needs no check. Cheap; `None` says nothing about the password.
    #[must_use]
    pub fn recall(&self, login: &str, password: &str) -> Option<Grant> {
        let grant = self.candidate(login)?;
        self.verifier.recalls(self.clock.now(), login, password, &grant.credential).then_some(grant)
    }

    fn candidate(&self, login: &str) -> Option<Grant> {
        let view = self.view.load();
        let (account, credential) = view.credential(login)?;
        Some(Grant { account: Arc::clone(account), credential: Arc::clone(credential) })
    }

    /// Makes an account with one credential, whose log-in name is the account's id.
    pub async fn create_account(
        &self,
        id: &str,
        rules: AccountRules,
        password: &str,
    ) -> Result<Arc<Account>, RegistryError> {
        let mut violations = rules.violations();
        violations.extend(check_account_id(id).err());
        let hash = self.hash(password, &mut violations).await?;
        let _writing = self.writing.lock().await;
        let view = self.view.load_full();
        if view.account(id).is_some() {
            return Err(RegistryError::Exists(format!("account {id}")));
        }
        if view.credential(id).is_some() {
            return Err(RegistryError::Exists(format!("a credential called {id}")));
        }
        if view.len() >= ACCOUNTS_MAX {
            return Err(RegistryError::Full);
        }
        let credential = Arc::new(Credential { login: id.into(), password: hash, pool: None, lane: None });
        self.put(Account { id: id.into(), rules, credentials: vec![credential], version: 1 }).await
    }

    /// Changes the rules of account `id` by `change`, which returns what it cannot do. Does nothing at all when
    /// anything is wrong, or when `version` is given and is not the account's.
    pub async fn update_account(
        &self,
        id: &str,
        version: Option<u64>,
        change: impl FnOnce(&mut AccountRules) -> Vec<Violation> + Send,
    ) -> Result<Updated, RegistryError> {
        let _writing = self.writing.lock().await;
        let before = self.existing(id)?;
        if let Some(expected) = version.filter(|version| *version != before.version) {
            return Err(RegistryError::Changed { id: id.to_owned(), is: before.version, expected });
        }
        let mut rules = before.rules.clone();
        let mut violations = change(&mut rules);
        violations.extend(rules.violations());
        if !violations.is_empty() {
            return Err(RegistryError::Invalid(violations));
        }
        if rules == before.rules {
            return Ok(Updated { after: Arc::clone(&before), before });
        }
        let changed = Account { rules, version: before.version + 1, ..Account::clone(&before) };
        Ok(Updated { before, after: self.put(changed).await? })
    }

    /// Deletes an account; whoever is logged in may finish the message they have begun, until the next MAIL.
    pub async fn delete_account(&self, id: &str) -> Result<(), RegistryError> {
        let _writing = self.writing.lock().await;
        self.existing(id)?;
        self.write(account_key(id), None).await?;
        self.catch_up().await
    }

    /// Replaces the password of the credential `login` of account `id`. Remembered log-ins with the old one end.
    pub async fn set_password(&self, id: &str, login: &str, password: &str) -> Result<Arc<Account>, RegistryError> {
        self.existing(id)?;
        let hash = self.hash(password, &mut Vec::new()).await?;
        let _writing = self.writing.lock().await;
        let mut account = Account::clone(&*self.existing(id)?);
        let place = account.credentials.iter().position(|c| *c.login == *login);
        let Some(credential) = place.and_then(|i| account.credentials.get_mut(i)) else {
            return Err(RegistryError::NotFound(format!("credential {login} of account {id}")));
        };
        *credential = Arc::new(Credential { password: hash, ..Credential::clone(credential) });
        account.version += 1;
        self.put(account).await
    }

    /// What the check found, unless account or password changed while it ran.
    fn still_holds(&self, grant: Grant) -> AuthOutcome {
        let view = self.view.load();
        match view.credential(&grant.credential.login) {
            Some((account, credential)) if credential.password == grant.credential.password => {
                AuthOutcome::Accepted(Grant { account: Arc::clone(account), credential: Arc::clone(credential) })
            }
            Some(_) | None => AuthOutcome::Refused,
        }
    }

    fn existing(&self, id: &str) -> Result<Arc<Account>, RegistryError> {
        self.account(id).ok_or_else(|| RegistryError::NotFound(format!("account {id}")))
    }

    /// Hashes a new password off the async threads. Fails with all `violations`, the password's own included.
    async fn hash(&self, password: &str, violations: &mut Vec<Violation>) -> Result<PasswordHash, RegistryError> {
        let _turn = self.hashing.acquire().await.map_err(|_| RegistryError::Hash)?;
        let password = password.to_owned();
        let hashed = tokio::task::spawn_blocking(move || PasswordHash::of(&password)).await;
        let hash = match hashed.map_err(|_| RegistryError::Hash)? {
            Ok(hash) => Some(hash),
            Err(PasswordError::NoHash) => return Err(RegistryError::Hash),
            Err(e @ (PasswordError::Empty | PasswordError::TooLong | PasswordError::Control)) => {
                violations.push(Violation::new("password", e));
                None
            }
        };
        hash.filter(|_| violations.is_empty()).ok_or_else(|| RegistryError::Invalid(std::mem::take(violations)))
    }

    async fn put(&self, account: Account) -> Result<Arc<Account>, RegistryError> {
        let id = Arc::clone(&account.id);
        self.write(account_key(&id), Some(record::encode(&account))).await?;
        self.catch_up().await?;
        self.existing(&id)
    }

    /// Whether a write to the log has failed since the start. What was refused then may hold after a restart.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    pub(crate) async fn write(&self, key: String, value: Option<Bytes>) -> Result<(), RegistryError> {
        let written = self.log.write(key, value).await;
        self.broken.fetch_or(written.is_err(), Ordering::Relaxed);
        Ok(written.map(drop)?)
    }

    /// Brings the view, and the ring with it, up to the end of the log.
    pub(crate) async fn catch_up(&self) -> Result<(), RegistryError> {
        let mut view = View::clone(&self.view.load());
        loop {
            let entries = self.log.read(view.applied(), READ_MAX).await?;
            for entry in &entries {
                view.apply(entry).map_err(|error| RegistryError::Record { key: entry.key.clone(), error })?;
            }
            if entries.len() < READ_MAX {
                let keys_changed = view.dkim_version() != self.view.load().dkim_version();
                self.view.store(Arc::new(view));
                if keys_changed {
                    self.make_ring();
                }
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
