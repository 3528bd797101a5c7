//! What becomes of mail, against scripted peers on loopback.

use std::sync::Arc;
use std::time::Duration;

use super::harness::Bench;
use super::peer::{Answer, Peer, Script, closed_port, on, say, silent};
use futures_util::future::BoxFuture;
use sluice_mail::{Cause, EnhancedCode, Failure, FateKind, Host, Outcome, Shard, Stage};
use sluice_route::{Resolved, Routes};
use sluice_spool::memory::Memory;
use sluice_spool::{
    BodyError, Decision, Directive, QueueView, Selector, SettleError, ShardEvent, ShardSource, State, Ticket, Window,
    WorkId,
};
use tokio::sync::watch;

use crate::DeliveryError;

const BODY: &str = "Subject: hi\r\n\r\n.dot\r\n..dots\r\nbye\r\n";

#[tokio::test]
async fn delivers_the_message_unchanged() {
    let peer = Peer::start(Script::default()).await;
    let bench = Bench::start(&[("example.net", &[peer.address])]);
    let id = bench.send("example.net", &["ann", "bob"], BODY).await;
    let fate = bench.fate(id).await;
    assert_eq!((fate.kind, fate.attempts, fate.results.len()), (FateKind::Delivered, 1, 2));
    assert_eq!(fate.attempt.peer, Some(peer.address));
    assert_eq!(fate.attempt.site.as_deref(), Some(peer.address.to_string().as_str()));
    let Outcome::Delivered { reply } = &fate.results[0].outcome else { panic!() };
    assert_eq!(reply.to_string(), "250 2.0.0 kept");
    let seen = peer.seen();
    assert_eq!((seen.mails.len(), seen.mails[0].body.as_str()), (1, BODY));
    assert_eq!(seen.mails[0].to, ["ann@example.net", "bob@example.net"]);
    assert_eq!(seen.mails[0].from, "sender@acme.example");
    assert_eq!(seen.lines[0], "EHLO sluice.example");
}

#[tokio::test]
async fn a_temporary_refusal_waits_and_is_tried_again() {
    let peer = Peer::start(on(|line, n| (line.starts_with("RCPT") && n == 0).then(|| say("450 4.2.1 later")))).await;
    let bench = Bench::start(&[("example.net", &[peer.address])]);
    let id = bench.send("example.net", &["ann"], BODY).await;
    let envelope = bench.waiting(id).await;
    let words = format!("{}: 450 4.2.1 later (at rcpt)", peer.address);
    assert_eq!((envelope.attempts, envelope.last_reply.as_deref()), (1, Some(&*words)));
    bench.retry_now(id);
    let fate = bench.fate(id).await;
    assert_eq!((fate.kind, fate.attempts), (FateKind::Delivered, 2));
}

#[tokio::test]
async fn a_permanent_refusal_ends_it_with_the_peers_words() {
    for verb in ["MAIL", "RCPT", "DATA", "."] {
        let peer = Peer::start(on(move |line, _| line.starts_with(verb).then(|| say("550 5.7.1 go away")))).await;
        let bench = Bench::start(&[("example.net", &[peer.address])]);
        let fate = bench.send("example.net", &["ann"], BODY).await;
        let fate = bench.fate(fate).await;
        assert_eq!(fate.kind, FateKind::Bounced, "{verb}");
        let Outcome::Bounced { status, reply } = &fate.results[0].outcome else { panic!() };
        assert_eq!((*status, reply.to_string().as_str()), (EnhancedCode(5, 7, 1), "550 5.7.1 go away"), "{verb}");
    }
}

