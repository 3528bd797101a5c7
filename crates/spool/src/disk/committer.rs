//! The one thread that writes: drains what is pending, one write and one `fdatasync` per batch, then makes true
//! what the frames say and tells the waiters. It never waits for more to come.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::files::is_full;
use super::index::SegmentInfo;
use super::log::Log;
use super::prepared::Need;
use super::queue::{Done, Effect, Entry, Rest};
use super::record;
use super::segment::DATA_START;
use super::shared::Shared;
use super::state::Place;
use crate::EnqueueError;

/// How long until a decision that found no room on the disk looks for room again.
const ROOM_RETRY: Duration = Duration::from_millis(100);
/// Frames that go ahead of a decision without room at a time.
const SHORT_MAX: usize = 1_000;

/// Owns the end of the log.
pub(super) struct Committer {
    shared: Arc<Shared>,
    log: Log,
    /// Decisions for which the disk has no room, not even the reserve; in order.
    parked: VecDeque<Entry>,
    /// Reported once per shortage.
    reported: bool,
    /// The segment holds nothing but its checkpoint.
    fresh: bool,
    /// The segment was the reserve, and there is no other yet: it takes no new mail.
    in_reserve: bool,
}

/// Why no segment could be begun.
enum NoRoom {
    Full(io::Error),
    Broken(io::Error),
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, log: Log) -> Self {
        Self { shared, log, parked: VecDeque::new(), reported: false, fresh: false, in_reserve: false }
    }

    /// The thread: until the queue is closed and empty, or the log is poisoned.
    pub(super) fn run(mut self) {
        loop {
            let timeout = if self.parked.is_empty() { None } else { Some(ROOM_RETRY) };
            let Some(entries) = self.shared.queue.take(timeout) else { break };
            self.commit(entries);
            if self.shared.queue.poisoned().is_some() {
                return;
            }
        }
        self.finish();
    }

    /// Commits what is pending now.
    #[cfg(test)]
    pub(super) fn step(&mut self) {
        let entries = self.shared.queue.take(Some(Duration::ZERO)).unwrap_or_default();
        if self.shared.queue.poisoned().is_none() {
            self.commit(entries);
        }
    }

    /// A clean end: the last batch of mail is followed by another one, so that damage to it cannot be taken for
    /// an unfinished write.
    pub(super) fn finish(&mut self) {
        let checkpoint = self.checkpoint(Some(self.log.segment().id()));
        if self.parked.is_empty() && self.log.fits(&checkpoint) {
            self.write(vec![checkpoint]);
        }
        for entry in self.shared.queue.poison("the spool is closed").into_iter().chain(self.parked.drain(..)) {
            entry.done.fail("the spool is closed");
        }
    }

    fn commit(&mut self, entries: VecDeque<Entry>) {
        self.parked.extend(entries);
        self.guard_reserve();
        while let Some(first) = self.parked.front() {
            if !self.log.fits(first) {
                if self.fresh {
                    self.refuse_long();
                } else if !self.make_room() {
                    return;
                }
                continue;
            }
            let count = self.log.batch_len(&self.parked);
            let batch: Vec<Entry> = self.parked.drain(..count).collect();
            self.fresh = batch.iter().all(|entry| matches!(entry.effect, Effect::Checkpoint));
            if !self.write(batch) {
                return;
            }
        }
    }

    /// Begins another segment for the first entry, or refuses it when it is new mail and the disk is full.
    /// `false`: nothing more can be written now.
    fn make_room(&mut self) -> bool {
        let need = match self.parked.front().map(|entry| &entry.effect) {
            Some(Effect::Enqueue { .. }) => Need::Accept,
            Some(_) | None => Need::Decide,
        };
        match self.roll(need) {
            Ok(()) => {
                self.reported = false;
                true
            }
            Err(NoRoom::Full(error)) if need == Need::Accept => {
                if let Some(entry) = self.parked.pop_front() {
                    self.refuse(entry, &error.to_string());
                }
                true
            }
            Err(NoRoom::Full(error)) => {
                self.housekeep(&error);
                false
            }
            Err(NoRoom::Broken(error)) => {
                self.poison(&format!("no new segment can be made: {error}"), Vec::new());
                false
            }
        }
    }

    fn roll(&mut self, need: Need) -> Result<(), NoRoom> {
        let sort = |error: io::Error| if is_full(&error) { NoRoom::Full(error) } else { NoRoom::Broken(error) };
        let next = match self.shared.prepared.take(Need::Accept).map_err(sort) {
            Err(NoRoom::Full(_)) if need == Need::Decide => {
                self.in_reserve = true;
                self.shared.prepared.take(Need::Decide).map_err(sort)?
            }
            other => other?,
        };
        let now = self.shared.wall();
        let mut state = self.shared.state();
        if let Some(info) = state.index.segments.get_mut(&self.log.segment().id()) {
            info.sealed = Some(now);
        }
        state.index.segments.insert(next.id(), SegmentInfo::new(next.clone(), self.log.lsn()));
        drop(state);
        self.log.roll(next);
        let checkpoint = self.checkpoint(Some(self.log.segment().id()));
        self.parked.push_front(checkpoint);
        self.shared.room.used.fetch_add(DATA_START, Ordering::Relaxed);
        self.shared.stats.rolls.fetch_add(1, Ordering::Relaxed);
        self.shared.tidy.wake();
        Ok(())
    }

    /// While decisions fill the reserve, new mail is refused.
    fn guard_reserve(&mut self) {
        if !self.in_reserve {
            return;
        }
        self.in_reserve = self.shared.prepared.counts().0 == 0;
        if self.in_reserve {
            self.refuse_mail("the disk has no room for another segment");
        }
    }

    fn refuse_mail(&mut self, reason: &str) {
        let (mail, kept) = std::mem::take(&mut self.parked)
            .into_iter()
            .partition(|entry| matches!(entry.effect, Effect::Enqueue { .. }));
        self.parked = kept;
        let mail: VecDeque<Entry> = mail;
        mail.into_iter().for_each(|entry| self.refuse(entry, reason));
    }

    /// Callers keep frames short enough; a longer one must not make the log roll for ever.
    fn refuse_long(&mut self) {
        if let Some(entry) = self.parked.pop_front() {
            self.unreserve(&entry);
            entry.done.fail("the record is longer than a segment");
        }
    }

    fn checkpoint(&self, current: Option<u32>) -> Entry {
        let next_key = self.shared.next_key.load(Ordering::Relaxed);
        let head = self.shared.state().checkpoint(next_key, current);
        Entry { frame: record::checkpoint(&head), effect: Effect::Checkpoint, done: Done::Nobody }
    }

    fn refuse(&self, entry: Entry, reason: &str) {
        self.shared.room.disk_full.store(true, Ordering::Relaxed);
        self.unreserve(&entry);
        if let Done::Enqueue(sender, _) = entry.done {
            let _ = sender.send(Err(EnqueueError::Full(format!("no room on the disk: {reason}"))));
        }
    }

    /// There is no room for a decision: new mail behind it is refused, what frees segments goes ahead.
    fn housekeep(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.reported, true) {
            tracing::error!(%error, "no room on the disk even for what became of mail; deliveries wait for room");
        }
        self.shared.tidy.wake();
        self.refuse_mail(&error.to_string());
        let short = self.short_ones();
        if !short.is_empty() && !self.write(short) {
            return;
        }
        let (ahead, mut kept): (Vec<Entry>, VecDeque<Entry>) = {
            let parked = std::mem::take(&mut self.parked);
            let (ahead, kept): (VecDeque<_>, _) = parked.into_iter().partition(Entry::is_housekeeping);
            (ahead.into(), kept)
        };
        // A segment is given up only after everything that it still held: all of a group go, or none.
        if !ahead.is_empty() && self.log.batch_len(&ahead) == ahead.len() {
            self.parked = kept;
            self.write(ahead);
        } else {
            kept.extend(ahead);
            self.parked = kept;
        }
    }

    /// Takes the fates and readers' positions that still fit behind a longer decision, so that a long report does not
    /// hold up what lets segments die. None passes a copy: it could be the copy of what it ends.
    fn short_ones(&mut self) -> Vec<Entry> {
        let (mut short, mut octets) = (Vec::new(), 0);
        let parked = std::mem::take(&mut self.parked);
        let mut before_copies = true;
        for entry in parked {
            let is_short = match entry.effect {
                Effect::Fate { .. } | Effect::Reader { .. } => self.log.fits_after(octets, &entry),
                Effect::Wait { .. } => false,
                Effect::WaitCopied { .. }
                | Effect::Moved { .. }
                | Effect::Retire { .. }
                | Effect::Gone { .. }
                | Effect::Enqueue { .. }
                | Effect::Checkpoint => {
                    before_copies = false;
                    false
                }
            };
            if is_short && before_copies && short.len() < SHORT_MAX {
                octets += entry.frame.len();
                short.push(entry);
            } else {
                self.parked.push_back(entry);
            }
        }
        short
    }

    fn write(&mut self, mut batch: Vec<Entry>) -> bool {
        let (segment, lsn) = (self.log.segment().id(), self.log.lsn());
        let before = self.shared.clock.now();
        let at = match self.log.append(&mut batch) {
            Ok(at) => at,
            Err(error) => {
                let name = super::segment::path(&self.shared.config.dir, segment);
                self.poison(&format!("writing {} failed: {error}", name.display()), batch);
                return false;
            }
        };
        self.count(&batch, before);
        let now = self.shared.wall();
        let mut state = self.shared.state();
        state.apply(Place { segment, at, lsn }, &mut batch, now);
        let tidy = std::mem::take(&mut state.tidy);
        self.shared.dispatch(state);
        for entry in batch {
            entry.done.succeed();
        }
        if tidy {
            self.shared.tidy.wake();
        }
        true
    }

    fn count(&self, batch: &[Entry], before: std::time::Instant) {
        let octets = batch.iter().map(|entry| entry.frame.len()).sum();
        let room = &self.shared.room;
        room.used.fetch_add(octets, Ordering::Relaxed);
        for entry in batch {
            match &entry.effect {
                Effect::Enqueue { .. } => {
                    room.coming.fetch_sub(entry.frame.len(), Ordering::Relaxed);
                }
                Effect::Fate { .. } => {
                    room.envelopes.fetch_sub(1, Ordering::Relaxed);
                }
                Effect::Wait { rest, notes, .. } => {
                    room.envelopes.fetch_add(notes.len() as u64, Ordering::Relaxed);
                    room.envelopes.fetch_sub(u64::from(*rest == Rest::Ends), Ordering::Relaxed);
                }
                Effect::WaitCopied { .. }
                | Effect::Moved { .. }
                | Effect::Reader { .. }
                | Effect::Retire { .. }
                | Effect::Gone { .. }
                | Effect::Checkpoint => {}
            }
        }
        let stats = &self.shared.stats;
        let took = self.shared.clock.now().saturating_duration_since(before);
        stats.batches.fetch_add(1, Ordering::Relaxed);
        stats.frames.fetch_add(batch.len() as u64, Ordering::Relaxed);
        stats.octets.fetch_add(octets, Ordering::Relaxed);
        stats.sync_us.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
    }

    fn unreserve(&self, entry: &Entry) {
        if let Effect::Enqueue { envelopes, .. } = &entry.effect {
            self.shared.room.coming.fetch_sub(entry.frame.len(), Ordering::Relaxed);
            self.shared.room.envelopes.fetch_sub(envelopes.len() as u64, Ordering::Relaxed);
        }
    }

    fn poison(&mut self, reason: &str, batch: Vec<Entry>) {
        self.shared.poison(reason);
        for entry in batch.into_iter().chain(self.parked.drain(..)) {
            entry.done.fail(reason);
        }
    }
}
