//! Which queue is given a connection.

use std::time::Instant;

use super::waits::{Holding, Line};
use super::{Action, ConnId, ConnState, Connection, Dispatcher};

/// What keeps a queue from another connection.
enum Lack {
    /// Nothing.
    None,
    /// It stands in line for it.
    Stand(Line),
    /// Its own connections look after it.
    Wait,
}

impl<T> Dispatcher<T> {
    /// Wakes or opens connections for a queue while it has mail that nobody is coming for.
    pub(super) fn staff(&mut self, now: Instant, at: usize) {
        while !self.draining && self.staff_one(now, at) {}
    }

    fn staff_one(&mut self, now: Instant, at: usize) -> bool {
        let Some(queue) = self.queues.get_mut(at).filter(|queue| queue.wants_connection()) else { return false };
        let (messages, connects) = (queue.terms.messages, queue.terms.connects);
        if let Some(gate) = self.closed_gate(now, messages) {
            return self.wait_for_token(now, at, gate);
        }
        let Some(queue) = self.queues.get_mut(at) else { return false };
        if let Some(conn) = queue.idle.pop_back() {
            self.rouse(conn);
            self.expect_one(at, messages);
            self.actions.push_back(Action::Wake(conn));
            return true;
        }
        match self.lack(at) {
            Lack::None => {}
            Lack::Wait => return false,
            Lack::Stand(line) => {
                if self.stand(at, line) {
                    self.make_room(now, line, at);
                }
                return false;
            }
        }
        if let Some(gate) = self.closed_gate(now, connects) {
            return self.wait_for_token(now, at, gate);
        }
        self.take_tokens(now, connects);
        let conn = self.open_connection(at);
        self.expect_one(at, messages);
        self.actions.push_back(Action::Open(conn));
        true
    }

    pub(super) fn closed_gate(&self, now: Instant, gates: [Option<usize>; 2]) -> Option<usize> {
        gates.into_iter().flatten().find(|at| self.gates.get(*at).is_some_and(|gate| !gate.has_room(now)))
    }

    fn wait_for_token(&mut self, now: Instant, at: usize, gate: usize) -> bool {
        self.stand(at, Line::Gate(gate));
        self.rearm(now, gate);
        false
    }

    fn expect_one(&mut self, at: usize, messages: [Option<usize>; 2]) {
        if let Some(queue) = self.queues.get_mut(at) {
            queue.coming += 1;
        }
        for gate in messages.into_iter().flatten() {
            if let Some(gate) = self.gates.get_mut(gate) {
                gate.coming += 1;
            }
        }
    }

    /// One that was expected has come, or will not.
    pub(super) fn unexpect_one(&mut self, at: usize) {
        let Some(queue) = self.queues.get_mut(at) else { return };
        queue.coming -= 1;
        for gate in queue.terms.messages.into_iter().flatten() {
            if let Some(gate) = self.gates.get_mut(gate) {
                gate.coming -= 1;
            }
        }
    }

    fn lack(&self, at: usize) -> Lack {
        let Some(queue) = self.queues.get(at) else { return Lack::Wait };
        let Some(site) = self.sites.get(queue.site) else { return Lack::Wait };
        if !site.has_room(queue.terms.counts) {
            return if site.is_shared() { Lack::Stand(Line::Site(queue.site)) } else { Lack::Wait };
        }
        if let Some(place) = queue.domain
            && let Some(Some(area)) = self.areas.get(place)
            && !area.has_room()
        {
            return if area.queues.len() > 1 { Lack::Stand(Line::Area(place)) } else { Lack::Wait };
        }
        let free = self.limits.total_max_smtp_out.saturating_sub(self.open);
        if queue.connections == 0 {
            return if free == 0 { Lack::Stand(Line::Total) } else { Lack::None };
        }
        // An even share for each site, and more only while there is plenty. The last are left to those that have none.
        let sites = self.busy_sites.saturating_add(u32::try_from(self.line.len()).unwrap_or(u32::MAX));
        let share = (self.limits.total_max_smtp_out / sites.max(1)).max(free / 8);
        // Not one that it would have to yield at once.
        let wants = |other: &usize| self.queues.get(*other).filter(|queue| *other != at && queue.wants_connection());
        let first = self.more.iter().find_map(wants);
        let is_turn = first.is_none_or(|first| {
            let grown = Holding { connections: queue.connections + 1, ..queue.holding() };
            !grown.yields_to(first.holding())
        });
        if self.is_roomy() && site.connections < share && is_turn {
            return Lack::None;
        }
        // For a message or two another connection is not worth its greeting.
        let waiting = queue.lanes.len().saturating_sub(queue.coming as usize);
        if waiting > 2 * queue.connections as usize { Lack::Stand(Line::More) } else { Lack::Wait }
    }

