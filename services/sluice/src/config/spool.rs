//! The `[spool]` section: how much mail is kept on disk, and in what pieces.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sluice_daemon::config::{Documented, Key, KeyError, Size};
use sluice_spool::disk;

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
        Self { segment_bytes: Size::mib(128), max_envelopes: 5_000_000, max_bytes: Size::gib(100) }
    }
}

impl Documented for RawSpool {
    const KEYS: &'static [Key] = &[
        Key::new(
            "segment_bytes",
            "size",
            "Size of each file of the log of mail; a message must fit into one. 1MiB to 1GiB. Files already there \
             keep theirs.",
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
