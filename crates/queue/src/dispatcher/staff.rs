//! Which queue is given a connection.

use std::time::Instant;

use super::waits::Line;
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
                    self.make_room(line, at);
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
        // The scarcer connections are, the fewer a site may have: a slow one cannot take them all.
        if free == 0 || site.connections >= (free / 8).max(1) { Lack::Wait } else { Lack::None }
    }

    /// Has an idle connection of another queue end for the sake of a queue that has come into line, unless enough
    /// are ending already.
    fn make_room(&mut self, line: Line, for_queue: usize) {
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
            Line::Total => self.connections.iter().find_map(|(at, connection)| {
                let is_spare = connection.state == ConnState::Idle && !connection.going;
                is_spare.then_some(ConnId(at as u32))
            }),
            Line::Site(at) => self.sites.get(at).and_then(|site| others(&site.queues)),
            Line::Area(place) => self.areas.get(place).and_then(Option::as_ref).and_then(|area| others(&area.queues)),
            Line::Gate(_) => None,
        };
        if let Some(conn) = found {
            self.send_off(conn);
            self.actions.push_back(Action::Wake(conn));
        }
    }

    /// How many connections are about to end, and how many are idle, where the line is for.
    fn turnover(&self, line: Line) -> (u32, u32) {
        match line {
            Line::Total => (self.going, self.spare),
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
        let (mine, site, domain) = (queue.connections, queue.site, queue.domain);
        let is_alone = domain.is_none() && self.sites.get(site).is_none_or(|site| site.line.is_empty());
        if is_alone && self.line.is_empty() {
            return false;
        }
        let lines = [Some(Line::Total), Some(Line::Site(site)), domain.map(Line::Area)];
        lines.into_iter().flatten().any(|line| {
            let Some((waiting, theirs)) = self.others_in(line, at) else { return false };
            (self.turnover(line).0 as usize) < waiting && (!spares || mine > theirs + 1)
        })
    }

    pub(super) fn is_full(&self) -> bool {
        self.open >= self.limits.total_max_smtp_out
    }

    pub(super) fn connection(&self, conn: ConnId) -> Option<Connection> {
        self.connections.get(conn.0 as usize).copied()
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
                site.connections += 1;
                site.counted += u32::from(queue.terms.counts);
            }
            if let Some(Some(area)) = queue.domain.and_then(|place| self.areas.get_mut(place)) {
                area.connections += 1;
            }
        }
        let state = ConnState::Coming;
        let connection = Connection { queue: at, served: 0, state, going: false, waits_to_connect: None };
        ConnId(self.connections.insert(connection) as u32)
    }
}
