//! Everything that is held in memory, behind one lock: what is known of envelopes, when they are due, what is at
//! hand of them, what ended lately, how far readers of events are.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;
use sluice_mail::{Envelope, Host, QueueId, Shard, UnixMs};
use sluice_proto::record;

use super::ended::Ended;
use super::frame::{HEADER, Range};
use super::index::{Index, Loc, NewSlot, Phase};
use super::queue::{Effect, Entry, Rest};
use super::record::{FORGOTTEN, Note};
use super::schedule::Schedule;
use super::warm::Warm;
use crate::{ShardEvent, Work, WorkId};

/// Where a reader of events goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) lsn: u64,
    pub(super) segment: u32,
    pub(super) at: u64,
}

/// An envelope that was taken from its list and is handed out by the pump.
#[derive(Debug)]
pub(super) enum Staged {
    /// Slot and turn: it must be read first.
    ToRead(u32, u32),
    /// It only waits for those before it.
    AtHand(ShardEvent),
}

pub(super) struct State {
    pub(super) index: Index,
    pub(super) schedule: Schedule,
    pub(super) warm: Warm,
    pub(super) ended: Ended,
    /// Durable positions of registered readers of events.
    pub(super) readers: BTreeMap<String, u64>,
    /// What each reader of this run read last.
    pub(super) cursors: HashMap<String, Cursor>,
    pub(super) to_read: VecDeque<Staged>,
    /// The pump has taken some of them and has not handed them out yet.
    pub(super) reading: bool,
    /// Events for the owner of the shard, bounded by the window.
    pub(super) handout: VecDeque<ShardEvent>,
    /// A segment may have become fit to be given up.
    pub(super) tidy: bool,
}

impl State {
    /// Hands out what the window has room for: what is at hand as work, the rest to be read.
    pub(super) fn fill(&mut self) {
        while let Some(slot) = self.schedule.take(&mut self.index) {
            let turn = self.index.slot(slot).turn;
            let warm = self.warm.take(slot).map(|(envelope, body)| work(slot, turn, envelope, body));
            match warm {
                // What is at hand does not overtake what is being read.
                Some(work) if self.to_read.is_empty() && !self.reading => self.handout.push_back(work),
                Some(work) => self.to_read.push_back(Staged::AtHand(work)),
                None => self.to_read.push_back(Staged::ToRead(slot, turn)),
            }
        }
    }

    /// The next event for the owner, to whom it is handed out with this.
    pub(super) fn hand_out(&mut self) -> Option<ShardEvent> {
        let event = self.handout.pop_front()?;
        if let ShardEvent::Work(work) = &event {
            self.index.set_phase(split(work.id).0, Phase::Active);
        }
        Some(event)
    }

    /// The slot of outstanding work.
    pub(super) fn outstanding(&self, work: WorkId) -> Option<u32> {
        let (slot, turn) = split(work);
        if slot >= self.index.bound() {
            return None;
        }
        let found = self.index.slot(slot);
        (found.phase == Phase::Active && found.turn == turn).then_some(slot)
    }

    /// The frames of a batch that begins at `place` are durable: makes true what they say.
    pub(super) fn apply(&mut self, mut place: Place, entries: &mut [Entry], now: UnixMs) {
        for entry in entries {
            let len = entry.frame.len();
            self.apply_one(place, entry, now);
            (place.at, place.lsn) = (place.at + len, place.lsn + 1);
        }
        if let Some(info) = self.index.segments.get_mut(&place.segment) {
            (info.end, info.end_lsn) = (place.at, place.lsn);
        }
    }

    fn apply_one(&mut self, place: Place, entry: &mut Entry, now: UnixMs) {
        let head_len = entry.frame.head.len() as u64;
        match std::mem::replace(&mut entry.effect, Effect::Checkpoint) {
            Effect::Enqueue { envelopes, first_key, ranges, body_crc } => {
                let body = place.loc(head_len, entry.frame.body.len());
                let share = envelopes.len() as u16;
                for ((envelope, range), key) in envelopes.into_iter().zip(ranges).zip(first_key..) {
                    let new = Arrival { key, envelope, body: entry.frame.body.clone() };
                    self.arrive(new, (place.record(range), body), (body_crc, share), now);
                }
            }
            Effect::Fate { slot, queue_id } => {
                self.index.remove(slot, place.segment);
                self.fate(place, entry, queue_id);
            }
            Effect::Wait { slot, rest, notes, attempt, fate } => {
                self.wait(place, slot, rest, now);
                self.arrive_notes(place, head_len, notes, now);
                if attempt {
                    self.event(place);
                }
                if let Some(queue_id) = fate {
                    self.fate(place, entry, queue_id);
                }
            }
            Effect::WaitCopied { slot, range } => self.index.replace_meta(slot, place.record(range)),
            Effect::Moved { slots } => {
                let body = place.loc(head_len, entry.frame.body.len());
                let share = slots.len() as u16;
                for (slot, range) in slots {
                    self.index.rehome(slot, place.record(range), body, share);
                }
            }
            Effect::Reader { name, position: FORGOTTEN } => {
                self.readers.remove(&name);
                self.cursors.remove(&name);
                self.tidy = true;
            }
            Effect::Reader { name, position } => {
                let known = self.readers.entry(name).or_default();
                *known = position.max(*known);
                self.tidy = true;
            }
            Effect::Retire { segment } => drop(self.index.segments.remove(&segment)),
            Effect::Gone { segment } => {
                if let Some(info) = self.index.segments.get_mut(&place.segment) {
                    info.ended_in.insert(segment);
                }
            }
            Effect::Checkpoint => {}
        }
    }

