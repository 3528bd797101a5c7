//! The latest fates, for operators who ask what became of an envelope.

use std::collections::VecDeque;

use sluice_mail::{Envelope, Fate, QueueId, Recipient, UnixMs};

use super::frame::{self, Kind};
use super::record;

/// A ring of the latest fates, as they lie in their frames.
#[derive(Debug)]
pub(super) struct Ended {
    ring: VecDeque<(QueueId, Kind, Box<[u8]>)>,
    max: usize,
}

impl Ended {
    pub(super) fn new(max: usize) -> Self {
        Self { ring: VecDeque::new(), max }
    }

    /// Notes a fate by the meta data of its frame; forgets the oldest when there are too many.
    pub(super) fn push(&mut self, queue_id: QueueId, kind: Kind, meta: &[u8]) {
        if self.max == 0 {
            return;
        }
        if self.ring.len() >= self.max {
            self.ring.pop_front();
        }
        let head = frame::head(meta).unwrap_or_default();
        self.ring.push_back((queue_id, kind, head.into()));
    }

    /// The fates of those whose id `wanted` accepts, oldest first.
    pub(super) fn find(&self, wanted: impl Fn(QueueId) -> bool) -> Vec<Fate> {
        let found = self.ring.iter().filter(|(id, ..)| wanted(*id));
        found.filter_map(|(_, kind, head)| record::fate_in(*kind, head).ok().flatten()).collect()
    }
}

/// What a fate still tells of its envelope.
pub(super) fn envelope_of(fate: &Fate) -> Envelope {
    let recipients = fate.results.iter().map(|result| Recipient {
        outcome: Some(result.outcome.clone()),
        ..Recipient::new(result.address.clone())
    });
    Envelope {
        queue_id: fate.queue_id,
        generation: 0,
        account: fate.account.clone(),
        campaign: fate.campaign.clone(),
        tag: fate.tag.clone(),
        lane: sluice_mail::Lane::default(),
        mail_from: None,
        recipients: recipients.collect(),
        ret: None,
        envid: None,
        domain: fate.domain.clone(),
        pool: None,
        accepted: fate.accepted,
        expires: UnixMs(0),
        not_before: UnixMs(0),
        flags: sluice_mail::BodyFlags::default(),
        size: 0,
        body_crc: 0,
        attempts: fate.attempts,
        last_reply: None,
    }
}
