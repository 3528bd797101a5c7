//! Why the engine does not start: each names the culprit and the mend.

use std::io;
use std::path::{Path, PathBuf};

/// Why the spool could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the spool {path} is in use by another process; stop that one, or give this one a folder of its own", path = .path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The folder or a file in it may not be written.
    #[error("{path} cannot be written: {error}; give the user that runs this process the right to write there", path = .path.display())]
    NotWritable {
        /// Which.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// No room for the first segments.
    #[error("no room on the disk for {path}: {error}; free some room or choose another disk", path = .path.display())]
    Full {
        /// What was to be made.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// Acknowledged data are damaged.
    #[error(
        "{path} is damaged at offset {offset}: {problem}; restore it from a copy, or start once with salvage, which \
         keeps what can be read and reports what is lost",
        path = .path.display()
    )]
    Corrupt {
        /// The segment's file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What.
        problem: &'static str,
    },
    /// A segment that must be there is not.
    #[error(
        "{path} is missing; put it back, or start once with salvage, which goes on without it and reports that",
        path = .path.display()
    )]
    Missing {
        /// The segment's file.
        path: PathBuf,
    },
    /// Written by a newer version of this program.
    #[error(
        "{path} has format version {version} at offset {offset}, newer than this program reads ({known}); run the \
         version that wrote it or a later one",
        path = .path.display(), known = super::frame::VERSION
    )]
    Newer {
        /// The segment's file.
        path: PathBuf,
        /// The version it was written with.
        version: u8,
        /// Where.
        offset: u64,
    },
    /// A setting that cannot be.
    #[error("{0}")]
    Config(String),
    /// The system refused.
    #[error("{path}: {error}", path = .path.display())]
    Io {
        /// What it was asked for.
        path: PathBuf,
        /// Its words.
        error: io::Error,
    },
}

impl OpenError {
    /// The variant that fits the system's error.
    pub(super) fn io(path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) {
            Self::NotWritable { path, error }
        } else if super::files::is_full(&error) {
            Self::Full { path, error }
        } else {
            Self::Io { path, error }
        }
    }
}

/// A stretch of the log that salvage could not read. What was in it is gone: mail that was accepted there, or the
/// news that mail was delivered, which is then sent once more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The segment's id.
    pub segment: u32,
    /// Its file.
    pub path: PathBuf,
    /// First unreadable octet.
    pub from: u64,
    /// Where reading went on; equal to `from` when the whole file is missing.
    pub to: u64,
}
