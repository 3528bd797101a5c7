//! An envelope on its way through this process.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sluice_mail::{Envelope, Shard};
use sluice_queue as queue;
use sluice_route::Route;
use sluice_smtp::client::Transaction;
use sluice_spool::{Work, WorkId};
use tokio::sync::OwnedSemaphorePermit;

/// Work with the route of its domain.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) work: Box<Work>,
    pub(crate) route: Arc<Route>,
    /// How often it was begun on a connection that turned out to be gone.
    pub(crate) restarts: u8,
    /// Whether it was told of as begun.
    pub(crate) is_begun: bool,
    /// Its share of the memory for large bodies, while it holds one.
    pub(crate) room: Option<OwnedSemaphorePermit>,
}

impl Job {
    pub(crate) fn new(work: Box<Work>, route: Arc<Route>) -> Self {
        Self { work, route, restarts: 0, is_begun: false, room: None }
    }

    pub(crate) fn id(&self) -> WorkId {
        self.work.id
    }

    pub(crate) fn shard(&self) -> Shard {
        self.work.shard
    }

    pub(crate) fn envelope(&self) -> &Envelope {
        &self.work.envelope
    }

    /// Whether it must not be sent in the clear (RFC 8689).
    pub(crate) fn needs_tls(&self) -> bool {
        self.envelope().flags.require_tls
    }

    /// The body, when it is in memory.
    pub(crate) fn body(&self) -> Option<Bytes> {
        self.work.body.clone()
    }

    pub(crate) fn transaction(&self) -> Transaction {
        let envelope = self.envelope();
        Transaction {
            mail_from: envelope.mail_from.clone(),
            recipients: envelope.open_recipients().map(|(_, recipient)| recipient.address.clone()).collect(),
            size: envelope.size,
            flags: envelope.flags,
        }
    }

    /// As the dispatcher wants it.
    pub(crate) fn queued(self) -> queue::Job<Self> {
        let envelope = self.envelope();
        queue::Job { account: envelope.account.clone(), lane: envelope.lane, bytes: envelope.size, item: self }
    }
}

/// How a transaction or a walk over hosts went, for records.
#[derive(Clone, Debug, Default)]
pub(crate) struct Where {
    pub(crate) mx: Option<Arc<str>>,
    pub(crate) peer: Option<std::net::SocketAddr>,
    pub(crate) source: Option<Arc<str>>,
    pub(crate) tls: Option<Arc<str>>,
    pub(crate) duration: Duration,
}
