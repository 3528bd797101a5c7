//! SIGHUP: what can be exchanged while running is read again.

use std::net::SocketAddr;
use std::sync::Arc;

use sluice_daemon::LogGuard;
use sluice_mail::Clock;
use sluice_registry::Registry;
use sluice_wire::tls::ServerTls;
use tokio::sync::watch;
use tracing::{error, info};

use super::prepare::take_keys;
use super::routes::SwapRoutes;
use crate::config::Sources;

/// What is exchanged: routes, log level, certificate, DKIM keys from files.
pub(super) struct Reload {
    pub(super) sources: Sources,
    pub(super) clock: Arc<dyn Clock>,
    /// `None` in the sandbox, which has one route that stays.
    pub(super) routes: Option<Arc<SwapRoutes>>,
    /// Where mail is taken, which the DNS must not lead to.
    pub(super) own_listeners: Vec<SocketAddr>,
    pub(super) tls: Arc<ServerTls>,
    pub(super) registry: Arc<Registry>,
    pub(super) logs: Arc<LogGuard>,
}

impl Reload {
    /// Reloads at each change of `asked`, until its sender is gone.
    pub(super) async fn run(self, mut asked: watch::Receiver<u64>) {
        while asked.changed().await.is_ok() {
            match self.once() {
                Ok(keys) => {
                    take_keys(&self.registry, keys).await;
                    info!(
                        "routes, DKIM keys from files, log level and certificate files were read again; other keys \
                         hold from the next start"
                    )
                }
                Err(why) => error!(%why, "nothing was reloaded; what was in use stays in use"),
            }
        }
    }

    /// Everything or nothing; the keys are left to the caller.
    fn once(&self) -> Result<Vec<sluice_sign::Entry>, String> {
        let config = self.sources.load().map_err(|e| e.to_string())?;
        let routes = config.delivery.routes(&self.clock, self.own_listeners.clone()).map_err(|e| e.to_string())?;
        // Other files than those in use hold from the next start, which must not fail for them.
        super::check_certificate(&config).map_err(|e| e.to_string())?;
        self.tls.reload().map_err(|e| e.to_string())?;
        self.logs.set_level(&config.log.level).map_err(|e| e.to_string())?;
        if let Some(current) = &self.routes {
            current.set(routes);
        }
        Ok(config.dkim_keys)
    }
}
