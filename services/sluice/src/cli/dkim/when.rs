//! Times on the command line: absolute, or from now on.

use std::str::FromStr;
use std::time::Duration;

use sluice_daemon::config::Time;
use sluice_mail::UnixMs;

use crate::moment;

/// A time, as `2026-12-01T08:00:00Z`, `7d` or `now`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    At(UnixMs),
    In(Duration),
}

impl When {
    /// The time meant, said now.
    pub(super) fn from(self, now: UnixMs) -> UnixMs {
        match self {
            Self::At(at) => at,
            Self::In(time) => now.plus(time),
        }
    }
}

impl FromStr for When {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "now" {
            return Ok(Self::In(Duration::ZERO));
        }
        let relative = || text.strip_prefix('+').unwrap_or(text).parse::<Time>().ok().map(|time| Self::In(time.0));
        let when = moment::read(text).map(Self::At).or_else(relative);
        when.ok_or("expected a time such as 2026-12-01T08:00:00Z, one from now on such as 7d, or now")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_absolute_or_from_now_on() {
        let now = UnixMs(1_795_464_000_000);
        for (text, expected) in [
            ("now", Some(now.0)),
            ("7d", Some(now.0 + 7 * 86_400_000)),
            ("+1h30m", Some(now.0 + 5_400_000)),
            ("2026-11-23T20:00:01Z", Some(now.0 + 1_000)),
            ("-1d", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<When>().ok().map(|when| when.from(now).0), expected, "{text}");
        }
    }
}
