//! Putting the engine together, with and without its threads.

use std::any::Any;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluice_mail::{Clock, Shard};

use super::committer::Committer;
use super::error::{Loss, OpenError};
use super::files::Files;
use super::index::SegmentInfo;
use super::log::Log;
use super::prepared::{Need, Prepared};
use super::pump::Pump;
use super::queue::{Done, Effect, Entry, Latch};
use super::record;
use super::recovery::{Recovered, recover};
use super::segment::DATA_START;
use super::shared::Shared;
use super::state::State;
use super::tidy::Tidier;
use super::warm::Warm;
use super::{Config, Disk, Held, Life, spawn};
use crate::ShardEvent;

/// How long the preparer rests when the disk has no room.
const NO_ROOM_PAUSE: Duration = Duration::from_secs(1);
/// Threads that read for async callers.
const READERS: usize = 2;
/// Envelopes made due at a time while starting.
const FIRST_TICK: usize = 1024;

/// The engine without threads.
pub(super) struct Parts {
    pub(super) shared: Arc<Shared>,
    pub(super) committer: Committer,
    pub(super) losses: Vec<Loss>,
    pub(super) lock: Box<dyn Any + Send + Sync>,
}

/// Opens the folder and starts the threads.
pub(super) fn open(config: Config, files: Arc<dyn Files>, clock: Arc<dyn Clock>) -> Result<Disk, OpenError> {
    let dir = config.dir.clone();
    let parts = assemble(config, files, clock)?;
    let failed = |error| OpenError::io(&dir, error);
    let Parts { shared, committer, losses, lock } = parts;
    let committer = spawn("commit", move || committer.run()).map_err(failed)?;
    let held = Held { committer: Some(committer), others: Vec::new(), lock: Some(lock), losses };
    let life = Arc::new(Life { shared: Arc::clone(&shared), held: Mutex::new(held) });
    let disk = Disk { shared: Arc::clone(&shared), life };
    give_up_damaged(&disk);
    let mut threads = Vec::new();
    let pump = Pump::new(Arc::clone(&shared));
    threads.push(spawn("pump", move || pump.run()).map_err(failed)?);
    let tidier = Tidier::new(Arc::clone(&shared), Box::new(|latch| latch.wait()));
    threads.push(spawn("tidy", move || tidier.run()).map_err(failed)?);
    let preparing = Arc::clone(&shared);
    threads.push(spawn("prepare", move || prepare(&preparing)).map_err(failed)?);
    for _ in 0..READERS {
        let reading = Arc::clone(&shared);
        threads.push(spawn("read", move || reading.jobs.serve()).map_err(failed)?);
    }
    disk.life.held().others = threads;
    shared.pump.wake();
    Ok(disk)
}

/// After salvage: copies what was saved out of damaged segments, so that the next start finds no damage.
fn give_up_damaged(disk: &Disk) {
    let losses = disk.losses();
    if losses.is_empty() {
        return;
    }
    // In a new segment, whose checkpoint does not name what is missing.
    let latch = Latch::new();
    latch.add();
    let head = disk.shared.state().checkpoint(0, None);
    let done = Done::Tidy(Arc::clone(&latch));
    disk.shared.queue.push(Entry { frame: record::checkpoint(&head), effect: Effect::Checkpoint, done });
    latch.wait();
    let mut tidier = Tidier::new(Arc::clone(&disk.shared), Box::new(|latch| latch.wait()));
    let mut segments: Vec<u32> = losses.iter().map(|loss| loss.segment).collect();
    segments.dedup();
    for segment in segments {
        let _ = tidier.evacuate(segment);
    }
}

fn prepare(shared: &Shared) {
    while shared.prepared.wait(NO_ROOM_PAUSE) {
        if let Err(error) = shared.prepared.step() {
            tracing::warn!(%error, "no segment could be prepared; tried again in a second");
            if !shared.prepared.pause(NO_ROOM_PAUSE) {
                return;
            }
        }
    }
}

