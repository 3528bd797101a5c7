//! `compare`: prints what Sluice, Postfix and the bare load generator did with the same load on this machine.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use sluice_benches::domains::{self, Domains};
use sluice_benches::signing;
use sluice_benches::subject::{self, Load, Subject};
use sluice_benches::table::{self, Row};
use sluice_benches::waiting;

#[derive(Parser)]
#[command(name = "compare", about = "Measures Sluice beside Postfix and the load generator's own ceiling")]
struct Arguments {
    /// Where spools lie: a folder on a real disk that every user may enter.
    #[arg(long, default_value = "/var/tmp")]
    folder: PathBuf,
    /// Send a fraction of the usual number of messages, or a multiple.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Measure each combination this many times; the table shows each.
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// Only this subject: ceiling, postfix or sluice.
    #[arg(long)]
    only: Option<String>,
    /// Only bodies of this many KiB.
    #[arg(long)]
    kib: Option<usize>,
    /// Only this many sessions.
    #[arg(long)]
    sessions: Option<usize>,
    /// Instead, have this many envelopes wait, and show their memory and the time of a restart.
    #[arg(long)]
    waiting: Option<u64>,
    /// Instead, send to this many domains whose servers take 100 ms for each reply.
    #[arg(long)]
    domains: Option<usize>,
    /// Instead, show what DKIM signatures cost, and how long unsigned mail waits beside signed mail.
    #[arg(long)]
    signing: bool,
    /// Connections at once to those domains.
    #[arg(long, default_value_t = 1000)]
    connections: u32,
}

/// Domains of the run behind the table.
const DOMAINS: usize = 500;
/// Messages of a run that shows the cost of signing.
const SIGNED: u64 = 30_000;

/// Messages of a run, by KiB and subject: some ten seconds each on a small machine.
fn messages(kib: usize, subject: Subject) -> u64 {
    match (subject, kib < 32) {
        (Subject::Ceiling, true) => 150_000,
        (Subject::Ceiling, false) => 20_000,
        (Subject::Postfix, true) => 6_000,
        (Subject::Postfix, false) => 4_000,
        (Subject::Sluice | Subject::Signing, true) => 80_000,
        (Subject::Sluice | Subject::Signing, false) => 12_000,
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut out = std::io::stdout();
    if let Some(count) = arguments.waiting {
        return waiting::run(count, 2048, &arguments.folder, &mut out);
    }
    let slow = |count| {
        let of = Domains::of(count);
        Domains { connections: arguments.connections, messages: (of.messages as f64 * arguments.scale) as u64, ..of }
    };
    if let Some(count) = arguments.domains {
        return domains::run(slow(count), &arguments.folder, &mut out);
    }
    let signed = (SIGNED as f64 * arguments.scale) as u64;
    if arguments.signing {
        return signing::run(signed, &arguments.folder, &mut out);
    }
    writeln!(out, "{}", table::HEAD)?;
    let mut rows = Vec::new();
    for _ in 0..arguments.rounds {
        for kib in [4, 100].into_iter().filter(|kib| arguments.kib.is_none_or(|only| only == *kib)) {
            for sessions in [20, 200].into_iter().filter(|n| arguments.sessions.is_none_or(|only| only == *n)) {
                for subject in [Subject::Ceiling, Subject::Postfix, Subject::Sluice] {
                    if arguments.only.as_ref().is_some_and(|only| !only.eq_ignore_ascii_case(subject.name())) {
                        continue;
                    }
                    let count = (messages(kib, subject) as f64 * arguments.scale) as u64;
                    let load = Load { octets: kib * 1024, sessions, messages: count.max(sessions as u64) };
                    let measurement = subject::measure(subject, load, &arguments.folder)?;
                    rows.push(Row { subject, load, measurement });
                    writeln!(out, "{}", table::line(&rows[rows.len() - 1], &rows))?;
                }
            }
        }
    }
    let is_all = arguments.only.is_none() && arguments.kib.is_none() && arguments.sessions.is_none();
    if is_all {
        writeln!(out)?;
        domains::run(slow(DOMAINS), &arguments.folder, &mut out)?;
        writeln!(out)?;
        signing::run(signed, &arguments.folder, &mut out)?;
    }
    Ok(())
}
