//! What the ingress tells operators: one function for each fact, which counts it and logs it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use sluice_mail::{Domain, EnhancedCode, QueueId, Reply};
use sluice_sign::Algorithm;
use sluice_smtp::server::{Mechanism, Submission};
use sluice_wire::server::{ArriveError, End, Peer, TlsInfo};
use tracing::{debug, error, info, warn};

use crate::budget::Budget;
use crate::prepare::{Reason, Signing, Unsigned};
use crate::signers::SigningError;

/// Accounts with a label of their own.
const NAMED_MAX: usize = 100;

/// Why a connection got no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turned {
    /// As many sessions as the process may have.
    Sessions,
    /// As many sessions as the client's address may have.
    AddressSessions,
    /// As many sessions as the account may have.
    AccountSessions,
}

impl Turned {
    fn as_str(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::AddressSessions => "sessions_per_ip",
            Self::AccountSessions => "sessions_per_account",
        }
    }
}

/// What became of a log-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoginResult {
    Accepted,
    Refused,
    Busy,
    /// Not looked at: too many failures from there are still being held back.
    HeldBack,
}

impl LoginResult {
    fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Busy => "busy",
            Self::HeldBack => "held_back",
        }
    }
}

/// The ingress's metrics. All labels are from closed sets.
pub(crate) struct Telemetry {
    sessions: IntGauge,
    sessions_total: IntCounter,
    session_ends: IntCounterVec,
    turned_away: IntCounterVec,
    tls: IntCounterVec,
    logins: IntCounterVec,
    accepted: IntCounter,
    refused: IntCounter,
    refusals: IntCounterVec,
    recipients: IntCounter,
    octets: IntCounter,
    durable: Histogram,
    signatures: IntCounterVec,
    signing: Histogram,
    unsigned: IntCounterVec,
    /// The accounts that have a label of their own in `unsigned`.
    named: Mutex<HashSet<Arc<str>>>,
}

/// A message that was kept.
pub(crate) struct Kept<'a> {
    pub(crate) queue_id: QueueId,
    pub(crate) account: &'a str,
    pub(crate) mail_from: &'a str,
    pub(crate) recipients: usize,
    pub(crate) domains: usize,
    pub(crate) size: usize,
    pub(crate) took: Duration,
    pub(crate) signed: &'a Signed,
}

/// Who answers for a message, as the log tells it.
pub(crate) enum Signed {
    /// The domain of our signatures. It is From's or one above it, so it is aligned (RFC 7489 3.1.1, relaxed).
    By(Domain),
    /// Nobody of ours.
    Not(Unsigned),
}

impl Signed {
    pub(crate) fn of(signing: &Signing) -> Self {
        match signing.keys.first() {
            Some(key) => Self::By(key.domain().clone()),
            None => Self::Not(signing.unsigned.unwrap_or(Unsigned::NoKey)),
        }
    }

    fn as_str(&self) -> &str {
        match self {
            Self::By(domain) => domain.as_str(),
            Self::Not(why) => why.as_str(),
        }
    }
}

impl Telemetry {
    pub(crate) fn new(registry: &Registry, budget: &Arc<Budget>) -> Result<Self, prometheus::Error> {
        let new = Maker(registry);
        new.in_flight(budget)?;
        let messages = new.counters("messages_total", "Messages by result.", &["result"])?;
        Ok(Self {
            sessions: new.gauge("sessions", "Sessions under way.")?,
            sessions_total: new.counter("sessions_total", "Sessions begun.")?,
            session_ends: new.counters("session_ends_total", "Sessions ended, by reason.", &["reason"])?,
            turned_away: new.counters("connections_refused_total", "Connections without a session.", &["reason"])?,
            tls: new.counters("tls_handshakes_total", "TLS handshakes, by version or failure.", &["result"])?,
            logins: new.counters("logins_total", "Log-ins by result.", &["result"])?,
            accepted: messages.with_label_values(&["accepted"]),
            refused: messages.with_label_values(&["refused"]),
            refusals: new.counters("refusals_total", "Refused commands and messages, by reason.", &["reason"])?,
            recipients: new.counter("recipients_total", "Recipients of accepted messages.")?,
            octets: new.counter("message_bytes_total", "Octets of accepted messages.")?,
            durable: new.times("durable_seconds", "From the end of a message to its being durable.")?,
            signatures: new.counters("signatures_total", "DKIM signatures made, by algorithm.", &["algorithm"])?,
            signing: new.times("signing_seconds", "From prepared to signed, the wait for a thread included.")?,
            unsigned: new.counters(
                "unsigned_messages_total",
                "Messages accepted without a signature of ours, by account and reason. The first 100 accounts are named.",
                &["account", "reason"],
            )?,
            named: Mutex::default(),
        })
    }

    pub(crate) fn session_began(&self) {
        self.sessions.inc();
        self.sessions_total.inc();
    }

    pub(crate) fn session_ended(&self, peer: &Peer, end: &End, messages: u64) {
        self.sessions.dec();
        let (reason, words) = match end {
            End::Closed(reason) => (reason.as_str(), String::new()),
            End::Disconnected => ("disconnected", String::new()),
            End::Broken(e) => ("broken", e.to_string()),
            End::Tls(e) => {
                self.tls.with_label_values(&["failed"]).inc();
                ("tls", e.to_string())
            }
        };
        self.session_ends.with_label_values(&[reason]).inc();
        debug!(client = %peer.address, reason, words, messages, "session ended");
    }

    /// The task was dropped before the session came to its end: the grace period was over.
    pub(crate) fn session_cut(&self, peer: &Peer) {
        self.sessions.dec();
        self.session_ends.with_label_values(&["cut"]).inc();
        warn!(client = %peer.address, "session cut off at the end of the grace period");
    }

