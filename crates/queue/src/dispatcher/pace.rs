//! How fast a site takes mail: measured, to tell when diverted mail can be taken.

use std::time::{Duration, Instant};

/// Over how long the pace is measured.
const SPAN: Duration = Duration::from_secs(10);
/// What was seen for a shorter time and of fewer envelopes tells nothing.
const GLIMPSE: Duration = Duration::from_millis(100);
const FEW: u32 = 100;
/// When to ask again while the pace is not known: soon, as the site may be quick once its connections stand.
const UNKNOWN: Duration = Duration::from_secs(2);
/// The bounds of what is foretold.
pub(super) const ETA_MIN: Duration = Duration::from_secs(1);
const ETA_MAX: Duration = Duration::from_secs(1200);

/// Envelopes taken per second while some waited, over the last ten such seconds or the running ones. Times without
/// mail do not count: they say nothing of how fast the site would take it.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    /// Mail waits since then.
    since: Option<Instant>,
    /// How long mail waited before that, in this span.
    waited: Duration,
    taken: u32,
    per_second: Option<f64>,
}

impl Pace {
    /// An envelope came; it waits now.
    pub(super) fn came(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// One was taken; whether there are more.
    pub(super) fn took_one(&mut self, now: Instant, more: bool) {
        self.fold(now);
        self.taken = self.taken.saturating_add(1);
        if !more {
            self.all_gone(now);
        }
    }

    /// No envelope waits any more.
    pub(super) fn all_gone(&mut self, now: Instant) {
        self.waited = self.span(now);
        self.since = None;
    }

    /// When a queue of `len` will have been taken at this pace: a second to 20 minutes.
    pub(super) fn eta(&mut self, now: Instant, len: usize) -> Duration {
        self.fold(now);
        let span = self.span(now);
        let running = (span >= GLIMPSE || self.taken >= FEW).then(|| f64::from(self.taken) / span.as_secs_f64());
        // What was seen for a short time is believed for a short time.
        let (per_second, max) = match (self.per_second, running) {
            (Some(before), running) => (before.max(running.unwrap_or_default()), ETA_MAX),
            (None, Some(running)) => (running, UNKNOWN.max(2 * span)),
            (None, None) => return UNKNOWN,
        };
        let seconds = len as f64 / per_second.max(0.001);
        Duration::from_secs_f64(seconds.min(max.as_secs_f64())).max(ETA_MIN)
    }

    fn span(&self, now: Instant) -> Duration {
        self.waited + self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    fn fold(&mut self, now: Instant) {
        let span = self.span(now);
        if span >= SPAN {
            self.per_second = Some(f64::from(self.taken) / span.as_secs_f64());
            self.taken = 0;
            self.waited = Duration::ZERO;
            self.since = self.since.map(|_| now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foretells_by_the_measured_pace_within_bounds() {
        let start = super::super::tests::start();
        let mut pace = Pace::default();
        assert_eq!(pace.eta(start, 100), UNKNOWN, "nothing known");
        pace.came(start);
        for i in 0..1000 {
            pace.took_one(start + Duration::from_millis(i * 10), true);
        }
        let now = start + Duration::from_secs(10);
        let eta = pace.eta(now, 5000);
        assert!((45..=55).contains(&eta.as_secs()), "{eta:?}");
        assert_eq!(pace.eta(now, 1), ETA_MIN);
        assert_eq!(pace.eta(now + Duration::from_secs(60), 5000), ETA_MAX, "it stands still now");
    }

    #[test]
    fn times_without_mail_do_not_count() {
        let start = super::super::tests::start();
        let mut pace = Pace::default();
        // One a minute, each taken within a hundredth of a second.
        for minute in 0..2000 {
            let at = start + Duration::from_secs(60 * minute);
            pace.came(at);
            pace.took_one(at + Duration::from_millis(10), false);
        }
        let eta = pace.eta(start + Duration::from_secs(120_000), 1000);
        assert!((9..=11).contains(&eta.as_secs()), "{eta:?}");
    }
}
