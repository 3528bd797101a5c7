//! Waiting for an event, never for a length of time.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Long enough for anything that a healthy machine does under load; what takes longer is a failure.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The one clock of the harness: it watches other programs and has none to be handed.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the harness measures and limits other programs; no machine of ours runs on it"
)]
pub fn now() -> Instant {
    Instant::now()
}

/// How long ago `since` was.
#[must_use]
pub fn elapsed(since: Instant) -> Duration {
    now().saturating_duration_since(since)
}

/// Asks `probe` every few milliseconds until it gives a value, `limit` at most.
pub fn until<T>(limit: Duration, what: &str, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = now();
    let mut pause = Duration::from_millis(2);
    loop {
        if let Some(value) = probe().with_context(|| format!("waiting for {what}"))? {
            return Ok(value);
        }
        if elapsed(start) > limit {
            bail!("{what}: not within {limit:?}");
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// [`until`] for a condition, with [`PATIENCE`].
pub fn for_condition(what: &str, mut probe: impl FnMut() -> Result<bool>) -> Result<()> {
    until(PATIENCE, what, || Ok(probe()?.then_some(())))
}
