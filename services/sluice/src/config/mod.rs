//! The whole configuration: each section as its component defines it, read from file, environment and flags.

mod accounting;
mod addresses;
mod dkim;
mod reference;
mod spool;
mod tls;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sluice_daemon::config::{ConfigError, Documented, Key, KeyError, Layers};
use sluice_daemon::{AdminConfig, LogConfig, check_level, machine_name};
use sluice_mail::Domain;

use crate::cli::{Cli, Override};
use crate::first_start::Listener;
use crate::sandbox;

pub(crate) use accounting::RawAccounting;
pub(crate) use dkim::RawDkim;
pub(crate) use reference::reference;
pub(crate) use spool::RawSpool;
pub(crate) use tls::{Certificate, RawTls};

/// Octets that the ingress adds to a message at most: Received, Date, Message-ID.
const ADDED_MAX: u64 = 64 << 10;

/// Keys that stand in no section, so that their environment variables have no `__`.
const SCALARS: [&str; 2] = ["hostname", "data_dir"];
/// Keys that hold a path.
const PATHS: [&str; 6] =
    ["data_dir", "tls.certificate", "tls.key", "control.socket", "delivery.ca_file", "accounting.directory"];

/// The file as it is written.
#[derive(Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawConfig {
    hostname: Option<String>,
    data_dir: PathBuf,
    tls: RawTls,
    ingress: sluice_ingress::RawConfig,
    spool: RawSpool,
    delivery: sluice_delivery::RawConfig,
    dkim: RawDkim,
    accounting: RawAccounting,
    control: sluice_control::RawConfig,
    admin: AdminConfig,
    log: LogConfig,
    sandbox: sandbox::RawConfig,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            hostname: None,
            data_dir: "sluice-data".into(),
            tls: RawTls::default(),
            ingress: sluice_ingress::RawConfig::default(),
            spool: RawSpool::default(),
            delivery: sluice_delivery::RawConfig::default(),
            dkim: RawDkim::default(),
            accounting: RawAccounting::default(),
            control: sluice_control::RawConfig::default(),
            admin: AdminConfig::default(),
            log: LogConfig::default(),
            sandbox: sandbox::RawConfig::default(),
        }
    }
}

impl Documented for RawConfig {
    const KEYS: &'static [Key] = &[
        Key::new(
            "hostname",
            "text",
            "The name by which this machine is known in DNS: in our greeting, in EHLO, in Received fields and in \
             message ids.",
        )
        .or("the machine's name if it is a full one, else `localhost`"),
        Key::new(
            "data_dir",
            "path",
            "Folder of the queue, the accounts and the control socket. Made with mode 0700 when it is not there; used \
             by one process at a time.",
        ),
        Key::section("tls", "The certificate that listeners show."),
        Key::section("ingress", "Taking submissions."),
        Key::section("spool", "Keeping mail on disk."),
        Key::section("delivery", "Sending mail on."),
        Key::section("dkim", "Keys that sign mail and lie in files, as [dkim.md](dkim.md) describes them."),
        Key::section(
            "accounting",
            "Files with a line for each recipient and result, as [bounces.md](bounces.md) describes them.",
        ),
        Key::section("control", "The socket of the command line."),
        Key::section("admin", "Metrics and health."),
        Key::section("log", "What is written to standard error."),
        Key::section("sandbox", "What `--sandbox` shows."),
    ];
}

/// The configuration as it is used: what exists is valid.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) hostname: Arc<str>,
    pub(crate) data_dir: PathBuf,
    pub(crate) certificate: Certificate,
    pub(crate) ingress: sluice_ingress::Config,
    /// The listeners of `ingress`, in its order.
    pub(crate) listeners: Vec<Listener>,
    /// The accounts that clients of trusted networks send as, each with its key.
    pub(crate) trusted_accounts: Vec<(String, Arc<str>)>,
    pub(crate) spool: sluice_spool::disk::Config,
    pub(crate) delivery: sluice_delivery::Config,
    /// DKIM keys from files.
    pub(crate) dkim_keys: Vec<sluice_sign::Entry>,
    /// Whom to ask about the DNS; the system's name servers when empty.
    pub(crate) name_servers: Vec<SocketAddr>,
    /// `None`: no accounting files.
    pub(crate) accounting: Option<sluice_feed::accounting::Config>,
    pub(crate) control_socket: PathBuf,
    pub(crate) admin: AdminConfig,
    pub(crate) log: LogConfig,
    pub(crate) sandbox: sandbox::Config,
}

/// Where values come from. Kept, so that the same can be read again on SIGHUP.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    /// The file.
    pub(crate) path: PathBuf,
    /// Whether it was named: then it must be there.
    pub(crate) named: bool,
    /// The process's environment.
    pub(crate) environment: Vec<(String, String)>,
    /// Flags, in the order in which they apply.
    pub(crate) overrides: Vec<Override>,
}

impl Sources {
    /// What the command line and the environment say.
    pub(crate) fn of(cli: &Cli) -> Self {
        Self {
            path: cli.source.config_path().to_owned(),
            named: cli.source.config_is_named(),
            environment: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
            overrides: cli.overrides(),
        }
    }

