//! Frames: what one looks like on disk, and how one is built before its place is known.
//!
//! ```text
//!  0 magic "SlFr"   4 version   5 kind   6 flags   8 LSN   16 subject   24 index in its batch   28 length of the meta data
//! 32 length of the body   36 CRC of the meta data   40 CRC of the body   44 CRC of these 44 octets, segment id and salt
//! 48 meta data: length of the head, head, records (length, CRC, protobuf), zeros to make the frame's length a multiple of 8
//!    body
//! ```
//! All CRCs are CRC-32C, all numbers little-endian. Meta data and body have CRCs of their own, so that they are
//! summed up where the frame is built and can be checked apart; the header's CRC binds them to their place.
//! Magic, version and the header's CRC stay where they are in every later version.

use bytes::Bytes;
use crc32c::{crc32c, crc32c_append};

/// Octets of a frame's header.
pub(super) const HEADER: usize = 48;
/// The format that this program writes, and the newest that it reads.
pub(super) const VERSION: u8 = 1;
/// Frames begin at multiples of this.
pub(super) const ALIGN: usize = 8;

const MAGIC: [u8; 4] = *b"SlFr";
const LAST: u16 = 1;

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// All envelopes of a message, and its body.
    Enqueue,
    /// An envelope ended. Subject: its key.
    Fate,
    /// An envelope waits again, or ends with notifications. Subject: its key.
    Wait,
    /// Envelopes of one body, copied out of a segment that is given up.
    Moved,
    /// What every new segment begins with.
    Checkpoint,
    /// How far a reader of events has come.
    Reader,
    /// A segment is given up. Subject: its id.
    Retire,
    /// Which envelopes of an older segment are gone. Subject: its id.
    Gone,
}

impl Kind {
    const ALL: [(Self, u8); 8] = [
        (Self::Enqueue, 1),
        (Self::Fate, 2),
        (Self::Wait, 4),
        (Self::Moved, 5),
        (Self::Checkpoint, 6),
        (Self::Reader, 7),
        (Self::Retire, 8),
        (Self::Gone, 9),
    ];

    pub(super) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.iter().find(|(_, c)| *c == code).map(|(kind, _)| *kind)
    }

    fn code(self) -> u8 {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or(0, |(_, code)| *code)
    }
}

/// Which file a frame belongs to: part of its CRC, so that what a recycled file held before is no frame of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// The segment's id, never used twice.
    pub(super) segment: u32,
    /// Drawn for each use of a file; nobody outside can make a body that looks like a frame of it.
    pub(super) salt: u64,
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) version: u8,
    pub(super) kind: u8,
    /// The last frame of its batch.
    pub(super) last: bool,
    pub(super) lsn: u64,
    pub(super) subject: u64,
    /// Place in its batch, from 0.
    pub(super) index: u32,
    pub(super) meta_len: u32,
    pub(super) body_len: u32,
    pub(super) meta_crc: u32,
    pub(super) body_crc: u32,
}

impl Header {
    /// Octets of the whole frame.
    pub(super) fn frame_len(&self) -> u64 {
        HEADER as u64 + u64::from(self.meta_len) + u64::from(self.body_len)
    }

    /// LSN of the first frame of its batch.
    pub(super) fn batch(&self) -> u64 {
        self.lsn.saturating_sub(u64::from(self.index))
    }

    /// Writes the header to the first [`HEADER`] octets of `out`.
    pub(super) fn write(&self, identity: Identity, out: &mut [u8]) {
        let flags = if self.last { LAST } else { 0 };
        out[0..4].copy_from_slice(&MAGIC);
        out[4] = self.version;
        out[5] = self.kind;
        out[6..8].copy_from_slice(&flags.to_le_bytes());
        out[8..16].copy_from_slice(&self.lsn.to_le_bytes());
        out[16..24].copy_from_slice(&self.subject.to_le_bytes());
        out[24..28].copy_from_slice(&self.index.to_le_bytes());
        out[28..32].copy_from_slice(&self.meta_len.to_le_bytes());
        out[32..36].copy_from_slice(&self.body_len.to_le_bytes());
        out[36..40].copy_from_slice(&self.meta_crc.to_le_bytes());
        out[40..44].copy_from_slice(&self.body_crc.to_le_bytes());
        let crc = header_crc(&out[..44], identity);
        out[44..48].copy_from_slice(&crc.to_le_bytes());
    }

