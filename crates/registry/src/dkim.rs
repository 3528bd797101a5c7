//! DKIM keys: those of the control log and those of files, together the ring that signs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use sluice_mail::{Domain, UnixMs};
use sluice_proto::record as wire;
use sluice_sign::{Algorithm, Entry, Key, KeyRing, NewKey, Owner, Selector, Validity};

use crate::RecordError;
use crate::record::{damaged, framed, unframed};

/// Most keys in the control log, and most from files.
pub const DKIM_KEYS_MAX: usize = 10_000;

const PREFIX: &str = "dkim/";

/// Which key: its domain and selector, compared by domain first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DkimName {
    /// What it signs for.
    pub domain: Domain,
    /// Its selector.
    pub selector: Selector,
}

/// Where a key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DkimSource {
    /// A file that the configuration names.
    File,
    /// The control log.
    Log {
        /// When it was put there.
        created: UnixMs,
    },
}

/// When a key signs, at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DkimState {
    /// Its time has not begun.
    NotYet,
    /// It signs, or would if no other one came before it.
    Signs,
    /// Its time is over.
    Retired,
    /// A key of the same name from a file signs instead.
    Overridden,
}

/// A key and all that may be told of it.
#[derive(Clone, Debug)]
pub struct DkimKey {
    /// The key with its owner and time.
    pub entry: Entry,
    /// Where it comes from.
    pub source: DkimSource,
    /// A key of the same name from a file signs instead.
    pub is_overridden: bool,
}

/// What is asked to be added.
#[derive(Debug)]
pub struct NewDkimKey {
    /// The key with its private part.
    pub key: NewKey,
    /// Whose mail it is to sign.
    pub owner: Owner,
    /// When.
    pub validity: Validity,
}

/// A key of the control log with the text that is kept of it. `Debug` shows nothing private.
#[derive(Clone)]
pub(crate) struct LogKey {
    pub(crate) entry: Entry,
    pub(crate) created: UnixMs,
    pem: Arc<str>,
}

/// The keys of the control log at one offset.
pub(crate) type LogKeys = BTreeMap<DkimName, Arc<LogKey>>;

impl DkimName {
    /// That of a key.
    #[must_use]
    pub fn of(key: &Key) -> Self {
        Self { domain: key.domain().clone(), selector: key.selector().clone() }
    }

    /// Reads `s2026a._domainkey.example.org`, as [`fmt::Display`] writes it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (selector, domain) = text.split_once("._domainkey.")?;
        Some(Self { domain: Domain::parse(domain).ok()?, selector: selector.parse().ok()? })
    }

    /// The log's key.
    pub(crate) fn log_key(&self) -> String {
        format!("{PREFIX}{}/{}", self.domain.as_str(), self.selector)
    }

    /// The name in a key of the log; `None`: it is of another kind.
    pub(crate) fn of_log_key(key: &str) -> Option<Result<Self, RecordError>> {
        let (domain, selector) = key.strip_prefix(PREFIX)?.split_once('/')?;
        let domain = Domain::parse(domain).map_err(damaged);
        Some(domain.and_then(|domain| Ok(Self { domain, selector: selector.parse().map_err(damaged)? })))
    }
}

impl fmt::Display for DkimName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}._domainkey.{}", self.selector, self.domain.as_str())
    }
}

impl fmt::Debug for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogKey").field("entry", &self.entry).field("created", &self.created).finish_non_exhaustive()
    }
}

impl DkimState {
    /// `not yet`, `signs`, `retired`, `overridden`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotYet => "not yet",
            Self::Signs => "signs",
            Self::Retired => "retired",
            Self::Overridden => "overridden",
        }
    }
}

impl DkimKey {
    /// Where it stands.
    #[must_use]
    pub fn state(&self, now: UnixMs) -> DkimState {
        let Validity { from, until } = self.entry.validity;
        match () {
            () if self.is_overridden => DkimState::Overridden,
            () if until.is_some_and(|until| until <= now) => DkimState::Retired,
            () if from.is_some_and(|from| now < from) => DkimState::NotYet,
            () => DkimState::Signs,
        }
    }
}

impl LogKey {
    pub(crate) fn new(new: NewDkimKey, created: UnixMs) -> Self {
        let NewDkimKey { key: NewKey { pem, key }, owner, validity } = new;
        Self { entry: Entry { key: Arc::new(key), owner, validity }, created, pem: pem.into() }
    }

    /// The same key with another time.
    pub(crate) fn with(&self, validity: Validity) -> Self {
        Self { entry: Entry { validity, ..self.entry.clone() }, ..self.clone() }
    }

    pub(crate) fn encode(&self) -> Bytes {
        let Entry { key, owner, validity } = &self.entry;
        framed(&wire::DkimKey {
            domain: key.domain().to_string(),
            selector: key.selector().to_string(),
            account: match owner {
                Owner::Everybody => String::new(),
                Owner::Account(account) => account.to_string(),
            },
            from_ms: validity.from.map(|at| at.0),
            until_ms: validity.until.map(|at| at.0),
            algorithm: key.algorithm().key_type().to_owned(),
            pem: self.pem.to_string(),
            created_ms: self.created.0,
        })
    }

    /// The key of a record that is kept as `name`.
    pub(crate) fn decode(name: &DkimName, record: &[u8]) -> Result<Self, RecordError> {
        let record = wire::DkimKey::decode(unframed(record)?).map_err(damaged)?;
        let domain = Domain::parse(&record.domain).map_err(damaged)?;
        let selector: Selector = record.selector.parse().map_err(damaged)?;
        if (&domain, &selector) != (&name.domain, &name.selector) {
            return Err(damaged("it is the record of another key"));
        }
        let key = Key::from_pem(domain, selector, &record.pem).map_err(damaged)?;
        if Algorithm::parse(&record.algorithm) != Some(key.algorithm()) {
            return Err(damaged("the private key is of another algorithm"));
        }
        let owner = if record.account.is_empty() { Owner::Everybody } else { Owner::Account(record.account.into()) };
        let validity = Validity { from: record.from_ms.map(UnixMs), until: record.until_ms.map(UnixMs) };
        let entry = Entry { key: Arc::new(key), owner, validity };
        Ok(Self { entry, created: UnixMs(record.created_ms), pem: record.pem.into() })
    }
}

/// The keys that sign: those of files, and those of the log that no file key takes the name of.
pub(crate) fn ring(log: &LogKeys, files: &[Entry]) -> KeyRing {
    KeyRing::new(all(log, files).into_values().flatten().filter(|key| !key.is_overridden).map(|key| key.entry))
}

/// Every key; under a name first that of a file, then that of the log.
pub(crate) fn all(log: &LogKeys, files: &[Entry]) -> BTreeMap<DkimName, Vec<DkimKey>> {
    let mut all: BTreeMap<DkimName, Vec<DkimKey>> = BTreeMap::new();
    for entry in files {
        let key = DkimKey { entry: entry.clone(), source: DkimSource::File, is_overridden: false };
        all.entry(DkimName::of(&entry.key)).or_default().push(key);
    }
    for (name, key) in log {
        let same = all.entry(name.clone()).or_default();
        let source = DkimSource::Log { created: key.created };
        same.push(DkimKey { entry: key.entry.clone(), source, is_overridden: !same.is_empty() });
    }
    all
}

#[cfg(test)]
#[path = "dkim_tests.rs"]
mod tests;
