//! Giving up segments whose mail is gone, and copying what little still lives in others.
//!
//! A segment is given up by a `Retire` frame. Before it, in the log, stand copies of everything in it that is
//! still needed: living envelopes with their bodies (`Moved`), newest records of waiting envelopes (`Wait`), and
//! for every other segment in which its frames ended envelopes, the list of those that are gone (`Gone`), since
//! without it they would rise again after a restart. Copies go through the same queue as decisions, pushed under
//! the lock under which decisions are taken, so that a copy never comes after the fate of what it copies.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use crc32c::crc32c;
use prost::Message;
use sluice_mail::UnixMs;
use sluice_proto::record::{Kept, WaitIndex};

use super::frame::{self, Frame, HEADER, Header, Kind};
use super::index::{Index, Loc, Phase, SegmentInfo};
use super::prepared::Old;
use super::queue::{Done, Effect, Entry, Latch};
use super::record;
use super::scan::{Bodies, ScanError, Scanner};
use super::segment::{self, DATA_START, Segment};
use super::shared::Shared;
use super::state::State;

/// Looks for something to do at least this often.
const PAUSE: Duration = Duration::from_secs(1);
/// Copies that may be on their way to the disk at a time, in octets.
const COPY_MAX: u64 = 1 << 20;
/// A sealed segment with less of it alive, in percent, is copied.
const LIVE_MIN: u64 = 25;
/// The same when three quarters of the space are used.
const LIVE_MIN_FULL: u64 = 60;
/// What was accepted a moment ago is about to be delivered: it is not worth a copy before this.
const COPY_AFTER: Duration = Duration::from_secs(30);
/// Slots looked at under one hold of the lock.
const SLOTS_MAX: u32 = 16 << 10;

/// How the tidier waits for its frames.
pub(super) type Wait<'a> = Box<dyn FnMut(&Latch) -> bool + Send + 'a>;

/// One at a time.
pub(super) struct Tidier<'a> {
    shared: Arc<Shared>,
    wait: Wait<'a>,
    /// Segments that could not be read; not tried again in this run.
    unreadable: BTreeSet<u32>,
}

/// Tidying ended early: the engine closes, or the log is poisoned, or a segment cannot be read.
#[derive(Debug)]
pub(super) struct Interrupted;

/// A living envelope in the segment that is copied.
struct Living {
    slot: u32,
    ordinal: Option<u32>,
    meta: Loc,
}

impl<'a> Tidier<'a> {
    pub(super) fn new(shared: Arc<Shared>, wait: Wait<'a>) -> Self {
        Self { shared, wait, unreadable: BTreeSet::new() }
    }

    /// The thread.
    pub(super) fn run(mut self) {
        while self.shared.tidy.wait(PAUSE) {
            self.step();
        }
    }

    /// Gives up what can be given up now.
    pub(super) fn step(&mut self) {
        while let Some(segment) = self.find(free_now) {
            if self.free(segment).is_err() {
                return;
            }
        }
        if let Some(segment) = self.find(copy_now)
            && self.evacuate(segment).is_ok()
        {
            self.shared.tidy.wake();
        }
    }

    fn find(&self, fit: impl Fn(&SegmentInfo, &Need) -> bool) -> Option<u32> {
        let now = self.shared.wall();
        let need = self.need(now);
        let state = self.shared.state();
        let mut found = state.index.segments.values().filter(|info| info.sealed.is_some() && fit(info, &need));
        let fit =
            |info: &&SegmentInfo| !self.unreadable.contains(&info.segment.id()) && self.is_read(&state, info, now);
        found.find(fit).map(|info| info.segment.id())
    }

    fn need(&self, now: UnixMs) -> Need {
        let used = self.shared.room.used.load(Ordering::Relaxed);
        if used > self.shared.config.max_bytes / 4 * 3 {
            Need { live_min: LIVE_MIN_FULL, sealed_by: now }
        } else {
            Need { live_min: LIVE_MIN, sealed_by: UnixMs(now.0.saturating_sub(COPY_AFTER.as_millis() as u64)) }
        }
    }

    /// Whether every reader of events has passed the segment, or had its time.
    fn is_read(&self, state: &State, info: &SegmentInfo, now: UnixMs) -> bool {
        let Some(last) = info.last_event else { return true };
        let Some((name, _)) = state.readers.iter().find(|(_, position)| **position <= last) else { return true };
        let overdue = info.sealed.is_some_and(|sealed| now.since(sealed) >= self.shared.config.fate_retention);
        if overdue {
            tracing::warn!(reader = %name, segment = info.segment.id(), "events are given up unread after their time");
        }
        overdue
    }

    /// Copies what lives in the segment and gives it up.
    pub(super) fn evacuate(&mut self, id: u32) -> Result<(), Interrupted> {
        let Some((segment, end)) = self.shared.state().index.segments.get(&id).map(|i| (i.segment.clone(), i.end))
        else {
            return Ok(());
        };
        let waiting = self.foreign_metas(id);
        let mut copy = Copy { tidier: self, segment: &segment, waiting, ordinal: 0, latch: Latch::new(), octets: 0 };
        copy.all(end)?;
        let empty = self.shared.state().index.segments.get(&id).is_some_and(SegmentInfo::is_empty);
        self.shared.stats.compacted.fetch_add(1, Ordering::Relaxed);
        if empty { self.free(id) } else { Err(Interrupted) }
    }

