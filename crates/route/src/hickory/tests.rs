use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, MX, NS, SOA, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record};
use sluice_mail::{EnhancedCode, ManualClock, UnixMs};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::*;

/// A name server on loopback that knows these zones and counts its questions.
pub(super) struct NameServer {
    pub(super) address: SocketAddr,
    asked: Arc<AtomicUsize>,
    /// While it is, every answer is a failure.
    broken: Arc<AtomicBool>,
    tasks: [tokio::task::JoinHandle<()>; 2],
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl NameServer {
    pub(super) async fn start() -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let (asked, broken) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (counter, is_broken) = (asked.clone(), broken.clone());
        let by_udp = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let (n, from) = udp.recv_from(&mut buffer).await.unwrap();
                counter.fetch_add(1, Ordering::Relaxed);
                let question = Message::from_vec(&buffer[..n]).unwrap();
                let answer =
                    if is_broken.load(Ordering::Relaxed) { Some(fail(question)) } else { answer(question, true) };
                if let Some(answer) = answer {
                    udp.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
                }
            }
        });
        let by_tcp = tokio::spawn(async move {
            loop {
                let (stream, _) = tcp.accept().await.unwrap();
                tokio::spawn(serve_tcp(stream));
            }
        });
        Self { address, asked, broken, tasks: [by_udp, by_tcp] }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// Waits until more was asked than this.
    async fn asked_more_than(&self, before: usize) {
        let more = async {
            while self.asked() <= before {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), more).await.unwrap();
    }
}

/// An error ends the connection, as when the resolver closes it.
async fn serve_tcp(mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        let mut question = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut question).await?;
        if let Some(answer) = answer(Message::from_vec(&question).unwrap(), false) {
            let answer = answer.to_vec().unwrap();
            stream.write_u16(answer.len().try_into().unwrap()).await?;
            stream.write_all(&answer).await?;
        }
    }
}

fn fail(question: Message) -> Message {
    let mut answer = question.into_response();
    answer.metadata.message_type = MessageType::Response;
    answer.metadata.response_code = ResponseCode::ServFail;
    answer
}

fn name(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).unwrap()
}

/// The zones, as a table: name, type, data.
const ZONES: &[(&str, &str, &str)] = &[
    ("many.example", "MX", "20 backup.example"),
    ("many.example", "MX", "10 b.example"),
    ("many.example", "MX", "10 a.example"),
    ("a.example", "A", "192.0.2.1"),
    ("a.example", "AAAA", "2001:db8::1"),
    ("b.example", "A", "192.0.2.2"),
    ("backup.example", "A", "192.0.2.3"),
    ("null.example", "MX", "0 "),
    ("implicit.example", "A", "192.0.2.4"),
    ("alias.example", "CNAME", "implicit.example"),
    ("six.example", "MX", "5 six.example"),
    ("six.example", "AAAA", "2001:db8::6"),
    ("empty.example", "TXT", ""),
    ("dangling.example", "MX", "5 gone.example"),
    ("halfway.example", "MX", "5 servfail.example"),
    ("halfway.example", "MX", "9 b.example"),
    ("stuck.example", "MX", "5 servfail.example"),
    ("inside.example", "MX", "5 loop.example"),
    ("inside.example", "MX", "6 lan.example"),
    ("loop.example", "A", "127.0.0.1"),
    ("loop.example", "AAAA", "::ffff:127.0.0.1"),
    ("lan.example", "A", "10.0.0.5"),
    ("mixed.example", "MX", "5 loop.example"),
    ("mixed.example", "MX", "6 b.example"),
    ("nullish.example", "MX", "0 "),
    ("nullish.example", "MX", "10 b.example"),
    ("indirect.example", "MX", "10 chain.example"),
    ("chain.example", "CNAME", "chain2.example"),
    ("chain2.example", "CNAME", "chain3.example"),
    ("chain3.example", "CNAME", "b.example"),
    ("aliasmx.example", "CNAME", "many.example"),
    ("aliasgone.example", "CNAME", "gone.example"),
    ("round.example", "CNAME", "round2.example"),
    ("round2.example", "CNAME", "round.example"),
    ("byaddress.example", "MX", "10 192.0.2.9"),
    ("byprivate.example", "MX", "10 10.0.0.5"),
    ("somegone.example", "MX", "10 gone.example"),
    ("somegone.example", "MX", "20 b.example"),
    ("allgone.example", "MX", "10 gone.example"),
    ("allgone.example", "MX", "20 gone2.example"),
    ("half.example", "MX", "10 aaaafails.example"),
    ("aaaafails.example", "TXT", ""),
    ("under_score.example", "MX", "10 b_1.example"),
    ("b_1.example", "A", "192.0.2.10"),
    ("xn--bcher-kva.example", "MX", "10 b.example"),
    ("big.example", "MX", "10 b.example"),
    ("ttl0.example", "A", "192.0.2.11"),
    ("ttlhuge.example", "A", "192.0.2.12"),
    ("ttlhuge.example", "MX", "5 ttlhuge.example"),
    ("disguised.example", "AAAA", "::ffff:10.0.0.5"),
    ("disguised.example", "A", "127.0.0.1"),
    ("s1._domainkey.texts.example", "TXT", "v=DKIM1; |p=|abc"),
    ("alias._domainkey.texts.example", "CNAME", "s1._domainkey.texts.example"),
    ("two.texts.example", "TXT", "one"),
    ("two.texts.example", "TXT", "two"),
];

