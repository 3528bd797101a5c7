//! Which envelope goes next, and over how many connections.
//!
//! Mail is queued by site. A connection belongs to one site and asks for its next envelope ([`Dispatcher::next`]),
//! so nothing waits behind a slow peer but what that peer's own connections hold. The dispatcher opens and wakes
//! connections ([`Dispatcher::poll_action`]) within the limits of the site, of its window, and of the process;
//! what exceeds a site's share, or is meant for a dead site, is handed back at once to be diverted.

mod lanes;
mod pace;
mod site;
mod staff;
mod types;
mod window;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use site::{Health, Site};
use window::Window;

pub use types::{Action, ConnId, Diverted, Feedback, Job, Limits, Next, SiteLimits, Stats};

/// How long a site's window is remembered when nothing is sent to it.
const REMEMBERED: Duration = Duration::from_secs(1800);
/// A site that takes all that waits for it within this time may have more than its share waiting.
const QUICK: Duration = Duration::from_secs(1);

/// The queues of all sites and the places of all connections.
#[derive(Debug)]
pub struct Dispatcher<T> {
    limits: Limits,
    sites: Vec<Option<Site<T>>>,
    vacant: Vec<usize>,
    by_name: HashMap<Arc<str>, usize>,
    connections: Vec<Option<Connection>>,
    free: Vec<u32>,
    open: u32,
    idle: u32,
    /// Sites that have mail but no connection because the total is used up, in order.
    line: VecDeque<usize>,
    actions: VecDeque<Action>,
    draining: bool,
}