    /// Slots of envelopes at home elsewhere whose newest record is in the segment, by its offset.
    fn foreign_metas(&self, id: u32) -> HashMap<u32, u32> {
        let mut found = HashMap::new();
        let mut from = 0;
        loop {
            let state = self.shared.state();
            if from == 0 && state.index.segments.get(&id).is_none_or(|info| info.metas == 0) {
                return found;
            }
            let to = state.index.bound().min(from + SLOTS_MAX);
            for slot in from..to {
                let s = state.index.slot(slot);
                if s.phase != Phase::Free && s.meta.segment == id && s.body.segment != id {
                    found.insert(s.meta.at, slot);
                }
            }
            if to == state.index.bound() {
                return found;
            }
            from = to;
        }
    }

    /// Gives up an empty segment.
    fn free(&mut self, id: u32) -> Result<(), Interrupted> {
        let latch = Latch::new();
        let state = self.shared.state();
        let Some(info) = state.index.segments.get(&id) else { return Ok(()) };
        let (segment, end) = (info.segment.clone(), info.end);
        let mut entries = Vec::new();
        for other in info.ended_in.iter().copied().filter(|other| *other != id) {
            if state.index.segments.contains_key(&other) {
                let frame = record::gone(other, state.index.gone_bits(other));
                entries.push((frame, Effect::Gone { segment: other }));
            }
        }
        entries.push((record::retire(id), Effect::Retire { segment: id }));
        for (frame, effect) in entries {
            self.push(&latch, frame, effect);
        }
        drop(state);
        if !(self.wait)(&latch) {
            return Err(Interrupted);
        }
        self.shared.room.used.fetch_sub(end, Ordering::Relaxed);
        let path = segment::path(&self.shared.config.dir, id);
        self.shared.prepared.give(Old { path, file: segment.file, capacity: segment.capacity });
        Ok(())
    }

    fn push(&self, latch: &Arc<Latch>, frame: Frame, effect: Effect) {
        latch.add();
        self.shared.queue.push(Entry { frame, effect, done: Done::Tidy(Arc::clone(latch)) });
    }
}

/// How much room is needed: which segments are worth copying.
struct Need {
    live_min: u64,
    sealed_by: UnixMs,
}

fn free_now(info: &SegmentInfo, _: &Need) -> bool {
    info.is_empty()
}

fn copy_now(info: &SegmentInfo, need: &Need) -> bool {
    info.sealed.is_some_and(|sealed| sealed <= need.sealed_by) && info.live_bytes * 100 < need.live_min * info.end
}

/// Copying one segment.
struct Copy<'t, 'a> {
    tidier: &'t mut Tidier<'a>,
    segment: &'t Segment,
    waiting: HashMap<u32, u32>,
    /// Of the next envelope in the order of frames.
    ordinal: u32,
    latch: Arc<Latch>,
    /// Pushed since the last wait.
    octets: u64,
}

