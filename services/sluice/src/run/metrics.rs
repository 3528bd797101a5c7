//! The queue and its log in numbers, counted when somebody asks for them.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, IntCounter, IntGauge, IntGaugeVec, Opts};
use sluice_spool::QueueView;
use sluice_spool::disk::Disk;

/// What `sluice_spool_*` shows.
pub(super) struct SpoolMetrics {
    spool: Disk,
    envelopes: IntGaugeVec,
    bytes: IntGauge,
    segments: IntGauge,
    syncs: IntCounter,
    sync_seconds: Counter,
    records: IntCounter,
    written: IntCounter,
    read_back: IntCounter,
    compacted: IntCounter,
}

impl SpoolMetrics {
    pub(super) fn new(spool: Disk) -> Result<Self, prometheus::Error> {
        let envelopes = Opts::new("sluice_spool_envelopes", "Envelopes not yet ended, by where they stand.");
        let counter = IntCounter::new::<&str, &str>;
        let gauge = IntGauge::new::<&str, &str>;
        Ok(Self {
            spool,
            envelopes: IntGaugeVec::new(envelopes, &["state"])?,
            bytes: gauge("sluice_spool_bytes", "Octets that the log of mail takes on disk.")?,
            segments: gauge("sluice_spool_segments", "Files of the log that hold something.")?,
            syncs: counter("sluice_spool_syncs_total", "Writes to the log, each with one fdatasync.")?,
            sync_seconds: Counter::new("sluice_spool_sync_seconds_total", "Time that those writes took.")?,
            records: counter("sluice_spool_records_total", "Records written to the log.")?,
            written: counter("sluice_spool_written_bytes_total", "Octets written to the log.")?,
            read_back: counter("sluice_spool_read_back_total", "Envelopes that had to be read back from disk.")?,
            compacted: counter("sluice_spool_compacted_total", "Segments whose living mail was copied.")?,
        })
    }

    fn all(&self) -> [&dyn Collector; 9] {
        [
            &self.envelopes,
            &self.bytes,
            &self.segments,
            &self.syncs,
            &self.sync_seconds,
            &self.records,
            &self.written,
            &self.read_back,
            &self.compacted,
        ]
    }
}

impl Collector for SpoolMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let (totals, stats) = (self.spool.totals(), self.spool.stats());
        for (state, n) in [("ready", totals.ready), ("active", totals.active), ("waiting", totals.waiting)] {
            self.envelopes.with_label_values(&[state]).set(number(n));
        }
        self.bytes.set(number(totals.bytes));
        self.segments.set(number(stats.segments));
        for (counter, n) in [
            (&self.syncs, stats.batches),
            (&self.records, stats.frames),
            (&self.written, stats.octets),
            (&self.read_back, stats.read_back),
            (&self.compacted, stats.compacted),
        ] {
            counter.inc_by(n.saturating_sub(counter.get()));
        }
        let seconds = std::time::Duration::from_micros(stats.sync_us).as_secs_f64();
        self.sync_seconds.inc_by((seconds - self.sync_seconds.get()).max(0.0));
        self.all().into_iter().flat_map(Collector::collect).collect()
    }
}

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
