//! Mail by the DNS: real zones in Knot, resolved by unbound, and hosts on loopback addresses.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use sluice_tests::dns::{Dns, NXDOMAIN, SERVFAIL, Setup, Zone};
use sluice_tests::mailbox::Letter;
use sluice_tests::sink::{Mailbox, Sink};
use sluice_tests::sluice::{Settings, Sluice};
use sluice_tests::smtp::Client;
use sluice_tests::{ports, process, wait};

use crate::TestResult;
use crate::fixture::queue_id;

/// Who sends; what comes back goes to [`BACK`].
const FROM: &str = "x@ledger.test";
/// Where mail for the sender's domain goes, by a static route.
const BACK: &str = "ledger.test";

#[test]
fn the_servers_of_the_harness() -> TestResult {
    let zones = vec![Zone::at("one.example", &["127.1.1.1"]), Zone::new("two.test").with("@", "A", "127.1.1.2")];
    let mut dns = Dns::start(&Setup::of(zones).broken(&["broken.example"]).silent(&["silent.example"]))?;
    let limit = Duration::from_secs(10);
    for (name, kind, want) in [
        ("one.example", 15, 0),
        ("mx.one.example", 1, 0),
        ("two.test", 1, 0),
        ("three.example", 15, NXDOMAIN),
        ("broken.example", 15, SERVFAIL),
    ] {
        let got = dns.code(name, kind, limit)?;
        ensure!(got == Some(want), "{name}: {got:?}");
    }
    ensure!(dns.code("silent.example", 15, Duration::from_millis(200))?.is_none());
    dns.change(&Setup::default())?;
    ensure!(dns.code("one.example", 15, limit)? == Some(NXDOMAIN));
    Ok(())
}

/// A host that takes mail.
struct Host {
    address: SocketAddr,
    mailbox: Arc<Mailbox>,
    _sink: Sink,
}

impl Host {
    fn at(ip: &str, port: u16) -> Result<Self> {
        let mailbox = Arc::new(Mailbox::default());
        let address = SocketAddr::new(ip.parse()?, port);
        let sink = Sink::start_at(address, mailbox.clone()).with_context(|| address.to_string())?;
        Ok(Self { address, mailbox, _sink: sink })
    }

    /// Waits until it has mail for all of these, and checks that it has no other.
    fn expect(&self, recipients: &[String]) -> TestResult {
        let mut want = recipients.to_vec();
        want.sort();
        let taken = wait::until(wait::PATIENCE, &format!("mail for {want:?} at {}", self.address), || {
            let taken = self.mailbox.taken();
            Ok((taken.len() >= want.len()).then_some(taken))
        });
        let taken = taken.unwrap_or_else(|_| self.mailbox.taken());
        let mut got: Vec<_> = taken.into_iter().flat_map(|transaction| transaction.recipients).collect();
        got.sort();
        ensure!(got == want, "at {}: {got:?} instead of {want:?}", self.address);
        Ok(())
    }
}

/// Sluice that asks this DNS, connects to hosts at `port`, and sends what is for the sender to `back`.
fn start(dns: &Dns, port: u16, back: &Host, delivery: &str) -> Result<Sluice> {
    let mut settings = Settings { routes: vec![(BACK.to_owned(), back.address)], ..Settings::default() };
    settings.delivery = format!("{}default_smtp_port = {port}\nretry_after = [\"1s\"]\n{delivery}\n", dns.config());
    Sluice::start(&settings)
}

/// Submits a mail to each, and gives their queue ids.
fn send<T: AsRef<str>>(sluice: &Sluice, recipients: &[T]) -> Result<Vec<String>> {
    let mut client = Client::open(sluice.ports.trusted)?;
    let mut ids = Vec::new();
    for to in recipients.iter().map(AsRef::as_ref) {
        let letter = format!("From: {FROM}\r\nTo: {to}\r\nSubject: to {to}\r\n\r\ntext\r\n");
        let reply = client.submit(FROM, &[to], letter.as_bytes())?.expect("250 2.0.0")?;
        ids.push(queue_id(&reply.text()).context("no queue id")?.to_owned());
    }
    Ok(ids)
}

/// A recipient in each of these domains below `example`.
fn at(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("r@{name}.example")).collect()
}

/// Where the tests' hosts are.
const LOOPBACK: &str = "allowed_networks = [\"127.0.0.0/8\", \"::1/128\"]\n";

