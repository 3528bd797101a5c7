//! What the engine's threads and its callers share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluice_mail::{Clock, Shard, UnixMs};
use tokio::sync::{Notify, watch};

use super::Config;
use super::jobs::Jobs;
use super::prepared::Prepared;
use super::queue::Queue;
use super::state::State;
use crate::ShardEvent;

/// Shared by all.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) queue: Queue,
    pub(super) prepared: Prepared,
    /// Never held while waiting for a file. Taken before the queue's own lock, never after it.
    state: Mutex<State>,
    pub(super) handout: Handout,
    pub(super) jobs: Jobs,
    /// Wakes the pump: something is to be read, or a timer is earlier than before.
    pub(super) pump: Signal,
    /// Wakes the tidier.
    pub(super) tidy: Signal,
    pub(super) room: Room,
    pub(super) next_key: AtomicU64,
    pub(super) poisoned: watch::Sender<Option<Arc<str>>>,
    pub(super) stats: Counters,
}

impl Shared {
    pub(super) fn new(config: Config, clock: Arc<dyn Clock>, prepared: Prepared, state: State, next_key: u64) -> Self {
        let room = Room::default();
        room.envelopes.store(state.index.live(), Ordering::Relaxed);
        room.used.store(state.index.bytes(), Ordering::Relaxed);
        Self {
            config,
            clock,
            queue: Queue::default(),
            prepared,
            state: Mutex::new(state),
            handout: Handout::default(),
            jobs: Jobs::default(),
            pump: Signal::default(),
            tidy: Signal::default(),
            room,
            next_key: AtomicU64::new(next_key),
            poisoned: watch::Sender::new(None),
            stats: Counters::default(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wall(&self) -> UnixMs {
        self.clock.wall()
    }

    /// Hands out what the window has room for, gives the lock back, and wakes who has to know.
    pub(super) fn dispatch(&self, mut state: MutexGuard<'_, State>) {
        let mut works = Vec::new();
        state.fill(&mut works);
        let reads = !state.to_read.is_empty();
        drop(state);
        self.handout.push(works);
        if reads {
            self.pump.wake();
        }
    }

    /// Nothing can be written any more: tells everybody who waits, and whoever asks from now on.
    pub(super) fn poison(&self, reason: &str) {
        tracing::error!(reason, "the spool cannot be written any more; restart the process when the cause is mended");
        let waiting = self.queue.poison(reason);
        self.poisoned.send_if_modified(|now| {
            let first = now.is_none();
            now.get_or_insert_with(|| reason.into());
            first
        });
        for entry in waiting {
            entry.done.fail(reason);
        }
        self.handout.push(vec![ShardEvent::Lost(Shard(0))]);
    }
}

/// What is counted against the caps.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Envelopes that live or are on their way in.
    pub(super) envelopes: AtomicU64,
    /// Octets on disk.
    pub(super) used: AtomicU64,
    /// Octets on their way to the disk.
    pub(super) coming: AtomicU64,
    /// The disk had no room for another segment.
    pub(super) disk_full: AtomicBool,
}

/// Work for the owner of the shard.
#[derive(Debug, Default)]
pub(super) struct Handout {
    events: Mutex<VecDeque<ShardEvent>>,
    filled: Notify,
}

impl Handout {
    /// Adds events and wakes the owner once.
    pub(super) fn push(&self, events: Vec<ShardEvent>) {
        if !events.is_empty() {
            self.events.lock().unwrap_or_else(PoisonError::into_inner).extend(events);
            self.filled.notify_one();
        }
    }

    fn pop(&self) -> Option<ShardEvent> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Waits for an event. Cancel-safe: takes it only when it returns it.
    pub(super) async fn next(&self) -> ShardEvent {
        loop {
            if let Some(event) = self.pop() {
                return event;
            }
            self.filled.notified().await;
        }
    }
}

/// Wakes a thread.
#[derive(Debug, Default)]
pub(super) struct Signal {
    raised: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Signal {
    /// Ends a wait, now or the next one.
    pub(super) fn wake(&self) {
        let mut raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        if !raised.0 {
            raised.0 = true;
            self.changed.notify_one();
        }
    }

    /// Ends this and every later wait.
    pub(super) fn stop(&self) {
        let mut raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        *raised = (true, true);
        self.changed.notify_all();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.raised.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    /// Waits for [`Self::wake`], `timeout` at most; `false` when it is time to stop.
    pub(super) fn wait(&self, timeout: Duration) -> bool {
        let mut raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        if !raised.0 {
            raised = self.changed.wait_timeout(raised, timeout).unwrap_or_else(PoisonError::into_inner).0;
        }
        raised.0 = raised.1;
        !raised.1
    }
}

/// Plain numbers for metrics, since the start.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) batches: AtomicU64,
    pub(super) frames: AtomicU64,
    pub(super) octets: AtomicU64,
    pub(super) sync_us: AtomicU64,
    pub(super) rolls: AtomicU64,
    pub(super) compacted: AtomicU64,
    pub(super) read_back: AtomicU64,
}
