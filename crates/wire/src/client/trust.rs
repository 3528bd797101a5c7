//! What TLS towards peers believes, and the sessions it remembers.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WantsClientCert};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme, WantsVerifier};
use tokio_rustls::TlsConnector;

use crate::tls::{TlsError, read_certificates};

/// Hosts whose sessions are remembered while certificates are not verified, per process; the oldest makes room. A
/// host has 8 tickets at most of some 5 KiB, its certificates included, mostly 2 or so.
const HOSTS_MAX: usize = 512;
/// The same for verified sessions, which only routes of the operator's have.
const VERIFIED_HOSTS_MAX: usize = 64;
/// Tickets that are kept of a host, by [`Resumption::in_memory_sessions`].
const TICKETS_PER_HOST: usize = 8;

/// What a TLS session proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Nobody listens. Any certificate will do.
    Unverified,
    /// Also that the peer is who its name says.
    Verified,
}

/// How TLS is spoken: once for each [`Security`], with nothing in common. A session that was agreed without
/// looking at the certificate can so never be resumed as a verified one.
pub(super) struct Trust {
    unverified: Terms,
    /// The system's authorities are read when they are needed first, as most processes never need them.
    verified: OnceLock<Result<Terms, String>>,
}

/// One of the two.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) connector: TlsConnector,
    pub(super) security: Security,
}

impl Trust {
    /// Believes the authorities of `ca_file` (PEM), or those of the system.
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = builder().map_err(TlsError::Setup)?;
        let unverified = builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider)));
        let verified = match ca_file {
            Some(path) => OnceLock::from(Ok(verifying(read_roots(path)?).map_err(TlsError::Setup)?)),
            None => OnceLock::new(),
        };
        Ok(Self { unverified: terms(unverified, Security::Unverified, HOSTS_MAX), verified })
    }

    /// How to speak TLS, or why that cannot be verified.
    pub(super) fn terms(&self, security: Security) -> Result<Terms, String> {
        match security {
            Security::Unverified => Ok(self.unverified.clone()),
            Security::Verified => self.verified.get_or_init(system).clone(),
        }
    }
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
}

fn read_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(path)? {
        roots.add(certificate).map_err(|_| TlsError::NoCertificate(path.to_owned()))?;
    }
    Ok(roots)
}

fn system() -> Result<Terms, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err("this system has no list of certificate authorities to verify with; see delivery.ca_file".into());
    }
    verifying(roots).map_err(|e| e.to_string())
}

fn verifying(roots: RootCertStore) -> Result<Terms, rustls::Error> {
    Ok(terms(builder()?.with_root_certificates(roots), Security::Verified, VERIFIED_HOSTS_MAX))
}

fn terms(builder: ConfigBuilder<ClientConfig, WantsClientCert>, security: Security, hosts: usize) -> Terms {
    let mut config = builder.with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(hosts * TICKETS_PER_HOST);
    Terms { connector: TlsConnector::from(Arc::new(config)), security }
}

/// Takes any certificate. Mail between servers is encrypted when the peer offers it, whoever the peer is (RFC 7435,
/// opportunistic security): the name in an MX record is not authenticated either, and refusing a bad certificate
/// would only send the mail in the clear, or not at all. It protects from listening, not from impersonation.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
