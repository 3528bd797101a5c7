//! Opens connections.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use sluice_mail::{Cause, Clock, Failure, Stage};
use sluice_smtp::client::ClientConfig;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use super::connection::Connection;

/// Opens connections to peers. Cheap to clone; clones share the memory of TLS sessions to resume.
#[derive(Clone)]
pub struct Connector {
    tls: TlsConnector,
    clock: Arc<dyn Clock>,
    source: Option<IpAddr>,
    timeout: Duration,
}

/// Whom to connect to.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The host's name, for TLS.
    pub name: Arc<str>,
    /// Where it is.
    pub address: SocketAddr,
}

impl Connector {
    /// Connects from `source`, or from whichever address the system picks, within `timeout`.
    pub fn new(clock: Arc<dyn Clock>, source: Option<IpAddr>, timeout: Duration) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unverified(provider)))
            .with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), clock, source, timeout })
    }

    /// A connection over which the session has begun; nothing was read yet.
    pub async fn connect(&self, peer: Peer, config: ClientConfig) -> Result<Connection, Failure> {
        let failed = |cause| Failure::new(Stage::Connect, cause);
        let socket = match tokio::time::timeout(self.timeout, self.open(peer.address)).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(e)) => return Err(failed(Cause::Io(e.to_string()))),
            Err(_) => return Err(failed(Cause::Timeout)),
        };
        Ok(Connection::new(socket, peer, config, self.tls.clone(), self.clock.clone()))
    }

    async fn open(&self, to: SocketAddr) -> std::io::Result<TcpStream> {
        let socket = if to.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
        if let Some(source) = self.source.filter(|source| source.is_ipv6() == to.is_ipv6()) {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        socket.set_nodelay(true)?;
        socket.connect(to).await
    }
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
