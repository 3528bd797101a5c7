//! What can be saved of a damaged log. Only on request: see [`super::Config::salvage`].

use super::frame::VERSION;
use super::scan::{ScanError, Tail, search_headers};
use super::segment::{DATA_START, Segment};

/// Where the frames of a damaged segment end: behind the last header that is whole. `None`: there is none.
pub(super) fn tail(segment: &Segment) -> Result<Option<Tail>, ScanError> {
    let mut tail: Option<Tail> = None;
    search_headers(segment, DATA_START, |at, header| {
        if header.version > VERSION {
            return Err(ScanError::Newer(header.version, at));
        }
        let end = (at + header.frame_len()).min(segment.capacity);
        let first_lsn = tail.map_or(header.lsn, |t| t.first_lsn);
        let lsn = tail.map_or(0, |t| t.lsn).max(header.lsn + 1);
        tail = Some(Tail { end, last_batch: end, lsn, first_lsn, dirty: true });
        Ok(true)
    })?;
    Ok(tail)
}
