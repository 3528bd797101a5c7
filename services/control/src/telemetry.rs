//! What is told of each request: a counter for all, a log line for those that change something.

use prometheus::{IntCounterVec, Opts, Registry};
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Response, Status};
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

    /// A request to change something was answered.
    pub(crate) fn changed<T>(&self, call: &Call, answer: Result<T, Status>) -> Result<Response<T>, Status> {
        let Call { method, subject, uid, changes } = call;
        match &answer {
            Ok(_) => info!(method, subject, uid, changes, "control request done"),
            Err(status) => {
                warn!(method, subject, uid, code = ?status.code(), why = status.message(), "control request refused");
            }
        }
        self.looked(method, answer)
    }
}

/// A request to change something: what, by whom.
#[derive(Debug)]
pub(crate) struct Call {
    method: &'static str,
    /// What is to be changed.
    pub(crate) subject: String,
    /// The system's user at the other end of the socket.
    uid: Option<u32>,
    /// What became different, if it is told: values before and after, no secrets.
    pub(crate) changes: Option<String>,
}

impl Call {
    /// From whom `request` came; what it is about is filled in.
    pub(crate) fn of<T>(method: &'static str, request: &Request<T>) -> Self {
        let peer = request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
        Self { method, subject: String::new(), uid: peer.map(|peer| peer.uid()), changes: None }
    }
}
