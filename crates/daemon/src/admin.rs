//! The HTTP interface for whoever watches the process: `/metrics`, `/healthz`, `/readyz`.

use std::fmt;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Registry, TEXT_FORMAT, TextEncoder};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::config::{Documented, Key};
use crate::{Health, Status};

/// The `[admin]` section.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// Where to listen.
    pub address: SocketAddr,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { address: SocketAddr::from(([127, 0, 0, 1], 9925)) }
    }
}

impl Documented for AdminConfig {
    const KEYS: &'static [Key] = &[Key::new(
        "address",
        "address and port",
        "Where `/metrics` (Prometheus), `/healthz` and `/readyz` are served over HTTP. Whoever reaches it can read \
         the metrics; there is no password.",
    )];
}

#[derive(Clone)]
struct Watched {
    metrics: Registry,
    health: Health,
}

/// Serves until `stop` turns true. Stop it last, so that `/readyz` can tell of the drain.
pub async fn serve_admin(
    listener: TcpListener,
    metrics: Registry,
    health: Health,
    mut stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/", get(async || "Sluice: /metrics /healthz /readyz\n"))
        .route("/metrics", get(show_metrics))
        .route("/healthz", get(async |State(watched): State<Watched>| answer(watched.health.liveness())))
        .route("/readyz", get(async |State(watched): State<Watched>| answer(watched.health.readiness())))
        .with_state(Watched { metrics, health });
    let stopped = async move {
        // A dropped sender is a stop as well.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    tokio::select! {
        result = axum::serve(listener, router) => result,
        () = stopped => Ok(()),
    }
}

async fn show_metrics(State(watched): State<Watched>) -> Response {
    match TextEncoder::new().encode_to_string(&watched.metrics.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(e) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &e),
    }
}

fn answer(status: Status) -> Response {
    match status {
        Status::Fine => "ok\n".into_response(),
        Status::Not(reasons) => refuse(StatusCode::SERVICE_UNAVAILABLE, &reasons.join("\n")),
    }
}

fn refuse(code: StatusCode, why: &dyn fmt::Display) -> Response {
    (code, format!("{why}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    async fn fetch(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn shows_metrics_and_health_until_stopped() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let health = Health::new();
        let (stop, stopped) = watch::channel(false);
        let metrics = crate::metrics::registry("1.2.3").unwrap();
        let server = tokio::spawn(serve_admin(listener, metrics, health.clone(), stopped));

        let metrics = fetch(address, "/metrics").await;
        for expect in
            ["200 OK", "text/plain", "sluice_build_info{version=\"1.2.3\"} 1", "process_resident_memory_bytes"]
        {
            assert!(metrics.contains(expect), "{expect} in {metrics}");
        }
        assert!(fetch(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        health.not_ready("process", "draining");
        let unready = fetch(address, "/readyz").await;
        assert!(unready.starts_with("HTTP/1.1 503") && unready.ends_with("process: draining\n"), "{unready}");
        assert!(fetch(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        health.failed("spool", "poisoned");
        assert!(fetch(address, "/healthz").await.starts_with("HTTP/1.1 503"));

        stop.send(true).unwrap();
        server.await.unwrap().unwrap();
    }
}
