//! The ports for accepting and for owning shards.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use crc32c::crc32c;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use sluice_mail::{Envelope, Fate, Shard, UnixMs};
use tokio::sync::oneshot;

use super::Disk;
use super::index::Phase;
use super::pump::Source;
use super::queue::{Done, Effect, Entry, Rest};
use super::record::{self, Note, Told};
use super::shared::Shared;
use super::state::State;
use crate::{
    Accepted, BodyError, Decision, EnqueueError, NewMessage, Part, SettleError, ShardEvent, ShardSource, Spool, Ticket,
    Window, WorkId,
};

impl Spool for Disk {
    fn enqueue(&self, message: NewMessage) -> BoxFuture<'static, Result<Accepted, EnqueueError>> {
        let shared = Arc::clone(&self.shared);
        async move {
            let receiver = enqueue(&shared, message)?;
            receiver.await.unwrap_or(Err(EnqueueError::Closing))
        }
        .boxed()
    }

    fn room(&self, bytes: u64) -> Result<(), EnqueueError> {
        check_room(&self.shared, 1, bytes)
    }
}

fn enqueue(
    shared: &Shared,
    message: NewMessage,
) -> Result<oneshot::Receiver<Result<Accepted, EnqueueError>>, EnqueueError> {
    let NewMessage { mut envelopes, body } = message;
    let count = envelopes.len() as u64;
    check_room(shared, count, body.len() as u64)?;
    let Some(queue_id) = envelopes.first().map(|e| e.queue_id.message()) else {
        return Err(EnqueueError::Full("a message without recipients cannot be kept".to_owned()));
    };
    let body_crc = crc32c(&body);
    for envelope in &mut envelopes {
        (envelope.size, envelope.body_crc) = (body.len() as u32, body_crc);
    }
    let first_key = shared.next_key.fetch_add(count, Ordering::Relaxed);
    let (frame, ranges) = record::enqueue(&envelopes, first_key, body, body_crc);
    if frame.len() > shared.config.frame_max() {
        return Err(EnqueueError::Full(format!("{} octets are more than a segment of the spool holds", frame.len())));
    }
    shared.room.envelopes.fetch_add(count, Ordering::Relaxed);
    shared.room.coming.fetch_add(frame.len(), Ordering::Relaxed);
    let (sender, receiver) = oneshot::channel();
    let effect = Effect::Enqueue { envelopes, first_key, ranges, body_crc };
    shared.queue.push(Entry { frame, effect, done: Done::Enqueue(sender, queue_id) });
    Ok(receiver)
}

fn check_room(shared: &Shared, envelopes: u64, bytes: u64) -> Result<(), EnqueueError> {
    if shared.queue.is_closing() {
        return Err(EnqueueError::Closing);
    }
    if let Some(reason) = shared.poisoned.borrow().as_ref() {
        return Err(EnqueueError::Poisoned(reason.to_string()));
    }
    let (room, config) = (&shared.room, &shared.config);
    if room.envelopes.load(Ordering::Relaxed) + envelopes > config.max_envelopes {
        return Err(EnqueueError::Full(format!("{} envelopes wait, which is the cap", config.max_envelopes)));
    }
    let used = room.used.load(Ordering::Relaxed) + room.coming.load(Ordering::Relaxed);
    if used + bytes > config.max_bytes {
        return Err(EnqueueError::Full(format!("{used} octets are used of {}", config.max_bytes)));
    }
    if room.disk_full.load(Ordering::Relaxed) {
        if !shared.prepared.has_room() {
            return Err(EnqueueError::Full("the disk has no room for another segment".to_owned()));
        }
        room.disk_full.store(false, Ordering::Relaxed);
    }
    Ok(())
}

impl ShardSource for Disk {
    fn next(&self) -> BoxFuture<'_, ShardEvent> {
        self.shared.next().boxed()
    }

    fn body(&self, work: WorkId) -> BoxFuture<'_, Result<Bytes, BodyError>> {
        let state = self.shared.state();
        let Some(slot) = state.outstanding(work) else { return ready(Err(BodyError::Unknown)).boxed() };
        if let Some(body) = state.warm.body(slot) {
            return ready(Ok(body)).boxed();
        }
        drop(state);
        let shared = Arc::clone(&self.shared);
        let job = self.shared.jobs.run(move || read_body(&shared, work));
        async move { job.await.unwrap_or_else(|| Err(BodyError::Unreadable("the spool is closed".to_owned()))) }.boxed()
    }

    fn settle(&self, work: WorkId, decision: Decision) -> Ticket {
        match decision {
            Decision::Done(fate) => self.settle_fate(work, &fate),
            Decision::Wait(parts) => self.settle_wait(work, parts),
            Decision::Divert { eta } => {
                let now = self.shared.wall();
                self.put(work, |state, slot| {
                    state.schedule.release(&state.index, slot);
                    state.schedule.put(&mut state.index, slot, now.plus(eta), now);
                })
            }
        }
    }

    fn give_back(&self, work: WorkId) {
        drop(self.put(work, |state, slot| state.schedule.put_back(&mut state.index, slot)));
    }

    fn window(&self, shard: Shard, window: Window) {
        if shard != Shard(0) {
            return;
        }
        let mut state = self.shared.state();
        let State { index, schedule, .. } = &mut *state;
        schedule.set_window(index, window);
        self.shared.dispatch(state);
    }

    fn may_send(&self, shard: Shard) -> bool {
        shard == Shard(0) && self.shared.poisoned.borrow().is_none()
    }
}

