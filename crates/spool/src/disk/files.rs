//! The port through which the log touches the file system, and the real one.
//!
//! Small on purpose: what it offers is what the power-cut twin must be able to lose, tear and reorder.

use std::any::Any;
use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::BuildHasher;
use std::io::{self, IoSlice};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FlockOperation};

/// Folders and names. A change of names is durable only after [`Files::sync_dir`].
pub trait Files: Send + Sync + 'static {
    /// Makes the folder (mode 0700) and its parents unless they exist.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the lock file for this process; held until the value is dropped. `WouldBlock`: another has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>>;

    /// Names in the folder.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Opens a file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Makes a file of `len` octets whose room on the disk is taken; fails when the name exists.
    fn create(&self, path: &Path, len: u64) -> io::Result<Arc<dyn File>>;

    /// Gives a file another name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a name.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes all changes of names in the folder durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// A number that an outsider cannot guess.
    fn salt(&self) -> u64;
}

/// An open file. Writes are durable only after [`File::sync`].
pub trait File: Send + Sync + 'static {
    /// Length in octets.
    fn size(&self) -> io::Result<u64>;

    /// Fills `buf` from `offset` on; fewer octets only at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all slices one after the other at `offset`.
    fn write_at(&self, slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()>;

    /// Makes the file's contents durable.
    fn sync(&self) -> io::Result<()>;
}

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemFiles;

impl Files for SystemFiles {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        match dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => self.sync_dir(parent),
            Some(_) | None => self.sync_dir(Path::new(".")),
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        let file = options().create(true).truncate(false).open(path)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(file))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let names = fs::read_dir(dir)?.map(|entry| entry.map(|e| e.file_name().into_string().unwrap_or_default()));
        names.collect()
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(SystemFile(options().open(path)?)))
    }

    fn create(&self, path: &Path, len: u64) -> io::Result<Arc<dyn File>> {
        let file = options().create_new(true).open(path)?;
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, len) {
            Ok(()) => {}
            // The file system cannot reserve room: the caller's zeros have to do it.
            Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(len)?,
            Err(error) => {
                drop(file);
                let _ = fs::remove_file(path);
                return Err(error.into());
            }
        }
        Ok(Arc::new(SystemFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn salt(&self) -> u64 {
        RandomState::new().hash_one(0u8)
    }
}

fn options() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

struct SystemFile(fs::File);

/// Slices per write call that every system takes.
const SLICES_MAX: usize = 1024;

impl File for SystemFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.0.read_at(&mut buf[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let (mut rest, mut at) = (slices, offset);
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            let some = &rest[..rest.len().min(SLICES_MAX)];
            match rustix::io::pwritev(&self.0, some, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    IoSlice::advance_slices(&mut rest, n);
                    at += n as u64;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(&self.0)?)
    }
}

/// Whether the error says that there is no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_many_slices_and_reads_them_back() {
        let dir = tempfile::tempdir().unwrap();
        let file = SystemFiles.create(&dir.path().join("a"), 4096).unwrap();
        let text = b"0123456789".repeat(400);
        let mut slices: Vec<_> = text.chunks(1).map(IoSlice::new).collect();
        file.write_at(&mut slices, 7).unwrap();
        file.sync().unwrap();
        let mut back = vec![0; 4000];
        assert_eq!(file.read_at(&mut back, 7).unwrap(), 4000);
        assert_eq!(back, text);
        assert_eq!(file.read_at(&mut back, 4090).unwrap(), 6);
    }

    #[test]
    fn a_lock_is_held_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = SystemFiles.lock(&path).unwrap();
        assert_eq!(SystemFiles.lock(&path).err().unwrap().kind(), io::ErrorKind::WouldBlock);
        drop(held);
        SystemFiles.lock(&path).unwrap();
    }
}
