//! What every engine's view of the queue needs of the port's words.

use std::sync::Arc;

use sluice_mail::{BodyFlags, Envelope, Fate, Host, Outcome, QueueId, Recipient, UnixMs};

use crate::{DomainCount, Entry, Selector, State};

impl Selector {
    /// Whether this envelope is meant.
    #[must_use]
    pub fn matches(&self, envelope: &Envelope) -> bool {
        self.names(envelope.queue_id)
            && self.domain.as_ref().is_none_or(|domain| *domain == envelope.domain)
            && self.account.as_ref().is_none_or(|account| *account == envelope.account)
    }

    /// Whether the selector's queue id, if there is one, is this envelope's or its message's.
    #[must_use]
    pub fn names(&self, id: QueueId) -> bool {
        self.queue_id.is_none_or(|named| named == id || named == id.message() && named == named.message())
    }
}

impl DomainCount {
    /// Nothing waits.
    #[must_use]
    pub fn empty(domain: Host) -> Self {
        Self { domain, ready: 0, active: 0, waiting: 0, next_due: None, oldest: None }
    }

    /// Counts one more envelope.
    pub fn add(&mut self, state: &State, accepted: UnixMs) {
        match state {
            State::Ready => self.ready += 1,
            State::Active => self.active += 1,
            State::Waiting(until) => {
                self.waiting += 1;
                self.next_due = Some(self.next_due.map_or(*until, |due| due.min(*until)));
            }
            State::Ended(_) => return,
        }
        self.oldest = Some(self.oldest.map_or(accepted, |oldest| oldest.min(accepted)));
    }

    /// All envelopes of the domain.
    #[must_use]
    pub fn envelopes(&self) -> u64 {
        self.ready + self.active + self.waiting
    }
}

impl Entry {
    /// An ended envelope, as far as its fate tells of it.
    #[must_use]
    pub fn ended(fate: &Fate) -> Self {
        let about = &fate.about;
        let recipients = fate.results.iter().map(|result| Recipient {
            orcpt: result.orcpt.clone(),
            outcome: Some(result.outcome.clone()),
            decided_in: result.decided_in,
            ..Recipient::new(result.address.clone())
        });
        let envelope = Envelope {
            queue_id: about.queue_id,
            generation: 0,
            account: about.account.clone(),
            campaign: about.campaign.clone(),
            tag: about.tag.clone(),
            lane: about.lane,
            mail_from: about.mail_from.clone(),
            recipients: recipients.collect(),
            ret: None,
            envid: about.envid.clone(),
            domain: about.domain.clone(),
            pool: about.pool.clone(),
            accepted: about.accepted,
            expires: about.accepted,
            not_before: about.accepted,
            flags: BodyFlags::default(),
            size: about.size,
            body_crc: 0,
            attempts: fate.attempts,
            last_reply: last_words(fate),
            delay_notices: 0,
            report_on: about.report_on,
        };
        Self { envelope, state: State::Ended(Box::new(fate.clone())) }
    }
}

fn last_words(fate: &Fate) -> Option<Arc<str>> {
    let reply = fate.results.last().map(|result| match &result.outcome {
        Outcome::Delivered { reply } | Outcome::Bounced { reply, .. } => reply,
    })?;
    Some(reply.to_string().into())
}
