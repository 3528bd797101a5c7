//! Certificates for tests, and a client that trusts exactly one of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
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

/// An authority of one's own, which signs what a test needs.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, as a PEM file.
    pub pem: PathBuf,
}

/// How good a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// It is valid now.
    Valid,
    /// It ended in 2021.
    Expired,
}

impl Authority {
    /// A new one; its certificate goes to `dir`.
    pub fn new(dir: &Path) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "authority of the tests");
        let key = KeyPair::generate()?;
        let pem = dir.join("authority.pem");
        fs::write(&pem, params.self_signed(&key)?.pem())?;
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// Writes a certificate for `names` (host names or addresses) as `stem.pem` and `stem.key.pem` into `dir`.
    pub fn sign(&self, dir: &Path, stem: &str, names: &[&str], validity: Validity) -> Result<Certificate> {
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        if validity == Validity::Expired {
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        }
        let key = KeyPair::generate()?;
        let made = params.signed_by(&key, &self.issuer)?;
        let files =
            Certificate { certificate: dir.join(format!("{stem}.pem")), key: dir.join(format!("{stem}.key.pem")) };
        fs::write(&files.certificate, made.pem())?;
        fs::write(&files.key, key.serialize_pem())?;
        Ok(files)
    }
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