    /// The header at the start of `bytes` if one of this segment is there, whatever its version.
    pub(super) fn read(bytes: &[u8], identity: Identity) -> Option<Self> {
        let bytes = bytes.get(..HEADER)?;
        if bytes[..4] != MAGIC || u32_at(bytes, 44) != header_crc(&bytes[..44], identity) {
            return None;
        }
        Some(Self {
            version: bytes[4],
            kind: bytes[5],
            last: bytes[6] & 1 != 0,
            lsn: u64_at(bytes, 8),
            subject: u64_at(bytes, 16),
            index: u32_at(bytes, 24),
            meta_len: u32_at(bytes, 28),
            body_len: u32_at(bytes, 32),
            meta_crc: u32_at(bytes, 36),
            body_crc: u32_at(bytes, 40),
        })
    }
}

fn header_crc(bytes: &[u8], identity: Identity) -> u32 {
    let mut place = [0u8; 12];
    place[..4].copy_from_slice(&identity.segment.to_le_bytes());
    place[4..].copy_from_slice(&identity.salt.to_le_bytes());
    crc32c_append(crc32c(bytes), &place)
}

/// Four octets as a number; the caller has checked the length.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

/// Eight octets as a number; the caller has checked the length.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(eight)
}

/// A part of a frame's meta data, by offset from the frame's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) at: u32,
    pub(super) len: u32,
}

/// A frame whose place in the log is not known yet.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) subject: u64,
    /// Room for the header, then the meta data.
    pub(super) head: Vec<u8>,
    pub(super) body: Bytes,
    meta_crc: u32,
    body_crc: u32,
}

impl Frame {
    /// Octets on disk.
    pub(super) fn len(&self) -> u64 {
        (self.head.len() + self.body.len()) as u64
    }

    /// Writes the header, now that the place is known.
    pub(super) fn place(&mut self, identity: Identity, lsn: u64, index: u32, last: bool) {
        let header = Header {
            version: VERSION,
            kind: self.kind.code(),
            last,
            lsn,
            subject: self.subject,
            index,
            meta_len: (self.head.len() - HEADER) as u32,
            body_len: self.body.len() as u32,
            meta_crc: self.meta_crc,
            body_crc: self.body_crc,
        };
        header.write(identity, &mut self.head);
    }
}

/// Builds a frame: head first, then records, then the body.
#[derive(Debug)]
pub(super) struct Builder {
    kind: Kind,
    subject: u64,
    head: Vec<u8>,
}

impl Builder {
    /// A frame of `kind` whose head is what `head` encodes.
    pub(super) fn new(kind: Kind, subject: u64, head: &impl prost::Message) -> Self {
        let len = head.encoded_len();
        let mut bytes = Vec::with_capacity(HEADER + 4 + len + 512);
        bytes.resize(HEADER, 0);
        bytes.extend_from_slice(&(len as u32).to_le_bytes());
        head.encode_raw(&mut bytes);
        Self { kind, subject, head: bytes }
    }

    /// Adds a record; where it lies in the frame.
    pub(super) fn record(&mut self, record: &impl prost::Message) -> Range {
        let at = self.open_record();
        record.encode_raw(&mut self.head);
        self.close_record(at)
    }

    fn open_record(&mut self) -> usize {
        let at = self.head.len();
        self.head.extend_from_slice(&[0; 8]);
        at
    }

