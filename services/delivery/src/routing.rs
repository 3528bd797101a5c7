//! The DNS in numbers, read when somebody asks for them.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntGauge};
use sluice_route::{Numbers, Routes};

/// What `sluice_delivery_dns_*` shows.
pub(crate) struct RoutingMetrics {
    routes: Arc<dyn Routes>,
    /// What was read last. When routes are exchanged their numbers begin again at zero; the counters go on.
    last: Mutex<Numbers>,
    questions: IntCounter,
    failures: IntCounter,
    refreshes: IntCounter,
    stale: IntCounter,
    cached: IntGauge,
}

impl RoutingMetrics {
    pub(crate) fn new(routes: Arc<dyn Routes>) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| IntCounter::new(format!("sluice_delivery_dns_{name}_total"), help);
        Ok(Self {
            routes,
            last: Mutex::default(),
            questions: counter("questions", "Questions about MX and address records.")?,
            failures: counter("failures", "Domains that the DNS could not tell of for now.")?,
            refreshes: counter("refreshes", "Busy domains looked up again before their answers ended.")?,
            stale: counter("stale", "Times that an old route was used on, as the DNS gave no new one.")?,
            cached: IntGauge::new("sluice_delivery_dns_cached", "Domains whose answers are kept.")?,
        })
    }

    fn all(&self) -> [&dyn Collector; 5] {
        [&self.questions, &self.failures, &self.refreshes, &self.stale, &self.cached]
    }
}

impl Collector for RoutingMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.routes.numbers();
        for (counter, now, last) in [
            (&self.questions, now.questions, last.questions),
            (&self.failures, now.failures, last.failures),
            (&self.refreshes, now.refreshes, last.refreshes),
            (&self.stale, now.stale, last.stale),
        ] {
            counter.inc_by(now.checked_sub(last).unwrap_or(now));
        }
        self.cached.set(i64::try_from(now.cached).unwrap_or(i64::MAX));
        *last = now;
        self.all().into_iter().flat_map(Collector::collect).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::BoxFuture;
    use sluice_mail::Host;
    use sluice_route::Resolved;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Counted(AtomicU64);

    impl Routes for Counted {
        fn at_hand(&self, _: &Host) -> Option<Resolved> {
            None
        }

        fn resolve<'a>(&'a self, _: &'a Host) -> BoxFuture<'a, Resolved> {
            Box::pin(std::future::pending())
        }

        fn numbers(&self) -> Numbers {
            Numbers { questions: self.0.load(Ordering::Relaxed), cached: 7, ..Numbers::default() }
        }
    }

    #[test]
    fn counters_go_on_when_routes_are_exchanged() {
        let routes = Arc::new(Counted(AtomicU64::new(0)));
        let metrics = RoutingMetrics::new(routes.clone()).unwrap();
        for (now, total) in [(5, 5), (5, 5), (9, 9), (2, 11)] {
            routes.0.store(now, Ordering::Relaxed);
            metrics.collect();
            assert_eq!((metrics.questions.get(), metrics.cached.get()), (total, 7));
        }
    }
}
