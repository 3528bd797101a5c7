//! Envelopes and bodies that are still in memory from when they were accepted, so that they need not be read again.

use std::collections::HashMap;

use bytes::Bytes;
use sluice_mail::Envelope;

/// What an envelope counts beside its body.
const ENVELOPE_COST: usize = 1024;
/// A body up to this length travels with the work; a longer one is asked for.
pub(super) const BODY_AT_HAND: usize = 64 << 10;

struct Item {
    /// `None` once it was handed out and only the body is kept.
    envelope: Option<Envelope>,
    body: Bytes,
}

/// Bounded by octets of bodies; what has no room is read from disk later.
pub(super) struct Warm {
    items: HashMap<u32, Item>,
    bytes: usize,
    bytes_max: usize,
}

impl Warm {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { items: HashMap::new(), bytes: 0, bytes_max }
    }

    /// Keeps the envelope in `slot` if there is room.
    pub(super) fn put(&mut self, slot: u32, envelope: Envelope, body: Bytes) {
        let cost = body.len() + ENVELOPE_COST;
        if self.bytes + cost <= self.bytes_max {
            self.bytes += cost;
            self.items.insert(slot, Item { envelope: Some(envelope), body });
        }
    }

    /// The envelope to hand out, with its body when that is short. A long body stays until [`Self::forget`].
    pub(super) fn take(&mut self, slot: u32) -> Option<(Envelope, Option<Bytes>)> {
        let item = self.items.get_mut(&slot)?;
        let envelope = item.envelope.take();
        if envelope.is_some() && item.body.len() > BODY_AT_HAND {
            return envelope.map(|envelope| (envelope, None));
        }
        let body = self.forget(slot);
        envelope.map(|envelope| (envelope, body))
    }

    /// The body, when it is still here.
    pub(super) fn body(&self, slot: u32) -> Option<Bytes> {
        self.items.get(&slot).map(|item| item.body.clone())
    }

    /// Gives the room back.
    pub(super) fn forget(&mut self, slot: u32) -> Option<Bytes> {
        let item = self.items.remove(&slot)?;
        self.bytes -= item.body.len() + ENVELOPE_COST;
        Some(item.body)
    }
}
