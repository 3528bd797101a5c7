//! A delivery in a test: the spool in memory, routes to scripted peers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use sluice_daemon::SystemClock;
use sluice_mail::{Address, BodyFlags, Clock, Domain, Envelope, Event, Fate, Host, Lane, QueueId, Recipient};
use sluice_registry::memory::MemoryLog;
use sluice_registry::{AccountRules, Registry, VerifyConfig};
use sluice_route::{FixedRoute, FixedRoutes, RelayHost, Routes};
use sluice_spool::memory::Memory;
use sluice_spool::{Directive, Entry, FateLog, NewMessage, QueueView, Selector, ShardSource, Spool, State};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::{Config, DeliveryError, Parts, RawConfig, Revival, run};

/// What the delivery calls itself.
pub(crate) const HOSTNAME: &str = "sluice.example";

pub(crate) struct Bench {
    pub(crate) spool: Arc<Memory>,
    pub(crate) revival: Arc<Revival>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) metrics: prometheus::Registry,
    clock: Arc<dyn Clock>,
    shutdown: watch::Sender<bool>,
    delivery: JoinHandle<Result<(), DeliveryError>>,
    sent: AtomicU64,
}

/// Puts something between the spool and the delivery.
pub(crate) type Between = dyn FnOnce(Arc<Memory>) -> Arc<dyn ShardSource>;

impl Bench {
    /// Delivers mail for each domain to these hosts.
    pub(crate) fn start(routes: &[(&str, &[SocketAddr])]) -> Self {
        Self::with(routes, |_| {}, Box::new(|spool| spool))
    }

