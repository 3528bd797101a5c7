//! Exit codes by BSD's sysexits.h, which service managers and scripts know.

/// Why the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// All went well, a drain on SIGTERM included.
    Ok,
    /// What was asked about is not as it should be.
    No,
    /// EX_USAGE: the command line is wrong.
    Usage,
    /// EX_DATAERR: the input is wrong, or what is on disk is damaged.
    Data,
    /// EX_UNAVAILABLE: something needed is not there: a taken port, a server that is not running.
    Unavailable,
    /// EX_SOFTWARE: a bug.
    Software,
    /// EX_CANTCREAT: a file or folder cannot be created.
    CannotCreate,
    /// EX_IOERR: the disk failed or is full.
    Io,
    /// EX_TEMPFAIL: it may work later: a locked data folder.
    Temporary,
    /// EX_NOPERM: a file may not be read, or a port may not be bound.
    NoPermission,
    /// EX_CONFIG: the configuration is wrong.
    Config,
}

impl ExitCode {
    /// The number that the process ends with.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::No => 1,
            Self::Usage => 64,
            Self::Data => 65,
            Self::Unavailable => 69,
            Self::Software => 70,
            Self::CannotCreate => 73,
            Self::Io => 74,
            Self::Temporary => 75,
            Self::NoPermission => 77,
            Self::Config => 78,
        }
    }

    /// The code for a failed use of a file, folder or port; `otherwise` when the kind of failure tells nothing more.
    #[must_use]
    #[expect(clippy::wildcard_enum_match_arm, reason = "not our enum, and it grows")]
    pub fn of_io(error: &std::io::Error, otherwise: Self) -> Self {
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => Self::NoPermission,
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::Io,
            std::io::ErrorKind::AddrInUse => Self::Unavailable,
            _ => otherwise,
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.code())
    }
}
