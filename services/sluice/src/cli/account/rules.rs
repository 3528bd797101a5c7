//! Flags that `add` and `set` share, and how their values are read.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use sluice_daemon::config::Time;
use sluice_mail::Lane;
use sluice_proto::control as api;
use sluice_registry::Dsn;

/// Stands for what is configured for delivery.
pub(super) const DEFAULT: &str = "default";

/// What happens to mail that cannot be delivered at once, or at all.
#[derive(Debug, Args)]
pub(super) struct ReturnArgs {
    /// What its senders get back for mail that cannot be delivered: a report with the message's headers, one with the
    /// full message, or nothing (off) [default: headers]
    #[arg(long, value_name = "headers|full|off", value_parser = dsn)]
    pub(super) dsn: Option<Dsn>,
    /// Reports that its senders get an hour; above it only the event is written; 0 is no limit of its own
    #[arg(long, value_name = "N")]
    pub(super) max_dsns_per_hour: Option<u32>,
    /// Waits after the first, second, ... failed attempt, the last one repeated, such as 5m,10m,1h; up to 30, each of
    /// 1s to 7d; `default`: as configured for delivery
    #[arg(long, value_name = "TIMES", value_parser = Waits::from_str)]
    pub(super) retry_after: Option<Waits>,
    /// How long delivery is tried, such as 2d12h, up to 30d; `default`: as configured for delivery
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    pub(super) bounce_after: Option<Duration>,
}

impl ReturnArgs {
    /// Sets what was given, and names those fields.
    pub(super) fn put(self, account: &mut api::Account) -> Vec<&'static str> {
        let mut fields = Vec::new();
        if let Some(dsn) = self.dsn {
            account.dsn = dsn.as_str().to_owned();
            fields.push("dsn");
        }
        if let Some(n) = self.max_dsns_per_hour {
            account.max_dsns_per_hour = n;
            fields.push("max_dsns_per_hour");
        }
        if let Some(Waits(waits)) = self.retry_after {
            account.retry_after_ms = waits.into_iter().map(millis).collect();
            fields.push("retry_after_ms");
        }
        if let Some(time) = self.bounce_after {
            account.bounce_after_ms = millis(time);
            fields.push("bounce_after_ms");
        }
        fields
    }

    /// Whether none was given.
    pub(super) fn is_empty(&self) -> bool {
        let Self { dsn, max_dsns_per_hour, retry_after, bounce_after } = self;
        dsn.is_none() && max_dsns_per_hour.is_none() && retry_after.is_none() && bounce_after.is_none()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Times between attempts; empty: as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waits(Vec<Duration>);

impl FromStr for Waits {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == DEFAULT {
            return Ok(Self(Vec::new()));
        }
        let each = text.split(',').map(|word| match word.trim().parse::<Time>() {
            Ok(time) if (Time::secs(1)..=Time::hours(7 * 24)).contains(&time) => Ok(time.0),
            Ok(time) => Err(format!("{time} is not between 1s and 7d")),
            Err(_) => Err(format!("expected times such as 5m,10m,1h or the word {DEFAULT}, got {word:?}")),
        });
        let waits = each.collect::<Result<Vec<_>, _>>()?;
        if waits.len() > 30 { Err(format!("{} times are more than 30", waits.len())) } else { Ok(Self(waits)) }
    }
}

/// Zero: as configured.
fn lifetime(text: &str) -> Result<Duration, String> {
    match text.parse::<Time>() {
        _ if text == DEFAULT => Ok(Duration::ZERO),
        Ok(time) if (Time::secs(1)..=Time::hours(30 * 24)).contains(&time) => Ok(time.0),
        Ok(time) => Err(format!("{time} is not between 1s and 30d")),
        Err(_) => Err(format!("expected a time such as 12h or 2d, or the word {DEFAULT}")),
    }
}

fn dsn(text: &str) -> Result<Dsn, &'static str> {
    Dsn::parse(text).ok_or("expected headers, full or off")
}

pub(super) fn lane(text: &str) -> Result<Lane, &'static str> {
    Lane::parse(text).ok_or("expected transactional or bulk")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_what_is_wrong_is_told() {
        let secs = |secs: &[u64]| Ok(Waits(secs.iter().copied().map(Duration::from_secs).collect()));
        let too_many = vec!["1m"; 31].join(",");
        for (text, expected) in [
            ("5m,10m", secs(&[300, 600])),
            ("1h30m, 2h", secs(&[5_400, 7_200])),
            ("default", secs(&[])),
            ("0s", Err("0s is not between 1s and 7d".to_owned())),
            ("5m,8d", Err("1w1d is not between 1s and 7d".to_owned())),
            ("5m,", Err("expected times such as 5m,10m,1h or the word default, got \"\"".to_owned())),
            ("10", Err("expected times such as 5m,10m,1h or the word default, got \"10\"".to_owned())),
            (&too_many, Err("31 times are more than 30".to_owned())),
        ] {
            assert_eq!(text.parse::<Waits>(), expected, "{text}");
        }
        assert_eq!(lifetime("2d12h"), Ok(Duration::from_secs(216_000)));
        assert_eq!(lifetime("default"), Ok(Duration::ZERO));
        assert!(lifetime("31d").unwrap_err().contains("between 1s and 30d"));
        assert!(lifetime("soon").unwrap_err().contains("such as 12h or 2d"));
    }
}
