//! The kinds of value that TOML does not have: lengths of time, sizes and rates.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time as people write it: `30s`, `5m`, `1d12h`, `1w2d12h30m`. Units are `w`, `d`, `h`, `m`, `s` and
/// `ms`, largest first, each once. A bare number is refused, because nobody can tell its unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

/// A size in octets, as people write it: `25MiB`, `512kB`, or a bare number of octets. `KiB`, `MiB`, `GiB` and `TiB`
/// are powers of 1024, `kB`, `MB`, `GB` and `TB` powers of 1000; the case of the letters does not matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// How often something may happen, as people write it: `100/15m` (100 in any 15 minutes), `10/s`, `0` (never) or
/// `unlimited`, which is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate(pub Option<sluice_mail::Rate>);

/// What was expected where a text is no [`Time`].
const TIME_EXPECTED: &str = "a time such as \"30s\", \"5m\" or \"1d12h\" (units w, d, h, m, s, ms; largest first)";
/// What was expected where a text is no [`Size`].
const SIZE_EXPECTED: &str = "a size such as \"25MiB\", \"512kB\" or a whole number of octets";

/// What was expected where a text is no [`Rate`].
const RATE_EXPECTED: &str = "a rate such as \"100/15m\", \"10/s\", \"0\" or \"unlimited\" (units d, h, m, s)";

/// Milliseconds per unit, largest first.
const TIME_UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Octets per unit, largest first within each family.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// The text is not a value of this kind; the message says what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct ValueError(&'static str);

impl Time {
    /// So many seconds.
    #[must_use]
    pub const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// So many minutes.
    #[must_use]
    pub const fn mins(mins: u64) -> Self {
        Self::secs(mins * 60)
    }

    /// So many hours.
    #[must_use]
    pub const fn hours(hours: u64) -> Self {
        Self::mins(hours * 60)
    }
}

impl Size {
    /// So many KiB.
    #[must_use]
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// So many MiB.
    #[must_use]
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// So many GiB.
    #[must_use]
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }
}

impl From<Time> for Duration {
    fn from(time: Time) -> Self {
        time.0
    }
}

impl FromStr for Time {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (ms, _) = terms(text, &TIME_UNITS).ok_or(ValueError(TIME_EXPECTED))?;
        Ok(Self(Duration::from_millis(ms)))
    }
}

impl FromStr for Size {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let text = text.trim();
        if let Ok(octets) = text.parse() {
            return Ok(Self(octets));
        }
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let factor = SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim_start())).map(|u| u.1);
        let octets = factor.and_then(|f| number.parse::<u64>().ok()?.checked_mul(f));
        octets.map(Self).ok_or(ValueError(SIZE_EXPECTED))
    }
}

impl FromStr for Rate {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text.trim() {
            "unlimited" => Ok(Self(None)),
            rate => rate.parse().map(|rate| Self(Some(rate))).map_err(|_| ValueError(RATE_EXPECTED)),
        }
    }
}

