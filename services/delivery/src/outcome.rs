//! From the results of an attempt to the one record that follows from it. Pure.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sluice_mail::{
    About, Attempt, AttemptInfo, AttemptResult, Cause, EnhancedCode, Envelope, Failure, Fate, FateKind, Outcome,
    QueueId, Recipient, RecipientResult, Reply, Stage, Tried, Trouble, UnixMs, Verdict,
};
use sluice_queue::{Context, judge, reply_of, speaks_of_site};
use sluice_spool::{Decision, Part};

/// Longest note of a reply that an envelope carries along, in octets.
const NOTE_MAX: usize = 500;
/// Longest text of a reply that is kept for each recipient, in octets.
const REPLY_MAX: usize = 2_000;
/// Delivery time expired.
const EXPIRED: EnhancedCode = EnhancedCode(5, 4, 7);

/// What an attempt came to, over all its recipients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) delivered: usize,
    pub(crate) deferred: usize,
    pub(crate) bounced: usize,
    /// The first failure, a temporary one before a permanent one.
    pub(crate) trouble: Option<Failure>,
    /// A word of success.
    pub(crate) reply: Option<Reply>,
    /// Those that were not delivered, in order.
    pub(crate) failed: Vec<Failed>,
}

/// Where a recipient failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    /// Its place in the envelope.
    pub(crate) place: usize,
    pub(crate) stage: Stage,
    /// Whether it speaks of the whole site.
    pub(crate) of_site: bool,
    /// Whether it was refused for good.
    pub(crate) is_final: bool,
}

/// Notes the results of an attempt, one for each recipient that was open, in the envelope. A recipient without a
/// result counts as put off: better twice than never.
pub(crate) fn note(
    envelope: &mut Envelope,
    results: Vec<Result<Reply, Failure>>,
    attempt: &AttemptInfo,
    wall: UnixMs,
    context: &Context,
) -> Summary {
    envelope.attempts += 1;
    let number = envelope.attempts;
    let mut summary = Summary::default();
    let mut results = results.into_iter();
    let mut mta: Option<Option<Arc<str>>> = None;
    let open = envelope.recipients.iter_mut().enumerate().filter(|(_, recipient)| recipient.outcome.is_none());
    for (place, recipient) in open {
        let failure = match results.next() {
            Some(Ok(reply)) => {
                let reply = shortened(reply);
                summary.delivered += 1;
                summary.reply.get_or_insert_with(|| reply.clone());
                recipient.outcome = Some(Outcome::Delivered { reply });
                recipient.decided_in = number;
                continue;
            }
            Some(Err(failure)) => failure,
            None => Failure::new(Stage::Body, Cause::Io("the attempt gave no result for this recipient".into())),
        };
        let reply = shortened(reply_of(&failure));
        recipient.trouble = Some(Trouble {
            reply: reply.clone(),
            is_peers: matches!(failure.cause, Cause::Reply(_)),
            mta: mta.get_or_insert_with(|| name_of_host(attempt)).clone(),
            at: wall,
        });
        let verdict = judge(&failure, context);
        summary.failed.push(Failed {
            place,
            stage: failure.stage,
            of_site: is_of_site(&failure),
            is_final: matches!(verdict, Verdict::Bounced { .. }),
        });
        match verdict {
            Verdict::Delivered => {
                summary.delivered += 1;
                recipient.outcome = Some(Outcome::Delivered { reply });
                recipient.decided_in = number;
            }
            Verdict::Deferred { .. } => {
                if summary.deferred == 0 {
                    summary.trouble = Some(failure);
                }
                summary.deferred += 1;
            }
            Verdict::Bounced { status, .. } => {
                recipient.outcome = Some(Outcome::Bounced { status, reply });
                recipient.decided_in = number;
                summary.bounced += 1;
                summary.trouble.get_or_insert(failure);
            }
        }
    }
    if let Some(trouble) = &summary.trouble {
        let words = match attempt.host() {
            Some(host) => format!("{host}: {trouble}"),
            None => trouble.to_string(),
        };
        envelope.last_reply = Some(shorten(&words, NOTE_MAX).into());
    }
    summary
}

/// What follows from an attempt, or from the end of an envelope's time, before it is a record.
#[derive(Debug)]
pub(crate) struct Conclusion {
    /// With everything noted.
    envelope: Envelope,
    /// `decided_in` of those that were decided now.
    number: u32,
    info: AttemptInfo,
    wall: UnixMs,
    next: Next,
}

#[derive(Debug)]
enum Next {
    End(FateKind),
    Wait {
        delay: Duration,
        attempt: Box<Attempt>,
    },
    /// Untried.
    Postpone {
        delay: Duration,
    },
}

/// A report to the sender, to be kept with the record that it tells of.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) envelope: Box<Envelope>,
    pub(crate) body: Bytes,
}

