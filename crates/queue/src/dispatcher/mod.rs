//! Which envelope goes next, and over how many connections.
//!
//! Mail is queued by site; that of a domain with limits of its own in a queue of its own beside the site's. A
//! connection belongs to one queue and asks for its next envelope ([`Dispatcher::next`]), so nothing waits behind a
//! slow peer but what that peer's own connections hold. The dispatcher opens and wakes connections
//! ([`Dispatcher::poll_action`]) within the limits of the domain, the site, its window, and the process; what exceeds
//! a queue's share, is held back by a rate for long, or is meant for a dead site, is handed back at once to be
//! diverted.
//!
//! Connections and rates count against the domain and its site; window and health are the site's. Rates are exact:
//! never more than so many in any stretch of their period, by the times at which envelopes are handed out and
//! connections begun.

mod known;
mod lanes;
mod meter;
mod pace;
mod queue;
mod site;
mod slab;
mod staff;
mod types;
mod waits;
mod window;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_mail::Host;

use crate::Policy;
use queue::Queue;
use site::{Area, Health, Site};
use slab::Slab;
use waits::{Gate, Line};
use window::Window;

pub use types::{Action, ConnId, Diverted, Feedback, Job, Limits, Next, Reconnect, Stats};

/// How long a site's window is remembered when nothing is sent to it.
const REMEMBERED: Duration = Duration::from_secs(1800);
/// A site that takes all that waits for it within this time may have more than its share waiting.
const QUICK: Duration = Duration::from_secs(1);
/// A connection that has been idle for so long makes way for a site that has much to send and wants one more.
const SPARE_AFTER: Duration = Duration::from_millis(250);
/// How long mail that an operator does not let go is diverted for each time.
const PAUSED: Duration = Duration::from_secs(1200);

/// The queues of all sites and the places of all connections.
#[derive(Debug)]
pub struct Dispatcher<T> {
    limits: Limits,
    policy: Arc<Policy>,
    sites: Slab<Site>,
    queues: Slab<Queue<T>>,
    /// The domains with limits of their own, by their places in the policy; `None`: no mail came for it yet.
    areas: Vec<Option<Area>>,
    gates: Slab<Gate>,
    by_name: HashMap<Arc<str>, usize>,
    /// The queue of a site for the domain at a place.
    by_domain: HashMap<(usize, usize), usize>,
    connections: Slab<Connection>,
    open: u32,
    idle: u32,
    /// Idle ones that are not to end.
    spare: u32,
    /// Connections that are about to end.
    going: u32,
    /// Sites that have connections.
    busy_sites: u32,
    /// Queues that have mail but no connection because the total is used up, in order.
    line: VecDeque<usize>,
    /// Queues that have connections and so much mail that they want more, in order.
    more: VecDeque<usize>,
    /// Connections by the time since which they have been idle; those that are not any more are skipped.
    resting: VecDeque<(Instant, ConnId)>,
    /// When which gate is to be looked at; those that were set anew since are skipped.
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    actions: VecDeque<Action>,
    draining: bool,
}

#[derive(Clone, Copy, Debug)]
struct Connection {
    queue: usize,
    served: u32,
    state: ConnState,
    /// To end: it was told so, or will be when it asks next, so that another queue gets its place.
    going: bool,
    /// Was told to connect again later: the rate that it waits for.
    waits_to_connect: Option<usize>,
    idle_since: Option<Instant>,
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
    pub fn new(limits: Limits, policy: Arc<Policy>) -> Self {
        let areas = std::iter::repeat_with(|| None).take(policy.limited_domains()).collect();
        Self {
            limits,
            policy,
            sites: Slab::new(),
            queues: Slab::new(),
            areas,
            gates: Slab::new(),
            by_name: HashMap::new(),
            by_domain: HashMap::new(),
            connections: Slab::new(),
            open: 0,
            idle: 0,
            spare: 0,
            going: 0,
            busy_sites: 0,
            line: VecDeque::new(),
            more: VecDeque::new(),
            resting: VecDeque::new(),
            timers: BinaryHeap::new(),
            actions: VecDeque::new(),
            draining: false,
        }
    }

