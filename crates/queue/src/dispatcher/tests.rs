use super::*;
use crate::{Directives, Rules};
use sluice_mail::{Clock, ManualClock};

/// Some instant: the tests count from it and never ask for the time again.
#[expect(clippy::disallowed_methods, reason = "an instant cannot be made without the clock")]
pub(super) fn start() -> Instant {
    let clock = ManualClock::new(Instant::now(), sluice_mail::UnixMs(0));
    clock.now()
}

pub(super) struct Bench {
    pub(super) now: Instant,
    pub(super) dispatcher: Dispatcher<u32>,
    pub(super) open: Vec<ConnId>,
    pub(super) woken: Vec<ConnId>,
    pub(super) rearmed: usize,
}

pub(super) fn limits() -> Limits {
    Limits {
        total_max_smtp_out: 1000,
        max_sites: 100,
        initial_destination_concurrency: 5,
        failed_cohort_limit: 1,
        dead_site_pause: Duration::from_secs(300),
        max_queued: 1000,
    }
}

fn general(general: Directives) -> Rules {
    Rules { general, ..Rules::default() }
}

impl Bench {
    fn new(limits: Limits) -> Self {
        Self::with(limits, Rules::default())
    }

    pub(super) fn with(limits: Limits, rules: Rules) -> Self {
        let dispatcher = Dispatcher::new(limits, Arc::new(Policy::new(rules)));
        Self { now: start(), dispatcher, open: Vec::new(), woken: Vec::new(), rearmed: 0 }
    }

    fn push(&mut self, site: &str, item: u32) -> Result<(), Diverted<u32>> {
        self.push_to(site, "other.example", item)
    }

    pub(super) fn push_to(&mut self, site: &str, domain: &str, item: u32) -> Result<(), Diverted<u32>> {
        self.push_of("a", site, domain, item)
    }

    pub(super) fn push_of(&mut self, account: &str, site: &str, domain: &str, item: u32) -> Result<(), Diverted<u32>> {
        let job = Job { account: account.into(), lane: sluice_mail::Lane::Bulk, bytes: 1, item };
        let result = self.dispatcher.push(self.now, &site.into(), &Host::parse(domain).unwrap(), job);
        self.act();
        result
    }

    pub(super) fn act(&mut self) {
        while let Some(action) = self.dispatcher.poll_action() {
            match action {
                Action::Open(conn) => self.open.push(conn),
                Action::Wake(conn) => self.woken.push(conn),
                Action::Rearm => self.rearmed += 1,
            }
        }
    }

    pub(super) fn next(&mut self, conn: ConnId) -> Next<u32> {
        let next = self.dispatcher.next(self.now, conn, &|_| true);
        self.act();
        next
    }

    pub(super) fn report(&mut self, conn: ConnId, feedback: Feedback) -> Vec<Diverted<u32>> {
        let diverted = self.dispatcher.report(self.now, conn, feedback);
        self.act();
        diverted
    }

    /// Every connection of a window full fails.
    fn make_dead(&mut self, site: &str) {
        for i in 0..5 {
            self.push(site, i).unwrap();
        }
        for conn in self.open.clone() {
            self.next(conn);
            self.report(conn, Feedback::Bad);
            self.close(conn);
        }
    }

    pub(super) fn close(&mut self, conn: ConnId) {
        self.open.retain(|c| *c != conn);
        self.dispatcher.closed(self.now, conn);
        self.act();
    }
}

#[test]
fn one_connection_for_each_envelope_up_to_the_window() {
    let mut bench = Bench::new(limits());
    for i in 0..3 {
        bench.push("x", i).unwrap();
    }
    assert_eq!(bench.open.len(), 3);
    for i in 3..20 {
        bench.push("x", i).unwrap();
    }
    assert_eq!(bench.open.len(), 5, "initial_destination_concurrency");
    for conn in bench.open.clone() {
        assert!(matches!(bench.next(conn), Next::Job(_)));
    }
    assert_eq!(bench.dispatcher.stats().queued, 15);
}

#[test]
fn successes_under_load_open_more_connections_up_to_max_smtp_out() {
    let mut bench = Bench::new(limits());
    let mut item = 0;
    for _ in 0..3000 {
        while bench.dispatcher.stats().queued < 50 {
            item += 1;
            bench.push("x", item).unwrap();
        }
        for conn in bench.open.clone() {
            match bench.next(conn) {
                Next::Job(_) => assert!(bench.report(conn, Feedback::Good).is_empty()),
                Next::Idle => {}
                Next::Quit => bench.close(conn),
            }
        }
        assert!(bench.open.len() <= 20);
    }
    assert_eq!(bench.open.len(), 20);
}

