//! A connection to a peer, plain or under TLS.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// Taken away for a handshake that did not end well.
    Gone,
}

impl Stream {
    /// Makes the TLS handshake; what was agreed, for people. After an error the stream is gone.
    pub(super) async fn upgrade(&mut self, tls: TlsConnector, name: ServerName<'static>) -> io::Result<Arc<str>> {
        let Self::Plain(socket) = std::mem::replace(self, Self::Gone) else {
            return Err(io::Error::other("the connection is under TLS already"));
        };
        let stream = tls.connect(name, socket).await?;
        let (_, session) = stream.get_ref();
        let version = match session.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLS1.3",
            Some(_) | None => "TLS1.2",
        };
        let cipher = session.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite())).unwrap_or_default();
        *self = Self::Tls(Box::new(stream));
        Ok(format!("{version} {}", cipher.trim_start_matches("TLS13_")).into())
    }

    /// Writes what there is, then also what TLS holds back.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, parts),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, parts),
            Self::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
            Self::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Reads into `buffer`; 0 at the end of the stream.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(buffer);
        let read = match self {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, &mut room),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, &mut room),
            Self::Gone => Poll::Ready(Ok(())),
        };
        read.map_ok(|()| room.filled().len())
    }
}
