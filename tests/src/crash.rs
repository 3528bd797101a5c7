//! The crash proof: Sluice under load, killed at random moments, and a ledger that finds what was lost or repeated.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::generator::{self, Generator, Load};
use crate::ledger::{Dot, End, Judgement, Ledger};
use crate::random::Random;
use crate::sink::{Action, Handler, Sink, Step, Transaction};
use crate::sluice::{Settings, Sluice};
use crate::wait;

/// A run of the proof.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `kill -9`s.
    pub kills: u32,
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
        Self { kills: 100, seed: Random::fresh_seed(), sessions: 16, pause, connections: 20, life, plant: None }
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
}

/// Runs the proof, telling `out` how it goes. An `Err` is a run that could not be finished; read the judgement for
/// what it found.
pub fn run(plan: &Plan, out: &mut dyn Write) -> Result<Judgement> {
    let ledger = Arc::new(Ledger::default());
    let sink = Sink::start(Arc::new(LedgerSink::new(&ledger, plan)))?;
    let mut settings = Settings::to(sink.address());
    settings.delivery = format!("retry_after = [\"1s\", \"2s\"]\nmax_smtp_out = {}\n", plan.connections);
    let mut sluice = Sluice::start(&settings)?;
    let load = Load { address: sluice.ports.trusted, seed: plan.seed, sessions: plan.sessions, pause: plan.pause };
    let generator = Generator::start(load, &ledger);
    let mut random = Random::new(plan.seed);
    for kill in 1..=plan.kills {
        let early = random.one_in(8);
        if !early {
            sluice.wait_until_ready()?;
        }
        let life = if early { Duration::from_millis(200) } else { plan.life };
        std::thread::sleep(Duration::from_micros(random.below(life.as_micros() as u64 + 1)));
        sluice.kill()?;
        ledger.ended(End::Killed);
        if plan.plant == Some(Plant::LostTail) && kill % 10 == 5 {
            lose_tail(&sluice.data_dir())?;
        }
        sluice.spawn()?;
        if kill % 10 == 0 {
            writeln!(out, "{kill} kills, {} messages accepted, {} recipients open", ledger.messages(), ledger.open())?;
        }
    }
    sluice.wait_until_ready()?;
    generator.stop();
    drain(&sluice, &ledger, out)?;
    restart_in_peace(&mut sluice, &ledger)?;
    Ok(ledger.judge(plan.connections))
}

/// Waits until every accepted recipient is settled, as long as there is progress.
fn drain(sluice: &Sluice, ledger: &Ledger, out: &mut dyn Write) -> Result<()> {
    const STALL: Duration = Duration::from_secs(30);
    let (mut open, mut since) = (ledger.open(), wait::now());
    writeln!(out, "the last start drains {open} recipients")?;
    while open > 0 && wait::elapsed(since) < STALL {
        std::thread::sleep(Duration::from_millis(100));
        let now_open = ledger.open();
        if now_open < open {
            (open, since) = (now_open, wait::now());
        }
    }
    if open > 0 {
        writeln!(out, "{open} recipients stay open; the queue says:\n{}", sluice.cli(&["queue"])?.stdout)?;
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

/// Takes mail into the ledger; defers and refuses some of it, told by the seed and the address.
struct LedgerSink {
    ledger: Arc<Ledger>,
    seed: u64,
    plant: Option<Plant>,
    /// Which run opened a connection. Once a run has ended its sockets are closed, so this is sure at the connect
    /// and no longer at a dot that comes out of a buffer.
    runs: Mutex<HashMap<u64, u32>>,
}

impl LedgerSink {
    fn new(ledger: &Arc<Ledger>, plan: &Plan) -> Self {
        Self { ledger: Arc::clone(ledger), seed: plan.seed, plant: plan.plant, runs: Mutex::default() }
    }

    fn runs(&self) -> std::sync::MutexGuard<'_, HashMap<u64, u32>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handler for LedgerSink {
    fn step(&self, connection: u64, step: Step<'_>) -> Action {
        if matches!(step, Step::Connect) {
            self.runs().insert(connection, self.ledger.run());
        }
        let mut dice = Random::new(Random::fresh_seed());
        match step {
            Step::Connect if dice.one_in(50) => Action::ReplyAndClose("421 4.3.2 come again"),
            Step::Recipient(address) => {
                let Some(recipient) = generator::recipient(address) else { return Action::Accept };
                let fixed = Random::new(self.seed ^ recipient.message << 8 ^ u64::from(recipient.index)).below(100);
                if fixed == 0 {
                    self.ledger.refused(recipient);
                    return Action::Reply("550 5.1.1 no such user");
                }
                if dice.one_in(50) { Action::Reply("450 4.2.1 not now") } else { Action::Accept }
            }
            Step::Dot if dice.one_in(200) => Action::Reply("451 4.3.0 not now"),
            Step::Dot if dice.one_in(500) => Action::Close,
            Step::Connect | Step::Command(_) | Step::Dot => Action::Accept,
        }
    }

    fn message(&self, transaction: Transaction) {
        if let Err(error) = generator::check(self.seed, &transaction.content) {
            self.ledger.foreign(format!("{error:#}"));
        }
        let recipients: Vec<_> = transaction.recipients.iter().filter_map(|text| generator::recipient(text)).collect();
        if recipients.len() < transaction.recipients.len() {
            self.ledger.foreign(format!("unknown recipients among {:?}", transaction.recipients));
        }
        let Transaction { connection, sequence, .. } = transaction;
        let run = self.runs().get(&connection).copied().unwrap_or_default();
        let dot = Dot { run, connection, sequence };
        let planted = recipients.first().is_some_and(|recipient| recipient.message % 1000 == 500);
        if planted && self.plant == Some(Plant::ForgottenDelivery) {
            return;
        }
        if planted && self.plant == Some(Plant::DoubleDelivery) {
            self.ledger.delivered(&recipients, dot);
        }
        self.ledger.delivered(&recipients, dot);
    }
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
        let sink = Sink::start(Arc::new(LedgerSink::new(&ledger, &plan))).unwrap();
        let load = Load { address: sink.address(), seed: plan.seed, sessions: 4, pause: Duration::ZERO };
        let generator = Generator::start(load, &ledger);
        wait::for_condition("messages", || Ok(ledger.messages() > 300)).unwrap();
        generator.stop();
        let judgement = ledger.judge(plan.connections);
        assert!(judgement.holds() && judgement.repeated == 0, "{}", judgement.summary());
    }
}
