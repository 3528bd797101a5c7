//! What an operator's limits do to mail.

use super::tests::{Bench, limits};
use super::*;
use crate::{Directives, Rules};
use sluice_mail::{Domain, Rate};

fn rate(text: &str) -> Option<Option<Rate>> {
    Some(Some(text.parse().unwrap()))
}

fn domain(name: &str, directives: Directives) -> Rules {
    Rules { domains: vec![(Domain::parse(name).unwrap(), directives)], ..Rules::default() }
}

fn messages(text: &str) -> Directives {
    Directives { max_msg_rate: rate(text), ..Directives::default() }
}

impl Bench {
    /// Lets `time` pass in steps of a millisecond; each message takes one. How many were handed out.
    fn pass(&mut self, time: Duration) -> usize {
        let until = self.now + time;
        let mut handed = 0;
        while self.now < until {
            self.now += Duration::from_millis(1);
            if self.dispatcher.poll_timeout().is_some_and(|at| at <= self.now) {
                self.dispatcher.handle_timeout(self.now);
                self.act();
            }
            self.woken.clear();
            for conn in self.open.clone() {
                if self.dispatcher.connection(conn).is_some_and(|c| c.state == ConnState::Idle && !c.going) {
                    continue;
                }
                match self.next(conn) {
                    Next::Job(_) => handed += 1,
                    Next::Idle => {}
                    Next::Quit => self.close(conn),
                }
            }
        }
        handed
    }
}

#[test]
fn without_rates_nobody_has_to_look_at_the_clock() {
    let mut bench = Bench::with(limits(), Rules::default());
    for i in 0..500 {
        bench.push_to("x", "example.org", i).unwrap();
    }
    assert_eq!(bench.pass(Duration::from_secs(1)), 500);
    assert_eq!((bench.rearmed, bench.dispatcher.poll_timeout()), (0, None));
}

#[test]
fn a_rate_is_used_up_evenly_and_not_exceeded() {
    for (text, seconds, least, most) in [("10/s", 10, 96, 100), ("100/s", 10, 960, 1000), ("30/m", 120, 59, 60)] {
        let rules = Rules { general: messages(text), ..Rules::default() };
        let mut bench = Bench::with(limits(), rules);
        for i in 0..1000 {
            // What is too much comes again later.
            let _ = bench.push_to("x", "example.org", i);
        }
        let mut handed = 0;
        for second in 0..seconds {
            handed += bench.pass(Duration::from_secs(1));
            for i in 0..100 {
                let _ = bench.push_to("x", "example.org", 1000 + second * 100 + i);
            }
        }
        assert!((least..=most).contains(&handed), "{text}: {handed}");
        assert!(bench.open.len() <= 5, "{text}: {} connections", bench.open.len());
    }
}

#[test]
fn a_paused_domain_sends_nothing_and_its_neighbours_go_on() {
    for paused in [
        messages("0"),
        Directives { max_connect_rate: rate("0"), ..Directives::default() },
        Directives { max_smtp_out: Some(0), ..Directives::default() },
    ] {
        let mut bench = Bench::with(limits(), domain("paused.example", paused));
        assert_eq!(bench.push_to("x", "paused.example", 1).unwrap_err().eta, PAUSED);
        bench.push_to("x", "other.example", 2).unwrap();
        assert_eq!(bench.pass(Duration::from_millis(10)), 1);
        assert_eq!(bench.dispatcher.stats().queued, 0);
    }
}

#[test]
fn a_rated_domain_holds_up_no_other_domain_of_its_site() {
    let mut bench = Bench::with(limits(), domain("rated.example", messages("60/m")));
    for i in 0..30 {
        bench.push_to("x", "rated.example", i).unwrap();
    }
    for i in 100..600 {
        bench.push_to("x", "other.example", i).unwrap();
    }
    assert!(bench.pass(Duration::from_secs(1)) >= 500, "the others do not wait");
    assert_eq!(bench.dispatcher.stats().queued, 28, "one at once, the next a second later but for the slack");
    assert_eq!(bench.pass(Duration::from_millis(9500)), 9);
}

#[test]
fn an_idle_connection_of_a_rated_domain_makes_way() {
    let mut rules = domain("rated.example", messages("60/m"));
    rules.general.max_smtp_out = Some(1);
    let mut bench = Bench::with(limits(), rules);
    bench.push_to("x", "rated.example", 1).unwrap();
    bench.push_to("x", "rated.example", 2).unwrap();
    assert_eq!(bench.pass(Duration::from_millis(5)), 1);
    assert_eq!(bench.dispatcher.stats().idle, 1, "it waits for its token");
    bench.push_to("x", "other.example", 3).unwrap();
    let conn = bench.open[0];
    assert_eq!(bench.woken, [conn]);
    assert_eq!(bench.next(conn), Next::Quit);
    bench.close(conn);
    assert_eq!(bench.next(bench.open[0]), Next::Job(3));
    assert_eq!(bench.pass(Duration::from_millis(1100)), 1, "and the second of the rated domain in its time");
}

