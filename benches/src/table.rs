//! The table that a run prints.

use crate::subject::{Load, Measurement, Subject};

/// A row: what was measured with which load, and what came out.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What was measured.
    pub subject: Subject,
    /// With which load.
    pub load: Load,
    /// What came out.
    pub measurement: Measurement,
}

/// The table's first two lines, in Markdown.
pub const HEAD: &str = "\
| body | sessions | through | messages | accepted/s | end to end/s | of ceiling | of Postfix | CPU s | CPU µs/message | peak MB |
|---|---|---|---|---|---|---|---|---|---|---|";

/// The row in Markdown; `rows` holds those of the same load that it is compared with.
#[must_use]
pub fn line(row: &Row, rows: &[Row]) -> String {
    let Row { subject, load, measurement } = row;
    let same = |of: Subject| {
        let fits = |other: &&Row| {
            other.subject == of && other.load.octets == load.octets && other.load.sessions == load.sessions
        };
        rows.iter().find(fits).map(|other| measurement.end_to_end_rate() / other.measurement.end_to_end_rate())
    };
    let ratio = |of: Subject, digits: usize| same(of).map_or("".to_owned(), |ratio| format!("{ratio:.digits$}"));
    format!(
        "| {} KiB | {} | {} | {} | {:.0} | {:.0} | {} | {} | {:.1} | {:.0} | {:.0} |",
        load.octets / 1024,
        load.sessions,
        subject.name(),
        measurement.messages,
        measurement.accepted_rate(),
        measurement.end_to_end_rate(),
        ratio(Subject::Ceiling, 2),
        ratio(Subject::Postfix, 1),
        measurement.cpu_seconds,
        measurement.cpu_seconds * 1e6 / measurement.messages as f64,
        measurement.memory as f64 / 1e6,
    )
}
