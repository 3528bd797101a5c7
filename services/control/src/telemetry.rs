//! What is told of each request: a counter for all, a log line for those that change something.

use prometheus::{IntCounterVec, Opts, Registry};
use tonic::{Response, Status};
use tracing::{info, warn};

/// The service's metrics. Clones count into the same.
#[derive(Clone, Debug)]
pub(crate) struct Telemetry {
    requests: IntCounterVec,
}

impl Telemetry {
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let opts = Opts::new("sluice_control_requests_total", "Control requests answered, by method and gRPC code.");
        let requests = IntCounterVec::new(opts, &["method", "code"])?;
        registry.register(Box::new(requests.clone()))?;
        Ok(Self { requests })
    }

    /// A request that only looks was answered.
    pub(crate) fn looked<T>(&self, method: &str, answer: Result<T, Status>) -> Result<Response<T>, Status> {
        let code = answer.as_ref().map_or_else(Status::code, |_| tonic::Code::Ok);
        self.requests.with_label_values(&[method, &format!("{code:?}")]).inc();
        answer.map(Response::new)
    }

    /// A request to change `subject` was answered.
    pub(crate) fn changed<T>(
        &self,
        method: &str,
        subject: &str,
        answer: Result<T, Status>,
    ) -> Result<Response<T>, Status> {
        match &answer {
            Ok(_) => info!(method, subject, "control request done"),
            Err(status) => {
                warn!(method, subject, code = ?status.code(), why = status.message(), "control request refused")
            }
        }
        self.looked(method, answer)
    }
}
