//! How fast a site takes mail: measured, to tell when diverted mail can be taken.

use std::time::{Duration, Instant};

/// Over how long the pace is measured.
const SPAN: Duration = Duration::from_secs(10);
/// The bounds of what is foretold.
const ETA_MIN: Duration = Duration::from_secs(10);
const ETA_MAX: Duration = Duration::from_secs(1200);

/// Envelopes taken per second, over the last full span of ten seconds or the running one.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    since: Instant,
    taken: u32,
    per_second: f64,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, taken: 0, per_second: 0.0 }
    }

    pub(super) fn took_one(&mut self, now: Instant) {
        self.fold(now);
        self.taken = self.taken.saturating_add(1);
    }

    /// When a queue of `len` will have been taken at this pace: 10 seconds to 20 minutes.
    pub(super) fn eta(&mut self, now: Instant, len: usize) -> Duration {
        self.fold(now);
        let running = f64::from(self.taken) / now.saturating_duration_since(self.since).as_secs_f64().max(1.0);
        let seconds = len as f64 / self.per_second.max(running).max(0.001);
        Duration::from_secs_f64(seconds.min(ETA_MAX.as_secs_f64())).max(ETA_MIN)
    }

    fn fold(&mut self, now: Instant) {
        let span = now.saturating_duration_since(self.since);
        if span >= SPAN {
            self.per_second = f64::from(self.taken) / span.as_secs_f64();
            self.taken = 0;
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foretells_by_the_measured_pace_within_bounds() {
        let start = sluice_mail_now();
        let mut pace = Pace::new(start);
        assert_eq!(pace.eta(start, 100), ETA_MAX, "nothing known");
        for i in 0..1000 {
            pace.took_one(start + Duration::from_millis(i * 10));
        }
        let now = start + Duration::from_secs(10);
        let eta = pace.eta(now, 5000);
        assert!((45..=55).contains(&eta.as_secs()), "{eta:?}");
        assert_eq!(pace.eta(now, 1), ETA_MIN);
        assert_eq!(pace.eta(now + Duration::from_secs(60), 5000), ETA_MAX, "it stands still now");
    }

    fn sluice_mail_now() -> Instant {
        super::super::tests::start()
    }
}
