//! The `[accounting]` section: what is written of each delivery, and in which files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sluice_daemon::config::{Documented, Key, KeyError, Size, Time};
use sluice_feed::accounting::{self, Record, Records};

/// The section as it is written.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawAccounting {
    format: Format,
    directory: Option<PathBuf>,
    records: Vec<Kind>,
    rotate_every: Time,
    rotate_size: Size,
    compress: bool,
    max_files: usize,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Off,
    Json,
    Csv,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    D,
    B,
    T,
    Tq,
}

impl Default for RawAccounting {
    fn default() -> Self {
        Self {
            format: Format::Off,
            directory: None,
            records: vec![Kind::D, Kind::B, Kind::T, Kind::Tq],
            rotate_every: Time::hours(1),
            rotate_size: Size::mib(64),
            compress: false,
            max_files: 1000,
        }
    }
}

impl Documented for RawAccounting {
    const KEYS: &'static [Key] = &[
        Key::new(
            "format",
            "text",
            "`json` (an object a line), `csv` (PowerMTA's columns) or `off`. With `off` nothing is kept for accounting \
             files; what happened before they are switched on is told as far as the log of mail still has it.",
        ),
        Key::new("directory", "path", "Folder of the files; made when it is not there.").or("`acct` in `data_dir`"),
        Key::new(
            "records",
            "list of text",
            "What is written: `d` delivered, `b` bounced or given up, `t` put off because of the recipient or message, \
             `tq` put off because of the whole destination.",
        ),
        Key::new(
            "rotate_every",
            "time",
            "A file is finished when it is this old, and then named without `.open`. At least 1s.",
        ),
        Key::new(
            "rotate_size",
            "size",
            "A file is finished when it has this size; one batch of 500 records at most is above it.",
        ),
        Key::new("compress", "true or false", "Whether finished files are compressed (`.gz`)."),
        Key::new("max_files", "number", "Finished files that are kept in the folder; the oldest are removed."),
    ];
}

impl RawAccounting {
    /// What is to be written; `None`: nothing. Without a folder of its own it is below `data_dir`; one is meant from
    /// `base`.
    pub(crate) fn checked(self, base: &Path, data_dir: &Path) -> Result<Option<accounting::Config>, KeyError> {
        if self.records.is_empty() {
            return Err(KeyError::new("records", "expected one or more of \"d\", \"b\", \"t\", \"tq\""));
        }
        if self.rotate_every.0 < Duration::from_secs(1) {
            return Err(KeyError::new("rotate_every", "expected 1s or more"));
        }
        if self.rotate_size.0 == 0 {
            return Err(KeyError::new("rotate_size", "expected 1 or more"));
        }
        if self.max_files == 0 {
            return Err(KeyError::new("max_files", "expected 1 or more"));
        }
        let format = match self.format {
            Format::Off => return Ok(None),
            Format::Json => accounting::Format::Json,
            Format::Csv => accounting::Format::Csv,
        };
        let records = self.records.into_iter().map(|kind| match kind {
            Kind::D => Record::Delivered,
            Kind::B => Record::Bounced,
            Kind::T => Record::Deferred,
            Kind::Tq => Record::SiteDeferred,
        });
        Ok(Some(accounting::Config {
            directory: self.directory.map_or_else(|| data_dir.join("acct"), |directory| base.join(directory)),
            format,
            records: Records::of(records),
            rotate_every: self.rotate_every.0,
            rotate_size: self.rotate_size.0,
            compress: self.compress,
            max_files: self.max_files,
        }))
    }
}
