//! Sluice: all services in one process, and the operator's command line.

mod cli;
mod config;
mod first_start;
mod moment;
mod run;
mod sandbox;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process;

use cli::{Cli, CliError, Command, Question, Terminal};
use config::Sources;
use sluice_daemon::config::ConfigError;
use sluice_daemon::{ExitCode, SystemClock, raise_file_limit};
use sluice_mail::Clock;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Why the process ends with something to say.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Cli(#[from] CliError),
    #[error(transparent)]
    Run(#[from] run::RunError),
    #[error("cannot start: {0}")]
    Runtime(io::Error),
}

fn main() -> process::ExitCode {
    let done = cli::parse().map(dispatch);
    match done {
        Ok(Ok(())) => ExitCode::Ok.into(),
        Ok(Err(failure)) => {
            // Where nobody listens nothing more can be said.
            let _ = writeln!(io::stderr(), "sluice: {failure}");
            failure.exit_code().into()
        }
        Err(code) => code.into(),
    }
}

fn dispatch(cli: Cli) -> Result<(), Failure> {
    let sources = Sources::of(&cli);
    let out = |result: io::Result<()>| result.map_err(|e| Failure::Cli(CliError::Output(e)));
    match cli.command {
        Command::Run(args) => {
            let program = std::env::args().next().unwrap_or_else(|| "sluice".into());
            let options = run::Options { sources, sandbox: args.sandbox, salvage: args.salvage, program };
            raise_file_limit();
            Ok(runtime(true)?.block_on(run::run(options))?)
        }
        Command::CheckConfig => {
            let config = sources.load()?;
            run::check_certificate(&config)?;
            let mut stdout = io::stdout();
            out(writeln!(stdout, "{} is good.", sources.shown()))?;
            let check = cli::check_accounts(&config.trusted_accounts, &config.control_socket, &mut stdout);
            Ok(runtime(false)?.block_on(check)?)
        }
        Command::ConfigReference => out(write!(io::stdout(), "{}", config::reference())),
        Command::Account(command) => ask(Question::Account(command), cli.source.socket, &sources),
        Command::Dkim(command) => {
            let servers = sources.load()?.name_servers;
            ask(Question::Dkim(command, servers), cli.source.socket, &sources)
        }
        Command::Queue(args) => ask(Question::Queue(args), cli.source.socket, &sources),
        Command::Version(args) => out(cli::version(args.json, &mut io::stdout())),
    }
}

/// Asks the running server, on the socket named or the one configured.
fn ask(question: Question, socket: Option<PathBuf>, sources: &Sources) -> Result<(), Failure> {
    let socket = match socket {
        Some(socket) => socket,
        None => sources.load()?.control_socket,
    };
    let (mut stdin, mut stdout) = (io::stdin().lock(), io::BufWriter::new(io::stdout().lock()));
    let mut terminal = Terminal { stdin: &mut stdin, stdout: &mut stdout, now: SystemClock.wall() };
    Ok(runtime(false)?.block_on(cli::ask(question, &socket, &mut terminal))?)
}

fn runtime(threads: bool) -> Result<tokio::runtime::Runtime, Failure> {
    let mut builder = match threads {
        true => tokio::runtime::Builder::new_multi_thread(),
        false => tokio::runtime::Builder::new_current_thread(),
    };
    builder.enable_all().build().map_err(Failure::Runtime)
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) => ExitCode::Config,
            Self::Cli(error) => error.exit_code(),
            Self::Run(error) => error.exit_code(),
            Self::Runtime(error) => ExitCode::of_io(error, ExitCode::Temporary),
        }
    }
}
