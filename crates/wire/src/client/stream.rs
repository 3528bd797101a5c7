//! A connection to a peer, plain or under TLS.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::connector::Peer;
use super::trust::{Security, Terms};

pub(super) struct Stream {
    transport: Transport,
    terms: Terms,
    /// What was agreed, for people.
    agreed: Option<Arc<str>>,
    local: Option<SocketAddr>,
}

#[derive(Debug)]
enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// Taken away for a handshake that did not end well.
    Gone,
}

impl Stream {
    pub(super) fn new(socket: TcpStream, terms: Terms) -> Self {
        Self { local: socket.local_addr().ok(), transport: Transport::Plain(socket), terms, agreed: None }
    }

    /// Our end.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        self.local
    }

    /// TLS version, cipher suite, and whether the certificate was verified; under TLS.
    pub(super) fn agreed(&self) -> Option<&Arc<str>> {
        self.agreed.as_ref()
    }

    /// Makes the TLS handshake, `within` that time; why not, otherwise, and then the stream is gone.
    pub(super) async fn handshake(&mut self, peer: &Peer, within: Duration) -> Result<(), String> {
        let name = ServerName::try_from(peer.name.to_string())
            .unwrap_or_else(|_| ServerName::IpAddress(peer.address.ip().into()));
        match tokio::time::timeout(within, self.upgrade(name)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => Err(e.to_string()),
            Err(_) => Err("the handshake took too long".to_owned()),
        }
    }

    async fn upgrade(&mut self, name: ServerName<'static>) -> io::Result<()> {
        let Transport::Plain(socket) = std::mem::replace(&mut self.transport, Transport::Gone) else {
            return Err(io::Error::other("the connection is under TLS already"));
        };
        let stream = self.terms.connector.connect(name, socket).await?;
        let (_, session) = stream.get_ref();
        let version = match session.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLS1.3",
            Some(_) | None => "TLS1.2",
        };
        let cipher = session.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite())).unwrap_or_default();
        let proof = match self.terms.security {
            Security::Unverified => "",
            Security::Verified => " verified",
        };
        self.agreed = Some(format!("{version} {}{proof}", cipher.trim_start_matches("TLS13_")).into());
        self.transport = Transport::Tls(Box::new(stream));
        Ok(())
    }

    /// Writes what there is, then also what TLS holds back.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match &mut self.transport {
            Transport::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, parts),
            Transport::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, parts),
            Transport::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(_) => Poll::Ready(Ok(())),
            Transport::Tls(tls) => Pin::new(tls).poll_flush(cx),
            Transport::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Reads into `buffer`; 0 at the end of the stream.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(buffer);
        let read = match &mut self.transport {
            Transport::Plain(socket) => Pin::new(socket).poll_read(cx, &mut room),
            Transport::Tls(tls) => Pin::new(tls).poll_read(cx, &mut room),
            Transport::Gone => Poll::Ready(Ok(())),
        };
        read.map_ok(|()| room.filled().len())
    }
}
