//! Dates by RFC 5322 3.3, the obsolete forms of 4.3 read but never written.

use crate::UnixMs;

const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAY_S: u64 = 86_400;
/// 9999-12-31T23:59:59Z; later times are written as this.
const LAST_S: u64 = 253_402_300_799;

/// Why a text is not a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a date of RFC 5322")]
pub struct DateError;

/// Writes `Mon, 23 Nov 2026 20:00:00 +0000`. Times after the year 9999 are written as its last second.
#[must_use]
pub fn format_rfc5322(at: UnixMs) -> String {
    let days = (at.0 / 1000).min(LAST_S) / DAY_S;
    let ((year, month, day), (hour, minute, second)) = civil(at);
    let week_day = name(&DAYS, (days + 4) % 7);
    let month = name(&MONTHS, month - 1);
    format!("{week_day}, {day} {month} {year} {hour:02}:{minute:02}:{second:02} +0000")
}

/// Reads a date: day of the week and seconds may be missing, the zone may be a name, comments may stand
/// anywhere. A day of the week that is wrong, or a day that the month does not have, is an error.
/// Times before 1970 are read as its first second.
pub fn parse_rfc5322(text: &str) -> Result<UnixMs, DateError> {
    let text = without_comments(text)?;
    let (week_day, rest) = match text.split_once(',') {
        Some((day, rest)) => (Some(index(&DAYS, day.trim()).ok_or(DateError)?), rest),
        None => (None, text.as_str()),
    };
    let mut words = rest.split_ascii_whitespace();
    let mut word = || words.next().ok_or(DateError);
    let day = number(word()?, 1..=2)?;
    let month = index(&MONTHS, word()?).ok_or(DateError)? + 1;
    let year = full_year(word()?)?;
    let time = seconds_of_day(word()?)?;
    let zone = zone_minutes(word()?)?;
    if words.next().is_some() || day == 0 || day > days_in_month(year, month) {
        return Err(DateError);
    }
    let days = days_from_civil(year, month, day);
    if week_day.is_some_and(|w| i64::try_from(w) != Ok((days + 4).rem_euclid(7))) {
        return Err(DateError);
    }
    let secs = days * 86_400 + i64::try_from(time).map_err(|_| DateError)? - zone * 60;
    Ok(UnixMs(u64::try_from(secs).unwrap_or(0) * 1000))
}

/// A time as year, month and day, and hour, minute and second, in UTC; for other forms of date than a header's. Times
/// after the year 9999 are its last second.
#[must_use]
pub fn civil(at: UnixMs) -> ((u64, u64, u64), (u64, u64, u64)) {
    let secs = (at.0 / 1000).min(LAST_S);
    let (days, time) = (secs / DAY_S, secs % DAY_S);
    (civil_from_days(days), (time / 3600, time / 60 % 60, time % 60))
}

