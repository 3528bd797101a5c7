//! What senders get back, against scripted peers on loopback.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::harness::{Bench, HOSTNAME};
use super::peer::{Mail, Peer, Script, on, say};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use sluice_mail::{Cause, Domain, EnhancedCode, Envelope, Event, Failure, FateKind, Host, Lane, Shard, Stage, Tried};
use sluice_registry::{AccountRules, Dsn};
use sluice_route::{FixedRoute, FixedRoutes, RelayHost, Resolved, Routes};
use sluice_sign::{Algorithm, Entry, Key, Owner, Validity};
use sluice_spool::memory::Memory;
use sluice_spool::{BodyError, Decision, SettleError, ShardEvent, ShardSource, State, Ticket, Window, WorkId};

use crate::{DeliveryError, RawConfig};

const BODY: &str = "From: sender@acme.example\r\nSubject: hi\r\n\r\nthe text\r\n";
const HOUR: Duration = Duration::from_secs(3600);

/// Refuses local parts that begin with `no`, puts off those that begin with `later`.
fn picky() -> Script {
    on(|line, _| {
        let refused = line.starts_with("RCPT TO:<no").then(|| say("550 5.1.1 nobody here"));
        refused.or_else(|| line.starts_with("RCPT TO:<later").then(|| say("450 4.2.1 later")))
    })
}

/// A picky peer for example.net, and where the senders are at home.
struct Town {
    away: Peer,
    home: Peer,
    bench: Bench,
}

async fn town() -> Town {
    town_with(|_| {}, Box::new(|spool| spool)).await
}

async fn town_with(change: impl FnOnce(&mut RawConfig), between: Box<super::harness::Between>) -> Town {
    let (away, home) = (Peer::start(picky()).await, Peer::start(Script::default()).await);
    let routes: &[(&str, &[_])] = &[("example.net", &[away.address]), ("acme.example", &[home.address])];
    let bench = Bench::with(routes, change, between);
    Town { away, home, bench }
}

impl Town {
    async fn reports(&self, n: usize) -> Vec<Mail> {
        self.home.wait(|seen| seen.mails.len() >= n).await.mails
    }

    /// How many reports were written, and how often there was this reason against one.
    fn told(&self, reason: &str) -> (u64, u64) {
        let count = |result| self.bench.counted("sluice_delivery_dsns_total", &[("result", result)]);
        (count("written"), count(reason))
    }
}

#[tokio::test]
async fn who_is_refused_comes_back_to_the_sender() {
    let town = town().await;
    let id = town.bench.send("example.net", &["no", "no2", "yes"], BODY).await;
    let fate = town.bench.fate(id).await;
    let mail = town.reports(1).await.remove(0);
    assert_eq!((mail.from.as_str(), &mail.to[..]), ("", &["sender@acme.example".to_owned()][..]));
    for words in ["no@example.net", "no2@example.net", "550 5.1.1 nobody here", "Subject: hi"] {
        assert!(mail.body.contains(words), "{words}: {}", mail.body);
    }
    assert!(!mail.body.contains("<yes@example.net>") && !mail.body.contains("the text"), "{}", mail.body);
    assert_eq!((fate.kind, fate.news().count()), (FateKind::Bounced, 3));
    let report = town.bench.fate(fate.report.unwrap()).await;
    assert_eq!((report.kind, report.about.report_on), (FateKind::Delivered, Some(id)));
    assert_eq!(report.about.mail_from, None);
    assert_eq!(town.bench.counted("sluice_delivery_bounces_total", &[("class", "bad-mailbox")]), 2);
}

#[tokio::test]
async fn reports_are_signed_by_the_hosts_own_key() {
    let town = town().await;
    let domain = Domain::parse(HOSTNAME).unwrap();
    let new = Key::generate(domain, "host".parse().unwrap(), Algorithm::Ed25519, 0).unwrap();
    let entry = Entry { key: Arc::new(new.key), owner: Owner::Everybody, validity: Validity::default() };
    town.bench.registry.set_file_keys(vec![entry]).await;
    let id = town.bench.send("example.net", &["no"], BODY).await;
    let mail = town.reports(1).await.remove(0);
    let d = format!("s=host; d={HOSTNAME};");
    assert!(mail.body.starts_with("DKIM-Signature: ") && mail.body.contains(&d), "{}", mail.body);
    assert!(mail.body.contains("no@example.net"));
    assert!(town.bench.fate(id).await.report.is_some());
}

