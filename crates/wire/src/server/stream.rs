//! A client's connection, plain or under TLS.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A TCP connection, and what was read from it beyond a PROXY header.
#[derive(Debug)]
pub struct Plain {
    socket: TcpStream,
    ahead: BytesMut,
}

impl Plain {
    pub(super) fn new(socket: TcpStream, ahead: BytesMut) -> Self {
        Self { socket, ahead }
    }
}

/// What was agreed in a TLS handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsInfo {
    /// `TLS1.2` or `TLS1.3`.
    pub version: &'static str,
    /// The cipher suite, by its registered name.
    pub cipher: String,
}

/// A connection to read from and write to.
#[derive(Debug)]
pub enum Stream {
    /// Without TLS.
    Plain(Plain),
    /// Under TLS.
    Tls(Box<TlsStream<Plain>>),
    /// Taken away for a handshake that did not end well.
    Gone,
}

/// A handshake that failed.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// Not done in time.
    #[error("the TLS handshake took too long")]
    Timeout,
    /// The peer, or the connection, failed.
    #[error("the TLS handshake failed: {0}")]
    Failed(#[from] io::Error),
    /// The connection is under TLS already.
    #[error("the connection is under TLS already")]
    Twice,
}

impl Stream {
    /// Lets the client begin a TLS handshake, and waits for its end, `within` at most.
    pub(super) async fn upgrade(
        self,
        config: Arc<ServerConfig>,
        within: Duration,
    ) -> Result<(Self, TlsInfo), HandshakeError> {
        let Self::Plain(plain) = self else {
            return Err(HandshakeError::Twice);
        };
        let accept = Box::pin(TlsAcceptor::from(config).accept(plain));
        let tls = tokio::time::timeout(within, accept).await.map_err(|_| HandshakeError::Timeout)??;
        let (_, agreed) = tls.get_ref();
        let info = TlsInfo {
            version: match agreed.protocol_version() {
                Some(rustls::ProtocolVersion::TLSv1_3) => "TLS1.3",
                Some(_) | None => "TLS1.2",
            },
            cipher: agreed
                .negotiated_cipher_suite()
                .and_then(|suite| suite.suite().as_str())
                .unwrap_or("unknown")
                .to_owned(),
        };
        Ok((Self::Tls(Box::new(tls)), info))
    }

    /// Drops plain octets that came before a TLS handshake was asked for.
    pub(super) fn forget_ahead(&mut self) {
        if let Self::Plain(plain) = self {
            plain.ahead.clear();
        }
    }
}

impl AsyncRead for Plain {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.socket).poll_read(cx, buf);
        }
        let n = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead[..n]);
        self.ahead.advance(n);
        if self.ahead.is_empty() {
            self.ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Plain {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
            Self::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
            Self::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
            Self::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
            Self::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}
