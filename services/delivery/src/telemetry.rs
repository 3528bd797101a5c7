//! What is told of deliveries: a log line and the counters that go with it, from one function per fact.

use std::fmt;
use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};
use sluice_mail::{Cause, Envelope, Failure, UnixMs};
use sluice_queue::Stats;
use sluice_spool::SettleError;

use crate::job::Where;
use crate::outcome::Summary;

/// Seconds from a receipt's point of view.
const SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0];
/// Up to days.
const AGES: &[f64] = &[0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 21600.0, 86400.0];

/// The metrics of a delivery.
pub(crate) struct Telemetry {
    attempts: IntCounterVec,
    attempts_delivered: IntCounter,
    deliveries: IntCounter,
    deferrals: IntCounterVec,
    bounces: IntCounter,
    expired: IntCounter,
    diverted: IntCounter,
    opened: IntCounterVec,
    connections: IntGaugeVec,
    queued: IntGaugeVec,
    sites: IntGaugeVec,
    first_attempt: Histogram,
    transaction: Histogram,
}

/// An attempt, as it is told.
pub(crate) struct Story<'a> {
    pub(crate) envelope: &'a Envelope,
    pub(crate) site: Option<&'a str>,
    pub(crate) summary: &'a Summary,
    pub(crate) at: &'a Where,
    pub(crate) wall: UnixMs,
    pub(crate) retry_in: Option<Duration>,
}

