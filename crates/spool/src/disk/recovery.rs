//! From files to state: which segments count, what they say, where the log goes on.
//!
//! The newest segment whose first batch is complete is the *tail*. Its first frame, a checkpoint, names all
//! segments before it with the exact place where each ends; with the frames in the tail that give segments up,
//! that tells which files must be there. Every octet of the older segments up to their ends must be right. Of
//! the tail, all complete batches must be right, and only traces of one incomplete batch may follow them (see
//! [`super::scan`]). Everything else is damage, and the engine does not start.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use prost::Message;
use sluice_proto::record;

use super::Config;
use super::error::{Loss, OpenError};
use super::files::{File, Files};
use super::frame::{self, Kind};
use super::index::SegmentInfo;
use super::prepared::Old;
use super::replay::Replay;
use super::salvage;
use super::scan::{Bodies, ScanError, Scanner, Tail, find_tail, leftovers};
use super::segment::{self, DATA_START, HeaderState, Segment};

/// What was found.
pub(super) struct Recovered {
    pub(super) replay: Replay,
    /// The tail, where it ends and with which LSN; `None` in an empty folder.
    pub(super) tail: Option<TailSegment>,
    /// Prepared segments that were never used, in order.
    pub(super) ready: Vec<Segment>,
    /// Files that are not needed any more.
    pub(super) old: Vec<Old>,
    /// No segment had this id or a later one.
    pub(super) next_id: u32,
    /// What `salvage` had to give up, and the segments that it lies in.
    pub(super) losses: Vec<Loss>,
}

/// The segment that the log ends in, and where.
pub(super) type TailSegment = (Segment, Tail);

/// A segment's file before it is known whether it counts.
struct Found {
    file: Arc<dyn File>,
    state: HeaderState,
    len: u64,
}

struct Folder<'a> {
    config: &'a Config,
    found: BTreeMap<u32, Found>,
    losses: Vec<Loss>,
}

/// Reads the folder. Changes nothing but leftovers of preparing, and makes the tail's last batch durable once more.
pub(super) fn recover(config: &Config, files: &dyn Files) -> Result<Recovered, OpenError> {
    let mut folder = Folder::read(config, files)?;
    let next_id = folder.found.keys().next_back().map_or(1, |id| id + 1);
    let (tail, above) = folder.find_tail()?;
    let mut replay = Replay::new(config.recent_fates);
    let mut present = BTreeSet::new();
    if let Some((segment, tail)) = &tail {
        let (sealed, retired) = folder.read_checkpoint(segment, tail)?;
        for info in sealed.iter().filter(|info| !retired.contains(&info.id)) {
            present.insert(info.id as u32);
            folder.replay_sealed(&mut replay, info)?;
        }
        present.insert(segment.id());
        folder.replay_tail(&mut replay, segment, tail)?;
        folder.reassert(segment, tail)?;
    }
    let (ready, old) = folder.sort_rest(&present, &above);
    Ok(Recovered { replay, tail, ready, old, next_id, losses: folder.losses })
}

impl<'a> Folder<'a> {
    fn read(config: &'a Config, files: &'a dyn Files) -> Result<Self, OpenError> {
        let dir = &config.dir;
        let at = |path: &Path, error| OpenError::io(path, error);
        // What was seen must not be undone by a power cut later.
        files.sync_dir(dir).map_err(|e| at(dir, e))?;
        let mut found = BTreeMap::new();
        for name in files.list(dir).map_err(|e| at(dir, e))? {
            let path = dir.join(&name);
            if name.ends_with(".tmp") {
                files.remove(&path).map_err(|e| at(&path, e))?;
            }
            let Some(id) = segment::parse_name(&name) else { continue };
            let file = files.open(&path).map_err(|e| at(&path, e))?;
            let state = segment::read_header(&*file).map_err(|e| at(&path, e))?;
            if let HeaderState::Newer(version) = state {
                return Err(OpenError::Newer { path, version, offset: 0 });
            }
            let len = file.size().map_err(|e| at(&path, e))?;
            if len < DATA_START && !config.salvage {
                return Err(OpenError::Corrupt { path, offset: len, problem: "the file is cut off in its header" });
            }
            found.insert(id, Found { file, state, len });
        }
        Ok(Self { config, found, losses: Vec::new() })
    }

    /// The segment of that id, if its header is its own.
    fn segment(&self, id: u32) -> Option<Segment> {
        let found = self.found.get(&id)?;
        match found.state {
            HeaderState::Fine(identity, capacity) if identity.segment == id => {
                Some(Segment { identity, file: Arc::clone(&found.file), capacity })
            }
            HeaderState::Fine(..) | HeaderState::Newer(_) | HeaderState::Unreadable => None,
        }
    }

