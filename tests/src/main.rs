//! `prove-crash`: kills Sluice under load, a hundred times at random and ten times at each step between a refusal and
//! the delivery of its report, and counts what became of the accepted mail. Exits with 1 on any loss, on any alteration,
//! on a failure without a report or with two, and on repeats beyond the transactions in flight.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use sluice_tests::crash::{self, Plan, Plant};
use sluice_tests::wait;

#[derive(Parser)]
#[command(name = "prove-crash", about = "Kills Sluice under load and counts what became of the accepted mail")]
struct Arguments {
    /// How often to kill it at random moments.
    #[arg(long, default_value_t = 100)]
    kills: u32,
    /// How often to kill it at each step between a refusal and the delivery of its report.
    #[arg(long, default_value_t = 10)]
    kills_per_step: u32,
    /// Do again what the run with this seed did, as far as the machine lets it.
    #[arg(long)]
    seed: Option<u64>,
    /// Submitting sessions.
    #[arg(long, default_value_t = 16)]
    sessions: usize,
    /// Milliseconds that each session pauses after each message.
    #[arg(long, default_value_t = 5)]
    pause_ms: u64,
    /// Put in a fault, to see the proof fail.
    #[arg(long)]
    plant: Option<Plant>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let Arguments { kills, kills_per_step, sessions, plant, .. } = arguments;
    let mut plan = Plan { kills, kills_per_step, sessions, plant, ..Plan::default() };
    plan.pause = Duration::from_millis(arguments.pause_ms);
    plan.seed = arguments.seed.unwrap_or(plan.seed);
    let mut out = std::io::stdout();
    writeln!(out, "seed {}, {kills} kills and {kills_per_step} at each step, {sessions} sessions", plan.seed)?;
    let start = wait::now();
    let judgement = crash::run(&plan, &mut out)?;
    write!(out, "{}", judgement.summary())?;
    let held = judgement.holds();
    let verdict =
        if held { "no accepted mail was lost, and no failure was reported twice or not at all" } else { "FAILED" };
    writeln!(out, "{verdict} (seed {}, {} s)", plan.seed, wait::elapsed(start).as_secs())?;
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
