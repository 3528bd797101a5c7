//! Envelopes by due time: 16 octets each.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use sluice_mail::UnixMs;

use super::index::{Index, Phase};

/// A heap of due times. An entry whose envelope does not wait for that time any more is skipped when it comes up.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(u64, u32)>>,
}

impl Timers {
    /// The waiting envelope in `slot` is due at `due`.
    pub(super) fn add(&mut self, index: &Index, slot: u32, due: UnixMs) {
        // Entries that stand for nothing are at most as many as the others.
        if self.heap.len() as u64 > 2 * index.counts().waiting + 4096 {
            self.heap.retain(|Reverse((due, slot))| waits_for(index, *slot, *due));
        }
        self.heap.push(Reverse((due.0, slot)));
    }

    /// Takes one that is due by `now`.
    pub(super) fn pop(&mut self, index: &Index, now: UnixMs) -> Option<u32> {
        while let Some(&Reverse((due, slot))) = self.heap.peek() {
            if !waits_for(index, slot, due) {
                self.heap.pop();
            } else if due <= now.0 {
                self.heap.pop();
                return Some(slot);
            } else {
                return None;
            }
        }
        None
    }

    /// When the next is due, or earlier.
    pub(super) fn next(&self) -> Option<UnixMs> {
        self.heap.peek().map(|Reverse((due, _))| UnixMs(*due))
    }
}

fn waits_for(index: &Index, slot: u32, due: u64) -> bool {
    let slot = index.slot(slot);
    slot.phase == Phase::Waiting && slot.due.0 == due
}