#[tokio::test]
async fn those_that_fail_together_share_a_report_and_later_ones_have_their_own() {
    let town = town().await;
    let id = town.bench.send("example.net", &["no1", "later", "no2"], BODY).await;
    let waiting = town.bench.waiting(id).await;
    let first = town.reports(1).await.remove(0);
    assert!(first.body.contains("no1@") && first.body.contains("no2@") && !first.body.contains("later@"));
    let Some(Event::Attempt(attempt)) = town.bench.events(1).await.into_iter().next() else { panic!() };
    assert_eq!((attempt.number, attempt.report), (1, Some(id.report(1, 0))));
    let told: Vec<_> = attempt.results.iter().map(|r| matches!(r.tried, Tried::Decided(_))).collect();
    assert_eq!(told, [true, false, true]);
    assert_eq!(waiting.open_recipients().count(), 1);

    town.bench.retry_now(id);
    let again = town.bench.waiting_after(id, 2).await;
    assert_eq!(again.attempts, 2);
    assert_eq!(town.told("rate").0, 1, "nothing new is lost");
}

#[tokio::test]
async fn what_is_given_up_comes_back_with_the_peers_last_word() {
    let town = town().await;
    let brief = |e: &mut Envelope| e.expires = e.accepted.plus(Duration::from_millis(300));
    let id = town.bench.send_changed("example.net", &["later", "no"], BODY, brief).await;
    let fate = town.bench.fate(id).await;
    assert_eq!((fate.kind, fate.attempts), (FateKind::Expired, 1));
    assert_eq!(fate.news().map(|r| r.address.as_str()).collect::<Vec<_>>(), ["later@example.net"]);
    let mails = town.reports(2).await;
    let body = &mails.iter().find(|mail| mail.body.contains("later@example.net")).unwrap().body;
    assert!(body.contains("450 4.2.1 later") && body.contains("5.4.7"), "{body}");
    assert!(!body.contains("<no@example.net>"), "{body}");
    assert_eq!(town.bench.counted("sluice_delivery_expired_total", &[]), 1);
}

#[tokio::test]
async fn the_null_sender_gets_nothing_and_a_lost_report_causes_no_other() {
    let (away, home) = (Peer::start(picky()).await, Peer::start(picky()).await);
    let routes: &[(&str, &[_])] = &[("example.net", &[away.address]), ("acme.example", &[home.address])];
    let bench = Bench::start(routes);
    let nobody = bench.send_changed("example.net", &["no"], BODY, |e| e.mail_from = None).await;
    assert_eq!(bench.fate(nobody).await.report, None);
    let to_nobody = |e: &mut Envelope| e.mail_from = Some(sluice_mail::Address::parse("no@acme.example").unwrap());
    let id = bench.send_changed("example.net", &["no"], BODY, to_nobody).await;
    let report = bench.fate(id).await.report.unwrap();
    let lost = bench.fate(report).await;
    assert_eq!((lost.kind, lost.report), (FateKind::Bounced, None));
    assert_eq!(bench.counted("sluice_delivery_dsns_lost_total", &[]), 1);
    assert_eq!(bench.counted("sluice_delivery_dsns_total", &[("result", "null_sender")]), 2);
    assert_eq!(home.seen().mails.len(), 0);
}

#[tokio::test]
async fn the_account_says_what_comes_back() {
    for (dsn, expected) in [(Dsn::Off, None), (Dsn::Headers, Some(false)), (Dsn::Full, Some(true))] {
        let town = town().await;
        town.bench.account(AccountRules { dsn, ..AccountRules::default() }).await;
        let id = town.bench.send("example.net", &["no"], BODY).await;
        let fate = town.bench.fate(id).await;
        assert_eq!((fate.kind, fate.report.is_some()), (FateKind::Bounced, expected.is_some()), "{dsn:?}");
        if let Some(whole) = expected {
            assert_eq!(town.reports(1).await[0].body.contains("the text"), whole, "{dsn:?}");
        }
        assert_eq!(town.told("off"), if expected.is_some() { (1, 0) } else { (0, 1) });
    }
}

