//! The `[spool]` section: how much mail is kept on disk, and in what pieces.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sluice_daemon::config::{Documented, Key, KeyError, Size};
use sluice_spool::disk;

/// Smallest and largest segment that the engine takes, in octets.
const SEGMENT_MIN: u64 = 1 << 20;
const SEGMENT_MAX: u64 = 2 << 30;
/// Segments are made of whole pages of the disk.
const PAGE: u64 = 4096;

/// The section as it is written.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawSpool {
    segment_bytes: Size,
    max_envelopes: u64,
    max_bytes: Size,
}

impl Default for RawSpool {
    fn default() -> Self {
        Self { segment_bytes: Size::mib(64), max_envelopes: 2_000_000, max_bytes: Size::gib(64) }
    }
}

impl Documented for RawSpool {
    const KEYS: &'static [Key] = &[
        Key::new(
            "segment_bytes",
            "size",
            "Size of each file of the log of mail, a multiple of 4KiB up to 2GiB. The largest message must fit into \
             one. Files that are there keep theirs.",
        ),
        Key::new(
            "max_envelopes",
            "number",
            "Envelopes (a message for one recipient domain) that may wait, per process; more get 452. Each takes some \
             200 octets of memory.",
        ),
        Key::new(
            "max_bytes",
            "size",
            "Octets that the log of mail may take on disk, per process; above it messages get 452. A full disk is \
             noticed as well.",
        ),
    ];
}

impl RawSpool {
    /// The engine's config for a folder below `data_dir` and messages of `max_message` octets at most.
    pub(crate) fn checked(&self, data_dir: &Path, max_message: u64) -> Result<disk::Config, KeyError> {
        let Self { segment_bytes: Size(segment_bytes), max_envelopes, max_bytes: Size(max_bytes) } = *self;
        let least = SEGMENT_MIN.max(max_message.saturating_mul(2));
        if !(least..=SEGMENT_MAX).contains(&segment_bytes) || !segment_bytes.is_multiple_of(PAGE) {
            let (least, most) = (Size(least.next_multiple_of(PAGE)), Size(SEGMENT_MAX));
            let problem = format!(
                "expected a multiple of 4KiB from {least} (twice ingress.max_message_size, which must fit into one) to \
                 {most}"
            );
            return Err(KeyError::new("segment_bytes", problem));
        }
        if max_envelopes == 0 {
            return Err(KeyError::new("max_envelopes", "expected 1 or more"));
        }
        if max_bytes < segment_bytes.saturating_mul(4) {
            let problem = format!("expected {} or more: four times segment_bytes", Size(segment_bytes * 4));
            return Err(KeyError::new("max_bytes", problem));
        }
        let mut config = disk::Config::new(data_dir.join("spool"));
        config.max_message_bytes = max_message;
        (config.segment_bytes, config.max_envelopes, config.max_bytes) = (segment_bytes, max_envelopes, max_bytes);
        Ok(config)
    }
}
