//! The control service: `sluice.control.v1` over a Unix socket that only its owner may open.
//!
//! [`bind`] makes the socket, [`serve`] answers on it until told to stop. Accounts and DKIM keys are the registry's, queues the
//! engine's [`QueueView`]; this crate checks requests, pages lists and turns errors into gRPC statuses.

mod accounts;
mod config;
mod dkim;
mod page;
mod queues;
mod rules;
mod socket;
mod status;
mod telemetry;

use std::sync::Arc;

use sluice_mail::Clock;
use sluice_proto::control::accounts_server::AccountsServer;
use sluice_proto::control::dkim_keys_server::DkimKeysServer;
use sluice_proto::control::queues_server::QueuesServer;
use sluice_registry::Registry;
use sluice_spool::QueueView;
use tokio::sync::watch;
use tokio_stream::wrappers::UnixListenerStream;

pub use config::RawConfig;
pub use socket::{Bound, bind};

use accounts::AccountsService;
use dkim::DkimKeysService;
use queues::QueuesService;
use telemetry::Telemetry;

/// What the service works on.
pub struct Parts {
    /// Accounts and DKIM keys.
    pub registry: Arc<Registry>,
    /// Waiting mail.
    pub queues: Arc<dyn QueueView>,
    /// Says when keys sign.
    pub clock: Arc<dyn Clock>,
    /// Where its metrics are registered.
    pub metrics: prometheus::Registry,
}

/// Why the service ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A metric of that name exists.
    #[error("control metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The socket failed.
    #[error("control socket: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// Answers on `bound` until `stop` turns true or its sender is gone; then removes the socket.
pub async fn serve(bound: Bound, parts: Parts, mut stop: watch::Receiver<bool>) -> Result<(), ServeError> {
    let telemetry = Telemetry::new(&parts.metrics)?;
    let accounts = AccountsService::new(Arc::clone(&parts.registry), telemetry.clone());
    let keys = DkimKeysService::new(parts.registry, parts.clock, telemetry.clone());
    let queues = QueuesService::new(parts.queues, telemetry);
    let (listener, _removed_at_the_end) = bound.into_parts();
    let stopped = async move {
        // A dropped sender is a stop as well.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    tonic::transport::Server::builder()
        .add_service(AccountsServer::new(accounts))
        .add_service(DkimKeysServer::new(keys))
        .add_service(QueuesServer::new(queues))
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stopped)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests;
