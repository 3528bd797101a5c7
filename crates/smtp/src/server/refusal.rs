//! A command that is refused by the session itself.

use std::borrow::Cow;

/// The reply, and whether the command counts as bad. Refused addresses do not: a client that pipelines a long list
/// with a few bad addresses means no harm.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The reply without its line end.
    pub(super) line: Cow<'static, str>,
    /// Whether it counts.
    pub(super) bad: bool,
}

impl Refusal {
    /// It counts.
    pub(super) fn bad(line: impl Into<Cow<'static, str>>) -> Self {
        Self { line: line.into(), bad: true }
    }

    /// It does not count.
    pub(super) fn mild(line: impl Into<Cow<'static, str>>) -> Self {
        Self { line: line.into(), bad: false }
    }
}