impl Copy<'_, '_> {
    fn all(&mut self, end: u64) -> Result<(), Interrupted> {
        // What was skipped when the segment was replayed must be skipped now.
        let mut scanner = if self.tidier.shared.config.salvage {
            Scanner::new(self.segment, DATA_START, end, Bodies::Check).skipping_damage()
        } else {
            Scanner::new(self.segment, DATA_START, end, Bodies::Skip)
        };
        loop {
            if self.tidier.shared.tidy.is_stopped() {
                return Err(Interrupted);
            }
            match scanner.next() {
                Ok(None) => break,
                Ok(Some(view)) => {
                    let (header, kind, at) = (view.header, view.kind, view.at);
                    self.frame(&header, kind, at, view.meta).map_err(|problem| self.report(at, &problem))?;
                }
                Err(ScanError::Io(error)) => return Err(self.report(scanner.position(), &error.to_string())),
                Err(ScanError::Bad(at, problem)) => return Err(self.report(at, problem)),
                Err(ScanError::Newer(_, at)) => return Err(self.report(at, "a newer format")),
            }
            if self.octets > COPY_MAX {
                self.flush()?;
            }
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Interrupted> {
        self.octets = 0;
        if (self.tidier.wait)(&self.latch) { Ok(()) } else { Err(Interrupted) }
    }

    fn report(&mut self, at: u64, problem: &str) -> Interrupted {
        let path = segment::path(&self.tidier.shared.config.dir, self.segment.id());
        tracing::error!(path = %path.display(), offset = at, problem, "a segment cannot be read for copying");
        self.tidier.unreadable.insert(self.segment.id());
        Interrupted
    }

    fn frame(&mut self, header: &Header, kind: Kind, at: u64, meta: &[u8]) -> Result<(), String> {
        let body_at = at + HEADER as u64 + u64::from(header.meta_len);
        match kind {
            Kind::Enqueue | Kind::Moved => {
                let count = frame::records(meta).count() as u32;
                let body = Loc { segment: self.segment.id(), at: body_at as u32, len: header.body_len };
                self.envelopes(count, body)
            }
            Kind::Wait => self.wait(at, body_at, meta),
            Kind::Fate | Kind::Checkpoint | Kind::Reader | Kind::Retire | Kind::Gone => Ok(()),
        }
    }

    fn wait(&mut self, at: u64, body_at: u64, meta: &[u8]) -> Result<(), String> {
        let head = frame::head(meta).unwrap_or_default();
        let head = WaitIndex::decode(head).map_err(|e| e.to_string())?;
        if head.remains
            && let Some((range, bytes)) = frame::records(meta).next()
            && let Some(slot) = self.waiting.get(&(at as u32 + range.at))
        {
            let kept = Kept::decode(bytes).map_err(|e| e.to_string())?;
            let meta = Loc { segment: self.segment.id(), at: at as u32 + range.at, len: range.len };
            self.copy_waiting(&Living { slot: *slot, ordinal: None, meta }, kept);
        }
        let mut at = body_at as u32;
        for len in head.body_lens {
            self.envelopes(1, Loc { segment: self.segment.id(), at, len })?;
            at += len;
        }
        Ok(())
    }

    fn copy_waiting(&mut self, living: &Living, mut kept: Kept) {
        let state = self.tidier.shared.state();
        if let Some(due) = still(&state.index, living, self.segment.id()) {
            kept.due_ms = due.0;
            let (frame, ranges) = record::wait_copy(&kept);
            self.octets += frame.len();
            let range = ranges.first().copied().unwrap_or_default();
            self.tidier.push(&self.latch, frame, Effect::WaitCopied { slot: living.slot, range });
        }
        drop(state);
    }

    /// Copies those of the next `count` envelopes that live, with their body.
    fn envelopes(&mut self, count: u32, body: Loc) -> Result<(), String> {
        let first = self.ordinal;
        self.ordinal += count;
        let living = self.living(first, count);
        if living.is_empty() {
            return Ok(());
        }
        let mut records = Vec::with_capacity(living.len());
        for envelope in living {
            if let Some(kept) = self.read_record(&envelope)? {
                records.push((envelope, kept));
            }
        }
        let mut bytes = vec![0u8; body.len as usize];
        self.segment.file.read_at(&mut bytes, u64::from(body.at)).map_err(|e| e.to_string())?;
        let crc = crc32c(&bytes);
        let noted = records.iter().filter_map(|(_, kept)| kept.envelope.as_ref().map(|e| e.body_crc));
        if noted.into_iter().any(|noted| noted != crc) {
            return Err("a damaged body".to_owned());
        }
        self.push_moved(records, Bytes::from(bytes), crc);
        Ok(())
    }

    fn living(&self, first: u32, count: u32) -> Vec<Living> {
        let state = self.tidier.shared.state();
        let id = self.segment.id();
        let slots = (first..first + count).filter_map(|ordinal| Some((ordinal, state.index.at_home(id, ordinal)?)));
        let living =
            slots.map(|(ordinal, slot)| Living { slot, ordinal: Some(ordinal), meta: state.index.slot(slot).meta });
        living.collect()
    }

    /// The newest record of the envelope; `None` when it was replaced meanwhile.
    fn read_record(&self, living: &Living) -> Result<Option<Kept>, String> {
        let file = self.tidier.shared.state().index.segment(living.meta.segment).map(|s| Arc::clone(&s.file));
        let Some(file) = file else { return Ok(None) };
        let mut bytes = vec![0u8; living.meta.len as usize];
        file.read_at(&mut bytes, u64::from(living.meta.at)).map_err(|e| e.to_string())?;
        let record = frame::checked_record(&bytes).ok_or("a damaged record")?;
        Kept::decode(record).map(Some).map_err(|e| e.to_string())
    }

    fn push_moved(&mut self, records: Vec<(Living, Kept)>, body: Bytes, crc: u32) {
        let state = self.tidier.shared.state();
        let (mut slots, mut kept) = (Vec::new(), Vec::new());
        for (living, mut record) in records {
            if let Some(due) = still(&state.index, &living, self.segment.id()) {
                record.due_ms = due.0;
                slots.push(living.slot);
                kept.push(record);
            }
        }
        if !slots.is_empty() {
            let (frame, ranges) = record::moved(&kept, body, crc);
            self.octets += frame.len();
            let slots = slots.into_iter().zip(ranges).collect();
            self.tidier.push(&self.latch, frame, Effect::Moved { slots });
        }
        drop(state);
    }
}

/// The due time of an envelope whose record is still the one that was read, and for which no decision is on its
/// way: a copy may be made.
fn still(index: &Index, living: &Living, segment: u32) -> Option<UnixMs> {
    let slot = index.slot(living.slot);
    let at_home = living.ordinal.is_none_or(|ordinal| index.at_home(segment, ordinal) == Some(living.slot));
    let movable = match slot.phase {
        Phase::Waiting | Phase::Ready | Phase::Staged | Phase::Active => true,
        Phase::Free | Phase::Settling => false,
    };
    (movable && at_home && slot.meta == living.meta).then_some(slot.due)
}
