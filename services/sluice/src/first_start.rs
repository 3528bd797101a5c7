//! What a start makes when it is not there: configuration file, data folder, certificate, and the account `demo`.
//!
//! [`Setup`] makes things one by one and takes all of them back when it is dropped before [`Setup::complete`]: a first
//! start that fails (a taken port, say) is a first start again the next time. The configuration file gets its name
//! last, after the account is made, so that where it stands everything else does.

mod banner;
mod certificate;
mod template;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sluice_daemon::ExitCode;
use sluice_mail::{Domain, Lane, UnixMs};
use sluice_registry::{AccountRules, Registry, RegistryError, SenderDomain, generate_password};

pub(crate) use banner::{Facts, Listener, banner};

/// The account of the first start.
pub(crate) const DEMO: &str = "demo";
/// What it may send from; nobody's domain.
pub(crate) const DEMO_DOMAIN: &str = "sluice.example";

/// Mode of the data folder and of secrets in it: for their owner alone.
const FOLDER_MODE: u32 = 0o700;
const SECRET_MODE: u32 = 0o600;
/// Mode of what is no secret; the process's umask takes away from it.
const PUBLIC_MODE: u32 = 0o666;

/// Who may send, as far as a newcomer wants to know. Without `Debug`: it may hold a password.
pub(crate) enum Accounts {
    /// `demo` was made now, with this password.
    DemoMade(String),
    /// `demo` is there, and its password is known to whoever saw it.
    Demo,
    /// There are others.
    Others,
    /// Nobody may send yet.
    Nobody,
}

/// Why something could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    /// The configuration file.
    #[error("cannot write the configuration {}: {source}; start sluice in a folder that it may write to, or name another file with --config", path.display())]
    Config {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The data folder.
    #[error("cannot make the data folder {}: {source}; name another one with --data-dir, or make it for sluice's user", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The data folder's path leads to something else.
    #[error("{} is not a folder; name another one with --data-dir", .0.display())]
    NoFolder(PathBuf),
    /// The certificate or its key.
    #[error("cannot write {}: {source}", path.display())]
    Certificate {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A certificate without its key is of no use, and is not ours to overwrite.
    #[error(
        "{} is there but its key {} is not: put the key back, or remove the certificate to have both made anew",
        certificate.display(), key.display()
    )]
    KeyGone {
        /// The certificate that is there.
        certificate: PathBuf,
        /// The key that is not.
        key: PathBuf,
    },
    /// The certificate could not be signed.
    #[error("cannot make a certificate with the key {}: {words}; remove the key to have both made anew", key.display())]
    Signing {
        /// Whose key.
        key: PathBuf,
        /// Why.
        words: String,
    },
    /// The account could not be made.
    #[error("cannot make the account {DEMO}: {0}")]
    Account(#[from] RegistryError),
}

impl SetupError {
    /// What the process ends with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config { source, .. } | Self::Folder { source, .. } | Self::Certificate { source, .. } => {
                ExitCode::of_io(source, ExitCode::CannotCreate)
            }
            Self::NoFolder(_) => ExitCode::CannotCreate,
            Self::KeyGone { .. } | Self::Signing { .. } => ExitCode::Config,
            Self::Account(_) => ExitCode::Io,
        }
    }
}

/// What this start has made so far. Dropping it takes everything back that [`Self::complete`] has not confirmed;
/// a folder stays if something else has been put into it.
#[derive(Debug, Default)]
pub(crate) struct Setup {
    made: Vec<Made>,
    /// The configuration under its temporary name, and the name that it is to have.
    config: Option<(PathBuf, PathBuf)>,
}

#[derive(Debug)]
enum Made {
    File(PathBuf),
    Folder(PathBuf),
}

impl Setup {
    /// Writes the commented configuration file, under a temporary name for now. `data_dir` is where data is to be,
    /// whatever decided so.
    pub(crate) fn config(&mut self, path: &Path, data_dir: &Path) -> Result<(), SetupError> {
        let failed = |source| SetupError::Config { path: path.to_owned(), source };
        let fresh = beside(path);
        write(&fresh, template::config(path, data_dir).as_bytes(), PUBLIC_MODE).map_err(failed)?;
        self.made.push(Made::File(fresh.clone()));
        self.config = Some((fresh, path.to_owned()));
        Ok(())
    }

