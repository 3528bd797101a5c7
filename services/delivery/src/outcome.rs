//! From the results of an attempt to the one record that follows from it. Pure.

use std::time::Duration;

use sluice_mail::{
    AttemptInfo, EnhancedCode, Envelope, Failure, Fate, FateKind, Outcome, RecipientResult, Reply, UnixMs, Verdict,
};
use sluice_queue::{Context, RetrySchedule, judge, reply_of};
use sluice_spool::{Decision, Part};

/// Longest note of a reply that an envelope carries along, in octets.
const NOTE_MAX: usize = 500;
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
}

/// Notes the results of an attempt, one for each recipient that was open, in the envelope.
pub(crate) fn note(
    envelope: &mut Envelope,
    results: Vec<Result<Reply, Failure>>,
    attempt: &AttemptInfo,
    context: &Context,
) -> Summary {
    let mut summary = Summary::default();
    let mut open = envelope.recipients.iter_mut().filter(|recipient| recipient.outcome.is_none());
    for result in results {
        let Some(recipient) = open.next() else { break };
        match result {
            Ok(reply) => {
                summary.delivered += 1;
                summary.reply.get_or_insert_with(|| reply.clone());
                recipient.outcome = Some(Outcome::Delivered { reply });
            }
            Err(failure) => match judge(&failure, context) {
                Verdict::Delivered => summary.delivered += 1,
                Verdict::Deferred { .. } => {
                    if summary.deferred == 0 {
                        summary.trouble = Some(failure);
                    }
                    summary.deferred += 1;
                }
                Verdict::Bounced { status, .. } => {
                    recipient.outcome = Some(Outcome::Bounced { status, reply: reply_of(&failure) });
                    summary.bounced += 1;
                    summary.trouble.get_or_insert(failure);
                }
            },
        }
    }
    envelope.attempts += 1;
    if let Some(trouble) = &summary.trouble {
        let words = match attempt.host() {
            Some(host) => format!("{host}: {trouble}"),
            None => trouble.to_string(),
        };
        envelope.last_reply = Some(shorten(&words).into());
    }
    summary
}

/// How long an envelope with open recipients waits for its next attempt: until its time is over at most, so that the
/// sender learns of it then. `random` in 0.0 to 1.0 moves the wait.
pub(crate) fn wait(envelope: &Envelope, wall: UnixMs, retry: &RetrySchedule, random: f64) -> Duration {
    retry.delay(envelope.attempts, random).min(envelope.expires.since(wall))
}

/// The record that follows when the recipients' outcomes are noted: the end when all are decided, or when there is
/// no time left to wait; else a wait.
pub(crate) fn decision(
    mut envelope: Envelope,
    attempt: AttemptInfo,
    wall: UnixMs,
    retry_in: Option<Duration>,
) -> Decision {
    match retry_in {
        None => end(envelope, attempt, wall, None),
        Some(Duration::ZERO) => expire(envelope, attempt, wall),
        Some(delay) => {
            envelope.generation += 1;
            Decision::Wait(vec![Part::Remaining { envelope: Box::new(envelope), delay }])
        }
    }
}

/// The record that gives up what is still open because its time is over.
pub(crate) fn expire(mut envelope: Envelope, attempt: AttemptInfo, wall: UnixMs) -> Decision {
    let words = match (&envelope.last_reply, envelope.attempts) {
        (Some(last), attempts) => format!("given up after {attempts} attempts; the last came to: {last}"),
        (None, _) => "given up: its time was over before it could be tried".to_owned(),
    };
    for recipient in envelope.recipients.iter_mut().filter(|recipient| recipient.outcome.is_none()) {
        let reply = Reply::new(554, EXPIRED, words.clone());
        recipient.outcome = Some(Outcome::Bounced { status: EXPIRED, reply });
    }
    end(envelope, attempt, wall, Some(FateKind::Expired))
}

/// The record that ends an envelope. A report to the sender is not written yet: its place is here, as a
/// [`Part::Notification`] that carries the fate.
fn end(envelope: Envelope, attempt: AttemptInfo, wall: UnixMs, kind: Option<FateKind>) -> Decision {
    let mut all_delivered = true;
    let result = |recipient: sluice_mail::Recipient| {
        let outcome = recipient.outcome?;
        all_delivered &= matches!(outcome, Outcome::Delivered { .. });
        Some(RecipientResult { address: recipient.address, outcome })
    };
    let results = envelope.recipients.into_iter().filter_map(result).collect();
    let fate = Fate {
        queue_id: envelope.queue_id,
        kind: kind.unwrap_or(if all_delivered { FateKind::Delivered } else { FateKind::Bounced }),
        results,
        account: envelope.account,
        campaign: envelope.campaign,
        tag: envelope.tag,
        domain: envelope.domain,
        attempts: envelope.attempts,
        accepted: envelope.accepted,
        at: wall,
        attempt,
    };
    Decision::Done(Box::new(fate))
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

fn shorten(words: &str) -> &str {
    &words[..words.floor_char_boundary(NOTE_MAX)]
}

#[cfg(test)]
mod tests;