#[test]
fn each_zone_leads_to_its_hosts() -> TestResult {
    let port = ports::free()?;
    let long = "a-host-with-a-name-too-long-for-forty-answers-by-datagram";
    let many = (0..40).fold(Zone::new("many.example"), |zone, n| zone.with("@", "MX", &format!("{n} {long}{n}")));
    let after = |name: &str, first: &str| {
        Zone::new(name).with("@", "MX", &format!("10 {first}.")).with("@", "MX", "20 b.hosts.example.")
    };
    let zones = vec![
        Zone::new("order.example").with("@", "MX", "20 b.hosts.example.").with("@", "MX", "10 a.hosts.example."),
        after("dead.example", "dead.hosts.example"),
        after("gone.example", "gone.hosts.example"),
        after("broken.example", "mx.servfail.example"),
        after("barred.example", "lan.hosts.example"),
        Zone::new("implicit.example").with("@", "A", "127.77.1.1"),
        Zone::new("alias.example").with("www", "CNAME", "order.example."),
        Zone::new("chain.example").with("@", "MX", "5 c1").with("c1", "CNAME", "c2").with("c2", "CNAME", "c3").with(
            "c3",
            "CNAME",
            "a.hosts.example.",
        ),
        Zone::new("nullish.example").with("@", "MX", "0 .").with("@", "MX", "10 a.hosts.example."),
        Zone::new("under_score.example").with("@", "MX", "10 a_1.hosts.example."),
        Zone::new("xn--bcher-kva.example").with("@", "MX", "10 a.hosts.example."),
        many.with(&format!("{long}0"), "A", "127.77.1.1"),
        Zone::at("six.example", &["::1"]),
        Zone::new("hosts.example")
            .with("a", "A", "127.77.1.1")
            .with("a_1", "A", "127.77.1.1")
            .with("b", "A", "127.77.1.2")
            .with("dead", "A", "127.77.1.9")
            .with("lan", "A", "10.0.0.5"),
    ];
    let dns = Dns::start(&Setup::of(zones).broken(&["servfail.example"]))?;
    let (a, b) = (Host::at("127.77.1.1", port)?, Host::at("127.77.1.2", port)?);
    // Not every machine has IPv6.
    let six = Host::at("::1", port).ok();
    let sluice = start(&dns, port, &b, LOOPBACK)?;
    let mut to_a = at(&["order", "www.alias", "implicit", "chain", "nullish", "under_score", "xn--bcher-kva", "many"]);
    to_a.push("r@[127.77.1.1]".to_owned());
    let to_b = at(&["dead", "gone", "broken", "barred"]);
    send(&sluice, &[&to_a[..], &to_b[..]].concat())?;
    a.expect(&to_a)?;
    b.expect(&to_b)?;
    if let Some(six) = six {
        send(&sluice, &at(&["six"]))?;
        six.expect(&at(&["six"]))?;
    }
    Ok(())
}

#[test]
fn hosts_of_one_preference_share_the_mail() -> TestResult {
    const MAILS: usize = 60;
    let port = ports::free()?;
    let zone = Zone::new("equal.example")
        .with("@", "MX", "10 a")
        .with("@", "MX", "10 b")
        .with("@", "MX", "20 c")
        .with("a", "A", "127.77.2.1")
        .with("b", "A", "127.77.2.2")
        .with("c", "A", "127.77.2.3");
    let dns = Dns::start(&Setup::of(vec![zone]))?;
    let hosts = ["127.77.2.1", "127.77.2.2", "127.77.2.3"].map(|ip| Host::at(ip, port));
    let [a, b, c] = hosts;
    let (a, b, c) = (a?, b?, c?);
    let sluice = start(&dns, port, &c, &format!("{LOOPBACK}max_msg_per_connection = 1\n"))?;
    send(&sluice, &vec!["r@equal.example"; MAILS])?;
    let count = |host: &Host| host.mailbox.taken().len();
    wait::for_condition("all mail", || Ok(count(&a) + count(&b) + count(&c) >= MAILS))?;
    // Each has less than ten of sixty in one of 40 million runs.
    ensure!(count(&a) >= 10 && count(&b) >= 10 && count(&c) == 0, "{} {} {}", count(&a), count(&b), count(&c));
    Ok(())
}

/// Waits until the sender has a report on each recipient, and checks its status and words.
fn expect_reports(back: &Host, wanted: &[(String, &str, &str)]) -> TestResult {
    let taken = back.mailbox.wait_for(wanted.len())?;
    let mut told = BTreeMap::new();
    for transaction in &taken {
        ensure!(transaction.mail.starts_with("<>") && transaction.recipients == [FROM], "{transaction:?}");
        let report = Letter::read(&transaction.content)?;
        ensure!(report.is_report() && report.defects().is_empty(), "{report:?}");
        for status in report.statuses() {
            let words = format!("{} {}", status.status, status.diagnostic);
            ensure!(told.insert(status.recipient.clone(), words).is_none(), "two reports on {}", status.recipient);
        }
    }
    for (recipient, code, words) in wanted {
        let got = told.remove(recipient).with_context(|| format!("no report on {recipient}; {told:?}"))?;
        ensure!(got.starts_with(code) && got.contains(words), "{recipient}: {got:?} instead of {code} {words}");
    }
    ensure!(told.is_empty(), "reports that nobody expects: {told:?}");
    Ok(())
}

