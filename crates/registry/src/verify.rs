//! Checking passwords: off the async threads, a bounded number at a time, successes remembered for a while.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use blake2::Blake2bMac;
use blake2::digest::consts::U32;
use blake2::digest::{FixedOutput, KeyInit, Update};
use tokio::sync::Semaphore;

use crate::{Account, Credential, PasswordHash};

/// Bounds of password checking, per process.
#[derive(Clone, Copy, Debug)]
pub struct VerifyConfig {
    /// Checks at the same time; each takes a core for some 20 ms and 19 MiB of memory.
    pub parallel: usize,
    /// Checks that may wait for their turn; above it the answer is [`AuthOutcome::Busy`].
    pub waiting_max: usize,
    /// How long a success is remembered.
    pub cache_ttl: Duration,
    /// Successes remembered; the oldest goes first.
    pub cache_max: usize,
}

impl Default for VerifyConfig {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { parallel: cores, waiting_max: 1_000, cache_ttl: Duration::from_secs(300), cache_max: 10_000 }
    }
}

/// What became of a log-in.
#[derive(Clone, Debug)]
pub enum AuthOutcome {
    /// The password is right.
    Accepted(Grant),
    /// No such log-in name, or the wrong password: nothing tells which.
    Refused,
    /// Too many checks are waiting; the client may try again.
    Busy,
}

/// Who logged in.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The account.
    pub account: Arc<Account>,
    /// The credential that was used.
    pub credential: Arc<Credential>,
}

/// Octets that stand for a log-in name and password and tell nothing of them without this process's key.
type Mark = [u8; 32];

/// Shared by all sessions; the lock on the cache is held for a look-up only.
pub(crate) struct Verifier {
    config: VerifyConfig,
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Checked when there is no such log-in name, so that it takes as long as when there is.
    nobody: PasswordHash,
    key: [u8; 64],
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    successes: HashMap<Mark, Success>,
    /// Oldest first; every mark of `successes` is in it once or more.
    order: VecDeque<Mark>,
}

struct Success {
    /// The hash that it was checked against: another one voids it.
    password: PasswordHash,
    until: Instant,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Verifier {
    /// Takes some 20 ms: hashes a password that nobody knows.
    pub(crate) fn new(config: VerifyConfig) -> Result<Self, crate::PasswordError> {
        Ok(Self {
            turns: Arc::new(Semaphore::new(config.parallel.max(1))),
            waiting: AtomicUsize::new(0),
            nobody: PasswordHash::of(&crate::generate_password())?,
            key: rand::random(),
            cache: Mutex::default(),
            config,
        })
    }

    /// Whether `password` belongs to `credential`, the one called `login` now, if there is one.
    pub(crate) async fn check(
        &self,
        now: Instant,
        login: &str,
        password: &str,
        credential: Option<&Credential>,
    ) -> Checked {
        let mark = self.mark(login, password);
        if credential.is_some_and(|c| self.remembers(now, &mark, c)) {
            return Checked::Right;
        }
        let Some(_place) = Place::take(&self.waiting, self.config.waiting_max) else { return Checked::Busy };
        // The semaphore is never closed.
        let Ok(turn) = Arc::clone(&self.turns).acquire_owned().await else { return Checked::Busy };
        // Another session may have checked the same while this one waited.
        if credential.is_some_and(|c| self.remembers(now, &mark, c)) {
            return Checked::Right;
        }
        let hash = credential.map_or(&self.nobody, |c| &c.password).clone();
        let (password, checked) = (password.to_owned(), hash.clone());
        let matches = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            checked.matches(&password)
        });
        match (matches.await, credential) {
            (Ok(true), Some(_)) => {
                self.remember(now, mark, hash);
                Checked::Right
            }
            (Ok(_), _) => Checked::Wrong,
            (Err(_), _) => Checked::Busy,
        }
    }

    /// Whether the same was checked and right lately.
    pub(crate) fn recalls(&self, now: Instant, login: &str, password: &str, credential: &Credential) -> bool {
        self.remembers(now, &self.mark(login, password), credential)
    }

    fn mark(&self, login: &str, password: &str) -> Mark {
        let mut mac = Blake2bMac::<U32>::new(&self.key.into());
        mac.update(&login.len().to_le_bytes());
        mac.update(login.as_bytes());
        mac.update(password.as_bytes());
        mac.finalize_fixed().into()
    }

    fn remembers(&self, now: Instant, mark: &Mark, credential: &Credential) -> bool {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.successes.get(mark).is_some_and(|s| s.until > now && s.password == credential.password)
    }

    fn remember(&self, now: Instant, mark: Mark, password: PasswordHash) {
        let mut guard = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let cache = &mut *guard;
        while cache.order.len() >= self.config.cache_max.max(1) {
            if let Some(oldest) = cache.order.pop_front() {
                cache.successes.remove(&oldest);
            }
        }
        if cache.successes.insert(mark, Success { password, until: now + self.config.cache_ttl }).is_none() {
            cache.order.push_back(mark);
        }
    }
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checked {
    Right,
    Wrong,
    Busy,
}

/// One of the places to wait in; given back when it is dropped, whether the check ended or its session did.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, max: usize) -> Option<Self> {
        let place = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < max).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
