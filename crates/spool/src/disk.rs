//! The embedded engine: a segmented log with group commit on local disk, all state in memory.
//!
//! A queue only appends and forgets, so mail is written once, when it is accepted: envelopes and body in one
//! frame, many frames in one write and one `fdatasync` (`committer`). What becomes of an envelope is another
//! frame. Memory holds some hundred octets per envelope (`index`): where it lies, when it is due, which domain
//! it waits for. A segment is given up when nothing in it lives (`tidy`).
//!
//! Threads: the *committer* writes; the *pump* makes due and reads back; the *tidier* gives up and copies
//! segments; the *preparer* has new segments ready; *readers* serve what async callers want from the disk.
//! The order of locks: state, then queue or handout; none is held over file access but the preparer's own.

use std::any::Any;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sluice_mail::Clock;

mod committer;
mod ended;
mod engine;
mod error;
mod fates;
mod files;
mod frame;
mod index;
mod jobs;
mod log;
mod names;
mod prepared;
mod pump;
mod queue;
mod record;
mod recovery;
mod replay;
mod salvage;
mod scan;
mod schedule;
mod segment;
mod shared;
mod start;
mod state;
mod tidy;
mod timers;
mod view;
mod warm;

#[cfg(test)]
mod tests;

pub use error::{Loss, OpenError};
pub use files::{File, Files, SystemFiles};

use shared::Shared;

/// How the engine is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Its folder: nothing else belongs in it.
    pub dir: PathBuf,
    /// Size of a segment's file, 1 MiB to 4 GiB less a page, a multiple of 4,096. Holds the largest message.
    pub segment_bytes: u64,
    /// The longest message that will ever be offered.
    pub max_message_bytes: u64,
    /// Cap on envelopes that wait; above it mail is refused.
    pub max_envelopes: u64,
    /// Cap on octets of all segments; above it mail is refused. The folder takes up to six segments more.
    pub max_bytes: u64,
    /// So many of the latest fates are kept at hand for [`crate::QueueView::list`].
    pub recent_fates: usize,
    /// Octets of accepted bodies that stay in memory until they are handed out.
    pub cached_bytes: usize,
    /// A segment with fates or attempts that a registered reader has not read is kept this long.
    pub fate_retention: Duration,
    /// Start in spite of damage: keep what can be read, report the rest ([`Disk::losses`]).
    pub salvage: bool,
}

impl Config {
    /// Defaults for `dir`: 64 MiB segments, a million envelopes, 64 GiB, 10,000 fates, 32 MiB in memory, 7 days.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            segment_bytes: 64 << 20,
            max_message_bytes: 25 << 20,
            max_envelopes: 1_000_000,
            max_bytes: 64 << 30,
            recent_fates: 10_000,
            cached_bytes: 32 << 20,
            fate_retention: Duration::from_secs(7 * 24 * 3600),
            salvage: false,
        }
    }

    /// The longest frame that is taken: what is left of a segment beside a checkpoint.
    fn frame_max(&self) -> u64 {
        log::frame_max(self.segment_bytes, self.segment_bytes / 16)
    }
}

/// Plain numbers since the start, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Writes, each with one `fdatasync`.
    pub batches: u64,
    /// Records in them.
    pub frames: u64,
    /// Octets in them.
    pub octets: u64,
    /// Time that writing and `fdatasync` took, in microseconds.
    pub sync_us: u64,
    /// Segments begun.
    pub rolls: u64,
    /// Segments whose living mail was copied.
    pub compacted: u64,
    /// Envelopes that were read back from disk.
    pub read_back: u64,
    /// Segments that hold something.
    pub segments: u64,
}

/// The engine. Clones share it; dropping the last one closes it.
#[derive(Clone)]
pub struct Disk {
    shared: Arc<Shared>,
    life: Arc<Life>,
}

/// Holds the threads and the folder's lock; dropping it ends them.
struct Life {
    shared: Arc<Shared>,
    held: Mutex<Held>,
}

struct Held {
    committer: Option<JoinHandle<()>>,
    others: Vec<JoinHandle<()>>,
    lock: Option<Box<dyn Any + Send + Sync>>,
    losses: Vec<Loss>,
}

/// Opens the folder, which it makes when it is not there, and starts the threads.
pub fn open(config: Config, files: Arc<dyn Files>, clock: Arc<dyn Clock>) -> Result<Disk, OpenError> {
    start::open(config, files, clock)
}

impl Disk {
    /// Writes what is on its way, ends the log cleanly and stops. Blocks for as long as that takes.
    pub fn close(&self) {
        self.life.close();
    }

    /// Resolves with the reason when the log cannot be written any more. From then on mail is refused and
    /// nothing can be settled; the process should report it and exit. Never resolves after a clean end.
    #[must_use]
    pub fn poisoned(&self) -> BoxFuture<'static, String> {
        let mut poisoned = self.shared.poisoned.subscribe();
        async move {
            match poisoned.wait_for(Option::is_some).await.map(|reason| reason.clone()) {
                Ok(reason) => reason.map(|r| r.to_string()).unwrap_or_default(),
                Err(_) => std::future::pending().await,
            }
        }
        .boxed()
    }

    /// Looks at the clock again: to be called when a hand-driven clock was moved. A real one is looked at often
    /// enough.
    pub fn clock_moved(&self) {
        self.shared.pump.wake();
    }

    /// What salvage could not read.
    #[must_use]
    pub fn losses(&self) -> Vec<Loss> {
        self.life.held().losses.clone()
    }

    /// Plain numbers since the start.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (counters, at) = (&self.shared.stats, Ordering::Relaxed);
        Stats {
            batches: counters.batches.load(at),
            frames: counters.frames.load(at),
            octets: counters.octets.load(at),
            sync_us: counters.sync_us.load(at),
            rolls: counters.rolls.load(at),
            compacted: counters.compacted.load(at),
            read_back: counters.read_back.load(at),
            segments: self.shared.state().index.segments.len() as u64,
        }
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("dir", &self.shared.config.dir).finish_non_exhaustive()
    }
}

impl Life {
    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        let mut held = self.held();
        let shared = &self.shared;
        shared.pump.stop();
        shared.tidy.stop();
        shared.queue.close();
        // The committer writes what the others still wait for.
        if let Some(committer) = held.committer.take() {
            let _ = committer.join();
        }
        shared.jobs.stop();
        shared.prepared.stop();
        for thread in held.others.drain(..) {
            let _ = thread.join();
        }
        held.lock = None;
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.close();
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name(format!("sluice-{name}")).spawn(work)
}
