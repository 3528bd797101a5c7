//! Why the server does not start or cannot go on: one line that names the culprit and the mend, and an exit code.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use sluice_daemon::ExitCode;
use sluice_daemon::config::{ConfigError, KeyError};
use sluice_registry::{LogError, RegistryError};
use sluice_spool::disk::OpenError;
use sluice_wire::tls::TlsError;

use crate::first_start::SetupError;
use crate::sandbox::SandboxError;

/// Why the server does not start or cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The logs cannot be written.
    #[error(transparent)]
    Logs(KeyError),
    /// An address cannot be listened on.
    #[error("{}", cannot_listen(*address, source, key))]
    Listen {
        /// Which.
        address: SocketAddr,
        /// The key that names it.
        key: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file or folder cannot be made or used.
    #[error("{} {what}: {source}{}", path.display(), mend(source))]
    File {
        /// Which.
        path: PathBuf,
        /// `cannot be made`, `cannot be written`.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Another process uses the data folder.
    #[error(
        "the data folder {} is in use by another sluice{holder}: stop that one, or give this one a folder of its own \
         with data_dir",
        path.display()
    )]
    Locked {
        /// The folder.
        path: PathBuf,
        /// ` (process 123)`, when it said so.
        holder: String,
    },
    /// Certificate or key cannot be used.
    #[error("{0}: tls.certificate and tls.key must name PEM files that belong together and that this user may read")]
    Certificate(#[from] TlsError),
    /// Something that this start makes could not be made.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The socket of the command line cannot be made.
    #[error("cannot listen on {}: {source}: set control.socket to another path", path.display())]
    Socket {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The accounts cannot be read or written.
    #[error("accounts in {}: {source}", path.display())]
    Accounts {
        /// Their folder.
        path: PathBuf,
        /// Why.
        source: RegistryError,
    },
    /// The queue cannot be opened.
    #[error(transparent)]
    Spool(#[from] OpenError),
    /// The sandbox cannot start.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The resolver cannot be set up.
    #[error("{0}: check /etc/resolv.conf, or set delivery.name_servers")]
    Dns(#[from] sluice_route::ResolverError),
    /// Signals cannot be handled.
    #[error("cannot handle signals: {0}")]
    Signals(io::Error),
    /// A metric's name is taken.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The queue cannot be written any more.
    #[error("the queue cannot be written any more: {0}: mend the disk, then start again; accepted mail is kept")]
    Poisoned(String),
    /// Taking submissions ended.
    #[error("ingress: {0}")]
    Ingress(#[from] sluice_ingress::RunError),
    /// Sending ended.
    #[error("delivery: {0}")]
    Delivery(#[from] sluice_delivery::DeliveryError),
    /// Answering the command line ended.
    #[error(transparent)]
    Control(#[from] sluice_control::ServeError),
    /// Metrics and health ended.
    #[error("admin: {0}")]
    Admin(io::Error),
    /// A part of the program ended that must not.
    #[error("{0} ended unexpectedly; this is a bug in sluice")]
    Ended(String),
}

impl RunError {
    /// What the process ends with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) | Self::Logs(_) | Self::Dns(_) => ExitCode::Config,
            Self::Setup(error) => error.exit_code(),
            Self::Socket { source, .. } => ExitCode::of_io(source, ExitCode::CannotCreate),
            Self::Listen { source, .. } => ExitCode::of_io(source, ExitCode::Unavailable),
            Self::File { source, .. } => ExitCode::of_io(source, ExitCode::CannotCreate),
            Self::Locked { .. } => ExitCode::Temporary,
            Self::Certificate(error) | Self::Delivery(sluice_delivery::DeliveryError::Tls(error)) => of_tls(error),
            Self::Accounts { source, .. } => of_registry(source),
            Self::Spool(error) => of_open(error),
            Self::Sandbox(SandboxError::Page { source, .. } | SandboxError::Sink(source)) => {
                ExitCode::of_io(source, ExitCode::Unavailable)
            }
            Self::Poisoned(_) | Self::Delivery(sluice_delivery::DeliveryError::Spool(_)) => ExitCode::Io,
            Self::Signals(_)
            | Self::Metrics(_)
            | Self::Ingress(_)
            | Self::Delivery(_)
            | Self::Control(_)
            | Self::Admin(_)
            | Self::Ended(_) => ExitCode::Software,
        }
    }

    /// `path` `what`: `source`.
    pub(crate) fn file(path: &Path, what: &'static str, source: io::Error) -> Self {
        Self::File { path: path.to_owned(), what, source }
    }
}

fn of_tls(error: &TlsError) -> ExitCode {
    match error {
        TlsError::Unreadable { source, .. } => ExitCode::of_io(source, ExitCode::Config),
        TlsError::NoCertificate(_) | TlsError::NoKey(_) | TlsError::Unusable { .. } => ExitCode::Config,
        TlsError::Setup(_) => ExitCode::Software,
    }
}

fn of_registry(error: &RegistryError) -> ExitCode {
    match error {
        RegistryError::Log(LogError::Locked(_)) => ExitCode::Temporary,
        RegistryError::Log(LogError::Failed(_)) => ExitCode::Io,
        RegistryError::Record { .. } => ExitCode::Data,
        RegistryError::Invalid(_)
        | RegistryError::Exists(_)
        | RegistryError::NotFound(_)
        | RegistryError::Changed { .. }
        | RegistryError::Full
        | RegistryError::TooManyKeys
        | RegistryError::FromFile(_)
        | RegistryError::Signs(_)
        | RegistryError::Hash => ExitCode::Software,
    }
}

fn of_open(error: &OpenError) -> ExitCode {
    match error {
        OpenError::Locked { .. } => ExitCode::Temporary,
        OpenError::NotWritable { error, .. } => ExitCode::of_io(error, ExitCode::CannotCreate),
        OpenError::Full { .. } | OpenError::Io { .. } => ExitCode::Io,
        OpenError::Corrupt { .. } | OpenError::Missing { .. } | OpenError::Newer { .. } => ExitCode::Data,
        OpenError::Config(_) => ExitCode::Config,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "not our enum, and it grows")]
fn cannot_listen(address: SocketAddr, error: &io::Error, key: &str) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "{address} is taken, by another program or another key: stop that one, or set {key} to a free address"
            )
        }
        io::ErrorKind::PermissionDenied => format!(
            "this user may not listen on {address}: set {key} to a port above 1023, or give the program the \
             capability CAP_NET_BIND_SERVICE"
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!("{address} is no address of this machine: set {key} to one that is, or to 0.0.0.0 for all")
        }
        _ => format!("cannot listen on {address}: {error}: set {key} to another address"),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "not our enum, and it grows")]
