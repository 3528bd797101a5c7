//! The crash proof: Sluice under load, killed at random moments and at each step between a refusal and the delivery of
//! its report, and a ledger that finds what was lost or repeated.

mod moments;
mod report;
mod sink;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use self::moments::{Moment, Trap};
use self::sink::LedgerSink;
use crate::generator::{Generator, Load};
use crate::ledger::{End, Judgement, Ledger};
use crate::random::Random;
use crate::sink::Sink;
use crate::sluice::{Settings, Sluice};
use crate::wait;

/// A run of the proof.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `kill -9`s at random moments.
    pub kills: u32,
    /// More of them at each step between a refusal and the delivery of its report.
    pub kills_per_step: u32,
    /// Tells the moments and the messages.
    pub seed: u64,
    /// Submitting sessions.
    pub sessions: usize,
    /// A pause of each session after each message.
    pub pause: Duration,
    /// Connections to the sink at most, hence transactions in flight.
    pub connections: usize,
    /// The longest time from ready to kill.
    pub life: Duration,
    /// A fault to put in, so that the proof is seen to fail.
    pub plant: Option<Plant>,
}

impl Default for Plan {
    fn default() -> Self {
        let (pause, life) = (Duration::from_millis(5), Duration::from_millis(1500));
        Self {
            kills: 100,
            kills_per_step: 10,
            seed: Random::fresh_seed(),
            sessions: 16,
            pause,
            connections: 20,
            life,
            plant: None,
        }
    }
}

/// A fault of the machine that Sluice cannot know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Plant {
    /// After a kill, the end of the log's last segment is gone although it was synced: mail is lost.
    LostTail,
    /// The sink forgets a delivery.
    ForgottenDelivery,
    /// The sink counts a delivery twice.
    DoubleDelivery,
    /// The sink forgets a report.
    ForgottenReport,
    /// The sink counts a report twice, the second time under another Message-ID.
    DoubleReport,
}

/// Runs the proof, telling `out` how it goes. An `Err` is a run that could not be finished; read the judgement for
/// what it found.
pub fn run(plan: &Plan, out: &mut dyn Write) -> Result<Judgement> {
    let (ledger, trap) = (Arc::new(Ledger::default()), Arc::new(Trap::default()));
    let sink = Sink::start(Arc::new(LedgerSink::new(&ledger, &trap, plan)))?;
    let mut settings = Settings::to(sink.address());
    settings.delivery = format!("retry_after = [\"1s\", \"2s\"]\nmax_smtp_out = {}\n", plan.connections);
    let mut sluice = Sluice::start(&settings)?;
    let load = Load { address: sluice.ports.trusted, seed: plan.seed, sessions: plan.sessions, pause: plan.pause };
    let generator = Generator::start(load, &ledger);
    let mut random = Random::new(plan.seed);
    let mut hits: BTreeMap<Moment, (u32, u32)> = BTreeMap::new();
    for (done, moment) in (1..).zip(schedule(plan, &mut random)) {
        match moment {
            None => live(&mut sluice, plan, &mut random)?,
            Some(moment) => {
                let came = live_until(&mut sluice, plan, &trap, moment, &mut random)?;
                let (aimed, hit) = hits.entry(moment).or_default();
                (*aimed, *hit) = (*aimed + 1, *hit + u32::from(came));
            }
        }
        sluice.kill()?;
        ledger.ended(End::Killed);
        trap.release();
        if plan.plant == Some(Plant::LostTail) && done % 10 == 5 {
            lose_tail(&sluice.data_dir())?;
        }
        sluice.spawn()?;
        if done % 10 == 0 {
            writeln!(out, "{done} kills, {} messages accepted, {} recipients open", ledger.messages(), ledger.open())?;
        }
    }
    sluice.wait_until_ready()?;
    generator.stop();
    drain(&sluice, &ledger, out)?;
    restart_in_peace(&mut sluice, &ledger)?;
    tell_hits(&hits, out)?;
    Ok(ledger.judge(plan.connections))
}

/// All kills in any order: `None` at a random moment.
fn schedule(plan: &Plan, random: &mut Random) -> Vec<Option<Moment>> {
    let mut kills = vec![None; plan.kills as usize];
    for moment in Moment::ALL {
        kills.extend(vec![Some(moment); plan.kills_per_step as usize]);
    }
    for i in (1..kills.len()).rev() {
        kills.swap(i, random.below(i as u64 + 1) as usize);
    }
    kills
}

/// Lets it live for a random time, now and then not even until it is ready.
fn live(sluice: &mut Sluice, plan: &Plan, random: &mut Random) -> Result<()> {
    let early = random.one_in(8);
    if !early {
        sluice.wait_until_ready()?;
    }
    let life = if early { Duration::from_millis(200) } else { plan.life };
    pause(random, life);
    Ok(())
}

fn pause(random: &mut Random, longest: Duration) {
    std::thread::sleep(Duration::from_micros(random.below(longest.as_micros() as u64 + 1)));
}

