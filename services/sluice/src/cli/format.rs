//! Times, sizes and numbers as people read them.

use std::time::Duration;

use sluice_mail::UnixMs;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// `4 min 12 s`: the two largest units, cut off below.
pub(super) fn span(length: Duration) -> String {
    let secs = length.as_secs();
    let two = |large: u64, large_name: &str, small: u64, small_name: &str| match (secs / large, secs % large / small) {
        (n, 0) => format!("{n} {large_name}"),
        (n, rest) => format!("{n} {large_name} {rest} {small_name}"),
    };
    match secs {
        0..MINUTE => format!("{secs} s"),
        MINUTE..HOUR => two(MINUTE, "min", 1, "s"),
        HOUR..DAY => two(HOUR, "h", MINUTE, "min"),
        DAY.. => two(DAY, "d", HOUR, "h"),
    }
}

/// `in 4 min 12 s`, or `now` when that is over.
pub(super) fn until(at: UnixMs, now: UnixMs) -> String {
    let left = at.since(now);
    if left < Duration::from_secs(1) { "now".to_owned() } else { format!("in {}", span(left)) }
}

/// `4 min 12 s ago`.
pub(super) fn ago(at: UnixMs, now: UnixMs) -> String {
    let past = now.since(at);
    if past < Duration::from_secs(1) { "just now".to_owned() } else { format!("{} ago", span(past)) }
}

/// `2026-11-23 21:05:10 UTC`.
pub(super) fn utc(at: UnixMs) -> String {
    let secs = i64::try_from(at.0 / 1000).unwrap_or(i64::MAX);
    let t = mail_parser::DateTime::from_timestamp(secs);
    let (date, time) = ((t.year, t.month, t.day), (t.hour, t.minute, t.second));
    format!("{:04}-{:02}-{:02} {:02}:{:02}:{:02} UTC", date.0, date.1, date.2, time.0, time.1, time.2)
}

/// `812 B`, `4.1 KiB`, `25 MiB`.
pub(super) fn size(octets: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if octets < 1024 {
        return format!("{octets} B");
    }
    // The largest unit of which there is at least one.
    let place = usize::try_from(octets.ilog2() / 10 - 1).unwrap_or(0).min(UNITS.len() - 1);
    let tenths = u128::from(octets) * 10 / (1 << (10 * (place + 1)));
    match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole} {}", UNITS[place]),
        (whole, _) if whole >= 100 => format!("{whole} {}", UNITS[place]),
        (whole, tenth) => format!("{whole}.{tenth} {}", UNITS[place]),
    }
}

/// `1,234,567`.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 envelope`, `2 envelopes`.
pub(super) fn counted(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(n), if n == 1 { "" } else { "s" })
}

/// The text without what a terminal would obey: peers choose the words of their replies.
pub(super) fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_show_two_units() {
        for (secs, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (252, "4 min 12 s"),
            (3_600, "1 h"),
            (3_659, "1 h"),
            (3_900, "1 h 5 min"),
            (86_399, "23 h 59 min"),
            (86_400, "1 d"),
            (388_800, "4 d 12 h"),
            (100 * 86_400, "100 d"),
        ] {
            assert_eq!(span(Duration::from_secs(secs)), text);
        }
    }

    #[test]
    fn times_are_told_from_now() {
        let now = UnixMs(1_795_464_000_000);
        assert_eq!(until(now.plus(Duration::from_secs(252)), now), "in 4 min 12 s");
        assert_eq!((until(UnixMs(0), now), until(now, now)), ("now".into(), "now".into()));
        assert_eq!((ago(UnixMs(now.0 - 61_000), now), ago(now, now)), ("1 min 1 s ago".into(), "just now".into()));
        assert_eq!(ago(UnixMs(now.0 + 5_000), now), "just now");
        assert_eq!(utc(now), "2026-11-23 20:00:00 UTC");
        assert_eq!(utc(UnixMs(0)), "1970-01-01 00:00:00 UTC");
    }

    #[test]
    fn sizes_and_counts() {
        for (octets, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (4_200, "4.1 KiB"),
            (150 << 10, "150 KiB"),
            ((150 << 10) + 512, "150 KiB"),
            (25 << 20, "25 MiB"),
            ((1 << 30) - 1, "1023 MiB"),
            (3 << 40, "3 TiB"),
            (u64::MAX, "16777215 TiB"),
        ] {
            assert_eq!(size(octets), text);
        }
        for (n, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(n), text);
        }
        assert_eq!(
            (counted(1, "envelope"), counted(2_000, "envelope")),
            ("1 envelope".into(), "2,000 envelopes".into())
        );
    }

    #[test]
    fn nothing_reaches_the_terminal_that_it_would_obey() {
        assert_eq!(harmless("550 \x1b[2Jgo\r\naway\u{9b}1m ü"), "550 \u{fffd}[2Jgo\u{fffd}\u{fffd}away\u{fffd}1m ü");
    }
}