#[tokio::test]
async fn above_its_rate_an_account_gets_no_more_reports() {
    let own = town().await;
    own.bench.account(AccountRules { max_dsns_per_hour: NonZeroU32::new(2), ..AccountRules::default() }).await;
    let general = |c: &mut RawConfig| c.max_dsn_rate = "2/h".parse().unwrap();
    for town in [own, town_with(general, Box::new(|spool| spool)).await] {
        for _ in 0..5 {
            town.bench.send("example.net", &["no"], BODY).await;
        }
        let fates = town.bench.fates(7).await;
        assert_eq!(fates.iter().filter(|fate| fate.kind == FateKind::Bounced).count(), 5);
        assert_eq!(fates.iter().filter(|fate| fate.about.report_on.is_some()).count(), 2);
        assert_eq!(town.told("rate"), (2, 3));
        assert_eq!(town.home.seen().mails.len(), 2);
    }
}

#[tokio::test]
async fn a_large_message_comes_back_too() {
    let town = town_with(|c| c.max_large_bodies = sluice_daemon::config::Size::mib(1), Box::new(|s| s)).await;
    town.bench.account(AccountRules { dsn: Dsn::Full, ..AccountRules::default() }).await;
    let large = format!("Subject: large\r\n\r\n{}", "0123456789\r\n".repeat(60_000));
    for _ in 0..4 {
        town.bench.send("example.net", &["no"], &large).await;
    }
    for mail in town.reports(4).await {
        assert!(mail.body.contains(&large));
    }
}

#[tokio::test]
async fn a_delay_is_told_once_a_period() {
    let town =
        town_with(|c| c.notify_of_delay_every = sluice_daemon::config::Time::hours(4), Box::new(|spool| spool)).await;
    let old = |e: &mut Envelope| {
        e.accepted = sluice_mail::UnixMs(e.accepted.0 - 5 * 3_600_000);
        e.expires = e.accepted.plus(HOUR * 20);
    };
    let id = town.bench.send_changed("example.net", &["later", "no"], BODY, old).await;
    let waiting = town.bench.waiting(id).await;
    assert_eq!(waiting.delay_notices, 1);
    let mails = town.reports(2).await;
    let delay = mails.iter().find(|mail| mail.body.contains("later@example.net")).unwrap();
    assert!(delay.body.contains("Action: delayed") && !delay.body.contains("<no@example.net>"), "{}", delay.body);
    let Some(Event::Attempt(attempt)) = town.bench.events(1).await.into_iter().next() else { panic!() };
    assert_eq!(attempt.report, Some(id.report(1, 0)), "the report on the loss stands before that on the delay");
    town.bench.retry_now(id);
    town.bench.waiting_after(id, 2).await;
    assert_eq!(town.told("rate").0, 2);
}

#[tokio::test]
async fn mail_for_a_dead_site_is_given_up_in_time() {
    let home = Peer::start(Script::default()).await;
    let dead = [super::peer::closed_port().await];
    let change = |c: &mut RawConfig| c.initial_destination_concurrency = 1;
    let routes: &[(&str, &[_])] = &[("example.net", &dead), ("acme.example", &[home.address])];
    let bench = Bench::with(routes, change, Box::new(|spool| spool));
    let first = bench.send("example.net", &["ann"], BODY).await;
    bench.waiting(first).await;
    let brief = |e: &mut Envelope| e.expires = e.accepted.plus(Duration::from_millis(200));
    let id = bench.send_changed("example.net", &["bob"], BODY, brief).await;
    let fate = bench.fate(id).await;
    assert_eq!((fate.kind, fate.attempts), (FateKind::Expired, 0));
    let mail = home.wait(|seen| seen.mails.len() == 1).await.mails.remove(0);
    assert!(mail.body.contains("bob@example.net"), "{}", mail.body);
}

