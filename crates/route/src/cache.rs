//! Answers that are still good, in bounded memory.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use sluice_mail::Host;

use crate::Resolved;

/// Two generations: what is asked for moves to the young one, and when that is full the old one is dropped. So
/// what nobody asks for goes, at no cost per entry.
#[derive(Debug)]
pub(crate) struct Cache {
    generations: Mutex<Generations>,
    /// Entries per generation.
    size: usize,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Host, Entry>,
    old: HashMap<Host, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    good_until: Instant,
    answer: Resolved,
}

impl Cache {
    /// Holds up to `entries` answers.
    pub(crate) fn new(entries: usize) -> Self {
        Self { generations: Mutex::default(), size: (entries / 2).max(1) }
    }

    pub(crate) fn get(&self, now: Instant, host: &Host) -> Option<Resolved> {
        let mut generations = self.lock();
        if let Some(entry) = generations.young.get(host) {
            return (now < entry.good_until).then(|| entry.answer.clone());
        }
        let (host, entry) = generations.old.remove_entry(host)?;
        if now >= entry.good_until {
            return None;
        }
        let answer = entry.answer.clone();
        generations.insert(host, entry, self.size);
        Some(answer)
    }

    pub(crate) fn put(&self, good_until: Instant, host: Host, answer: Resolved) {
        let mut generations = self.lock();
        generations.old.remove(&host);
        generations.insert(host, Entry { good_until, answer }, self.size);
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn insert(&mut self, host: Host, entry: Entry, size: usize) {
        if self.young.len() >= size && !self.young.contains_key(&host) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(host, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_mail::{Cause, Failure, Stage};
    use std::time::Duration;

    fn answer() -> Resolved {
        Err(Failure::new(Stage::Resolve, Cause::Timeout))
    }

    fn host(n: usize) -> Host {
        Host::parse(&format!("d{n}.example")).unwrap()
    }

    #[expect(clippy::disallowed_methods, reason = "an instant cannot be made without the clock")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn an_answer_is_good_for_its_time() {
        let (cache, now) = (Cache::new(10), start());
        cache.put(now + Duration::from_secs(5), host(1), answer());
        assert!(cache.get(now, &host(1)).is_some());
        assert!(cache.get(now + Duration::from_secs(5), &host(1)).is_none());
        assert!(cache.get(now, &host(2)).is_none());
    }

    #[test]
    fn it_is_bounded_and_keeps_what_is_asked_for() {
        let (cache, now) = (Cache::new(10), start());
        let until = now + Duration::from_secs(5);
        cache.put(until, host(0), answer());
        for n in 1..1000 {
            cache.put(until, host(n), answer());
            assert!(cache.get(now, &host(0)).is_some(), "{n}");
        }
        let generations = cache.lock();
        assert!(generations.young.len() + generations.old.len() <= 10);
    }
}
