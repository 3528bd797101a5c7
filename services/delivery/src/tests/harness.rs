//! A delivery in a test: the spool in memory, routes to scripted peers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use sluice_daemon::SystemClock;
use sluice_mail::{Address, BodyFlags, Clock, Domain, Envelope, Fate, Host, Lane, QueueId, Recipient};
use sluice_route::{FixedRoute, FixedRoutes, RelayHost, Routes};
use sluice_spool::memory::Memory;
use sluice_spool::{Directive, Entry, FateLog, NewMessage, QueueView, Selector, ShardSource, Spool, State};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::{Config, DeliveryError, Parts, RawConfig, Revival, run};

pub(crate) struct Bench {
    pub(crate) spool: Arc<Memory>,
    pub(crate) revival: Arc<Revival>,
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
        let parts = Parts {
            source: between(spool.clone()),
            routes,
            clock: clock.clone(),
            hostname: "sluice.example".into(),
            metrics: prometheus::Registry::new(),
            revival: revival.clone(),
        };
        let delivery = tokio::spawn(run(parts, config, stop));
        Self { spool, clock, shutdown, delivery, revival, sent: AtomicU64::new(0) }
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

    /// Waits until a message waits for its next attempt.
    pub(crate) async fn waiting(&self, id: QueueId) -> Envelope {
        self.until(id, |state| matches!(state, State::Waiting(_))).await.envelope
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
                fates.extend(self.spool.read("test", 10_000).await.unwrap().fates);
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

    async fn until(&self, id: QueueId, reached: impl Fn(&State) -> bool) -> Entry {
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
