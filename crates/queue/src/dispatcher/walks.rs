//! A small world in simulated time: mail comes, couriers carry it, rates and caps hold. Whatever happens, no cap is
//! exceeded, nothing is lost, and nothing waits while all that it needs is free.

use std::collections::HashMap;

use super::tests::{Bench, limits};
use super::*;
use crate::{Directives, Rules};
use sluice_mail::{Domain, Rate};

const SITES: [&str; 3] = ["a.example", "b.example", "c.example"];
const DOMAINS: [&str; 6] =
    ["plain.example", "rated.example", "one.example", "calls.example", "wide.example", "x.example"];

fn rate(text: &str) -> Option<Option<Rate>> {
    Some(Some(text.parse().unwrap()))
}

/// Site b has limits by name; each domain but the first and last has a limit of its own.
fn rules() -> Rules {
    let own = Directives::default;
    let domain = |name| Domain::parse(name).unwrap();
    Rules {
        general: Directives { max_smtp_out: Some(6), max_msg_rate: rate("300/s"), ..own() },
        sites: vec![(
            "b.example".into(),
            Directives {
                max_smtp_out: Some(3),
                max_msg_rate: rate("40/s"),
                max_connect_rate: rate("10/s"),
                max_msg_per_connection: Some(7),
                ..own()
            },
        )],
        domains: vec![
            (domain("rated.example"), Directives { max_msg_rate: rate("10/s"), ..own() }),
            (domain("one.example"), Directives { max_smtp_out: Some(1), ..own() }),
            (domain("calls.example"), Directives { max_connect_rate: rate("30/m"), ..own() }),
            (domain("wide.example"), Directives { max_smtp_out: Some(12), max_msg_rate: Some(None), ..own() }),
        ],
        ..Rules::default()
    }
}

/// How many connections at once, messages and connections in a time: what the rules come to.
type Cap = (u32, Option<Rate>, Option<Rate>);

fn cap_of_site(site: &str) -> Cap {
    match site {
        "b.example" => (3, "40/s".parse().ok(), "10/s".parse().ok()),
        _ => (6, "300/s".parse().ok(), None),
    }
}