#[test]
fn what_the_dns_says_can_never_be_is_returned() -> TestResult {
    let port = ports::free()?;
    let zones = vec![
        Zone::new("null.example").with("@", "MX", "0 ."),
        Zone::new("hostless.example").with("@", "MX", "10 gone.example.").with("@", "MX", "20 gone2.example."),
        Zone::new("empty.example").with("@", "TXT", "nothing"),
        Zone::new("dangling.example").with("www", "CNAME", "gone.example."),
    ];
    let dns = Dns::start(&Setup::of(zones))?;
    let back = Host::at("127.77.3.1", port)?;
    let sluice = start(&dns, port, &back, LOOPBACK)?;
    let wanted = [
        ("r@null.example", "5.1.10", "null.example accepts no mail (null MX)"),
        ("r@gone.example", "5.1.2", "gone.example does not exist"),
        ("r@www.dangling.example", "5.1.2", "www.dangling.example does not exist"),
        ("r@hostless.example", "5.4.4", "no mail host of hostless.example has an address"),
        ("r@empty.example", "5.4.4", "no mail host of empty.example has an address"),
    ]
    .map(|(recipient, code, words)| (recipient.to_owned(), code, words));
    send(&sluice, &wanted.each_ref().map(|(recipient, ..)| recipient))?;
    expect_reports(&back, &wanted)
}

#[test]
fn what_the_dns_cannot_tell_now_waits_and_nothing_else_does() -> TestResult {
    let port = ports::free()?;
    let good = Zone::at("good.example", &["127.77.4.1"]);
    let setup = Setup::of(vec![good.clone()]).broken(&["broken.example"]).silent(&["silent.example"]);
    let mut dns = Dns::start(&setup)?;
    let host = Host::at("127.77.4.1", port)?;
    let sluice = start(&dns, port, &host, LOOPBACK)?;
    let ids = send(&sluice, &at(&["broken", "silent", "good"]))?;
    host.expect(&at(&["good"]))?;
    for (id, why) in [(&ids[0], "MX records of broken.example now"), (&ids[1], "MX records of silent.example in time")]
    {
        wait::until(wait::PATIENCE, why, || {
            let text = sluice.cli(&["queue", "show", id])?.success()?.stdout;
            Ok((text.contains("waiting") && text.contains(why)).then_some(()))
        })?;
    }
    let mended = ["broken", "silent"].map(|name| Zone::at(&format!("{name}.example"), &["127.77.4.1"]));
    dns.change(&Setup::of([vec![good], mended.to_vec()].concat()))?;
    host.expect(&at(&["good", "broken", "silent"]))
}

/// A port that only counts who connects.
struct Trap(TcpListener);

impl Trap {
    fn at(address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address).with_context(|| address.to_string())?;
        listener.set_nonblocking(true)?;
        Ok(Self(listener))
    }

    fn expect_somebody(&self) -> TestResult {
        let what = format!("somebody at {:?}", self.0.local_addr());
        wait::for_condition(&what, || Ok(self.0.accept().is_ok()))
    }

    fn expect_nobody(&self) -> TestResult {
        match self.0.accept() {
            Ok((_, peer)) => bail!("{peer} connected to {:?}", self.0.local_addr()),
            Err(why) if why.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(why) => Err(why.into()),
        }
    }
}

