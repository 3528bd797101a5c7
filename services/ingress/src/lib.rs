//! Takes mail from clients: listens, decides who may send, prepares what they send, and keeps it.
//!
//! A message is answered with `250` only when the spool says that it is durable.

mod budget;
mod config;
mod gate;
mod host;
mod lifetimes;
mod prepare;
mod reception;
mod sender;
mod shared;
mod signers;
mod telemetry;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use sluice_mail::Clock;
use sluice_registry::Registry;
use sluice_spool::Spool;
use sluice_wire::server::BindError;
use sluice_wire::tls::ServerTls;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

pub use config::{Config, ListenerTls, RawConfig, RawListener, Surroundings, TrustedNetwork};
pub use lifetimes::Lifetimes;

use reception::Reception;
use shared::Shared;

/// How often changed certificate files are looked for.
const CERTIFICATE_CHECK: Duration = Duration::from_secs(5);

/// What the ingress is made of.
pub struct Parts {
    /// Where messages are kept.
    pub spool: Arc<dyn Spool>,
    /// Who may send.
    pub registry: Arc<Registry>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The certificate; needed by listeners that use TLS.
    pub tls: Option<Arc<ServerTls>>,
    /// Where metrics are shown.
    pub metrics: prometheus::Registry,
}

/// Why the ingress cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A metric could not be registered.
    #[error("cannot register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// A listener of the configuration has no socket.
    #[error("{listeners} listeners are configured and {sockets} are open")]
    Sockets {
        /// In the configuration.
        listeners: usize,
        /// Given.
        sockets: usize,
    },
    /// The threads that sign could not be started.
    #[error("cannot start threads: {0}")]
    Threads(std::io::Error),
    /// A listener uses TLS and there is no certificate.
    #[error("the listener on {0} needs a certificate")]
    NoCertificate(std::net::SocketAddr),
}

/// Opens the listeners of `config`, in its order. Within a tokio runtime.
pub fn bind(config: &Config) -> Result<Vec<TcpListener>, BindError> {
    config.addresses().map(sluice_wire::server::bind).collect()
}

/// Serves `sockets`, one for each listener of `config` in its order, until `stop` becomes true; then takes no more
/// connections, lets running sessions end at their next good moment, and cuts off those that are left when the
/// configured grace period is over.
pub async fn run(
    parts: Parts,
    config: Config,
    sockets: Vec<TcpListener>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), RunError> {
    if config.listeners.len() != sockets.len() {
        return Err(RunError::Sockets { listeners: config.listeners.len(), sockets: sockets.len() });
    }
    let drain_timeout = config.drain_timeout;
    let listeners = config.listeners.clone();
    let shared = Arc::new(Shared::new(&parts, config)?);
    let sessions = Arc::new(reception::Places::new(&shared.config));
    let mut receptions = JoinSet::new();
    for (listener, socket) in listeners.iter().zip(sockets) {
        let reception = Reception::new(listener, &parts.tls, Arc::clone(&shared), Arc::clone(&sessions), stop.clone())?;
        info!(address = %listener.address, tls = listener.tls.as_str(), "taking submissions");
        receptions.spawn(reception.run(socket));
    }
    watch_certificate(&parts, &mut stop).await;
    let drained = tokio::time::timeout(drain_timeout, async { while receptions.join_next().await.is_some() {} }).await;
    match drained {
        Ok(()) => info!("all sessions ended"),
        Err(_) => warn!(grace = ?drain_timeout, "sessions are left at the end of the grace period"),
    }
    // Dropping the receptions drops their sessions.
    receptions.shutdown().await;
    Ok(())
}

/// Takes up changed certificate files until `stop`.
async fn watch_certificate(parts: &Parts, stop: &mut watch::Receiver<bool>) {
    loop {
        tokio::select! {
            // A sender that is gone cannot say stop any more: then it is time, too.
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(CERTIFICATE_CHECK) => {}
        }
        let Some(tls) = parts.tls.clone() else { continue };
        match tokio::task::spawn_blocking(move || tls.reload_if_changed()).await {
            Ok(Ok(true)) => info!("the certificate was exchanged"),
            Ok(Ok(false)) | Err(_) => {}
            Ok(Err(error)) => warn!(%error, "the changed certificate cannot be used; the one before stays in use"),
        }
    }
}