    /// Queues an envelope for a domain whose mail goes to a site, or gives it back to be diverted: the site is dead,
    /// nothing may be sent there, or too much waits for it.
    pub fn push(&mut self, now: Instant, site_name: &Arc<str>, domain: &Host, job: Job<T>) -> Result<(), Diverted<T>> {
        let refuse = |eta, job: Job<T>| Err(Diverted { item: job.item, eta });
        let at = self.site_at(now, site_name).and_then(|site| self.queue_at(site, domain));
        let Some(at) = at else {
            return refuse(self.limits.dead_site_pause, job);
        };
        let Some(queue) = self.queues.get_mut(at) else {
            return refuse(self.limits.dead_site_pause, job);
        };
        let Some(site) = self.sites.get_mut(queue.site) else {
            return refuse(self.limits.dead_site_pause, job);
        };
        site.last_used = now;
        if queue.terms.paused {
            return refuse(PAUSED, job);
        }
        if let Health::Dead(until) = site.health {
            if now < until {
                return refuse(until - now, job);
            }
            site.health = Health::Probing;
            site.window = Window::new(1);
        }
        if let Some(eta) = queue.full_for(now, &job.account, job.lane) {
            return refuse(eta, job);
        }
        queue.lanes.push(job);
        queue.pace.came(now);
        self.staff(now, at);
        Ok(())
    }

    /// The next envelope for a connection; `accepts` says whether it may carry one (whether its host is in the
    /// envelope's own list).
    pub fn next(&mut self, now: Instant, conn: ConnId, accepts: &dyn Fn(&T) -> bool) -> Next<T> {
        self.wait_no_more(now, conn);
        let Some(at) = self.begin_asking(conn) else {
            return Next::Quit;
        };
        let answer = self.answer(now, conn, at, accepts);
        match &answer {
            Next::Job(_) => {}
            Next::Idle => self.rest(now, conn, at),
            Next::Quit => self.send_off(conn),
        }
        if let Some(messages) = self.queues.get(at).map(|queue| queue.terms.messages)
            && messages != [None, None]
        {
            self.came(now, messages);
            // For what this connection left: it waits for a token now, or another connection takes it.
            self.staff(now, at);
        }
        answer
    }

    /// The connection asks: it is busy now. Its queue.
    fn begin_asking(&mut self, conn: ConnId) -> Option<usize> {
        let connection = self.connections.get_mut(conn.0 as usize)?;
        let (at, was) = (connection.queue, connection.state);
        match was {
            ConnState::Coming => self.unexpect_one(at),
            ConnState::Busy => {}
            ConnState::Idle => {
                self.queues.get_mut(at)?.idle.retain(|id| *id != conn);
                self.rouse(conn);
            }
        }
        self.connections.get_mut(conn.0 as usize)?.state = ConnState::Busy;
        Some(at)
    }

    fn answer(&mut self, now: Instant, conn: ConnId, at: usize, accepts: &dyn Fn(&T) -> bool) -> Next<T> {
        if !self.may_go_on(conn, at) {
            return Next::Quit;
        }
        let Some(queue) = self.queues.get(at) else { return Next::Quit };
        if queue.lanes.len() == 0 {
            return if self.is_wanted_elsewhere(at, false) { Next::Quit } else { Next::Idle };
        }
        if !self.lets_go(now, queue.terms.messages) {
            let is_last = queue.idle.is_empty() && self.may_keep_waiting(queue.site) && self.line.is_empty();
            return if is_last || !self.is_wanted_elsewhere(at, false) { Next::Idle } else { Next::Quit };
        }
        // One that was opened a moment ago carries what it was opened for.
        let has_served = self.connection(conn).is_some_and(|connection| connection.served > 0);
        if has_served && self.is_wanted_elsewhere(at, true) {
            return Next::Quit;
        }
        self.hand_out(now, conn, at, accepts).map_or(Next::Quit, Next::Job)
    }

    /// Whether the connection may carry another envelope.
    fn may_go_on(&self, conn: ConnId, at: usize) -> bool {
        let Some(connection) = self.connection(conn).filter(|connection| !connection.going) else { return false };
        let Some(queue) = self.queues.get(at) else { return false };
        let Some(site) = self.sites.get(queue.site) else { return false };
        let max = queue.terms.max_msg_per_connection;
        let used_up = max != 0 && connection.served >= max;
        !(used_up || site.is_crowded() || self.draining)
    }