fn name(names: &[&'static str], i: u64) -> &'static str {
    usize::try_from(i).ok().and_then(|i| names.get(i)).copied().unwrap_or_default()
}

fn index(names: &[&str], word: &str) -> Option<u64> {
    let at = names.iter().position(|name| name.eq_ignore_ascii_case(word))?;
    u64::try_from(at).ok()
}

fn number(word: &str, digits: std::ops::RangeInclusive<usize>) -> Result<u64, DateError> {
    if !digits.contains(&word.len()) || !word.bytes().all(|b| b.is_ascii_digit()) {
        return Err(DateError);
    }
    word.parse().map_err(|_| DateError)
}

/// RFC 5322 4.3: two digits up to 49 are 20xx, other two and three digits count from 1900.
fn full_year(word: &str) -> Result<u64, DateError> {
    let year = number(word, 2..=4)?;
    Ok(match (word.len(), year) {
        (2, 0..=49) => year + 2000,
        (2 | 3, _) => year + 1900,
        (_, _) => year,
    })
}

fn seconds_of_day(word: &str) -> Result<u64, DateError> {
    let mut parts = word.split(':');
    let mut part = || parts.next().map(|p| number(p, 2..=2));
    let (Some(hour), Some(minute)) = (part(), part()) else { return Err(DateError) };
    let (hour, minute, second) = (hour?, minute?, part().unwrap_or(Ok(0))?);
    // 60 is a leap second.
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return Err(DateError);
    }
    Ok(hour * 3600 + minute * 60 + second)
}

fn zone_minutes(word: &str) -> Result<i64, DateError> {
    if let Some(digits) = word.strip_prefix(['+', '-']) {
        let value = number(digits, 4..=4)?;
        let minutes = i64::try_from(value / 100 * 60 + value % 100).map_err(|_| DateError)?;
        return if value % 100 > 59 {
            Err(DateError)
        } else {
            Ok(if word.starts_with('-') { -minutes } else { minutes })
        };
    }
    let hours = match word.to_ascii_uppercase().as_str() {
        "EDT" => -4,
        "EST" | "CDT" => -5,
        "CST" | "MDT" => -6,
        "MST" | "PDT" => -7,
        "PST" => -8,
        // GMT, UT, and by RFC 5322 4.3 whatever else is a name.
        other if (1..=5).contains(&other.len()) && other.bytes().all(|b| b.is_ascii_alphabetic()) => 0,
        _ => return Err(DateError),
    };
    Ok(hours * 60)
}

/// Comments become blanks.
fn without_comments(text: &str) -> Result<String, DateError> {
    let mut out = String::with_capacity(text.len());
    let (mut depth, mut escaped) = (0u32, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if depth > 0 => escaped = true,
            '(' => depth += 1,
            ')' => {
                depth = depth.checked_sub(1).ok_or(DateError)?;
                out.push(' ');
            }
            c if depth == 0 => out.push(c),
            _ => {}
        }
    }
    if depth == 0 { Ok(out) } else { Err(DateError) }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in_month(year: u64, month: u64) -> u64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Year, month and day of a day counted from 1970-01-01 (Howard Hinnant's `civil_from_days`).
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The other way round; days before 1970 are negative. `year` is at least 1.
fn days_from_civil(year: u64, month: u64, day: u64) -> i64 {
    let year = if month <= 2 { year.saturating_sub(1) } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    i64::try_from(era * 146_097 + day_of_era).unwrap_or(i64::MAX).saturating_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_and_reads_back() {
        for (secs, text) in [
            (0, "Thu, 1 Jan 1970 00:00:00 +0000"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (1_078_012_799, "Sat, 28 Feb 2004 23:59:59 +0000"),
            (1_795_464_000, "Mon, 23 Nov 2026 20:00:00 +0000"),
            (4_107_542_400, "Mon, 1 Mar 2100 00:00:00 +0000"),
            (LAST_S, "Fri, 31 Dec 9999 23:59:59 +0000"),
        ] {
            assert_eq!(format_rfc5322(UnixMs(secs * 1000 + 999)), text);
            assert_eq!(parse_rfc5322(text), Ok(UnixMs(secs * 1000)), "{text}");
        }
        assert_eq!(format_rfc5322(UnixMs(u64::MAX)), "Fri, 31 Dec 9999 23:59:59 +0000");
    }

    #[test]
    fn every_day_reads_back() {
        for day in (0..LAST_S / DAY_S).step_by(17) {
            let at = UnixMs(day * DAY_S * 1000);
            assert_eq!(parse_rfc5322(&format_rfc5322(at)), Ok(at), "{day}");
        }
    }

    #[test]
    fn reads_the_other_forms() {
        let at = Ok(UnixMs(1_795_464_000_000));
        for text in [
            "Mon, 23 Nov 2026 20:00:00 +0000",
            "23 Nov 2026 20:00 +0000",
            "mon,23 nov 26 20:00:00 GMT",
            "Mon, 23 Nov 2026 22:30:00 +0230",
            "Mon, 23 Nov 2026 12:00:00 PST",
            "Mon, 23 Nov 2026 12:00:00 -0800 (Pacific (\\) Time))",
            " Mon , 23\tNov 126  20:00:00 UT ",
        ] {
            assert_eq!(parse_rfc5322(text), at, "{text}");
        }
        assert_eq!(parse_rfc5322("Wed, 31 Dec 1969 23:59:59 +0000"), Ok(UnixMs(0)));
    }

    #[test]
    fn refuses_what_is_no_date() {
        for text in [
            "",
            "now",
            "Mon",
            "Tue, 23 Nov 2026 20:00:00 +0000",
            "Xxx, 23 Nov 2026 20:00:00 +0000",
            "31 Nov 2026 20:00:00 +0000",
            "29 Feb 2026 20:00:00 +0000",
            "0 Nov 2026 20:00:00 +0000",
            "23 Nov 2026 24:00:00 +0000",
            "23 Nov 2026 20:60:00 +0000",
            "23 Nov 2026 20:00:61 +0000",
            "23 Nov 2026 20 +0000",
            "23 Nov 2026 20:00:00:00 +0000",
            "23 Nov 2026 20:00:00",
            "23 Nov 2026 20:00:00 0000",
            "23 Nov 2026 20:00:00 +00000",
            "23 Nov 2026 20:00:00 +0060",
            "23 Nov 2026 20:00:00 +0000 x",
            "23 Nov 2026 20:00:00 (",
            "23 Nov 2026 20:00:00 +0000)",
            "2026-11-23T20:00:00Z",
            "23 Nov 20261 20:00:00 +0000",
            "23 Nov 2026 20:00:00 +-000",
        ] {
            assert_eq!(parse_rfc5322(text), Err(DateError), "{text:?}");
        }
    }
}