/// A record's TTL, by its name.
fn ttl(owner: &str) -> u32 {
    match owner {
        "ttl0.example" => 0,
        "ttlhuge.example" => u32::MAX >> 1,
        _ => 300,
    }
}

fn answer(question: Message, by_udp: bool) -> Option<Message> {
    let query = question.queries[0].clone();
    let asked = query.name().to_ascii().to_lowercase();
    let asked = asked.trim_end_matches('.');
    let wanted = query.query_type().to_string();
    let mut answer = question.into_response();
    answer.metadata.message_type = MessageType::Response;
    if asked == "servfail.example" || (asked == "aaaafails.example" && wanted == "AAAA") {
        answer.metadata.response_code = ResponseCode::ServFail;
        return Some(answer);
    }
    if asked == "refused.example" {
        answer.metadata.response_code = ResponseCode::Refused;
        return Some(answer);
    }
    if asked == "elsewhere.example" {
        answer.add_authority(Record::from_rdata(name("example"), 300, RData::NS(NS(name("ns.example")))));
        return Some(answer);
    }
    if matches!(asked, "big.example" | "crowded.example") && by_udp {
        answer.metadata.truncation = true;
        return Some(answer);
    }
    if asked == "crowded.example" && wanted == "MX" {
        answer.add_answers((0..40).map(|n| record("crowded.example", "MX", &format!("{n} b.example"))));
        let host = |n: u16| RData::MX(MX::new(n, name(if n == 3 { "b.example" } else { "gone.example" })));
        answer.add_answers((40..90).map(|n| Record::from_rdata(query.name().clone(), 300, host(n))));
        return Some(answer);
    }
    let mut at = asked.to_owned();
    for _ in 0..5 {
        let alias = ZONES.iter().find(|(owner, kind, _)| *owner == at && *kind == "CNAME");
        let Some((owner, _, target)) = alias else { break };
        answer.add_answers([Record::from_rdata(name(owner), ttl(owner), RData::CNAME(CNAME(name(target))))]);
        at = (*target).to_owned();
    }
    if !ZONES.iter().any(|(owner, ..)| *owner == at) {
        answer.metadata.response_code = ResponseCode::NXDomain;
    }
    let records = records(&at, &wanted);
    if records.is_empty() {
        let minimum = if at == "gone4.example" { 240 } else { 120 };
        let soa = SOA::new(name("example"), name("root.example"), 1, 3600, 600, 86_400, minimum);
        answer.add_authority(Record::from_rdata(name("example"), minimum, RData::SOA(soa)));
    }
    answer.add_answers(records);
    Some(answer)
}

fn record(owner: &str, kind: &str, text: &str) -> Record {
    let data = match kind {
        "A" => RData::A(A(text.parse().unwrap())),
        "AAAA" => RData::AAAA(AAAA(text.parse().unwrap())),
        "TXT" => RData::TXT(TXT::new(text.split('|').map(str::to_owned).collect())),
        _ => {
            let (preference, exchange) = text.split_once(' ').unwrap();
            let exchange = if exchange.is_empty() { Name::root() } else { name(exchange) };
            RData::MX(MX::new(preference.parse().unwrap(), exchange))
        }
    };
    Record::from_rdata(name(owner), ttl(owner), data)
}

fn records(owner: &str, wanted: &str) -> Vec<Record> {
    let rows = ZONES.iter().filter(|(of, kind, _)| *of == owner && *kind == wanted && *kind != "CNAME");
    rows.map(|(of, kind, text)| record(of, kind, text)).collect()
}

#[expect(clippy::disallowed_methods, reason = "an instant cannot be made without the clock")]
fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Instant::now(), UnixMs(0)))
}

fn routes(server: &NameServer, clock: Arc<dyn Clock>) -> HickoryRoutes {
    let settings = Settings { name_servers: vec![server.address], port: 25, networks: Networks::default() };
    HickoryRoutes::new(settings, clock).unwrap()
}