    pub(crate) fn with(
        routes: &[(&str, &[SocketAddr])],
        change: impl FnOnce(&mut RawConfig),
        between: Box<Between>,
    ) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let fixed = |(domain, hosts): &(&str, &[SocketAddr])| {
            let hosts = hosts.iter().map(|address| RelayHost::at(*address)).collect();
            FixedRoute::new(Some(Domain::parse(domain).unwrap()), hosts)
        };
        let routes = FixedRoutes::new(routes.iter().map(fixed).collect(), None, clock.clone());
        Self::over(Arc::new(routes), change, between)
    }

    pub(crate) fn over(routes: Arc<dyn Routes>, change: impl FnOnce(&mut RawConfig), between: Box<Between>) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let spool = Arc::new(Memory::new(clock.clone(), 100_000));
        let mut raw = RawConfig::default();
        change(&mut raw);
        let config = Config::try_from(raw).unwrap();
        let (shutdown, stop) = watch::channel(false);
        let revival = Arc::<Revival>::default();
        let log = MemoryLog::new();
        let opened = Registry::open(log, VerifyConfig::default(), clock.clone()).now_or_never();
        let registry = Arc::new(opened.expect("a log in memory is read at once").unwrap());
        let metrics = prometheus::Registry::new();
        let parts = Parts {
            source: between(spool.clone()),
            routes,
            registry: registry.clone(),
            clock: clock.clone(),
            hostname: HOSTNAME.into(),
            metrics: metrics.clone(),
            revival: revival.clone(),
        };
        let delivery = tokio::spawn(run(parts, config, stop));
        Self { spool, clock, shutdown, delivery, revival, registry, metrics, sent: AtomicU64::new(0) }
    }

    /// Queues a message to `recipients` local parts of a domain.
    pub(crate) async fn send(&self, domain: &str, recipients: &[&str], body: &str) -> QueueId {
        self.send_changed(domain, recipients, body, |_| {}).await
    }

    pub(crate) async fn send_changed(
        &self,
        domain: &str,
        recipients: &[&str],
        body: &str,
        change: impl FnOnce(&mut Envelope),
    ) -> QueueId {
        let now = self.clock.wall();
        let recipient = |local: &&str| Recipient::new(Address::parse(&format!("{local}@{domain}")).unwrap());
        let mut envelope = Envelope {
            queue_id: QueueId::new(now, self.sent.fetch_add(1, Ordering::Relaxed), 0),
            generation: 0,
            account: "acme".into(),
            campaign: None,
            tag: None,
            lane: Lane::Transactional,
            mail_from: Some(Address::parse("sender@acme.example").unwrap()),
            recipients: recipients.iter().map(recipient).collect(),
            ret: None,
            envid: None,
            domain: Host::parse(domain).unwrap(),
            pool: None,
            accepted: now,
            expires: now.plus(Duration::from_secs(3600)),
            not_before: now,
            flags: BodyFlags::default(),
            size: u32::try_from(body.len()).unwrap(),
            body_crc: 0,
            attempts: 0,
            last_reply: None,
            delay_notices: 0,
            report_on: None,
        };
        change(&mut envelope);
        let id = envelope.queue_id;
        let message = NewMessage { envelopes: vec![envelope], body: Bytes::copy_from_slice(body.as_bytes()) };
        self.spool.enqueue(message).await.unwrap();
        id
    }

    /// The fate of a message, when it has one.
    pub(crate) async fn fate(&self, id: QueueId) -> Fate {
        let found = self.until(id, |state| matches!(state, State::Ended(_))).await;
        let State::Ended(fate) = found.state else { unreachable!() };
        *fate
    }

    /// Waits until so many events were told, and gives them.
    pub(crate) async fn events(&self, n: usize) -> Vec<Event> {
        let mut events = Vec::new();
        let all = async {
            while events.len() < n {
                events.extend(self.spool.read("events", 10_000).await.unwrap().events);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), all).await;
        assert!(in_time.is_ok(), "only {events:#?}");
        events
    }

    /// Makes the account that all mail is of.
    pub(crate) async fn account(&self, rules: AccountRules) {
        self.registry.create_account("acme", rules, "correct horse battery").await.unwrap();
    }

    /// What a counter with these labels stands at.
    pub(crate) fn counted(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let families = self.metrics.gather();
        let metrics = families.iter().filter(|family| family.name() == name).flat_map(|family| family.get_metric());
        let is_meant = |metric: &&prometheus::proto::Metric| {
            let has = |(k, v): &(&str, &str)| metric.get_label().iter().any(|l| l.name() == *k && l.value() == *v);
            labels.iter().all(has)
        };
        metrics.filter(is_meant).map(|metric| metric.get_counter().get_value() as u64).sum()
    }

    /// Waits until a message waits for its next attempt.
    pub(crate) async fn waiting(&self, id: QueueId) -> Envelope {
        self.until(id, |state| matches!(state, State::Waiting(_))).await.envelope
    }

    /// Waits until it waits for its next attempt after so many.
    pub(crate) async fn waiting_after(&self, id: QueueId, attempts: u32) -> Envelope {
        let poll = async {
            loop {
                let envelope = self.waiting(id).await;
                if envelope.attempts >= attempts {
                    return envelope;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), poll).await.expect("it is tried in time")
    }

    pub(crate) async fn entry(&self, id: QueueId) -> Option<Entry> {
        let selector = Selector { queue_id: Some(id), ..Selector::default() };
        self.spool.list(&selector, None, 1).await.unwrap().pop()
    }

    /// Makes a waiting message due.
    pub(crate) fn retry_now(&self, id: QueueId) {
        let selector = Selector { queue_id: Some(id), ..Selector::default() };
        assert_eq!(self.spool.act(&selector, Directive::RetryNow), 1);
    }

    /// Waits until so many messages have ended.
    pub(crate) async fn fates(&self, n: usize) -> Vec<Fate> {
        let mut fates = Vec::new();
        let all = async {
            while fates.len() < n {
                let fate = |event| match event {
                    Event::Fate(fate) => Some(*fate),
                    Event::Attempt(_) => None,
                };
                fates.extend(self.spool.read("test", 10_000).await.unwrap().events.into_iter().filter_map(fate));
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(30), all).await;
        assert!(in_time.is_ok(), "only {} of {n} have ended", fates.len());
        fates
    }

    pub(crate) fn begin_shutdown(&self) {
        self.shutdown.send_replace(true);
    }

    /// Waits until the delivery has ended.
    pub(crate) async fn end(&mut self) -> Result<(), DeliveryError> {
        tokio::time::timeout(Duration::from_secs(20), &mut self.delivery).await.expect("it ends in time").unwrap()
    }

    pub(crate) async fn until(&self, id: QueueId, reached: impl Fn(&State) -> bool) -> Entry {
        let poll = async {
            loop {
                match self.entry(id).await {
                    Some(entry) if reached(&entry.state) => return entry,
                    Some(_) | None => tokio::time::sleep(Duration::from_millis(2)).await,
                }
            }
        };
        match tokio::time::timeout(Duration::from_secs(20), poll).await {
            Ok(entry) => entry,
            Err(_) => panic!("it stands at {:?}", self.entry(id).await),
        }
    }
}
