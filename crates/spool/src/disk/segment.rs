//! Segments: files of fixed size, each named by an id that is never used twice.
//!
//! A segment is *prepared* (its room is taken and written with zeros, its header is durable and its name too)
//! before the first frame goes into it, so that a commit never waits for the file system's own journal. What
//! lies behind its last frame is zeros or, in a recycled file, frames of another identity.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crc32c::crc32c;

use super::files::{File, Files};
use super::frame::{Identity, VERSION, u32_at, u64_at};

/// Where the first frame begins.
pub(super) const DATA_START: u64 = 4096;
/// The header is written twice, so that one bad sector does not make a segment unreadable.
const HEADER_COPIES: [u64; 2] = [0, 2048];
const HEADER_LEN: usize = 32;
const MAGIC: [u8; 8] = *b"SluiceLg";
/// Zeros are written in pieces of this size, each made durable before the next, so that commits get between.
const ZEROS: usize = 1 << 20;

/// An open segment.
#[derive(Clone)]
pub(super) struct Segment {
    pub(super) identity: Identity,
    pub(super) file: Arc<dyn File>,
    /// Octets that the file is meant to hold.
    pub(super) capacity: u64,
}

impl Segment {
    pub(super) fn id(&self) -> u32 {
        self.identity.segment
    }
}

/// What the header of a segment's file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderState {
    /// It is this segment's.
    Fine(Identity, u64),
    /// Written by a newer program.
    Newer(u8),
    /// None of the copies is whole.
    Unreadable,
}

/// `seg-0000002a.log`
pub(super) fn path(dir: &Path, id: u32) -> PathBuf {
    dir.join(format!("seg-{id:08x}.log"))
}

/// The id in a name that [`path`] made.
pub(super) fn parse_name(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("seg-")?.strip_suffix(".log")?;
    if digits.len() == 8 { u32::from_str_radix(digits, 16).ok() } else { None }
}

/// Writes both copies of the header and makes them durable.
pub(super) fn write_header(file: &dyn File, identity: Identity, capacity: u64) -> io::Result<()> {
    let mut bytes = [0u8; HEADER_LEN];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8] = VERSION;
    bytes[12..16].copy_from_slice(&identity.segment.to_le_bytes());
    bytes[16..24].copy_from_slice(&identity.salt.to_le_bytes());
    // Capacity in units of 16 octets fits the four that are left beside the CRC.
    bytes[24..28].copy_from_slice(&((capacity / 16) as u32).to_le_bytes());
    let crc = crc32c(&bytes[..28]);
    bytes[28..].copy_from_slice(&crc.to_le_bytes());
    for at in HEADER_COPIES {
        file.write_at(&mut [IoSlice::new(&bytes)], at)?;
    }
    file.sync()
}

/// Reads the header; the first copy that is whole counts.
pub(super) fn read_header(file: &dyn File) -> io::Result<HeaderState> {
    let mut bytes = [0u8; HEADER_LEN];
    for at in HEADER_COPIES {
        let n = file.read_at(&mut bytes, at)?;
        if n < HEADER_LEN || bytes[..8] != MAGIC || crc32c(&bytes[..28]) != u32_at(&bytes, 28) {
            continue;
        }
        if bytes[8] > VERSION {
            return Ok(HeaderState::Newer(bytes[8]));
        }
        let identity = Identity { segment: u32_at(&bytes, 12), salt: u64_at(&bytes, 16) };
        return Ok(HeaderState::Fine(identity, u64::from(u32_at(&bytes, 24)) * 16));
    }
    Ok(HeaderState::Unreadable)
}

/// Makes a file full of zeros under `path`; removes it again when that fails.
pub(super) fn create_zeroed(files: &dyn Files, path: &Path, capacity: u64) -> io::Result<Arc<dyn File>> {
    let file = files.create(path, capacity)?;
    match write_zeros(&*file, capacity) {
        Ok(()) => Ok(file),
        Err(error) => {
            let _ = files.remove(path);
            Err(error)
        }
    }
}

fn write_zeros(file: &dyn File, capacity: u64) -> io::Result<()> {
    let zeros = vec![0u8; ZEROS.min(capacity as usize)];
    let mut at = 0;
    while at < capacity {
        let len = (capacity - at).min(zeros.len() as u64);
        file.write_at(&mut [IoSlice::new(&zeros[..len as usize])], at)?;
        file.sync()?;
        at += len;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::files::SystemFiles;

    #[test]
    fn names_and_headers_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let name = path(dir.path(), 0x2a);
        assert_eq!(parse_name(name.file_name().unwrap().to_str().unwrap()), Some(0x2a));
        assert_eq!(parse_name("seg-2a.log"), None);
        let file = create_zeroed(&SystemFiles, &name, 8192).unwrap();
        assert_eq!(read_header(&*file).unwrap(), HeaderState::Unreadable);
        let identity = Identity { segment: 0x2a, salt: 77 };
        write_header(&*file, identity, 8192).unwrap();
        assert_eq!(read_header(&*file).unwrap(), HeaderState::Fine(identity, 8192));
        file.write_at(&mut [IoSlice::new(&[0; 512])], 0).unwrap();
        assert_eq!(read_header(&*file).unwrap(), HeaderState::Fine(identity, 8192), "the second copy");
    }
}
