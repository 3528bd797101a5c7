//! `sluice run`: all services in one process.
//!
//! ```text
//! prepare: ports, data folder, certificate, accounts, queue, socket   (any failure: one line, nothing is left behind)
//! serve:   control, admin, accounting, delivery, ingress              (until a signal, or until one of them fails)
//! drain:   unready; sessions and transactions end; accounting is written; the queue closes; control and admin last
//! ```

mod accounting;
mod error;
mod ground;
mod metrics;
mod prepare;
mod reload;
mod retry;
mod routes;
mod serve;

use sluice_daemon::Signals;
use tokio::sync::watch;

use crate::config::Sources;

pub(crate) use error::RunError;
pub(crate) use prepare::check_certificate;

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Where the configuration comes from.
    pub(crate) sources: Sources,
    /// Send nothing to the network.
    pub(crate) sandbox: bool,
    /// Start although the queue is damaged.
    pub(crate) salvage: bool,
    /// How this program was called.
    pub(crate) program: String,
}

/// Runs until a signal ends it, or a failure does.
pub(crate) async fn run(options: Options) -> Result<(), RunError> {
    let signals = Signals::listen().map_err(RunError::Signals)?;
    let (stop_rest, rest_stops) = watch::channel(false);
    let prepared = prepare::prepare(&options, &rest_stops).await?;
    serve::serve(options, prepared, signals, stop_rest).await
}
