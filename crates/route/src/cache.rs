//! Answers that are still good, in bounded memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::{Resolved, Route};

/// How often an answer must be asked for to be looked up again before it ends.
const BUSY: u32 = 10;
/// After how long a refresh is begun again that was not heard of. Longer than one may take.
const REFRESH_LOST: Duration = Duration::from_secs(90);
/// How long nobody tries again after a refresh that failed for now.
const REFRESH_PAUSE: Duration = Duration::from_secs(10);
/// How long an old route is used on, each time that asking for a new one fails for now.
const STALE_STEP: Duration = Duration::from_secs(60);
/// For how long in all, after its own time (RFC 8767).
const STALE_MAX: Duration = Duration::from_secs(3600);

/// Two generations: what is asked for moves to the young one, and when that is full the old one is dropped. So
/// what nobody asks for goes, at no cost per entry.
#[derive(Debug)]
pub(crate) struct Cache<K> {
    generations: Mutex<Generations<K>>,
    /// Entries per generation.
    size: usize,
}

#[derive(Debug)]
struct Generations<K> {
    young: HashMap<K, Entry>,
    old: HashMap<K, Entry>,
}

#[derive(Debug)]
struct Entry {
    answer: Resolved,
    good_until: Instant,
    /// Until when it may be used when nothing newer can be had.
    stale_until: Instant,
    /// When it is to be looked up again, if it is busy.
    refresh_at: Instant,
    /// How often it was asked for since it was looked up.
    asked: u32,
}

/// An answer that is good.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) answer: Resolved,
    /// Whether whoever asked is to have it looked up again, without waiting for that.
    pub(crate) is_due: bool,
}

impl<K: Eq + Hash> Cache<K> {
    /// Holds up to `entries` answers.
    pub(crate) fn new(entries: usize) -> Self {
        let generations = Generations { young: HashMap::new(), old: HashMap::new() };
        Self { generations: Mutex::new(generations), size: (entries / 2).max(1) }
    }

    /// The answer, while it is good.
    pub(crate) fn get(&self, now: Instant, key: &K) -> Option<Found> {
        let mut generations = self.lock();
        let entry = generations.entry(key, self.size)?;
        if now >= entry.good_until {
            return None;
        }
        entry.asked = entry.asked.saturating_add(1);
        let is_due = entry.answer.is_ok() && entry.asked >= BUSY && now >= entry.refresh_at;
        if is_due {
            entry.refresh_at = now + REFRESH_LOST;
        }
        Some(Found { answer: entry.answer.clone(), is_due })
    }

    /// Keeps an answer for a time. In its last quarter it is refreshed, if it is busy.
    pub(crate) fn put(&self, now: Instant, life: Duration, key: K, answer: Resolved) {
        let good_until = now + life;
        let entry =
            Entry { answer, good_until, stale_until: good_until + STALE_MAX, refresh_at: now + life / 4 * 3, asked: 0 };
        let mut generations = self.lock();
        generations.old.remove(&key);
        generations.insert(key, entry, self.size);
    }

    /// A newer answer cannot be had now: the route that was known may be used on for a while.
    pub(crate) fn prolong(&self, now: Instant, key: &K) -> Option<Arc<Route>> {
        let mut generations = self.lock();
        let entry = generations.entry(key, self.size)?;
        let Ok(route) = &entry.answer else { return None };
        if now >= entry.stale_until {
            return None;
        }
        entry.good_until = entry.good_until.max((now + STALE_STEP).min(entry.stale_until));
        entry.refresh_at = now + REFRESH_PAUSE;
        Some(route.clone())
    }

    /// How many answers there are.
    pub(crate) fn len(&self) -> usize {
        let generations = self.lock();
        generations.young.len() + generations.old.len()
    }

    #[cfg(test)]
    pub(crate) fn life(&self, now: Instant, key: &K) -> Duration {
        let mut generations = self.lock();
        let entry = generations.entry(key, self.size);
        entry.map_or(Duration::ZERO, |entry| entry.good_until.saturating_duration_since(now))
    }

    fn lock(&self) -> MutexGuard<'_, Generations<K>> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Generations<K> {
    /// The entry, which is a young one from now on.
    fn entry(&mut self, key: &K, size: usize) -> Option<&mut Entry> {
        if let Some((key, entry)) = self.old.remove_entry(key) {
            self.insert(key, entry, size);
        }
        self.young.get_mut(key)
    }