/// `10 a.example 192.0.2.1, …` or the failure.
fn tell(answer: Resolved) -> String {
    let hop = |hop: &crate::Hop| {
        let mut ips: Vec<_> = hop.addresses.iter().map(|a| a.ip().to_string()).collect();
        ips.sort();
        format!("{} {} {}", hop.preference, hop.name, ips.join(" "))
    };
    match answer {
        Ok(route) => route.hops.iter().map(hop).collect::<Vec<_>>().join(", "),
        Err(failure) => failure.to_string(),
    }
}

#[tokio::test]
async fn each_kind_of_zone() {
    let server = NameServer::start().await;
    let routes = routes(&server, clock());
    for (host, want) in [
        ("many.example", "10 a.example 192.0.2.1 2001:db8::1, 10 b.example 192.0.2.2, 20 backup.example 192.0.2.3"),
        ("null.example", "5.1.10 the domain null.example accepts no mail (null MX) (at resolve)"),
        ("gone.example", "5.1.2 the domain gone.example does not exist (at resolve)"),
        ("implicit.example", "0 implicit.example 192.0.2.4"),
        ("alias.example", "0 alias.example 192.0.2.4"),
        ("six.example", "5 six.example 2001:db8::6"),
        ("empty.example", "5.4.4 no mail host of empty.example has an address (at resolve)"),
        ("dangling.example", "5.4.4 no mail host of dangling.example has an address (at resolve)"),
        ("halfway.example", "5 servfail.example , 9 b.example 192.0.2.2"),
        ("stuck.example", "the DNS cannot tell the address of servfail.example now: Server Failure (at resolve)"),
        ("servfail.example", "the DNS cannot tell the MX records of servfail.example now: Server Failure (at resolve)"),
        (
            "inside.example",
            "5.4.4 mail for inside.example would go where nothing is sent to: 127.0.0.1 (a loopback address), \
             ::ffff:127.0.0.1 (a loopback address), 10.0.0.5 (a private address) (at resolve)",
        ),
        ("mixed.example", "5 loop.example , 6 b.example 192.0.2.2"),
        ("[192.0.2.77]", "0 [192.0.2.77] 192.0.2.77"),
        (
            "[IPv6:::1]",
            "5.4.4 mail for [IPv6:::1] would go where nothing is sent to: ::1 (a loopback address) (at resolve)",
        ),
        ("nullish.example", "10 b.example 192.0.2.2"),
        ("indirect.example", "10 chain.example 192.0.2.2"),
        ("aliasmx.example", "10 a.example 192.0.2.1 2001:db8::1, 10 b.example 192.0.2.2, 20 backup.example 192.0.2.3"),
        ("aliasgone.example", "5.1.2 the domain aliasgone.example does not exist (at resolve)"),
        ("round.example", "5.4.4 no mail host of round.example has an address (at resolve)"),
        ("byaddress.example", "10 192.0.2.9 192.0.2.9"),
        (
            "byprivate.example",
            "5.4.4 mail for byprivate.example would go where nothing is sent to: 10.0.0.5 (a private address) (at resolve)",
        ),
        ("somegone.example", "10 gone.example , 20 b.example 192.0.2.2"),
        ("allgone.example", "5.4.4 no mail host of allgone.example has an address (at resolve)"),
        ("half.example", "the DNS cannot tell the address of aaaafails.example now: Server Failure (at resolve)"),
        ("refused.example", "the DNS cannot tell the MX records of refused.example now: Query Refused (at resolve)"),
        (
            "elsewhere.example",
            "the DNS cannot tell the MX records of elsewhere.example: the name server refers to others instead of \
             asking them (at resolve)",
        ),
        ("under_score.example", "10 b_1.example 192.0.2.10"),
        ("Bücher.example", "10 b.example 192.0.2.2"),
        ("big.example", "10 b.example 192.0.2.2"),
        (
            "disguised.example",
            "5.4.4 mail for disguised.example would go where nothing is sent to: 127.0.0.1 (a loopback address), \
             ::ffff:10.0.0.5 (a private address) (at resolve)",
        ),
        (
            "localhost",
            "5.4.4 mail for localhost would go where nothing is sent to: 127.0.0.1 (a loopback address), \
             ::1 (a loopback address) (at resolve)",
        ),
        ("no.such.invalid", "5.1.2 the domain no.such.invalid does not exist (at resolve)"),
    ] {
        let host = Host::parse(host).unwrap();
        assert_eq!(tell(routes.resolve(&host).await), want, "{host}");
    }
}

#[tokio::test]
async fn only_the_most_preferred_of_many_hosts_are_looked_at() {
    let server = NameServer::start().await;
    let routes = routes(&server, clock());
    let route = routes.resolve(&Host::parse("crowded.example").unwrap()).await.unwrap();
    assert_eq!((route.hops.len(), route.hops[0].preference), (2, 0), "a host that is named twice counts once");
}

