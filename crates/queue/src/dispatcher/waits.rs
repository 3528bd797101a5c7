//! What a queue may have to wait for, and who goes on when it comes free: connections of the process, of a site, of a
//! domain, and the tokens of rates.
//!
//! A queue stands in the line of the first thing it lacks. When that comes free, those in line are looked at in
//! order until it is used up; one that meanwhile lacks another thing stands in that line then. So nothing is polled,
//! and nothing waits while all that it needs is free.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::time::Instant;

use super::meter::Meter;
use super::{Action, ConnId, Dispatcher};

/// A rate and the queues that it holds back.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) meter: Meter,
    pub(super) line: VecDeque<usize>,
    /// Connections that will take a token each: on their way to an envelope where messages are counted, waiting to
    /// connect again where connections are.
    pub(super) coming: u32,
    /// When it was last said to be looked at again.
    armed: Option<Instant>,
}

impl Gate {
    pub(super) fn new(meter: Meter) -> Self {
        Self { meter, line: VecDeque::new(), coming: 0, armed: None }
    }

    /// Whether one more may go.
    pub(super) fn has_room(&self, now: Instant) -> bool {
        self.meter.available(now) > self.coming
    }
}

/// A line of queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// For a connection of the process, of those that have none.
    Total,
    /// For one more of the process.
    More,
    /// For one of this site.
    Site(usize),
    /// For one of the domain with limits of its own at this place.
    Area(usize),
    /// For a token.
    Gate(usize),
}

/// What a queue has, for comparing it with another that wants a connection of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holding {
    pub(super) connections: u32,
    /// Envelopes that wait.
    pub(super) waiting: usize,
}

impl Holding {
    /// Whether one of its connections ends for the sake of `other`: not when both would only change places, unless
    /// twice as much would still wait there for each connection.
    pub(super) fn yields_to(self, other: Self) -> bool {
        let (mine, theirs) = (self.connections as usize, other.connections as usize);
        let is_far_ahead = mine > theirs + 1 && mine > 2 * theirs;
        let is_done_first = mine > theirs && mine > 1 && other.waiting * (mine - 1) > 2 * self.waiting * (theirs + 1);
        is_far_ahead || is_done_first
    }
}

/// The lines that a queue stands in, so that it stands in none twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Listed(u8);

/// The bit of [`Line::More`].
const MORE: u8 = 128;
/// Of those that want one more connection, so many are looked at when one comes free; the others the next time.
const MORE_AT_ONCE: usize = 16;