impl Telemetry {
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(format!("sluice_delivery_{name}"), help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(format!("sluice_delivery_{name}"), help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let gauges = IntGaugeVec::new(Opts::new(format!("sluice_delivery_{name}"), help), labels)?;
            registry.register(Box::new(gauges.clone()))?;
            Ok::<_, prometheus::Error>(gauges)
        };
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let options = HistogramOpts::new(format!("sluice_delivery_{name}"), help).buckets(buckets.to_vec());
            let histogram = Histogram::with_opts(options)?;
            registry.register(Box::new(histogram.clone()))?;
            Ok::<_, prometheus::Error>(histogram)
        };
        let attempts = counters("attempts_total", "Attempts to deliver an envelope, by result.", &["result"])?;
        Ok(Self {
            attempts_delivered: attempts.with_label_values(&["delivered"]),
            attempts,
            deliveries: counter("deliveries_total", "Recipients that a peer took responsibility for.")?,
            deferrals: counters("deferrals_total", "Recipients put off, by cause.", &["stage", "cause"])?,
            bounces: counter("bounces_total", "Recipients refused for good.")?,
            expired: counter("expired_total", "Recipients given up because their time was over.")?,
            diverted: counter("diverted_total", "Envelopes put off untried.")?,
            opened: counters("connections_opened_total", "Connections opened, by result.", &["result"])?,
            connections: gauges("connections", "Connections, by state.", &["state"])?,
            queued: gauges("queued", "Envelopes in memory, by state.", &["state"])?,
            sites: gauges("sites", "Sites known, by state.", &["state"])?,
            first_attempt: histogram("first_attempt_seconds", "From 250 to the first attempt.", AGES)?,
            transaction: histogram("transaction_seconds", "From MAIL to the final reply.", SECONDS)?,
        })
    }

    /// An attempt ended: one line with the whole story.
    pub(crate) fn attempt(&self, story: &Story<'_>) {
        let Story { envelope, summary, at, .. } = story;
        self.deliveries.inc_by(summary.delivered as u64);
        self.bounces.inc_by(summary.bounced as u64);
        if let (Some(failure), 1..) = (&summary.trouble, summary.deferred) {
            self.deferrals
                .with_label_values(&[failure.stage.as_str(), cause_word(failure)])
                .inc_by(summary.deferred as u64);
        }
        match summary.word() {
            "delivered" => self.attempts_delivered.inc(),
            word => self.attempts.with_label_values(&[word]).inc(),
        }
        self.transaction.observe(at.duration.as_secs_f64());
        tracing::info!(
            target: "sluice_delivery",
            queue_id = %envelope.queue_id,
            account = &*envelope.account,
            lane = envelope.lane.as_str(),
            domain = %envelope.domain,
            site = story.site,
            mx = at.mx.as_deref(),
            peer = at.peer.map(tracing::field::display),
            tls = at.tls.as_deref(),
            attempt = envelope.attempts,
            result = summary.word(),
            delivered = summary.delivered,
            deferred = summary.deferred,
            bounced = summary.bounced,
            reply = %Words(summary),
            age_ms = story.wall.since(envelope.accepted).as_millis() as u64,
            took_ms = at.duration.as_millis() as u64,
            retry_in_s = story.retry_in.map(|delay| delay.as_secs()),
            "attempt"
        );
    }

    /// The first attempt of an envelope begins.
    pub(crate) fn first_attempt(&self, envelope: &Envelope, wall: UnixMs) {
        self.first_attempt.observe(wall.since(envelope.accepted).as_secs_f64());
    }

    /// An envelope's time was over before another attempt.
    pub(crate) fn expired(&self, envelope: &Envelope) {
        self.expired.inc_by(envelope.open_recipients().count() as u64);
        tracing::info!(
            target: "sluice_delivery",
            queue_id = %envelope.queue_id,
            account = &*envelope.account,
            domain = %envelope.domain,
            attempt = envelope.attempts,
            result = "expired",
            reply = envelope.last_reply.as_deref(),
            "given up"
        );
    }

    /// An envelope is put off untried.
    pub(crate) fn diverted(&self, envelope: &Envelope, eta: Duration) {
        self.diverted.inc();
        tracing::debug!(queue_id = %envelope.queue_id, domain = %envelope.domain, eta_s = eta.as_secs(), "diverted");
    }

    /// A connection is ready, or never will be.
    pub(crate) fn opened(&self, outcome: Result<(), &Failure>) {
        let result = match outcome {
            Ok(()) => "ready",
            Err(failure) => failure.stage.as_str(),
        };
        self.opened.with_label_values(&[result]).inc();
    }

    /// A host that offers TLS cannot do it.
    pub(crate) fn tls_failed(&self, host: std::net::SocketAddr, failure: &Failure) {
        tracing::info!(target: "sluice_delivery", peer = %host, reply = %failure, "TLS failed, trying in the clear");
    }

    /// A decision could not be written.
    pub(crate) fn settle_failed(&self, error: &SettleError) {
        tracing::error!(target: "sluice_delivery", %error, "a delivery could not be recorded");
    }

    /// A body could not be read.
    pub(crate) fn body_unreadable(&self, envelope: &Envelope, error: &dyn fmt::Display) {
        tracing::error!(target: "sluice_delivery", queue_id = %envelope.queue_id, %error, "a message cannot be read");
    }

    /// How full everything is.
    pub(crate) fn sizes(&self, stats: Stats, resolving: usize) {
        let set = |gauges: &IntGaugeVec, state: &str, n: usize| {
            gauges.with_label_values(&[state]).set(i64::try_from(n).unwrap_or(i64::MAX));
        };
        set(&self.connections, "busy", stats.connections - stats.idle);
        set(&self.connections, "idle", stats.idle);
        set(&self.queued, "ready", stats.queued);
        set(&self.queued, "resolving", resolving);
        set(&self.sites, "alive", stats.sites - stats.dead_sites);
        set(&self.sites, "dead", stats.dead_sites);
    }
}

/// The reply that the line shows.
struct Words<'a>(&'a Summary);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.0.trouble, &self.0.reply) {
            (Some(trouble), _) => trouble.fmt(f),
            (None, Some(reply)) => reply.fmt(f),
            (None, None) => Ok(()),
        }
    }
}

fn cause_word(failure: &Failure) -> &'static str {
    match &failure.cause {
        Cause::Reply(_) => "reply",
        Cause::Timeout => "timeout",
        Cause::Closed => "closed",
        Cause::Io(_) => "io",
        Cause::Tls(_) => "tls",
        Cause::Protocol(_) => "protocol",
        Cause::NoSuchHost(..) => "no_such_host",
        Cause::Dns(_) => "dns",
        Cause::Unsupported(..) => "unsupported",
        Cause::Prohibited(..) => "prohibited",
    }
}
