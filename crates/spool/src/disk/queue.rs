//! Frames on their way to the committer.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluice_mail::{Envelope, QueueId, UnixMs};
use tokio::sync::oneshot;

use super::frame::{Frame, Range};
use super::record::Note;
use crate::{Accepted, EnqueueError, SettleError};

/// What becomes true when a frame is durable.
#[derive(Debug)]
pub(super) enum Effect {
    /// New envelopes of one body.
    Enqueue { envelopes: Vec<Envelope>, first_key: u64, ranges: Vec<Range>, body_crc: u32 },
    /// The envelope in the slot ended.
    Fate { slot: u32, queue_id: QueueId },
    /// The envelope in the slot waits again, or ended; notifications are new envelopes; `attempt`: one is told, `fate`: so
    /// is how it ended.
    Wait { slot: u32, rest: Rest, notes: Vec<(Note, Range)>, attempt: bool, fate: Option<QueueId> },
    /// A waiting record was copied.
    WaitCopied { slot: u32, range: Range },
    /// Envelopes got a new home.
    Moved { slots: Vec<(u32, Range)> },
    /// A reader of events has come so far.
    Reader { name: String, position: u64 },
    /// The segment is given up.
    Retire { segment: u32 },
    /// The frame takes the place of fates in a segment that is given up next.
    Gone { segment: u32 },
    /// The first frame of a segment, and the last before a clean end.
    Checkpoint,
}

/// What a wait frame says of the envelope itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Waits until then, as this record says.
    Remains(Range, UnixMs),
    /// Is gone.
    Ends,
    /// Is due as it was.
    Stays,
}

/// Whom to tell.
#[derive(Debug)]
pub(super) enum Done {
    Enqueue(oneshot::Sender<Result<Accepted, EnqueueError>>, QueueId),
    Settle(oneshot::Sender<Result<(), SettleError>>),
    Tidy(Arc<Latch>),
    Nobody,
}

impl Done {
    /// The frame is durable.
    pub(super) fn succeed(self) {
        match self {
            Self::Enqueue(sender, queue_id) => drop(sender.send(Ok(Accepted { queue_id }))),
            Self::Settle(sender) => drop(sender.send(Ok(()))),
            Self::Tidy(latch) => latch.count_down(true),
            Self::Nobody => {}
        }
    }

    /// The frame never will be durable.
    pub(super) fn fail(self, reason: &str) {
        match self {
            Self::Enqueue(sender, _) => drop(sender.send(Err(EnqueueError::Poisoned(reason.to_owned())))),
            Self::Settle(sender) => drop(sender.send(Err(SettleError::Poisoned(reason.to_owned())))),
            Self::Tidy(latch) => latch.count_down(false),
            Self::Nobody => {}
        }
    }
}

/// A frame, what it means and whom to tell.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) frame: Frame,
    pub(super) effect: Effect,
    pub(super) done: Done,
}

impl Entry {
    /// Frames that help to free segments: they may use the last room of a segment.
    pub(super) fn is_housekeeping(&self) -> bool {
        matches!(self.effect, Effect::Retire { .. } | Effect::Gone { .. })
    }
}

#[derive(Default)]
struct Inner {
    entries: VecDeque<Entry>,
    /// The committer waits for entries.
    asleep: bool,
    closing: bool,
    poisoned: Option<Arc<str>>,
}

/// First in, first out. Held by everybody who writes and by the one committer that takes.
#[derive(Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    filled: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an entry, or tells its waiter that the log is poisoned or closed.
    pub(super) fn push(&self, entry: Entry) {
        let mut inner = self.lock();
        if let Some(reason) = inner.poisoned.clone() {
            drop(inner);
            entry.done.fail(&reason);
            return;
        }
        inner.entries.push_back(entry);
        let wake = std::mem::take(&mut inner.asleep);
        drop(inner);
        if wake {
            self.filled.notify_one();
        }
    }

    /// Takes everything; waits for it up to `timeout` when there is nothing. `None`: closing, and nothing is left.
    pub(super) fn take(&self, timeout: Option<Duration>) -> Option<VecDeque<Entry>> {
        let mut inner = self.lock();
        while inner.entries.is_empty() && !inner.closing {
            inner.asleep = true;
            inner = match timeout {
                None => self.filled.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Some(timeout) => self.filled.wait_timeout(inner, timeout).unwrap_or_else(PoisonError::into_inner).0,
            };
            if timeout.is_some() {
                break;
            }
        }
        inner.asleep = false;
        if inner.entries.is_empty() && inner.closing {
            return None;
        }
        Some(std::mem::take(&mut inner.entries))
    }

    /// No more entries are expected: the committer ends when all are written.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.filled.notify_all();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.lock().closing
    }

    /// From now on nothing can be written; gives what was on its way.
    pub(super) fn poison(&self, reason: &str) -> VecDeque<Entry> {
        let mut inner = self.lock();
        inner.poisoned.get_or_insert_with(|| reason.into());
        std::mem::take(&mut inner.entries)
    }

    /// Why nothing can be written.
    pub(super) fn poisoned(&self) -> Option<Arc<str>> {
        self.lock().poisoned.clone()
    }
}

/// Waits until a number of frames are durable.
#[derive(Debug)]
pub(super) struct Latch {
    inner: Mutex<(usize, bool)>,
    changed: Condvar,
}

impl Latch {
    /// Waits for nothing yet.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { inner: Mutex::new((0, true)), changed: Condvar::new() })
    }

    /// One frame more to wait for.
    pub(super) fn add(&self) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).0 += 1;
    }

    fn count_down(&self, fine: bool) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.0 = inner.0.saturating_sub(1);
        inner.1 &= fine;
        self.changed.notify_all();
    }

    /// `Some` when all are decided: whether all went well.
    #[cfg(test)]
    pub(super) fn outcome(&self) -> Option<bool> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        (inner.0 == 0).then_some(inner.1)
    }

    /// Waits for [`Self::outcome`].
    pub(super) fn wait(&self) -> bool {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        while inner.0 > 0 {
            inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        inner.1
    }
}
