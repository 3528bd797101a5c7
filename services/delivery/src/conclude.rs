//! What follows from an attempt, made durable: outcomes are noted, the retry is fixed, the sender's report is owed or
//! not, and one decision is settled.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sluice_mail::{AttemptInfo, Envelope, Failure, Rate, Reply};
use sluice_queue::{Directives, RetrySchedule, Scope};
use sluice_registry::{Account, Dsn};
use sluice_sign::Key;
use sluice_spool::{Decision, Ticket, Work, WorkId};

use crate::bounce::{self, Due, Silence};
use crate::desk::Task;
use crate::job::Where;
use crate::outcome::{self, Conclusion, Written};
use crate::shared::Shared;
use crate::telemetry::Story;

const HOUR: Duration = Duration::from_secs(3600);

impl Shared {
    /// An attempt ended with these results: tells of it and settles the work. Where a report has to be written whose
    /// original is not in memory, the work is settled a little later; the ticket waits for that.
    pub(crate) fn conclude(
        &self,
        work: Work,
        site: Option<&Arc<str>>,
        results: Vec<Result<Reply, Failure>>,
        at: Where,
    ) -> Ticket {
        let Work { id, mut envelope, body, .. } = work;
        let wall = self.clock.wall();
        let info = AttemptInfo {
            site: site.cloned(),
            mx: at.mx.clone(),
            peer: at.peer,
            source: at.source.clone(),
            tls: at.tls.clone(),
            duration: at.duration,
        };
        let summary = outcome::note(&mut envelope, results, &info, wall, &self.config.judgement);
        let account = (!summary.failed.is_empty()).then(|| self.registry.account(&envelope.account)).flatten();
        let site = site.map(|site| &**site);
        let retry_in = (summary.deferred > 0).then(|| self.retry_in(&envelope, site, account.as_deref()));
        let mut conclusion = Conclusion::of_attempt(envelope, &summary, info, wall, retry_in);
        let dues = match summary.failed.is_empty() {
            true => Vec::new(),
            false => self.dues(&mut conclusion, account.as_deref()),
        };
        self.telemetry.attempt(&Story {
            conclusion: &conclusion,
            site,
            summary: &summary,
            at: &at,
            dsn: dues.first().map(|due| due.id),
        });
        self.settle(id, body, conclusion, dues)
    }

    /// The time of an envelope is over before another attempt.
    pub(crate) fn expire(&self, work: Work) -> Ticket {
        let Work { id, envelope, body, .. } = work;
        let account = self.registry.account(&envelope.account);
        let mut conclusion = Conclusion::expired(envelope, self.clock.wall());
        let dues = self.dues(&mut conclusion, account.as_deref());
        self.telemetry.expired(&conclusion, dues.first().map(|due| due.id));
        self.settle(id, body, conclusion, dues)
    }

    /// An envelope is put off untried, until its time is over at most. Its sender may have to be told that it waits.
    pub(crate) fn postpone(&self, work: Work, eta: Duration) -> Ticket {
        let Work { id, envelope, body, .. } = work;
        let wall = self.clock.wall();
        let eta = eta.min(envelope.expires.since(wall));
        let every = self.config.notify_of_delay_every;
        if !every.is_some_and(|every| bounce::is_late(&envelope, wall, every)) {
            return self.source.settle(id, Decision::Divert { eta });
        }
        let account = self.registry.account(&envelope.account);
        let mut conclusion = Conclusion::postponed(envelope, wall, eta);
        let dues = self.dues(&mut conclusion, account.as_deref());
        self.settle(id, body, conclusion, dues)
    }

    /// The record of a conclusion, with its reports written. `original` is the message, or why it cannot be given
    /// back.
    pub(crate) fn decide(&self, conclusion: Conclusion, dues: &[Due], original: Result<&[u8], &str>) -> Decision {
        let lifetime = |own: &Envelope| {
            let account = self.registry.account(&own.account);
            let directives = account.as_deref().and_then(directives);
            self.config.policy.bounce_after(&scope(own, None, directives.as_ref()))
        };
        let write = |due| bounce::written(&conclusion, due, &self.hostname, original, lifetime);
        let reports = dues.iter().filter_map(write).map(|report| self.signed(report)).collect();
        conclusion.decision(reports)
    }

