//! TLS for listeners: a certificate and key from PEM files, exchanged while running when the files change.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why a certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file has no certificate, or one that is no PEM.
    #[error("{} holds no PEM certificate", .0.display())]
    NoCertificate(PathBuf),
    /// The file has no private key, or one that is no PEM. Says nothing about its content.
    #[error("{} holds no PEM private key", .0.display())]
    NoKey(PathBuf),
    /// The two do not fit each other, or cannot be used.
    #[error("the certificate {} and the key {} cannot be used: {source}", certificate.display(), key.display())]
    Unusable {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The library refuses its own defaults.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

/// What tells that a file was replaced.
type Stamp = [(Option<SystemTime>, u64); 2];

/// A server's certificate and key. New handshakes use what was read last without an error; sessions that are
/// under way keep what they began with.
pub struct ServerTls {
    certificate: PathBuf,
    key: PathBuf,
    current: ArcSwap<ServerConfig>,
    /// Of the files in use. Held while the files are read, so that two reloads do not cross.
    stamp: Mutex<Stamp>,
}

impl ServerTls {
    /// Reads the PEM files: a chain with the server's certificate first, and its key. TLS 1.2 and up.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let stamp = stamp(certificate, key)?;
        let config = read(certificate, key)?;
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            current: ArcSwap::new(config),
            stamp: Mutex::new(stamp),
        })
    }

    /// For the next handshake.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Reads the files again, changed or not. After an error what was in use stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        let mut held = self.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        self.exchange(&mut held)
    }

    /// Reads the files again if one of them changed since they were last read well; whether they did. After an
    /// error what was in use stays in use, and the next call tries again.
    pub fn reload_if_changed(&self) -> Result<bool, TlsError> {
        let mut held = self.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        if stamp(&self.certificate, &self.key)? == *held {
            return Ok(false);
        }
        self.exchange(&mut held)?;
        Ok(true)
    }

    fn exchange(&self, held: &mut Stamp) -> Result<(), TlsError> {
        // The stamp is taken first: a file replaced while it is read shows as changed the next time.
        let stamp = stamp(&self.certificate, &self.key)?;
        self.current.store(read(&self.certificate, &self.key)?);
        *held = stamp;
        Ok(())
    }
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls").field("certificate", &self.certificate).field("key", &self.key).finish()
    }
}

fn stamp(certificate: &Path, key: &Path) -> Result<Stamp, TlsError> {
    let one = |path: &Path| -> Result<_, TlsError> {
        let meta = fs::metadata(path).map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })?;
        Ok((meta.modified().ok(), meta.len()))
    };
    Ok([one(certificate)?, one(key)?])
}

/// The certificates of a PEM file, one at least.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let none = || TlsError::NoCertificate(path.to_owned());
    let found: Vec<_> = CertificateDer::pem_slice_iter(&bytes(path)?).collect::<Result<_, _>>().map_err(|_| none())?;
    if found.is_empty() { Err(none()) } else { Ok(found) }
}

fn bytes(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })
}

fn read(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = read_certificates(certificate)?;
    let private = PrivateKeyDer::from_pem_slice(&bytes(key)?).map_err(|_| TlsError::NoKey(key.to_owned()))?;
    let unusable = |source| TlsError::Unusable { certificate: certificate.to_owned(), key: key.to_owned(), source };
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(unusable)?;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Files {
        dir: tempfile::TempDir,
    }

    impl Files {
        fn certificate(&self) -> PathBuf {
            self.dir.path().join("cert.pem")
        }

        fn key(&self) -> PathBuf {
            self.dir.path().join("key.pem")
        }

        fn write(&self, name: &str) {
            let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
            fs::write(self.certificate(), made.cert.pem()).unwrap();
            fs::write(self.key(), made.signing_key.serialize_pem()).unwrap();
        }
    }

    fn files() -> Files {
        let files = Files { dir: tempfile::tempdir().unwrap() };
        files.write("first.example.org");
        files
    }

    #[test]
    fn takes_up_changed_files_and_only_those() {
        let files = files();
        let tls = ServerTls::load(&files.certificate(), &files.key()).unwrap();
        let first = tls.config();
        assert!(!tls.reload_if_changed().unwrap());
        assert!(Arc::ptr_eq(&first, &tls.config()));

        files.write("a-name-of-another-length.example.org");
        assert!(tls.reload_if_changed().unwrap());
        assert!(!Arc::ptr_eq(&first, &tls.config()));
        assert!(!tls.reload_if_changed().unwrap());
    }

    #[test]
    fn a_broken_file_keeps_what_was_in_use_until_it_is_mended() {
        let files = files();
        let tls = ServerTls::load(&files.certificate(), &files.key()).unwrap();
        let first = tls.config();

        fs::write(files.key(), "-----BEGIN NOTHING-----").unwrap();
        assert!(matches!(tls.reload_if_changed(), Err(TlsError::NoKey(_))));
        assert!(matches!(tls.reload(), Err(TlsError::NoKey(_))));
        assert!(Arc::ptr_eq(&first, &tls.config()));

        files.write("mended.example.org");
        assert!(tls.reload_if_changed().unwrap());
        assert!(!Arc::ptr_eq(&first, &tls.config()));
    }

    #[test]
    fn errors_name_the_file() {
        let files = files();
        let other = rcgen::generate_simple_self_signed(["other.example.org".to_owned()]).unwrap();
        let load = || ServerTls::load(&files.certificate(), &files.key()).unwrap_err().to_string();

        fs::write(files.key(), other.signing_key.serialize_pem()).unwrap();
        assert!(load().contains("cert.pem") && load().contains("key.pem"), "{}", load());
        fs::write(files.certificate(), "nothing").unwrap();
        assert!(load().contains("cert.pem holds no PEM certificate"), "{}", load());
        fs::remove_file(files.certificate()).unwrap();
        assert!(load().contains("cannot read") && load().contains("cert.pem"), "{}", load());
    }
}