    /// Reads everything; a file that is not there counts as an empty one unless it was named.
    pub(crate) fn load(&self) -> Result<Config, ConfigError> {
        if !self.named && !self.path.exists() {
            return self.read(Layers::new());
        }
        self.read(Layers::of_file(&self.path)?)
    }

    /// Reads everything as if `text` stood in the file: what the first start is about to write.
    pub(crate) fn load_text(&self, text: &str) -> Result<Config, ConfigError> {
        self.read(Layers::of_text(&self.path.display().to_string(), text)?)
    }

    /// What was read, in words.
    pub(crate) fn shown(&self) -> String {
        if self.path.exists() {
            format!("{}", self.path.display())
        } else {
            format!("There is no {}: the configuration of defaults, environment and flags", self.path.display())
        }
    }

    fn read(&self, mut layers: Layers) -> Result<Config, ConfigError> {
        layers.overlay_env(self.environment.iter().cloned(), &SCALARS)?;
        for flag in &self.overrides {
            layers.overlay(&flag.key, &from_working_folder(flag), flag.origin)?;
        }
        let raw: RawConfig = layers.read()?;
        // Paths in the file are meant from where the file is.
        let base = self.path.parent().unwrap_or(Path::new(""));
        Config::new(raw, base).map_err(|e| layers.locate(e))
    }
}

/// A flag's value; paths on a command line are meant from the working folder.
fn from_working_folder(flag: &Override) -> String {
    let text = flag.value.parse::<toml::Value>().ok().and_then(|v| v.as_str().map(str::to_owned));
    let path = text.unwrap_or_else(|| flag.value.clone());
    match std::path::absolute(&path) {
        Ok(absolute) if PATHS.contains(&flag.key.as_str()) => {
            toml::Value::from(&*absolute.to_string_lossy()).to_string()
        }
        Ok(_) | Err(_) => flag.value.clone(),
    }
}

impl Config {
    fn new(raw: RawConfig, base: &Path) -> Result<Self, KeyError> {
        let hostname = hostname(raw.hostname.as_deref())?;
        if raw.data_dir.as_os_str().is_empty() {
            return Err(KeyError::new("data_dir", "expected the path of a folder"));
        }
        let data_dir = base.join(raw.data_dir);
        let name_servers = raw.delivery.name_servers.clone();
        let delivery = sluice_delivery::Config::new(raw.delivery, base).map_err(|e| e.within("delivery"))?;
        let around = sluice_ingress::Surroundings {
            hostname: Arc::clone(&hostname),
            lifetimes: sluice_ingress::Lifetimes::new(delivery.bounce_after_max, delivery.lifetimes()),
            has_certificate: true,
        };
        check_level(&raw.log.level)?;
        // What the ingress adds to a message has room as well.
        let max_message = raw.ingress.max_message_size.0.saturating_add(ADDED_MAX);
        let listeners: Vec<_> =
            raw.ingress.listeners.iter().map(|l| Listener { address: l.address, tls: l.tls }).collect();
        let listening = listeners.iter().zip(0..).map(|(l, i)| (format!("ingress.listeners[{i}].address"), l.address));
        addresses::check(listening.chain([("admin.address".to_owned(), raw.admin.address)]))?;
        Ok(Self {
            listeners,
            trusted_accounts: trusted_accounts(&raw.ingress),
            certificate: Certificate::new(raw.tls, base, &data_dir).map_err(|e| e.within("tls"))?,
            ingress: sluice_ingress::Config::new(raw.ingress, around).map_err(|e| e.within("ingress"))?,
            spool: raw.spool.checked(&data_dir, max_message).map_err(|e| e.within("spool"))?,
            delivery,
            dkim_keys: raw.dkim.checked(base).map_err(|e| e.within("dkim"))?,
            name_servers,
            accounting: raw.accounting.checked(base, &data_dir).map_err(|e| e.within("accounting"))?,
            control_socket: raw.control.socket.map_or_else(|| data_dir.join("control.sock"), |path| base.join(path)),
            admin: raw.admin,
            log: raw.log,
            sandbox: raw.sandbox.try_into().map_err(|e: KeyError| e.within("sandbox"))?,
            hostname,
            data_dir,
        })
    }
}

fn trusted_accounts(ingress: &sluice_ingress::RawConfig) -> Vec<(String, Arc<str>)> {
    let listeners = ingress.listeners.iter().zip(0..);
    let networks =
        listeners.flat_map(|(listener, i)| listener.trusted_networks.iter().zip(0..).map(move |(n, j)| (n, i, j)));
    let key = |i, j| format!("ingress.listeners[{i}].trusted_networks[{j}].account");
    networks.map(|(network, i, j)| (key(i, j), Arc::clone(&network.account))).collect()
}

/// The configured name, else the machine's own if it has dots in it, else `localhost`.
fn hostname(configured: Option<&str>) -> Result<Arc<str>, KeyError> {
    if let Some(name) = configured {
        let domain = Domain::parse(name)
            .map_err(|e| KeyError::new("hostname", format!("expected a name such as mail.example.org ({e})")))?;
        return Ok(domain.to_string().into());
    }
    let name = machine_name().and_then(|name| Domain::parse(&name).ok());
    let full = name.filter(|name| name.as_str().contains('.'));
    Ok(full.map_or_else(|| "localhost".into(), |name| name.to_string().into()))
}

#[cfg(test)]
mod tests;
