//! Certificates for tests, and a client that trusts exactly one of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore};

/// A self-signed certificate and its key, as PEM files in a folder.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Writes a new certificate for `name` as `stem.pem` and `stem.key.pem` into `dir`, over what is there.
pub fn write(dir: &Path, stem: &str, name: &str) -> Result<Certificate> {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()])?;
    let files = Certificate { certificate: dir.join(format!("{stem}.pem")), key: dir.join(format!("{stem}.key.pem")) };
    fs::write(&files.certificate, made.cert.pem())?;
    fs::write(&files.key, made.signing_key.serialize_pem())?;
    Ok(files)
}

/// A TLS client that trusts the certificate in `pem` and nothing else.
pub fn trusting(pem: &Path) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(pem)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