    fn arrive(&mut self, new: Arrival, (meta, body): (Loc, Loc), (body_crc, share): (u32, u16), now: UnixMs) {
        let envelope = new.envelope;
        let literal;
        let domain = match &envelope.domain {
            Host::Domain(domain) => domain.as_str(),
            Host::Literal(_) => {
                literal = envelope.domain.to_string();
                &literal
            }
        };
        let slot = self.index.insert(&NewSlot {
            key: new.key,
            queue_id: envelope.queue_id,
            due: envelope.not_before,
            account: &envelope.account,
            domain,
            lane: envelope.lane,
            meta,
            body,
            body_crc,
            share,
        });
        let due = envelope.not_before;
        if due <= now {
            self.warm.put(slot, envelope, new.body);
        }
        self.schedule.put(&mut self.index, slot, due, now);
    }

    fn arrive_notes(&mut self, place: Place, body_at: u64, notes: Vec<(Note, Range)>, now: UnixMs) {
        let mut at = body_at;
        for (note, range) in notes {
            let body = place.loc(at, note.body.len());
            at += note.body.len() as u64;
            let crc = note.envelope.body_crc;
            let new = Arrival { key: note.key, envelope: note.envelope, body: note.body };
            self.arrive(new, (place.record(range), body), (crc, 1), now);
        }
    }

    fn wait(&mut self, place: Place, slot: u32, rest: Rest, now: UnixMs) {
        match rest {
            Rest::Remains(range, due) => {
                self.index.replace_meta(slot, place.record(range));
                self.schedule.put(&mut self.index, slot, due, now);
            }
            Rest::Ends => self.index.remove(slot, place.segment),
            Rest::Stays => self.schedule.put(&mut self.index, slot, now, now),
        }
    }

    fn fate(&mut self, place: Place, entry: &mut Entry, queue_id: QueueId) {
        let head = std::mem::take(&mut entry.frame.head);
        self.ended.push(queue_id, entry.frame.kind, head.get(HEADER..).unwrap_or_default());
        self.event(place);
    }

    /// The frame tells something to the readers of events.
    fn event(&mut self, place: Place) {
        if let Some(info) = self.index.segments.get_mut(&place.segment) {
            info.last_event = Some(place.lsn);
        }
    }

    /// What a new segment begins with. `next_key`: no key from there on was given.
    pub(super) fn checkpoint(&self, next_key: u64, current: Option<u32>) -> record::Checkpoint {
        let segments = self.index.segments.values().filter(|info| Some(info.segment.id()) != current);
        let sealed = segments.map(|info| record::SealedSegment {
            id: u64::from(info.segment.id()),
            end: info.end,
            first_lsn: info.first_lsn,
            end_lsn: info.end_lsn,
            sealed_ms: info.sealed.unwrap_or_default().0,
        });
        let reader =
            |(name, position): (&String, &u64)| record::ReaderPosition { name: name.clone(), position: *position };
        record::Checkpoint { segments: sealed.collect(), readers: self.readers.iter().map(reader).collect(), next_key }
    }
}

struct Arrival {
    key: u64,
    envelope: Envelope,
    body: Bytes,
}

/// Where a frame lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) segment: u32,
    pub(super) at: u64,
    pub(super) lsn: u64,
}

impl Place {
    fn loc(self, offset: u64, len: usize) -> Loc {
        Loc { segment: self.segment, at: (self.at + offset) as u32, len: len as u32 }
    }

    fn record(self, range: Range) -> Loc {
        self.loc(u64::from(range.at), range.len as usize)
    }
}

/// The work of a slot.
pub(super) fn work(slot: u32, turn: u32, envelope: Envelope, body: Option<Bytes>) -> ShardEvent {
    let id = WorkId(u64::from(turn) << 32 | u64::from(slot));
    ShardEvent::Work(Box::new(Work { id, shard: Shard(0), envelope, body }))
}

fn split(work: WorkId) -> (u32, u32) {
    (work.0 as u32, (work.0 >> 32) as u32)
}
