//! Aligned columns of plain text.

use std::io::{self, Write};

use super::format::harmless;

/// How a column is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

/// Columns with a heading each, and rows of as many cells.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    columns: [(&'static str, Align); N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// Without rows.
    pub(super) fn new(columns: [(&'static str, Align); N]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row; an empty cell is shown as `-`.
    pub(super) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| if cell.is_empty() { "-".to_owned() } else { harmless(&cell) }));
    }

    /// Writes headings and rows, two blanks between columns.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let widths = std::array::from_fn::<usize, N, _>(|i| {
            let cells = self.rows.iter().map(|row| row[i].chars().count());
            cells.chain([self.columns[i].0.len()]).max().unwrap_or(0)
        });
        let headings = self.columns.map(|(name, _)| name.to_owned());
        for row in std::iter::once(&headings).chain(&self.rows) {
            writeln!(out, "{}", self.line(row, &widths).trim_end())?;
        }
        Ok(())
    }

    fn line(&self, row: &[String; N], widths: &[usize; N]) -> String {
        let cells = row.iter().zip(widths).zip(&self.columns).map(|((cell, width), (_, align))| match align {
            Align::Left => format!("{cell:<width$}"),
            Align::Right => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_trails() {
        let mut table = Table::new([("DOMAIN", Align::Left), ("READY", Align::Right), ("WHY", Align::Left)]);
        table.row(["a.example".into(), "1".into(), String::new()]);
        table.row(["bü.example".into(), "1,234,567".into(), "x\ty".into()]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        let expected = "DOMAIN          READY  WHY\n\
                        a.example           1  -\n\
                        bü.example  1,234,567  x\u{fffd}y\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
