//! Accounting files: one line for each recipient and result, in files that are rotated and may be compressed.
//!
//! ```text
//! read (at most 500 events) -> lines -> append, fdatasync -> commit the position
//! ```
//! A crash before the commit repeats lines, and none is lost: lines of JSON have an `id` by which to drop repeats. While
//! the files cannot be written, the position stays, and the log keeps the events; mail is not concerned.

mod csv;
mod files;
mod json;
mod lines;
mod reader;
mod tidy;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sluice_mail::UnixMs;

pub use reader::{Accounting, READER};

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// Comma-separated, with PowerMTA's columns and a first row that names them.
    Csv,
}

impl Format {
    fn extension(self) -> &'static str {
        match self {
            Self::Json => "jsonl",
            Self::Csv => "csv",
        }
    }
}

/// What a line tells of, by PowerMTA's types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// Delivered.
    Delivered,
    /// Refused for good, or given up.
    Bounced,
    /// Put off, for reasons of this recipient or message.
    Deferred,
    /// Put off, for reasons of the whole site: it does not answer, or takes nothing from us now.
    SiteDeferred,
}

impl Record {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Delivered, Self::Bounced, Self::Deferred, Self::SiteDeferred];

    /// PowerMTA's letters.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "d",
            Self::Bounced => "b",
            Self::Deferred => "t",
            Self::SiteDeferred => "tq",
        }
    }
}

/// Which records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Records([bool; 4]);

impl Records {
    /// These.
    pub fn of(records: impl IntoIterator<Item = Record>) -> Self {
        let mut set = [false; 4];
        records.into_iter().for_each(|record| set[record as usize] = true);
        Self(set)
    }

    /// Whether this one is.
    #[must_use]
    pub fn contains(self, record: Record) -> bool {
        self.0[record as usize]
    }
}

/// What is written, and where.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder; made when it is not there.
    pub directory: PathBuf,
    /// How.
    pub format: Format,
    /// What.
    pub records: Records,
    /// A file is finished when it is this old.
    pub rotate_every: Duration,
    /// A file is finished when it has this many octets or more: at most one batch of 500 events above.
    pub rotate_size: u64,
    /// Whether finished files are compressed by gzip.
    pub compress: bool,
    /// Most finished files; the oldest are removed.
    pub max_files: usize,
}

/// What the reader has done, in numbers; read by whoever shows them.
#[derive(Debug, Default)]
pub struct Stats {
    lines: [AtomicU64; 4],
    errors: AtomicU64,
    removed: AtomicU64,
    /// Time of the oldest event that is read and not written, or, while there is more to read, of the last that was
    /// written; 0 when nothing waits.
    waits_since: AtomicU64,
}

impl Stats {
    /// Lines that are safe on disk.
    #[must_use]
    pub fn lines(&self, record: Record) -> u64 {
        self.lines[record as usize].load(Ordering::Relaxed)
    }

    /// Times that reading or writing failed.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Files removed because there were more than allowed.
    #[must_use]
    pub fn removed(&self) -> u64 {
        self.removed.load(Ordering::Relaxed)
    }

    /// How far the files are behind what happens, as far as is known.
    #[must_use]
    pub fn lag(&self, now: UnixMs) -> Duration {
        match self.waits_since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => now.since(UnixMs(since)),
        }
    }
}

#[cfg(test)]
mod tests;
