use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, MX, SOA};
use hickory_resolver::proto::rr::{Name, Record};
use sluice_mail::{EnhancedCode, ManualClock, UnixMs};
use tokio::net::UdpSocket;

use super::*;

/// A name server on loopback that knows these zones and counts its questions.
struct NameServer {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl NameServer {
    async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        let task = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let (n, from) = socket.recv_from(&mut buffer).await.unwrap();
                counter.fetch_add(1, Ordering::Relaxed);
                let question = Message::from_vec(&buffer[..n]).unwrap();
                if let Some(answer) = answer(question) {
                    socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
                }
            }
        });
        Self { address, asked, task }
    }
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
];

fn answer(question: Message) -> Option<Message> {
    let query = question.queries[0].clone();
    let asked = query.name().to_ascii().to_lowercase();
    let asked = asked.trim_end_matches('.');
    let mut answer = question.into_response();
    answer.metadata.message_type = MessageType::Response;
    if asked == "silent.example" {
        return None;
    }
    if asked == "servfail.example" {
        answer.metadata.response_code = ResponseCode::ServFail;
        return Some(answer);
    }
    if !ZONES.iter().any(|(owner, ..)| *owner == asked) {
        answer.metadata.response_code = ResponseCode::NXDomain;
    }
    let wanted = query.query_type().to_string();
    let mut records = records(asked, &wanted);
    if records.is_empty()
        && let Some((_, _, target)) = ZONES.iter().find(|(owner, kind, _)| *owner == asked && *kind == "CNAME")
    {
        records.push(Record::from_rdata(query.name().clone(), 300, RData::CNAME(CNAME(name(target)))));
        records.extend(self::records(target, &wanted));
    }
    if records.is_empty() {
        let soa = SOA::new(name("example"), name("root.example"), 1, 3600, 600, 86_400, 120);
        answer.add_authority(Record::from_rdata(name("example"), 120, RData::SOA(soa)));
    }
    answer.add_answers(records);
    Some(answer)
}

fn records(owner: &str, wanted: &str) -> Vec<Record> {
    let data = |kind: &str, text: &str| match kind {
        "A" => RData::A(A(text.parse().unwrap())),
        "AAAA" => RData::AAAA(AAAA(text.parse().unwrap())),
        _ => {
            let (preference, exchange) = text.split_once(' ').unwrap();
            let exchange = if exchange.is_empty() { Name::root() } else { name(exchange) };
            RData::MX(MX::new(preference.parse().unwrap(), exchange))
        }
    };
    let rows = ZONES.iter().filter(|(of, kind, _)| *of == owner && *kind == wanted && *kind != "CNAME");
    rows.map(|(of, kind, text)| Record::from_rdata(name(of), 300, data(kind, text))).collect()
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
            "5.4.4 mail for inside.example would go to 127.0.0.1, a private address that nothing is sent to (at resolve)",
        ),
        ("mixed.example", "5 loop.example , 6 b.example 192.0.2.2"),
        ("[192.0.2.77]", "0 [192.0.2.77] 192.0.2.77"),
        (
            "[IPv6:::1]",
            "5.4.4 mail for [IPv6:::1] would go to ::1, a private address that nothing is sent to (at resolve)",
        ),
    ] {
        let host = Host::parse(host).unwrap();
        assert_eq!(tell(routes.resolve(&host).await), want, "{host}");
    }
}

#[tokio::test]
async fn an_answer_is_kept_for_its_ttl() {
    let (server, clock) = (NameServer::start().await, clock());
    let routes = routes(&server, clock.clone());
    for (host, seconds) in [("many.example", 300), ("gone.example", 60), ("servfail.example", 10)] {
        let host = Host::parse(host).unwrap();
        let first = routes.resolve(&host).await;
        let asked = server.asked.load(Ordering::Relaxed);
        assert_eq!(routes.at_hand(&host), Some(first.clone()));
        assert_eq!(routes.resolve(&host).await, first);
        assert_eq!(server.asked.load(Ordering::Relaxed), asked, "{host}");
        clock.advance(Duration::from_secs(seconds + 1));
        assert_eq!(routes.at_hand(&host), None, "{host}");
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