#[derive(Clone, Copy, Debug)]
struct Connection {
    site: usize,
    served: u32,
    state: ConnState,
    /// To be ended when it asks next, so that another site gets its place.
    give_up_place: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConnState {
    Coming,
    Busy,
    Idle,
}

impl<T> Dispatcher<T> {
    /// Nothing queued, nothing known.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            sites: Vec::new(),
            vacant: Vec::new(),
            by_name: HashMap::new(),
            connections: Vec::new(),
            free: Vec::new(),
            open: 0,
            idle: 0,
            line: VecDeque::new(),
            actions: VecDeque::new(),
            draining: false,
        }
    }

    /// Queues an envelope for a site, or gives it back to be diverted: the site is dead, or too much waits for it.
    pub fn push(&mut self, now: Instant, site_name: &Arc<str>, job: Job<T>) -> Result<(), Diverted<T>> {
        let Some(at) = self.site_at(now, site_name) else {
            return Err(Diverted { item: job.item, eta: self.limits.site.dead_site_pause });
        };
        let Some(site) = self.sites[at].as_mut() else {
            return Err(Diverted { item: job.item, eta: self.limits.site.dead_site_pause });
        };
        site.last_used = now;
        if let Health::Dead(until) = site.health {
            if now < until {
                return Err(Diverted { item: job.item, eta: until - now });
            }
            site.health = Health::Probing;
            site.window = Window::new(1);
        }
        let queued = site.lanes.len();
        if queued >= self.limits.site.max_queued {
            let eta = site.pace.eta(now, queued);
            // What a quick site has taken in a moment does not stand in the way of others.
            if eta > QUICK {
                return Err(Diverted { item: job.item, eta });
            }
        }
        site.lanes.push(job);
        site.pace.came(now);
        self.staff(at);
        Ok(())
    }

    /// The next envelope for a connection; `accepts` says whether it may carry one (whether its host is in the
    /// envelope's own list).
    pub fn next(&mut self, now: Instant, conn: ConnId, accepts: &dyn Fn(&T) -> bool) -> Next<T> {
        let Some(mut connection) = self.connection(conn) else {
            return Next::Quit;
        };
        let Some(site) = self.sites[connection.site].as_mut() else {
            return Next::Quit;
        };
        match connection.state {
            ConnState::Coming => site.coming -= 1,
            ConnState::Busy => {}
            ConnState::Idle => {
                site.idle.retain(|id| *id != conn);
                self.idle -= 1;
            }
        }
        connection.state = ConnState::Busy;
        let limits = &self.limits.site;
        let used_up = limits.max_msg_per_connection != 0 && connection.served >= limits.max_msg_per_connection;
        let too_many = site.connections > site.allowed(limits);
        let mut answer = Next::Quit;
        if !(used_up || too_many || connection.give_up_place || self.draining) {
            if let Some(item) = site.lanes.pop(accepts) {
                connection.served += 1;
                site.last_used = now;
                site.pace.took_one(now, site.lanes.len() > 0);
                answer = Next::Job(item);
            } else if site.lanes.len() == 0 && self.line.is_empty() {
                connection.state = ConnState::Idle;
                site.idle.push_back(conn);
                self.idle += 1;
                answer = Next::Idle;
            }
        }
        self.connections[conn.0 as usize] = Some(connection);
        answer
    }

    /// One more envelope for a connection that is still busy with its last, so that both can travel together. Only
    /// when so much waits that every other connection of the site finds its next one too.
    pub fn ahead(&mut self, now: Instant, conn: ConnId, accepts: &dyn Fn(&T) -> bool) -> Option<T> {
        let mut connection = self.connection(conn)?;
        let limits = &self.limits.site;
        let site = self.sites[connection.site].as_mut()?;
        let used_up = limits.max_msg_per_connection != 0 && connection.served >= limits.max_msg_per_connection;
        let too_many = site.connections > site.allowed(limits);
        if used_up || too_many || connection.give_up_place || self.draining || !self.line.is_empty() {
            return None;
        }
        if connection.state != ConnState::Busy || site.lanes.len() <= site.connections as usize {
            return None;
        }
        let item = site.lanes.pop(accepts)?;
        site.pace.took_one(now, site.lanes.len() > 0);
        connection.served += 1;
        self.connections[conn.0 as usize] = Some(connection);
        Some(item)
    }

    /// What a connection learned. When the site is dead now, all that waits for it, to be diverted.
    pub fn report(&mut self, now: Instant, conn: ConnId, feedback: Feedback) -> Vec<Diverted<T>> {
        let Some(at) = self.connection(conn).map(|c| c.site) else {
            return Vec::new();
        };
        let Some(site) = self.sites[at].as_mut() else {
            return Vec::new();
        };
        let limits = &self.limits.site;
        match feedback {
            Feedback::Good => {
                if site.health != Health::Open {
                    site.health = Health::Open;
                    site.window = Window::new(limits.initial_destination_concurrency.min(limits.max_smtp_out));
                    self.staff(at);
                    return Vec::new();
                }
                let busy = site.connections - site.idle.len() as u32;
                let in_use = site.window.size() < busy + limits.initial_destination_concurrency;
                if site.window.succeeded(in_use, limits.max_smtp_out) {
                    self.staff(at);
                }
                Vec::new()
            }
            Feedback::Bad => {
                let dead = site.window.failed(f64::from(limits.failed_cohort_limit));
                let probe_failed = site.health == Health::Probing;
                if !(dead || probe_failed) || matches!(site.health, Health::Dead(_)) {
                    return Vec::new();
                }
                site.health = Health::Dead(now + limits.dead_site_pause);
                let mut items = Vec::new();
                site.lanes.take(&|_| true, &mut items);
                site.pace.all_gone(now);
                let eta = limits.dead_site_pause;
                items.into_iter().map(|item| Diverted { item, eta }).collect()
            }
        }
    }

    /// A connection has ended, or was never opened. Its id is free for another.
    pub fn closed(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(conn.0 as usize).and_then(Option::take) else {
            return;
        };
        self.free.push(conn.0);
        self.open -= 1;
        if let Some(site) = self.sites[connection.site].as_mut() {
            site.connections -= 1;
            match connection.state {
                ConnState::Coming => site.coming -= 1,
                ConnState::Busy => {}
                ConnState::Idle => {
                    site.idle.retain(|id| *id != conn);
                    self.idle -= 1;
                }
            }
        }
        while let Some(at) = self.line.pop_front() {
            if let Some(site) = self.sites[at].as_mut() {
                site.in_line = false;
            }
            self.staff(at);
            if self.is_full() {
                break;
            }
        }
        self.staff(connection.site);
    }

    /// What is to be done now; ask until there is nothing.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Takes out the queued envelopes that `which` names: of a shard that is drained or lost.
    pub fn take(&mut self, which: &dyn Fn(&T) -> bool) -> Vec<T> {
        let mut out = Vec::new();
        for site in self.sites.iter_mut().flatten() {
            site.lanes.take(which, &mut out);
        }
        out
    }

    /// From now on no connection is opened and none gets work; idle ones are woken to end. Gives what waits.
    pub fn drain(&mut self) -> Vec<T> {
        self.draining = true;
        let idle: Vec<_> = self.sites.iter().flatten().flat_map(|site| site.idle.iter().copied()).collect();
        self.actions.extend(idle.into_iter().map(Action::Wake));
        self.take(&|_| true)
    }

    /// Dead sites may be tried from now on: an operator wants it.
    pub fn revive(&mut self, now: Instant) {
        for site in self.sites.iter_mut().flatten() {
            if matches!(site.health, Health::Dead(_)) {
                site.health = Health::Dead(now);
            }
        }
    }

    /// Forgets sites that nothing was sent to for half an hour. To be called every few minutes.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.forget(&|site| now.saturating_duration_since(site.last_used) > REMEMBERED);
    }

    /// The numbers of now. Walks the sites: for a scrape, not for each envelope.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = Stats { connections: self.open as usize, idle: self.idle as usize, ..Stats::default() };
        for site in self.sites.iter().flatten() {
            stats.sites += 1;
            stats.dead_sites += usize::from(matches!(site.health, Health::Dead(_)));
            stats.queued += site.lanes.len();
        }
        stats
    }
}

#[cfg(test)]
mod tests;
