//! Which connection carries what, whence it comes and how it is protected.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sluice_daemon::SystemClock;
use sluice_daemon::config::{Rate, Time};
use sluice_mail::{Cause, Domain, EnhancedCode, Envelope, Failure, FateKind, Host, Outcome, Stage};
use sluice_route::{FixedRoute, FixedRoutes, Hop, Login, RelayHost, Resolved, Route, Routes, TlsPolicy};
use sluice_spool::State;

use super::harness::Bench;
use super::peer::{Answer, Peer, Script, closed_port, say};
use crate::{RawConfig, RawDomain, RawSource};

const BODY: &str = "Subject: hi\r\n\r\nbye\r\n";

fn on(script: impl Fn(&str, usize) -> Option<Answer> + Send + Sync + 'static) -> Script {
    Script { on: Box::new(script), ..Script::default() }
}

/// Routes as the DNS would give them: by domain, all of the site `one.example`.
struct OneSite(Vec<(&'static str, Route)>);

impl OneSite {
    fn new(routes: &[(&'static str, SocketAddr)]) -> Arc<Self> {
        let route = |(domain, address): &(&'static str, SocketAddr)| {
            let hop = Hop { name: format!("mx.{domain}").into(), preference: 10, addresses: vec![*address] };
            let route = Route {
                site: "one.example".into(),
                hops: vec![hop],
                tls: TlsPolicy::Opportunistic,
                implicit_tls: false,
                login: None,
                is_fixed: false,
            };
            (*domain, route)
        };
        Arc::new(Self(routes.iter().map(route).collect()))
    }
}

impl Routes for OneSite {
    /// A fresh answer each time, as after its time in the cache was over.
    fn at_hand(&self, host: &Host) -> Option<Resolved> {
        let of = |(domain, _): &&(&str, Route)| host.to_string() == *domain;
        let none = || Failure::new(Stage::Resolve, Cause::Dns("SERVFAIL".into()));
        Some(self.0.iter().find(of).map(|(_, route)| Arc::new(route.clone())).ok_or_else(none))
    }

    fn resolve<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Resolved> {
        Box::pin(async move { self.at_hand(host).unwrap() })
    }
}

fn over(routes: &[(&'static str, SocketAddr)], change: impl FnOnce(&mut RawConfig)) -> Bench {
    Bench::over(OneSite::new(routes), change, Box::new(|spool| spool))
}

fn with(peer: &Peer, change: impl FnOnce(&mut RawConfig)) -> Bench {
    Bench::with(&[("example.net", &[peer.address])], change, Box::new(|spool| spool))
}

fn sources(addresses: &[&str]) -> Vec<RawSource> {
    let source = |(i, address): (usize, &&str)| RawSource {
        name: format!("s{i}"),
        address: address.parse().unwrap(),
        ehlo_name: Some(format!("s{i}.sluice.example")),
    };
    addresses.iter().enumerate().map(source).collect()
}

fn require_tls(envelope: &mut Envelope) {
    envelope.flags.require_tls = true;
}

fn count(lines: &[String], what: &str) -> usize {
    lines.iter().filter(|line| line.starts_with(what)).count()
}

/// Status and words of a bounce.
async fn bounce(bench: &Bench, id: sluice_mail::QueueId) -> (EnhancedCode, String) {
    let fate = bench.fate(id).await;
    let Outcome::Bounced { status, reply } = &fate.results[0].outcome else { panic!("{fate:?}") };
    (*status, reply.to_string())
}

#[tokio::test]
async fn nothing_crosses_between_two_domains_of_a_site_with_hosts_of_their_own() {
    for max_smtp_out in [1, 4] {
        let (a, b) = (Peer::start(Script::default()).await, Peer::start(Script::default()).await);
        let bench = over(&[("a.example", a.address), ("b.example", b.address)], |c| c.max_smtp_out = max_smtp_out);
        for i in 0..60 {
            bench.send(if i % 3 == 0 { "b.example" } else { "a.example" }, &["ann"], BODY).await;
        }
        let fates = bench.fates(60).await;
        assert!(fates.iter().all(|fate| fate.kind == FateKind::Delivered && fate.attempts == 1));
        for (peer, domain, mails) in [(&a, "a.example", 40), (&b, "b.example", 20)] {
            let seen = peer.seen();
            assert_eq!(seen.mails.len(), mails);
            assert!(seen.mails.iter().all(|mail| mail.to == [format!("ann@{domain}")]));
        }
    }
}

#[tokio::test]
async fn domains_with_the_same_host_share_its_connections() {
    let peer = Peer::start(Script::default()).await;
    let hosts = [peer.address];
    let fixed = |domain: &str| {
        FixedRoute::new(Some(Domain::parse(domain).unwrap()), hosts.iter().map(|a| RelayHost::at(*a)).collect())
    };
    let routes = FixedRoutes::new(vec![fixed("a.example"), fixed("b.example")], None, Arc::new(SystemClock));
    let bench = Bench::over(Arc::new(routes), |c| c.max_smtp_out = 1, Box::new(|spool| spool));
    for i in 0..20 {
        bench.send(if i % 2 == 0 { "b.example" } else { "a.example" }, &["ann"], BODY).await;
    }
    bench.fates(20).await;
    assert_eq!(peer.seen().connections, 1);
}

#[tokio::test]
async fn a_host_that_takes_its_leave_between_two_messages_costs_no_attempt() {
    for farewell in ["\r\n421 4.4.2 idle too long", "\r\n421-4.3.2 going\r\n421 down", "\r\n250 surprise", ""] {
        let answer = format!("250 2.0.0 kept{farewell}");
        let peer =
            Peer::start(on(move |line, n| (line == "." && n % 2 == 0).then(|| Answer::SayAndClose(answer.clone()))))
                .await;
        let bench = with(&peer, |c| c.max_smtp_out = 1);
        for i in 0..10 {
            let id = bench.send("example.net", &[&format!("r{i}")], BODY).await;
            if i % 3 == 0 {
                bench.fate(id).await;
            }
        }
        let fates = bench.fates(10).await;
        assert!(fates.iter().all(|fate| fate.kind == FateKind::Delivered && fate.attempts == 1), "{farewell:?}");
        assert_eq!(peer.seen().mails.len(), 10, "{farewell:?}");
    }
}

#[tokio::test]
async fn a_host_that_knows_no_rset_costs_the_next_message_no_attempt() {
    for pipelining in ["250 PIPELINING", "250 SIZE"] {
        let script = Script {
            ehlo: format!("250-peer\r\n{pipelining}"),
            on: Box::new(|line, _| match line {
                "RSET" => Some(say("502 5.5.1 what")),
                line => line.contains("<no@").then(|| say("550 5.1.1 unknown")),
            }),
            ..Script::default()
        };
        let peer = Peer::start(script).await;
        let bench = with(&peer, |c| c.max_smtp_out = 1);
        let null_sender = |envelope: &mut Envelope| envelope.mail_from = None;
        for i in 0..10 {
            let recipient = if i % 2 == 0 { "no" } else { "yes" };
            bench.send_changed("example.net", &[recipient], BODY, null_sender).await;
        }
        let fates = bench.fates(10).await;
        assert!(fates.iter().all(|fate| fate.attempts == 1));
        assert_eq!(fates.iter().filter(|fate| fate.kind == FateKind::Delivered).count(), 5);
    }
}

#[tokio::test]
async fn mail_does_not_wait_for_a_slow_answer_to_quit() {
    let peer = Peer::start(on(|line, _| (line == "QUIT").then(|| Answer::AtGate("221 2.0.0 bye".into())))).await;
    let bench = with(&peer, |c| c.connection_idle_timeout = Time(Duration::from_millis(20)));
    for _ in 0..3 {
        let id = bench.send("example.net", &["ann"], BODY).await;
        let delivered = tokio::time::timeout(Duration::from_secs(5), bench.fate(id)).await;
        assert_eq!(delivered.expect("it does not wait").kind, FateKind::Delivered);
        let connections = peer.seen().connections;
        peer.wait(|seen| count(&seen.lines, "QUIT") == connections).await;
    }
    assert_eq!(peer.seen().connections, 3);
}

#[tokio::test]
async fn connections_come_from_the_sources_by_turns_each_with_its_name() {
    let peer = Peer::start(Script::default()).await;
    let bench = with(&peer, |c| {
        c.sources = sources(&["127.0.0.2", "127.0.0.3", "::1"]);
        c.max_msg_per_connection = 1;
    });
    let mut used = Vec::new();
    for _ in 0..4 {
        let id = bench.send("example.net", &["ann"], BODY).await;
        used.push(bench.fate(id).await.attempt.source.unwrap().to_string());
    }
    let lines = peer.seen().lines;
    let names: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("EHLO ")).collect();
    assert_eq!(names, used.iter().map(|name| format!("{name}.sluice.example")).collect::<Vec<_>>());
    assert_eq!((&used[..2], used[0] == used[1]), (&used[2..], false), "{used:?}");
    used.sort();
    assert_eq!(used, ["s0", "s0", "s1", "s1"]);
}

#[tokio::test]
async fn a_source_that_cannot_be_used_is_passed_over() {
    let peer = Peer::start(Script::default()).await;
    let bench = with(&peer, |c| c.sources = sources(&["192.0.2.1", "127.0.0.3"]));
    let id = bench.send("example.net", &["ann"], BODY).await;
    assert_eq!(bench.fate(id).await.attempt.source.as_deref(), Some("s1"));
}

#[tokio::test]
async fn without_a_source_that_can_be_used_the_mail_waits_and_the_site_is_not_blamed() {
    let peer = Peer::start(Script::default()).await;
    for (source, words) in [
        ("192.0.2.1", "cannot connect from 192.0.2.1: "),
        ("::1", "no source address of ours is of the IP family of the hosts' addresses (at connect)"),
    ] {
        let bench = with(&peer, |c| c.sources = sources(&[source]));
        let mut ids = Vec::new();
        for _ in 0..40 {
            ids.push(bench.send("example.net", &["ann"], BODY).await);
        }
        for id in ids {
            let envelope = bench.waiting(id).await;
            assert_eq!(envelope.attempts, 1, "none is put off untried");
            let reply = envelope.last_reply.unwrap();
            assert!(reply.contains(words), "{reply}");
        }
    }
    assert_eq!(peer.seen().connections, 0);
}

/// A smart host for `a.example` with a log-in, and for `b.example` without.
async fn smart_host(offer: &str, answer: &'static str) -> (Peer, Bench) {
    let script = Script {
        ehlo: format!("250-peer.example\r\n250-PIPELINING\r\n250 {offer}"),
        on: Box::new(move |line, _| line.starts_with("AUTH").then(|| say(answer))),
        ..Script::default()
    };
    let peer = Peer::start(script).await;
    let host = || vec![RelayHost::at(peer.address)];
    let login = Login { username: "ann".into(), password: "secret".into() };
    let with_login = FixedRoute {
        login: Some(Arc::new(login)),
        ..FixedRoute::new(Some(Domain::parse("a.example").unwrap()), host())
    };
    let without = FixedRoute::new(Some(Domain::parse("b.example").unwrap()), host());
    let routes = FixedRoutes::new(vec![with_login, without], None, Arc::new(SystemClock));
    let bench = Bench::over(Arc::new(routes), |c| c.max_smtp_out = 1, Box::new(|spool| spool));
    (peer, bench)
}

#[tokio::test]
async fn a_smart_host_is_logged_in_at_and_no_other_mail_uses_that_session() {
    let (peer, bench) = smart_host("AUTH PLAIN LOGIN", "235 2.7.0 welcome").await;
    for i in 0..12 {
        bench.send(if i % 3 == 0 { "b.example" } else { "a.example" }, &["ann"], BODY).await;
    }
    bench.fates(12).await;
    let mut logged_in = false;
    for line in peer.seen().lines {
        match line.as_str() {
            "AUTH PLAIN AGFubgBzZWNyZXQ=" => logged_in = true,
            line if line.starts_with("EHLO") => logged_in = false,
            line if line.starts_with("RCPT") => assert_eq!(line.contains("@a.example"), logged_in, "{line}"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_smart_host_that_refuses_the_log_in_gets_no_mail_and_the_mail_waits() {
    for (offer, answer, words) in [
        ("AUTH PLAIN", "535 5.7.8 wrong", "535 5.7.8 wrong (at auth)"),
        ("AUTH PLAIN", "454 4.7.0 later", "454 4.7.0 later (at auth)"),
        ("SIZE", "", "5.7.4 the peer offers neither AUTH PLAIN nor AUTH LOGIN (at auth)"),
    ] {
        let (peer, bench) = smart_host(offer, answer).await;
        let id = bench.send("a.example", &["ann"], BODY).await;
        let reply = bench.waiting(id).await.last_reply.unwrap();
        assert!(reply.ends_with(words), "{reply}");
        assert_eq!(count(&peer.seen().lines, "MAIL"), 0);
    }
}

#[tokio::test]
async fn mail_that_comes_back_to_ourselves_is_returned_unless_the_operator_sends_it_there() {
    for (greeting, ehlo) in [("220 Sluice.example ESMTP", "250 peer"), ("220 hi", "250-sluice.example\r\n250 SIZE")] {
        let script = || Script { greeting: say(greeting), ehlo: ehlo.into(), ..Script::default() };
        let peer = Peer::start(script()).await;
        let bench = over(&[("a.example", peer.address)], |_| {});
        for _ in 0..20 {
            let id = bench.send("a.example", &["ann"], BODY).await;
            let (status, words) = bounce(&bench, id).await;
            assert_eq!(status, EnhancedCode(5, 4, 6));
            assert!(words.contains("mail loops back to this host"), "{words}");
        }
        assert_eq!(count(&peer.seen().lines, "MAIL"), 0);

        let own = Peer::start(script()).await;
        let bench = with(&own, |_| {});
        let id = bench.send("example.net", &["ann"], BODY).await;
        assert_eq!(bench.fate(id).await.kind, FateKind::Delivered);
    }
}

#[tokio::test]
async fn mail_that_requires_tls_never_goes_in_the_clear() {
    let peer = Peer::start(Script::default()).await;
    let bench = with(&peer, |c| c.max_smtp_out = 1);
    for _ in 0..5 {
        bench.send("example.net", &["ann"], BODY).await;
    }
    let id = bench.send_changed("example.net", &["tls"], BODY, require_tls).await;
    assert_eq!(bounce(&bench, id).await.0, EnhancedCode(5, 7, 30));
    bench.fates(6).await;
    assert!(peer.seen().mails.iter().all(|mail| mail.to == ["ann@example.net"]));
}

#[tokio::test]
async fn a_host_known_for_its_broken_tls_gets_no_mail_that_requires_it() {
    let script = Script {
        ehlo: "250-peer.example\r\n250-REQUIRETLS\r\n250 STARTTLS".into(),
        on: Box::new(|line, _| (line == "STARTTLS").then(|| Answer::SayAndClose("220 2.0.0 go on".into()))),
        ..Script::default()
    };
    let peer = Peer::start(script).await;
    let bench = with(&peer, |_| {});
    let first = bench.send("example.net", &["ann"], BODY).await;
    assert_eq!(bench.fate(first).await.kind, FateKind::Delivered);
    let second = bench.send_changed("example.net", &["tls"], BODY, require_tls).await;
    let reply = bench.waiting(second).await.last_reply.unwrap();
    assert!(reply.contains("(at starttls)"), "{reply}");
    assert_eq!(peer.seen().mails.len(), 1);
}

#[tokio::test]
async fn a_refused_starttls_goes_on_in_the_clear() {
    let script = Script {
        ehlo: "250-peer.example\r\n250 STARTTLS".into(),
        on: Box::new(|line, _| (line == "STARTTLS").then(|| say("454 4.7.0 TLS not available"))),
        ..Script::default()
    };
    let peer = Peer::start(script).await;
    let bench = with(&peer, |_| {});
    let id = bench.send("example.net", &["ann"], BODY).await;
    let fate = bench.fate(id).await;
    assert_eq!((fate.kind, fate.attempts, fate.attempt.tls), (FateKind::Delivered, 1, None));
    assert_eq!(peer.seen().connections, 1);
}

#[tokio::test]
async fn eight_bits_go_to_a_host_without_8bitmime_unless_that_is_not_wanted() {
    let peer = Peer::start(Script { ehlo: "250-peer\r\n250 PIPELINING".into(), ..Script::default() }).await;
    for bounce_8bit in [false, true] {
        let bench = with(&peer, |c| c.bounce_8bit = bounce_8bit);
        let body = "Subject: hi\r\n\r\nb\u{fc}cher\r\n";
        let id = bench.send_changed("example.net", &["ann"], body, |e| e.flags.eight_bit = true).await;
        if bounce_8bit {
            assert_eq!(bounce(&bench, id).await.0, EnhancedCode(5, 6, 3));
        } else {
            assert_eq!(bench.fate(id).await.kind, FateKind::Delivered);
        }
        assert_eq!(peer.seen().mails.len(), 1);
        assert_eq!(peer.seen().mails[0].body, body);
    }
}

#[tokio::test]
async fn a_domain_that_requires_tls_shares_no_connection_with_one_that_does_not() {
    let peer = Peer::start(Script::default()).await;
    let mut routes = OneSite::new(&[("a.example", peer.address), ("b.example", peer.address)]);
    for (_, route) in &mut Arc::get_mut(&mut routes).unwrap().0 {
        route.hops[0].name = "mx.one.example".into();
    }
    let strict = |c: &mut RawConfig| {
        c.max_smtp_out = 1;
        let domain = "a.example".into();
        c.domains = vec![RawDomain { domain, require_starttls: Some(true), ..RawDomain::default() }];
    };
    let bench = Bench::over(routes, strict, Box::new(|spool| spool));
    let mut strict = Vec::new();
    for _ in 0..5 {
        strict.push(bench.send("a.example", &["ann"], BODY).await);
        let id = bench.send("b.example", &["ann"], BODY).await;
        assert_eq!(bench.fate(id).await.kind, FateKind::Delivered);
    }
    for id in strict {
        let reply = bench.waiting(id).await.last_reply;
        assert!(reply.is_none_or(|words| words.contains("TLS: the peer does not offer STARTTLS")));
    }
    assert!(peer.seen().mails.iter().all(|mail| mail.to == ["ann@b.example"]));
}

#[tokio::test]
async fn no_more_addresses_are_tried_than_allowed() {
    let good = Peer::start(Script::default()).await;
    let mut hosts = Vec::new();
    for _ in 0..3 {
        hosts.push(closed_port().await);
    }
    hosts.push(good.address);
    for (limit, delivered) in [(3, false), (4, true)] {
        let change = |c: &mut RawConfig| c.mx_address_limit = limit;
        let bench = Bench::with(&[("example.net", &hosts)], change, Box::new(|spool| spool));
        let id = bench.send("example.net", &["ann"], BODY).await;
        if delivered {
            assert_eq!(bench.fate(id).await.attempts, 1);
        } else {
            assert!(bench.waiting(id).await.last_reply.unwrap().contains("refused"));
        }
    }
}

#[tokio::test]
async fn the_way_back_to_the_clear_uses_up_no_session() {
    let script = Script {
        ehlo: "250-peer.example\r\n250 STARTTLS".into(),
        on: Box::new(|line, _| (line == "STARTTLS").then_some(Answer::Close)),
        ..Script::default()
    };
    let peer = Peer::start(script).await;
    let bench = with(&peer, |c| c.mx_session_limit = 1);
    let id = bench.send("example.net", &["ann"], BODY).await;
    assert_eq!(bench.fate(id).await.kind, FateKind::Delivered);
}

#[tokio::test]
async fn a_further_host_waits_for_leave_to_connect_and_the_end_does_not() {
    let busy = Peer::start(Script { greeting: say("421 4.3.2 busy"), ..Script::default() }).await;
    let good = Peer::start(Script::default()).await;
    let hosts = [busy.address, good.address];
    for (rate, is_soon) in [("1/s", true), ("1/h", false)] {
        let change = |c: &mut RawConfig| c.max_connect_rate = Rate(Some(rate.parse().unwrap()));
        let mut bench = Bench::with(&[("example.net", &hosts)], change, Box::new(|spool| spool));
        let asked = busy.seen().connections;
        let id = bench.send("example.net", &["ann"], BODY).await;
        if is_soon {
            assert_eq!(bench.fate(id).await.attempts, 1);
            continue;
        }
        busy.wait(|seen| seen.connections > asked && seen.live == 0).await;
        bench.begin_shutdown();
        bench.end().await.unwrap();
        let entry = bench.entry(id).await.unwrap();
        assert_eq!((entry.state, entry.envelope.attempts), (State::Ready, 0), "it was given back untried");
    }
    assert_eq!(good.seen().connections, 1);
}
