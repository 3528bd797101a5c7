//! An ingress on loopback over a spool and a registry in memory, and conversations with it.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use sluice_daemon::SystemClock;
use sluice_ingress::{Config, ListenerTls, Parts, RawConfig, RawListener, Surroundings, TrustedNetwork};
use sluice_mail::{Address, Domain};
use sluice_registry::memory::MemoryLog;
use sluice_registry::{AccountRules, Registry, SenderDomain, VerifyConfig};
use sluice_spool::{Accepted, EnqueueError, NewMessage, Spool};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// How long a test waits for anything before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// `AUTH PLAIN` of account demo with password secret.
pub(crate) const LOGIN: &str = "C: AUTH PLAIN AGRlbW8Ac2VjcmV0\nS: 235 2.7.0\n";

/// Keeps messages in a list, and fails or waits as it is told.
#[derive(Default)]
pub(crate) struct TestSpool {
    pub(crate) messages: Mutex<Vec<NewMessage>>,
    pub(crate) error: Mutex<Option<EnqueueError>>,
    pub(crate) no_room: Mutex<Option<EnqueueError>>,
    /// While set, messages are not durable.
    pub(crate) stuck: Mutex<Option<Arc<Notify>>>,
}

impl Spool for TestSpool {
    fn enqueue(&self, message: NewMessage) -> BoxFuture<'static, Result<Accepted, EnqueueError>> {
        let queue_id = message.envelopes[0].queue_id.message();
        let result = match &*self.error.lock().unwrap() {
            Some(error) => Err(error.clone()),
            None => {
                self.messages.lock().unwrap().push(message);
                Ok(Accepted { queue_id })
            }
        };
        let stuck = self.stuck.lock().unwrap().clone();
        Box::pin(async move {
            if let Some(stuck) = stuck {
                stuck.notified().await;
            }
            result
        })
    }

    fn room(&self, _bytes: u64) -> Result<(), EnqueueError> {
        self.no_room.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

pub(crate) struct Ingress {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) spool: Arc<TestSpool>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) metrics: prometheus::Registry,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) task: JoinHandle<()>,
}

/// What a test varies.
#[derive(Clone)]
pub(crate) struct Setting {
    pub(crate) raw: RawConfig,
    pub(crate) rules: AccountRules,
}

impl Default for Setting {
    /// One listener without TLS that takes AUTH from loopback, and rules of an account that sends as example.org.
    fn default() -> Self {
        let mut listener = RawListener::on(([127, 0, 0, 1], 0).into(), ListenerTls::None);
        listener.auth_without_tls_on_loopback = true;
        let domain = SenderDomain { domain: Domain::parse("example.org").unwrap(), exact: false };
        let rules = AccountRules {
            sender_domains: vec![domain],
            sender_addresses: vec![Address::parse("solo@other.example").unwrap()],
            ..AccountRules::default()
        };
        Self { raw: RawConfig { listeners: vec![listener], ..RawConfig::default() }, rules }
    }
}

impl Setting {
    pub(crate) fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut setting = Self::default();
        change(&mut setting);
        setting
    }

    /// Loopback is trusted to send as demo.
    pub(crate) fn trusting() -> Self {
        Self::with(|s| {
            let network = "127.0.0.0/8".parse().unwrap();
            s.raw.listeners[0].trusted_networks = vec![TrustedNetwork { network, account: "demo".into() }];
            s.raw.listeners[0].direct = true;
        })
    }

    pub(crate) async fn start(self) -> Ingress {
        let clock = Arc::new(SystemClock);
        let registry = Registry::open(MemoryLog::new(), VerifyConfig::default(), clock.clone()).await.unwrap();
        registry.create_account("demo", self.rules, "secret").await.unwrap();
        let registry = Arc::new(registry);
        let spool = Arc::new(TestSpool::default());
        let metrics = prometheus::Registry::new();
        let around = Surroundings {
            hostname: "mx.example.org".into(),
            lifetimes: Duration::from_secs(86_400).into(),
            has_certificate: false,
        };
        let config = Config::new(self.raw, around).unwrap();
        let sockets = sluice_ingress::bind(&config).unwrap();
        let address = sockets[0].local_addr().unwrap();
        let parts =
            Parts { spool: spool.clone(), registry: registry.clone(), clock, tls: None, metrics: metrics.clone() };
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move { sluice_ingress::run(parts, config, sockets, stopped).await.unwrap() });
        Ingress { address, spool, registry, metrics, stop, task }
    }
}

impl Ingress {
    /// Holds a conversation; see [`Talk::say`].
    pub(crate) async fn talk(&self, transcript: &str) -> Talk {
        let mut talk = self.connect().await;
        talk.say(transcript).await;
        talk
    }

    pub(crate) async fn connect(&self) -> Talk {
        Talk::over(TcpStream::connect(self.address).await.unwrap())
    }

    pub(crate) fn taken(&self) -> Vec<NewMessage> {
        self.spool.messages.lock().unwrap().clone()
    }

    /// The value of a metric, `name{label="value"}` as it is shown.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let mut text = String::new();
        prometheus::TextEncoder::new().encode_utf8(&self.metrics.gather(), &mut text).unwrap();
        let line = text.lines().find(|l| l.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.map_or(0.0, |l| l.rsplit(' ').next().unwrap().parse().unwrap())
    }
}

pub(crate) struct Talk {
    stream: BufReader<TcpStream>,
}

impl Talk {
    pub(crate) fn over(stream: TcpStream) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    /// `C:` lines are sent with CRLF, `R:` lines as they are with escapes; `S:` expects a reply that begins so, with
    /// each text behind ` | ` somewhere in it; `END` expects the connection to close.
    pub(crate) async fn say(&mut self, transcript: &str) {
        for line in transcript.lines().map(str::trim_start).filter(|line| !line.is_empty()) {
            if let Some(command) = line.strip_prefix("C:") {
                let command = command.strip_prefix(' ').unwrap_or(command);
                self.send(format!("{command}\r\n").as_bytes()).await;
            } else if let Some(expect) = line.strip_prefix("S: ") {
                self.expect(expect).await;
            } else if line == "END" {
                let mut rest = Vec::new();
                let read = tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await;
                assert!(matches!(read.expect("the connection stays open"), Ok(0)), "more: {rest:?}");
            } else {
                panic!("no line of a transcript: {line:?}");
            }
        }
    }

    pub(crate) async fn send(&mut self, octets: &[u8]) {
        self.stream.get_mut().write_all(octets).await.unwrap();
    }

    pub(crate) async fn expect(&mut self, expect: &str) {
        let reply = tokio::time::timeout(PATIENCE, self.reply()).await;
        let reply = reply.unwrap_or_else(|_| panic!("no reply where {expect:?} was expected"));
        let mut parts = expect.split(" | ");
        assert!(reply.starts_with(parts.next().unwrap()), "expected {expect:?}, got {reply:?}");
        assert!(parts.all(|part| reply.contains(part)), "expected {expect:?}, got {reply:?}");
    }

    /// The next reply, lines joined by LF; empty when the connection is closed.
    pub(crate) async fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).await.unwrap();
            reply.push_str(line.trim_end());
            if line.as_bytes().get(3) != Some(&b'-') {
                return reply;
            }
            reply.push('\n');
        }
    }
}

/// A limit of rules.
pub(crate) fn at_most(n: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(n)
}