fn cap_of_domain(domain: &str) -> Cap {
    match domain {
        "rated.example" => (99, "10/s".parse().ok(), None),
        "one.example" => (1, None, None),
        "calls.example" => (99, None, "30/m".parse().ok()),
        "wide.example" => (12, None, None),
        _ => (99, None, None),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Coming,
    Busy,
    Idle(u64),
    Ending,
}

#[derive(Clone, Debug)]
struct Courier {
    doing: Doing,
    opened: Instant,
    to: Option<(usize, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Mail(u32),
    Ask(u32, u64),
    Connect(u32, u64),
    Bored(u32, u64),
    End(u32, u64),
}

struct World {
    bench: Bench,
    seed: u64,
    state: u64,
    events: BinaryHeap<Reverse<(Instant, Event)>>,
    couriers: HashMap<u32, Courier>,
    /// Stamps tell events of an earlier holder of an id from those of the present one.
    stamps: HashMap<u32, u64>,
    stamp: u64,
    alarm: Option<Instant>,
    mail: Vec<(usize, usize)>,
    handed: Vec<(Instant, u32)>,
    connects: Vec<(Instant, (usize, usize))>,
    waiting: u32,
    failures: bool,
    total: u32,
}

impl World {
    fn new(seed: u64, failures: bool) -> Self {
        let mut limits = limits();
        let state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        limits.total_max_smtp_out = [2, 5, 9, 40][(seed % 4) as usize];
        limits.max_queued = [3, 50, 1000][(seed % 3) as usize];
        limits.dead_site_pause = Duration::from_secs(20);
        let total = limits.total_max_smtp_out;
        let bench = Bench::with(limits, rules());
        Self {
            bench,
            seed,
            state,
            events: BinaryHeap::new(),
            couriers: HashMap::new(),
            stamps: HashMap::new(),
            stamp: 0,
            alarm: None,
            mail: Vec::new(),
            handed: Vec::new(),
            connects: Vec::new(),
            waiting: 0,
            failures,
            total,
        }
    }

    fn random(&mut self, n: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % n
    }

    fn after_ms(&mut self, max: u64, event: Event) {
        let at = self.bench.now + Duration::from_micros(self.random(max * 1000 + 1));
        self.events.push(Reverse((at, event)));
    }

    fn stamped(&mut self, id: u32) -> u64 {
        self.stamp += 1;
        self.stamps.insert(id, self.stamp);
        self.stamp
    }

    /// What the shell does after each call.
    fn act(&mut self) {
        for conn in std::mem::take(&mut self.bench.open) {
            let opened = self.bench.now;
            let before = self.couriers.insert(conn.0, Courier { doing: Doing::Coming, opened, to: None });
            assert!(before.is_none(), "seed {}", self.seed);
            let stamp = self.stamped(conn.0);
            self.after_ms(2, Event::Ask(conn.0, stamp));
        }
        for conn in std::mem::take(&mut self.bench.woken) {
            let courier = self.couriers.get_mut(&conn.0).unwrap();
            assert_ne!(courier.doing, Doing::Ending, "seed {}: woken after it retired", self.seed);
            if matches!(courier.doing, Doing::Idle(_)) {
                courier.doing = Doing::Coming;
                let stamp = self.stamped(conn.0);
                self.after_ms(2, Event::Ask(conn.0, stamp));
            }
        }
        if std::mem::take(&mut self.bench.rearmed) > 0 {
            self.alarm = self.bench.dispatcher.poll_timeout();
        }
        self.check();
    }

    /// The caps, as the peers see them, and that nothing is lost.
    fn check(&self) {
        let seed = self.seed;
        let stats = self.bench.dispatcher.stats();
        assert_eq!(stats.connections, self.couriers.len(), "seed {seed}");
        assert!(stats.connections <= self.total as usize, "seed {seed}");
        assert!(stats.idle <= stats.connections, "seed {seed}");
        assert_eq!(stats.queued + self.handed.len() + self.waiting as usize, self.mail.len(), "seed {seed}: lost");
        for (at, site) in SITES.iter().enumerate() {
            let (max, ..) = cap_of_site(site);
            let of_site = self.couriers.values().filter_map(|c| c.to).filter(|to| to.0 == at);
            // The wide domain's own limit holds instead of the general one, never instead of one by name.
            let counted = of_site.filter(|to| *site == "b.example" || DOMAINS[to.1] != "wide.example").count();
            assert!(counted <= max as usize, "seed {seed}: {counted} to {site}");
        }
        for (at, domain) in DOMAINS.iter().enumerate() {
            let (max, ..) = cap_of_domain(domain);
            let count = self.couriers.values().filter_map(|c| c.to).filter(|to| to.1 == at).count();
            assert!(count <= max as usize, "seed {seed}: {count} to {domain}");
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Mail(item) => {
                let (site, domain) = self.mail[item as usize];
                self.waiting -= 1;
                let account = ["x", "y"][(item % 2) as usize];
                if let Err(diverted) = self.bench.push_of(account, SITES[site], DOMAINS[domain], item) {
                    self.bring_again(diverted);
                }
            }
            Event::Ask(id, stamp) if self.stamps.get(&id) == Some(&stamp) => self.ask(id),
            Event::Bored(id, stamp) if self.stamps.get(&id) == Some(&stamp) => {
                if self.bench.dispatcher.retire(ConnId(id)) {
                    self.bench.act();
                    self.couriers.get_mut(&id).unwrap().doing = Doing::Ending;
                    let stamp = self.stamped(id);
                    self.after_ms(10_000, Event::End(id, stamp));
                } else {
                    self.ask(id);
                }
            }
            Event::End(id, stamp) if self.stamps.get(&id) == Some(&stamp) => {
                self.couriers.remove(&id);
                self.stamps.remove(&id);
                self.bench.close(ConnId(id));
            }
            Event::Connect(id, stamp) if self.stamps.get(&id) == Some(&stamp) => self.connect_again(id, stamp),
            Event::Ask(..) | Event::Connect(..) | Event::Bored(..) | Event::End(..) => {}
        }
    }

    fn bring_again(&mut self, diverted: Diverted<u32>) {
        assert!(diverted.eta > Duration::ZERO);
        self.waiting += 1;
        let at = self.bench.now + diverted.eta;
        self.events.push(Reverse((at, Event::Mail(diverted.item))));
    }

    fn ask(&mut self, id: u32) {
        let conn = ConnId(id);
        if self.failures && self.random(50) == 0 {
            // Cut off before it came to ask.
            let stamp = self.stamped(id);
            return self.handle(Event::End(id, stamp));
        }
        let refuses = self.couriers[&id].to.is_some() && self.random(40) == 0;
        let next = self.bench.dispatcher.next(self.bench.now, conn, &|_| !refuses);
        self.bench.act();
        let stamp = self.stamped(id);
        let now = self.bench.now;
        match next {
            Next::Job(item) => {
                self.handed.push((now, item));
                let to = self.mail[item as usize];
                let courier = self.couriers.get_mut(&id).unwrap();
                courier.doing = Doing::Busy;
                if courier.to.is_none() {
                    courier.to = Some(to);
                    let opened = courier.opened;
                    self.connects.push((opened, to));
                }
                let queue = |to: (usize, usize)| (to.0, to.1 % 5);
                assert_eq!(self.couriers[&id].to.map(queue), Some(queue(to)), "a connection carries mail of one queue");
                self.carry(id, stamp);
            }
            Next::Idle => {
                self.couriers.get_mut(&id).unwrap().doing = Doing::Idle(stamp);
                // One that never connected ends at once, as couriers do.
                let patience = if self.couriers[&id].to.is_none() { 0 } else { 5000 };
                let at = now + Duration::from_millis(patience);
                self.events.push(Reverse((at, Event::Bored(id, stamp))));
            }
            Next::Quit => {
                self.couriers.get_mut(&id).unwrap().doing = Doing::Ending;
                self.after_ms(50, Event::End(id, stamp));
            }
        }
    }

    fn carry(&mut self, id: u32, stamp: u64) {
        let (conn, now) = (ConnId(id), self.bench.now);
        if self.random(20) == 0 {
            return self.connect_again(id, stamp);
        }
        let bad = self.failures && self.random(6) == 0;
        let feedback = if bad { Feedback::Bad } else { Feedback::Good };
        for diverted in self.bench.report(conn, feedback) {
            self.bring_again(diverted);
        }
        if bad {
            return self.after_ms(30, Event::End(id, stamp));
        }
        if self.random(3) == 0
            && let Some(item) = self.bench.dispatcher.ahead(now, conn, &|_| true)
        {
            self.handed.push((now, item));
        }
        self.bench.act();
        let max = if self.random(30) == 0 { 4000 } else { 60 };
        self.after_ms(max, Event::Ask(id, stamp));
    }

    fn connect_again(&mut self, id: u32, stamp: u64) {
        let now = self.bench.now;
        if self.failures && self.random(30) == 0 {
            // Cut off while it waits.
            return self.handle(Event::End(id, stamp));
        }
        let answer = self.bench.dispatcher.reconnect(now, ConnId(id));
        self.bench.act();
        match answer {
            Reconnect::Now => {
                let to = self.couriers[&id].to.unwrap();
                self.connects.push((now, to));
                self.events.push(Reverse((now + Duration::from_millis(5), Event::Ask(id, stamp))));
            }
            Reconnect::At(at) => {
                assert!(at > now, "seed {}: spins", self.seed);
                self.events.push(Reverse((at, Event::Connect(id, stamp))));
            }
            Reconnect::Never => panic!("seed {}: nothing ends", self.seed),
        }
    }

    /// Lets time pass until nothing is left to do. The time it took.
    fn run(&mut self, longest: Duration) -> Duration {
        let began = self.bench.now;
        loop {
            let next = self.events.peek().map(|Reverse((at, _))| *at);
            let Some(at) = next.into_iter().chain(self.alarm).min() else { break };
            assert!(at < began + longest, "seed {}: {:?}", self.seed, self.bench.dispatcher);
            self.bench.now = self.bench.now.max(at);
            if self.alarm.is_some_and(|alarm| alarm <= self.bench.now) {
                self.bench.dispatcher.handle_timeout(self.bench.now);
                self.bench.act();
                self.alarm = self.bench.dispatcher.poll_timeout();
                assert!(self.alarm.is_none_or(|alarm| alarm > self.bench.now), "seed {}: spins", self.seed);
            } else if let Some(Reverse((_, event))) = self.events.pop() {
                self.handle(event);
            }
            self.act();
            self.check_nothing_is_stranded();
        }
        self.bench.now.duration_since(began)
    }

    /// Every queue with mail has a connection that will ask, or something that it lacks.
    fn check_nothing_is_stranded(&mut self) {
        let now = self.bench.now;
        let dispatcher = &self.bench.dispatcher;
        for (at, queue) in dispatcher.queues.iter().filter(|(_, queue)| queue.wants_connection()) {
            let asks = |(id, c): (&u32, &Courier)| {
                let of = dispatcher.connection(ConnId(*id)).map(|connection| connection.queue);
                of == Some(at) && !matches!(c.doing, Doing::Idle(_))
            };
            if self.couriers.iter().any(asks) {
                continue;
            }
            let site = dispatcher.sites.get(queue.site).unwrap();
            let area = queue.domain.and_then(|place| dispatcher.areas[place].as_ref());
            let no_room = !site.has_room(queue.terms.counts)
                || area.is_some_and(|area| !area.has_room())
                || dispatcher.is_full()
                || dispatcher.closed_gate(now, queue.terms.connects).is_some();
            // A token that a connection is coming for is none.
            let gates = queue.terms.messages.iter().flatten().filter_map(|at| dispatcher.gates.get(*at));
            let closed: Vec<_> = gates.filter(|gate| !gate.has_room(now)).collect();
            let no_token = !closed.is_empty();
            let no_connection = queue.idle.is_empty() && no_room;
            assert!(no_token || no_connection, "seed {}: {queue:?}", self.seed);
            if !no_connection {
                let someone_comes = closed.iter().any(|gate| gate.coming > 0);
                assert!(someone_comes || self.alarm.is_some(), "seed {}: nobody looks when a token comes", self.seed);
            }
        }
    }

    fn check_rates(&self) {
        let most = |times: &mut Vec<Instant>, rate: Rate| {
            times.sort_unstable();
            let within = |(i, from): (usize, &Instant)| times[i..].partition_point(|at| *at < *from + rate.per);
            times.iter().enumerate().map(within).max().unwrap_or(0)
        };
        let check = |name: &str, cap: Cap, which: &dyn Fn((usize, usize)) -> bool| {
            let (_, messages, connects) = cap;
            if let Some(rate) = messages {
                let of = self.handed.iter().filter(|(_, item)| which(self.mail[*item as usize]));
                let most = most(&mut of.map(|(at, _)| *at).collect(), rate);
                assert!(most <= rate.count as usize, "seed {}: {most} messages to {name} at {rate}", self.seed);
            }
            if let Some(rate) = connects {
                let of = self.connects.iter().filter(|(_, to)| which(*to));
                let most = most(&mut of.map(|(at, _)| *at).collect(), rate);
                assert!(most <= rate.count as usize, "seed {}: {most} connections to {name} at {rate}", self.seed);
            }
        };
        for (at, site) in SITES.iter().enumerate() {
            let counts = |to: (usize, usize)| to.0 == at && (*site == "b.example" || DOMAINS[to.1] != "wide.example");
            check(site, cap_of_site(site), &counts);
        }
        for (at, domain) in DOMAINS.iter().enumerate() {
            check(domain, cap_of_domain(domain), &|to| to.1 == at);
        }
    }
}

fn walk(seed: u64, failures: bool, messages: u32) {
    let mut world = World::new(seed, failures);
    let sites = if seed.is_multiple_of(2) { 3 } else { 2 };
    for item in 0..messages {
        let to = (world.random(sites) as usize, world.random(DOMAINS.len() as u64) as usize);
        world.mail.push(to);
        world.waiting += 1;
        let spread = if seed.is_multiple_of(5) { 10 } else { 8000 };
        world.after_ms(spread, Event::Mail(item));
    }
    world.run(Duration::from_secs(6 * 3600));
    assert_eq!(world.handed.len(), messages as usize, "seed {seed}");
    let mut handed: Vec<_> = world.handed.iter().map(|(_, item)| *item).collect();
    handed.sort_unstable();
    assert!(handed.iter().copied().eq(0..messages), "seed {seed}: one twice");
    assert!(world.couriers.is_empty() && world.bench.dispatcher.going == 0 && world.bench.dispatcher.spare == 0);
    world.check_rates();
}

#[test]
fn whatever_happens_caps_hold_and_all_mail_goes() {
    for seed in 1..40 {
        walk(seed, false, 300);
    }
}

#[test]
fn with_failing_connections_too() {
    for seed in 1000..1040 {
        walk(seed, true, 200);
    }
}
