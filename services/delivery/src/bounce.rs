//! What the sender is told of mail that fails or waits: who is owed a report, and the report. Pure.
//!
//! A report is owed for the recipients that were refused or given up now, one report for all of them, and for those
//! that still wait when a period of `notify_of_delay_every` has passed. It is owed to the reverse-path: mail from the
//! null sender, and so every report itself, never causes one.

use std::time::Duration;

use sluice_mail::{Envelope, Lane, Outcome, QueueId, Recipient, UnixMs};
use sluice_registry::Dsn;
use sluice_report::{Kind, Notice, Original, header_section, write};

use crate::outcome::{Conclusion, Written};

/// The largest original, in octets, that is given back whole.
const WHOLE_MAX: u32 = 10 << 20;

/// The report on a loss, of those after one attempt. The others are warnings of delay: there may be some, as an envelope
/// may wait long without being tried.
const NTH_FAILED: u16 = 0;

/// A report that is owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) kind: Kind,
    /// Its queue id.
    pub(crate) id: QueueId,
    /// Places of those that it speaks of.
    pub(crate) recipients: Vec<usize>,
    /// Whether the whole original is given back.
    pub(crate) whole: bool,
}

/// Why the sender is told nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// There is nobody to tell.
    NullSender,
    /// The sender said so when it gave the recipients (RFC 3461).
    Notify,
    /// The account said so.
    Off,
    /// The account had its share of reports for now.
    Rate,
}

impl Silence {
    /// The word in logs and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NullSender => "null_sender",
            Self::Notify => "notify",
            Self::Off => "off",
            Self::Rate => "rate",
        }
    }
}

/// What is owed for the recipients that were lost now; `None`: there are none.
pub(crate) fn of_loss(conclusion: &Conclusion, dsn: Dsn) -> Option<Result<Due, Silence>> {
    let mut lost = conclusion.lost().peekable();
    lost.peek()?;
    let envelope = conclusion.envelope();
    let recipients: Vec<_> = lost.filter(|place| wants(&envelope.recipients[*place], "FAILURE")).collect();
    let whole = envelope.size <= WHOLE_MAX && gives_whole(envelope, dsn);
    Some(due(conclusion, Kind::Failed, recipients, dsn).map(|due| Due { whole, ..due }))
}

/// What is owed for the recipients that still wait; `None`: no period has passed since the sender was told last, or
/// none waits.
pub(crate) fn of_delay(conclusion: &Conclusion, every: Duration, dsn: Dsn) -> Option<Result<Due, Silence>> {
    let envelope = conclusion.envelope();
    conclusion.retry_in()?;
    if !is_late(envelope, conclusion.wall(), every) {
        return None;
    }
    let open = envelope.open_recipients().filter(|(_, recipient)| wants(recipient, "DELAY"));
    let recipients: Vec<_> = open.map(|(place, _)| place).collect();
    Some(due(conclusion, Kind::Delayed { until: envelope.expires }, recipients, dsn))
}

/// Whether a period has passed of which the sender was not told.
pub(crate) fn is_late(envelope: &Envelope, wall: UnixMs, every: Duration) -> bool {
    periods(envelope, wall, every) > envelope.delay_notices
}

/// How many periods the envelope has waited.
pub(crate) fn periods(envelope: &Envelope, wall: UnixMs, every: Duration) -> u32 {
    let periods = wall.since(envelope.accepted).as_millis() / every.as_millis().max(1);
    u32::try_from(periods).unwrap_or(u32::MAX)
}

fn due(conclusion: &Conclusion, kind: Kind, recipients: Vec<usize>, dsn: Dsn) -> Result<Due, Silence> {
    let envelope = conclusion.envelope();
    let nth = match kind {
        Kind::Failed => NTH_FAILED,
        Kind::Delayed { .. } => u16::try_from(envelope.delay_notices).unwrap_or(u16::MAX - 1).saturating_add(1),
    };
    match dsn {
        _ if envelope.mail_from.is_none() => Err(Silence::NullSender),
        Dsn::Off => Err(Silence::Off),
        Dsn::Headers | Dsn::Full if recipients.is_empty() => Err(Silence::Notify),
        Dsn::Headers | Dsn::Full => {
            Ok(Due { kind, id: envelope.queue_id.report(conclusion.number(), nth), recipients, whole: false })
        }
    }
}

/// Whether the sender wants to hear of this, by NOTIFY. Without it, of everything.
fn wants(recipient: &Recipient, word: &str) -> bool {
    let named = |notify: &str| notify.split(',').any(|one| one.trim().eq_ignore_ascii_case(word));
    recipient.notify.as_deref().is_none_or(named)
}

/// RET comes before the account's own word.
fn gives_whole(envelope: &Envelope, dsn: Dsn) -> bool {
    match envelope.ret.as_deref() {
        Some(ret) if ret.eq_ignore_ascii_case("FULL") => true,
        Some(ret) if ret.eq_ignore_ascii_case("HDRS") => false,
        Some(_) | None => dsn == Dsn::Full,
    }
}

/// The report as an envelope with its body. `original` is the message, or why it cannot be given back.
pub(crate) fn written(
    conclusion: &Conclusion,
    due: &Due,
    hostname: &str,
    original: Result<&[u8], &str>,
    lifetime: impl FnOnce(&Envelope) -> Duration,
) -> Option<Written> {
    let envelope = conclusion.envelope();
    let to = envelope.mail_from.clone()?;
    let at = conclusion.wall();
    let report = write(&Notice {
        kind: due.kind,
        id: due.id,
        hostname,
        envelope,
        recipients: &due.recipients,
        at,
        original: match original {
            Ok(body) if due.whole => Original::Whole(body),
            Ok(body) => Original::Headers(header_section(body)),
            Err(why) => Original::Missing(why),
        },
    });
    let mut own = Envelope {
        queue_id: due.id,
        generation: 0,
        account: envelope.account.clone(),
        campaign: None,
        tag: None,
        lane: Lane::Transactional,
        mail_from: None,
        domain: to.host().clone(),
        recipients: vec![Recipient::new(to)],
        ret: None,
        envid: None,
        pool: envelope.pool.clone(),
        accepted: at,
        expires: at,
        not_before: at,
        flags: report.flags,
        size: u32::try_from(report.body.len()).unwrap_or(u32::MAX),
        body_crc: crc32c::crc32c(&report.body),
        attempts: 0,
        last_reply: None,
        delay_notices: 0,
        report_on: Some(envelope.queue_id),
    };
    own.expires = at.plus(lifetime(&own));
    Some(Written { envelope: Box::new(own), body: report.body })
}

/// Whether a report of ours ends with this without having arrived: its sender will not hear of the first loss.
pub(crate) fn is_report_lost(conclusion: &Conclusion) -> bool {
    let lost = |recipient: &Recipient| matches!(recipient.outcome, Some(Outcome::Bounced { .. }));
    let envelope = conclusion.envelope();
    envelope.report_on.is_some() && conclusion.retry_in().is_none() && envelope.recipients.iter().any(lost)
}

#[cfg(test)]
mod tests;