fn mend(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ": free some room there, or use another disk",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            ": let the user that runs sluice write there, or set another place (data_dir, --config)"
        }
        io::ErrorKind::NotFound => ": make the folder that it is to be in",
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            ": move away what is there, or set data_dir to another place"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_names_the_culprit_and_the_mend_and_has_its_code() {
        let address: SocketAddr = "127.0.0.1:2587".parse().unwrap();
        let listen = |kind: io::ErrorKind| RunError::Listen {
            address,
            key: "ingress.listeners[0].address".into(),
            source: kind.into(),
        };
        let file = |kind: io::ErrorKind| RunError::file(Path::new("/d/lock"), "cannot be written", kind.into());
        let gone = TlsError::Unreadable { path: "/k.pem".into(), source: io::ErrorKind::NotFound.into() };
        let denied = TlsError::Unreadable { path: "/k.pem".into(), source: io::ErrorKind::PermissionDenied.into() };
        for (error, words, code) in [
            (
                listen(io::ErrorKind::AddrInUse),
                "127.0.0.1:2587 is taken, by another program or another key: stop that one, or set ingress.listeners[0].address",
                69,
            ),
            (listen(io::ErrorKind::PermissionDenied), "this user may not listen on 127.0.0.1:2587", 77),
            (listen(io::ErrorKind::AddrNotAvailable), "127.0.0.1:2587 is no address of this machine", 69),
            (file(io::ErrorKind::StorageFull), "/d/lock cannot be written: no storage space: free some room there", 74),
            (file(io::ErrorKind::PermissionDenied), "let the user that runs sluice write there", 77),
            (RunError::Certificate(gone), "cannot read /k.pem: ", 78),
            (RunError::Certificate(denied), "tls.certificate and tls.key", 77),
            (RunError::Poisoned("fdatasync: I/O error".into()), "fdatasync: I/O error: mend the disk", 74),
            (
                RunError::Accounts { path: "/d".into(), source: LogError::Locked("/d".into()).into() },
                "accounts in /d: ",
                75,
            ),
        ] {
            let text = error.to_string();
            assert!(text.contains(words) && !text.contains('\n'), "{text}");
            assert_eq!(error.exit_code().code(), code, "{text}");
        }
    }
}