impl Listed {
    /// Whether it has connections and wants more.
    pub(super) fn wants_more(self) -> bool {
        self.0 & MORE != 0
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl<T> Dispatcher<T> {
    fn line(&mut self, line: Line) -> Option<&mut VecDeque<usize>> {
        match line {
            Line::Total => Some(&mut self.line),
            Line::More => Some(&mut self.more),
            Line::Site(at) => self.sites.get_mut(at).map(|site| &mut site.line),
            Line::Area(place) => self.areas.get_mut(place)?.as_mut().map(|area| &mut area.line),
            Line::Gate(at) => self.gates.get_mut(at).map(|gate| &mut gate.line),
        }
    }

    fn has_room(&self, now: Instant, line: Line) -> bool {
        match line {
            Line::Total => !self.is_full(),
            Line::More => self.is_roomy(),
            Line::Site(at) => self.sites.get(at).is_some_and(|site| site.has_room(false)),
            Line::Area(place) => {
                self.areas.get(place).and_then(Option::as_ref).is_some_and(super::site::Area::has_room)
            }
            Line::Gate(at) => self.gates.get(at).is_some_and(|gate| gate.has_room(now)),
        }
    }

    /// The line's bit in [`Listed`].
    fn bit(&self, queue: usize, line: Line) -> u8 {
        match line {
            Line::Total => 1,
            Line::More => MORE,
            Line::Site(_) => 2,
            Line::Area(_) => 4,
            Line::Gate(gate) => {
                let Some(terms) = self.queues.get(queue).map(|queue| &queue.terms) else { return 0 };
                let gates = terms.messages.iter().chain(&terms.connects);
                gates.zip([8, 16, 32, 64]).find(|(at, _)| **at == Some(gate)).map_or(0, |(_, bit)| bit)
            }
        }
    }

    /// The queue stands in the line from now on. Whether it did not yet.
    pub(super) fn stand(&mut self, queue: usize, line: Line) -> bool {
        let bit = self.bit(queue, line);
        let Some(of) = self.queues.get_mut(queue) else { return false };
        if of.listed.0 & bit != 0 {
            return false;
        }
        of.listed.0 |= bit;
        if let Some(line) = self.line(line) {
            line.push_back(queue);
        }
        true
    }

    fn leave(&mut self, queue: usize, line: Line) {
        let bit = self.bit(queue, line);
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.listed.0 &= !bit;
        }
    }

    /// Lets those in line go on while there is room.
    pub(super) fn serve(&mut self, now: Instant, line: Line) {
        let len = self.line(line).map_or(0, |line| line.len());
        let len = if line == Line::More { len.min(MORE_AT_ONCE) } else { len };
        for _ in 0..len {
            if !self.has_room(now, line) {
                break;
            }
            let Some(queue) = self.line(line).and_then(VecDeque::pop_front) else { break };
            self.leave(queue, line);
            self.staff(now, queue);
        }
        if let Line::Gate(gate) = line {
            self.rearm(now, gate);
        }
    }

    /// How many queues other than `me` stand in line with mail, and what the first of them has.
    pub(super) fn others_in(&mut self, line: Line, me: usize) -> Option<(usize, Holding)> {
        while let Some(front) = self.line(line)?.front().copied() {
            if self.queues.get(front).is_some_and(super::queue::Queue::wants_connection) {
                break;
            }
            self.line(line)?.pop_front();
            self.leave(front, line);
        }
        let me_too = usize::from(self.queues.get(me).is_some_and(|queue| queue.listed.0 & self.bit(me, line) != 0));
        let len = self.line(line)?.len().checked_sub(me_too).filter(|len| *len > 0)?;
        let queues = &self.queues;
        let wants = |at: &usize| queues.get(*at).filter(|queue| *at != me && queue.wants_connection());
        let line = match line {
            Line::Total => &self.line,
            Line::More => &self.more,
            Line::Site(at) => &self.sites.get(at)?.line,
            Line::Area(place) => &self.areas.get(place)?.as_ref()?.line,
            Line::Gate(at) => &self.gates.get(at)?.line,
        };
        line.iter().find_map(wants).map(|other| (len, other.holding()))
    }

    /// Says when those that wait for a token are to be looked at, if that is earlier than was said.
    pub(super) fn rearm(&mut self, now: Instant, at: usize) {
        let Some(gate) = self.gates.get_mut(at).filter(|gate| !gate.line.is_empty()) else { return };
        // More than may ever go at once are coming: each of them looks after it.
        let Some(when) = gate.meter.ready_at(now, gate.coming.saturating_add(1)) else { return };
        if gate.armed.is_some_and(|armed| armed <= when) {
            return;
        }
        gate.armed = Some(when);
        if self.timers.peek().is_none_or(|Reverse((first, _))| when < *first) {
            self.actions.push_back(Action::Rearm);
        }
        self.timers.push(Reverse((when, at)));
    }

    /// A connection that was coming for a token has come, or will not.
    pub(super) fn came(&mut self, now: Instant, gates: [Option<usize>; 2]) {
        for gate in gates.into_iter().flatten() {
            if self.has_room(now, Line::Gate(gate)) {
                self.serve(now, Line::Gate(gate));
            } else {
                self.rearm(now, gate);
            }
        }
    }

    /// The connection waits for leave to connect again, which this rate holds back.
    pub(super) fn wait_to_connect(&mut self, conn: ConnId, gate: usize) {
        let Some(connection) = self.connections.get_mut(conn.0 as usize) else { return };
        connection.waits_to_connect = Some(gate);
        if let Some(gate) = self.gates.get_mut(gate) {
            gate.coming += 1;
        }
    }

    /// It has leave, or needs none any more.
    pub(super) fn wait_no_more(&mut self, now: Instant, conn: ConnId) {
        let waited =
            self.connections.get_mut(conn.0 as usize).and_then(|connection| connection.waits_to_connect.take());
        let Some(at) = waited else { return };
        if let Some(gate) = self.gates.get_mut(at) {
            gate.coming -= 1;
        }
        self.came(now, [Some(at), None]);
    }

    /// Whether each of these rates lets one more go.
    pub(super) fn lets_go(&self, now: Instant, gates: [Option<usize>; 2]) -> bool {
        gates.into_iter().flatten().all(|at| self.gates.get(at).is_none_or(|gate| gate.meter.available(now) > 0))
    }

    pub(super) fn take_tokens(&mut self, at: Instant, gates: [Option<usize>; 2]) {
        for gate in gates.into_iter().flatten() {
            if let Some(gate) = self.gates.get_mut(gate) {
                gate.meter.take(at);
            }
        }
    }

    /// Tokens have come free.
    pub(super) fn serve_timers(&mut self, now: Instant) {
        while let Some(Reverse((when, at))) = self.timers.peek().copied()
            && when <= now
        {
            self.timers.pop();
            let Some(gate) = self.gates.get_mut(at).filter(|gate| gate.armed == Some(when)) else { continue };
            gate.armed = None;
            self.serve(now, Line::Gate(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_moves_only_to_where_it_does_more() {
        let has = |connections, waiting| Holding { connections, waiting };
        for (mine, theirs, yields) in [
            (has(1, 100), has(0, 100), false),
            (has(2, 100), has(0, 1), true),
            (has(2, 10), has(1, 28), false),
            (has(2, 10), has(1, 60), true),
            (has(1, 10), has(2, 1000), false),
            (has(5, 50), has(2, 50), true),
            (has(5, 50), has(4, 50), false),
            (has(20, 100), has(5, 100), true),
        ] {
            assert_eq!(mine.yields_to(theirs), yields, "{mine:?} {theirs:?}");
            let after = (has(mine.connections - 1, mine.waiting), has(theirs.connections + 1, theirs.waiting));
            assert!(!(yields && after.1.yields_to(after.0)), "{mine:?} {theirs:?}: it would come back at once");
        }
    }
}
