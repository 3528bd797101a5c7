//! The scenarios.

mod handshakes;
mod loops;
mod network;
mod peers;
mod postfix;
mod sinks;
mod waiting;
mod zones;

use super::case::{Case, Expect, Words};

/// Directives that some scenarios need.
pub(super) const DIRECTIVES: &str = concat!(
    "[[delivery.domains]]\ndomain = \"equal.test\"\nmax_msg_per_connection = 1\n",
    "[[delivery.domains]]\ndomain = \"retry-now.test\"\nretry_after = [\"1h\"]\nbounce_after = \"2h\"\n",
);

/// All scenarios.
#[must_use]
pub fn all() -> Vec<Case> {
    let groups = [
        zones::cases(),
        postfix::cases(),
        sinks::cases(),
        peers::cases(),
        handshakes::cases(),
        network::cases(),
        waiting::cases(),
        loops::cases(),
    ];
    groups.into_iter().flatten().collect()
}

/// Some of them: one at least of each kind, and the quickest.
#[must_use]
pub fn some() -> Vec<Case> {
    const SOME: [&str; 24] = [
        "mx-order",
        "dead-first-mx",
        "null-mx",
        "no-such-domain",
        "private-addresses",
        "own-listener",
        "unknown-user",
        "real-mailbox",
        "log-in",
        "wrong-password",
        "soft-rcpt",
        "hard-dot",
        "mixed-recipients",
        "no-smtputf8",
        "dropped-in-the-content",
        "no-answer-to-the-dot",
        "required-good",
        "verified-wrong-name",
        "opportunistic-old-version",
        "reset-in-the-content",
        "black-hole",
        "null-sender",
        "deaf-sender",
        "retry-now",
    ];
    let mut cases = all();
    cases.retain(|case| SOME.contains(&case.name));
    debug_assert_eq!(cases.len(), SOME.len(), "a name has changed");
    cases
}

fn deferred(words: Words) -> Expect {
    Expect::Deferred(words)
}

fn expired(words: Words) -> Expect {
    Expect::Expired(words)
}

fn returned(status: &'static str, words: Words) -> Expect {
    Expect::Returned(status, words)
}

fn dropped(words: Words) -> Expect {
    Expect::Dropped(words)
}
