//! How often something may be done: so many in any stretch of time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// The longest period.
const PER_MAX: u64 = 366 * DAY;

/// At most `count` in any stretch of `per`, as `100/15m`. A count of 0 forbids it altogether.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In how long: whole seconds, 1 second to 366 days.
    pub per: Duration,
}

/// Why a text is not a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// It has another form.
    #[error("expected `N/s`, `N/m`, `N/h`, `N/d`, one with a number of them such as `100/15m`, or `0`")]
    Form,
    /// A number is too large.
    #[error("a rate has at most 4294967295 in at most 366 days")]
    TooLarge,
    /// No time to count in.
    #[error("the period of a rate cannot be 0")]
    NoPeriod,
}

impl Rate {
    /// Nothing may be done.
    pub const NONE: Self = Self { count: 0, per: Duration::from_secs(1) };

    /// Whether it forbids everything.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.count == 0
    }

    /// Per second, for comparing two of them.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        f64::from(self.count) / self.per.as_secs_f64()
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text == "0" {
            return Ok(Self::NONE);
        }
        let (count, period) = text.split_once('/').ok_or(RateError::Form)?;
        let count = number(count.trim_end())?;
        let period = period.trim_start();
        let unit = match period.as_bytes().last() {
            Some(b's') => 1,
            Some(b'm') => MINUTE,
            Some(b'h') => HOUR,
            Some(b'd') => DAY,
            Some(_) | None => return Err(RateError::Form),
        };
        let units = match &period[..period.len() - 1] {
            "" => 1,
            many => u64::from(number(many)?),
        };
        let seconds = units * unit;
        if seconds == 0 {
            return Err(RateError::NoPeriod);
        }
        if seconds > PER_MAX {
            return Err(RateError::TooLarge);
        }
        Ok(Self { count, per: Duration::from_secs(seconds) })
    }
}

fn number(digits: &str) -> Result<u32, RateError> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(RateError::Form);
    }
    digits.parse().map_err(|_| RateError::TooLarge)
}

impl fmt::Display for Rate {
    /// In the largest unit that divides the period.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() {
            return f.write_str("0");
        }
        let seconds = self.per.as_secs().max(1);
        let units = [(DAY, 'd'), (HOUR, 'h'), (MINUTE, 'm')];
        let (unit, letter) = units.into_iter().find(|(unit, _)| seconds.is_multiple_of(*unit)).unwrap_or((1, 's'));
        match seconds / unit {
            1 => write!(f, "{}/{letter}", self.count),
            many => write!(f, "{}/{many}{letter}", self.count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_a_count_per_period() {
        for (text, count, seconds, shown) in [
            ("100/15m", 100, 900, "100/15m"),
            ("10/s", 10, 1, "10/s"),
            (" 10 / 1s ", 10, 1, "10/s"),
            ("5/60s", 5, 60, "5/m"),
            ("5/90m", 5, 5400, "5/90m"),
            ("1000/h", 1000, 3600, "1000/h"),
            ("1/2d", 1, 172_800, "1/2d"),
            ("4294967295/366d", u32::MAX, 366 * 86_400, "4294967295/366d"),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.count, rate.per.as_secs(), rate.to_string().as_str()), (count, seconds, shown), "{text}");
            assert_eq!(shown.parse(), Ok(rate));
        }
    }

    #[test]
    fn nought_forbids_everything() {
        for text in ["0", "0/s", "0/15m"] {
            let rate: Rate = text.parse().unwrap();
            assert!(rate.is_none(), "{text}");
            assert_eq!(rate.to_string(), "0");
        }
    }

    #[test]
    fn refuses_what_is_no_rate() {
        for (text, error) in [
            ("", RateError::Form),
            ("10", RateError::Form),
            ("unlimited", RateError::Form),
            ("10/", RateError::Form),
            ("/s", RateError::Form),
            ("10/w", RateError::Form),
            ("10/ s5", RateError::Form),
            ("-1/s", RateError::Form),
            ("+1/s", RateError::Form),
            ("1.5/s", RateError::Form),
            ("10/1m30s", RateError::Form),
            ("10/é", RateError::Form),
            ("10/0s", RateError::NoPeriod),
            ("4294967296/s", RateError::TooLarge),
            ("1/367d", RateError::TooLarge),
        ] {
            assert_eq!(text.parse::<Rate>(), Err(error), "{text}");
        }
    }
}