#[test]
fn two_domains_with_plenty_of_mail_share_the_connections_of_their_site() {
    let own = Directives { max_smtp_out: Some(20), ..Directives::default() };
    let mut bench = Bench::with(limits(), domain("own.example", own));
    for i in 0..500 {
        bench.push_to("x", "other.example", i).unwrap();
    }
    for conn in bench.open.clone() {
        bench.next(conn);
    }
    assert_eq!(bench.open.len(), 5);
    for i in 500..1000 {
        bench.push_to("x", "own.example", i).unwrap();
    }
    let answers: Vec<_> = bench.open.clone().into_iter().map(|conn| bench.next(conn)).collect();
    assert_eq!(answers.iter().filter(|answer| **answer == Next::Quit).count(), 1, "one ends for one that waits");
    for _ in 0..5 {
        for conn in bench.open.clone() {
            if bench.next(conn) == Next::Quit {
                bench.close(conn);
            }
        }
    }
    let queue = |at: usize| bench.dispatcher.queues.get(at).unwrap().connections;
    assert_eq!((queue(0) + queue(1), queue(0).abs_diff(queue(1))), (5, 1));
}

#[test]
fn a_domains_connections_are_bounded_over_all_its_sites() {
    let own = Directives { max_smtp_out: Some(2), ..Directives::default() };
    let mut bench = Bench::with(limits(), domain("own.example", own));
    for i in 0..10 {
        bench.push_to("x", "own.example", i).unwrap();
        bench.push_to("y", "own.example", 100 + i).unwrap();
        bench.push_to("y", "other.example", 200 + i).unwrap();
    }
    assert_eq!(bench.open.len(), 1 + 5, "one of its two at each site");
    let before = bench.dispatcher.stats().queued;
    assert_eq!(bench.pass(Duration::from_millis(100)), before, "and all of it goes in the end");
}

#[test]
fn a_domains_wider_limit_holds_instead_of_the_general_one_but_not_of_one_by_name() {
    let wide = Directives { max_smtp_out: Some(8), ..Directives::default() };
    let narrow = Directives { max_smtp_out: Some(2), ..Directives::default() };
    let mut rules = domain("wide.example", wide);
    rules.general = narrow.clone();
    rules.sites = vec![("named.example".into(), narrow)];
    let open = |site: &str, domains: &[&str]| {
        let mut bench = Bench::with(Limits { initial_destination_concurrency: 20, ..limits() }, rules.clone());
        for domain in domains {
            for i in 0..20 {
                bench.push_to(site, domain, i).unwrap();
            }
        }
        bench.open.len()
    };
    assert_eq!(open("x", &["other.example"]), 2);
    assert_eq!(open("x", &["wide.example"]), 2, "the window of a site begins with its own limit");
    assert_eq!(open("named.example", &["wide.example"]), 2);

    let mut bench = Bench::with(limits(), rules.clone());
    for i in 0..1000 {
        bench.push_to("x", "wide.example", i).unwrap();
        for conn in bench.open.clone() {
            if let Next::Job(_) = bench.next(conn) {
                bench.report(conn, Feedback::Good);
            }
        }
        if bench.open.len() == 8 {
            return;
        }
        for more in 0..20 {
            let _ = bench.push_to("x", "wide.example", 10_000 + more);
        }
    }
    panic!("it never had more than {}", bench.open.len());
}

#[test]
fn connections_are_begun_no_faster_than_allowed() {
    let rules = Rules {
        general: Directives { max_connect_rate: rate("2/m"), max_msg_per_connection: Some(1), ..Directives::default() },
        ..Rules::default()
    };
    let mut bench = Bench::with(limits(), rules);
    for i in 0..10 {
        bench.push_to("x", "example.org", i).unwrap();
    }
    assert_eq!(bench.open.len(), 1);
    assert_eq!(bench.pass(Duration::from_secs(20)), 1);
    assert_eq!(bench.pass(Duration::from_secs(20)), 1, "the next after half a minute");
    assert_eq!(bench.pass(Duration::from_secs(60)), 2);
}

#[test]
fn a_further_connect_is_counted_and_waits_for_its_time() {
    let rules =
        Rules { general: Directives { max_connect_rate: rate("1/m"), ..Directives::default() }, ..Rules::default() };
    let mut bench = Bench::with(limits(), rules);
    bench.push_to("x", "example.org", 1).unwrap();
    let conn = bench.open[0];
    bench.next(conn);
    let Reconnect::At(at) = bench.dispatcher.reconnect(bench.now, conn) else { panic!("it may") };
    assert_eq!((at - bench.now).as_secs(), 60);
    bench.now = at;
    assert_eq!(bench.dispatcher.reconnect(bench.now, conn), Reconnect::Now);
    let Reconnect::At(at) = bench.dispatcher.reconnect(bench.now, conn) else { panic!("it was counted") };
    assert!(at > bench.now);
    bench.woken.clear();
    bench.dispatcher.drain();
    bench.act();
    assert_eq!(bench.woken, [conn], "told that the process ends");
    assert_eq!(bench.dispatcher.reconnect(bench.now, conn), Reconnect::Never);

    let mut free = Bench::with(limits(), Rules::default());
    free.push_to("x", "example.org", 1).unwrap();
    let conn = free.open[0];
    assert_eq!(free.dispatcher.reconnect(free.now, conn), Reconnect::Now);
}