    fn close_record(&mut self, at: usize) -> Range {
        let len = (self.head.len() - at - 8) as u32;
        let crc = crc32c(&self.head[at + 8..]);
        self.head[at..at + 4].copy_from_slice(&len.to_le_bytes());
        self.head[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
        Range { at: at as u32, len: len + 8 }
    }

    /// The frame, with its body (whose CRC-32C the caller may know already).
    pub(super) fn finish(mut self, body: Bytes, body_crc: Option<u32>) -> Frame {
        let len = self.head.len() + body.len();
        self.head.resize(self.head.len() + len.next_multiple_of(ALIGN) - len, 0);
        let meta_crc = crc32c(&self.head[HEADER..]);
        let body_crc = body_crc.unwrap_or_else(|| crc32c(&body));
        Frame { kind: self.kind, subject: self.subject, head: self.head, body, meta_crc, body_crc }
    }
}

/// The head in a frame's meta data.
pub(super) fn head(meta: &[u8]) -> Option<&[u8]> {
    let len = u32_at(meta.get(..4)?, 0) as usize;
    meta.get(4..4 + len)
}

/// The records in a frame's meta data, each with its place in the frame; stops at the first that is no record.
pub(super) fn records(meta: &[u8]) -> impl Iterator<Item = (Range, &[u8])> {
    let mut at = head(meta).map_or(meta.len(), |head| 4 + head.len());
    std::iter::from_fn(move || {
        let prefix = meta.get(at..at + 8)?;
        let len = u32_at(prefix, 0) as usize;
        let record = meta.get(at + 8..at + 8 + len)?;
        let range = Range { at: (HEADER + at) as u32, len: (8 + len) as u32 };
        at += 8 + len;
        Some((range, record))
    })
}

/// The record in `bytes`, which begin with its length and CRC, if it is whole.
pub(super) fn checked_record(bytes: &[u8]) -> Option<&[u8]> {
    let prefix = bytes.get(..8)?;
    let record = bytes.get(8..8 + u32_at(prefix, 0) as usize)?;
    (crc32c(record) == u32_at(prefix, 4)).then_some(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_proto::record::{Kept, ReaderPosition};

    const HERE: Identity = Identity { segment: 7, salt: 9 };

    fn sample() -> Frame {
        let mut builder = Builder::new(Kind::Enqueue, 5, &ReaderPosition { name: "n".into(), position: 3 });
        builder.record(&Kept { key: 1, due_ms: 2, envelope: None });
        builder.record(&Kept { key: 2, due_ms: 4, envelope: None });
        let mut frame = builder.finish(Bytes::from_static(b"body"), None);
        frame.place(HERE, 42, 3, true);
        frame
    }

    #[test]
    fn a_frame_reads_back_as_it_was_built() {
        let frame = sample();
        assert_eq!(frame.len() % ALIGN as u64, 0);
        let header = Header::read(&frame.head, HERE).unwrap();
        assert_eq!(header.frame_len(), frame.len());
        assert_eq!((header.lsn, header.batch(), header.subject, header.last), (42, 39, 5, true));
        assert_eq!(Kind::from_code(header.kind), Some(Kind::Enqueue));
        let meta = &frame.head[HEADER..];
        assert_eq!((crc32c(meta), crc32c(&frame.body)), (header.meta_crc, header.body_crc));
        let reader: ReaderPosition = prost::Message::decode(head(meta).unwrap()).unwrap();
        assert_eq!((reader.name.as_str(), reader.position), ("n", 3));
        let keys: Vec<u64> = records(meta)
            .map(|(range, _)| {
                let bytes = &frame.head[range.at as usize..(range.at + range.len) as usize];
                let kept: Kept = prost::Message::decode(checked_record(bytes).unwrap()).unwrap();
                kept.key
            })
            .collect();
        assert_eq!(keys, [1, 2]);
    }

    #[test]
    fn no_bit_of_a_header_can_change_and_no_other_segment_takes_it() {
        let frame = sample();
        for bit in 0..HEADER * 8 {
            let mut bytes = frame.head.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::read(&bytes, HERE), None, "bit {bit}");
        }
        assert_eq!(Header::read(&frame.head, Identity { segment: 8, ..HERE }), None);
        assert_eq!(Header::read(&frame.head, Identity { salt: 8, ..HERE }), None);
    }
}
