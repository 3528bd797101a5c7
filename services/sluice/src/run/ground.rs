//! The data folder, for one process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::RunError;

/// Name of the file that is locked while a process uses the folder.
const LOCK_FILE: &str = "lock";

/// The data folder, ours until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub(super) struct DataFolder {
    _lock: File,
}

impl DataFolder {
    /// Takes the lock of the folder at `path`.
    pub(super) fn take(path: &Path) -> Result<Self, RunError> {
        let lock_path = path.join(LOCK_FILE);
        let cannot_lock = |source| RunError::file(&lock_path, "cannot be written", source);
        let mut options = OpenOptions::new();
        let mut lock = options
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(cannot_lock)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(RunError::Locked { path: path.to_owned(), holder: holder(&mut lock) });
            }
            Err(TryLockError::Error(source)) => return Err(cannot_lock(source)),
        }
        lock.set_len(0).and_then(|()| write!(lock, "{}", std::process::id())).map_err(cannot_lock)?;
        Ok(Self { _lock: lock })
    }
}

/// Who holds the lock, as it wrote it down.
fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    let read = lock.seek(SeekFrom::Start(0)).and_then(|_| lock.read_to_string(&mut text));
    let process = text.trim().parse::<u32>();
    match (read, process) {
        (Ok(_), Ok(process)) => format!(" (process {process})"),
        (Ok(_) | Err(_), _) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_ours_alone_until_it_is_dropped() {
        let path = tempfile::tempdir().unwrap();
        let path = path.path();
        let folder = DataFolder::take(path).unwrap();
        let error = DataFolder::take(path).unwrap_err();
        let words = format!("{} is in use by another sluice (process {})", path.display(), std::process::id());
        assert!(error.to_string().contains(&words), "{error}");
        assert_eq!(error.exit_code().code(), 75);
        drop(folder);
        DataFolder::take(path).unwrap();
    }
}
