//! What the services stand on: the data folder and its lock.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
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
    /// Makes the folder with mode 0700 when it is not there, and takes its lock.
    pub(super) fn take(path: &Path) -> Result<Self, RunError> {
        let cannot_make = |source| RunError::file(path, "cannot be made", source);
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(cannot_make)?;
        let lock_path = path.join(LOCK_FILE);
        let cannot_lock = |source| RunError::file(&lock_path, "cannot be written", source);
        let mut options = OpenOptions::new();
        let mut lock = options.create(true).truncate(false).read(true).write(true).mode(0o600).open(&lock_path).map_err(cannot_lock)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(RunError::Locked { path: path.to_owned(), holder: holder(&mut lock) }),
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
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_folder_is_ours_alone_until_it_is_dropped() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a").join("b");
        let folder = DataFolder::take(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        let error = DataFolder::take(&path).unwrap_err();
        let words = format!("{} is in use by another sluice (process {})", path.display(), std::process::id());
        assert!(error.to_string().contains(&words), "{error}");
        assert_eq!(error.exit_code().code(), 75);
        drop(folder);
        DataFolder::take(&path).unwrap();
    }

    #[test]
    fn a_file_in_its_place_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        std::fs::write(&path, "x").unwrap();
        let error = DataFolder::take(&path).unwrap_err();
        assert!(error.to_string().starts_with(&format!("{} cannot be made: ", path.display())), "{error}");
        assert_eq!(error.exit_code().code(), 73);
    }
}
