//! `prove-return`: sends mail into every trouble, among real peers, and checks that each letter is delivered, waits
//! with its reason shown, or comes back. Exits with 1 when anything is not as expected.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;
use sluice_tests::returns::{self, cases};
use sluice_tests::wait;

#[derive(Parser)]
#[command(name = "prove-return", about = "Sends mail into every trouble and checks what becomes of it")]
struct Arguments {
    /// Only scenarios whose group or name has one of these words
    words: Vec<String>,
    /// Tell the names of all scenarios and end
    #[arg(long)]
    list: bool,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let mut out = std::io::stdout();
    let mut chosen = cases::all();
    let words = &arguments.words;
    chosen.retain(|case| {
        words.is_empty()
            || words.iter().any(|word| case.name.contains(word.as_str()) || case.group.contains(word.as_str()))
    });
    ensure!(!chosen.is_empty(), "no scenario has one of {words:?}");
    if arguments.list {
        for case in &chosen {
            writeln!(out, "{}: {}: {}", case.group, case.name, case.expected())?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let start = wait::now();
    let verdict = returns::run(&chosen, &mut out)?;
    let seconds = wait::elapsed(start).as_secs();
    let word = if verdict.holds() { "all as expected" } else { "FAILED" };
    writeln!(out, "\n{} of {} as expected: {word} ({seconds} s)", verdict.good, verdict.all)?;
    Ok(if verdict.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
