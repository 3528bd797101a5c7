//! Sluice as a child process: its configuration, its start and its end.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use tempfile::TempDir;

use crate::certificate::{self, Certificate};
use crate::process::{self, Finished, Process, Signal};
use crate::{http, ports, wait};

/// The account that the tests' trusted listener sends as, and its sender domain.
pub const TRUSTED_ACCOUNT: &str = "load";
/// The sender domain of [`TRUSTED_ACCOUNT`].
pub const TRUSTED_DOMAIN: &str = "ledger.test";

/// The program under test: `SLUICE_BIN`, or what cargo builds now for the profile that this program was built in.
pub fn binary() -> Result<PathBuf> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BINARY.get_or_init(|| find_binary().map_err(|error| format!("{error:#}"))).clone().map_err(|text| anyhow!(text))
}

fn find_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("SLUICE_BIN") {
        return Ok(path.into());
    }
    let own = std::env::current_exe()?;
    let mut folder = own.parent().context("no folder")?;
    if folder.ends_with("deps") {
        folder = folder.parent().context("no folder")?;
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--locked", "--quiet", "--package", "sluice", "--bin", "sluice"]);
    command.arg("--manifest-path").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"));
    command.arg("--target-dir").arg(folder.parent().context("no folder")?);
    if folder.ends_with("release") {
        command.arg("--release");
    }
    let status = command.status().context("cannot run cargo")?;
    ensure!(status.success(), "cargo build: {status}");
    Ok(folder.join("sluice"))
}

/// `sluice` without what the caller's environment would override in its configuration.
pub fn command() -> Result<Command> {
    let mut command = Command::new(binary()?);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SLUICE_") {
            command.env_remove(name);
        }
    }
    Ok(command)
}

/// What a test says about the configuration; the rest is the harness's.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Static routes: a domain or `*`, and where its mail goes.
    pub routes: Vec<(String, SocketAddr)>,
    /// Lines for the top of the file.
    pub top: String,
    /// Lines for `[ingress]`.
    pub ingress: String,
    /// Lines for `[delivery]`, instead of the short retry schedule.
    pub delivery: String,
    /// More sections.
    pub sections: String,
    /// More arguments of `sluice run`.
    pub arguments: Vec<String>,
}

impl Settings {
    /// All mail goes to `address`.
    #[must_use]
    pub fn to(address: SocketAddr) -> Self {
        Self { routes: vec![("*".to_owned(), address)], ..Self::default() }
    }
}

/// The ports of an instance.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// STARTTLS.
    pub submission: SocketAddr,
    /// TLS from the first octet.
    pub submissions: SocketAddr,
    /// No TLS; loopback is trusted as [`TRUSTED_ACCOUNT`].
    pub trusted: SocketAddr,
    /// Behind a proxy on 127.0.0.1: STARTTLS and the PROXY protocol.
    pub proxied: SocketAddr,
    /// `/metrics`, `/healthz` and `/readyz`.
    pub admin: SocketAddr,
    /// The sandbox's page.
    pub sandbox: SocketAddr,
}

/// An installation in a folder of its own, running or not; it is killed and removed when dropped.
pub struct Sluice {
    dir: TempDir,
    /// Its ports.
    pub ports: Ports,
    /// Its certificate, for the name `sluice.test`.
    pub certificate: Certificate,
    arguments: Vec<String>,
    process: Option<Process>,
}

impl Sluice {
    /// Writes the configuration and starts nothing.
    pub fn prepare(settings: &Settings) -> Result<Self> {
        Self::prepare_in(&std::env::temp_dir(), settings)
    }

