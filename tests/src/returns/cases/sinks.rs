//! smtp-sink in its modes.

use super::{expired, returned};
use crate::returns::case::{Case, Expect, Letter, Peer};

/// How smtp-sink refuses.
const HARD: &str = "500 5.3.0";
/// And how it puts off.
const SOFT: &str = "450 4.3.0";

pub(super) fn cases() -> Vec<Case> {
    let sink = |name, options, expect| Case::new("smtp-sink", name, Peer::SmtpSink(options), expect);
    let hard = || returned("5.3.0", &[HARD]);
    let soft = || expired(&[SOFT]);
    let busy = || expired(&["421"]);
    let closed = || expired(&["closed"]);
    vec![
        sink("hard-connect", &["-f", "CONNECT"], hard()),
        sink("hard-ehlo-and-helo", &["-f", "EHLO,HELO"], hard()),
        sink("hard-ehlo", &["-f", "EHLO"], Expect::Delivered),
        sink("hard-mail", &["-f", "MAIL"], hard()),
        sink("hard-rcpt", &["-f", "RCPT"], hard()),
        sink("hard-data", &["-f", "DATA"], hard()),
        sink("hard-dot", &["-f", "."], hard()),
        sink("hard-rset-and-quit", &["-f", "RSET,QUIT"], Expect::Delivered),
        sink("soft-connect", &["-r", "CONNECT"], soft()),
        sink("soft-ehlo", &["-r", "EHLO,HELO"], soft()),
        sink("soft-mail", &["-r", "MAIL"], soft()),
        sink("soft-rcpt", &["-r", "RCPT"], soft()),
        sink("soft-data", &["-r", "DATA"], soft()),
        sink("soft-dot", &["-r", "."], soft()),
        sink("busy-connect", &["-Q", "CONNECT"], busy()),
        sink("busy-ehlo", &["-Q", "EHLO,HELO"], busy()),
        sink("busy-mail", &["-Q", "MAIL"], busy()),
        sink("busy-rcpt", &["-Q", "RCPT"], busy()),
        sink("busy-data", &["-Q", "DATA"], busy()),
        sink("busy-dot", &["-Q", "."], busy()),
        sink("closes-at-connect", &["-q", "CONNECT"], closed()),
        sink("closes-at-ehlo", &["-q", "EHLO,HELO"], closed()),
        sink("closes-at-mail", &["-q", "MAIL"], closed()),
        sink("closes-at-rcpt", &["-q", "RCPT"], closed()),
        sink("closes-at-data", &["-q", "DATA"], closed()),
        sink("closes-at-dot", &["-q", "."], closed()),
        sink("refuses-in-the-content", &["-A", "1"], returned("5.0.0", &["550"])).letter(Letter::Large(400_000)),
        sink("no-esmtp", &["-e"], Expect::Delivered),
        sink("cisco-pix", &["-P"], Expect::Delivered),
        sink("no-pipelining", &["-p"], Expect::Delivered),
        sink("no-8bitmime", &["-8"], Expect::Delivered).letter(Letter::EightBit),
        sink("no-enhanced-codes", &["-E"], Expect::Delivered),
        sink("slow-at-data", &["-w", "1"], Expect::Delivered),
        sink("slow-at-dot", &["-W", ".:1"], Expect::Delivered),
        sink("reads-slowly", &["-H", "1", "-T", "4096"], Expect::Delivered).letter(Letter::Large(200_000)),
    ]
}
