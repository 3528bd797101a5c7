//! Applying what the frames of the log say, in order, to an empty index.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use prost::Message;
use sluice_mail::{Lane, QueueId, UnixMs};
use sluice_proto::record;

use super::ended::Ended;
use super::frame::{self, HEADER, Kind, Range};
use super::index::{Index, Loc, NewSlot};
use super::record::FORGOTTEN;
use super::scan::{ScanError, Scanner, Sequence, View};

/// What the log said so far.
pub(super) struct Replay {
    pub(super) index: Index,
    pub(super) ended: Ended,
    pub(super) readers: BTreeMap<String, u64>,
    pub(super) next_key: u64,
    /// LSN of the next frame.
    pub(super) lsn: u64,
    /// Slots by key: needed only while replaying.
    keys: HashMap<u64, u32>,
    /// Segments of which a part was skipped: their envelopes have other ordinals than they had.
    damaged: BTreeSet<u32>,
}

/// A frame whose CRCs are right but whose content is not what its kind must hold.
const UNDECODABLE: &str = "an undecodable frame";

impl Replay {
    pub(super) fn new(recent_fates: usize) -> Self {
        Self {
            index: Index::default(),
            ended: Ended::new(recent_fates),
            readers: BTreeMap::new(),
            next_key: 1,
            lsn: 0,
            keys: HashMap::new(),
            damaged: BTreeSet::new(),
        }
    }

    /// Applies all frames of a segment, which begin with `lsn` and follow each other without a gap unless
    /// `gaps` are allowed.
    pub(super) fn segment(&mut self, scanner: &mut Scanner, id: u32, lsn: u64, gaps: bool) -> Result<(), ScanError> {
        let mut sequence = Sequence::new(lsn);
        while let Some(view) = scanner.next()? {
            if !gaps && !sequence.follows(&view.header) {
                return Err(ScanError::Bad(view.at, "a frame out of order"));
            }
            self.lsn = view.header.lsn + 1;
            self.frame(&view, id).ok_or(ScanError::Bad(view.at, UNDECODABLE))?;
        }
        if !scanner.skipped().is_empty() {
            self.damaged.insert(id);
        }
        Ok(())
    }

    fn frame(&mut self, view: &View<'_>, id: u32) -> Option<()> {
        let place = Place { segment: id, at: view.at };
        let head = frame::head(view.meta)?;
        match view.kind {
            Kind::Enqueue | Kind::Moved => self.envelopes(view, place)?,
            Kind::Fate => {
                let fate = record::FateIndex::decode(head).ok()?;
                self.end(view.header.subject, id);
                self.fate(&fate.queue_id, view, id)?;
            }
            Kind::Wait => self.wait(view, place, head)?,
            Kind::Checkpoint => {
                let checkpoint = record::Checkpoint::decode(head).ok()?;
                self.next_key = self.next_key.max(checkpoint.next_key);
                self.readers = checkpoint.readers.into_iter().map(|r| (r.name, r.position)).collect();
            }
            Kind::Reader => {
                let reader = record::ReaderPosition::decode(head).ok()?;
                if reader.position == FORGOTTEN {
                    self.readers.remove(&reader.name);
                } else {
                    let position = self.readers.entry(reader.name).or_default();
                    *position = reader.position.max(*position);
                }
            }
            Kind::Retire => {}
            Kind::Gone => {
                let gone = record::Gone::decode(head).ok()?;
                let segment = u32::try_from(view.header.subject).ok()?;
                // Better sent once more than taken for another that is gone.
                let bits = if self.damaged.contains(&segment) { &[] } else { &*gone.bits };
                self.index.apply_gone(segment, bits, id);
            }
        }
        Some(())
    }

    fn envelopes(&mut self, view: &View<'_>, place: Place) -> Option<()> {
        let body = place.loc(HEADER as u32 + view.header.meta_len, view.header.body_len);
        let share = frame::records(view.meta).count() as u16;
        for (range, bytes) in frame::records(view.meta) {
            let kept = record::KeptIndex::decode(bytes).ok()?;
            match self.slot(kept.key) {
                Some(slot) => {
                    self.index.rehome(slot, place.record(range), body, share);
                    self.index.slot_mut(slot).due = UnixMs(kept.due_ms);
                }
                None => self.insert(kept, place.record(range), body, share)?,
            }
        }
        Some(())
    }

    fn wait(&mut self, view: &View<'_>, place: Place, head: &[u8]) -> Option<()> {
        let head = record::WaitIndex::decode(head).ok()?;
        let mut records = frame::records(view.meta);
        if head.remains {
            let (range, bytes) = records.next()?;
            let kept = record::KeptIndex::decode(bytes).ok()?;
            // An envelope that is not known here was moved later on, with what this record says.
            if let Some(slot) = self.slot(view.header.subject) {
                self.index.replace_meta(slot, place.record(range));
                self.index.slot_mut(slot).due = UnixMs(kept.due_ms);
            }
        } else if head.ends {
            self.end(view.header.subject, place.segment);
        }
        let mut body_at = HEADER as u32 + view.header.meta_len;
        for ((range, bytes), len) in records.zip(head.body_lens) {
            let kept = record::KeptIndex::decode(bytes).ok()?;
            self.insert(kept, place.record(range), place.loc(body_at, len), 1)?;
            body_at += len;
        }
        if head.attempt.is_some() {
            self.event(view, place.segment);
        }
        match head.fate {
            Some(fate) => self.fate(&fate.queue_id, view, place.segment),
            None => Some(()),
        }
    }

    fn insert(&mut self, kept: record::KeptIndex, meta: Loc, body: Loc, share: u16) -> Option<()> {
        let envelope = kept.envelope?;
        let queue_id = QueueId::from_bytes(envelope.queue_id.as_slice().try_into().ok()?);
        let slot = self.index.insert(&NewSlot {
            key: kept.key,
            queue_id,
            due: UnixMs(kept.due_ms),
            account: &envelope.account,
            domain: &envelope.domain,
            lane: Lane::from(record::Lane::try_from(envelope.lane).ok()?),
            meta,
            body,
            body_crc: envelope.body_crc,
            share,
        });
        self.keys.insert(kept.key, slot);
        self.next_key = self.next_key.max(kept.key + 1);
        Some(())
    }

    fn end(&mut self, key: u64, by: u32) {
        if let Some(slot) = self.slot(key) {
            self.index.remove(slot, by);
            self.keys.remove(&key);
        }
    }

    fn fate(&mut self, queue_id: &[u8], view: &View<'_>, id: u32) -> Option<()> {
        let queue_id = QueueId::from_bytes(queue_id.try_into().ok()?);
        self.ended.push(queue_id, view.kind, view.meta);
        self.event(view, id);
        Some(())
    }

    fn event(&mut self, view: &View<'_>, id: u32) {
        if let Some(info) = self.index.segments.get_mut(&id) {
            info.last_event = Some(view.header.lsn);
        }
    }

    fn slot(&self, key: u64) -> Option<u32> {
        let slot = *self.keys.get(&key)?;
        let found = self.index.slot(slot);
        (found.phase != super::index::Phase::Free && found.key == key).then_some(slot)
    }

    /// Forgets what only replaying needs.
    pub(super) fn finish(&mut self) {
        self.keys = HashMap::new();
    }
}

#[derive(Clone, Copy)]
struct Place {
    segment: u32,
    at: u64,
}

impl Place {
    fn loc(self, offset: u32, len: u32) -> Loc {
        Loc { segment: self.segment, at: self.at as u32 + offset, len }
    }

    fn record(self, range: Range) -> Loc {
        self.loc(range.at, range.len)
    }
}
