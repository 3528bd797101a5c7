//! When a deferred envelope is tried again.

use std::time::Duration;

/// Intervals that a schedule may list.
const INTERVALS_MAX: usize = 30;
/// The shortest and the longest interval.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
const INTERVAL_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// The waits after the first, second, … failed attempt; the last one repeats. One that exists is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetrySchedule {
    intervals: Vec<Duration>,
}

/// Why a list of intervals is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Nothing in it.
    #[error("the list of intervals is empty")]
    Empty,
    /// More than 30.
    #[error("{0} intervals are more than {INTERVALS_MAX}")]
    TooMany(usize),
    /// Below a second or above a week.
    #[error("{0:?} is not between 1s and 7d")]
    OutOfRange(Duration),
}

impl RetrySchedule {
    /// A schedule of these intervals: 1 to 30 of them, each of 1 second to 7 days.
    pub fn new(intervals: Vec<Duration>) -> Result<Self, ScheduleError> {
        if intervals.is_empty() {
            return Err(ScheduleError::Empty);
        }
        if intervals.len() > INTERVALS_MAX {
            return Err(ScheduleError::TooMany(intervals.len()));
        }
        match intervals.iter().find(|i| !(INTERVAL_MIN..=INTERVAL_MAX).contains(*i)) {
            Some(wrong) => Err(ScheduleError::OutOfRange(*wrong)),
            None => Ok(Self { intervals }),
        }
    }

    /// The wait after `attempts` attempts were made, moved by up to 10 % either way by `random` in 0.0 to 1.0,
    /// so that what failed together does not come back together.
    #[must_use]
    pub fn delay(&self, attempts: u32, random: f64) -> Duration {
        let place = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX).min(self.intervals.len() - 1);
        self.intervals[place].mul_f64(0.9 + 0.2 * random.clamp(0.0, 1.0))
    }
}

impl Default for RetrySchedule {
    /// 5 m, 10 m, 20 m, 40 m, then every 1 h 6 m 40 s.
    fn default() -> Self {
        Self { intervals: [300, 600, 1200, 2400, 4000].map(Duration::from_secs).to_vec() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_interval_repeats() {
        let schedule = RetrySchedule::default();
        for (attempts, seconds) in [(0, 300), (1, 300), (2, 600), (4, 2400), (5, 4000), (6, 4000), (u32::MAX, 4000)] {
            assert_eq!(schedule.delay(attempts, 0.5), Duration::from_secs(seconds), "{attempts}");
        }
    }

    #[test]
    fn jitter_stays_within_a_tenth() {
        let schedule = RetrySchedule::default();
        for random in [-1.0, 0.0, 0.1, 0.5, 0.999, 1.0, 7.0] {
            let delay = schedule.delay(1, random);
            assert!((270..=330).contains(&delay.as_secs()), "{random}: {delay:?}");
        }
        assert_ne!(schedule.delay(1, 0.1), schedule.delay(1, 0.9));
    }

    #[test]
    fn refuses_what_is_no_schedule() {
        let s = Duration::from_secs;
        assert_eq!(RetrySchedule::new(vec![]), Err(ScheduleError::Empty));
        assert_eq!(RetrySchedule::new(vec![s(1); 31]), Err(ScheduleError::TooMany(31)));
        assert_eq!(RetrySchedule::new(vec![s(5), s(0)]), Err(ScheduleError::OutOfRange(s(0))));
        assert!(RetrySchedule::new(vec![s(8 * 86_400)]).is_err());
        assert!(RetrySchedule::new(vec![s(1); 30]).is_ok());
    }
}
