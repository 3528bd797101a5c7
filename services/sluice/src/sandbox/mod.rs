//! The sandbox: mail is really submitted, kept and delivered, but to an SMTP server inside this process, which
//! keeps it in memory and shows it in the browser and through Mailpit's API.
//!
//! ```text
//! delivery -> sink (SMTP, a free port on loopback) -> mailbox (bounded) <- api, page (HTTP) <- browser, test helpers
//! ```
//! Nothing here outlives the process: the mailbox is empty after a restart.

mod api;
mod config;
mod http;
mod letter;
mod listen;
mod mailbox;
mod mime;
mod page;
mod search;
mod shapes;
mod sink;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sluice_mail::Clock;
use tokio::net::TcpListener;
use tokio::sync::watch;

pub(crate) use config::{Config, RawConfig};

use mailbox::Mailbox;

/// A running sandbox. It ends with `shutdown`; the sink finishes the sessions that it has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sandbox {
    /// Where delivery has to send everything.
    pub(crate) smtp: SocketAddr,
    /// Where the page is.
    pub(crate) http: SocketAddr,
}

/// Why the sandbox did not start. A retry helps only when whoever holds the port leaves it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    /// The page's address is taken, or not ours.
    #[error("cannot show the sandbox's page on {address}: {source}; set sandbox.address to a free one")]
    Page {
        /// As configured.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// There is no free port on loopback.
    #[error("cannot open a port on 127.0.0.1 for the sandbox's SMTP server: {0}")]
    Sink(io::Error),
}

/// The mailbox, held by the sink while it adds a message and by the API while it reads; never across a wait.
struct Shared {
    mailbox: Mutex<Mailbox>,
    config: Config,
    clock: Arc<dyn Clock>,
    started: std::time::Instant,
}

impl Shared {
    fn new(config: &Config, clock: Arc<dyn Clock>) -> Arc<Self> {
        let mailbox = Mutex::new(Mailbox::new(config.max_messages, config.max_bytes));
        Arc::new(Self { mailbox, config: config.clone(), started: clock.now(), clock })
    }

    fn mailbox(&self) -> MutexGuard<'_, Mailbox> {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens both ports and serves them until `shutdown` turns true.
pub(crate) async fn start(
    config: &Config,
    clock: Arc<dyn Clock>,
    shutdown: watch::Receiver<bool>,
) -> Result<Sandbox, SandboxError> {
    let address = config.address;
    let page = TcpListener::bind(address).await.map_err(|source| SandboxError::Page { address, source })?;
    let http = page.local_addr().map_err(|source| SandboxError::Page { address, source })?;
    let sink = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(SandboxError::Sink)?;
    let smtp = sink.local_addr().map_err(SandboxError::Sink)?;
    let shared = Shared::new(config, clock);
    tokio::spawn(sink::serve(sink, shared.clone(), shutdown.clone()));
    tokio::spawn(http::serve(page, shared, shutdown));
    Ok(Sandbox { smtp, http })
}

#[cfg(test)]
mod tests;
