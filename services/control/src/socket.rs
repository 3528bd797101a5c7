//! A Unix socket that only its owner may open, and that is never taken from a server that still answers.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// Longest path in octets: `sun_path` holds 108, and the name used while binding is a little longer.
const PATH_MAX: usize = 100;

/// A listening socket; its file goes when this is dropped.
#[derive(Debug)]
pub struct Bound {
    listener: UnixListener,
    file: SocketFile,
}

impl Bound {
    pub(crate) fn into_parts(self) -> (UnixListener, SocketFile) {
        (self.listener, self.file)
    }
}

/// Removes the socket's file when it is dropped.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Gone already, or the folder is: nothing is left to do.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Listens at `path` with mode 0600. A socket file that nobody answers on is replaced; one that somebody answers on,
/// and anything that is no socket, is left alone and is an error.
pub async fn bind(path: &Path) -> io::Result<Bound> {
    if path.as_os_str().len() > PATH_MAX {
        let words = format!("the path is longer than {PATH_MAX} octets; set control.socket to a shorter one");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
    }
    check_vacant(path).await?;
    // Bound under another name, so that nobody can open it before its mode is set.
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    match std::fs::remove_file(&fresh) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&fresh)?;
    let _gone_unless_renamed = SocketFile(fresh.clone());
    std::fs::set_permissions(&fresh, Permissions::from_mode(0o600))?;
    std::fs::rename(&fresh, path)?;
    Ok(Bound { listener, file: SocketFile(path.to_owned()) })
}

async fn check_vacant(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is something else in its place"))
        }
        Ok(_) => match UnixStream::connect(path).await {
            Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another server answers there")),
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            Err(e) => Err(e),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn replaces_what_is_stale_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        // A file without a listener behind it, as a killed server leaves it.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let bound = bind(&path).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(bind(&path).await.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(path.exists(), "the one in use stays");
        drop(bound);
        assert!(!path.exists(), "it goes with its server");

        std::fs::write(&path, "letters").unwrap();
        assert_eq!(bind(&path).await.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "letters");
    }

    #[tokio::test]
    async fn a_path_that_is_too_long_is_told() {
        let error = bind(Path::new(&"x".repeat(101))).await.unwrap_err();
        assert!(error.to_string().contains("control.socket"), "{error}");
    }
}
