//! What is known of every living envelope without reading the disk: 88 octets each, and 4 in its segment's list.

use std::collections::{BTreeMap, BTreeSet};

use sluice_mail::{Lane, QueueId, UnixMs};

use super::names::Names;
use super::segment::{DATA_START, Segment};

/// No slot.
pub(super) const NONE: u32 = u32::MAX;
/// Slots are allocated in chunks, so that growing never copies them.
const CHUNK: usize = 4096;

/// Where something lies on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Loc {
    pub(super) segment: u32,
    pub(super) at: u32,
    pub(super) len: u32,
}

/// Where an envelope stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The slot is empty.
    Free,
    /// Until its due time.
    Waiting,
    /// Due, in its domain's list.
    Ready,
    /// Taken from its list, to be handed out as soon as it is read and asked for.
    Staged,
    /// Handed out.
    Active,
    /// Its deciding record is on its way to the disk.
    Settling,
}

/// One envelope.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    /// Its name in the log.
    pub(super) key: u64,
    pub(super) queue_id: QueueId,
    pub(super) due: UnixMs,
    /// Its newest record.
    pub(super) meta: Loc,
    /// Its body; this segment is the envelope's *home*.
    pub(super) body: Loc,
    pub(super) body_crc: u32,
    /// Place in its home's list.
    pub(super) ordinal: u32,
    pub(super) account: u32,
    pub(super) domain: u32,
    /// How often the slot was handed out: tells two hand-outs apart.
    pub(super) turn: u32,
    /// The next in the ready list or in the list of free slots.
    pub(super) next: u32,
    /// How many envelopes share the body.
    pub(super) share: u16,
    pub(super) lane: Lane,
    pub(super) phase: Phase,
}

impl Slot {
    fn empty() -> Self {
        Self {
            key: 0,
            queue_id: QueueId::from_bytes([0; 16]),
            due: UnixMs(0),
            meta: Loc::default(),
            body: Loc::default(),
            body_crc: 0,
            ordinal: 0,
            account: 0,
            domain: 0,
            turn: 0,
            next: NONE,
            share: 1,
            lane: Lane::Transactional,
            phase: Phase::Free,
        }
    }

    /// Octets that keep its home from being empty.
    fn weight(&self) -> u64 {
        u64::from(self.body.len) / u64::from(self.share.max(1)) + self.meta_weight(self.body.segment)
    }

    fn meta_weight(&self, segment: u32) -> u64 {
        if self.meta.segment == segment { u64::from(self.meta.len) } else { 0 }
    }
}

/// A segment that holds something.
pub(super) struct SegmentInfo {
    pub(super) segment: Segment,
    /// Behind its last durable frame.
    pub(super) end: u64,
    pub(super) first_lsn: u64,
    pub(super) end_lsn: u64,
    /// When it got its last frame; `None` while it is written.
    pub(super) sealed: Option<UnixMs>,
    /// Every envelope that ever had its home here, in the order of the frames.
    pub(super) slots: Vec<u32>,
    /// Envelopes whose home this is.
    pub(super) live: u32,
    /// Envelopes at home elsewhere whose newest record is here.
    pub(super) metas: u32,
    pub(super) live_bytes: u64,
    /// Segments with envelopes that a frame here ended or moved: while such a segment exists, that must be known.
    pub(super) ended_in: BTreeSet<u32>,
    /// LSN of its last frame that tells readers something: a fate or an attempt.
    pub(super) last_event: Option<u64>,
}

impl SegmentInfo {
    pub(super) fn new(segment: Segment, first_lsn: u64) -> Self {
        Self {
            segment,
            end: DATA_START,
            first_lsn,
            end_lsn: first_lsn,
            sealed: None,
            slots: Vec::new(),
            live: 0,
            metas: 0,
            live_bytes: 0,
            ended_in: BTreeSet::new(),
            last_event: None,
        }
    }

    /// Whether nothing in it is needed for any envelope.
    pub(super) fn is_empty(&self) -> bool {
        self.live == 0 && self.metas == 0
    }
}