#[tokio::test]
async fn an_answer_is_kept_for_its_ttl_within_bounds() {
    let (server, clock) = (NameServer::start().await, clock());
    let routes = routes(&server, clock.clone());
    for (host, seconds) in [
        ("many.example", 300),
        ("ttl0.example", 60),
        ("ttlhuge.example", 3600),
        ("gone.example", 120),
        ("gone4.example", 240),
        ("servfail.example", 10),
        ("halfway.example", 60),
    ] {
        let host = Host::parse(host).unwrap();
        let first = routes.resolve(&host).await;
        let asked = server.asked();
        clock.advance(Duration::from_secs(seconds - 1));
        assert_eq!(routes.at_hand(&host), Some(first.clone()), "{host}");
        assert_eq!(routes.resolve(&host).await, first);
        assert_eq!(server.asked(), asked, "{host}");
        clock.advance(Duration::from_secs(1));
        assert_eq!(routes.at_hand(&host), None, "{host}");
    }
}

#[tokio::test]
async fn a_busy_domain_never_waits_and_a_quiet_one_is_not_asked_for() {
    let (server, clock) = (NameServer::start().await, clock());
    let routes = routes(&server, clock.clone());
    let [busy, quiet] = ["many.example", "implicit.example"].map(|host| Host::parse(host).unwrap());
    routes.resolve(&busy).await.unwrap();
    routes.resolve(&quiet).await.unwrap();
    for round in 1..=3 {
        (0..20).for_each(|_| assert!(routes.at_hand(&busy).is_some()));
        clock.advance(Duration::from_secs(250));
        let asked = server.asked();
        assert!(routes.at_hand(&busy).is_some(), "round {round}");
        server.asked_more_than(asked).await;
        refreshed(&routes, &busy, Duration::from_secs(60)).await;
        assert_eq!(routes.numbers().refreshes, round);
    }
    assert!(routes.at_hand(&quiet).is_none());
}

/// Waits until the host's answer is good for a time.
async fn refreshed(routes: &HickoryRoutes, host: &Host, time: Duration) {
    let done = async {
        while routes.0.cache.life(routes.0.clock.now(), host) < time {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), done).await.unwrap();
}

#[tokio::test]
async fn when_the_dns_is_gone_known_routes_are_used_on_for_an_hour() {
    let (server, clock) = (NameServer::start().await, clock());
    let routes = routes(&server, clock.clone());
    let [known, unknown] = ["b.example", "implicit.example"].map(|host| Host::parse(host).unwrap());
    let route = routes.resolve(&known).await.unwrap();
    server.broken.store(true, Ordering::Relaxed);
    // Answers about single names are kept by the wall clock, which does not move here.
    let routes = HickoryRoutes(Arc::new(Inner { asker: fresh(&server), ..Arc::into_inner(routes.0).unwrap() }));
    clock.advance(Duration::from_secs(300));
    assert_eq!(routes.at_hand(&known), None);
    assert_eq!(routes.resolve(&known).await, Ok(route.clone()));
    assert_eq!(routes.at_hand(&known), Some(Ok(route)));
    assert!(matches!(routes.resolve(&unknown).await.unwrap_err().cause, Cause::Dns(_)));
    clock.advance(Duration::from_secs(3600));
    assert!(matches!(routes.resolve(&known).await.unwrap_err().cause, Cause::Dns(_)));
    assert_eq!((routes.numbers().stale, routes.numbers().failures), (1, 3));
}

fn fresh(server: &NameServer) -> Asker {
    Asker::new(&[server.address]).unwrap()
}

#[tokio::test]
async fn mail_to_ourselves_is_a_loop() {
    let server = NameServer::start().await;
    let networks = Networks::new(vec![], vec![]).with_own(vec!["127.0.0.1:25".parse().unwrap()]);
    let settings = Settings { name_servers: vec![server.address], port: 25, networks };
    let routes = HickoryRoutes::new(settings, clock()).unwrap();
    for host in ["inside.example", "mixed.example", "[127.0.0.1]", "localhost"] {
        let told = tell(routes.resolve(&Host::parse(host).unwrap()).await);
        assert!(told.starts_with(&format!("5.4.6 mail for {host} loops back to this host")), "{told}");
    }
}

#[tokio::test]
async fn failures_have_the_cause_that_is_judged() {
    let server = NameServer::start().await;
    let routes = routes(&server, clock());
    for (host, code) in [("null.example", EnhancedCode(5, 1, 10)), ("gone.example", EnhancedCode(5, 1, 2))] {
        let cause = routes.resolve(&Host::parse(host).unwrap()).await.unwrap_err().cause;
        assert!(matches!(cause, Cause::NoSuchHost(is, _) if is == code), "{cause:?}");
    }
    let cause = routes.resolve(&Host::parse("servfail.example").unwrap()).await.unwrap_err().cause;
    assert!(matches!(cause, Cause::Dns(_)), "{cause:?}");
}
