//! Waiting mail over the engine's view of it.

use std::sync::Arc;

use sluice_mail::{Address, Fate, FateKind, Host, Outcome, QueueId, Recipient, RecipientResult, Trouble};
use sluice_proto::control as api;
use sluice_proto::control::queues_server::Queues;
use sluice_registry::Violation;
use sluice_spool::{Directive, DomainCount, Entry, QueueView, Selector, State};
use tonic::{Request, Response, Status};

use crate::telemetry::{Call, Telemetry};
use crate::{page, status};

/// Domains of a summary when the request names no number.
const DOMAINS_DEFAULT: usize = 100;
/// Domains of a summary at most.
const DOMAINS_MAX: usize = 10_000;
/// Envelopes of one message at most, as the spool accepts.
const ENVELOPES_MAX: usize = 1_000;

/// `sluice.control.v1.Queues`.
pub(crate) struct QueuesService {
    queues: Arc<dyn QueueView>,
    telemetry: Telemetry,
}

impl QueuesService {
    pub(crate) fn new(queues: Arc<dyn QueueView>, telemetry: Telemetry) -> Self {
        Self { queues, telemetry }
    }

    async fn summarize(&self, request: &api::SummarizeQueueRequest) -> Result<api::SummarizeQueueResponse, Status> {
        let selector = selector("", &request.domain, &request.account)?;
        let max = match usize::try_from(request.max_domains) {
            Ok(0) => DOMAINS_DEFAULT,
            Ok(n) => n.min(DOMAINS_MAX),
            Err(_) => return Err(status::invalid(&[Violation::new("max_domains", "not negative; 0 is the default")])),
        };
        let domains = self.off_thread(move |queues| queues.count(&selector, max)).await?;
        let totals = self.queues.totals();
        Ok(api::SummarizeQueueResponse {
            domains: domains.into_iter().map(summary).collect(),
            ready: totals.ready,
            active: totals.active,
            waiting: totals.waiting,
            bytes: totals.bytes,
        })
    }

    async fn list(&self, request: &api::ListEnvelopesRequest) -> Result<api::ListEnvelopesResponse, Status> {
        let max = page::size(request.page_size).map_err(|v| status::invalid(&[v]))?;
        let selector = selector("", &request.domain, &request.account)?;
        let after =
            match request.page_token.as_str() {
                "" => None,
                token => Some(QueueId::parse(token).map_err(|_| {
                    status::invalid(&[Violation::new("page_token", "not one that this list has given")])
                })?),
            };
        let mut entries = self.queues.list(&selector, after, max + 1).await.map_err(|e| status::of_body(&e))?;
        let next_page_token = page::next_token(&mut entries, max, |entry| entry.envelope.queue_id.to_string());
        Ok(api::ListEnvelopesResponse { envelopes: entries.iter().map(shown).collect(), next_page_token })
    }

    async fn find(&self, queue_id: &str) -> Result<api::GetEnvelopesResponse, Status> {
        if queue_id.is_empty() {
            return Err(status::invalid(&[Violation::new("queue_id", "required")]));
        }
        let selector = selector(queue_id, "", "")?;
        let entries = self.queues.list(&selector, None, ENVELOPES_MAX).await.map_err(|e| status::of_body(&e))?;
        if entries.is_empty() {
            let words = format!("no mail is known as {queue_id}: it never was here, or it ended too long ago");
            return Err(Status::not_found(words));
        }
        Ok(api::GetEnvelopesResponse { envelopes: entries.iter().map(shown).collect() })
    }

    async fn retry(&self, request: &api::RetryNowRequest) -> Result<api::RetryNowResponse, Status> {
        let selector = selector(&request.queue_id, &request.domain, &request.account)?;
        if selector == Selector::default() && !request.all {
            let words = "name a queue id, a domain or an account, or set all";
            return Err(status::invalid(&[Violation::new("queue_id", words)]));
        }
        let envelopes = self.off_thread(move |queues| queues.act(&selector, Directive::RetryNow)).await?;
        Ok(api::RetryNowResponse { envelopes })
    }

    /// Looking at all of a long queue takes a while: not on an async thread.
    async fn off_thread<T: Send + 'static>(
        &self,
        look: impl FnOnce(&dyn QueueView) -> T + Send + 'static,
    ) -> Result<T, Status> {
        let queues = Arc::clone(&self.queues);
        let done = tokio::task::spawn_blocking(move || look(&*queues)).await;
        done.map_err(|e| Status::internal(e.to_string()))
    }
}

#[tonic::async_trait]
impl Queues for QueuesService {
    async fn summarize_queue(
        &self,
        request: Request<api::SummarizeQueueRequest>,
    ) -> Result<Response<api::SummarizeQueueResponse>, Status> {
        self.telemetry.looked("SummarizeQueue", self.summarize(request.get_ref()).await)
    }

    async fn list_envelopes(
        &self,
        request: Request<api::ListEnvelopesRequest>,
    ) -> Result<Response<api::ListEnvelopesResponse>, Status> {
        self.telemetry.looked("ListEnvelopes", self.list(request.get_ref()).await)
    }

    async fn get_envelopes(
        &self,
        request: Request<api::GetEnvelopesRequest>,
    ) -> Result<Response<api::GetEnvelopesResponse>, Status> {
        self.telemetry.looked("GetEnvelopes", self.find(&request.get_ref().queue_id).await)
    }

