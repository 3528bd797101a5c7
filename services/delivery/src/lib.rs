//! Takes due mail from the shards it owns and hands it to the servers of its recipients.
//!
//! - `pump` takes work from the [`ShardSource`], finds its route, queues it by site.
//! - `courier` is a connection's task: it walks a route's hosts until one answers; `line` then carries envelope
//!   after envelope over the connection, and settles each.
//! - `outcome` makes the one record that follows from an attempt.
//!
//! All decisions are `sluice_queue`'s, all SMTP is `sluice_smtp`'s.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sluice_mail::Clock;
use sluice_route::Routes;
use sluice_spool::{SettleError, ShardSource};
use sluice_wire::client::Connector;
use tokio::sync::watch;

mod config;
mod courier;
mod job;
mod line;
mod outcome;
mod plain_hosts;
mod pump;
mod shared;
mod telemetry;
#[cfg(test)]
mod tests;

pub use config::{Config, RawConfig, RawRoute, RawTls};

/// What a delivery works with.
pub struct Parts {
    /// Where work comes from and decisions go. The delivery is its one caller.
    pub source: Arc<dyn ShardSource>,
    /// Where mail goes; [`Config::routes`] makes it from the config.
    pub routes: Arc<dyn Routes>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Our name in EHLO, unless the config has another.
    pub hostname: Arc<str>,
    /// Takes the metrics.
    pub metrics: prometheus::Registry,
    /// By which an operator has dead sites tried at once.
    pub revival: Arc<Revival>,
}

/// An operator's word that sites taken for dead are to be tried again. Given before their mail is made due, it holds
/// for all of that mail.
#[derive(Debug, Default)]
pub struct Revival(AtomicU64);

impl Revival {
    /// Gives the word.
    pub fn ask(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    /// How often it was given.
    fn asked(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// Why a delivery cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// The metrics' names are taken.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
    /// What was delivered can no longer be recorded; only a restart mends it.
    #[error(transparent)]
    Spool(SettleError),
}

/// Delivers until `shutdown` says true, then finishes the running transactions within
/// [`Config::drain_timeout`], gives the rest back, and returns. With an error it stops sending at once.
pub async fn run(parts: Parts, config: Config, shutdown: watch::Receiver<bool>) -> Result<(), DeliveryError> {
    let connector = Connector::new(parts.clock.clone(), config.source_address, config.connect_timeout)
        .map_err(|e| DeliveryError::Tls(e.to_string()))?;
    let telemetry = telemetry::Telemetry::new(&parts.metrics)?;
    let (shared, tickets) = shared::Shared::new(parts, config, connector, telemetry);
    pump::run(&Arc::new(shared), tickets, shutdown).await
}
