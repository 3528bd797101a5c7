//! The registry's DKIM keys.

use std::sync::Arc;

use sluice_mail::UnixMs;
use sluice_sign::{Entry, KeyRing, Owner, Validity};

use crate::dkim::{LogKey, all, ring};
use crate::{DKIM_KEYS_MAX, DkimKey, DkimName, DkimSource, DkimState, NewDkimKey, Registry, RegistryError, Violation};

/// A key before and after its time was changed.
#[derive(Clone, Debug)]
pub struct Retired {
    /// Its time before.
    pub before: Validity,
    /// The key as it is now.
    pub key: DkimKey,
}

impl Registry {
    /// The keys that sign. One load of a pointer: no lock, nothing copied; fit for asking once a message.
    #[must_use]
    pub fn keys(&self) -> Arc<KeyRing> {
        self.ring.load_full()
    }

    /// Every key, in order of domain and selector; of two with one name that of a file comes first, and signs.
    #[must_use]
    pub fn dkim_keys(&self) -> Vec<DkimKey> {
        all(self.view.load().dkim(), &self.file_keys.load()).into_values().flatten().collect()
    }

    /// The key called `name`; of two that of the file.
    #[must_use]
    pub fn dkim_key(&self, name: &DkimName) -> Option<DkimKey> {
        let (view, files) = (self.view.load(), self.file_keys.load());
        let files: Vec<_> = files.iter().filter(|entry| DkimName::of(&entry.key) == *name).cloned().collect();
        let log = view.dkim().get_key_value(name).map(|(name, key)| (name.clone(), Arc::clone(key)));
        all(&log.into_iter().collect(), &files).into_values().flatten().next()
    }

    /// Takes `entries` for the keys of files, instead of those before. A key of the log with the same name does not
    /// sign as long as there is one of a file; the names of these are returned.
    pub async fn set_file_keys(&self, entries: Vec<Entry>) -> Vec<DkimName> {
        let _writing = self.writing.lock().await;
        self.file_keys.store(Arc::new(entries));
        self.make_ring();
        self.dkim_keys().iter().filter(|key| key.is_overridden).map(|key| DkimName::of(&key.entry.key)).collect()
    }

    /// Puts a key into the log. It signs from its time on, for every message after that.
    pub async fn add_dkim_key(&self, new: NewDkimKey) -> Result<DkimKey, RegistryError> {
        let name = DkimName::of(&new.key.key);
        let _writing = self.writing.lock().await;
        let view = self.view.load_full();
        let violations = self.wrong_key(&new);
        if !violations.is_empty() {
            return Err(RegistryError::Invalid(violations));
        }
        if self.dkim_key(&name).is_some() {
            return Err(RegistryError::Exists(format!("key {name}")));
        }
        if view.dkim().len() >= DKIM_KEYS_MAX {
            return Err(RegistryError::TooManyKeys);
        }
        self.put_key(&name, &LogKey::new(new, self.clock.wall())).await
    }

    /// Lets a key sign until `at` and not longer. One whose time is over stays as it is: it cannot be brought back, as
    /// its public half may be gone from the DNS.
    pub async fn retire_dkim_key(&self, name: &DkimName, at: UnixMs) -> Result<Retired, RegistryError> {
        let _writing = self.writing.lock().await;
        let key = self.log_key(name)?;
        let before = key.entry.validity;
        if before.until.is_some_and(|until| until <= self.clock.wall() && until < at) {
            let problem = "its time is over already; a key cannot be brought back";
            return Err(RegistryError::Invalid(vec![Violation::new("at_ms", problem)]));
        }
        let after = key.with(Validity { until: Some(at), ..before });
        Ok(Retired { before, key: self.put_key(name, &after).await? })
    }

    /// Deletes a key of the log; one that signs only by force.
    pub async fn delete_dkim_key(&self, name: &DkimName, force: bool) -> Result<DkimKey, RegistryError> {
        let _writing = self.writing.lock().await;
        let key = self.log_key(name)?;
        let key = self.of_log(name, key);
        if key.state(self.clock.wall()) == DkimState::Signs && !force {
            return Err(RegistryError::Signs(name.clone()));
        }
        self.write(name.log_key(), None).await?;
        self.catch_up().await?;
        Ok(key)
    }

    /// Makes the ring anew. Whoever calls it holds `writing`, or is opening the registry.
    pub(crate) fn make_ring(&self) {
        let made = ring(self.view.load().dkim(), &self.file_keys.load());
        self.ring.store(Arc::new(made));
    }

    fn log_key(&self, name: &DkimName) -> Result<Arc<LogKey>, RegistryError> {
        if let Some(key) = self.view.load().dkim().get(name) {
            return Ok(Arc::clone(key));
        }
        Err(if self.is_of_file(name) { RegistryError::FromFile(name.clone()) } else { not_found(name) })
    }

    async fn put_key(&self, name: &DkimName, key: &LogKey) -> Result<DkimKey, RegistryError> {
        self.write(name.log_key(), Some(key.encode())).await?;
        self.catch_up().await?;
        Ok(self.of_log(name, self.log_key(name)?))
    }

    fn of_log(&self, name: &DkimName, key: Arc<LogKey>) -> DkimKey {
        let (entry, source) = (key.entry.clone(), DkimSource::Log { created: key.created });
        DkimKey { entry, source, is_overridden: self.is_of_file(name) }
    }

    fn is_of_file(&self, name: &DkimName) -> bool {
        self.file_keys.load().iter().any(|entry| DkimName::of(&entry.key) == *name)
    }

    fn wrong_key(&self, new: &NewDkimKey) -> Vec<Violation> {
        let mut wrong = Vec::new();
        if let Owner::Account(account) = &new.owner
            && self.account(account).is_none()
        {
            wrong.push(Violation::new("dkim_key.account", format!("there is no account {account}")));
        }
        if let Validity { from: Some(from), until: Some(until) } = new.validity
            && until <= from
        {
            wrong.push(Violation::new("dkim_key.until_ms", "expected a time after from_ms"));
        }
        wrong
    }
}

fn not_found(name: &DkimName) -> RegistryError {
    RegistryError::NotFound(format!("key {name}"))
}
