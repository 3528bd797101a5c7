//! The table of a run.

use std::io::{self, Write};

use anyhow::Result;

/// One line of it.
pub(super) struct Row {
    group: &'static str,
    case: String,
    expected: String,
    got: String,
}

/// Columns are cut off here; what is wrong is told in full below.
const WIDTH: usize = 90;

impl Row {
    /// What must come, and what came or went wrong.
    pub(super) fn new(
        group: &'static str,
        case: impl Into<String>,
        expected: impl Into<String>,
        got: Result<String>,
    ) -> Self {
        let got = got.unwrap_or_else(|error| format!("{error:#}"));
        Self { group, case: case.into(), expected: expected.into(), got }
    }

    pub(super) fn is_good(&self) -> bool {
        self.expected == self.got
    }

    /// A line while the others still run, when something is wrong.
    pub(super) fn progress(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.is_good() { Ok(()) } else { writeln!(out, "FAILED {}: {}", self.group, self.case) }
    }

    fn word(&self) -> &'static str {
        if self.is_good() { "ok" } else { "FAILED" }
    }
}

/// Writes all rows, and then in full what is wrong.
pub(super) fn write(rows: &[Row], out: &mut dyn Write) -> io::Result<()> {
    let longest = |of: fn(&Row) -> &str| rows.iter().map(|row| of(row).chars().count()).max().unwrap_or_default();
    let (case, expected) = (longest(|row| &row.case), longest(|row| &row.expected).min(WIDTH));
    writeln!(out, "{:case$}  {:expected$}  {:6}  GOT", "CASE", "EXPECTED", "OK")?;
    let mut group = "";
    for row in rows {
        if row.group != group {
            group = row.group;
            writeln!(out, "\n{group}")?;
        }
        let (word, got) = (row.word(), cut(&row.got));
        writeln!(out, "{:case$}  {:expected$}  {word:6}  {got}", row.case, cut(&row.expected))?;
    }
    for row in rows.iter().filter(|row| !row.is_good()) {
        writeln!(out, "\nFAILED {}: {}\n  expected: {}\n  got: {}", row.group, row.case, row.expected, row.got)?;
    }
    Ok(())
}

fn cut(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= WIDTH {
        return line;
    }
    line.chars().take(WIDTH - 1).chain(['…']).collect()
}