impl Written {
    /// With `fields` before the rest of its header section.
    pub(crate) fn with_fields(mut self, mut fields: Vec<u8>) -> Self {
        fields.extend_from_slice(&self.body);
        self.body = fields.into();
        self.envelope.size = u32::try_from(self.body.len()).unwrap_or(u32::MAX);
        self.envelope.body_crc = crc32c::crc32c(&self.body);
        self
    }
}

impl Conclusion {
    /// What follows when the results of an attempt are noted: the end when all are decided, or when there is no time
    /// left to wait; else a wait of `retry_in`, or of what time is left, so that the sender learns of the end then.
    pub(crate) fn of_attempt(
        envelope: Envelope,
        summary: &Summary,
        info: AttemptInfo,
        wall: UnixMs,
        retry_in: Option<Duration>,
    ) -> Self {
        let number = envelope.attempts;
        let time_left = envelope.expires.since(wall);
        match retry_in.map(|delay| delay.min(time_left)) {
            None => Self { next: Next::End(kind_of(&envelope)), envelope, number, info, wall },
            Some(Duration::ZERO) => Self::given_up(envelope, number, info, wall),
            Some(delay) => {
                let attempt = Box::new(attempt(&envelope, summary, &info, wall, delay));
                Self { next: Next::Wait { delay, attempt }, envelope, number, info, wall }
            }
        }
    }

    /// The end of an envelope whose time was over before another attempt.
    pub(crate) fn expired(envelope: Envelope, wall: UnixMs) -> Self {
        let number = envelope.attempts.saturating_add(1);
        Self::given_up(envelope, number, AttemptInfo::default(), wall)
    }

    /// The wait of an envelope that was not tried.
    pub(crate) fn postponed(envelope: Envelope, wall: UnixMs, delay: Duration) -> Self {
        let (number, info) = (envelope.attempts, AttemptInfo::default());
        Self { envelope, number, info, wall, next: Next::Postpone { delay } }
    }

    fn given_up(mut envelope: Envelope, number: u32, info: AttemptInfo, wall: UnixMs) -> Self {
        let words = match (&envelope.last_reply, envelope.attempts) {
            (Some(last), attempts) => format!("given up after {attempts} attempts; the last came to: {last}"),
            (None, _) => "given up: its time was over before it could be tried".to_owned(),
        };
        for recipient in envelope.recipients.iter_mut().filter(|recipient| recipient.outcome.is_none()) {
            let reply = Reply::new(554, EXPIRED, words.clone());
            recipient.outcome = Some(Outcome::Bounced { status: EXPIRED, reply });
            recipient.decided_in = number;
        }
        Self { envelope, number, info, wall, next: Next::End(FateKind::Expired) }
    }

    /// With everything noted.
    pub(crate) fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// When it was made.
    pub(crate) fn wall(&self) -> UnixMs {
        self.wall
    }

    /// The attempt that it follows from, or that there would have been had there been time.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// How long the envelope waits; `None`: it has ended.
    pub(crate) fn retry_in(&self) -> Option<Duration> {
        match &self.next {
            Next::End(_) => None,
            Next::Wait { delay, .. } | Next::Postpone { delay } => Some(*delay),
        }
    }

    /// Whether it ends because the envelope's time is over.
    pub(crate) fn has_expired(&self) -> bool {
        match &self.next {
            Next::End(kind) => *kind == FateKind::Expired,
            Next::Wait { .. } | Next::Postpone { .. } => false,
        }
    }

    /// The places of those that were refused or given up now.
    pub(crate) fn lost(&self) -> impl Iterator<Item = usize> {
        let is_tried = !matches!(self.next, Next::Postpone { .. });
        let recipients = self.envelope.recipients.iter().enumerate().filter(move |_| is_tried);
        let is_lost = |recipient: &Recipient| matches!(recipient.outcome, Some(Outcome::Bounced { .. }));
        recipients.filter(move |(_, r)| r.decided_in == self.number && is_lost(r)).map(|(place, _)| place)
    }

    /// Notes that the sender was told so many times that it waits.
    pub(crate) fn delay_told(&mut self, notices: u32) {
        self.envelope.delay_notices = notices;
    }

    /// The record, with the reports that are owed. When the envelope ends there is at most one.
    pub(crate) fn decision(mut self, reports: Vec<Written>) -> Decision {
        let report = reports.first().map(|report| report.envelope.queue_id);
        let part = |report: Written| Part::Notification { envelope: report.envelope, body: report.body, fate: None };
        let mut parts = Vec::new();
        let delay = match self.next {
            Next::Wait { delay, mut attempt } => {
                attempt.report = report;
                parts.push(Part::Attempt(attempt));
                delay
            }
            Next::Postpone { delay } => delay,
            Next::End(kind) => {
                let fate = Box::new(fate(self.envelope, kind, self.info, self.wall, report));
                return match reports.into_iter().next() {
                    None => Decision::Done(fate),
                    Some(Written { envelope, body }) => {
                        Decision::Wait(vec![Part::Notification { envelope, body, fate: Some(fate) }])
                    }
                };
            }
        };
        self.envelope.generation += 1;
        parts.extend(reports.into_iter().map(part));
        parts.push(Part::Remaining { envelope: Box::new(self.envelope), delay });
        Decision::Wait(parts)
    }
}

