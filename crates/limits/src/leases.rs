//! Counted leases: so many of a thing at once per key.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// How many leases each key holds. Bounded by the leases that are out: a key without any has no place.
#[derive(Debug)]
pub struct Leases<K> {
    held: Mutex<HashMap<K, u32>>,
}

/// One counted thing. Dropping it gives it back.
pub struct Lease<K: Eq + Hash> {
    of: Arc<Leases<K>>,
    key: K,
}

impl<K: Clone + Eq + Hash> Leases<K> {
    /// None out.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { held: Mutex::new(HashMap::new()) })
    }

    /// One more for `key`, unless it holds `max` already.
    #[must_use]
    pub fn take(self: &Arc<Self>, key: K, max: u32) -> Option<Lease<K>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.get(&key).copied().unwrap_or(0);
        if count >= max {
            return None;
        }
        held.insert(key.clone(), count + 1);
        Some(Lease { of: Arc::clone(self), key })
    }

    /// How many `key` holds.
    pub fn held(&self, key: &K) -> u32 {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied().unwrap_or(0)
    }
}

impl<K: Eq + Hash> Drop for Lease<K> {
    fn drop(&mut self) {
        let mut held = self.of.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.key);
            }
        }
    }
}

impl<K: Eq + Hash + fmt::Debug> fmt::Debug for Lease<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&self.key).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_allowed_and_again_after_a_drop() {
        let leases = Leases::new();
        let first = leases.take("a", 2).unwrap();
        let _second = leases.take("a", 2).unwrap();
        assert!(leases.take("a", 2).is_none());
        assert_eq!((leases.held(&"a"), leases.held(&"b")), (2, 0));
        assert!(leases.take("b", 2).is_some());
        drop(first);
        assert!(leases.take("a", 2).is_some());
        assert_eq!(leases.held.lock().unwrap().len(), 1, "keys without leases have no place");
    }
}
