//! An exact rate: who may go now, and when the next may.

use std::time::{Duration, Instant};

use sluice_mail::Rate;

/// What may be caught up after the caller came late, at most; and at most this part of the period.
const SLACK_MAX: Duration = Duration::from_millis(100);
const SLACK_PART: u32 = 50;

/// At most `count` in any stretch of `per` (a stretch without its end), by the times at which they are taken.
///
/// Generic cell rate algorithm: one goes each `interval`, and one that comes up to `slack` early is let through, so
/// that time lost by late callers is caught up. With `interval = (per + slack) / count` the (count + 1)th after any
/// one comes at least `count * interval - slack = per` later, so the slack is paid for by the interval and the rate
/// is never exceeded. It costs 2 % of rates per second, and next to nothing of those per minute or longer.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    interval: Duration,
    slack: Duration,
    /// When the next would be due at an even pace.
    due: Option<Instant>,
}

impl Meter {
    /// For a rate that allows something.
    pub(super) fn new(rate: Rate) -> Self {
        let slack = (rate.per / SLACK_PART).min(SLACK_MAX);
        let nanos = (rate.per + slack).as_nanos().div_ceil(u128::from(rate.count.max(1)));
        let interval = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        Self { interval, slack, due: None }
    }

    /// How many may go at once.
    pub(super) fn available(&self, now: Instant) -> u32 {
        let ahead = self.due.map_or(Duration::ZERO, |due| due.saturating_duration_since(now));
        match self.slack.checked_sub(ahead) {
            Some(left) => u32::try_from(1 + left.as_nanos() / self.interval.as_nanos().max(1)).unwrap_or(u32::MAX),
            None => 0,
        }
    }

    /// When `count` may go at once; `None` when so many never may.
    pub(super) fn ready_at(&self, now: Instant, count: u32) -> Option<Instant> {
        let more = self.interval.checked_mul(count.saturating_sub(1))?;
        let before = self.slack.checked_sub(more)?;
        let at = self.due.and_then(|due| due.checked_sub(before));
        Some(at.map_or(now, |at| at.max(now)))
    }

    /// When one may go, with `others` before it.
    pub(super) fn turn_after(&self, now: Instant, others: u32) -> Instant {
        let at = self.ready_at(now, 1).unwrap_or(now);
        self.interval.checked_mul(others).and_then(|wait| at.checked_add(wait)).unwrap_or(at)
    }

    /// One goes at `at`; whether it may is for the caller to ask before.
    pub(super) fn take(&mut self, at: Instant) {
        let due = self.due.map_or(at, |due| due.max(at));
        self.due = Some(due + self.interval);
    }

    /// Whether nothing is remembered that a new one would not know.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        self.due.is_none_or(|due| due <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The most times within any stretch of `per` that begins at one of them.
    fn most_within(times: &[Instant], per: Duration) -> usize {
        let within = |(i, from): (usize, &Instant)| times[i..].partition_point(|at| *at < *from + per);
        times.iter().enumerate().map(within).max().unwrap_or(0)
    }

    fn random(seed: u64) -> impl FnMut(u64) -> u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        move |n| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % n
        }
    }

    #[test]
    fn never_more_than_its_count_in_any_stretch_however_it_is_asked() {
        for (text, pause_max_us) in [
            ("1/s", 300_000),
            ("10/s", 40_000),
            ("50/s", 5_000),
            ("1000/s", 3_000),
            ("100000/s", 10),
            ("7/m", 2_000_000),
            ("100/15m", 5_000_000),
            ("1/h", 600_000_000),
        ] {
            let rate: Rate = text.parse().unwrap();
            for seed in 1..20 {
                let mut random = random(seed);
                let mut meter = Meter::new(rate);
                let mut now = super::super::tests::start();
                let mut times = Vec::new();
                for _ in 0..3000 {
                    // Sometimes nobody asks for long, so that bursts are tried.
                    let pause = if random(100) == 0 { pause_max_us * 100 } else { pause_max_us };
                    now += Duration::from_micros(random(pause + 1));
                    for _ in 0..random(30) {
                        if meter.available(now) > 0 {
                            meter.take(now);
                            times.push(now);
                        }
                    }
                }
                let most = most_within(&times, rate.per);
                assert!(most <= rate.count as usize, "{text}: {most}, seed {seed}");
            }
        }
    }

    #[test]
    fn takes_all_that_is_allowed_but_for_the_slack() {
        for (text, late_us, want) in [("10/s", 1500, 0.96), ("1000/s", 1500, 0.96), ("600/m", 2000, 0.97)] {
            let rate: Rate = text.parse().unwrap();
            let mut meter = Meter::new(rate);
            let start = super::super::tests::start();
            let (mut now, mut taken) = (start, 0u32);
            while now < start + Duration::from_secs(100) {
                while meter.available(now) > 0 {
                    meter.take(now);
                    taken += 1;
                }
                // A caller that comes late each time.
                now = meter.ready_at(now, 1).unwrap() + Duration::from_micros(late_us);
            }
            let share = f64::from(taken) / 100.0 / rate.per_second();
            assert!((want..=1.01).contains(&share), "{text}: {share}");
        }
    }

    #[test]
    fn a_time_foretold_holds() {
        let start = super::super::tests::start();
        let mut meter = Meter::new("1000/s".parse().unwrap());
        let burst = meter.available(start);
        assert_eq!(burst, 20);
        for _ in 0..burst {
            meter.take(start);
        }
        for count in 1..=burst {
            let at = meter.ready_at(start, count).unwrap();
            assert!(meter.available(at) >= count && meter.available(at - Duration::from_nanos(1)) < count, "{count}");
        }
        assert_eq!(meter.ready_at(start, burst + 1), None);
    }

    #[test]
    fn times_taken_in_advance_count_too() {
        let rate: Rate = "10/s".parse().unwrap();
        let start = super::super::tests::start();
        let mut meter = Meter::new(rate);
        let mut times = Vec::new();
        for _ in 0..50 {
            let at = meter.ready_at(start, 1).unwrap();
            meter.take(at);
            times.push(at);
        }
        assert!(most_within(&times, rate.per) <= 10);
        assert!(times[49] > start + Duration::from_millis(4900));
    }
}