#[tokio::test]
async fn who_waits_for_a_dead_site_hears_of_it_without_an_attempt() {
    let home = Peer::start(Script::default()).await;
    let dead = [super::peer::closed_port().await];
    let change = |c: &mut RawConfig| {
        c.notify_of_delay_every = sluice_daemon::config::Time::hours(4);
        c.initial_destination_concurrency = 1;
    };
    let routes: &[(&str, &[_])] = &[("example.net", &dead), ("acme.example", &[home.address])];
    let bench = Bench::with(routes, change, Box::new(|spool| spool));
    let first = bench.send("example.net", &["ann"], BODY).await;
    assert_eq!(bench.waiting(first).await.attempts, 1, "from now on the site is dead");
    let old = |e: &mut Envelope| {
        e.accepted = sluice_mail::UnixMs(e.accepted.0 - 5 * 3_600_000);
        e.expires = e.accepted.plus(HOUR * 20);
    };
    let id = bench.send_changed("example.net", &["bob"], BODY, old).await;
    let waiting = bench.waiting(id).await;
    assert_eq!((waiting.attempts, waiting.delay_notices), (0, 1));
    let mail = home.wait(|seen| seen.mails.len() == 1).await.mails.remove(0);
    assert!(mail.body.contains("Action: delayed") && mail.body.contains("bob@example.net"), "{}", mail.body);
}

/// Knows that a domain does not exist.
struct Nowhere(FixedRoutes);

impl Routes for Nowhere {
    fn at_hand(&self, host: &Host) -> Option<Resolved> {
        match host.to_string().as_str() {
            "nowhere.example" => {
                let cause = Cause::NoSuchHost(EnhancedCode(5, 1, 2), "there is no such domain".into());
                Some(Err(Failure::new(Stage::Resolve, cause)))
            }
            _ => self.0.at_hand(host),
        }
    }
    fn resolve<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Resolved> {
        let answer = self.at_hand(host).unwrap();
        Box::pin(async move { answer })
    }
}

#[tokio::test]
async fn mail_to_no_domain_comes_back_at_once() {
    let home = Peer::start(Script::default()).await;
    let route = FixedRoute::new(None, vec![RelayHost::at(home.address)]);
    let clock = Arc::new(sluice_daemon::SystemClock);
    let routes = Nowhere(FixedRoutes::new(vec![route], None, clock));
    let bench = Bench::over(Arc::new(routes), |_| {}, Box::new(|spool| spool));
    let fate = bench.fate(bench.send("nowhere.example", &["ann"], BODY).await).await;
    assert_eq!((fate.kind, fate.attempts), (FateKind::Bounced, 1));
    let mail = home.wait(|seen| seen.mails.len() == 1).await.mails.remove(0);
    assert!(mail.body.contains("there is no such domain") && mail.body.contains("5.1.2"), "{}", mail.body);
}

#[derive(Clone, Copy, PartialEq)]
enum Reading {
    Fails,
    Hangs,
    Works,
}

/// A source whose bodies cannot be read, or whose decisions cannot be written.
struct Broken {
    spool: Arc<Memory>,
    reading: Reading,
    writes: bool,
}

impl ShardSource for Broken {
    fn next(&self) -> BoxFuture<'_, ShardEvent> {
        Box::pin(async {
            let event = self.spool.next().await;
            match event {
                ShardEvent::Work(mut work) if work.envelope.report_on.is_none() => {
                    work.body = None;
                    ShardEvent::Work(work)
                }
                other @ (ShardEvent::Work(_)
                | ShardEvent::Owned(..)
                | ShardEvent::Draining(..)
                | ShardEvent::Lost(_)) => other,
            }
        })
    }
    fn body(&self, work: WorkId) -> BoxFuture<'_, Result<Bytes, BodyError>> {
        match self.reading {
            Reading::Works => self.spool.body(work),
            Reading::Fails => Box::pin(async { Err(BodyError::Unreadable("checksum".into())) }),
            Reading::Hangs => Box::pin(std::future::pending()),
        }
    }
    fn settle(&self, work: WorkId, decision: Decision) -> Ticket {
        match self.writes {
            true => self.spool.settle(work, decision),
            false => Box::pin(async { Err(SettleError::Poisoned("fdatasync: EIO".into())) }),
        }
    }
    fn give_back(&self, work: WorkId) {
        self.spool.give_back(work);
    }
    fn window(&self, shard: Shard, window: Window) {
        self.spool.window(shard, window);
    }
    fn may_send(&self, _: Shard) -> bool {
        true
    }
}