    pub(crate) fn turned_away(&self, peer: &Peer, why: Turned) {
        self.turned_away.with_label_values(&[why.as_str()]).inc();
        warn!(client = %peer.address, reason = why.as_str(), "connection refused");
    }

    pub(crate) fn not_arrived(&self, address: std::net::SocketAddr, error: &ArriveError) {
        let reason = match error {
            ArriveError::Proxy(_) | ArriveError::ProxyTimeout => "proxy_header",
            ArriveError::Handshake(_) => {
                self.tls.with_label_values(&["failed"]).inc();
                "tls"
            }
            ArriveError::Io(_) => "disconnected",
        };
        self.turned_away.with_label_values(&[reason]).inc();
        debug!(client = %address, reason, %error, "connection ended before a session began");
    }

    pub(crate) fn secured(&self, info: &TlsInfo) {
        self.tls.with_label_values(&[info.version]).inc();
    }

    pub(crate) fn login(&self, peer: &Peer, mechanism: Mechanism, login: &str, result: LoginResult) {
        self.logins.with_label_values(&[result.as_str()]).inc();
        let (mechanism, word) = (mechanism.as_str(), result.as_str());
        match result {
            LoginResult::Accepted => debug!(client = %peer.address, login, mechanism, "log-in {word}"),
            LoginResult::Refused | LoginResult::Busy | LoginResult::HeldBack => {
                info!(client = %peer.address, login, mechanism, "log-in {word}");
            }
        }
    }

    pub(crate) fn accepted(&self, peer: &Peer, kept: &Kept<'_>) {
        self.accepted.inc();
        self.recipients.inc_by(kept.recipients as u64);
        self.octets.inc_by(kept.size as u64);
        self.durable.observe(kept.took.as_secs_f64());
        info!(
            queue_id = %kept.queue_id,
            account = kept.account,
            from = kept.mail_from,
            recipients = kept.recipients,
            domains = kept.domains,
            size = kept.size,
            dkim = kept.signed.as_str(),
            client = %peer.address,
            ms = kept.took.as_millis() as u64,
            "message accepted"
        );
    }

    /// A message was signed by keys of these kinds.
    pub(crate) fn signed(&self, algorithms: &[Algorithm], took: Duration) {
        for algorithm in algorithms {
            self.signatures.with_label_values(&[algorithm.as_str()]).inc();
        }
        self.signing.observe(took.as_secs_f64());
    }

    /// A message goes without a signature of ours.
    pub(crate) fn unsigned(&self, account: &Arc<str>, why: Unsigned) {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let is_named = named.contains(account) || (named.len() < NAMED_MAX && named.insert(Arc::clone(account)));
        drop(named);
        let label = if is_named { account } else { "other" };
        self.unsigned.with_label_values(&[label, why.as_str()]).inc();
    }

    /// A message could not be signed, and was refused for now.
    pub(crate) fn signing_failed(&self, account: &str, error: &SigningError) {
        error!(account, %error, "a message could not be signed");
    }

    /// A refused MAIL or RCPT.
    pub(crate) fn command_refused(&self, peer: &Peer, account: &str, reason: Reason, reply: &Reply) {
        self.refusals.with_label_values(&[reason.as_str()]).inc();
        info!(client = %peer.address, account, reason = reason.as_str(), %reply, "command refused");
    }

    /// A message that was refused at its end.
    pub(crate) fn message_refused(&self, peer: &Peer, account: &str, reason: Reason, reply: &Reply) {
        self.refused.inc();
        self.refusals.with_label_values(&[reason.as_str()]).inc();
        info!(client = %peer.address, account, reason = reason.as_str(), %reply, "message refused");
    }
}

/// Words for the log of a submission's sender.
pub(crate) fn sender_of(submission: &Submission) -> &str {
    submission.mail.reverse_path.as_ref().map_or("", |address| address.as_str())
}

/// Why the session itself refused a content, as far as its reply tells.
pub(crate) fn reason_of(reply: &Reply) -> Reason {
    match reply.enhanced {
        Some(EnhancedCode(4, 3, 1)) => Reason::Memory,
        Some(_) | None => Reason::Content,
    }
}

struct Maker<'a>(&'a Registry);

impl Maker<'_> {
    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        let counter = IntCounter::with_opts(opts(name, help))?;
        self.0.register(Box::new(counter.clone()))?;
        Ok(counter)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
        let counters = IntCounterVec::new(opts(name, help), labels)?;
        self.0.register(Box::new(counters.clone()))?;
        Ok(counters)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        let gauge = IntGauge::with_opts(opts(name, help))?;
        self.0.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }

    fn in_flight(&self, budget: &Arc<Budget>) -> Result<(), prometheus::Error> {
        let gauge = IntGauge::with_opts(opts("bytes_in_flight", "Octets of messages being received or stored."))?;
        self.0.register(Box::new(InFlight { budget: Arc::clone(budget), gauge }))
    }

    fn times(&self, name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
        let opts = HistogramOpts::from(opts(name, help)).buckets(prometheus::exponential_buckets(0.000_25, 2.0, 15)?);
        let histogram = Histogram::with_opts(opts)?;
        self.0.register(Box::new(histogram.clone()))?;
        Ok(histogram)
    }
}

/// Reads the budget when it is looked at, instead of writing at each change.
struct InFlight {
    budget: Arc<Budget>,
    gauge: IntGauge,
}

impl Collector for InFlight {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.gauge.set(i64::try_from(self.budget.used()).unwrap_or(i64::MAX));
        self.gauge.collect()
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("sluice").subsystem("ingress")
}