    /// Whether a site that has connections may be given another.
    pub(super) fn is_roomy(&self) -> bool {
        let total = self.limits.total_max_smtp_out;
        total.saturating_sub(self.open) > (total / 32).max(1)
    }

    /// Has an idle connection of another queue end for the sake of a queue that has come into line, unless enough
    /// are ending already.
    pub(super) fn make_room(&mut self, now: Instant, line: Line, for_queue: usize) {
        let (going, spare) = self.turnover(line);
        let waiting = self.others_in(line, usize::MAX).map_or(0, |(len, _)| len);
        if spare == 0 || going as usize >= waiting {
            return;
        }
        let of_queue = |queue: usize| {
            let of = self.queues.get(queue)?;
            // One that waits for a token keeps its connection while few do.
            let is_kept = of.lanes.len() > 0 && self.may_keep_waiting(of.site);
            of.idle.iter().copied().filter(|_| !is_kept).find(|conn| self.connection(*conn).is_some_and(|c| !c.going))
        };
        let others = |queues: &[usize]| queues.iter().filter(|at| **at != for_queue).find_map(|at| of_queue(*at));
        let found = match line {
            Line::Total => self.longest_idle().map(|(_, conn)| conn),
            Line::More => {
                let longest = self.longest_idle();
                longest
                    .filter(|(since, _)| now.saturating_duration_since(*since) >= super::SPARE_AFTER)
                    .map(|(_, conn)| conn)
            }
            Line::Site(at) => self.sites.get(at).and_then(|site| others(&site.queues)),
            Line::Area(place) => self.areas.get(place).and_then(Option::as_ref).and_then(|area| others(&area.queues)),
            Line::Gate(_) => None,
        };
        if let Some(conn) = found {
            self.send_off(conn);
            self.actions.push_back(Action::Wake(conn));
        }
    }

    /// The connection that has been idle for longest and is not to end, and since when.
    fn longest_idle(&mut self) -> Option<(Instant, ConnId)> {
        while let Some((since, conn)) = self.resting.front().copied() {
            let is_that = |c: &Connection| c.state == ConnState::Idle && c.idle_since == Some(since) && !c.going;
            if self.connection(conn).as_ref().is_some_and(is_that) {
                return Some((since, conn));
            }
            self.resting.pop_front();
        }
        None
    }

    /// How many connections are about to end, and how many are idle, where the line is for.
    fn turnover(&self, line: Line) -> (u32, u32) {
        match line {
            Line::Total | Line::More => (self.going, self.spare),
            Line::Site(at) => self.sites.get(at).map_or((0, 0), |site| (site.going, site.idle)),
            Line::Area(place) => {
                let area = self.areas.get(place).and_then(Option::as_ref);
                area.map_or((0, 0), |area| (area.going, self.spare))
            }
            Line::Gate(_) => (0, 0),
        }
    }

    /// Whether a site can spare idle connections for queues that wait for tokens: a quarter of what it may have.
    pub(super) fn may_keep_waiting(&self, site: usize) -> bool {
        let Some(site) = self.sites.get(site) else { return false };
        let is_waiting = |at: &&usize| self.queues.get(**at).is_some_and(|q| q.lanes.len() > 0 && !q.idle.is_empty());
        site.queues.iter().filter(is_waiting).count() <= site.allowed() as usize / 4
    }

