//! Rates by the generic cell rate algorithm: a cell remembers one instant, whatever the rate.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// One limited thing. Up to a minute's worth may come at once; what was taken comes back evenly over a minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gcra {
    /// When everything taken so far has come back; `None`: nothing was ever taken.
    restored: Option<Instant>,
}

impl Gcra {
    /// Takes `n` at `now`, or says how long to wait until `n` can be taken. 0 per minute is never granted.
    pub fn take(&mut self, now: Instant, n: u32, per_minute: u32) -> Result<(), Duration> {
        self.take_per(now, n, (per_minute, MINUTE))
    }

    /// As [`Self::take`], with so many in another time than a minute, which is all that may come at once.
    pub fn take_per(&mut self, now: Instant, n: u32, (count, per): (u32, Duration)) -> Result<(), Duration> {
        if count == 0 {
            return Err(per);
        }
        let cost = per.saturating_mul(n) / count;
        let restored = self.restored.map_or(now, |at| at.max(now)) + cost;
        let owed = restored.saturating_duration_since(now);
        if owed > per {
            return Err(owed - per);
        }
        self.restored = Some(restored);
        Ok(())
    }

    fn is_idle(&self, now: Instant) -> bool {
        self.restored.is_none_or(|at| at <= now)
    }
}

/// Rates per key. A key that has nothing taken needs no place, so forgetting it costs no accuracy; only when
/// more than `max_keys` are in use at once is the one that is nearest to being restored forgotten early.
#[derive(Debug)]
pub struct Rates<K> {
    cells: Mutex<HashMap<K, Gcra>>,
    max_keys: usize,
}

impl<K: Clone + Eq + Hash> Rates<K> {
    /// For `max_keys` keys at once, at least one.
    #[must_use]
    pub fn new(max_keys: usize) -> Self {
        Self { cells: Mutex::new(HashMap::new()), max_keys: max_keys.max(1) }
    }

    /// Takes `n` of `key`'s `per_minute`, or says how long to wait.
    pub fn take(&self, now: Instant, key: &K, n: u32, per_minute: u32) -> Result<(), Duration> {
        self.take_per(now, key, n, (per_minute, MINUTE))
    }

    /// As [`Self::take`], with so many in another time than a minute.
    pub fn take_per(&self, now: Instant, key: &K, n: u32, rate: (u32, Duration)) -> Result<(), Duration> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = cells.get_mut(key) {
            return cell.take_per(now, n, rate);
        }
        if cells.len() >= self.max_keys {
            make_room(&mut cells, now, self.max_keys);
        }
        let mut cell = Gcra::default();
        let taken = cell.take_per(now, n, rate);
        cells.insert(key.clone(), cell);
        taken
    }
}

fn make_room<K: Clone + Eq + Hash>(cells: &mut HashMap<K, Gcra>, now: Instant, max_keys: usize) {
    cells.retain(|_, cell| !cell.is_idle(now));
    if cells.len() < max_keys {
        return;
    }
    if let Some(nearest) = cells.iter().min_by_key(|(_, cell)| cell.restored).map(|(key, _)| key.clone()) {
        cells.remove(&nearest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test begins at any instant")]
    fn any_instant() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_minutes_worth_at_once_then_evenly() {
        let start = any_instant();
        let mut cell = Gcra::default();
        for _ in 0..6 {
            assert_eq!(cell.take(start, 1, 6), Ok(()));
        }
        assert_eq!(cell.take(start, 1, 6), Err(Duration::from_secs(10)));
        assert_eq!(cell.take(start + Duration::from_secs(4), 1, 6), Err(Duration::from_secs(6)));
        assert_eq!(cell.take(start + Duration::from_secs(10), 1, 6), Ok(()));
        assert_eq!(cell.take(start + Duration::from_secs(10), 1, 6), Err(Duration::from_secs(10)));
        for _ in 0..6 {
            assert_eq!(cell.take(start + Duration::from_secs(300), 1, 6), Ok(()));
        }
    }

    #[test]
    fn a_refusal_takes_nothing() {
        let start = any_instant();
        let mut cell = Gcra::default();
        assert!(cell.take(start, 7, 6).is_err());
        assert_eq!(cell.take(start, 6, 6), Ok(()));
        assert_eq!(cell.take(start, 1, 0), Err(MINUTE));
    }

    #[test]
    fn any_time_may_be_the_measure() {
        let (start, hour) = (any_instant(), Duration::from_secs(3600));
        let mut cell = Gcra::default();
        assert_eq!(cell.take_per(start, 2, (2, hour)), Ok(()));
        assert_eq!(cell.take_per(start, 1, (2, hour)), Err(hour / 2));
        assert_eq!(cell.take_per(start + hour / 2, 1, (2, hour)), Ok(()));
        assert_eq!(cell.take_per(start + hour, 1, (0, hour)), Err(hour));
    }

    #[test]
    fn keys_are_apart_and_bounded() {
        let now = any_instant();
        let rates = Rates::new(2);
        assert_eq!(rates.take(now, &"a", 1, 1), Ok(()));
        assert!(rates.take(now, &"a", 1, 1).is_err());
        assert_eq!(rates.take(now, &"b", 1, 60), Ok(()));
        assert_eq!(rates.take(now, &"c", 1, 60), Ok(()), "b, nearest to being restored, made room");
        assert!(rates.take(now, &"a", 1, 1).is_err(), "a is still remembered");
        assert_eq!(rates.cells.lock().unwrap().len(), 2);
    }
}
