//! Accounting files: opened, shown in numbers, or forgotten when nobody wants them any more.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntCounter, IntCounterVec, Opts};
use sluice_feed::accounting::{Accounting, READER, Record, Stats};
use sluice_mail::Clock;
use sluice_spool::FateLog;
use sluice_spool::disk::Disk;
use tokio::task::spawn_blocking;
use tracing::warn;

use super::RunError;
use crate::config::Config;

/// Takes up the files, if they are wanted.
pub(super) async fn open(config: &Config, clock: &Arc<dyn Clock>) -> Result<Option<Accounting>, RunError> {
    let Some(wanted) = config.accounting.clone() else { return Ok(None) };
    let (clock, path) = (Arc::clone(clock), wanted.directory.clone());
    let opened = spawn_blocking(move || Accounting::open(wanted, clock)).await;
    let opened = opened.map_err(|e| RunError::Ended(e.to_string()))?;
    opened.map(Some).map_err(|source| RunError::file(&path, "cannot be used for accounting files", source))
}

/// Keeps nothing for files that are not wanted any more: a reader that never comes would hold back the log for days.
pub(super) async fn forget(spool: Disk) {
    if let Err(why) = spool.forget(READER).await {
        warn!(%why, "the queue still keeps what accounting files did not read");
    }
}

/// What `sluice_accounting_*` shows.
pub(super) struct AccountingMetrics {
    stats: Arc<Stats>,
    clock: Arc<dyn Clock>,
    lines: IntCounterVec,
    errors: IntCounter,
    removed: IntCounter,
    lag: Gauge,
}

impl AccountingMetrics {
    pub(super) fn new(stats: Arc<Stats>, clock: Arc<dyn Clock>) -> Result<Self, prometheus::Error> {
        let lines = Opts::new("sluice_accounting_lines_total", "Lines written to accounting files, by type.");
        let counter = |name: &str, help: &str| IntCounter::new(format!("sluice_accounting_{name}"), help);
        Ok(Self {
            stats,
            clock,
            lines: IntCounterVec::new(lines, &["type"])?,
            errors: counter("errors_total", "Times that accounting files could not be written.")?,
            removed: counter("removed_total", "Accounting files removed because there were too many.")?,
            lag: Gauge::new("sluice_accounting_lag_seconds", "Age of what waits to be written; 0 when nothing does.")?,
        })
    }

    fn all(&self) -> [&dyn Collector; 4] {
        [&self.lines, &self.errors, &self.removed, &self.lag]
    }
}

impl Collector for AccountingMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for record in Record::ALL {
            let counter = self.lines.with_label_values(&[record.as_str()]);
            counter.inc_by(self.stats.lines(record).saturating_sub(counter.get()));
        }
        for (counter, n) in [(&self.errors, self.stats.errors()), (&self.removed, self.stats.removed())] {
            counter.inc_by(n.saturating_sub(counter.get()));
        }
        self.lag.set(self.stats.lag(self.clock.wall()).as_secs_f64());
        self.all().into_iter().flat_map(Collector::collect).collect()
    }
}