#[test]
fn a_busy_connection_gets_one_ahead_only_when_all_have_enough() {
    let mut bench = Bench::new(limits());
    for i in 0..10 {
        bench.push("x", i).unwrap();
    }
    let conns = bench.open.clone();
    assert_eq!(bench.dispatcher.ahead(bench.now, conns[0], &|_| true), None, "not before its first");
    for conn in &conns {
        bench.next(*conn);
    }
    assert_eq!(bench.dispatcher.ahead(bench.now, conns[0], &|_| true), None, "5 wait for 5 connections");
    bench.push("x", 10).unwrap();
    assert!(bench.dispatcher.ahead(bench.now, conns[0], &|_| true).is_some());
    assert_eq!(bench.dispatcher.stats().queued, 5);
}

#[test]
fn an_idle_connection_is_woken_before_another_is_opened() {
    let mut bench = Bench::new(limits());
    bench.push("x", 1).unwrap();
    let conn = bench.open[0];
    assert_eq!(bench.next(conn), Next::Job(1));
    assert_eq!(bench.next(conn), Next::Idle);
    bench.push("x", 2).unwrap();
    assert_eq!((bench.open.len(), &bench.woken[..]), (1, &[conn][..]));
    assert_eq!(bench.next(conn), Next::Job(2));
}

#[test]
fn a_connection_that_ends_while_it_is_woken_is_replaced() {
    let mut bench = Bench::new(limits());
    bench.push("x", 1).unwrap();
    let conn = bench.open[0];
    bench.next(conn);
    bench.next(conn);
    bench.push("x", 2).unwrap();
    bench.close(conn);
    assert_eq!(bench.open.len(), 1);
    assert_eq!(bench.next(bench.open[0]), Next::Job(2));
}

#[test]
fn a_connection_ends_after_max_msg_per_connection() {
    let rules = general(Directives { max_msg_per_connection: Some(2), ..Directives::default() });
    let mut bench = Bench::with(limits(), rules);
    for i in 0..3 {
        bench.push("x", i).unwrap();
    }
    let conn = bench.open[0];
    assert!(matches!(bench.next(conn), Next::Job(_)));
    assert!(matches!(bench.next(conn), Next::Job(_)));
    assert_eq!(bench.next(conn), Next::Quit);
}

#[test]
fn failed_connections_make_a_site_dead_and_its_mail_is_diverted_untried() {
    let mut bench = Bench::new(limits());
    for i in 0..50 {
        bench.push("dead", i).unwrap();
    }
    let mut tried = 0;
    let mut diverted = Vec::new();
    while let Some(conn) = bench.open.first().copied() {
        let Next::Job(_) = bench.next(conn) else { break };
        tried += 1;
        diverted.extend(bench.report(conn, Feedback::Bad));
        bench.close(conn);
    }
    assert!((4..=5).contains(&tried), "{tried}");
    assert_eq!(diverted.len() + tried, 50);
    assert!(diverted.iter().all(|d| d.eta == Duration::from_secs(300)));
    assert_eq!(bench.push("dead", 99).unwrap_err().eta, Duration::from_secs(300));
    let before = bench.open.len();
    bench.push("alive", 100).unwrap();
    assert_eq!(bench.open.len(), before + 1, "another site is not concerned");
}

#[test]
fn a_dead_site_gets_one_probe_and_lives_again_when_it_succeeds() {
    let mut bench = Bench::new(limits());
    bench.make_dead("x");
    bench.now += Duration::from_secs(300);
    for i in 10..20 {
        bench.push("x", i).unwrap();
    }
    assert_eq!(bench.open.len(), 1, "the probe");
    let probe = bench.open[0];
    assert!(matches!(bench.next(probe), Next::Job(_)));
    let failed = { bench.report(probe, Feedback::Bad).len() };
    assert_eq!(failed, 9, "a failed probe: dead again");
    bench.close(probe);
    bench.now += Duration::from_secs(301);
    for i in 20..40 {
        bench.push("x", i).unwrap();
    }
    let probe = bench.open[0];
    bench.next(probe);
    bench.report(probe, Feedback::Good);
    assert_eq!(bench.open.len(), 5);
}