    /// [`Self::prepare`] in a new folder below `parent`.
    pub fn prepare_in(parent: &Path, settings: &Settings) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("sluice-").tempdir_in(parent)?;
        let port = || Ok::<_, anyhow::Error>(ports::loopback(ports::free()?));
        let ports = Ports {
            submission: port()?,
            submissions: port()?,
            trusted: port()?,
            proxied: port()?,
            admin: port()?,
            sandbox: port()?,
        };
        let certificate = certificate::write(dir.path(), "certificate", "sluice.test")?;
        let sluice = Self { dir, ports, certificate, arguments: settings.arguments.clone(), process: None };
        sluice.configure(settings)?;
        Ok(sluice)
    }

    /// Prepares, starts, waits until it is ready, and adds [`TRUSTED_ACCOUNT`].
    pub fn start(settings: &Settings) -> Result<Self> {
        let mut sluice = Self::prepare(settings)?;
        sluice.run()?;
        sluice.add_trusted_account()?;
        Ok(sluice)
    }

    /// Writes the configuration anew; a running instance reads it at its next start or SIGHUP.
    pub fn configure(&self, settings: &Settings) -> Result<()> {
        Ok(fs::write(self.config(), self.config_text(settings))?)
    }

    fn config_text(&self, settings: &Settings) -> String {
        let Ports { submission, submissions, trusted, proxied, admin, sandbox } = self.ports;
        let Certificate { certificate, key } = &self.certificate;
        let default = "retry_after = [\"1s\", \"1s\", \"2s\"]\n".to_owned();
        let delivery = if settings.delivery.is_empty() { &default } else { &settings.delivery };
        let routes = settings
            .routes
            .iter()
            .map(|(domain, address)| format!("[[delivery.routes]]\ndomain = \"{domain}\"\nhosts = [\"{address}\"]\n"));
        format!(
            r#"hostname = "sluice.test"
data_dir = "{data}"
{top}
[tls]
certificate = "{certificate}"
key = "{key}"
[ingress]
{ingress}
[[ingress.listeners]]
address = "{submission}"
tls = "starttls"
[[ingress.listeners]]
address = "{submissions}"
tls = "implicit"
[[ingress.listeners]]
address = "{trusted}"
tls = "none"
direct = true
trusted_networks = [{{ network = "127.0.0.0/8", account = "{TRUSTED_ACCOUNT}" }}]
[[ingress.listeners]]
address = "{proxied}"
tls = "starttls"
proxy_protocol_from = ["127.0.0.1/32"]
[admin]
address = "{admin}"
[sandbox]
address = "{sandbox}"
{sections}
[delivery]
{delivery}
{routes}"#,
            data = self.data_dir().display(),
            certificate = certificate.display(),
            key = key.display(),
            top = settings.top,
            ingress = settings.ingress,
            sections = settings.sections,
            routes = routes.collect::<String>(),
        )
    }

    /// Its folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir().join("sluice.toml")
    }

    /// Its data folder.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.dir().join("data")
    }

    /// Starts it and waits until it is ready.
    pub fn run(&mut self) -> Result<()> {
        self.spawn()?;
        self.wait_until_ready()
    }

    /// Starts it and waits for nothing.
    pub fn spawn(&mut self) -> Result<()> {
        let mut command = command()?;
        command.arg("run").arg("--config").arg(self.config()).args(&self.arguments).current_dir(self.dir());
        self.process = Some(Process::start("sluice", &mut command, &self.dir().join("sluice.log"))?);
        Ok(())
    }

    /// Waits for `/readyz`.
    pub fn wait_until_ready(&mut self) -> Result<()> {
        let admin = self.ports.admin;
        let process = self.process.as_mut().context("it was not started")?;
        wait::until(wait::PATIENCE, "sluice to be ready", || {
            if let Some(status) = process.exited()? {
                bail!("sluice ended with {status}");
            }
            Ok(http::get(admin, "/readyz").is_ok_and(|answer| answer.status == 200).then_some(()))
        })
        .with_context(|| self.log())
    }

    /// The running process.
    pub fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("it is not running")
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        self.process()?.kill()?;
        self.process = None;
        Ok(())
    }

    /// SIGTERM, and waits for its end.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        let process = self.process()?;
        process.signal(Signal::TERM)?;
        let status = process.wait(wait::PATIENCE * 2)?;
        self.process = None;
        Ok(status)
    }

    /// What it has printed over all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(self.dir().join("sluice.log")).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    }

    /// Runs `sluice` with `arguments` against this configuration.
    pub fn cli(&self, arguments: &[&str]) -> Result<Finished> {
        self.cli_with(arguments, b"")
    }

    /// [`Self::cli`] with something to read.
    pub fn cli_with(&self, arguments: &[&str], input: &[u8]) -> Result<Finished> {
        let mut command = command()?;
        command.args(arguments).arg("--config").arg(self.config()).current_dir(self.dir());
        process::run(&mut command, input)
    }

    /// Adds an account that may send from `domains`.
    pub fn add_account(&self, name: &str, password: &str, domains: &[&str]) -> Result<()> {
        let mut arguments = vec!["account", "add", name, "--password-stdin"];
        for domain in domains {
            arguments.extend_from_slice(&["--domain", domain]);
        }
        self.cli_with(&arguments, format!("{password}\n").as_bytes())?.success()?;
        Ok(())
    }

    /// Adds [`TRUSTED_ACCOUNT`].
    pub fn add_trusted_account(&self) -> Result<()> {
        self.add_account(TRUSTED_ACCOUNT, "not used by anybody", &[TRUSTED_DOMAIN])
    }

    /// The metrics as they are.
    pub fn metrics(&self) -> Result<String> {
        Ok(http::get(self.ports.admin, "/metrics")?.text())
    }

    /// The sum over all series of the metric `name`.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let text = self.metrics()?;
        let value = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            (series.split('{').next() == Some(name)).then(|| value.parse::<f64>().ok()).flatten()
        };
        Ok(text.lines().filter(|line| !line.starts_with('#')).filter_map(value).sum())
    }

    /// Waits until its log holds `text`.
    pub fn wait_for_log(&self, text: &str, limit: Duration) -> Result<()> {
        wait::until(limit, &format!("{text:?} in the log"), || Ok(self.log().contains(text).then_some(())))
            .with_context(|| self.log())
    }
}