fn kind_of(envelope: &Envelope) -> FateKind {
    let is_delivered = |outcome: &Outcome| matches!(outcome, Outcome::Delivered { .. });
    let all = envelope.recipients.iter().all(|recipient| recipient.outcome.as_ref().is_some_and(is_delivered));
    if all { FateKind::Delivered } else { FateKind::Bounced }
}

/// The record of an attempt after which the envelope waits.
fn attempt(envelope: &Envelope, summary: &Summary, info: &AttemptInfo, wall: UnixMs, delay: Duration) -> Attempt {
    let number = envelope.attempts;
    let result = |(place, recipient): (usize, &Recipient)| {
        let tried = match (&recipient.outcome, &recipient.trouble) {
            (Some(outcome), _) => Some(outcome.clone()).filter(|_| recipient.decided_in == number).map(Tried::Decided),
            (None, Some(trouble)) => {
                let failed = summary.failed.iter().find(|failed| failed.place == place)?;
                let reply = trouble.reply.clone();
                Some(Tried::Deferred { reply, stage: failed.stage, of_site: failed.of_site })
            }
            (None, None) => None,
        };
        Some(AttemptResult { address: recipient.address.clone(), orcpt: recipient.orcpt.clone(), tried: tried? })
    };
    Attempt {
        about: About::envelope(envelope),
        number,
        results: envelope.recipients.iter().enumerate().filter_map(result).collect(),
        at: wall,
        retry_at: wall.plus(delay),
        attempt: info.clone(),
        report: None,
    }
}

/// The record that ends an envelope whose recipients are all decided.
fn fate(envelope: Envelope, kind: FateKind, attempt: AttemptInfo, at: UnixMs, report: Option<QueueId>) -> Fate {
    let result = |recipient: Recipient| {
        let (address, orcpt, decided_in) = (recipient.address, recipient.orcpt, recipient.decided_in);
        Some(RecipientResult { address, orcpt, outcome: recipient.outcome?, decided_in })
    };
    let about = About {
        queue_id: envelope.queue_id,
        account: envelope.account,
        campaign: envelope.campaign,
        tag: envelope.tag,
        lane: envelope.lane,
        mail_from: envelope.mail_from,
        envid: envelope.envid,
        domain: envelope.domain,
        pool: envelope.pool,
        size: envelope.size,
        accepted: envelope.accepted,
        report_on: envelope.report_on,
    };
    let results = envelope.recipients.into_iter().filter_map(result).collect();
    Fate { about, kind, results, attempts: envelope.attempts, at, attempt, report }
}

impl Summary {
    /// One word for logs and metrics.
    pub(crate) fn word(&self) -> &'static str {
        match (self.delivered > 0, self.deferred > 0, self.bounced > 0) {
            (true, false, false) => "delivered",
            (false, true, false) => "deferred",
            (false, false, true) => "bounced",
            (false, false, false) => "nothing",
            (true, ..) | (false, true, true) => "mixed",
        }
    }
}

/// Whether all mail to the site would have come to that: there was no session, or 421 ended it.
fn is_of_site(failure: &Failure) -> bool {
    let is_before_mail = match failure.stage {
        Stage::Resolve | Stage::Connect | Stage::Greeting | Stage::Ehlo | Stage::StartTls | Stage::Auth => true,
        Stage::Mail | Stage::Rcpt | Stage::Data | Stage::Body | Stage::Dot | Stage::Rset => false,
    };
    is_before_mail || speaks_of_site(failure)
}

/// The host's name, or its address in brackets.
fn name_of_host(attempt: &AttemptInfo) -> Option<Arc<str>> {
    let literal = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => format!("[{ip}]").into(),
        IpAddr::V6(ip) => format!("[IPv6:{ip}]").into(),
    };
    match (&attempt.mx, attempt.peer) {
        (Some(name), _) if name.parse::<IpAddr>().is_err() => Some(name.clone()),
        (Some(name), _) => name.parse().ok().map(literal),
        (None, peer) => peer.map(|peer| literal(peer.ip())),
    }
}

fn shortened(mut reply: Reply) -> Reply {
    if reply.text.len() > REPLY_MAX {
        let end = shorten(&reply.text, REPLY_MAX).len();
        reply.text.truncate(end);
    }
    reply
}

fn shorten(words: &str, max: usize) -> &str {
    &words[..words.floor_char_boundary(max)]
}

#[cfg(test)]
mod tests;