impl Disk {
    /// Puts outstanding work back without a record.
    fn put(&self, work: WorkId, how: impl FnOnce(&mut State, u32)) -> Ticket {
        let mut state = self.shared.state();
        let Some(slot) = state.outstanding(work) else { return unknown() };
        state.warm.forget(slot);
        how(&mut state, slot);
        self.shared.dispatch(state);
        ready(Ok(())).boxed()
    }

    fn settle_fate(&self, work: WorkId, fate: &Fate) -> Ticket {
        let mut frame = record::fate(fate);
        let queue_id = fate.about.queue_id;
        self.decide(work, move |state, slot| {
            frame.subject = state.index.slot(slot).key;
            (frame, Effect::Fate { slot, queue_id })
        })
    }

    fn settle_wait(&self, work: WorkId, parts: Vec<Part>) -> Ticket {
        let now = self.shared.wall();
        let state = self.shared.state();
        let Some(slot) = state.outstanding(work) else { return unknown() };
        let key = state.index.slot(slot).key;
        drop(state);
        let Parts { remains, notes, told } = self.sort(parts, now);
        if remains.is_none() && notes.is_empty() {
            // Nothing was decided.
            return self.put(work, |state, slot| state.schedule.put_back(&mut state.index, slot));
        }
        let without = if told.fate.is_some() { Rest::Ends } else { Rest::Stays };
        let (frame, ranges) = record::wait(key, remains.as_ref().map(|(e, due)| (&**e, *due)), &notes, &told);
        let mut ranges = ranges.into_iter();
        let remains = remains.and_then(|(_, due)| Some(Rest::Remains(ranges.next()?, due)));
        let rest = remains.unwrap_or(without);
        let notes = notes.into_iter().zip(ranges).collect();
        let (attempt, fate) = (told.attempt.is_some(), told.fate.map(|fate| fate.about.queue_id));
        self.decide(work, move |_, slot| (frame, Effect::Wait { slot, rest, notes, attempt, fate }))
    }

    fn sort(&self, parts: Vec<Part>, now: UnixMs) -> Parts {
        let mut sorted = Parts { remains: None, notes: Vec::new(), told: Told::default() };
        for part in parts {
            match part {
                Part::Remaining { envelope, delay } => sorted.remains = Some((envelope, now.plus(delay))),
                Part::Notification { envelope, body, fate } => {
                    let key = self.shared.next_key.fetch_add(1, Ordering::Relaxed);
                    let mut envelope = *envelope;
                    (envelope.size, envelope.body_crc) = (body.len() as u32, crc32c(&body));
                    sorted.notes.push(Note { key, envelope, body });
                    sorted.told.fate = sorted.told.fate.or(fate);
                }
                Part::Attempt(attempt) => sorted.told.attempt = Some(attempt),
            }
        }
        sorted
    }

    /// Queues the deciding frame of outstanding work. Frame and phase change under one hold of the lock, so that
    /// no copy of the envelope can come behind it in the log.
    fn decide(&self, work: WorkId, build: impl FnOnce(&State, u32) -> (super::frame::Frame, Effect)) -> Ticket {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.shared.state();
        let Some(slot) = state.outstanding(work) else { return unknown() };
        let State { index, schedule, warm, .. } = &mut *state;
        warm.forget(slot);
        schedule.release(index, slot);
        index.set_phase(slot, Phase::Settling);
        let (frame, effect) = build(&state, slot);
        self.shared.queue.push(Entry { frame, effect, done: Done::Settle(sender) });
        self.shared.dispatch(state);
        let closed = || Err(SettleError::Poisoned("the spool is closed".to_owned()));
        async move { receiver.await.unwrap_or_else(|_| closed()) }.boxed()
    }
}

struct Parts {
    remains: Option<(Box<Envelope>, UnixMs)>,
    notes: Vec<Note>,
    told: Told,
}

fn unknown() -> Ticket {
    ready(Err(SettleError::Unknown)).boxed()
}

fn read_body(shared: &Shared, work: WorkId) -> Result<Bytes, BodyError> {
    let source = || {
        let state = shared.state();
        let slot = state.outstanding(work).ok_or(BodyError::Unknown)?;
        Source::of(&state, slot).ok_or_else(|| BodyError::Unreadable("its segment is gone".to_owned()))
    };
    // Read once more when it was copied meanwhile.
    source()?.body().or_else(|_| source()?.body().map_err(BodyError::Unreadable))
}