    /// The tail, and prepared segments after it that were never written.
    fn find_tail(&mut self) -> Result<(Option<TailSegment>, Vec<u32>), OpenError> {
        let mut unused = Vec::new();
        let mut tail = None;
        for id in self.found.keys().rev().copied().collect::<Vec<_>>() {
            let Some(segment) = self.segment(id) else {
                self.check_headless(id)?;
                continue;
            };
            match self.tail_of(&segment)? {
                Some(found) => {
                    tail = Some((segment, found));
                    break;
                }
                None => unused.push(segment),
            }
        }
        let lsn = tail.as_ref().map(|(_, tail)| tail.lsn);
        let mut above = Vec::new();
        for segment in unused.iter().rev() {
            match leftovers(segment, DATA_START, lsn, DATA_START) {
                Ok(false) => above.push(segment.id()),
                // Its first batch was being written: nothing in it was acknowledged, and it is not used again.
                Ok(true) => {}
                Err(error) => self.damage(segment.id(), error)?,
            }
        }
        Ok((tail, above))
    }

    fn tail_of(&self, segment: &Segment) -> Result<Option<Tail>, OpenError> {
        match find_tail(segment) {
            Ok(tail) => Ok(tail),
            // What is lost is noted when it is replayed.
            Err(ScanError::Bad(..)) if self.config.salvage => {
                salvage::tail(segment).map_err(|e| self.scan_error(segment.id(), e))
            }
            Err(error) => Err(self.scan_error(segment.id(), error)),
        }
    }

    /// A file without a header of its own was never written to, unless frames are in it.
    fn check_headless(&mut self, id: u32) -> Result<(), OpenError> {
        let Some(found) = self.found.get(&id) else { return Ok(()) };
        if found.state != HeaderState::Unreadable {
            return Ok(());
        }
        let mut start = [0u8; 64];
        let read = found.file.read_at(&mut start, DATA_START);
        let path = segment::path(&self.config.dir, id);
        let read = read.map_err(|e| OpenError::io(&path, e))?;
        if start[..read].iter().any(|b| *b != 0) {
            self.damage(id, ScanError::Bad(0, "an unreadable header"))?;
        }
        Ok(())
    }

    /// What the tail's first frame says of older segments, and which of them the tail gives up.
    fn read_checkpoint(
        &self,
        segment: &Segment,
        tail: &Tail,
    ) -> Result<(Vec<record::SealedSegment>, BTreeSet<u64>), OpenError> {
        let mut scanner = self.scanner(segment, tail.end, Bodies::Skip);
        let mut sealed = None;
        let mut retired = BTreeSet::new();
        let wrong = |e| self.scan_error(segment.id(), e);
        while let Some(view) = scanner.next().map_err(wrong)? {
            match view.kind {
                Kind::Checkpoint if sealed.is_none() => {
                    let head = frame::head(view.meta).unwrap_or_default();
                    let checkpoint = record::Checkpoint::decode(head);
                    let checkpoint = checkpoint.map_err(|_| wrong(ScanError::Bad(view.at, "an undecodable frame")))?;
                    sealed = Some(checkpoint.segments);
                }
                Kind::Retire => drop(retired.insert(view.header.subject)),
                Kind::Checkpoint
                | Kind::Enqueue
                | Kind::Fate
                | Kind::Wait
                | Kind::Moved
                | Kind::Reader
                | Kind::Gone => {}
            }
        }
        match sealed {
            Some(sealed) => Ok((sealed, retired)),
            None if self.config.salvage => Ok((self.all_before(segment.id())?, retired)),
            None => Err(wrong(ScanError::Bad(DATA_START, "a segment without a checkpoint"))),
        }
    }

    /// Without a checkpoint to name them: all segments that are there, as far as they can be read.
    fn all_before(&self, tail: u32) -> Result<Vec<record::SealedSegment>, OpenError> {
        let mut sealed = Vec::new();
        for segment in self.found.range(..tail).filter_map(|(id, _)| self.segment(*id)) {
            let end = salvage::tail(&segment).map_err(|e| self.scan_error(segment.id(), e))?;
            sealed.extend(end.map(|tail| record::SealedSegment {
                id: u64::from(segment.id()),
                end: tail.end,
                first_lsn: tail.first_lsn,
                end_lsn: tail.lsn,
                sealed_ms: 0,
            }));
        }
        Ok(sealed)
    }

