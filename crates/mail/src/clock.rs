//! Time as an argument: the port through which shells learn it, and a hand-driven twin for tests.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Wall-clock time in milliseconds since 1970-01-01T00:00:00Z. What is stored on disk or sent to
/// another machine carries this; in-process deadlines use [`Instant`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMs(pub u64);

impl UnixMs {
    /// This time plus `d`, saturating at the end of time.
    #[must_use]
    pub fn plus(self, d: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Where shells learn the time. The one implementation that reads a clock is `sluice_daemon::SystemClock`.
pub trait Clock: Send + Sync + 'static {
    /// Monotonic time, for time-outs.
    fn now(&self) -> Instant;
    /// Wall-clock time, for records.
    fn wall(&self) -> UnixMs;
}

/// A clock that stands still until a test moves it. Starts at a given instant and wall time.
#[derive(Debug)]
pub struct ManualClock {
    at: Mutex<(Instant, UnixMs)>,
}

impl ManualClock {
    /// A clock that shows `now` and `wall`.
    #[must_use]
    pub fn new(now: Instant, wall: UnixMs) -> Self {
        Self { at: Mutex::new((now, wall)) }
    }

    /// Moves both clocks forward by `d`.
    pub fn advance(&self, d: Duration) {
        let mut at = self.at.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        at.0 += d;
        at.1 = at.1.plus(d);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        self.at.lock().unwrap_or_else(std::sync::PoisonError::into_inner).0
    }

    fn wall(&self) -> UnixMs {
        self.at.lock().unwrap_or_else(std::sync::PoisonError::into_inner).1
    }
}