/// What a new slot begins with.
#[derive(Clone, Debug)]
pub(super) struct NewSlot<'a> {
    pub(super) key: u64,
    pub(super) queue_id: QueueId,
    pub(super) due: UnixMs,
    pub(super) account: &'a str,
    pub(super) domain: &'a str,
    pub(super) lane: Lane,
    pub(super) meta: Loc,
    pub(super) body: Loc,
    pub(super) body_crc: u32,
    pub(super) share: u16,
}

/// Envelopes by phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) ready: u64,
    pub(super) active: u64,
    pub(super) waiting: u64,
}

/// All living envelopes and all segments.
#[derive(Default)]
pub(super) struct Index {
    chunks: Vec<Box<[Slot]>>,
    free: Vec<u32>,
    used: u32,
    pub(super) segments: BTreeMap<u32, SegmentInfo>,
    pub(super) accounts: Names,
    pub(super) domains: Names,
    counts: Counts,
}

impl Index {
    /// A slot that is in use.
    pub(super) fn slot(&self, slot: u32) -> &Slot {
        &self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }

    pub(super) fn slot_mut(&mut self, slot: u32) -> &mut Slot {
        &mut self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }

    /// Slots below this number may be in use.
    pub(super) fn bound(&self) -> u32 {
        self.used
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Living envelopes.
    pub(super) fn live(&self) -> u64 {
        u64::from(self.used) - self.free.len() as u64
    }

    /// Octets of all segments that hold something.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.values().map(|s| s.end).sum()
    }

    /// A new envelope, waiting, at home where its body lies.
    pub(super) fn insert(&mut self, new: &NewSlot<'_>) -> u32 {
        let id = self.allocate();
        let (account, domain) = (self.accounts.hold(new.account), self.domains.hold(new.domain));
        let turn = self.slot(id).turn;
        *self.slot_mut(id) = Slot {
            key: new.key,
            queue_id: new.queue_id,
            due: new.due,
            meta: new.meta,
            body: new.body,
            body_crc: new.body_crc,
            ordinal: 0,
            account,
            domain,
            turn,
            next: NONE,
            share: new.share,
            lane: new.lane,
            phase: Phase::Waiting,
        };
        self.counts.waiting += 1;
        self.settle_in(id);
        id
    }

    fn allocate(&mut self) -> u32 {
        if let Some(id) = self.free.pop() {
            return id;
        }
        if self.used as usize == self.chunks.len() * CHUNK {
            self.chunks.push(vec![Slot::empty(); CHUNK].into_boxed_slice());
        }
        self.used += 1;
        self.used - 1
    }

    /// The envelope is gone, by a frame in segment `by`.
    pub(super) fn remove(&mut self, id: u32, by: u32) {
        self.set_phase(id, Phase::Free);
        self.move_out(id, by);
        let slot = self.slot(id);
        let (account, domain) = (slot.account, slot.domain);
        self.accounts.release(account);
        self.domains.release(domain);
        self.free.push(id);
    }

    /// The envelope has a newer record at `meta`.
    pub(super) fn replace_meta(&mut self, id: u32, meta: Loc) {
        self.detach_meta(id);
        self.slot_mut(id).meta = meta;
        self.attach_meta(id);
    }

    /// The envelope was copied to a new home.
    pub(super) fn rehome(&mut self, id: u32, meta: Loc, body: Loc, share: u16) {
        self.move_out(id, body.segment);
        let slot = self.slot_mut(id);
        (slot.meta, slot.body, slot.share) = (meta, body, share);
        self.settle_in(id);
    }

    /// Moves the envelope to another phase, and the counts with it.
    pub(super) fn set_phase(&mut self, id: u32, phase: Phase) {
        let before = std::mem::replace(&mut self.slot_mut(id).phase, phase);
        if let Some(count) = self.count_of(before) {
            *count -= 1;
        }
        if let Some(count) = self.count_of(phase) {
            *count += 1;
        }
    }

    fn count_of(&mut self, phase: Phase) -> Option<&mut u64> {
        match phase {
            Phase::Free => None,
            Phase::Waiting => Some(&mut self.counts.waiting),
            Phase::Ready | Phase::Staged => Some(&mut self.counts.ready),
            Phase::Active | Phase::Settling => Some(&mut self.counts.active),
        }
    }

