//! What is measured: a way from smtp-source to smtp-sink.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use sluice_tests::postfix::{Postfix, Role};
use sluice_tests::sluice::{Settings, Sluice, TRUSTED_DOMAIN};
use sluice_tests::smtp_sink::{SmtpSink, smtp_source};
use sluice_tests::{process, wait};

use crate::usage::{self, FamilyWatch};

/// A way that mail goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Straight from source to sink: what the load generator and the machine can do.
    Ceiling,
    /// Debian's Postfix, its default settings but for the next hop.
    Postfix,
    /// Sluice on its embedded engine.
    Sluice,
    /// The same, with a DKIM key (RSA of 2048 bits) for all that it takes.
    Signing,
}

impl Subject {
    /// Its name in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ceiling => "ceiling",
            Self::Postfix => "Postfix",
            Self::Sluice => "Sluice",
            Self::Signing => "Sluice, signing",
        }
    }
}

/// A load.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Octets of a message's body.
    pub octets: usize,
    /// Sessions that submit at once.
    pub sessions: usize,
    /// Messages in all.
    pub messages: u64,
}

/// What came out.
#[derive(Clone, Copy, Debug)]
pub struct Measurement {
    /// Messages that were sent.
    pub messages: u64,
    /// From the first connection to the last 250 of the subject.
    pub accept: Duration,
    /// From the first connection to the last message in the sink.
    pub end_to_end: Duration,
    /// Processor time of the subject alone.
    pub cpu_seconds: f64,
    /// The most memory that the subject had.
    pub memory: u64,
}

impl Measurement {
    /// Messages accepted in a second.
    #[must_use]
    pub fn accepted_rate(&self) -> f64 {
        self.messages as f64 / self.accept.as_secs_f64()
    }

    /// Messages in a second from the source to the sink.
    #[must_use]
    pub fn end_to_end_rate(&self) -> f64 {
        self.messages as f64 / self.end_to_end.as_secs_f64()
    }
}

/// No run takes longer; one that does is an error.
pub(crate) const RUN_MAX: Duration = Duration::from_secs(180);

/// Sends `load` through `subject`, whose files lie below `folder`.
pub fn measure(subject: Subject, load: Load, folder: &Path) -> Result<Measurement> {
    match subject {
        Subject::Ceiling => ceiling(load),
        Subject::Postfix => {
            let mut sink = counting_sink(load)?;
            let postfix = Postfix::start(folder, Role::Relay(sink.address()))?;
            let watch = FamilyWatch::start(postfix.id());
            let before = usage::cpu_seconds(postfix.id())?;
            let (accept, end_to_end) = send(load, postfix.address(), &mut sink)?;
            let cpu_seconds = usage::cpu_seconds(postfix.id())? - before;
            Ok(Measurement { messages: load.messages, accept, end_to_end, cpu_seconds, memory: watch.peak() })
        }
        Subject::Sluice | Subject::Signing => {
            let mut sink = counting_sink(load)?;
            let mut sluice = Sluice::prepare_in(folder, &settings(sink.address()))?;
            sluice.run()?;
            sluice.add_trusted_account()?;
            if subject == Subject::Signing {
                sluice.cli(&["dkim", "generate", TRUSTED_DOMAIN])?.success()?;
            }
            let pid = sluice.process()?.id();
            let before = usage::cpu_seconds(pid)?;
            let (accept, end_to_end) = send(load, sluice.ports.trusted, &mut sink)?;
            let cpu_seconds = usage::cpu_seconds(pid)? - before;
            let memory = usage::peak_resident(pid);
            Ok(Measurement { messages: load.messages, accept, end_to_end, cpu_seconds, memory })
        }
    }
}

/// As a newcomer has it, but for the route and the log, which is kept to warnings as Postfix's is not the point either.
fn settings(sink: SocketAddr) -> Settings {
    let mut settings = Settings::to(sink);
    settings.delivery = "max_smtp_out = 20\n".to_owned();
    settings
}

/// A sink that ends when it has taken all messages, which is the most exact and the cheapest way to know when.
fn counting_sink(load: Load) -> Result<SmtpSink> {
    SmtpSink::start_discarding(&["-m", "1000", "-M", &load.messages.to_string()])
}

/// The load generator at work on `address`.
pub(crate) fn source(load: Load, address: SocketAddr) -> std::process::Command {
    let Load { octets, sessions, messages } = load;
    let (octets, sessions, messages) = (octets.to_string(), sessions.to_string(), messages.to_string());
    let from = format!("bench@{TRUSTED_DOMAIN}");
    let numbers = ["-d", "-s", &sessions, "-m", &messages, "-l", &octets, "-f", &from, "-t", "sink@example.test"];
    smtp_source(&numbers, address)
}

fn send(load: Load, address: SocketAddr, sink: &mut SmtpSink) -> Result<(Duration, Duration)> {
    let start = wait::now();
    let sent = process::run_within(&mut source(load, address), b"", RUN_MAX)?.success()?;
    ensure!(sent.stderr.is_empty(), "smtp-source: {}", sent.stderr);
    let accept = wait::elapsed(start);
    sink.wait(RUN_MAX)?;
    Ok((accept, wait::elapsed(start)))
}

fn ceiling(load: Load) -> Result<Measurement> {
    let sink = SmtpSink::start_discarding(&["-m", "1000"])?;
    let before = usage::cpu_seconds(sink.id())?;
    let start = wait::now();
    process::run_within(&mut source(load, sink.address()), b"", RUN_MAX)?.success()?;
    let accept = wait::elapsed(start);
    let cpu_seconds = usage::cpu_seconds(sink.id())? - before;
    let memory = usage::peak_resident(sink.id());
    Ok(Measurement { messages: load.messages, accept, end_to_end: accept, cpu_seconds, memory })
}
