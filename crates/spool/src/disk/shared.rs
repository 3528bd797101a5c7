//! What the engine's threads and its callers share.

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
    /// Wakes the owner: there are events.
    pub(super) handed: Notify,
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
            handed: Notify::new(),
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
        state.fill();
        let (reads, events) = (!state.to_read.is_empty(), !state.handout.is_empty());
        drop(state);
        if events {
            self.handed.notify_one();
        }
        if reads {
            self.pump.wake();
        }
    }

    /// Waits for an event. Cancel-safe: takes it only when it returns it.
    pub(super) async fn next(&self) -> ShardEvent {
        loop {
            if let Some(event) = self.hand_out() {
                return event;
            }
            self.handed.notified().await;
        }
    }

    fn hand_out(&self) -> Option<ShardEvent> {
        self.state().hand_out()
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
        self.state().handout.push_back(ShardEvent::Lost(Shard(0)));
        self.handed.notify_one();
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