/// Recovers the folder and makes everything that the threads need.
pub(super) fn assemble(config: Config, files: Arc<dyn Files>, clock: Arc<dyn Clock>) -> Result<Parts, OpenError> {
    check(&config)?;
    let dir = config.dir.clone();
    files.create_dir(&dir).map_err(|e| OpenError::io(&dir, e))?;
    let lock = lock(&*files, &dir)?;
    let Recovered { mut replay, tail, ready, old, next_id, losses } = recover(&config, &*files)?;
    for loss in &losses {
        tracing::error!(path = %loss.path.display(), from = loss.from, to = loss.to, "salvage could not read this");
    }
    let prepared = Prepared::new(files, &dir, config.segment_bytes, ready, next_id);
    old.into_iter().for_each(|old| prepared.give(old));
    replay.finish();
    let next_key = replay.next_key;
    let mut state = State {
        index: replay.index,
        schedule: super::schedule::Schedule::default(),
        warm: Warm::new(config.cached_bytes),
        ended: replay.ended,
        readers: replay.readers,
        cursors: std::collections::HashMap::new(),
        to_read: std::collections::VecDeque::new(),
        reading: false,
        handout: std::collections::VecDeque::from([ShardEvent::Owned(Shard(0), u64::from(next_id))]),
        tidy: false,
    };
    schedule_all(&mut state, clock.wall());
    let fresh = tail.is_none();
    let log = match tail {
        Some((segment, tail)) => {
            let appendable = !tail.dirty && losses.is_empty() && segment.capacity == config.segment_bytes;
            // Nothing fits behind a full segment's capacity: the first frame begins the next one.
            let at = if appendable { tail.end } else { segment.capacity };
            Log::new(segment, at, tail.lsn)
        }
        None => first_segment(&prepared, &mut state, &dir)?,
    };
    let shared = Arc::new(Shared::new(config, clock, prepared, state, next_key));
    if fresh {
        let head = shared.state().checkpoint(next_key, Some(log.segment().id()));
        shared.queue.push(Entry { frame: record::checkpoint(&head), effect: Effect::Checkpoint, done: Done::Nobody });
    }
    let committer = Committer::new(Arc::clone(&shared), log);
    Ok(Parts { shared, committer, losses, lock })
}

fn check(config: &Config) -> Result<(), OpenError> {
    let wrong = |words: String| Err(OpenError::Config(words));
    let segment = config.segment_bytes;
    if !segment.is_multiple_of(4096) || !(16 << 10..=u64::from(u32::MAX) - 4095).contains(&segment) {
        return wrong(format!("spool.segment_bytes = {segment}: must be a multiple of 4096 below 4 GiB"));
    }
    let needed = config.max_message_bytes + (config.max_message_bytes / 8).min(1 << 20);
    if config.frame_max() < needed {
        return wrong(format!(
            "spool.segment_bytes = {segment}: too small for messages of {} octets; raise it to {} or more",
            config.max_message_bytes,
            (needed * 5 / 4).next_multiple_of(1 << 20)
        ));
    }
    if config.max_bytes < segment {
        return wrong(format!("spool.max_bytes = {}: less than one segment ({segment})", config.max_bytes));
    }
    Ok(())
}

fn lock(files: &dyn Files, dir: &Path) -> Result<Box<dyn Any + Send + Sync>, OpenError> {
    let path = dir.join("lock");
    files.lock(&path).map_err(|error| {
        let held = error.kind() == std::io::ErrorKind::WouldBlock;
        if held { OpenError::Locked { path } } else { OpenError::io(&path, error) }
    })
}

fn schedule_all(state: &mut State, now: sluice_mail::UnixMs) {
    let State { index, schedule, .. } = state;
    for slot in 0..index.bound() {
        if index.slot(slot).phase == super::index::Phase::Waiting {
            let due = index.slot(slot).due;
            schedule.put(index, slot, due, now);
        }
    }
    schedule.tick(index, now, FIRST_TICK);
}

fn first_segment(prepared: &Prepared, state: &mut State, dir: &Path) -> Result<Log, OpenError> {
    let failed = |error| OpenError::io(dir, error);
    while prepared.counts().0 == 0 {
        prepared.step().map_err(failed)?;
    }
    let segment = prepared.take(Need::Decide).map_err(failed)?;
    state.index.segments.insert(segment.id(), SegmentInfo::new(segment.clone(), 1));
    Ok(Log::new(segment, DATA_START, 1))
}