#[test]
fn an_operators_word_ends_the_pause_of_a_dead_site() {
    let mut bench = Bench::new(limits());
    bench.make_dead("x");
    assert!(bench.push("x", 6).is_err(), "it is dead");
    bench.dispatcher.revive(bench.now);
    bench.push("x", 7).unwrap();
    bench.push("x", 8).unwrap();
    assert_eq!(bench.open.len(), 1, "one tries whether it lives");
}

#[test]
fn what_exceeds_a_sites_queue_is_diverted_for_as_long_as_the_queue_lasts() {
    let mut bench = Bench::new(limits());
    for i in 0..1000 {
        bench.push("x", i).unwrap();
    }
    let conn = bench.open[0];
    for i in 0..100 {
        bench.next(conn);
        bench.push("x", 1000 + i).unwrap();
        bench.now += Duration::from_millis(100);
    }
    let eta = bench.push("x", 5000).unwrap_err().eta;
    assert!((80..=120).contains(&eta.as_secs()), "1000 at 10 a second: {eta:?}");
}

#[test]
fn what_exceeds_the_queue_of_a_new_site_comes_again_soon() {
    let mut bench = Bench::new(limits());
    for i in 0..1000 {
        bench.push("x", i).unwrap();
    }
    assert_eq!(bench.push("x", 5000).unwrap_err().eta, Duration::from_secs(2));
    bench.now += Duration::from_millis(200);
    bench.next(bench.open[0]);
    bench.push("x", 5001).unwrap();
    assert_eq!(bench.push("x", 5002).unwrap_err().eta, Duration::from_secs(2), "one taken tells little");
}

#[test]
fn a_quick_site_may_have_more_waiting_also_after_a_pause() {
    let rules = general(Directives { max_msg_per_connection: Some(0), ..Directives::default() });
    let mut bench = Bench::with(limits(), rules);
    bench.push("x", 0).unwrap();
    bench.next(bench.open[0]);
    bench.now += Duration::from_secs(1000);
    for i in 0..1000 {
        bench.push("x", i).unwrap();
    }
    let conn = bench.open[0];
    for _ in 0..500 {
        assert!(matches!(bench.next(conn), Next::Job(_)));
        bench.now += Duration::from_millis(1);
    }
    for i in 0..500 {
        bench.push("x", i).unwrap();
    }
    bench.push("x", 5000).expect("1000 at a thousand a second");
}

#[test]
fn a_site_alone_may_have_most_connections_and_gives_them_up_when_others_come() {
    let mut limits = limits();
    limits.total_max_smtp_out = 24;
    limits.initial_destination_concurrency = 30;
    let rules = general(Directives { max_smtp_out: Some(30), ..Directives::default() });
    let mut bench = Bench::with(limits, rules);
    for i in 0..500 {
        bench.push("large", i).unwrap();
    }
    assert_eq!(bench.open.len(), 23, "all but one, which is for the next site");
    let large = bench.open.clone();
    for conn in &large {
        assert!(matches!(bench.next(*conn), Next::Job(_)));
    }
    for i in 0..3 {
        bench.push(&format!("site {i}"), 1000 + i).unwrap();
    }
    assert_eq!(bench.open.len(), 24, "the total is used up");
    assert_eq!(bench.next(bench.open[23]), Next::Job(1000));
    let answers: Vec<_> = large.iter().map(|conn| bench.next(*conn)).collect();
    assert_eq!(answers.iter().filter(|answer| **answer == Next::Quit).count(), 2, "one for each that waits");
    for (conn, answer) in large.iter().zip(answers) {
        if answer == Next::Quit {
            bench.close(*conn);
        }
    }
    let last = bench.open.len() - 2;
    assert_eq!([bench.next(bench.open[last]), bench.next(bench.open[last + 1])], [Next::Job(1001), Next::Job(1002)]);
}

