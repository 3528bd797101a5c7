//! The words of the dispatcher.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_mail::Lane;

/// What holds for the process and for each of its sites. The limits that an operator gives by site and domain are the
/// [`Policy`](crate::Policy)'s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of all sites together.
    pub total_max_smtp_out: u32,
    /// Sites that may be known at once; those that are unused go first, and a site beyond it is diverted. As many
    /// queues of domains with limits of their own.
    pub max_sites: usize,
    /// Connections that a site unknown so far begins with.
    pub initial_destination_concurrency: u32,
    /// How many windows full of failures, without a success between, make a site dead.
    pub failed_cohort_limit: u32,
    /// How long nothing is tried at a dead site.
    pub dead_site_pause: Duration,
    /// Envelopes that may wait in memory in one queue; more are diverted. Where a rate holds, only what it lets
    /// through in half a minute.
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
    /// Let this connection ask again: an idle one for work, one that waits to connect whether it still may.
    Wake(ConnId),
    /// [`Dispatcher::poll_timeout`](super::Dispatcher::poll_timeout) is earlier than it was: whoever sleeps until then has to look again. Comes
    /// only where a rate holds mail back.
    Rearm,
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

/// Whether a connection may connect again, as it has to for a further host or after its peer has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconnect {
    /// Yes; it is counted.
    Now,
    /// A rate holds it back: it is to ask again then. Until it does it goes before connections that are not begun yet.
    At(Instant),
    /// Not at all: the process ends.
    Never,
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