    fn hand_out(&mut self, now: Instant, conn: ConnId, at: usize, accepts: &dyn Fn(&T) -> bool) -> Option<T> {
        let queue = self.queues.get_mut(at)?;
        let item = queue.lanes.pop(accepts)?;
        queue.pace.took_one(now, queue.lanes.len() > 0);
        let (messages, wants_more) = (queue.terms.messages, queue.listed.wants_more());
        if let Some(site) = self.sites.get_mut(queue.site) {
            site.last_used = now;
        }
        self.take_tokens(now, messages);
        if wants_more && self.spare > 0 {
            self.make_room(now, Line::More, at);
        }
        self.connections.get_mut(conn.0 as usize)?.served += 1;
        Some(item)
    }

    /// One more envelope for a connection that is still busy with its last, so that both can travel together. Only
    /// when so much waits that every other connection of the queue finds its next one too.
    pub fn ahead(&mut self, now: Instant, conn: ConnId, accepts: &dyn Fn(&T) -> bool) -> Option<T> {
        let connection = self.connection(conn)?;
        let at = connection.queue;
        let queue = self.queues.get(at)?;
        if connection.state != ConnState::Busy || queue.lanes.len() <= queue.connections as usize {
            return None;
        }
        let messages = queue.terms.messages;
        if !self.line.is_empty() || !self.may_go_on(conn, at) || self.is_wanted_elsewhere(at, true) {
            return None;
        }
        // Those that are coming were promised theirs.
        let promised = |gate: usize| self.gates.get(gate).is_some_and(|gate| !gate.has_room(now));
        if messages.into_iter().flatten().any(promised) {
            return None;
        }
        let item = self.hand_out(now, conn, at, accepts)?;
        if messages != [None, None] {
            self.came(now, messages);
        }
        Some(item)
    }

    /// A connection that found no work in time wants to end. `true`: it is not woken any more and may say so to its
    /// peer. `false`: work has come for it, it has to ask.
    pub fn retire(&mut self, conn: ConnId) -> bool {
        let Some(connection) = self.connection(conn) else { return true };
        match connection.state {
            ConnState::Coming => return false,
            ConnState::Busy => {}
            ConnState::Idle => {
                if let Some(queue) = self.queues.get_mut(connection.queue) {
                    queue.idle.retain(|id| *id != conn);
                }
                self.rouse(conn);
                if let Some(connection) = self.connections.get_mut(conn.0 as usize) {
                    connection.state = ConnState::Busy;
                }
            }
        }
        self.send_off(conn);
        true
    }

    /// The connection has to connect once more: to a further host, or because its peer has gone. The first time was
    /// counted when it was opened.
    pub fn reconnect(&mut self, now: Instant, conn: ConnId) -> Reconnect {
        let connects = self.connection(conn).and_then(|c| self.queues.get(c.queue)).map(|queue| queue.terms.connects);
        let Some(connects) = connects.filter(|_| !self.draining) else {
            return Reconnect::Never;
        };
        let waited = self.connection(conn).and_then(|connection| connection.waits_to_connect);
        let turn = |at: usize| {
            let gate = self.gates.get(at)?;
            // Whoever has waited here was told its turn.
            let others = if waited == Some(at) { 0 } else { gate.coming };
            Some((gate.meter.turn_after(now, others), at))
        };
        let last = connects.into_iter().flatten().filter_map(turn).max();
        match last.filter(|(at, _)| *at > now) {
            // Nothing is taken beforehand: that would hold up all others that one of the rates is for.
            Some((at, gate)) => {
                if waited != Some(gate) {
                    self.wait_no_more(now, conn);
                    self.wait_to_connect(conn, gate);
                }
                Reconnect::At(at)
            }
            None => {
                self.take_tokens(now, connects);
                self.wait_no_more(now, conn);
                Reconnect::Now
            }
        }
    }

