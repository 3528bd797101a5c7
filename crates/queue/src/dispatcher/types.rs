//! The words of the dispatcher.

use std::sync::Arc;
use std::time::Duration;

use sluice_mail::Lane;

/// The limits of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of each site.
    pub site: SiteLimits,
    /// Connections of all sites together.
    pub total_max_smtp_out: u32,
    /// Sites that may be known at once; those that are unused go first, and a site beyond it is diverted.
    pub max_sites: usize,
}

/// The limits of one site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteLimits {
    /// Connections at once.
    pub max_smtp_out: u32,
    /// Transactions before a connection is closed; 0 is no limit.
    pub max_msg_per_connection: u32,
    /// Connections that a site unknown so far begins with.
    pub initial_destination_concurrency: u32,
    /// How many windows full of failures, without a success between, make a site dead.
    pub failed_cohort_limit: u32,
    /// How long nothing is tried at a dead site.
    pub dead_site_pause: Duration,
    /// Envelopes that may wait in memory for one site; more are diverted.
    pub max_queued: usize,
}

/// An envelope that is to be queued.
#[derive(Clone, Debug)]
pub struct Job<T> {
    /// Whose it is.
    pub account: Arc<str>,
    /// Its lane.
    pub lane: Lane,
    /// Size of its body.
    pub bytes: u32,
    /// The envelope, whatever the caller keeps of it.
    pub item: T,
}

/// An envelope that is not tried now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diverted<T> {
    /// What was to be queued.
    pub item: T,
    /// When to bring it again, from now.
    pub eta: Duration,
}

/// A connection's place in the dispatcher, from the `Open` that made it until [`Dispatcher::closed`](super::Dispatcher::closed).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnId(pub(super) u32);

/// What the shell is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start a connection, which asks for its first envelope before it connects.
    Open(ConnId),
    /// Let this idle connection ask again.
    Wake(ConnId),
}

/// The answer to a connection that asks for work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// Deliver this.
    Job(T),
    /// Nothing now: wait to be woken, for as long as idle connections are kept.
    Idle,
    /// End the connection.
    Quit,
}

/// What a connection learned about its site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feedback {
    /// It speaks SMTP with us.
    Good,
    /// The connection or its handshake failed, at every host that was tried.
    Bad,
}

/// Plain numbers for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sites known.
    pub sites: usize,
    /// Of them dead.
    pub dead_sites: usize,
    /// Envelopes queued, not yet taken by a connection.
    pub queued: usize,
    /// Connections.
    pub connections: usize,
    /// Of them idle.
    pub idle: usize,
}