#[tokio::test]
async fn of_several_recipients_each_has_its_own_outcome() {
    let script = on(|line, n| {
        let refused = line.contains("<no@").then(|| say("550 5.1.1 unknown"));
        refused.or_else(|| (line.contains("<later@") && n < 3).then(|| say("450 4.2.1 later")))
    });
    let peer = Peer::start(script).await;
    let bench = Bench::start(&[("example.net", &[peer.address])]);
    let id = bench.send("example.net", &["yes", "no", "later"], BODY).await;
    let envelope = bench.waiting(id).await;
    let open: Vec<_> = envelope.open_recipients().map(|(_, r)| r.address.as_str().to_owned()).collect();
    assert_eq!(open, ["later@example.net"]);
    bench.retry_now(id);
    let fate = bench.fate(id).await;
    assert_eq!(fate.kind, FateKind::Bounced);
    let delivered = |o: &Outcome| matches!(o, Outcome::Delivered { .. });
    assert_eq!(fate.results.iter().map(|r| delivered(&r.outcome)).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(peer.seen().mails.iter().map(|m| m.to.len()).collect::<Vec<_>>(), [1, 1], "nobody gets it twice");
}

#[tokio::test]
async fn the_next_host_is_tried_when_one_does_not_take_the_connection() {
    let good = Peer::start(Script::default()).await;
    for greeting in [say("421 4.3.2 busy"), say("554 5.3.2 no mail here"), Answer::Close, say("hello?")] {
        let first = Peer::start(Script { greeting, ..Script::default() }).await;
        let bench = Bench::start(&[("example.net", &[first.address, good.address])]);
        let id = bench.send("example.net", &["ann"], BODY).await;
        let fate = bench.fate(id).await;
        assert_eq!((fate.kind, fate.attempts), (FateKind::Delivered, 1));
        assert_eq!(fate.attempt.peer, Some(good.address));
    }
    let bench = Bench::start(&[("example.net", &[closed_port().await, good.address])]);
    let id = bench.send("example.net", &["ann"], BODY).await;
    assert_eq!(bench.fate(id).await.attempts, 1);
}

#[tokio::test]
async fn no_more_sessions_are_tried_than_allowed() {
    let mut peers = Vec::new();
    for _ in 0..3 {
        peers.push(Peer::start(Script { greeting: say("421 4.3.2 busy"), ..Script::default() }).await);
    }
    let bench = Bench::start(&[("example.net", &[peers[0].address, peers[1].address, peers[2].address])]);
    let id = bench.send("example.net", &["ann"], BODY).await;
    let words = format!("{}: 421 4.3.2 busy (at greeting)", peers[1].address);
    assert_eq!(bench.waiting(id).await.last_reply.as_deref(), Some(&*words));
    assert_eq!(peers.iter().map(|p| p.seen().connections).collect::<Vec<_>>(), [1, 1, 0]);
}

#[tokio::test]
async fn a_connection_lost_after_the_final_dot_waits_and_is_not_tried_elsewhere_at_once() {
    let first = Peer::start(on(|line, n| (line == "." && n == 0).then_some(Answer::Close))).await;
    let second = Peer::start(Script::default()).await;
    let bench = Bench::start(&[("example.net", &[first.address, second.address])]);
    let id = bench.send("example.net", &["ann"], BODY).await;
    let envelope = bench.waiting(id).await;
    let words = format!("{}: the peer closed the connection (at dot)", first.address);
    assert_eq!(envelope.last_reply.as_deref(), Some(&*words));
    assert_eq!(second.seen().connections, 0);
    bench.retry_now(id);
    assert_eq!(bench.fate(id).await.attempts, 2);
}

#[tokio::test]
async fn connections_are_reused_and_ended_politely() {
    let peer = Peer::start(Script::default()).await;
    let bench = Bench::with(&[("example.net", &[peer.address])], |c| c.max_smtp_out = 2, Box::new(|s| s));
    for _ in 0..300 {
        bench.send("example.net", &["ann"], BODY).await;
    }
    bench.fates(300).await;
    let seen = peer.seen();
    assert_eq!(seen.mails.len(), 300);
    assert!((3..=6).contains(&seen.connections), "100 messages each: {}", seen.connections);
    let most = (1..=seen.connections).map(|c| seen.mails.iter().filter(|m| m.connection == c).count()).max();
    assert_eq!(most, Some(100));
    assert!(seen.lines.iter().filter(|l| *l == "QUIT").count() >= 2);
}

#[tokio::test]
async fn an_idle_connection_that_the_peer_closed_costs_no_attempt() {
    let script = on(|line, n| (line == "." && n == 0).then(|| Answer::SayAndClose("250 2.0.0 kept".into())));
    let peer = Peer::start(script).await;
    let bench = Bench::start(&[("example.net", &[peer.address])]);
    let first = bench.send("example.net", &["ann"], BODY).await;
    bench.fate(first).await;
    let second = bench.send("example.net", &["bob"], BODY).await;
    let fate = bench.fate(second).await;
    assert_eq!((fate.kind, fate.attempts), (FateKind::Delivered, 1));
}

#[tokio::test]
async fn a_peer_that_ends_each_connection_after_one_message_gets_all_of_them_once() {
    let script =
        on(|line, n| (line.starts_with("MAIL") && n % 2 == 1).then(|| Answer::SayAndClose("421 4.7.0 enough".into())));
    let peer = Peer::start(script).await;
    let bench = Bench::with(&[("example.net", &[peer.address])], |c| c.max_smtp_out = 1, Box::new(|s| s));
    for i in 0..40 {
        bench.send("example.net", &[&format!("r{i}")], BODY).await;
    }
    let fates = bench.fates(40).await;
    assert!(fates.iter().all(|fate| fate.kind == FateKind::Delivered && fate.attempts == 1));
    assert_eq!(peer.seen().mails.len(), 40);
}

#[tokio::test]
async fn a_silent_or_slow_site_does_not_delay_another() {
    let (silent, task) = silent().await;
    let slow = Peer::start(Script { delay: Duration::from_millis(300), ..Script::default() }).await;
    let quick = Peer::start(Script::default()).await;
    let routes: &[(&str, &[_])] =
        &[("silent.example", &[silent]), ("slow.example", &[slow.address]), ("quick.example", &[quick.address])];
    let bench = Bench::start(routes);
    for _ in 0..50 {
        bench.send("silent.example", &["ann"], BODY).await;
        bench.send("slow.example", &["ann"], BODY).await;
    }
    for _ in 0..200 {
        bench.send("quick.example", &["ann"], BODY).await;
    }
    quick.wait(|seen| seen.mails.len() == 200).await;
    assert!(slow.seen().mails.len() < 50);
    task.abort();
}

#[tokio::test]
async fn a_dead_site_is_left_alone_and_its_mail_is_put_off_untried() {
    let bench = Bench::start(&[("example.net", &[closed_port().await])]);
    let mut ids = Vec::new();
    for _ in 0..60 {
        ids.push(bench.send("example.net", &["ann"], BODY).await);
    }
    let mut tried = 0;
    for id in ids {
        tried += bench.waiting(id).await.attempts;
    }
    assert!((1..=10).contains(&tried), "{tried}");
}

#[tokio::test]
async fn an_operators_retry_reaches_a_site_that_was_taken_for_dead() {
    let closed = closed_port().await;
    let bench = Bench::start(&[("example.net", &[closed])]);
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(bench.send("example.net", &["ann"], BODY).await);
    }
    for id in &ids {
        bench.waiting(*id).await;
    }
    let peer = Peer::at(closed, Script::default()).await;
    bench.revival.ask();
    bench.spool.act(&Selector::default(), Directive::RetryNow);
    for id in ids {
        assert_eq!(bench.fate(id).await.kind, FateKind::Delivered);
    }
    assert_eq!(peer.seen().mails.len(), 20);
}

