//! All keys, and which of them sign a message.

use std::collections::HashMap;
use std::sync::Arc;

use sluice_mail::{Domain, UnixMs};

use crate::{Algorithm, Key};

/// Whose mail a key signs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// That of every account that may send from the domain.
    Everybody,
    /// That of this account.
    Account(Arc<str>),
}

/// When a key signs. The public half stays in the DNS for some days longer, as long as mail signed by it may be on
/// its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Validity {
    /// From then on; `None`: since ever.
    pub from: Option<UnixMs>,
    /// Until then; `None`: for ever.
    pub until: Option<UnixMs>,
}

impl Validity {
    /// Whether it signs now.
    #[must_use]
    pub fn holds(&self, now: UnixMs) -> bool {
        self.from.is_none_or(|from| from <= now) && self.until.is_none_or(|until| now < until)
    }
}

/// A key with its owner and its time.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub key: Arc<Key>,
    /// Whose mail it signs.
    pub owner: Owner,
    /// When.
    pub validity: Validity,
}

/// The keys that there are at one moment. Immutable: a change is a new one.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    by_domain: HashMap<String, Vec<Entry>>,
}

impl KeyRing {
    /// Of these keys.
    #[must_use]
    pub fn new(entries: impl IntoIterator<Item = Entry>) -> Self {
        let mut by_domain: HashMap<String, Vec<Entry>> = HashMap::new();
        for entry in entries {
            by_domain.entry(entry.key.domain().as_str().to_owned()).or_default().push(entry);
        }
        Self { by_domain }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_domain.is_empty()
    }

    /// All of them, in no order.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.by_domain.values().flatten()
    }

    /// The keys that sign mail of `account` with this domain in From: of the domain itself, else of the nearest one
    /// above it, as both are aligned (RFC 7489 3.1.1, relaxed). One of each algorithm at most, RSA first: an
    /// account's own before everybody's, then the one whose time began last, so that a new selector takes over at its
    /// time without a gap.
    #[must_use]
    pub fn pick(&self, account: &str, from: &Domain, now: UnixMs) -> Vec<&Arc<Key>> {
        let mut name = from.as_str();
        loop {
            if let Some(entries) = self.by_domain.get(name) {
                let picked = pick_of(entries, account, now);
                if !picked.is_empty() {
                    return picked;
                }
            }
            match name.split_once('.') {
                Some((_, parent)) => name = parent,
                None => return Vec::new(),
            }
        }
    }
}

fn pick_of<'k>(entries: &'k [Entry], account: &str, now: UnixMs) -> Vec<&'k Arc<Key>> {
    let rank = |entry: &Entry| match &entry.owner {
        Owner::Account(owner) if **owner == *account => Some(1),
        Owner::Account(_) => None,
        Owner::Everybody => Some(0),
    };
    let best = |algorithm: Algorithm| {
        let fitting = entries.iter().filter(|e| e.key.algorithm() == algorithm && e.validity.holds(now));
        let ranked =
            fitting.filter_map(|entry| Some(((rank(entry)?, entry.validity.from, entry.key.selector()), entry)));
        ranked.max_by(|(a, _), (b, _)| a.cmp(b)).map(|(_, entry)| &entry.key)
    };
    [Algorithm::Rsa, Algorithm::Ed25519].into_iter().filter_map(best).collect()
}

#[cfg(test)]
mod tests;