/// In a network of its own, if the system allows it: there 10.0.0.5 can be an address of this machine.
#[test]
fn nobodys_mx_leads_into_our_own_network() -> TestResult {
    const NAME: &str = "dns::nobodys_mx_leads_into_our_own_network";
    const INSIDE: &str = "SLUICE_TESTS_NETWORK";
    let has_own = Command::new("unshare").args(["-n", "true"]).status().is_ok_and(|status| status.success());
    if std::env::var_os(INSIDE).is_none() && has_own {
        let mut again = Command::new("unshare");
        again.arg("-n").arg(std::env::current_exe()?).args(["--exact", NAME, "--nocapture"]).env(INSIDE, "1");
        let finished = process::run_within(&mut again, b"", wait::PATIENCE * 3)?.success()?;
        ensure!(finished.stdout.contains("1 passed"), "{finished:?}");
        return Ok(());
    }
    if std::env::var_os(INSIDE).is_some() {
        for words in ["link set lo up", "address add 10.0.0.5/32 dev lo"] {
            process::run(Command::new("ip").args(words.split(' ')), b"")?.success()?;
        }
    }
    let port = ports::free()?;
    let traps: Vec<_> = ["127.0.0.1", "10.0.0.5", "::1"]
        .iter()
        .filter_map(|ip| Trap::at(SocketAddr::new(ip.parse().ok()?, port)).ok())
        .collect();
    ensure!(!traps.is_empty() && (traps.len() == 3 || !has_own), "{} traps", traps.len());
    let hosts = [
        ("loopback", "127.0.0.1", "127.0.0.1 (a loopback address)"),
        ("lan", "10.0.0.5", "10.0.0.5 (a private address)"),
        ("six", "::1", "::1 (a loopback address)"),
        ("mapped", "::ffff:127.0.0.1", "::ffff:127.0.0.1 (a loopback address)"),
        ("mappedlan", "::ffff:10.0.0.5", "::ffff:10.0.0.5 (a private address)"),
        ("unspecified", "0.0.0.0", "0.0.0.0 (this machine itself)"),
    ];
    let mut zones: Vec<_> = hosts.iter().map(|(name, ip, _)| Zone::at(&format!("{name}.example"), &[ip])).collect();
    zones.push(Zone::new("byname.example").with("@", "MX", "10 localhost."));
    zones.push(Zone::new("byaddress.example").with("@", "MX", "10 127.0.0.1."));
    let dns = Dns::start(&Setup::of(zones))?;
    let back = Host::at("127.0.0.1", ports::free()?)?;
    let sluice = start(&dns, port, &back, "")?;
    let mut wanted: Vec<_> =
        hosts.iter().map(|(name, _, words)| (format!("r@{name}.example"), "5.4.4", *words)).collect();
    wanted.push(("r@byname.example".to_owned(), "5.4.4", "127.0.0.1 (a loopback address)"));
    wanted.push(("r@byaddress.example".to_owned(), "5.4.4", "127.0.0.1 (a loopback address)"));
    wanted.push(("r@[127.0.0.1]".to_owned(), "5.4.4", "127.0.0.1 (a loopback address)"));
    wanted.push(("r@[IPv6:::1]".to_owned(), "5.4.4", "::1 (a loopback address)"));
    send(&sluice, &wanted.iter().map(|(recipient, ..)| recipient).collect::<Vec<_>>())?;
    expect_reports(&back, &wanted)?;
    traps.iter().try_for_each(Trap::expect_nobody)?;
    // The same ones are gone to where the operator allows it: the traps do work.
    let sluice = start(&dns, port, &back, "prohibited_hosts = []\n")?;
    send(&sluice, &at(&["loopback", "lan", "six"]))?;
    traps.iter().try_for_each(Trap::expect_somebody)
}

#[test]
fn nobodys_mx_leads_to_our_own_listener() -> TestResult {
    let zones = vec![
        Zone::at("own.example", &["127.0.0.1"]),
        Zone::new("backup.example")
            .with("@", "MX", "10 own")
            .with("@", "MX", "20 other")
            .with("own", "A", "127.0.0.1")
            .with("other", "A", "127.77.5.1"),
        Zone::new("relayed.example")
            .with("@", "MX", "10 other")
            .with("@", "MX", "20 own")
            .with("own", "A", "127.0.0.1")
            .with("other", "A", "127.77.5.1"),
    ];
    let dns = Dns::start(&Setup::of(zones))?;
    let back = Host::at("127.0.0.1", ports::free()?)?;
    let mut settings = Settings { routes: vec![(BACK.to_owned(), back.address)], ..Settings::default() };
    let mut sluice = Sluice::prepare(&settings)?;
    let own = sluice.ports.trusted;
    let other = Host::at("127.77.5.1", own.port())?;
    settings.delivery = format!("{}default_smtp_port = {}\n{LOOPBACK}", dns.config(), own.port());
    sluice.configure(&settings)?;
    sluice.run()?;
    sluice.add_trusted_account()?;
    let words = |domain| format!("mail for {domain} loops back to this host");
    let (first, second, third) = (words("own.example"), words("backup.example"), words("[127.0.0.1]"));
    let wanted = [
        ("r@own.example".to_owned(), "5.4.6", first.as_str()),
        ("r@backup.example".to_owned(), "5.4.6", second.as_str()),
        ("r@[127.0.0.1]".to_owned(), "5.4.6", third.as_str()),
    ];
    send(&sluice, &wanted.each_ref().map(|(recipient, ..)| recipient))?;
    expect_reports(&back, &wanted)?;
    let sessions = sluice.metric("sluice_ingress_sessions_total")?;
    ensure!(sessions < 1.5, "{sessions} sessions, of which one is the sender's");
    send(&sluice, &at(&["relayed"]))?;
    other.expect(&at(&["relayed"]))
}
