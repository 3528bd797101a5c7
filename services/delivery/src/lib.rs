//! Takes due mail from the shards it owns and hands it to the servers of its recipients.
//!
//! - `pump` takes work from the [`ShardSource`], finds its route, queues it by site.
//! - `courier` is a connection's task: it walks a route's hosts until one answers; `line` then carries envelope
//!   after envelope over the connection, and settles each.
//! - `outcome` makes the one record that follows from an attempt, `bounce` the report to the sender that is kept with
//!   it; `conclude` puts both together, and `desk` writes those reports whose original is on disk only.
//!
//! All decisions are `sluice_queue`'s, all SMTP is `sluice_smtp`'s.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sluice_mail::Clock;
use sluice_registry::Registry;
use sluice_route::Routes;
use sluice_spool::{SettleError, ShardSource};
use sluice_wire::client::Connector;
use sluice_wire::tls::TlsError;
use tokio::sync::watch;

mod bounce;
mod conclude;
mod config;
mod courier;
mod desk;
mod job;
mod line;
mod outcome;
mod plain_hosts;
mod pump;
mod routing;
mod shared;
mod sources;
mod telemetry;
#[cfg(test)]
mod tests;
mod walk;

pub use config::{Config, RawConfig, RawDomain, RawLane, RawLanes, RawRoute, RawSite, RawSource, RawTls, Source};

/// What a delivery works with.
pub struct Parts {
    /// Where work comes from and decisions go. The delivery is its one caller.
    pub source: Arc<dyn ShardSource>,
    /// Where mail goes; [`Config::routes`] makes it from the config.
    pub routes: Arc<dyn Routes>,
    /// What each account wants to get back.
    pub registry: Arc<Registry>,
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
    #[error(transparent)]
    Tls(#[from] TlsError),
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
    let connector = Connector::new(parts.clock.clone(), config.connect_timeout, config.ca_file.as_deref())?;
    let telemetry = telemetry::Telemetry::new(&parts.metrics)?;
    parts.metrics.register(Box::new(routing::RoutingMetrics::new(parts.routes.clone())?))?;
    let (shared, inbox) = shared::Shared::new(parts, config, connector, telemetry);
    pump::run(&Arc::new(shared), inbox, shutdown).await
}
