//! From an accepted TCP connection to one that a session can begin on: the PROXY header and implicit TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use ipnet::IpNet;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::proxy::{self, Header, ProxyError};
use super::stream::{HandshakeError, Plain, Stream, TlsInfo};
use crate::tls::ServerTls;

/// How a listener uses TLS.
#[derive(Clone, Debug)]
pub enum TlsUse {
    /// Not at all.
    None,
    /// When the client says STARTTLS.
    StartTls(Arc<ServerTls>),
    /// From the first octet.
    Implicit(Arc<ServerTls>),
}

/// What a listener demands of its connections before SMTP begins.
#[derive(Clone, Debug)]
pub struct Entrance {
    /// Peers that must begin with a PROXY header. From others it is a bad command, as any other octets.
    pub proxy_protocol_from: Vec<IpNet>,
    /// TLS.
    pub tls: TlsUse,
    /// For the PROXY header, and again for a TLS handshake.
    pub timeout: Duration,
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The client's address; the load balancer's own when it did not name a client.
    pub address: SocketAddr,
    /// The load balancer, when the client came through one.
    pub proxy: Option<SocketAddr>,
    /// Whether `address` is the client's. Not so for a load balancer's own connections.
    pub known: bool,
}

impl Peer {
    /// A client that connected by itself.
    #[must_use]
    pub fn direct(address: SocketAddr) -> Self {
        Self { address, proxy: None, known: true }
    }

    /// The client's IP address.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.address.ip()
    }
}

/// A connection that a session can begin on.
#[derive(Debug)]
pub struct Arrival {
    /// To talk over.
    pub stream: Stream,
    /// Who is there.
    pub peer: Peer,
    /// What was agreed, when TLS is implicit.
    pub tls: Option<TlsInfo>,
}

/// Why a connection ended before a session could begin.
#[derive(Debug, thiserror::Error)]
pub enum ArriveError {
    /// A wrong PROXY header, or none.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// No whole PROXY header in time.
    #[error("no PROXY header in time")]
    ProxyTimeout,
    /// The connection closed or broke.
    #[error("the connection ended: {0}")]
    Io(#[from] io::Error),
    /// No TLS.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}

impl Entrance {
    /// Learns who the client of `socket` is: by its PROXY header if `peer` must send one.
    pub async fn identify(&self, socket: TcpStream, peer: SocketAddr) -> Result<(Stream, Peer), ArriveError> {
        if !self.proxy_protocol_from.iter().any(|network| network.contains(&peer.ip())) {
            return Ok((Stream::Plain(Plain::new(socket, BytesMut::new())), Peer::direct(peer)));
        }
        let (socket, ahead, header) =
            tokio::time::timeout(self.timeout, read_header(socket)).await.map_err(|_| ArriveError::ProxyTimeout)??;
        let stream = Stream::Plain(Plain::new(socket, ahead));
        let client = match header {
            Header::Proxied(address) => {
                let address = SocketAddr::new(address.ip().to_canonical(), address.port());
                Peer { address, proxy: Some(peer), known: true }
            }
            Header::Own => Peer { address: peer, proxy: Some(peer), known: false },
        };
        Ok((stream, client))
    }

    /// Agrees on TLS if it is implicit here.
    pub async fn secure(&self, stream: Stream, peer: Peer) -> Result<Arrival, ArriveError> {
        match &self.tls {
            TlsUse::None | TlsUse::StartTls(_) => Ok(Arrival { stream, peer, tls: None }),
            TlsUse::Implicit(tls) => {
                let (stream, info) = stream.upgrade(tls.config(), self.timeout).await?;
                Ok(Arrival { stream, peer, tls: Some(info) })
            }
        }
    }
}

/// Reads until the header is whole; gives also what came after it.
async fn read_header(mut socket: TcpStream) -> Result<(TcpStream, BytesMut, Header), ArriveError> {
    let mut input = BytesMut::with_capacity(256);
    loop {
        if socket.read_buf(&mut input).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        if let Some((header, len)) = proxy::parse(&input)? {
            let ahead = input.split_off(len);
            return Ok((socket, ahead, header));
        }
        if input.len() > proxy::MAX_HEADER {
            return Err(ProxyError::TooLong.into());
        }
    }
}