    /// Makes the data folder with mode 0700 unless it is there.
    pub(crate) fn data_dir(&mut self, path: &Path) -> Result<(), SetupError> {
        if path.is_dir() {
            return Ok(());
        }
        if path.exists() {
            return Err(SetupError::NoFolder(path.to_owned()));
        }
        let made = DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path);
        made.map_err(|source| SetupError::Folder { path: path.to_owned(), source })?;
        self.made.push(Made::Folder(path.to_owned()));
        Ok(())
    }

    /// Makes a self-signed certificate for `hostname` and this machine unless there is one; its key first, so that
    /// there is never a certificate without one.
    pub(crate) fn certificate(
        &mut self,
        certificate: &Path,
        key: &Path,
        hostname: &str,
        now: UnixMs,
    ) -> Result<(), SetupError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| SetupError::Certificate { path, source }
        };
        let signing = |e: rcgen::Error| SetupError::Signing { key: key.to_owned(), words: e.to_string() };
        let old_key = match (certificate.exists(), key.exists()) {
            (true, true) => return Ok(()),
            (true, false) => {
                return Err(SetupError::KeyGone { certificate: certificate.to_owned(), key: key.to_owned() });
            }
            (false, true) => Some(fs::read_to_string(key).map_err(failed(key))?),
            (false, false) => None,
        };
        let pair = certificate::self_signed(hostname, old_key.as_deref(), now).map_err(signing)?;
        if old_key.is_none() {
            self.place(key, pair.key.as_bytes(), SECRET_MODE).map_err(failed(key))?;
        }
        self.place(certificate, pair.certificate.as_bytes(), PUBLIC_MODE).map_err(failed(certificate))
    }

    /// Confirms everything. If the configuration was written by this start, makes the account `demo` first. To be
    /// called when nothing else can fail: with the ports open, before the first client is served.
    pub(crate) async fn complete(mut self, registry: &Registry) -> Result<Accounts, SetupError> {
        let accounts = match &self.config {
            Some(_) if registry.account(DEMO).is_none() => {
                let password = generate_password();
                registry.create_account(DEMO, demo_rules(), &password).await?;
                Accounts::DemoMade(password)
            }
            Some(_) | None => who_may_send(registry),
        };
        if let Some((fresh, path)) = self.config.take()
            && let Err(source) = rename(&fresh, &path)
        {
            if let Accounts::DemoMade(_) = accounts {
                registry.delete_account(DEMO).await?;
            }
            return Err(SetupError::Config { path, source });
        }
        self.made.clear();
        Ok(accounts)
    }

    /// Writes a file as a whole or not at all.
    fn place(&mut self, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
        let fresh = beside(path);
        write(&fresh, content, mode)?;
        let placed = rename(&fresh, path);
        self.made.push(Made::File(if placed.is_ok() { path.to_owned() } else { fresh }));
        placed
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        for made in self.made.drain(..).rev() {
            // What cannot be removed, such as a folder with something in it, stays.
            let _ = match made {
                Made::File(path) => fs::remove_file(path),
                Made::Folder(path) => fs::remove_dir(path),
            };
        }
    }
}

/// Both lanes, and a domain that nobody has.
fn demo_rules() -> AccountRules {
    let domain = Domain::parse(DEMO_DOMAIN).map(|domain| SenderDomain { domain, exact: false });
    AccountRules {
        sender_domains: domain.into_iter().collect(),
        lanes: vec![Lane::Transactional, Lane::Bulk],
        ..AccountRules::default()
    }
}

fn who_may_send(registry: &Registry) -> Accounts {
    let view = registry.view();
    match (view.account(DEMO), view.is_empty()) {
        (Some(_), _) => Accounts::Demo,
        (None, true) => Accounts::Nobody,
        (None, false) => Accounts::Others,
    }
}

/// The name that `path` has until it is complete.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// Writes a new file durably; one that an earlier start has left behind under that name is replaced.
fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    if written.is_err() {
        // The error that matters is the first one.
        let _ = fs::remove_file(path);
    }
    written
}

/// Renames durably, over nothing.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    if to.exists() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it has appeared just now"));
    }
    fs::rename(from, to)?;
    let folder = to.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
