//! Why a command failed, in one line that says what to do, and the exit code that goes with it.

use std::io;
use std::path::PathBuf;

use sluice_daemon::ExitCode;
use sluice_mail::QueueId;
use tonic::{Code, Status};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// Nobody answers on the socket, or it may not be opened.
    #[error("cannot reach sluice at {}: {source}: {}", socket.display(), mend(source))]
    Unreachable {
        /// As configured, or as `--socket` named it.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke, or there was no answer in time.
    #[error("sluice did not answer: {0}; see its log")]
    Broken(String),
    /// The server refused.
    #[error("{}", plain(.0))]
    Refused(Box<Status>),
    /// No mail of that id is known.
    #[error("queue id {0} is unknown: never accepted here, or ended too long ago to be kept")]
    UnknownMail(QueueId),
    /// There is no mail of that id that waits.
    #[error("nothing waits as {0}: `sluice queue show {0}` says where it stands")]
    NothingWaits(QueueId),
    /// A domain or address is to be taken from an account that does not have it.
    #[error("account {account} does not have {what}: `sluice account show {account}` says what it has")]
    NotASender {
        /// The account.
        account: String,
        /// The domain or address.
        what: String,
    },
    /// There is no DKIM key that signs or is going to.
    #[error("there is no key{0} that signs: make one with `sluice dkim generate DOMAIN`")]
    NoKey(String),
    /// Records in the DNS are not as they should be.
    #[error("{wrong} of {all} keys cannot be verified by receivers")]
    KeysDoNotVerify {
        /// Those.
        wrong: usize,
        /// All that matter.
        all: usize,
    },
    /// A file cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    KeyFile {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file has no key in it.
    #[error("{} is empty: expected a private key in PEM form", .0.display())]
    EmptyKeyFile(PathBuf),
    /// The resolver cannot be set up.
    #[error("{0}: check /etc/resolv.conf, or set delivery.name_servers")]
    Resolver(#[from] sluice_route::ResolverError),
    /// What stands on standard input is no password.
    #[error("--password-stdin: {0}")]
    Password(&'static str),
    /// Standard input cannot be read.
    #[error("cannot read standard input: {0}")]
    Input(io::Error),
    /// Standard output cannot be written.
    #[error("cannot write standard output: {0}")]
    Output(#[from] io::Error),
}

impl CliError {
    /// What the process ends with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Unreachable { source, .. } => ExitCode::of_io(source, ExitCode::Unavailable),
            Self::Broken(_) => ExitCode::Unavailable,
            Self::Refused(status) => of_status(status.code()),
            Self::UnknownMail(_)
            | Self::NothingWaits(_)
            | Self::NotASender { .. }
            | Self::NoKey(_)
            | Self::EmptyKeyFile(_)
            | Self::Password(_) => ExitCode::Data,
            Self::KeysDoNotVerify { .. } => ExitCode::No,
            Self::KeyFile { source, .. } => ExitCode::of_io(source, ExitCode::Data),
            Self::Resolver(_) => ExitCode::Config,
            Self::Input(_) | Self::Output(_) => ExitCode::Io,
        }
    }
}

impl From<Status> for CliError {
    fn from(status: Status) -> Self {
        // A status with a source was made on this side: the server never spoke.
        match std::error::Error::source(&status) {
            Some(_) => Self::Broken(status.message().to_owned()),
            None => Self::Refused(Box::new(status)),
        }
    }
}

fn mend(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::PermissionDenied {
        "run this as the user that sluice runs as"
    } else {
        "start it with `sluice run`, or name another socket with --socket"
    }
}

/// The server's words; the code's when it has none.
fn plain(status: &Status) -> String {
    match (status.code(), status.message()) {
        (Code::Unimplemented, _) => "the server is of another version and does not know this command".to_owned(),
        (code, "") => code.description().to_owned(),
        (_, words) => words.to_owned(),
    }
}

fn of_status(code: Code) -> ExitCode {
    match code {
        Code::Ok => ExitCode::Ok,
        Code::InvalidArgument | Code::NotFound | Code::AlreadyExists | Code::OutOfRange | Code::FailedPrecondition => {
            ExitCode::Data
        }
        Code::PermissionDenied | Code::Unauthenticated => ExitCode::NoPermission,
        Code::ResourceExhausted | Code::Aborted | Code::DeadlineExceeded => ExitCode::Temporary,
        Code::Unavailable | Code::Cancelled | Code::Unimplemented => ExitCode::Unavailable,
        Code::DataLoss => ExitCode::Io,
        Code::Internal | Code::Unknown => ExitCode::Software,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_names_the_mend_and_has_its_code() {
        let socket =
            |kind: io::ErrorKind| CliError::Unreachable { socket: "d/control.sock".into(), source: kind.into() };
        let id = QueueId::parse("01JDCMZ5P3W7Y2M4Q8R6T0A000").unwrap();
        for (error, words, code) in [
            (socket(io::ErrorKind::NotFound), "start it with `sluice run`, or name another socket with --socket", 69),
            (socket(io::ErrorKind::ConnectionRefused), "cannot reach sluice at d/control.sock: ", 69),
            (socket(io::ErrorKind::PermissionDenied), "as the user that sluice runs as", 77),
            (CliError::from(Status::not_found("there is no account x")), "there is no account x", 65),
            (CliError::from(Status::unimplemented("")), "another version", 69),
            (CliError::from(Status::unavailable("")), "currently unavailable", 69),
            (CliError::UnknownMail(id), "never accepted here", 65),
            (
                CliError::NotASender { account: "shop".into(), what: "a.example".into() },
                "account shop does not have a.example: `sluice account show shop`",
                65,
            ),
            (CliError::NothingWaits(id), "sluice queue show 01JDCMZ5P3W7Y2M4Q8R6T0A000", 65),
        ] {
            let text = error.to_string();
            assert!(text.contains(words) && !text.contains('\n'), "{text}");
            assert_eq!(error.exit_code().code(), code, "{text}");
        }
    }
}