#[tokio::test]
async fn what_expired_is_given_up_untried() {
    let peer = Peer::start(Script::default()).await;
    let bench = Bench::start(&[("example.net", &[peer.address])]);
    let id = bench.send_changed("example.net", &["ann"], BODY, |envelope| envelope.expires = envelope.accepted).await;
    let fate = bench.fate(id).await;
    assert_eq!((fate.kind, fate.attempts), (FateKind::Expired, 0));
    assert_eq!(peer.seen().connections, 0);
}

#[tokio::test]
async fn a_broken_starttls_is_followed_by_the_clear_and_remembered() {
    for answer in
        [say("220 2.0.0 go on\r\nthis is no handshake"), Answer::SayAndClose("220 2.0.0 go on".into()), Answer::Close]
    {
        let script = Script {
            ehlo: "250-peer.example\r\n250 STARTTLS".into(),
            on: Box::new(move |line, _| (line == "STARTTLS").then(|| answer.clone())),
            ..Script::default()
        };
        let peer = Peer::start(script).await;
        let bench = Bench::with(&[("example.net", &[peer.address])], |c| c.max_msg_per_connection = 1, Box::new(|s| s));
        for _ in 0..3 {
            let id = bench.send("example.net", &["ann"], BODY).await;
            let fate = bench.fate(id).await;
            assert_eq!((fate.kind, fate.attempts, fate.attempt.tls), (FateKind::Delivered, 1, None));
        }
        assert_eq!(peer.seen().lines.iter().filter(|l| *l == "STARTTLS").count(), 1);
    }
}