    /// Whether another queue waits for a place that this one's connection holds. `spares`: the connection could carry
    /// more, so it yields only when its queue has two more than the other.
    pub(super) fn is_wanted_elsewhere(&mut self, at: usize, spares: bool) -> bool {
        let Some(queue) = self.queues.get(at) else { return false };
        let (mine, site, domain) = (queue.holding(), queue.site, queue.domain);
        let is_alone = domain.is_none() && self.sites.get(site).is_none_or(|site| site.line.is_empty());
        if is_alone && self.line.is_empty() && self.more.is_empty() {
            return false;
        }
        // Nobody ends an idle connection at once for one who has some: there is time until it is idle for long.
        let more = spares.then_some(Line::More);
        let lines = [Some(Line::Total), more, Some(Line::Site(site)), domain.map(Line::Area)];
        lines.into_iter().flatten().any(|line| {
            let Some((waiting, theirs)) = self.others_in(line, at) else { return false };
            let is_wanted = !spares || mine.yields_to(theirs);
            if line == Line::More && !is_wanted {
                // The next connection looks at another of them.
                self.more.rotate_left(1);
            }
            is_wanted && (self.turnover(line).0 as usize) < waiting
        })
    }

    pub(super) fn is_full(&self) -> bool {
        self.open >= self.limits.total_max_smtp_out
    }

    pub(super) fn connection(&self, conn: ConnId) -> Option<Connection> {
        self.connections.get(conn.0 as usize).copied()
    }

    /// A connection found no work: it is idle from now on.
    pub(super) fn rest(&mut self, now: Instant, conn: ConnId, at: usize) {
        let Some(connection) = self.connections.get_mut(conn.0 as usize) else { return };
        connection.state = ConnState::Idle;
        connection.idle_since = Some(now);
        if self.resting.len() > 2 * self.connections.len() {
            let connections = &self.connections;
            let is_idle = |since: Instant, conn: ConnId| {
                let connection = connections.get(conn.0 as usize);
                connection.is_some_and(|c| c.state == ConnState::Idle && c.idle_since == Some(since))
            };
            self.resting.retain(|(since, conn)| is_idle(*since, *conn));
        }
        self.resting.push_back((now, conn));
        self.idle += 1;
        self.spare += 1;
        let Some(queue) = self.queues.get_mut(at) else { return };
        queue.idle.push_back(conn);
        if let Some(site) = self.sites.get_mut(queue.site) {
            site.idle += 1;
        }
    }

    /// An idle connection is idle no more; it was taken out of its queue's row.
    pub(super) fn rouse(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(conn.0 as usize) else { return };
        connection.state = ConnState::Coming;
        let (at, going) = (connection.queue, connection.going);
        self.idle -= 1;
        if !going {
            self.one_less_spare(at);
        }
    }

    fn one_less_spare(&mut self, queue: usize) {
        self.spare -= 1;
        if let Some(site) = self.queues.get(queue).and_then(|queue| self.sites.get_mut(queue.site)) {
            site.idle -= 1;
        }
    }

    /// The connection is to end when it asks next, or was told to.
    pub(super) fn send_off(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(conn.0 as usize).filter(|c| !c.going) else { return };
        connection.going = true;
        let (at, was_idle) = (connection.queue, connection.state == ConnState::Idle);
        if was_idle {
            self.one_less_spare(at);
        }
        self.count_going(at, 1);
    }

    pub(super) fn count_going(&mut self, queue: usize, by: i32) {
        let Some(queue) = self.queues.get(queue) else { return };
        self.going = self.going.saturating_add_signed(by);
        if let Some(site) = self.sites.get_mut(queue.site) {
            site.going = site.going.saturating_add_signed(by);
        }
        if let Some(Some(area)) = queue.domain.and_then(|place| self.areas.get_mut(place)) {
            area.going = area.going.saturating_add_signed(by);
        }
    }

    fn open_connection(&mut self, at: usize) -> ConnId {
        self.open += 1;
        if let Some(queue) = self.queues.get_mut(at) {
            queue.connections += 1;
            if let Some(site) = self.sites.get_mut(queue.site) {
                self.busy_sites += u32::from(site.connections == 0);
                site.connections += 1;
                site.counted += u32::from(queue.terms.counts);
            }
            if let Some(Some(area)) = queue.domain.and_then(|place| self.areas.get_mut(place)) {
                area.connections += 1;
            }
        }
        let state = ConnState::Coming;
        let connection =
            Connection { queue: at, served: 0, state, going: false, waits_to_connect: None, idle_since: None };
        ConnId(self.connections.insert(connection) as u32)
    }
}
