//! The thread that makes due what is due, and reads back from disk what is to be handed out and is not in memory.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use crc32c::crc32c;
use sluice_mail::Envelope;

use super::files::File;
use super::frame;
use super::index::{Loc, Phase};
use super::record;
use super::shared::Shared;
use super::state::{Staged, State, work};
use super::warm::BODY_AT_HAND;
use crate::ShardEvent;

/// The wall clock can be set: timers are looked at this often at least.
const PAUSE: Duration = Duration::from_millis(200);
/// Envelopes made due under one hold of the lock.
const TICK_MAX: usize = 4096;
/// Envelopes read between two looks at the timers.
const READ_MAX: usize = 64;
/// An envelope and its body are read at once when they lie this close together.
const SPAN_MAX: u32 = 128 << 10;
/// So much more than a body may stay in memory with it.
const NEAR: u64 = 4 << 10;
/// When an envelope that cannot be read is looked at again.
const UNREADABLE_AGAIN: Duration = Duration::from_secs(3600);

/// Where a slot's record and body lie.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) key: u64,
    pub(super) meta: Loc,
    pub(super) body: Loc,
    pub(super) body_crc: u32,
    pub(super) meta_file: Arc<dyn File>,
    pub(super) body_file: Arc<dyn File>,
}

impl Source {
    /// Where the envelope in `slot` lies now.
    pub(super) fn of(state: &State, slot: u32) -> Option<Self> {
        let slot = state.index.slot(slot);
        let file = |segment| state.index.segment(segment).map(|s| Arc::clone(&s.file));
        Some(Self {
            key: slot.key,
            meta: slot.meta,
            body: slot.body,
            body_crc: slot.body_crc,
            meta_file: file(slot.meta.segment)?,
            body_file: file(slot.body.segment)?,
        })
    }

    /// Reads the envelope alone.
    pub(super) fn envelope(&self) -> Result<Envelope, String> {
        self.decode(&read(&*self.meta_file, self.meta)?)
    }

    /// Reads the body alone.
    pub(super) fn body(&self) -> Result<Bytes, String> {
        self.checked(read(&*self.body_file, self.body)?.into())
    }

    /// Reads the envelope, and the body when it is short.
    fn both(&self) -> Result<(Envelope, Option<Bytes>), String> {
        if self.body.len as usize > BODY_AT_HAND {
            return Ok((self.envelope()?, None));
        }
        let span =
            u64::from(self.body.at) + u64::from(self.body.len) - u64::from(self.meta.at).min(u64::from(self.body.at));
        if self.meta.segment != self.body.segment || self.meta.at > self.body.at || span > u64::from(SPAN_MAX) {
            return Ok((self.envelope()?, Some(self.body()?)));
        }
        let all: Bytes = read(&*self.meta_file, Loc { len: span as u32, ..self.meta })?.into();
        let envelope = self.decode(all.get(..self.meta.len as usize).unwrap_or_default())?;
        let body = self.checked(all.slice((self.body.at - self.meta.at) as usize..))?;
        // What lies between, records of other domains, must not stay in memory with it.
        let is_far = span > 2 * u64::from(self.body.len) + NEAR;
        Ok((envelope, Some(if is_far { Bytes::copy_from_slice(&body) } else { body })))
    }

    fn decode(&self, bytes: &[u8]) -> Result<Envelope, String> {
        let bytes = frame::checked_record(bytes).ok_or("the record does not match its checksum")?;
        record::envelope(bytes, self.key)
    }

    fn checked(&self, body: Bytes) -> Result<Bytes, String> {
        if crc32c(&body) == self.body_crc { Ok(body) } else { Err("the body does not match its checksum".to_owned()) }
    }
}

fn read(file: &dyn File, at: Loc) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0u8; at.len as usize];
    let n = file.read_at(&mut bytes, u64::from(at.at)).map_err(|e| e.to_string())?;
    if n == bytes.len() { Ok(bytes) } else { Err("the file ends before the record does".to_owned()) }
}

fn source(state: &State, staged: &Staged) -> Option<Source> {
    match staged {
        Staged::ToRead(slot, _) => Source::of(state, *slot),
        Staged::AtHand(_) => None,
    }
}

/// Held by its thread.
pub(super) struct Pump {
    shared: Arc<Shared>,
}

impl Pump {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The thread.
    pub(super) fn run(self) {
        let mut pause = PAUSE;
        while self.shared.pump.wait(pause) {
            while self.step() {
                if self.shared.pump.is_stopped() {
                    return;
                }
            }
            pause = self.pause();
        }
    }

    fn pause(&self) -> Duration {
        let due = self.shared.state().schedule.next_due();
        due.map_or(PAUSE, |due| due.since(self.shared.wall()).min(PAUSE))
    }

    /// Makes due what is due and reads some of what is to be read; whether there may be more to do.
    pub(super) fn step(&self) -> bool {
        let now = self.shared.wall();
        let mut state = self.shared.state();
        let State { index, schedule, .. } = &mut *state;
        let more = schedule.tick(index, now, TICK_MAX);
        state.fill();
        let count = state.to_read.len().min(READ_MAX);
        let staged: Vec<Staged> = state.to_read.drain(..count).collect();
        state.reading = count > 0;
        let staged: Vec<_> = staged.into_iter().map(|staged| (source(&state, &staged), staged)).collect();
        self.shared.dispatch(state);
        if count > 0 {
            let works: Vec<_> = staged.into_iter().filter_map(|(source, staged)| self.ready(source, staged)).collect();
            let mut state = self.shared.state();
            state.handout.extend(works);
            state.reading = false;
            self.shared.dispatch(state);
        }
        more || count > 0
    }

    fn ready(&self, source: Option<Source>, staged: Staged) -> Option<ShardEvent> {
        match staged {
            Staged::AtHand(work) => Some(work),
            Staged::ToRead(slot, turn) => self.read(slot, turn, source),
        }
    }

    fn read(&self, slot: u32, turn: u32, source: Option<Source>) -> Option<ShardEvent> {
        self.shared.stats.read_back.fetch_add(1, Ordering::Relaxed);
        let read = |source: Option<Source>| source.ok_or("its segment is gone".to_owned())?.both();
        let found = read(source).or_else(|_| {
            // The envelope was copied to another segment meanwhile, and the old one used again.
            read(Source::of(&self.shared.state(), slot))
        });
        match found {
            Ok((envelope, body)) => Some(work(slot, turn, envelope, body)),
            Err(problem) => {
                self.set_aside(slot, &problem);
                None
            }
        }
    }

    fn set_aside(&self, slot: u32, problem: &str) {
        let now = self.shared.wall();
        let mut state = self.shared.state();
        let State { index, schedule, .. } = &mut *state;
        let queue_id = index.slot(slot).queue_id;
        tracing::error!(%queue_id, problem, "an envelope cannot be read back from the spool; it is looked at again in an hour");
        if index.slot(slot).phase == Phase::Staged {
            schedule.release(index, slot);
            schedule.put(index, slot, now.plus(UNREADABLE_AGAIN), now);
        }
        self.shared.dispatch(state);
    }
}
