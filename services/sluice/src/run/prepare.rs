//! Everything that can fail before the first client is served, in an order that leaves nothing half done.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use sluice_control::Bound;
use sluice_daemon::config::ConfigError;
use sluice_daemon::{LogGuard, SystemClock, start_logs};
use sluice_feed::accounting::Accounting;
use sluice_mail::Clock;
use sluice_registry::fjall::FjallLog;
use sluice_registry::{Registry, RegistryError, VerifyConfig};
use sluice_spool::disk::{self, Disk, OpenError, SystemFiles};
use sluice_wire::tls::ServerTls;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tracing::warn;

use super::ground::DataFolder;
use super::{Options, RunError, accounting};
use crate::config::Config;
use crate::first_start::{Accounts, Setup};
use crate::sandbox::{self, Sandbox};

/// All that the services need, ready for use.
pub(super) struct Prepared {
    pub(super) config: Config,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) logs: LogGuard,
    pub(super) submissions: Vec<TcpListener>,
    pub(super) admin: TcpListener,
    pub(super) sandbox: Option<Sandbox>,
    pub(super) control: Bound,
    pub(super) tls: Arc<ServerTls>,
    pub(super) registry: Arc<Registry>,
    pub(super) spool: Disk,
    pub(super) accounting: Option<Accounting>,
    pub(super) accounts: Accounts,
    /// Dropped last.
    pub(super) folder: DataFolder,
}

/// Opens everything. What it has made by then is gone again when it fails. The sandbox ends with `stop`.
pub(super) async fn prepare(options: &Options, stop: &watch::Receiver<bool>) -> Result<Prepared, RunError> {
    let (config, first) = load(options)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    // Before the ports: a second start beside a running one is to hear of that, not of its ports.
    let held = config.data_dir.is_dir().then(|| DataFolder::take(&config.data_dir)).transpose()?;
    let submissions = bind_all(&config)?;
    let admin = listen(config.admin.address, "admin.address")?;
    let sandbox = match options.sandbox {
        true => Some(sandbox::start(&config.sandbox, Arc::clone(&clock), stop.clone()).await?),
        false => None,
    };
    let mut setup = Setup::default();
    if first {
        setup.config(&options.sources.path, &config.data_dir)?;
    }
    setup.data_dir(&config.data_dir)?;
    let folder = held.map_or_else(|| DataFolder::take(&config.data_dir), Ok)?;
    let tls = certificate(&config, &mut setup, &*clock)?;
    let logs = start_logs(&config.log).map_err(RunError::Logs)?;
    let control = bind_control(&config.control_socket).await?;
    let registry = Arc::new(open_registry(&config.data_dir.join("control"), &clock).await?);
    take_keys(&registry, config.dkim_keys.clone()).await;
    let spool = open_spool(&config, options.salvage, &clock).await?;
    let accounting = accounting::open(&config, &clock).await?;
    let accounts = setup.complete(&registry).await?;
    Ok(Prepared {
        config,
        clock,
        logs,
        submissions,
        admin,
        sandbox,
        control,
        tls,
        registry,
        spool,
        accounting,
        accounts,
        folder,
    })
}

/// The configuration, and whether this is a first start: there is no file, and one is to be written.
fn load(options: &Options) -> Result<(Config, bool), ConfigError> {
    let first = !options.sources.path.exists();
    // An empty file means what the one means that is about to be written.
    let config = if first { options.sources.load_text("") } else { options.sources.load() };
    Ok((config?, first))
}

fn bind_all(config: &Config) -> Result<Vec<TcpListener>, RunError> {
    sluice_ingress::bind(&config.ingress).map_err(|e| {
        let place = config.ingress.addresses().position(|address| address == e.address).unwrap_or_default();
        RunError::Listen { address: e.address, key: format!("ingress.listeners[{place}].address"), source: e.source }
    })
}

fn listen(address: SocketAddr, key: &str) -> Result<TcpListener, RunError> {
    sluice_wire::server::bind(address).map_err(|e| RunError::Listen { address, key: key.to_owned(), source: e.source })
}

fn certificate(config: &Config, setup: &mut Setup, clock: &dyn Clock) -> Result<Arc<ServerTls>, RunError> {
    let files = &config.certificate;
    if files.own {
        setup.certificate(&files.certificate, &files.key, &config.hostname, clock.wall())?;
    }
    Ok(Arc::new(ServerTls::load(&files.certificate, &files.key)?))
}

/// Whether the certificate that is configured, if there is one, can be used.
pub(crate) fn check_certificate(config: &Config) -> Result<(), RunError> {
    let files = &config.certificate;
    if !files.own {
        ServerTls::load(&files.certificate, &files.key)?;
    }
    Ok(())
}

async fn bind_control(path: &Path) -> Result<Bound, RunError> {
    sluice_control::bind(path).await.map_err(|source| RunError::Socket { path: path.to_owned(), source })
}

async fn open_registry(folder: &Path, clock: &Arc<dyn Clock>) -> Result<Registry, RunError> {
    let failed = |source: RegistryError| RunError::Accounts { path: folder.to_owned(), source };
    let path = folder.to_owned();
    let opened = spawn_blocking(move || FjallLog::open(&path)).await;
    let log = opened.map_err(|e| RunError::Ended(e.to_string()))?.map_err(|e| failed(e.into()))?;
    Registry::open(log, VerifyConfig::default(), Arc::clone(clock)).await.map_err(failed)
}

/// Lets the keys of files sign.
pub(super) async fn take_keys(registry: &Registry, keys: Vec<sluice_sign::Entry>) {
    for name in registry.set_file_keys(keys).await {
        warn!(%name, "the DKIM key of this name in the data folder does not sign: one from a file does instead");
    }
}

async fn open_spool(config: &Config, salvage: bool, clock: &Arc<dyn Clock>) -> Result<Disk, RunError> {
    let (config, clock) = (disk::Config { salvage, ..config.spool.clone() }, Arc::clone(clock));
    let dir = config.dir.clone();
    let opened = spawn_blocking(move || disk::open(config, Arc::new(SystemFiles), clock)).await;
    let broken = |e: tokio::task::JoinError| OpenError::Io { path: dir, error: io::Error::other(e) };
    Ok(opened.map_err(broken)??)
}
