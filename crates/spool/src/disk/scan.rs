//! Reading a segment's frames one after the other, and finding where the log ends.
//!
//! A *batch* is what one write and one `fdatasync` made durable: frames that follow each other, the last one
//! marked. The next batch is written only after the one before is durable. A power cut can therefore leave any
//! part of the very last batch on the disk, in any order, and nothing of a later one. So:
//! - a batch counts only when all its frames are whole; frames of an incomplete last batch are not ours, even
//!   whole ones behind a hole, since none of them was ever acknowledged;
//! - a trace of a *later* batch behind anything that is not whole proves that acknowledged frames are damaged.

use std::io;

use crc32c::{crc32c, crc32c_append};

use super::frame::{ALIGN, HEADER, Header, Kind, VERSION};
use super::segment::{DATA_START, Segment};

/// Read from the file at once.
const CHUNK: usize = 1 << 20;

/// Why a segment cannot be read on.
#[derive(Debug)]
pub(super) enum ScanError {
    /// The system's words.
    Io(io::Error),
    /// A frame of a newer format at that offset.
    Newer(u8, u64),
    /// What is wrong at that offset.
    Bad(u64, &'static str),
}

/// A frame as it was read; its CRCs were right.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) header: Header,
    pub(super) kind: Kind,
    /// Offset of the frame in its segment.
    pub(super) at: u64,
    pub(super) meta: &'a [u8],
}

/// Whether bodies are read and summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bodies {
    Check,
    Skip,
}

/// Reads frames from `at` up to `limit`, which must be the end of a frame.
pub(super) struct Scanner {
    segment: Segment,
    bodies: Bodies,
    at: u64,
    limit: u64,
    buffer: Vec<u8>,
    /// Part of `buffer` that is not consumed; its first octet is the file's at `at`.
    start: usize,
    end: usize,
    meta: Vec<u8>,
    /// Go on behind damage, and note where it was.
    skipping: bool,
    skipped: Vec<(u64, u64)>,
}

impl Scanner {
    pub(super) fn new(segment: &Segment, at: u64, limit: u64, bodies: Bodies) -> Self {
        let chunk = CHUNK.min((limit.saturating_sub(at) as usize).max(HEADER));
        Self {
            segment: segment.clone(),
            bodies,
            at,
            limit,
            buffer: vec![0; chunk],
            start: 0,
            end: 0,
            meta: Vec::new(),
            skipping: false,
            skipped: Vec::new(),
        }
    }

    /// Goes on with the next whole frame behind damage instead of giving an error.
    pub(super) fn skipping_damage(self) -> Self {
        Self { skipping: true, ..self }
    }

    /// Stretches that were skipped.
    pub(super) fn skipped(&self) -> &[(u64, u64)] {
        &self.skipped
    }

    /// Offset of the next frame.
    pub(super) fn position(&self) -> u64 {
        self.at
    }

    fn seek(&mut self, at: u64) {
        (self.at, self.start, self.end) = (at, 0, 0);
    }

    /// The next frame; `None` at the limit.
    pub(super) fn next(&mut self) -> Result<Option<View<'_>>, ScanError> {
        while self.at < self.limit {
            match self.read_frame() {
                Ok((header, kind, at)) => return Ok(Some(View { header, kind, at, meta: &self.meta })),
                Err(ScanError::Bad(at, _)) if self.skipping => self.skip(at)?,
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn skip(&mut self, bad: u64) -> Result<(), ScanError> {
        let mut next = self.limit;
        search_headers(&self.segment, bad + ALIGN as u64, |at, _| {
            next = at.min(self.limit);
            Ok(false)
        })?;
        self.skipped.push((bad, next));
        self.seek(next);
        Ok(())
    }

    fn read_frame(&mut self) -> Result<(Header, Kind, u64), ScanError> {
        let at = self.at;
        let header = self.header(at)?;
        let kind = match Kind::from_code(header.kind) {
            Some(kind) if header.version <= VERSION => kind,
            Some(_) | None => return Err(ScanError::Newer(header.version, at)),
        };
        if header.frame_len() > self.limit - at || !(header.frame_len() as usize).is_multiple_of(ALIGN) {
            return Err(ScanError::Bad(at, "a frame that does not end where it must"));
        }
        self.consume(HEADER);
        self.take_meta(&header, at)?;
        match self.bodies {
            Bodies::Check => self.check_body(&header, at)?,
            Bodies::Skip => self.consume(header.body_len as usize),
        }
        Ok((header, kind, at))
    }

    fn header(&mut self, at: u64) -> Result<Header, ScanError> {
        let here = if self.need(HEADER)? { &self.buffer[self.start..self.end] } else { &[] };
        Header::read(here, self.segment.identity).ok_or(ScanError::Bad(at, "no whole frame header"))
    }

    fn take_meta(&mut self, header: &Header, at: u64) -> Result<(), ScanError> {
        let len = header.meta_len as usize;
        if !self.need(len)? {
            return Err(ScanError::Bad(at, "a frame that is cut off"));
        }
        self.meta.clear();
        self.meta.extend_from_slice(&self.buffer[self.start..self.start + len]);
        self.consume(len);
        if crc32c(&self.meta) == header.meta_crc { Ok(()) } else { Err(ScanError::Bad(at, "damaged meta data")) }
    }

    fn check_body(&mut self, header: &Header, at: u64) -> Result<(), ScanError> {
        let (mut left, mut crc) = (header.body_len as usize, 0);
        while left > 0 {
            if !self.need(1)? {
                return Err(ScanError::Bad(at, "a frame that is cut off"));
            }
            let n = left.min(self.end - self.start);
            crc = crc32c_append(crc, &self.buffer[self.start..self.start + n]);
            self.consume(n);
            left -= n;
        }
        if crc == header.body_crc { Ok(()) } else { Err(ScanError::Bad(at, "a damaged body")) }
    }

    /// Has `n` octets in the buffer; `false` when the file ends before.
    fn need(&mut self, n: usize) -> Result<bool, ScanError> {
        while self.end - self.start < n {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.buffer.len() < n {
                self.buffer.resize(n, 0);
            }
            let room = &mut self.buffer[self.end..];
            let read = self.segment.file.read_at(room, self.at + self.end as u64).map_err(ScanError::Io)?;
            if read == 0 {
                return Ok(false);
            }
            self.end += read;
        }
        Ok(true)
    }

    fn consume(&mut self, n: usize) {
        self.at += n as u64;
        self.start = (self.start + n).min(self.end);
    }
}

/// Whether frames follow each other without a gap.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequence {
    pub(super) lsn: u64,
    index: u32,
}

impl Sequence {
    /// The next frame begins a batch with `lsn`.
    pub(super) fn new(lsn: u64) -> Self {
        Self { lsn, index: 0 }
    }