#[tokio::test]
async fn where_tls_is_required_a_broken_starttls_waits() {
    for ehlo in ["250 STARTTLS", "250 SIZE"] {
        let peer = Peer::start(Script { ehlo: format!("250-peer\r\n{ehlo}"), ..Script::default() }).await;
        let required = |c: &mut crate::RawConfig| c.require_starttls = true;
        let bench = Bench::with(&[("example.net", &[peer.address])], required, Box::new(|s| s));
        let id = bench.send("example.net", &["ann"], BODY).await;
        let words = bench.waiting(id).await.last_reply.unwrap();
        let words = words.strip_prefix(&format!("{}: ", peer.address)).unwrap();
        assert!(words.starts_with("TLS: ") || words.starts_with("the peer closed"), "{words}");
        assert!(!peer.seen().lines.iter().any(|l| l.starts_with("MAIL")));
    }
}

#[tokio::test]
async fn large_messages_are_fetched_when_they_are_sent() {
    let peer = Peer::start(Script::default()).await;
    let bench = Bench::with(
        &[("example.net", &[peer.address])],
        |c| c.max_large_bodies = sluice_daemon::config::Size::mib(1),
        Box::new(|s| s),
    );
    let body = format!("Subject: big\r\n\r\n{}", ".0123456789\r\n".repeat(70_000));
    for _ in 0..5 {
        bench.send("example.net", &["ann"], &body).await;
    }
    bench.fates(5).await;
    assert!(peer.seen().mails.iter().all(|mail| mail.body == body));
}

#[tokio::test]
async fn no_route_is_judged_like_any_failure() {
    struct Nowhere;
    impl Routes for Nowhere {
        fn at_hand(&self, _: &Host) -> Option<Resolved> {
            None
        }
        fn resolve<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Resolved> {
            let cause = match host.to_string().as_str() {
                "gone.example" => Cause::NoSuchHost(EnhancedCode(5, 1, 2), "no such domain".into()),
                _ => Cause::Dns("SERVFAIL".into()),
            };
            Box::pin(async { Err(Failure::new(Stage::Resolve, cause)) })
        }
    }
    let bench = Bench::over(Arc::new(Nowhere), |_| {}, Box::new(|s| s));
    let gone = bench.send("gone.example", &["ann"], BODY).await;
    let late = bench.send("late.example", &["ann"], BODY).await;
    let fate = bench.fate(gone).await;
    let Outcome::Bounced { status, reply } = &fate.results[0].outcome else { panic!() };
    assert_eq!((fate.kind, *status), (FateKind::Bounced, EnhancedCode(5, 1, 2)));
    assert_eq!(reply.to_string(), "554 5.1.2 no such domain");
    assert_eq!(bench.waiting(late).await.last_reply.as_deref(), Some("SERVFAIL (at resolve)"));
}

#[tokio::test]
async fn at_shutdown_the_running_transaction_ends_and_the_rest_is_given_back() {
    let peer = Peer::start(on(|line, _| (line == ".").then(|| Answer::AtGate("250 2.0.0 kept".into())))).await;
    let mut bench = Bench::with(&[("example.net", &[peer.address])], |c| c.max_smtp_out = 1, Box::new(|s| s));
    let first = bench.send("example.net", &["ann"], BODY).await;
    peer.wait(|seen| seen.mails.len() == 1).await;
    let second = bench.send("example.net", &["bob"], BODY).await;
    bench.begin_shutdown();
    peer.open_gate();
    bench.end().await.unwrap();
    assert_eq!(bench.fate(first).await.kind, FateKind::Delivered);
    assert_eq!(bench.entry(second).await.unwrap().state, State::Ready);
    assert_eq!(peer.wait(|seen| seen.live == 0).await.mails.len(), 1);
}

