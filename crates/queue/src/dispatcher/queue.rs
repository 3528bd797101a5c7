//! Mail that is held to the same limits: a site's, or that of one domain with limits of its own at one site.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use sluice_mail::{Lane, Rate};

use super::ConnId;
use super::lanes::Lanes;
use super::pace::{ETA_MIN, Pace};
use super::waits::{Holding, Listed};

/// So much of what a rate lets through may wait in memory; the rest is diverted.
const HELD: Duration = Duration::from_secs(30);
/// The longest that mail is diverted for because of a rate: it is known, but an operator may change it.
const RATED_ETA_MAX: Duration = Duration::from_secs(3600);
/// An account of which less than this part of the queue waits is let in although the queue is full.
const SMALL_SHARE: usize = 8;

#[derive(Debug)]
pub(super) struct Queue<T> {
    pub(super) site: usize,
    /// Its domain's place among those with limits of their own; `None`: all other mail of the site.
    pub(super) domain: Option<usize>,
    pub(super) terms: Terms,
    pub(super) lanes: Lanes<T>,
    pub(super) pace: Pace,
    /// All of its connections, those that are about to ask for their first envelope included.
    pub(super) connections: u32,
    /// Connections that were opened or woken and have not asked yet: each will take an envelope.
    pub(super) coming: u32,
    /// The idle ones; the last to become idle is woken first, so that the others may end.
    pub(super) idle: VecDeque<ConnId>,
    /// Where it stands in line.
    pub(super) listed: Listed,
    /// When the last of the mail that the rate held back comes again.
    returns_at: Option<Instant>,
}

/// What a queue is held to beside its site's window.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Terms {
    /// Nothing is sent.
    pub(super) paused: bool,
    /// Transactions of a connection; 0 is no limit.
    pub(super) max_msg_per_connection: u32,
    /// Whether its connections count against the site's `max_smtp_out`; else only against its domain's.
    pub(super) counts: bool,
    /// The meters that each message has to pass.
    pub(super) messages: [Option<usize>; 2],
    /// The meters that each new connection has to pass.
    pub(super) connects: [Option<usize>; 2],
    /// The slowest rate of messages.
    pub(super) rate: Option<Rate>,
    /// What may wait.
    pub(super) max_queued: usize,
}

impl Terms {
    /// How much may wait at `rate`.
    pub(super) fn held(rate: Option<Rate>, max_queued: usize) -> usize {
        rate.map_or(max_queued, |rate| ((rate.per_second() * HELD.as_secs_f64()) as usize).clamp(1, max_queued.max(1)))
    }
}

impl<T> Queue<T> {
    pub(super) fn new(site: usize, domain: Option<usize>, terms: Terms) -> Self {
        Self {
            site,
            domain,
            terms,
            lanes: Lanes::new(),
            pace: Pace::default(),
            connections: 0,
            coming: 0,
            idle: VecDeque::new(),
            listed: Listed::default(),
            returns_at: None,
        }
    }

    /// Whether there is mail that nobody is coming for.
    pub(super) fn wants_connection(&self) -> bool {
        self.lanes.len() > self.coming as usize
    }

    pub(super) fn holding(&self) -> Holding {
        Holding { connections: self.connections, waiting: self.lanes.len() }
    }

    pub(super) fn is_unused(&self) -> bool {
        self.connections == 0 && self.lanes.len() == 0 && self.listed.is_empty()
    }

    /// When more mail should come instead of now; `None` when it may come now.
    pub(super) fn full_for(&mut self, now: Instant, account: &str, lane: Lane) -> Option<Duration> {
        let (queued, max) = (self.lanes.len(), self.terms.max_queued);
        if queued < max {
            return None;
        }
        let eta = self.pace.eta(now, queued);
        let Some(rate) = self.terms.rate else {
            // What a quick site has taken in a moment does not stand in the way of others.
            return (eta > super::QUICK).then_some(eta);
        };
        if queued < 2 * max && self.lanes.len_of(account, lane) < (max / SMALL_SHARE).max(1) {
            return None;
        }
        // All that is held back comes again one by one, as the rate can take it.
        let per_second = rate.per_second().max(1e-9);
        let drained = Duration::try_from_secs_f64(queued as f64 / per_second).map_or(RATED_ETA_MAX, |d| d.max(eta));
        let latest = now + RATED_ETA_MAX;
        let soonest = now + drained.clamp(ETA_MIN, RATED_ETA_MAX);
        let at = self.returns_at.map_or(soonest, |at| at.max(soonest)).min(latest);
        let step = Duration::try_from_secs_f64(1.0 / per_second).unwrap_or(RATED_ETA_MAX).min(RATED_ETA_MAX);
        self.returns_at = Some(at + step);
        Some(at - now)
    }
}
