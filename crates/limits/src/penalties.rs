//! Slowing down those who fail: each failure doubles the wait before the answer to the next.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How failures are punished and forgiven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PenaltyRules {
    /// After the first failure; doubled by each further one.
    pub first: Duration,
    /// Never longer than this.
    pub longest: Duration,
    /// One failure is forgiven for each such time without another.
    pub forgive_after: Duration,
    /// Keys remembered at once, at least one; beyond it the one that failed longest ago is forgotten.
    pub max_keys: usize,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    failures: u32,
    last: Instant,
}

/// Failures per key.
#[derive(Debug)]
pub struct Penalties<K> {
    rules: PenaltyRules,
    records: Mutex<HashMap<K, Record>>,
}

impl<K: Clone + Eq + Hash> Penalties<K> {
    /// Nobody failed yet.
    #[must_use]
    pub fn new(rules: PenaltyRules) -> Self {
        Self { rules, records: Mutex::new(HashMap::new()) }
    }

    /// Notes a failure of `key`; how long its answer is to be held back.
    pub fn fail(&self, now: Instant, key: &K) -> Duration {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        if records.len() >= self.rules.max_keys.max(1) && !records.contains_key(key) {
            self.make_room(&mut records, now);
        }
        let record = records.entry(key.clone()).or_insert(Record { failures: 0, last: now });
        record.failures = self.remaining(record, now).saturating_add(1);
        record.last = now;
        let doublings = (record.failures - 1).min(20);
        self.rules.first.saturating_mul(1 << doublings).min(self.rules.longest)
    }

    /// Forgets what `key` did.
    pub fn forgive(&self, key: &K) {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    fn remaining(&self, record: &Record, now: Instant) -> u32 {
        let quiet = now.saturating_duration_since(record.last).as_millis();
        let forgiven = quiet / self.rules.forgive_after.as_millis().max(1);
        record.failures.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX))
    }

    fn make_room(&self, records: &mut HashMap<K, Record>, now: Instant) {
        records.retain(|_, record| self.remaining(record, now) > 0);
        if records.len() < self.rules.max_keys.max(1) {
            return;
        }
        if let Some(oldest) = records.iter().min_by_key(|(_, record)| record.last).map(|(key, _)| key.clone()) {
            records.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test begins at any instant")]
    fn any_instant() -> Instant {
        Instant::now()
    }

    const RULES: PenaltyRules = PenaltyRules {
        first: Duration::from_secs(1),
        longest: Duration::from_secs(30),
        forgive_after: Duration::from_secs(60),
        max_keys: 2,
    };

    #[test]
    fn doubles_up_to_the_longest_and_is_forgiven() {
        let now = any_instant();
        let penalties = Penalties::new(RULES);
        let waits: Vec<u64> = (0..7).map(|_| penalties.fail(now, &"a").as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        let later = now + Duration::from_secs(60 * 5);
        assert_eq!(penalties.fail(later, &"a").as_secs(), 4, "five of seven are forgiven");
        penalties.forgive(&"a");
        assert_eq!(penalties.fail(later, &"a").as_secs(), 1);
    }

    #[test]
    fn many_failures_do_not_overflow() {
        let now = any_instant();
        let penalties = Penalties::new(RULES);
        for _ in 0..100 {
            penalties.fail(now, &"a");
        }
        assert_eq!(penalties.fail(now, &"a"), RULES.longest);
    }

    #[test]
    fn keys_are_bounded_and_the_oldest_goes() {
        let now = any_instant();
        let at = |s| now + Duration::from_secs(s);
        let penalties = Penalties::new(RULES);
        penalties.fail(at(0), &"a");
        penalties.fail(at(1), &"b");
        penalties.fail(at(2), &"c");
        assert_eq!(penalties.fail(at(3), &"b").as_secs(), 2, "b is remembered");
        assert_eq!(penalties.records.lock().unwrap().len(), 2);
    }
}