    /// What a connection learned. When the site is dead now, all that waits for it, to be diverted.
    pub fn report(&mut self, now: Instant, conn: ConnId, feedback: Feedback) -> Vec<Diverted<T>> {
        let Some(at) = self.connection(conn).map(|connection| connection.queue) else { return Vec::new() };
        let Some(site_at) = self.queues.get(at).map(|queue| queue.site) else { return Vec::new() };
        let Some(site) = self.sites.get_mut(site_at) else { return Vec::new() };
        let limits = &self.limits;
        match feedback {
            Feedback::Good => {
                let grew = if site.health == Health::Open {
                    let busy = site.connections - site.idle.min(site.connections);
                    let in_use = site.window.size() < busy + limits.initial_destination_concurrency;
                    site.window.succeeded(in_use, site.window_max)
                } else {
                    site.open_window(limits);
                    true
                };
                if grew {
                    self.serve(now, Line::Site(site_at));
                    self.staff(now, at);
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
                let (eta, queues) = (limits.dead_site_pause, site.queues.clone());
                let mut items = Vec::new();
                for queue in queues {
                    if let Some(queue) = self.queues.get_mut(queue) {
                        queue.lanes.take(&|_| true, &mut items);
                        queue.pace.all_gone(now);
                    }
                }
                items.into_iter().map(|item| Diverted { item, eta }).collect()
            }
        }
    }

    /// A connection has ended, or was never opened. Its id is free for another.
    pub fn closed(&mut self, now: Instant, conn: ConnId) {
        self.wait_no_more(now, conn);
        let Some(connection) = self.connection(conn) else { return };
        let at = connection.queue;
        match connection.state {
            ConnState::Coming => self.unexpect_one(at),
            ConnState::Busy => {}
            ConnState::Idle => {
                if let Some(queue) = self.queues.get_mut(at) {
                    queue.idle.retain(|id| *id != conn);
                }
                self.rouse(conn);
            }
        }
        if connection.going {
            self.count_going(at, -1);
        }
        self.connections.remove(conn.0 as usize);
        self.open -= 1;
        let Some(queue) = self.queues.get_mut(at) else { return };
        queue.connections -= 1;
        let (site_at, domain) = (queue.site, queue.domain);
        let (counts, messages) = (queue.terms.counts, queue.terms.messages);
        if let Some(site) = self.sites.get_mut(site_at) {
            site.connections -= 1;
            self.busy_sites -= u32::from(site.connections == 0);
            site.counted -= u32::from(counts);
        }
        if let Some(Some(area)) = domain.and_then(|place| self.areas.get_mut(place)) {
            area.connections -= 1;
        }
        self.serve(now, Line::Total);
        self.serve(now, Line::Site(site_at));
        if let Some(place) = domain {
            self.serve(now, Line::Area(place));
        }
        self.came(now, messages);
        self.serve(now, Line::More);
        self.staff(now, at);
    }

    /// What is to be done now; ask until there is nothing.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Takes out the queued envelopes that `which` names: of a shard that is drained or lost.
    pub fn take(&mut self, which: &dyn Fn(&T) -> bool) -> Vec<T> {
        let mut out = Vec::new();
        for queue in self.queues.values_mut() {
            queue.lanes.take(which, &mut out);
        }
        out
    }

    /// From now on no connection is opened and none gets work; those that wait are woken to end. Gives what waits.
    pub fn drain(&mut self) -> Vec<T> {
        self.draining = true;
        for (at, connection) in self.connections.iter() {
            if connection.state == ConnState::Idle || connection.waits_to_connect.is_some() {
                self.actions.push_back(Action::Wake(ConnId(at as u32)));
            }
        }
        self.take(&|_| true)
    }

    /// Dead sites may be tried from now on: an operator wants it.
    pub fn revive(&mut self, now: Instant) {
        for site in self.sites.values_mut() {
            if matches!(site.health, Health::Dead(_)) {
                site.health = Health::Dead(now);
            }
        }
    }

    /// When mail that a rate holds back may go on; `None` as long as there is none.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((when, _))| *when)
    }

    /// To be called at [`Self::poll_timeout`]; earlier or later does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.serve_timers(now);
    }

    /// Forgets sites that nothing was sent to for half an hour. To be called every few minutes.
    pub fn forget_unused(&mut self, now: Instant) {
        self.forget(now, &|site| now.saturating_duration_since(site.last_used) > REMEMBERED);
    }

    /// The numbers of now. Walks the sites: for a scrape, not for each envelope.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = Stats { connections: self.open as usize, idle: self.idle as usize, ..Stats::default() };
        for (_, site) in self.sites.iter() {
            stats.sites += 1;
            stats.dead_sites += usize::from(matches!(site.health, Health::Dead(_)));
        }
        stats.queued = self.queues.iter().map(|(_, queue)| queue.lanes.len()).sum();
        stats
    }
}

#[cfg(test)]
mod rates_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod walks;
