//! `prove-dkim`: has dkimpy verify what Sluice signs, with keys from real zones. Exits with 1 when anything is not as
//! expected.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use sluice_tests::dkim::{self, Extent};
use sluice_tests::wait;

#[derive(Parser)]
#[command(name = "prove-dkim", about = "Has dkimpy verify what Sluice signs, with keys from real zones")]
struct Arguments {
    /// Without large bodies and without Postfix
    #[arg(long)]
    short: bool,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let mut out = std::io::stdout();
    let start = wait::now();
    let verdict = dkim::run(if arguments.short { Extent::Short } else { Extent::Whole }, &mut out)?;
    let seconds = wait::elapsed(start).as_secs();
    let word = if verdict.holds() { "all as expected" } else { "FAILED" };
    writeln!(out, "\n{} of {} as expected: {word} ({seconds} s)", verdict.good, verdict.all)?;
    Ok(if verdict.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