/// Sums `<number><unit>` terms whose units appear in the order of `units`, each once. Gives the sum and the number of
/// terms, at least one.
fn terms(text: &str, units: &[(&str, u64)]) -> Option<(u64, usize)> {
    let (mut rest, mut next_unit, mut sum, mut count) = (text.trim(), 0, 0u64, 0);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        let place = units[next_unit..].iter().position(|(name, _)| *name == unit)?;
        sum = sum.checked_add(number.parse::<u64>().ok()?.checked_mul(units[next_unit + place].1)?)?;
        next_unit += place + 1;
        count += 1;
        rest = after;
    }
    (count > 0).then_some((sum, count))
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if ms == 0 {
            return f.write_str("0s");
        }
        for (name, factor) in TIME_UNITS {
            if ms >= factor {
                write!(f, "{}{name}", ms / factor)?;
                ms %= factor;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = SIZE_UNITS[..4].iter().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        match unit {
            Some((name, factor)) => write!(f, "{}{name}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(rate) => rate.fmt(f),
            None => f.write_str("unlimited"),
        }
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(TIME_EXPECTED)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
                text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(SIZE_EXPECTED)
            }

            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Size, E> {
                u64::try_from(n).map(Size).map_err(|_| E::invalid_value(de::Unexpected::Signed(n), &self))
            }

            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Size, E> {
                Ok(Size(n))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Rate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(RATE_EXPECTED)
            }

            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Rate, E> {
                n.to_string().parse().map_err(|_| E::invalid_value(de::Unexpected::Signed(n), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Rate, E> {
                text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_times() {
        for (text, secs, shown) in [
            ("30s", 30, "30s"),
            ("5m", 300, "5m"),
            ("1h6m40s", 4000, "1h6m40s"),
            ("1d12h", 129_600, "1d12h"),
            ("36h", 129_600, "1d12h"),
            ("4d12h", 388_800, "4d12h"),
            ("1w2d12h30m", 822_600, "1w2d12h30m"),
            ("0s", 0, "0s"),
            ("2000ms", 2, "2s"),
        ] {
            let time: Time = text.parse().unwrap();
            assert_eq!((time.0, time.to_string().as_str()), (Duration::from_secs(secs), shown), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in ["", "5", "m", "5x", "5m1h", "5m5m", "-5m", "1.5h", "5 m", "5M", "99999999999999999w", "5m3"] {
            assert!(text.parse::<Time>().is_err(), "{text}");
        }
    }

    #[test]
    fn reads_and_writes_sizes() {
        for (text, octets, shown) in [
            ("25MiB", 25 << 20, "25MiB"),
            ("25mib", 25 << 20, "25MiB"),
            ("128 MiB", 128 << 20, "128MiB"),
            ("1024", 1024, "1KiB"),
            ("10MB", 10_000_000, "10000000"),
            ("1kB", 1000, "1000"),
            ("0", 0, "0"),
            ("7B", 7, "7"),
        ] {
            let size: Size = text.parse().unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (octets, shown), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5MiB", "1MiBs", "1Mi", "99999999999999999999", "99999999999TiB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn reads_and_writes_rates() {
        for (text, rate) in [("100/15m", Some((100, 900))), ("10/s", Some((10, 1))), ("unlimited", None)] {
            let read: Rate = text.parse().unwrap();
            assert_eq!(read.0.map(|r| (r.count, r.per.as_secs())), rate, "{text}");
            assert_eq!(read.to_string(), text);
        }
        let none: Rate = "0".parse().unwrap();
        assert_eq!((none.0.map(|r| r.count), none.to_string().as_str()), (Some(0), "0"));
        for text in ["", "100", "100/", "/m", "-1/m", "1/0m", "1/m15", "no limit", "1.5/s"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[derive(Deserialize, Serialize, Debug, PartialEq)]
    struct Limited {
        rate: Rate,
    }

    #[test]
    fn a_rate_passes_through_toml() {
        for (text, rate) in [("rate = \"5/m\"", "5/m"), ("rate = 0", "0"), ("rate = \"unlimited\"", "unlimited")] {
            assert_eq!(toml::from_str::<Limited>(text).unwrap().rate.to_string(), rate);
        }
        let error = toml::from_str::<Limited>("rate = 5").unwrap_err();
        assert!(error.message().contains("expected a rate such as"), "{error}");
    }

    #[derive(Deserialize, Serialize, Debug, PartialEq)]
    struct Both {
        time: Time,
        size: Size,
    }

    #[test]
    fn passes_through_toml() {
        let both = Both { time: Time::mins(5), size: Size::mib(25) };
        let text = toml::to_string(&both).unwrap();
        assert_eq!(text, "time = \"5m\"\nsize = \"25MiB\"\n");
        assert_eq!(toml::from_str::<Both>(&text).unwrap(), both);
        assert_eq!(toml::from_str::<Both>("time = \"300s\"\nsize = 26214400").unwrap(), both);
        let error = toml::from_str::<Both>("time = 300\nsize = 1").unwrap_err();
        assert!(error.message().contains("expected a time such as"), "{error}");
    }
}