    fn settle(&self, id: WorkId, body: Option<Bytes>, conclusion: Conclusion, dues: Vec<Due>) -> Ticket {
        match body {
            _ if dues.is_empty() => self.source.settle(id, conclusion.decision(Vec::new())),
            Some(body) if self.host_keys().is_empty() => {
                self.source.settle(id, self.decide(conclusion, &dues, Ok(&body)))
            }
            body => self.desk.put(Task::new(id, body, conclusion, dues)),
        }
    }

    /// The keys of the host's own name, which sign its reports.
    fn host_keys(&self) -> Vec<Arc<Key>> {
        let Some(domain) = &self.domain else { return Vec::new() };
        // No account owns the host's mail: a key of everybody's is meant.
        self.registry.keys().pick("", domain, self.clock.wall()).into_iter().cloned().collect()
    }

    /// The report with the host's signatures. One that cannot be signed goes without.
    fn signed(&self, report: Written) -> Written {
        let keys = self.host_keys();
        if keys.is_empty() {
            return report;
        }
        match sluice_sign::sign(&report.body, keys.iter().map(AsRef::as_ref), report.envelope.accepted) {
            Ok(fields) => report.with_fields(fields),
            Err(error) => {
                self.telemetry.report_unsigned(&report.envelope, &error);
                report
            }
        }
    }

    fn retry_in(&self, envelope: &Envelope, site: Option<&str>, account: Option<&Account>) -> Duration {
        let directives = account.and_then(directives);
        let schedule = self.config.policy.retry(&scope(envelope, site, directives.as_ref()));
        schedule.delay(envelope.attempts, rand::random())
    }

    /// The reports that are to be written, the one on a loss before the one on a delay.
    fn dues(&self, conclusion: &mut Conclusion, account: Option<&Account>) -> Vec<Due> {
        let dsn = account.map_or(Dsn::default(), |account| account.rules.dsn);
        let mut dues = Vec::new();
        if let Some(due) = bounce::of_loss(conclusion, dsn) {
            dues.extend(self.grant("failed", due, conclusion, account));
        }
        if let Some(every) = self.config.notify_of_delay_every
            && let Some(due) = bounce::of_delay(conclusion, every, dsn)
        {
            conclusion.delay_told(bounce::periods(conclusion.envelope(), conclusion.wall(), every));
            dues.extend(self.grant("delayed", due, conclusion, account));
        }
        if bounce::is_report_lost(conclusion) {
            self.telemetry.report_lost(conclusion.envelope());
        }
        dues
    }

    /// The report, unless there is a reason not to write it.
    fn grant(
        &self,
        kind: &'static str,
        due: Result<Due, Silence>,
        conclusion: &Conclusion,
        account: Option<&Account>,
    ) -> Option<Due> {
        let granted = due.and_then(|due| match self.takes_one(conclusion.envelope(), account) {
            true => Ok(due),
            false => Err(Silence::Rate),
        });
        self.telemetry.report(kind, granted.as_ref().err().copied(), conclusion.envelope());
        granted.ok()
    }

    /// Takes one report of what the account may have.
    fn takes_one(&self, envelope: &Envelope, account: Option<&Account>) -> bool {
        let own = account.and_then(|account| account.rules.max_dsns_per_hour);
        let rate = own.map(|n| Rate { count: n.get(), per: HOUR }).or(self.config.max_dsn_rate);
        let now = self.clock.now();
        rate.is_none_or(|rate| self.report_rates.take_per(now, &envelope.account, 1, (rate.count, rate.per)).is_ok())
    }
}

fn scope<'a>(envelope: &'a Envelope, site: Option<&'a str>, account: Option<&'a Directives>) -> Scope<'a> {
    Scope { lane: envelope.lane, site, domain: &envelope.domain, account }
}

/// What the account has to say about its mail, when it has anything.
fn directives(account: &Account) -> Option<Directives> {
    let rules = &account.rules;
    let retry_after = rules.retry_after.clone().and_then(|times| RetrySchedule::new(times).ok());
    let has_any = retry_after.is_some() || rules.bounce_after.is_some();
    has_any.then(|| Directives { retry_after, bounce_after: rules.bounce_after, ..Directives::default() })
}