#[test]
fn who_waits_to_connect_again_holds_up_no_other_domain_of_its_site() {
    let mut rules = domain("slow.example", Directives { max_connect_rate: rate("1/h"), ..Directives::default() });
    rules.general = Directives { max_connect_rate: rate("60/m"), max_msg_per_connection: Some(1), ..rules.general };
    let mut bench = Bench::with(limits(), rules);
    bench.push_to("x", "slow.example", 1).unwrap();
    let conn = bench.open[0];
    bench.next(conn);
    let Reconnect::At(at) = bench.dispatcher.reconnect(bench.now, conn) else { panic!("it may") };
    assert!(at > bench.now + Duration::from_secs(3500));
    bench.open.clear();
    for i in 100..110 {
        bench.push_to("x", "other.example", i).unwrap();
    }
    assert_eq!(bench.pass(Duration::from_secs(12)), 10);
}

#[test]
fn what_a_rate_holds_back_comes_again_one_by_one() {
    let mut bench = Bench::with(limits(), domain("rated.example", messages("2/s")));
    let mut etas = Vec::new();
    for i in 0..600 {
        if let Err(diverted) = bench.push_to("x", "rated.example", i) {
            etas.push(diverted.eta.as_secs_f64());
        }
    }
    assert_eq!(etas.len(), 540, "half a minute's worth is held");
    assert!(etas.is_sorted());
    assert!((29.0..=31.0).contains(&etas[0]), "{}", etas[0]);
    assert!((298.0..=301.0).contains(&etas[539]), "{}", etas[539]);
    for i in 600..20_000 {
        let eta = bench.push_to("x", "rated.example", i).unwrap_err().eta;
        assert!(eta <= Duration::from_secs(3600));
    }
}

#[test]
fn a_small_account_gets_into_a_rated_queue_that_another_filled() {
    let mut bench = Bench::with(limits(), domain("rated.example", messages("60/m")));
    for i in 0..100 {
        let _ = bench.push_of("flood", "x", "rated.example", i);
    }
    bench.push_of("small", "x", "rated.example", 1000).expect("its first");
    for i in 0..100 {
        let _ = bench.push_of("small", "x", "rated.example", 1001 + i);
    }
    assert!(bench.dispatcher.stats().queued <= 60, "it is bounded all the same");
}

#[test]
fn a_connection_that_retired_is_not_woken() {
    let mut bench = Bench::with(limits(), Rules::default());
    bench.push_to("x", "example.org", 1).unwrap();
    let conn = bench.open[0];
    bench.next(conn);
    assert_eq!(bench.next(conn), Next::Idle);
    assert!(bench.dispatcher.retire(conn));
    bench.push_to("x", "example.org", 2).unwrap();
    assert!(bench.woken.is_empty());
    assert_eq!(bench.open.len(), 2, "mail that comes meanwhile gets a connection of its own");
    assert_eq!(bench.next(bench.open[1]), Next::Job(2));
    bench.close(conn);
}

#[test]
fn a_connection_that_was_woken_in_time_does_not_retire() {
    let mut bench = Bench::with(limits(), Rules::default());
    bench.push_to("x", "example.org", 1).unwrap();
    let conn = bench.open[0];
    bench.next(conn);
    bench.next(conn);
    bench.push_to("x", "example.org", 2).unwrap();
    assert_eq!(bench.woken, [conn]);
    assert!(!bench.dispatcher.retire(conn));
    assert_eq!(bench.next(conn), Next::Job(2));
}

#[test]
fn a_rate_is_not_forgotten_with_its_site() {
    let mut bench = Bench::with(limits(), Rules { general: messages("1/h"), ..Rules::default() });
    bench.push_to("x", "example.org", 1).unwrap();
    assert_eq!(bench.pass(Duration::from_millis(3)), 1);
    for conn in bench.open.clone() {
        bench.close(conn);
    }
    bench.now += Duration::from_secs(2400);
    bench.dispatcher.forget_unused(bench.now);
    assert_eq!(bench.dispatcher.stats().sites, 1);
    bench.push_to("x", "example.org", 2).unwrap();
    assert!(bench.open.is_empty(), "its hour is not over");
    bench.now += Duration::from_secs(1201);
    assert_eq!(bench.pass(Duration::from_millis(3)), 1);
    for conn in bench.open.clone() {
        bench.close(conn);
    }
    bench.now += Duration::from_secs(7200);
    bench.dispatcher.forget_unused(bench.now);
    assert_eq!(bench.dispatcher.stats().sites, 0);
}