#[tokio::test]
async fn a_transaction_that_outlasts_the_drain_is_cut_off_undecided() {
    let peer = Peer::start(on(|line, _| (line == ".").then(|| Answer::AtGate("250 2.0.0 kept".into())))).await;
    let brief = |c: &mut crate::RawConfig| c.drain_timeout = sluice_daemon::config::Time::secs(0);
    let mut bench = Bench::with(&[("example.net", &[peer.address])], brief, Box::new(|s| s));
    let id = bench.send("example.net", &["ann"], BODY).await;
    peer.wait(|seen| seen.mails.len() == 1).await;
    bench.begin_shutdown();
    bench.end().await.unwrap();
    assert_eq!(bench.entry(id).await.unwrap().state, State::Active, "to be tried again after the next start");
}

/// A source whose decisions become durable only when the test says so, or never.
struct Held {
    spool: Arc<Memory>,
    durable: watch::Receiver<Option<Result<(), SettleError>>>,
    ours: watch::Receiver<bool>,
    readable: bool,
}

impl ShardSource for Held {
    fn next(&self) -> BoxFuture<'_, ShardEvent> {
        self.spool.next()
    }
    fn body(&self, work: WorkId) -> BoxFuture<'_, Result<bytes::Bytes, BodyError>> {
        match self.readable {
            true => self.spool.body(work),
            false => Box::pin(async { Err(BodyError::Unreadable("checksum".into())) }),
        }
    }
    fn settle(&self, work: WorkId, decision: Decision) -> Ticket {
        let (ticket, mut durable) = (self.spool.settle(work, decision), self.durable.clone());
        Box::pin(async move {
            let word = durable.wait_for(Option::is_some).await.unwrap().clone();
            word.unwrap()?;
            ticket.await
        })
    }
    fn give_back(&self, work: WorkId) {
        self.spool.give_back(work);
    }
    fn window(&self, shard: Shard, window: Window) {
        self.spool.window(shard, window);
    }
    fn may_send(&self, _: Shard) -> bool {
        *self.ours.borrow()
    }
}

#[tokio::test]
async fn the_next_content_waits_until_the_last_outcome_is_durable() {
    for pipelining in ["250 PIPELINING", "250 SIZE"] {
        let peer = Peer::start(Script { ehlo: format!("250-peer\r\n{pipelining}"), ..Script::default() }).await;
        let (durable, held) = watch::channel(None);
        let (_ours, ours) = watch::channel(true);
        let between =
            Box::new(|spool| Arc::new(Held { spool, durable: held, ours, readable: true }) as Arc<dyn ShardSource>);
        let bench = Bench::with(&[("example.net", &[peer.address])], |c| c.max_smtp_out = 1, between);
        for _ in 0..5 {
            bench.send("example.net", &["ann"], BODY).await;
        }
        let mails = |lines: &[String]| lines.iter().filter(|l| l.starts_with("MAIL")).count();
        let seen = peer.wait(|seen| mails(&seen.lines) == 2).await;
        assert_eq!(seen.mails.len(), 1, "the second is asked for at once, its content is not sent");
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(peer.seen().mails.len(), 1);
        durable.send_replace(Some(Ok(())));
        peer.wait(|seen| seen.mails.len() == 5).await;
    }
}

#[tokio::test]
async fn when_outcomes_cannot_be_written_nothing_more_is_sent_and_the_delivery_ends() {
    let peer = Peer::start(Script::default()).await;
    let (durable, held) = watch::channel(None);
    let (_ours, ours) = watch::channel(true);
    let between =
        Box::new(|spool| Arc::new(Held { spool, durable: held, ours, readable: true }) as Arc<dyn ShardSource>);
    let mut bench = Bench::with(&[("example.net", &[peer.address])], |c| c.max_smtp_out = 1, between);
    for _ in 0..20 {
        bench.send("example.net", &["ann"], BODY).await;
    }
    peer.wait(|seen| seen.mails.len() == 1).await;
    durable.send_replace(Some(Err(SettleError::Poisoned("fdatasync: EIO".into()))));
    let error = bench.end().await.unwrap_err();
    assert!(matches!(error, DeliveryError::Spool(SettleError::Poisoned(_))), "{error}");
    assert_eq!(peer.wait(|seen| seen.live == 0).await.mails.len(), 1);
}

