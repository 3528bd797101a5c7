//! The HTTP server of page and API, and what every request to it must pass.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::listen::Bounded;
use super::{Shared, api, page};

/// Connections at once; a browser opens six at most.
const MAX_CONNECTIONS: usize = 256;

/// On every response that does not say otherwise.
const HEADERS: [(HeaderName, &str); 3] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Serves until `shutdown`.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>, mut shutdown: watch::Receiver<bool>) {
    let listener = Bounded::new(listener, MAX_CONNECTIONS);
    let stop = async move {
        let _ = shutdown.wait_for(|down| *down).await;
    };
    if let Err(error) = axum::serve(listener, router(shared)).with_graceful_shutdown(stop).await {
        tracing::error!(%error, "the sandbox's page is gone");
    }
}

/// All routes behind the guard.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    let guard = middleware::from_fn_with_state(shared.clone(), guard);
    page::routes().merge(api::routes()).layer(guard).with_state(shared)
}

/// Refuses requests under a foreign host name: a web page elsewhere could point a name of its own at 127.0.0.1
/// and would then be of the same origin as the sandbox. IP addresses cannot be pointed elsewhere.
async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let mut response = if host.is_some_and(|host| is_ours(host, &shared.config.hosts)) {
        next.run(request).await
    } else {
        let text = "The sandbox answers to localhost, to IP addresses and to the names in sandbox.hosts.\n";
        (StatusCode::MISDIRECTED_REQUEST, text).into_response()
    };
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Whether the value of a `Host` field, with or without a port, is localhost, an IP address or one of `hosts`.
fn is_ours(host: &str, hosts: &[String]) -> bool {
    if let Some((v6, port)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return v6.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) && is_port(port);
    }
    let name = match host.rfind(':') {
        Some(at) if is_port(&host[at..]) => &host[..at],
        Some(_) => return false,
        None => host,
    };
    let name = name.to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || name.parse::<IpAddr>().is_ok() || hosts.contains(&name)
}

/// Nothing, or a colon and digits.
fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_nobody_else_can_take_are_ours() {
        let hosts = ["mail".to_owned()];
        for ours in [
            "localhost",
            "LocalHost:8025",
            "127.0.0.1:8025",
            "127.0.0.1",
            "[::1]",
            "[::1]:8025",
            "192.168.1.5:80",
            "sluice.localhost:8025",
            "mail:8025",
            "MAIL",
        ] {
            assert!(is_ours(ours, &hosts), "{ours}");
        }
        for foreign in [
            "",
            ":8025",
            "evil.example",
            "evil.example:8025",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evillocalhost",
            "mail.example",
            "localhost:x",
            "localhost:8025:1",
            "[::1",
            "[::1]x",
            "[127.0.0.1]",
            "localhost@evil.example",
        ] {
            assert!(!is_ours(foreign, &hosts), "{foreign}");
        }
    }
}
