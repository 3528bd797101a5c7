//! The proof of return: one Sluice among real peers, good ones and bad ones, and what becomes of each letter. A
//! letter is delivered, or waits with its reason shown, or comes back as a report in its sender's mailbox; none is
//! lost, none doubled, and a report never causes another.

mod account;
pub mod case;
pub mod cases;
mod table;
mod watch;
mod world;
mod zones;

use std::io::Write;
use std::sync::mpsc;

use anyhow::{Result, ensure};

use case::Case;
use watch::Submitted;
use world::World;

/// What a run came to.
#[derive(Clone, Copy, Debug)]
pub struct Verdict {
    /// Scenarios that ended as expected.
    pub good: usize,
    /// All of them, and the ledger.
    pub all: usize,
}

impl Verdict {
    /// Whether all is as expected.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.good == self.all
    }
}

/// Runs `cases`, all at once, and tells `out` what was expected and what came. An `Err` is a run that could not be
/// made.
pub fn run(cases: &[Case], out: &mut dyn Write) -> Result<Verdict> {
    let names: std::collections::BTreeSet<_> = cases.iter().map(|case| case.name).collect();
    ensure!(names.len() == cases.len(), "two scenarios have one name");
    let world = World::start(cases)?;
    let (sender, results) = mpsc::channel();
    let mut rows = Vec::new();
    let mut letters = Vec::new();
    std::thread::scope(|scope| -> Result<()> {
        for (index, case) in cases.iter().enumerate() {
            let (world, sender) = (&world, sender.clone());
            scope.spawn(move || _ = sender.send((index, play(world, case))));
        }
        drop(sender);
        for (index, (letter, got)) in results {
            let case = &cases[index];
            let row = table::Row::new(case.group, case.name, case.expected(), got);
            row.progress(out)?;
            rows.push((index, row));
            letters.extend(letter.map(|letter| (index, letter)));
        }
        Ok(())
    })?;
    rows.sort_by_key(|(index, _)| *index);
    let mut rows: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
    rows.extend(account::judge(&world, cases, &letters));
    table::write(&rows, out)?;
    let good = rows.iter().filter(|row| row.is_good()).count();
    Ok(Verdict { good, all: rows.len() })
}

/// One scenario: the letter, if Sluice took it, and what was seen or what was wrong.
fn play(world: &World, case: &Case) -> (Option<Submitted>, Result<String>) {
    let letter = match world.submit(case) {
        Ok(letter) => letter,
        Err(error) => return (None, Err(error.context("not accepted"))),
    };
    let got = watch_all(world, case, &letter);
    (Some(letter), got)
}

fn watch_all(world: &World, case: &Case, letter: &Submitted) -> Result<String> {
    let many = case.to.len() > 1;
    let mut seen = Vec::new();
    for to in &case.to {
        let got = world.observe(case, letter, to)?;
        seen.push(if many { format!("{}: {got}", to.local) } else { got });
    }
    if let Some(then) = case.then {
        seen.push(then(world, case)?);
    }
    Ok(seen.join("; "))
}
