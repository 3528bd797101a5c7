//! The table of a run.

use std::io::{self, Write};

use anyhow::Result;

/// One line of it.
pub(super) struct Row {
    group: String,
    name: String,
    expected: String,
    got: Result<String>,
}

/// Columns are cut off here; what is wrong is told in full below.
const WIDTH: usize = 76;

impl Row {
    pub(super) fn new(group: &str, name: &str, expected: String, got: Result<String>) -> Self {
        Self { group: group.to_owned(), name: name.to_owned(), expected, got }
    }

    pub(super) fn is_good(&self) -> bool {
        self.got.is_ok()
    }

    /// A word while the others still run.
    pub(super) fn progress(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{:<6} {}: {}", self.word(), self.group, self.name)
    }

    fn word(&self) -> &'static str {
        if self.is_good() { "ok" } else { "FAILED" }
    }

    fn got(&self) -> String {
        let text = match &self.got {
            Ok(text) => text.clone(),
            Err(error) => format!("{error:#}"),
        };
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// Writes all rows, and then in full what is wrong.
pub(super) fn write(rows: &[Row], out: &mut dyn Write) -> io::Result<()> {
    let scenario = rows.iter().map(|row| row.name.len()).max().unwrap_or_default();
    let expected = rows.iter().map(|row| row.expected.len()).max().unwrap_or_default().min(WIDTH);
    let mut group = "";
    writeln!(out, "\n{:scenario$}  {:expected$}  {:6}  GOT", "SCENARIO", "EXPECTED", "OK")?;
    for row in rows {
        if row.group != group {
            group = &row.group;
            writeln!(out, "\n{group}")?;
        }
        let (name, word) = (&row.name, row.word());
        writeln!(
            out,
            "{name:scenario$}  {:expected$}  {word:6}  {}",
            cut(&row.expected, expected),
            cut(&row.got(), 160)
        )?;
    }
    for row in rows.iter().filter(|row| !row.is_good()) {
        writeln!(out, "\nFAILED {}: {}\n  expected: {}\n  got: {}", row.group, row.name, row.expected, row.got())?;
    }
    Ok(())
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}
