//! From an event to its lines: one for each recipient and result. Pure.

use sluice_mail::{
    About, Address, Attempt, AttemptInfo, AttemptResult, EnhancedCode, Event, Fate, FateKind, Outcome, QueueId, Reply,
    Stage, Tried, UnixMs,
};
use sluice_report::{BounceClass, classify};

use super::{Record, Records};

/// A status of 4.7 says that the time was over (RFC 3463 3.5).
const EXPIRED: (u16, u16) = (4, 7);

/// What is told of one recipient. The same event always gives the same lines.
#[derive(Clone, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) record: Record,
    pub(crate) about: &'a About,
    /// When it happened.
    pub(crate) at: UnixMs,
    /// Of the envelope, counted from 1; for what was given up untried the number that the attempt would have had.
    pub(crate) attempt: u32,
    /// Tells the recipients of one attempt apart.
    pub(crate) place: usize,
    pub(crate) address: &'a Address,
    pub(crate) orcpt: Option<&'a str>,
    /// `delivered`, `bounced`, `expired`, `cancelled` or `deferred`.
    pub(crate) outcome: &'static str,
    pub(crate) status: EnhancedCode,
    pub(crate) reply: &'a Reply,
    /// Why, unless it was delivered.
    pub(crate) class: Option<BounceClass>,
    /// Where a deferral happened.
    pub(crate) stage: Option<Stage>,
    /// When it is tried again.
    pub(crate) retry_at: Option<UnixMs>,
    /// Where and how.
    pub(crate) info: &'a AttemptInfo,
    /// The report to the sender that was made of it.
    pub(crate) report: Option<QueueId>,
}

impl Line<'_> {
    /// Unique to this result: `queue id - attempt - place`.
    pub(crate) fn id(&self) -> String {
        format!("{}-{}-{}", self.about.queue_id, self.attempt, self.place)
    }
}

/// The lines of `event` that are wanted.
pub(crate) fn lines(event: &Event, wanted: Records) -> Vec<Line<'_>> {
    let mut all = match event {
        Event::Fate(fate) => of_fate(fate),
        Event::Attempt(attempt) => of_attempt(attempt),
    };
    all.retain(|line| wanted.contains(line.record));
    all
}

/// Those whom the record decides; of the others the record of their attempt told.
fn of_fate(fate: &Fate) -> Vec<Line<'_>> {
    let last = fate.results.iter().map(|result| result.decided_in).max().unwrap_or(0);
    let new = fate.results.iter().enumerate().filter(|(_, r)| r.decided_in == last || r.decided_in == 0);
    new.map(|(place, result)| {
        let ended = match (fate.kind, &result.outcome) {
            (FateKind::Expired, Outcome::Bounced { status, .. }) if (status.1, status.2) != EXPIRED => {
                FateKind::Bounced
            }
            (kind, _) => kind,
        };
        let (status, reply, record) = decided(&result.outcome);
        Line {
            record,
            about: &fate.about,
            at: fate.at,
            attempt: result.decided_in,
            place,
            address: &result.address,
            orcpt: result.orcpt.as_deref(),
            outcome: outcome(record, ended),
            status,
            reply,
            class: class(record, reply, status),
            stage: None,
            retry_at: None,
            info: &fate.attempt,
            report: fate.report.filter(|_| record == Record::Bounced),
        }
    })
    .collect()
}

fn of_attempt(attempt: &Attempt) -> Vec<Line<'_>> {
    let is_bounce = |result: &AttemptResult| matches!(result.tried, Tried::Decided(Outcome::Bounced { .. }));
    let has_bounces = attempt.results.iter().any(is_bounce);
    let lines = attempt.results.iter().enumerate().map(|(place, result)| {
        let (status, reply, record) = match &result.tried {
            Tried::Decided(outcome) => decided(outcome),
            Tried::Deferred { reply, of_site, .. } => {
                let status = reply.enhanced.filter(|code| code.0 == 4).unwrap_or(EnhancedCode(4, 0, 0));
                (status, reply, if *of_site { Record::SiteDeferred } else { Record::Deferred })
            }
        };
        let stage = match result.tried {
            Tried::Decided(_) => None,
            Tried::Deferred { stage, .. } => Some(stage),
        };
        // The report tells of those that bounced; when there are none, of those that wait.
        let is_reported = if has_bounces { record == Record::Bounced } else { stage.is_some() };
        Line {
            record,
            about: &attempt.about,
            at: attempt.at,
            attempt: attempt.number,
            place,
            address: &result.address,
            orcpt: result.orcpt.as_deref(),
            outcome: outcome(record, FateKind::Bounced),
            status,
            reply,
            class: if stage.is_some() { Some(classify(reply, None, stage)) } else { class(record, reply, status) },
            stage,
            retry_at: stage.map(|_| attempt.retry_at),
            info: &attempt.attempt,
            report: attempt.report.filter(|_| is_reported),
        }
    });
    lines.collect()
}

fn decided(outcome: &Outcome) -> (EnhancedCode, &Reply, Record) {
    match outcome {
        Outcome::Delivered { reply } => (reply.enhanced.unwrap_or(EnhancedCode(2, 0, 0)), reply, Record::Delivered),
        Outcome::Bounced { status, reply } => (*status, reply, Record::Bounced),
    }
}

fn outcome(record: Record, ended: FateKind) -> &'static str {
    match (record, ended) {
        (Record::Delivered, _) => "delivered",
        (Record::Bounced, FateKind::Expired) => "expired",
        (Record::Bounced, FateKind::Cancelled) => "cancelled",
        (Record::Bounced, FateKind::Bounced | FateKind::Delivered) => "bounced",
        (Record::Deferred | Record::SiteDeferred, _) => "deferred",
    }
}

fn class(record: Record, reply: &Reply, status: EnhancedCode) -> Option<BounceClass> {
    (record == Record::Bounced).then(|| classify(reply, Some(status), None))
}
