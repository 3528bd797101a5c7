//! The queue in numbers, counted when somebody asks for them.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, IntGaugeVec, Opts};
use sluice_spool::QueueView;

/// `sluice_spool_envelopes{state}` and `sluice_spool_bytes`.
pub(super) struct QueueMetrics {
    queues: Arc<dyn QueueView>,
    envelopes: IntGaugeVec,
    bytes: IntGauge,
}

impl QueueMetrics {
    pub(super) fn new(queues: Arc<dyn QueueView>) -> Result<Self, prometheus::Error> {
        let envelopes = Opts::new("sluice_spool_envelopes", "Envelopes not yet ended, by where they stand.");
        Ok(Self {
            queues,
            envelopes: IntGaugeVec::new(envelopes, &["state"])?,
            bytes: IntGauge::new("sluice_spool_bytes", "Octets that the spool takes on disk.")?,
        })
    }
}

impl Collector for QueueMetrics {
    fn desc(&self) -> Vec<&Desc> {
        let mut desc = self.envelopes.desc();
        desc.extend(self.bytes.desc());
        desc
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let totals = self.queues.totals();
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        for (state, n) in [("ready", totals.ready), ("active", totals.active), ("waiting", totals.waiting)] {
            self.envelopes.with_label_values(&[state]).set(number(n));
        }
        self.bytes.set(number(totals.bytes));
        let mut families = self.envelopes.collect();
        families.extend(self.bytes.collect());
        families
    }
}
