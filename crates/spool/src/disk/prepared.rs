//! Segments that are ready to be written, and the thread's work of having some.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::files::{File, Files};
use super::frame::Identity;
use super::segment::{self, Segment};

/// Ready segments that are aimed at. The last one is the reserve: only deciding frames may begin it.
const READY_AIM: usize = 3;

/// Who wants a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// New mail: leaves the reserve alone.
    Accept,
    /// Decisions on mail that is here: may take the reserve.
    Decide,
}

/// A file that has served its time.
pub(super) struct Old {
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn File>,
    pub(super) capacity: u64,
}

struct Inner {
    ready: VecDeque<Segment>,
    old: Vec<Old>,
    next_id: u32,
    stopping: bool,
}

/// Ready segments in order of their ids. Held by the committer, which takes, and the preparer, which adds.
pub(super) struct Prepared {
    files: Arc<dyn Files>,
    dir: PathBuf,
    capacity: u64,
    inner: Mutex<Inner>,
    changed: Condvar,
}

impl Prepared {
    pub(super) fn new(files: Arc<dyn Files>, dir: &Path, capacity: u64, ready: Vec<Segment>, next_id: u32) -> Self {
        let inner = Inner { ready: ready.into(), old: Vec::new(), next_id, stopping: false };
        Self { files, dir: dir.to_owned(), capacity, inner: Mutex::new(inner), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next segment; when none is ready, makes one in place of the preparer, faster but with less
    /// even writes later. A full disk is an error of kind `StorageFull`.
    pub(super) fn take(&self, need: Need) -> io::Result<Segment> {
        let keep = match need {
            Need::Accept => 1,
            Need::Decide => 0,
        };
        let mut inner = self.lock();
        while inner.ready.len() <= keep {
            if inner.old.is_empty() {
                let path = self.temporary();
                let _ = self.files.remove(&path);
                let file = self.files.create(&path, self.capacity)?;
                self.finish(&mut inner, &path, file)?;
            } else {
                self.recycle(&mut inner)?;
            }
        }
        let segment = inner.ready.pop_front();
        self.changed.notify_all();
        segment.ok_or_else(|| io::ErrorKind::StorageFull.into())
    }

    /// Whether new mail may begin another segment without touching the reserve.
    pub(super) fn has_room(&self) -> bool {
        let inner = self.lock();
        inner.ready.len() + inner.old.len() > 1
    }

    /// Takes a file that is not needed any more, to be used again or removed.
    pub(super) fn give(&self, old: Old) {
        self.lock().old.push(old);
        self.changed.notify_all();
    }

    /// Ends [`Self::wait`].
    pub(super) fn stop(&self) {
        self.lock().stopping = true;
        self.changed.notify_all();
    }

    /// Waits until there is something to do, `timeout` at most; `false` when it is time to stop.
    pub(super) fn wait(&self, timeout: Duration) -> bool {
        let inner = self.lock();
        if inner.stopping || !inner.old.is_empty() || inner.ready.len() < READY_AIM {
            return !inner.stopping;
        }
        let waited = self.changed.wait_timeout(inner, timeout).unwrap_or_else(PoisonError::into_inner);
        !waited.0.stopping
    }

    /// Waits for a change or the timeout; `false` when it is time to stop.
    pub(super) fn pause(&self, timeout: Duration) -> bool {
        let inner = self.lock();
        if inner.stopping {
            return false;
        }
        let waited = self.changed.wait_timeout(inner, timeout).unwrap_or_else(PoisonError::into_inner);
        !waited.0.stopping
    }

    /// Prepares one segment or gets rid of one file; whether there was something to do.
    pub(super) fn step(&self) -> io::Result<bool> {
        let mut inner = self.lock();
        if inner.ready.len() >= READY_AIM {
            return match inner.old.pop() {
                Some(old) => {
                    drop(inner);
                    self.files.remove(&old.path)?;
                    self.files.sync_dir(&self.dir)?;
                    Ok(true)
                }
                None => Ok(false),
            };
        }
        if !inner.old.is_empty() {
            return self.recycle(&mut inner).map(|()| true);
        }
        drop(inner);
        let path = self.dir.join("zeroing.tmp");
        let _ = self.files.remove(&path);
        let file = segment::create_zeroed(&*self.files, &path, self.capacity)?;
        self.finish(&mut self.lock(), &path, file)?;
        Ok(true)
    }

    /// The next use of an old file. One of another size is removed.
    fn recycle(&self, inner: &mut Inner) -> io::Result<()> {
        let Some(old) = inner.old.pop() else { return Ok(()) };
        if old.capacity == self.capacity {
            return self.finish(inner, &old.path, old.file);
        }
        self.files.remove(&old.path)?;
        self.files.sync_dir(&self.dir)
    }

    /// Gives the file its id, name and header, in this order and each durable before the next: what is in it is
    /// of the new segment only when its name is.
    fn finish(&self, inner: &mut Inner, path: &Path, file: Arc<dyn File>) -> io::Result<()> {
        let identity = Identity { segment: inner.next_id, salt: self.files.salt() };
        inner.next_id += 1;
        // A segment's file that is shorter than it was made is damage: so its length is durable before its name.
        file.sync()?;
        self.files.rename(path, &segment::path(&self.dir, identity.segment))?;
        self.files.sync_dir(&self.dir)?;
        segment::write_header(&*file, identity, self.capacity)?;
        inner.ready.push_back(Segment { identity, file, capacity: self.capacity });
        self.changed.notify_all();
        Ok(())
    }

    fn temporary(&self) -> PathBuf {
        self.dir.join("filling.tmp")
    }

    /// Ready segments, and files to be used again.
    pub(super) fn counts(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.ready.len(), inner.old.len())
    }
}
