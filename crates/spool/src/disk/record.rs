//! What frames hold: from words to frames, and back.

use bytes::{Bytes, BytesMut};
use prost::Message;
use sluice_mail::{Attempt, Envelope, Event, Fate, UnixMs};
use sluice_proto::{ConvertError, record};

use super::frame::{Builder, Frame, Kind, Range};

/// A frame and where its records lie in it.
pub(super) type Built = (Frame, Vec<Range>);

/// A notification that goes into a wait frame.
#[derive(Clone, Debug)]
pub(super) struct Note {
    pub(super) key: u64,
    pub(super) envelope: Envelope,
    pub(super) body: Bytes,
}

/// The events that a wait frame tells.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    pub(super) attempt: Option<Box<Attempt>>,
    pub(super) fate: Option<Box<Fate>>,
}

/// All envelopes of a message; keys from `first_key` on.
pub(super) fn enqueue(envelopes: &[Envelope], first_key: u64, body: Bytes, body_crc: u32) -> Built {
    let mut builder = Builder::new(Kind::Enqueue, first_key, &());
    let keyed = envelopes.iter().zip(first_key..);
    let ranges = keyed.map(|(e, key)| builder.record(&kept(key, e.not_before, e))).collect();
    (builder.finish(body, Some(body_crc)), ranges)
}

/// The end of an envelope, whose key is filled in as the subject later.
pub(super) fn fate(fate: &Fate) -> Frame {
    Builder::new(Kind::Fate, 0, &record::Fate::from(fate)).finish(Bytes::new(), None)
}

/// What remains of the envelope `key`, with its due time, notifications, and what is told of it.
pub(super) fn wait(key: u64, remains: Option<(&Envelope, UnixMs)>, notes: &[Note], told: &Told) -> Built {
    let head = record::WaitHead {
        remains: remains.is_some(),
        fate: told.fate.as_deref().map(Into::into),
        body_lens: notes.iter().map(|note| note.body.len() as u32).collect(),
        ends: remains.is_none() && told.fate.is_some(),
        attempt: told.attempt.as_deref().map(Into::into),
    };
    let mut builder = Builder::new(Kind::Wait, key, &head);
    let mut ranges = Vec::with_capacity(notes.len() + 1);
    ranges.extend(remains.map(|(envelope, due)| builder.record(&kept(key, due, envelope))));
    ranges.extend(notes.iter().map(|n| builder.record(&kept(n.key, n.envelope.not_before, &n.envelope))));
    let body = match notes {
        [] => Bytes::new(),
        [one] => one.body.clone(),
        several => several
            .iter()
            .fold(BytesMut::new(), |mut all, n| {
                all.extend_from_slice(&n.body);
                all
            })
            .freeze(),
    };
    (builder.finish(body, None), ranges)
}

/// A waiting record as it is, for a segment that is given up.
pub(super) fn wait_copy(kept: &record::Kept) -> Built {
    let head = record::WaitHead { remains: true, ..record::WaitHead::default() };
    let mut builder = Builder::new(Kind::Wait, kept.key, &head);
    let range = builder.record(kept);
    (builder.finish(Bytes::new(), None), vec![range])
}

/// Envelopes of one body as they are, for a segment that is given up.
pub(super) fn moved(kept: &[record::Kept], body: Bytes, body_crc: u32) -> Built {
    let mut builder = Builder::new(Kind::Moved, 0, &());
    let ranges = kept.iter().map(|kept| builder.record(kept)).collect();
    (builder.finish(body, Some(body_crc)), ranges)
}

/// The first frame of a segment.
pub(super) fn checkpoint(head: &record::Checkpoint) -> Frame {
    Builder::new(Kind::Checkpoint, 0, head).finish(Bytes::new(), None)
}

/// As a reader's position: the reader is forgotten.
pub(super) const FORGOTTEN: u64 = u64::MAX;

/// How far a reader of events has come.
pub(super) fn reader(name: &str, position: u64) -> Frame {
    let head = record::ReaderPosition { name: name.to_owned(), position };
    Builder::new(Kind::Reader, 0, &head).finish(Bytes::new(), None)
}

/// The segment is given up.
pub(super) fn retire(segment: u32) -> Frame {
    Builder::new(Kind::Retire, u64::from(segment), &()).finish(Bytes::new(), None)
}

/// Which envelopes of the segment are gone from it.
pub(super) fn gone(segment: u32, bits: Vec<u8>) -> Frame {
    Builder::new(Kind::Gone, u64::from(segment), &record::Gone { bits }).finish(Bytes::new(), None)
}

fn kept(key: u64, due: UnixMs, envelope: &Envelope) -> record::Kept {
    record::Kept { key, due_ms: due.0, envelope: Some(envelope.into()) }
}

/// The envelope in a record, if it is the one named `key`.
pub(super) fn envelope(bytes: &[u8], key: u64) -> Result<Envelope, String> {
    let kept = record::Kept::decode(bytes).map_err(|e| e.to_string())?;
    if kept.key != key {
        return Err(format!("the record is of envelope {}, not {key}", kept.key));
    }
    let envelope = kept.envelope.ok_or("the record holds no envelope")?;
    envelope.try_into().map_err(|e: ConvertError| e.to_string())
}

/// The events in the head of a frame, in order.
pub(super) fn events_in(kind: Kind, head: &[u8]) -> Result<impl Iterator<Item = Event>, String> {
    let (attempt, fate) = match kind {
        Kind::Fate => (None, Some(record::Fate::decode(head).map_err(|e| e.to_string())?)),
        Kind::Wait => {
            let head = record::WaitHead::decode(head).map_err(|e| e.to_string())?;
            (head.attempt, head.fate)
        }
        Kind::Enqueue | Kind::Moved | Kind::Checkpoint | Kind::Reader | Kind::Retire | Kind::Gone => (None, None),
    };
    let attempt = attempt.map(Attempt::try_from).transpose().map_err(|e| e.to_string())?;
    let fate = fate.map(Fate::try_from).transpose().map_err(|e| e.to_string())?;
    let attempt = attempt.map(|attempt| Event::Attempt(Box::new(attempt)));
    Ok(attempt.into_iter().chain(fate.map(|fate| Event::Fate(Box::new(fate)))))
}

/// The fate among the events in the head of a frame.
pub(super) fn fate_in(kind: Kind, head: &[u8]) -> Option<Fate> {
    let is_fate = |event| match event {
        Event::Fate(fate) => Some(*fate),
        Event::Attempt(_) => None,
    };
    events_in(kind, head).ok()?.find_map(is_fate)
}
