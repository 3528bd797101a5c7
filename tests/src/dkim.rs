//! The proof that what Sluice signs verifies: dkimpy, keys in real zones, and all that may happen to a message between
//! the signature and its receiver.

mod change;
mod letters;
mod rotation;
mod scenarios;
mod table;
mod verifier;
mod world;

use std::io::Write;

use anyhow::Result;

use world::World;

/// How much is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All there is, by hand.
    Whole,
    /// Without large bodies and without Postfix, and a shorter rotation: for every build.
    Short,
}

/// What came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Rows that are as expected.
    pub good: usize,
    /// All rows.
    pub all: usize,
}

impl Verdict {
    /// Whether everything is as expected.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.good == self.all && self.all > 0
    }
}

/// Proves it, and writes the table to `out`.
pub fn run(extent: Extent, out: &mut dyn Write) -> Result<Verdict> {
    let mut world = World::start(extent)?;
    let mut rows = vec![scenarios::check(&world)];
    for scenario in [letters::prove, scenarios::prove, rotation::prove] {
        for row in scenario(&mut world)? {
            row.progress(out)?;
            rows.push(row);
        }
    }
    table::write(&rows, out)?;
    Ok(Verdict { good: rows.iter().filter(|row| row.is_good()).count(), all: rows.len() })
}
