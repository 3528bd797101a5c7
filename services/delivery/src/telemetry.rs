//! What is told of deliveries: a log line and the counters that go with it, from one function per fact.

use std::fmt;
use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};
use sluice_mail::{Cause, Envelope, Failure, Outcome, QueueId, UnixMs};
use sluice_queue::Stats;
use sluice_report::{BounceClass, classify};
use sluice_spool::SettleError;

use crate::bounce::Silence;
use crate::job::Where;
use crate::outcome::{Conclusion, Summary};

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
    bounces: IntCounterVec,
    reports: IntCounterVec,
    reports_lost: IntCounter,
    expired: IntCounter,
    diverted: IntCounter,
    rate_waits: IntCounter,
    opened: IntCounterVec,
    connections: IntGaugeVec,
    queued: IntGaugeVec,
    sites: IntGaugeVec,
    first_attempt: Histogram,
    transaction: Histogram,
}

/// An attempt, as it is told.
pub(crate) struct Story<'a> {
    pub(crate) conclusion: &'a Conclusion,
    pub(crate) site: Option<&'a str>,
    pub(crate) summary: &'a Summary,
    pub(crate) at: &'a Where,
    /// The report to the sender.
    pub(crate) dsn: Option<QueueId>,
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
            bounces: counters("bounces_total", "Recipients refused for good, by class.", &["class"])?,
            reports: counters("dsns_total", "Reports (DSN) to senders: written, or why not.", &["kind", "result"])?,
            reports_lost: counter("dsns_lost_total", "Reports (DSN) that could not be delivered.")?,
            expired: counter("expired_total", "Recipients given up because their time was over.")?,
            rate_waits: counter("rate_waits_total", "Times that mail waited for a rate to let it out.")?,
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
        let Story { conclusion, summary, at, .. } = story;
        let envelope = conclusion.envelope();
        self.deliveries.inc_by(summary.delivered as u64);
        if let (Some(failure), 1..) = (&summary.trouble, summary.deferred) {
            self.deferrals
                .with_label_values(&[failure.stage.as_str(), cause_word(failure)])
                .inc_by(summary.deferred as u64);
        }
        let word = if conclusion.has_expired() { "expired" } else { summary.word() };
        match word {
            "delivered" => self.attempts_delivered.inc(),
            word => self.attempts.with_label_values(&[word]).inc(),
        }
        self.transaction.observe(at.duration.as_secs_f64());
        let class = self.classes(story);
        tracing::info!(
            target: "sluice_delivery",
            queue_id = %envelope.queue_id,
            account = &*envelope.account,
            lane = envelope.lane.as_str(),
            domain = %envelope.domain,
            site = story.site,
            mx = at.mx.as_deref(),
            peer = at.peer.map(tracing::field::display),
            source = at.source.as_deref(),
            tls = at.tls.as_deref(),
            attempt = envelope.attempts,
            result = word,
            delivered = summary.delivered,
            deferred = summary.deferred,
            bounced = summary.bounced,
            class = class.map(BounceClass::as_str),
            reply = %Words(summary),
            age_ms = conclusion.wall().since(envelope.accepted).as_millis() as u64,
            took_ms = at.duration.as_millis() as u64,
            retry_in_s = conclusion.retry_in().map(|delay| delay.as_secs()),
            dsn = story.dsn.map(tracing::field::display),
            report_on = envelope.report_on.map(tracing::field::display),
            "attempt"
        );
    }

    /// Counts those that were refused by class, and those whose time is over; gives the class of the first that
    /// failed.
    fn classes(&self, story: &Story<'_>) -> Option<BounceClass> {
        let envelope = story.conclusion.envelope();
        let mut first = None;
        for failed in &story.summary.failed {
            let recipient = &envelope.recipients[failed.place];
            let status = match &recipient.outcome {
                Some(Outcome::Bounced { status, .. }) if failed.is_final => Some(*status),
                Some(Outcome::Bounced { .. }) => {
                    self.expired.inc();
                    None
                }
                Some(Outcome::Delivered { .. }) | None => None,
            };
            if first.is_some() && status.is_none() {
                continue;
            }
            let Some(trouble) = &recipient.trouble else { continue };
            let class = classify(&trouble.reply, status, Some(failed.stage));
            if status.is_some() {
                self.bounces.with_label_values(&[class.as_str()]).inc();
            }
            first.get_or_insert(class);
        }
        first
    }

    /// The first attempt of an envelope begins.
    pub(crate) fn first_attempt(&self, envelope: &Envelope, wall: UnixMs) {
        self.first_attempt.observe(wall.since(envelope.accepted).as_secs_f64());
    }

    /// An envelope's time was over before another attempt.
    pub(crate) fn expired(&self, conclusion: &Conclusion, dsn: Option<QueueId>) {
        let envelope = conclusion.envelope();
        self.expired.inc_by(conclusion.lost().count() as u64);
        tracing::info!(
            target: "sluice_delivery",
            queue_id = %envelope.queue_id,
            account = &*envelope.account,
            domain = %envelope.domain,
            attempt = envelope.attempts,
            result = "expired",
            class = BounceClass::MessageExpired.as_str(),
            reply = envelope.last_reply.as_deref(),
            dsn = dsn.map(tracing::field::display),
            report_on = envelope.report_on.map(tracing::field::display),
            "given up"
        );
    }

    /// A report was owed to a sender, and is written unless there is a reason against it.
    pub(crate) fn report(&self, kind: &'static str, silence: Option<Silence>, envelope: &Envelope) {
        let result = silence.map_or("written", Silence::as_str);
        self.reports.with_label_values(&[kind, result]).inc();
        if silence == Some(Silence::Rate) {
            tracing::warn!(
                target: "sluice_delivery",
                queue_id = %envelope.queue_id,
                account = &*envelope.account,
                kind,
                "no report to the sender: the account has had as many as it may"
            );
        }
    }

    /// A report could not be delivered. Nobody is told but the operator.
    pub(crate) fn report_lost(&self, envelope: &Envelope) {
        self.reports_lost.inc();
        tracing::warn!(
            target: "sluice_delivery",
            queue_id = %envelope.queue_id,
            report_on = envelope.report_on.map(tracing::field::display),
            account = &*envelope.account,
            to = envelope.recipients.first().map(|recipient| tracing::field::display(&recipient.address)),
            reply = envelope.last_reply.as_deref(),
            "a report to a sender could not be delivered"
        );
    }

    /// An envelope is put off untried.
    pub(crate) fn diverted(&self, envelope: &Envelope, eta: Duration) {
        self.diverted.inc();
        tracing::debug!(queue_id = %envelope.queue_id, domain = %envelope.domain, eta_s = eta.as_secs(), "diverted");
    }

    /// A rate held mail back until now.
    pub(crate) fn rate_waited(&self) {
        self.rate_waits.inc();
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

    /// One of our addresses cannot be sent from.
    pub(crate) fn source_unusable(&self, source: &str, failure: &Failure) {
        tracing::warn!(target: "sluice_delivery", source, reply = %failure, "a source cannot be used");
    }

    /// A decision could not be written.
    pub(crate) fn settle_failed(&self, error: &SettleError) {
        tracing::error!(target: "sluice_delivery", %error, "a delivery could not be recorded");
    }

    /// A report goes without a signature.
    pub(crate) fn report_unsigned(&self, report: &Envelope, error: &dyn fmt::Display) {
        tracing::error!(target: "sluice_delivery", queue_id = %report.queue_id, %error, "a report could not be signed");
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
