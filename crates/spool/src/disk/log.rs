//! The end of the log: appends batches to the segment that is written now.

use std::io::{self, IoSlice};

use super::queue::Entry;
use super::segment::{DATA_START, Segment};

/// Octets per batch, unless one frame alone is longer.
const BATCH_MAX: u64 = 4 << 20;
/// Frames per batch.
const FRAMES_MAX: usize = 4096;

/// Writes one segment at a time. Owned by the committer.
pub(super) struct Log {
    segment: Segment,
    at: u64,
    lsn: u64,
}

/// Room at the end of a segment that only housekeeping frames may use, so that segments can be given up when
/// there is no other room left.
pub(super) fn slack(capacity: u64) -> u64 {
    (capacity / 16).min(256 << 10)
}

/// The longest frame that fits into a segment beside a checkpoint of `checkpoint` octets.
pub(super) fn frame_max(capacity: u64, checkpoint: u64) -> u64 {
    capacity.saturating_sub(DATA_START + slack(capacity) + checkpoint)
}

impl Log {
    /// Goes on in `segment` at `at` with `lsn`.
    pub(super) fn new(segment: Segment, at: u64, lsn: u64) -> Self {
        Self { segment, at, lsn }
    }

    /// The segment that is written now.
    pub(super) fn segment(&self) -> &Segment {
        &self.segment
    }

    pub(super) fn lsn(&self) -> u64 {
        self.lsn
    }

    /// Whether the frame still goes into this segment.
    pub(super) fn fits(&self, entry: &Entry) -> bool {
        self.fits_after(0, entry)
    }

    /// The same behind `before` octets of others.
    pub(super) fn fits_after(&self, before: u64, entry: &Entry) -> bool {
        let keep = if entry.is_housekeeping() { 0 } else { slack(self.segment.capacity) };
        self.at + before + entry.frame.len() + keep <= self.segment.capacity
    }

    /// How many of the entries make the next batch.
    pub(super) fn batch_len<'a>(&self, entries: impl IntoIterator<Item = &'a Entry>) -> usize {
        let mut octets = 0;
        let mut count = 0;
        for entry in entries {
            let over = octets + entry.frame.len() > BATCH_MAX || count == FRAMES_MAX;
            if (over && count > 0) || !self.fits_after(octets, entry) {
                break;
            }
            octets += entry.frame.len();
            count += 1;
        }
        count
    }

    /// Goes on in the next segment.
    pub(super) fn roll(&mut self, segment: Segment) {
        self.segment = segment;
        self.at = DATA_START;
    }

    /// Writes the frames as one batch and makes them durable; gives the offset of the first. After an error
    /// nothing may be appended any more: what is on the disk is not known.
    pub(super) fn append(&mut self, frames: &mut [Entry]) -> io::Result<u64> {
        let start = self.at;
        let count = frames.len();
        for (i, entry) in frames.iter_mut().enumerate() {
            entry.frame.place(self.segment.identity, self.lsn + i as u64, i as u32, i + 1 == count);
        }
        let mut slices = Vec::with_capacity(2 * count);
        for entry in frames.iter() {
            slices.push(IoSlice::new(&entry.frame.head));
            if !entry.frame.body.is_empty() {
                slices.push(IoSlice::new(&entry.frame.body));
            }
        }
        let octets: u64 = frames.iter().map(|entry| entry.frame.len()).sum();
        self.segment.file.write_at(&mut slices, start)?;
        self.segment.file.sync()?;
        self.at += octets;
        self.lsn += count as u64;
        Ok(start)
    }
}