#[test]
fn many_sites_share_the_connections_evenly_and_use_them_all() {
    let mut limits = limits();
    limits.total_max_smtp_out = 64;
    let mut bench = Bench::new(limits);
    let mut item = 0;
    let mut feed = |bench: &mut Bench| {
        for site in 0..20 {
            item += 1;
            let _ = bench.push(&format!("site {site}"), item);
        }
    };
    for _ in 0..200 {
        feed(&mut bench);
    }
    for round in 0..60 {
        feed(&mut bench);
        bench.now += Duration::from_millis(400);
        for conn in bench.open.clone() {
            match bench.next(conn) {
                Next::Job(_) => _ = bench.report(conn, Feedback::Good),
                Next::Idle => {}
                Next::Quit => bench.close(conn),
            }
        }
        assert!(round < 10 || bench.open.len() >= 60, "round {round}: {}", bench.open.len());
    }
    let counts: Vec<_> = bench.dispatcher.queues.iter().map(|(_, queue)| queue.connections).collect();
    assert!(counts.iter().all(|count| (2..=4).contains(count)), "{counts:?}");
}

#[test]
fn long_idle_connections_make_way_for_a_site_that_has_much_more_to_send() {
    let mut limits = limits();
    limits.total_max_smtp_out = 12;
    let mut bench = Bench::new(limits);
    for i in 0..5 {
        bench.push("done", i).unwrap();
        bench.push("other", 100 + i).unwrap();
    }
    for conn in bench.open.clone() {
        assert!(matches!(bench.next(conn), Next::Job(_)));
        bench.report(conn, Feedback::Good);
    }
    for conn in bench.open.clone() {
        assert_eq!(bench.next(conn), Next::Idle);
    }
    bench.push("large", 1000).unwrap();
    for i in 1001..1100 {
        bench.push("large", i).unwrap();
    }
    let large = bench.open[10];
    assert_eq!(bench.open.len(), 11, "two of twelve were free, and one is kept");
    assert!(matches!(bench.next(large), Next::Job(_)));
    assert!(bench.woken.is_empty(), "the others have been idle for a moment only");
    bench.now += Duration::from_secs(2);
    assert!(matches!(bench.next(large), Next::Job(_)));
    assert_eq!(bench.woken.len(), 1);
    let conn = bench.woken[0];
    assert_eq!(bench.next(conn), Next::Quit);
    bench.close(conn);
    assert_eq!(bench.open.len(), 11, "its place goes to the site with mail");
    assert!(matches!(bench.next(bench.open[10]), Next::Job(1002)));
}

#[test]
fn an_idle_connection_gives_its_place_to_a_site_without_one() {
    let mut limits = limits();
    limits.total_max_smtp_out = 1;
    let mut bench = Bench::new(limits);
    bench.push("x", 1).unwrap();
    let conn = bench.open[0];
    bench.next(conn);
    assert_eq!(bench.next(conn), Next::Idle);
    bench.push("y", 2).unwrap();
    assert_eq!(bench.woken, [conn]);
    assert_eq!(bench.next(conn), Next::Quit);
    bench.close(conn);
    assert_eq!(bench.next(bench.open[0]), Next::Job(2));
}

#[test]
fn a_connection_that_may_carry_nothing_of_what_waits_ends() {
    let mut bench = Bench::new(limits());
    bench.push("x", 1).unwrap();
    let conn = bench.open[0];
    assert_eq!(bench.dispatcher.next(bench.now, conn, &|_| false), Next::Quit);
    bench.close(conn);
    assert_eq!(bench.next(bench.open[0]), Next::Job(1), "and a fresh one is opened");
}

#[test]
fn a_drain_gives_back_what_waits_and_ends_connections() {
    let mut bench = Bench::new(limits());
    for i in 0..10 {
        bench.push("x", i).unwrap();
    }
    let conn = bench.open[0];
    bench.next(conn);
    assert_eq!(bench.dispatcher.drain().len(), 9);
    assert_eq!(bench.next(conn), Next::Quit);
    for conn in bench.open.clone() {
        bench.close(conn);
    }
    assert_eq!(bench.dispatcher.stats(), Stats { sites: 1, ..Stats::default() });
}

#[test]
fn sites_are_bounded_and_forgotten() {
    let mut limits = limits();
    limits.max_sites = 2;
    let mut bench = Bench::new(limits);
    bench.push("x", 1).unwrap();
    bench.push("y", 2).unwrap();
    assert!(bench.push("z", 3).is_err(), "both are in use");
    let conn = bench.open[0];
    bench.next(conn);
    bench.close(conn);
    bench.push("z", 3).unwrap();
    bench.now += Duration::from_secs(3600);
    for conn in bench.open.clone() {
        bench.next(conn);
        bench.close(conn);
    }
    bench.now += Duration::from_secs(3600);
    bench.dispatcher.forget_unused(bench.now);
    assert_eq!(bench.dispatcher.stats().sites, 0);
}