    fn replay_sealed(&mut self, replay: &mut Replay, info: &record::SealedSegment) -> Result<(), OpenError> {
        let id = info.id as u32;
        let Some(segment) = self.segment(id) else {
            return if self.found.contains_key(&id) {
                self.damage(id, ScanError::Bad(0, "an unreadable header"))
            } else {
                self.missing(id)
            };
        };
        let mut entry = SegmentInfo::new(segment.clone(), info.first_lsn);
        (entry.end, entry.end_lsn) = (info.end, info.end_lsn);
        entry.sealed = Some(sluice_mail::UnixMs(info.sealed_ms));
        replay.index.segments.insert(id, entry);
        self.replay(replay, &segment, info.end, info.first_lsn)?;
        if !self.config.salvage && replay.lsn != info.end_lsn {
            return self.damage(id, ScanError::Bad(info.end, "an end that is not where it was"));
        }
        Ok(())
    }

    fn replay_tail(&mut self, replay: &mut Replay, segment: &Segment, tail: &Tail) -> Result<(), OpenError> {
        let mut entry = SegmentInfo::new(segment.clone(), tail.first_lsn);
        (entry.end, entry.end_lsn) = (tail.end, tail.lsn);
        replay.index.segments.insert(segment.id(), entry);
        self.replay(replay, segment, tail.end, tail.first_lsn)
    }

    fn replay(&mut self, replay: &mut Replay, segment: &Segment, end: u64, lsn: u64) -> Result<(), OpenError> {
        let mut scanner = self.scanner(segment, end, Bodies::Check);
        match replay.segment(&mut scanner, segment.id(), lsn, self.config.salvage) {
            Ok(()) => {}
            Err(error) => self.damage(segment.id(), error)?,
        }
        for (from, to) in scanner.skipped() {
            let path = segment::path(&self.config.dir, segment.id());
            self.losses.push(Loss { segment: segment.id(), path, from: *from, to: *to });
        }
        Ok(())
    }

    fn scanner(&self, segment: &Segment, end: u64, bodies: Bodies) -> Scanner {
        let scanner = Scanner::new(segment, DATA_START, end, bodies);
        if self.config.salvage { scanner.skipping_damage() } else { scanner }
    }

    /// The last batch may be whole in the page cache only (the process was killed before its `fdatasync`, or
    /// that failed): it counts from now on, so it is written once more and made durable.
    fn reassert(&self, segment: &Segment, tail: &Tail) -> Result<(), OpenError> {
        let path = segment::path(&self.config.dir, segment.id());
        let write = || -> io::Result<()> {
            let mut batch = vec![0u8; (tail.end - tail.last_batch) as usize];
            let read = segment.file.read_at(&mut batch, tail.last_batch)?;
            segment.file.write_at(&mut [IoSlice::new(&batch[..read])], tail.last_batch)?;
            segment.file.sync()
        };
        write().map_err(|e| OpenError::io(&path, e))
    }

    /// Files that hold nothing: prepared ones in order, and others.
    fn sort_rest(&mut self, present: &BTreeSet<u32>, above: &[u32]) -> (Vec<Segment>, Vec<Old>) {
        let (mut ready, mut old) = (Vec::new(), Vec::new());
        for id in above {
            if let Some(segment) = self.segment(*id).filter(|s| s.capacity == self.config.segment_bytes) {
                ready.push(segment);
            }
        }
        for (id, found) in &self.found {
            if present.contains(id) || ready.iter().any(|s| s.id() == *id) {
                continue;
            }
            // A length of its own keeps what was begun or cut off from being used again.
            let retired = present.last().is_some_and(|tail| id < tail);
            let capacity = if retired { found.len } else { 0 };
            old.push(Old { path: segment::path(&self.config.dir, *id), file: Arc::clone(&found.file), capacity });
        }
        (ready, old)
    }

    fn missing(&mut self, id: u32) -> Result<(), OpenError> {
        let path = segment::path(&self.config.dir, id);
        if !self.config.salvage {
            return Err(OpenError::Missing { path });
        }
        self.losses.push(Loss { segment: id, path, from: 0, to: 0 });
        Ok(())
    }

    /// Damage is an error, or a loss when salvaging.
    fn damage(&mut self, id: u32, error: ScanError) -> Result<(), OpenError> {
        match error {
            ScanError::Bad(offset, _) if self.config.salvage => {
                let path = segment::path(&self.config.dir, id);
                let to = self.found.get(&id).map_or(offset, |found| found.len);
                self.losses.push(Loss { segment: id, path, from: offset, to });
                Ok(())
            }
            ScanError::Bad(..) | ScanError::Io(_) | ScanError::Newer(..) => Err(self.scan_error(id, error)),
        }
    }

    fn scan_error(&self, id: u32, error: ScanError) -> OpenError {
        let path = segment::path(&self.config.dir, id);
        match error {
            ScanError::Io(error) => OpenError::io(&path, error),
            ScanError::Newer(version, offset) => OpenError::Newer { path, version, offset },
            ScanError::Bad(offset, problem) => OpenError::Corrupt { path, offset, problem },
        }
    }
}
