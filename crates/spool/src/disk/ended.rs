//! The latest fates, for operators who ask what became of an envelope.

use std::collections::VecDeque;

use sluice_mail::{Fate, QueueId};

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
        found.filter_map(|(_, kind, head)| record::fate_in(*kind, head)).collect()
    }
}