    /// Takes the next frame; `false` when it is not the one that must follow.
    pub(super) fn follows(&mut self, header: &Header) -> bool {
        if header.lsn != self.lsn || header.index != self.index {
            return false;
        }
        self.lsn += 1;
        self.index = if header.last { 0 } else { self.index + 1 };
        true
    }
}

/// Where the log ends in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// Behind the last complete batch.
    pub(super) end: u64,
    /// Where the last complete batch begins.
    pub(super) last_batch: u64,
    /// LSN of the next frame.
    pub(super) lsn: u64,
    pub(super) first_lsn: u64,
    /// Whole frame headers of an incomplete batch lie behind the end: nothing may be appended there.
    pub(super) dirty: bool,
}

/// Finds the end of the log in its last segment. `None`: not even the first batch is complete.
/// Anything that proves damage to acknowledged frames is an error.
pub(super) fn find_tail(segment: &Segment) -> Result<Option<Tail>, ScanError> {
    let mut scanner = Scanner::new(segment, DATA_START, segment.capacity, Bodies::Check);
    let mut tail: Option<Tail> = None;
    let mut sequence: Option<Sequence> = None;
    let mut batch_at = DATA_START;
    let problem = loop {
        match scanner.next() {
            Ok(Some(view)) => {
                let (at, header) = (view.at, view.header);
                if !sequence.get_or_insert_with(|| Sequence::new(header.lsn)).follows(&header) {
                    break Some(at);
                }
                if header.last {
                    let first_lsn = tail.map_or(header.batch(), |t| t.first_lsn);
                    let end = at + header.frame_len();
                    tail = Some(Tail { end, last_batch: batch_at, lsn: header.lsn + 1, first_lsn, dirty: false });
                    batch_at = end;
                }
            }
            Ok(None) => break None,
            Err(ScanError::Bad(at, _)) => break Some(at),
            Err(error @ (ScanError::Io(_) | ScanError::Newer(..))) => return Err(error),
        }
    };
    let end = tail.map_or(DATA_START, |t| t.end);
    let dirty = leftovers(segment, end, tail.map(|t| t.lsn), problem.unwrap_or(end))?;
    Ok(tail.map(|t| Tail { dirty, ..t }))
}

/// Looks behind the last complete batch, where the next LSN is `lsn`: traces of the batch that begins with it
/// are fine, of a later one are not. Without `lsn`, all traces must be of one batch.
pub(super) fn leftovers(segment: &Segment, end: u64, lsn: Option<u64>, problem: u64) -> Result<bool, ScanError> {
    let mut lost_batch = lsn;
    let mut found = false;
    search_headers(segment, end, |at, header| {
        if header.version > VERSION {
            return Err(ScanError::Newer(header.version, at));
        }
        found = true;
        if header.batch() > *lost_batch.get_or_insert(header.batch()) {
            return Err(ScanError::Bad(problem, "damaged frames, with later ones behind them"));
        }
        Ok(true)
    })?;
    Ok(found)
}

/// Calls `each` for every whole header of this segment from `from` on, until it says `false`.
pub(super) fn search_headers(
    segment: &Segment,
    from: u64,
    mut each: impl FnMut(u64, Header) -> Result<bool, ScanError>,
) -> Result<(), ScanError> {
    let mut buffer = vec![0u8; CHUNK.min(segment.capacity as usize)];
    let mut at = from;
    while at < segment.capacity {
        let len = (segment.capacity - at).min(buffer.len() as u64) as usize;
        let read = segment.file.read_at(&mut buffer[..len], at).map_err(ScanError::Io)?;
        let mut i = 0;
        while i + HEADER <= read {
            if let Some(header) = Header::read(&buffer[i..read], segment.identity)
                && !each(at + i as u64, header)?
            {
                return Ok(());
            }
            i += ALIGN;
        }
        if read < buffer.len() || i == 0 {
            return Ok(());
        }
        at += i as u64;
    }
    Ok(())
}