    fn settle_in(&mut self, id: u32) {
        let slot = self.slot(id);
        let (home, weight) = (slot.body.segment, slot.weight());
        if let Some(info) = self.segments.get_mut(&home) {
            let ordinal = info.slots.len() as u32;
            info.slots.push(id);
            info.live += 1;
            info.live_bytes += weight;
            self.slot_mut(id).ordinal = ordinal;
        }
        self.attach_foreign_meta(id);
    }

    fn move_out(&mut self, id: u32, by: u32) {
        let slot = self.slot(id);
        let (home, weight) = (slot.body.segment, slot.weight());
        self.detach_foreign_meta(id);
        if let Some(info) = self.segments.get_mut(&home) {
            info.live -= 1;
            info.live_bytes -= weight;
        }
        if let Some(info) = self.segments.get_mut(&by) {
            info.ended_in.insert(home);
        }
    }

    fn attach_meta(&mut self, id: u32) {
        let slot = self.slot(id);
        let (home, weight) = (slot.body.segment, slot.meta_weight(slot.body.segment));
        if let Some(info) = self.segments.get_mut(&home) {
            info.live_bytes += weight;
        }
        self.attach_foreign_meta(id);
    }

    fn detach_meta(&mut self, id: u32) {
        let slot = self.slot(id);
        let (home, weight) = (slot.body.segment, slot.meta_weight(slot.body.segment));
        if let Some(info) = self.segments.get_mut(&home) {
            info.live_bytes -= weight;
        }
        self.detach_foreign_meta(id);
    }

    fn attach_foreign_meta(&mut self, id: u32) {
        if let Some((info, len)) = self.foreign_meta(id) {
            info.metas += 1;
            info.live_bytes += len;
        }
    }

    fn detach_foreign_meta(&mut self, id: u32) {
        if let Some((info, len)) = self.foreign_meta(id) {
            info.metas -= 1;
            info.live_bytes -= len;
        }
    }

    fn foreign_meta(&mut self, id: u32) -> Option<(&mut SegmentInfo, u64)> {
        let slot = self.slot(id);
        let (meta, home) = (slot.meta, slot.body.segment);
        if meta.segment == home {
            return None;
        }
        self.segments.get_mut(&meta.segment).map(|info| (info, u64::from(meta.len)))
    }

    /// Whether the `ordinal`-th envelope of `segment` still has its home there.
    pub(super) fn at_home(&self, segment: u32, ordinal: u32) -> Option<u32> {
        let id = *self.segments.get(&segment)?.slots.get(ordinal as usize)?;
        let slot = self.slot(id);
        let here = slot.phase != Phase::Free && slot.body.segment == segment && slot.ordinal == ordinal;
        here.then_some(id)
    }

    /// Bit n: the n-th envelope of the segment is gone from it.
    pub(super) fn gone_bits(&self, segment: u32) -> Vec<u8> {
        let count = self.segments.get(&segment).map_or(0, |info| info.slots.len());
        let mut bits = vec![0u8; count.div_ceil(8)];
        for ordinal in 0..count {
            if self.at_home(segment, ordinal as u32).is_none() {
                bits[ordinal / 8] |= 1 << (ordinal % 8);
            }
        }
        bits
    }

    /// Applies what [`Self::gone_bits`] said, in a frame of segment `by`.
    pub(super) fn apply_gone(&mut self, segment: u32, bits: &[u8], by: u32) {
        for ordinal in 0..bits.len() * 8 {
            if bits[ordinal / 8] & 1 << (ordinal % 8) == 0 {
                continue;
            }
            if let Some(id) = self.at_home(segment, ordinal as u32) {
                self.remove(id, by);
            }
        }
        if let Some(info) = self.segments.get_mut(&by) {
            info.ended_in.insert(segment);
        }
    }

    /// The open file of a segment.
    pub(super) fn segment(&self, id: u32) -> Option<&Segment> {
        self.segments.get(&id).map(|info| &info.segment)
    }
}