#[tokio::test]
async fn nothing_is_sent_from_a_shard_that_is_not_ours() {
    let peer = Peer::start(on(|line, n| (line == "DATA" && n == 0).then(|| Answer::AtGate("354 go on".into())))).await;
    let (_durable, held) = watch::channel(Some(Ok(())));
    let (ours, still_ours) = watch::channel(true);
    let between = Box::new(|spool| {
        Arc::new(Held { spool, durable: held, ours: still_ours, readable: true }) as Arc<dyn ShardSource>
    });
    let bench = Bench::with(&[("example.net", &[peer.address])], |_| {}, between);
    bench.send("example.net", &["ann"], BODY).await;
    peer.wait(|seen| seen.lines.iter().any(|l| l == "DATA")).await;
    ours.send_replace(false);
    peer.open_gate();
    let seen = peer.wait(|seen| seen.live == 0).await;
    assert!(seen.mails.is_empty(), "{:?}", seen.mails);
}

#[tokio::test]
async fn when_outcomes_cannot_be_written_running_transactions_are_cut_off() {
    let peer =
        Peer::start(on(|line, n| (line == "." && n == 1).then(|| Answer::AtGate("250 2.0.0 kept".into())))).await;
    let (durable, held) = watch::channel(None);
    let (_ours, ours) = watch::channel(true);
    let between =
        Box::new(|spool| Arc::new(Held { spool, durable: held, ours, readable: true }) as Arc<dyn ShardSource>);
    let mut bench = Bench::with(&[("example.net", &[peer.address])], |_| {}, between);
    bench.send("example.net", &["ann"], BODY).await;
    bench.send("example.net", &["bob"], BODY).await;
    peer.wait(|seen| seen.mails.len() == 2).await;
    durable.send_replace(Some(Err(SettleError::Poisoned("fdatasync: EIO".into()))));
    assert!(bench.end().await.is_err());
    peer.open_gate();
    peer.wait(|seen| seen.live == 0).await;
}

#[tokio::test]
async fn an_outcome_without_a_connection_that_cannot_be_written_ends_it() {
    let peer = Peer::start(Script::default()).await;
    for domain in ["nowhere.example", "expired.example"] {
        let (_durable, held) = watch::channel(Some(Err(SettleError::Poisoned("fdatasync: EIO".into()))));
        let (_ours, ours) = watch::channel(true);
        let between =
            Box::new(|spool| Arc::new(Held { spool, durable: held, ours, readable: true }) as Arc<dyn ShardSource>);
        let mut bench = Bench::with(&[("example.net", &[peer.address])], |_| {}, between);
        let expired = domain == "expired.example";
        let change = |e: &mut sluice_mail::Envelope| e.expires = if expired { e.accepted } else { e.expires };
        bench.send_changed(domain, &["ann"], BODY, change).await;
        let error = bench.end().await.unwrap_err();
        assert!(matches!(error, DeliveryError::Spool(SettleError::Poisoned(_))), "{domain}: {error}");
    }
}

#[tokio::test]
async fn a_message_that_cannot_be_read_waits_and_holds_up_nothing() {
    let peer = Peer::start(Script::default()).await;
    let (_durable, held) = watch::channel(Some(Ok(())));
    let (_ours, ours) = watch::channel(true);
    let between =
        Box::new(|spool| Arc::new(Held { spool, durable: held, ours, readable: false }) as Arc<dyn ShardSource>);
    let bench = Bench::with(&[("example.net", &[peer.address])], |c| c.max_smtp_out = 1, between);
    let large = bench.send("example.net", &["ann"], &"x\r\n".repeat(100_000)).await;
    let small = bench.send("example.net", &["bob"], BODY).await;
    assert_eq!(bench.fate(small).await.kind, FateKind::Delivered);
    let words = bench.waiting(large).await.last_reply.unwrap();
    assert_eq!(&*words, "the stored body cannot be read: checksum (at body)");
}

#[tokio::test]
async fn a_burst_for_many_domains_of_one_host_is_not_put_off_for_long() {
    let peer = Peer::start(Script::default()).await;
    let domains: Vec<String> = (0..40).map(|i| format!("d{i}.example")).collect();
    let hosts = [peer.address];
    let routes: Vec<_> = domains.iter().map(|domain| (domain.as_str(), &hosts[..])).collect();
    let bench = Bench::with(&routes, |raw| raw.max_outstanding_per_domain = 100, Box::new(|spool| spool));
    for _ in 0..15 {
        for domain in &domains {
            bench.send(domain, &["ann"], BODY).await;
        }
    }
    assert_eq!(bench.fates(600).await.len(), 600);
}
