//! The process's metrics registry: passed in, never global.

use prometheus::{IntGaugeVec, Opts, Registry, process_collector::ProcessCollector};

/// A registry that already holds `process_*` (CPU seconds, memory, open files) and `sluice_build_info`.
pub fn registry(version: &str) -> Result<Registry, prometheus::Error> {
    let registry = Registry::new();
    registry.register(Box::new(ProcessCollector::for_self()))?;
    let build =
        IntGaugeVec::new(Opts::new("sluice_build_info", "Always 1; the version is in the label."), &["version"])?;
    build.with_label_values(&[version]).set(1);
    registry.register(Box::new(build))?;
    Ok(registry)
}
