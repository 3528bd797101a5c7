//! How long delivery is tried.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sluice_mail::{Host, Lane};

type Of = dyn Fn(Lane, &Host) -> Duration + Send + Sync;

/// How long delivery is tried, by lane and recipient domain. Somebody else's to know; here it becomes the time when an
/// envelope is given up.
#[derive(Clone)]
pub struct Lifetimes {
    longest: Duration,
    of: Arc<Of>,
}

impl Lifetimes {
    /// As `of` says, which is never more than `longest`.
    pub fn new(longest: Duration, of: impl Fn(Lane, &Host) -> Duration + Send + Sync + 'static) -> Self {
        Self { longest, of: Arc::new(of) }
    }

    /// The most that a message may ask for.
    pub(crate) fn longest(&self) -> Duration {
        self.longest
    }

    /// Of mail of this lane to this domain.
    pub(crate) fn of(&self, lane: Lane, domain: &Host) -> Duration {
        (self.of)(lane, domain)
    }
}

impl From<Duration> for Lifetimes {
    /// The same for all mail.
    fn from(lifetime: Duration) -> Self {
        Self::new(lifetime, move |_, _| lifetime)
    }
}

impl fmt::Debug for Lifetimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lifetimes").field("longest", &self.longest).finish_non_exhaustive()
    }
}
