//! The command line: what it accepts, and the commands that ask a running server.
//!
//! `run` and `check-config` are `main`'s; [`ask`] does `account`, `dkim` and `queue` over the control socket; [`version()`]
//! needs neither. Everything writes to what it is given, so that tests read what people read.

mod account;
mod check;
mod client;
mod dkim;
mod envelope;
mod error;
mod format;
mod queue;
mod table;
mod version;

use std::ffi::OsString;
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use sluice_daemon::ExitCode;
use sluice_mail::UnixMs;

pub(crate) use check::check_accounts;
pub(crate) use error::CliError;
pub(crate) use version::version;

/// The configuration file that is used when none is named.
pub(crate) const DEFAULT_CONFIG: &str = "sluice.toml";

/// A mail server for sending: takes mail over SMTP, keeps it safe, and delivers it.
#[derive(Debug, Parser)]
#[command(name = "sluice", version)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) source: Source,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where the configuration comes from.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Source {
    /// Configuration file [default: sluice.toml]
    #[arg(long, global = true, env = "SLUICE_CONFIG", value_name = "PATH", hide_env_values = true)]
    config: Option<PathBuf>,
    /// Folder for queue, accounts and certificate, instead of the configured one
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Set a key of the configuration, such as ingress.max_sessions=500; may be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<Setting>,
    /// Socket of the server to ask, instead of the configured one
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take, keep and deliver mail
    ///
    /// The first start, when there is no configuration file, writes one, makes a data folder, a certificate and an
    /// account, and prints how to send a first mail.
    Run(RunArgs),
    /// Say whether the configuration is good, and start nothing
    CheckConfig,
    /// Print docs/configuration.md
    #[command(hide = true)]
    ConfigReference,
    /// Who may send
    #[command(subcommand)]
    Account(account::Command),
    /// What signs mail: keys and their records in the DNS
    #[command(subcommand)]
    Dkim(dkim::Command),
    /// Mail that waits: counts by domain, single messages, and why they wait
    Queue(queue::QueueArgs),
    /// Which Sluice this is
    Version(VersionArgs),
}

/// `sluice run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Send nothing to the network: keep mail in memory and show it in the browser
    #[arg(long)]
    pub(crate) sandbox: bool,
    /// Start although the log of mail is damaged, keeping what can still be read
    #[arg(long)]
    pub(crate) salvage: bool,
    /// How log lines look
    #[arg(long, value_enum, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// Which log lines are written: error, warn, info, debug, trace, or a list such as info,sluice_delivery=debug
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// For machines
    Json,
}

/// `sluice version`.
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `KEY=VALUE` of `--set`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    key: String,
    value: String,
}

/// A value from the command line that goes over the file's and the environment's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Override {
    /// As in `ingress.max_sessions`.
    pub(crate) key: String,
    /// In the configuration's syntax.
    pub(crate) value: String,
    /// The flag, for errors.
    pub(crate) origin: &'static str,
}

/// What a command reads from and writes to, and the time it is.
pub(crate) struct Terminal<'a> {
    /// For `--password-stdin`.
    pub(crate) stdin: &'a mut dyn BufRead,
    /// For results; errors are returned.
    pub(crate) stdout: &'a mut dyn Write,
    /// Wall-clock time, for "in 5 min".
    pub(crate) now: UnixMs,
}

/// Reads the process's arguments. Help, version and complaints are printed here; the code is what to end with then.
pub(crate) fn parse() -> Result<Cli, ExitCode> {
    read(std::env::args_os()).map_err(|error| {
        // Where nobody listens nothing more can be said.
        let _ = error.print();
        if error.use_stderr() { ExitCode::Usage } else { ExitCode::Ok }
    })
}

fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let cli = Cli::try_parse_from(arguments)?;
    if let Command::Queue(args) = &cli.command
        && let Some(option) = args.misplaced()
    {
        let words = format!("{option} belongs behind the subcommand, as in `sluice queue list {option}`");
        return Err(Cli::command().error(clap::error::ErrorKind::ArgumentConflict, words));
    }
    if let Command::Account(command) = &cli.command
        && command.changes_nothing()
    {
        let words = "name what is to be changed, such as --dsn off; `sluice account set --help` tells all";
        return Err(Cli::command().error(clap::error::ErrorKind::MissingRequiredArgument, words));
    }
    Ok(cli)
}

/// A command for a running server.
pub(crate) enum Question {
    /// `sluice account …`
    Account(account::Command),
    /// `sluice dkim …`, and the name servers to ask; the system's when empty.
    Dkim(dkim::Command, Vec<SocketAddr>),
    /// `sluice queue …`
    Queue(queue::QueueArgs),
}

/// Asks the server at `socket` and writes what it says. A reader that has gone is no error.
pub(crate) async fn ask(question: Question, socket: &Path, terminal: &mut Terminal<'_>) -> Result<(), CliError> {
    let done = match question {
        Question::Account(command) => account::run(command, socket, terminal).await,
        Question::Dkim(command, servers) => dkim::run(command, &servers, socket, terminal).await,
        Question::Queue(args) => queue::run(args, socket, terminal).await,
    };
    match done.and_then(|()| Ok(terminal.stdout.flush()?)) {
        Err(CliError::Output(e)) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

impl Cli {
    /// What goes over file and environment, in the order of application.
    pub(crate) fn overrides(&self) -> Vec<Override> {
        let mut overrides = self.source.overrides();
        if let Command::Run(args) = &self.command {
            overrides.extend(args.overrides());
        }
        overrides
    }
}

impl Source {
    /// The configuration file: the one named, or `sluice.toml` in the current folder.
    pub(crate) fn config_path(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(DEFAULT_CONFIG))
    }

    /// Whether the file was named: then a command that only reads it must not do without.
    pub(crate) fn config_is_named(&self) -> bool {
        self.config.is_some()
    }

    fn overrides(&self) -> Vec<Override> {
        let set = self.set.iter().map(|s| Override { key: s.key.clone(), value: s.value.clone(), origin: "--set" });
        let data_dir = self.data_dir.iter().map(|dir| text("data_dir", &dir.to_string_lossy(), "--data-dir"));
        set.chain(data_dir).collect()
    }
}

impl RunArgs {
    fn overrides(&self) -> impl Iterator<Item = Override> {
        let format = self.log_format.map(|format| match format {
            LogFormat::Text => text("log.format", "text", "--log-format"),
            LogFormat::Json => text("log.format", "json", "--log-format"),
        });
        let level = self.log_level.as_deref().map(|level| text("log.level", level, "--log-level"));
        format.into_iter().chain(level)
    }
}

/// A value that is a text, whatever it looks like.
fn text(key: &str, value: &str, origin: &'static str) -> Override {
    Override { key: key.to_owned(), value: toml::Value::from(value).to_string(), origin }
}

fn setting(argument: &str) -> Result<Setting, String> {
    match argument.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok(Setting { key: key.to_owned(), value: value.to_owned() }),
        Some(_) | None => Err("expected KEY=VALUE, such as ingress.max_sessions=500".to_owned()),
    }
}

#[cfg(test)]
mod tests;