fn broken(reading: Reading, writes: bool) -> Box<super::harness::Between> {
    Box::new(move |spool| Arc::new(Broken { spool, reading, writes }) as Arc<dyn ShardSource>)
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_reported_without_it() {
    let town = town_with(|_| {}, broken(Reading::Fails, true)).await;
    let over = |e: &mut Envelope| e.expires = e.accepted;
    let id = town.bench.send_changed("example.net", &["ann"], BODY, over).await;
    assert_eq!(town.bench.fate(id).await.kind, FateKind::Expired);
    let mail = town.reports(1).await.remove(0);
    assert!(mail.body.contains("could not be read back") && !mail.body.contains("Subject: hi"), "{}", mail.body);
}

#[tokio::test]
async fn a_storm_of_expiries_comes_back_whole() {
    for reading in [Reading::Works, Reading::Fails] {
        let town = town_with(|_| {}, broken(reading, true)).await;
        let over = |e: &mut Envelope| e.expires = e.accepted;
        for _ in 0..1_500 {
            town.bench.send_changed("example.net", &["ann"], BODY, over).await;
        }
        let fates = town.bench.fates(3_000).await;
        assert_eq!(fates.iter().filter(|fate| fate.kind == FateKind::Expired && fate.report.is_some()).count(), 1_500);
        assert_eq!(town.home.seen().mails.len(), 1_500);
        assert_eq!(town.away.seen().connections, 0);
    }
}

#[tokio::test]
async fn a_report_that_cannot_be_written_leaves_the_message_as_it_was() {
    for reading in [Reading::Works, Reading::Fails] {
        let mut town = town_with(|_| {}, broken(reading, false)).await;
        let over = |e: &mut Envelope| e.expires = e.accepted;
        let id = town.bench.send_changed("example.net", &["ann"], BODY, over).await;
        let error = town.bench.end().await.unwrap_err();
        assert!(matches!(error, DeliveryError::Spool(SettleError::Poisoned(_))), "{error}");
        assert_eq!(town.bench.entry(id).await.unwrap().state, State::Active);
    }
}

#[tokio::test]
async fn the_end_does_not_wait_for_ever_for_a_disk_that_hangs() {
    let brief = |c: &mut RawConfig| c.drain_timeout = sluice_daemon::config::Time::secs(0);
    let mut town = town_with(brief, broken(Reading::Hangs, true)).await;
    let over = |e: &mut Envelope| e.expires = e.accepted;
    let id = town.bench.send_changed("example.net", &["ann"], BODY, over).await;
    town.bench.until(id, |state| *state == State::Active).await;
    town.bench.begin_shutdown();
    town.bench.end().await.unwrap();
    assert_eq!(town.bench.entry(id).await.unwrap().state, State::Active, "to be told after the next start");
}

#[tokio::test]
async fn the_next_attempt_is_as_lane_domain_and_account_say() {
    let times = |seconds| vec![sluice_daemon::config::Time::secs(seconds)];
    let change = move |c: &mut RawConfig| {
        c.retry_after = times(10_000);
        c.lanes.bulk.retry_after = Some(times(20_000));
        c.domains = vec![crate::RawDomain {
            domain: "special.example".into(),
            retry_after: Some(times(30_000)),
            ..crate::RawDomain::default()
        }];
    };
    let away = Peer::start(picky()).await;
    let hosts = [away.address];
    let bench = Bench::with(&[("example.net", &hosts), ("special.example", &hosts)], change, Box::new(|spool| spool));
    bench
        .account(AccountRules { retry_after: Some(vec![Duration::from_secs(40_000)]), ..AccountRules::default() })
        .await;
    for (account, lane, domain, seconds) in [
        ("other", Lane::Transactional, "example.net", 10_000_u64),
        ("other", Lane::Bulk, "example.net", 20_000),
        ("other", Lane::Bulk, "special.example", 30_000),
        ("acme", Lane::Bulk, "special.example", 40_000),
    ] {
        let change = |e: &mut Envelope| {
            e.account = account.into();
            e.lane = lane;
            e.expires = e.accepted.plus(HOUR * 100);
        };
        let id = bench.send_changed(domain, &["later"], BODY, change).await;
        let entry = bench.until(id, |state| matches!(state, State::Waiting(_))).await;
        let State::Waiting(until) = entry.state else { unreachable!() };
        let waits = until.since(entry.envelope.accepted).as_secs();
        assert!((seconds * 89 / 100..=seconds * 111 / 100).contains(&waits), "{account} {lane} {domain}: {waits}");
    }
}