    fn insert(&mut self, key: K, entry: Entry, size: usize) {
        if self.young.len() >= size && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_mail::{Cause, Failure, Host, Stage};

    const LIFE: Duration = Duration::from_secs(100);

    fn failed() -> Resolved {
        Err(Failure::new(Stage::Resolve, Cause::Timeout))
    }

    fn found(site: &str) -> Resolved {
        Ok(Arc::new(Route { site: site.into(), ..Route::empty() }))
    }

    fn host(n: usize) -> Host {
        Host::parse(&format!("d{n}.example")).unwrap()
    }

    #[expect(clippy::disallowed_methods, reason = "an instant cannot be made without the clock")]
    fn start() -> Instant {
        Instant::now()
    }

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn an_answer_is_good_for_its_time() {
        let (cache, now) = (Cache::new(10), start());
        cache.put(now, secs(5), host(1), failed());
        assert!(cache.get(now, &host(1)).is_some());
        assert!(cache.get(now + secs(5), &host(1)).is_none());
        assert!(cache.get(now, &host(2)).is_none());
    }

    #[test]
    fn it_is_bounded_and_keeps_what_is_asked_for() {
        let (cache, now) = (Cache::new(10), start());
        cache.put(now, LIFE, host(0), failed());
        for n in 1..1000 {
            cache.put(now, LIFE, host(n), failed());
            assert!(cache.get(now, &host(0)).is_some(), "{n}");
        }
        assert!(cache.len() <= 10);
    }

    #[test]
    fn what_is_busy_is_due_once_in_its_last_quarter() {
        let (cache, now) = (Cache::new(10), start());
        cache.put(now, LIFE, host(0), found("busy"));
        cache.put(now, LIFE, host(1), found("quiet"));
        cache.put(now, LIFE, host(2), failed());
        for _ in 1..BUSY {
            assert!(!cache.get(now + secs(74), &host(0)).unwrap().is_due);
            assert!(!cache.get(now + secs(76), &host(2)).unwrap().is_due, "no route");
        }
        assert!(!cache.get(now + secs(74), &host(0)).unwrap().is_due, "too soon");
        assert!(cache.get(now + secs(76), &host(0)).unwrap().is_due);
        assert!(!cache.get(now + secs(77), &host(0)).unwrap().is_due, "it is under way");
        assert!(!cache.get(now + secs(76), &host(1)).unwrap().is_due, "not busy");
        cache.put(now + secs(78), LIFE, host(0), found("busy"));
        assert!(!cache.get(now + secs(177), &host(0)).unwrap().is_due, "the count begins again");
    }

    #[test]
    fn an_old_route_is_used_on_for_a_bounded_time() {
        let (cache, mut now) = (Cache::new(10), start());
        let end = now + LIFE + STALE_MAX;
        cache.put(now, LIFE, host(0), found("old"));
        now += LIFE;
        while now < end {
            assert!(cache.get(now, &host(0)).is_none());
            assert_eq!(&*cache.prolong(now, &host(0)).unwrap().site, "old");
            assert!(cache.get(now, &host(0)).is_some());
            now += STALE_STEP;
        }
        assert!(cache.prolong(now, &host(0)).is_none());
        assert!(cache.get(now, &host(0)).is_none());
    }

    #[test]
    fn a_failed_refresh_takes_nothing_away_and_is_tried_again() {
        let (cache, now) = (Cache::new(10), start());
        cache.put(now, LIFE, host(0), found("old"));
        (0..BUSY).for_each(|_| drop(cache.get(now, &host(0))));
        assert!(cache.get(now + secs(76), &host(0)).unwrap().is_due);
        assert!(cache.prolong(now + secs(80), &host(0)).is_some());
        assert!(!cache.get(now + secs(89), &host(0)).unwrap().is_due);
        assert!(cache.get(now + secs(90), &host(0)).unwrap().is_due);
        assert!(cache.get(now + secs(139), &host(0)).is_some());
    }

    #[test]
    fn failures_are_not_prolonged() {
        let (cache, now) = (Cache::new(10), start());
        cache.put(now, LIFE, host(0), failed());
        assert!(cache.prolong(now, &host(0)).is_none() && cache.prolong(now, &host(1)).is_none());
    }
}