/// Lets it live until the sink comes to `moment`, which holds the sink there; whether it did.
fn live_until(sluice: &mut Sluice, plan: &Plan, trap: &Trap, moment: Moment, random: &mut Random) -> Result<bool> {
    const PATIENCE: Duration = Duration::from_secs(10);
    sluice.wait_until_ready()?;
    pause(random, plan.life / 4);
    let came = trap.wait_for(moment, PATIENCE);
    if came && moment.is_after() {
        // What follows (the record, its sync, the next connection) takes some microseconds to milliseconds.
        let longest = [0, 500, 3_000, 20_000][random.below(4) as usize];
        pause(random, Duration::from_micros(longest));
    }
    Ok(came)
}

fn tell_hits(hits: &BTreeMap<Moment, (u32, u32)>, out: &mut dyn Write) -> Result<()> {
    if !hits.is_empty() {
        writeln!(out, "{:<24} {:>6} {:>6}", "killed at the step", "aimed", "hit")?;
    }
    for (moment, (aimed, hit)) in hits {
        writeln!(out, "{moment:<24} {aimed:>6} {hit:>6}")?;
    }
    Ok(())
}

/// Waits until nothing is queued and every accepted recipient is delivered to or reported, as long as there is
/// progress. From an empty queue there is none.
fn drain(sluice: &Sluice, ledger: &Ledger, out: &mut dyn Write) -> Result<()> {
    let patience = |queued: u64| Duration::from_secs(if queued > 0 { 30 } else { 2 });
    let left = || Ok::<_, anyhow::Error>((ledger.open(), sluice.metric("sluice_spool_envelopes")? as u64));
    let (mut last, mut since) = (left()?, wait::now());
    writeln!(out, "the last start drains {} recipients, {} envelopes", last.0, last.1)?;
    while last != (0, 0) && wait::elapsed(since) < patience(last.1) {
        std::thread::sleep(Duration::from_millis(100));
        let now = left()?;
        if now != last {
            (last, since) = (now, wait::now());
        }
    }
    if last != (0, 0) {
        writeln!(out, "{} recipients stay open; the queue says:\n{}", last.0, sluice.cli(&["queue"])?.stdout)?;
    }
    Ok(())
}

/// A stop by SIGTERM and one more start must send nothing again.
fn restart_in_peace(sluice: &mut Sluice, ledger: &Ledger) -> Result<()> {
    let status = sluice.terminate()?;
    ensure!(status.success(), "SIGTERM: {status}\n{}", sluice.log());
    ledger.ended(End::Drained);
    sluice.run()?;
    let status = sluice.terminate()?;
    ensure!(status.success(), "SIGTERM: {status}\n{}", sluice.log());
    ledger.ended(End::Drained);
    Ok(())
}

/// Overwrites the end of what was written to the newest segment of the spool.
fn lose_tail(data_dir: &Path) -> Result<()> {
    const LOST: u64 = 256 * 1024;
    let segment = newest_file(&data_dir.join("spool"))?.context("no segment in the spool")?;
    let file = File::options().read(true).write(true).open(&segment)?;
    let mut end = file.metadata()?.len();
    let mut block = vec![0; 64 * 1024];
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let length = (end - start) as usize;
        file.read_exact_at(&mut block[..length], start)?;
        if let Some(last) = block[..length].iter().rposition(|byte| *byte != 0) {
            end = start + last as u64 + 1;
            break;
        }
        end = start;
    }
    let start = end.saturating_sub(LOST).max(4096.min(end));
    file.write_all_at(&vec![0; (end - start) as usize], start)?;
    Ok(())
}

fn newest_file(folder: &Path) -> Result<Option<PathBuf>> {
    let mut newest = None;
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_file() && metadata.len() > 4096 {
            newest = newest.max(Some((metadata.modified()?, entry.path())));
        }
    }
    Ok(newest.map(|(_, path)| path))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Generator and sink face to face: what the one calls accepted, the other has, octet for octet.
    #[test]
    fn generator_and_sink_agree() {
        let plan = Plan { sessions: 4, ..Plan::default() };
        let ledger = Arc::new(Ledger::default());
        let sink = Sink::start(Arc::new(LedgerSink::new(&ledger, &Arc::default(), &plan))).unwrap();
        let load = Load { address: sink.address(), seed: plan.seed, sessions: 4, pause: Duration::ZERO };
        let generator = Generator::start(load, &ledger);
        wait::for_condition("messages", || Ok(ledger.messages() > 300)).unwrap();
        generator.stop();
        let judgement = ledger.judge(plan.connections);
        assert!(judgement.holds() && judgement.repeated == 0, "{}", judgement.summary());
        assert!(judgement.refused > 0, "{}", judgement.summary());
    }

    #[test]
    fn the_schedule_holds_every_step() {
        let plan = Plan { kills: 7, kills_per_step: 3, ..Plan::default() };
        let kills = schedule(&plan, &mut Random::new(1));
        let count = |wanted: Option<Moment>| kills.iter().filter(|kill| **kill == wanted).count();
        assert_eq!(count(None), 7);
        assert!(Moment::ALL.iter().all(|moment| count(Some(*moment)) == 3));
        assert!(kills[..7].iter().any(Option::is_some), "in any order");
    }
}
