//! Moments as people write them: `2026-12-01T08:00:00Z` (RFC 3339), or a day, which begins at midnight UTC.

use mail_parser::DateTime;
use sluice_mail::UnixMs;

/// Reads a moment; `None`: it is none, or lies before 1970.
pub(crate) fn read(text: &str) -> Option<UnixMs> {
    let (day, time) = match text.len() {
        10 => (text, "00:00:00Z"),
        _ => (text.get(..10)?, text.get(10..)?.strip_prefix(['T', 't', ' '])?),
    };
    let (clock, zone) = time.split_at_checked(8)?;
    let zone = zone.strip_prefix('.').map_or(zone, |rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    let zone = if matches!(zone, "Z" | "z") { "+00:00" } else { zone };
    let before_gmt = zone.starts_with('-');
    let [year, month, day] = numbers(day, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    let [tz_hour, tz_minute] = numbers(zone.strip_prefix(['+', '-'])?, ':', [2, 2])?;
    let narrow = |n: u16| u8::try_from(n).ok();
    let at = DateTime {
        year,
        month: narrow(month)?,
        day: narrow(day)?,
        hour: narrow(hour)?,
        minute: narrow(minute)?,
        second: narrow(second)?,
        tz_before_gmt: before_gmt,
        tz_hour: narrow(tz_hour)?,
        tz_minute: narrow(tz_minute)?,
    };
    let there_is = at.is_valid() && DateTime::from_timestamp(at.to_timestamp_local()).day == at.day;
    let secs = u64::try_from(at.to_timestamp()).ok().filter(|_| there_is)?;
    Some(UnixMs(secs * 1000))
}

/// Numbers of exactly so many digits, with `between` between them.
fn numbers<const N: usize>(text: &str, between: char, digits: [usize; N]) -> Option<[u16; N]> {
    let mut words = text.split(between);
    let mut found = [0; N];
    for (found, digits) in found.iter_mut().zip(digits) {
        let word = words.next().filter(|word| word.len() == digits && word.bytes().all(|b| b.is_ascii_digit()))?;
        *found = word.parse().ok()?;
    }
    words.next().is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read() {
        for (text, expected) in [
            ("2026-11-23T20:00:00Z", Some(1_795_464_000_000)),
            ("2026-11-23T21:00:00+01:00", Some(1_795_464_000_000)),
            ("2026-11-23 18:30:00.5-01:30", Some(1_795_464_000_000)),
            ("2026-11-23", Some(1_795_392_000_000)),
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1969-12-31", None),
            ("2026-02-30", None),
            ("2026-13-01", None),
            ("2026-11-23T20:00Z", None),
            ("2026-11-23T20:00:00", None),
            ("2026-11-23T25:00:00Z", None),
            ("26-11-23", None),
            ("tomorrow", None),
            ("ä026-11-2T20:00:00Z", None),
            ("", None),
        ] {
            assert_eq!(read(text), expected.map(UnixMs), "{text}");
        }
    }
}