    async fn retry_now(
        &self,
        request: Request<api::RetryNowRequest>,
    ) -> Result<Response<api::RetryNowResponse>, Status> {
        let mut call = Call::of("RetryNow", &request);
        let request = request.into_inner();
        let subject = format!("{} {} {}", request.queue_id, request.domain, request.account);
        call.subject = subject.trim().to_owned();
        self.telemetry.changed(&call, self.retry(&request).await)
    }
}

/// What the three filters mean; empty ones are not set.
fn selector(queue_id: &str, domain: &str, account: &str) -> Result<Selector, Status> {
    let mut wrong = Vec::new();
    let queue_id = (!queue_id.is_empty()).then(|| QueueId::parse(queue_id)).transpose();
    let queue_id = queue_id.map_err(|e| wrong.push(Violation::new("queue_id", e))).ok().flatten();
    let domain = (!domain.is_empty()).then(|| Host::parse(domain)).transpose();
    let domain = domain.map_err(|e| wrong.push(Violation::new("domain", e))).ok().flatten();
    let account = (!account.is_empty()).then(|| account.into());
    if wrong.is_empty() { Ok(Selector { queue_id, domain, account }) } else { Err(status::invalid(&wrong)) }
}

fn summary(count: DomainCount) -> api::DomainSummary {
    api::DomainSummary {
        domain: count.domain.to_string(),
        ready: count.ready,
        active: count.active,
        waiting: count.waiting,
        next_due_ms: count.next_due.map_or(0, |at| at.0),
        oldest_ms: count.oldest.map_or(0, |at| at.0),
    }
}

fn shown(entry: &Entry) -> api::QueuedEnvelope {
    let envelope = &entry.envelope;
    let (state, due_ms, fate) = match &entry.state {
        State::Ready => ("ready", 0, None),
        State::Active => ("active", 0, None),
        State::Waiting(due) => ("waiting", due.0, None),
        State::Ended(fate) => (fate.kind.as_str(), 0, Some(&**fate)),
    };
    let recipients = match fate {
        Some(fate) => fate.results.iter().map(|result| ended_recipient(result, fate)).collect(),
        None => envelope.recipients.iter().map(open_recipient).collect(),
    };
    let report_on = fate.map_or(envelope.report_on, |fate| fate.about.report_on);
    api::QueuedEnvelope {
        queue_id: envelope.queue_id.to_string(),
        account: envelope.account.to_string(),
        lane: envelope.lane.to_string(),
        mail_from: envelope.mail_from.as_ref().map(ToString::to_string).unwrap_or_default(),
        recipients,
        domain: envelope.domain.to_string(),
        state: state.into(),
        accepted_ms: envelope.accepted.0,
        due_ms,
        expires_ms: envelope.expires.0,
        size: envelope.size.into(),
        attempts: fate.map_or(envelope.attempts, |fate| fate.attempts),
        last_reply: fate.map_or_else(|| envelope.last_reply.as_deref().unwrap_or_default().into(), last_words),
        peer: fate.and_then(|fate| fate.attempt.host()).unwrap_or_default(),
        campaign: envelope.campaign.as_deref().unwrap_or_default().into(),
        pool: envelope.pool.as_deref().unwrap_or_default().into(),
        ended_ms: fate.map_or(0, |fate| fate.at.0),
        report: fate.and_then(|fate| fate.report).map(|id| id.to_string()).unwrap_or_default(),
        report_on: report_on.map(|id| id.to_string()).unwrap_or_default(),
        delay_notices: envelope.delay_notices,
    }
}

fn open_recipient(r: &Recipient) -> api::RecipientState {
    let state = recipient(&r.address, r.outcome.as_ref(), FateKind::Bounced);
    api::RecipientState { trouble: r.trouble.as_ref().map(trouble), decided_in: r.decided_in, ..state }
}

fn ended_recipient(result: &RecipientResult, fate: &Fate) -> api::RecipientState {
    // What bounced before the envelope was given up has bounced.
    let early = (1..fate.attempts).contains(&result.decided_in);
    let kind = if early { FateKind::Bounced } else { fate.kind };
    let state = recipient(&result.address, Some(&result.outcome), kind);
    api::RecipientState { decided_in: result.decided_in, ..state }
}

fn trouble(trouble: &Trouble) -> api::Trouble {
    api::Trouble {
        reply: trouble.reply.to_string(),
        is_peers: trouble.is_peers,
        mta: trouble.mta.as_deref().unwrap_or_default().into(),
        at_ms: trouble.at.0,
    }
}

/// A recipient with its outcome; one that was given up as its envelope expired or was cancelled is called so.
fn recipient(address: &Address, outcome: Option<&Outcome>, given_up: FateKind) -> api::RecipientState {
    let (state, reply) = match outcome {
        None => ("open", String::new()),
        Some(Outcome::Delivered { reply }) => (FateKind::Delivered.as_str(), reply.to_string()),
        Some(Outcome::Bounced { reply, .. }) => match given_up {
            FateKind::Expired | FateKind::Cancelled => (given_up.as_str(), reply.to_string()),
            FateKind::Delivered | FateKind::Bounced => (FateKind::Bounced.as_str(), reply.to_string()),
        },
    };
    api::RecipientState { address: address.to_string(), state: state.into(), reply, ..Default::default() }
}

/// The reply that speaks for the whole: the first bounce's, else the first.
fn last_words(fate: &Fate) -> String {
    let bounced = fate.results.iter().find(|r| matches!(r.outcome, Outcome::Bounced { .. }));
    match bounced.or(fate.results.first()).map(|r| &r.outcome) {
        Some(Outcome::Delivered { reply } | Outcome::Bounced { reply, .. }) => reply.to_string(),
        None => String::new(),
    }
}
