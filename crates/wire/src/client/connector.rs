//! Opens connections.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sluice_mail::{Cause, Clock, Failure, Stage};
use sluice_smtp::client::{ClientConfig, TlsMode};
use tokio::net::TcpSocket;

use super::connection::Connection;
use super::stream::Stream;
use super::trust::{Security, Trust};
use crate::tls::TlsError;

/// Opens connections to peers. Cheap to clone; clones share the memory of TLS sessions to resume.
#[derive(Clone)]
pub struct Connector {
    trust: Arc<Trust>,
    clock: Arc<dyn Clock>,
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

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// It cannot come from the address it was to come from, or this system has no room for it: nothing was asked of the
    /// peer.
    Source(Failure),
    /// The peer does not take it.
    Peer(Failure),
}

impl Connector {
    /// A connection has `timeout` to open. Verified TLS believes the authorities of `ca_file` (PEM), or those of the
    /// system.
    pub fn new(clock: Arc<dyn Clock>, timeout: Duration, ca_file: Option<&Path>) -> Result<Self, TlsError> {
        Ok(Self { trust: Arc::new(Trust::new(ca_file)?), clock, timeout })
    }

    /// A connection over which the session has begun; nothing was read yet. It comes from `source`, which is of the
    /// peer's IP family, or from the address that the system picks.
    pub async fn connect(
        &self,
        peer: Peer,
        source: Option<IpAddr>,
        security: Security,
        config: ClientConfig,
    ) -> Result<Connection, ConnectError> {
        let failed = |stage, cause| ConnectError::Peer(Failure::new(stage, cause));
        let terms = self.trust.terms(security).map_err(|words| failed(Stage::StartTls, Cause::Tls(words)))?;
        let ours = |e: &io::Error| {
            let from = source.map(|address| format!(" from {address}")).unwrap_or_default();
            ConnectError::Source(Failure::new(Stage::Connect, Cause::Io(format!("cannot connect{from}: {e}"))))
        };
        let socket = bound(peer.address, source).map_err(|e| ours(&e))?;
        let socket = match tokio::time::timeout(self.timeout, socket.connect(peer.address)).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(e)) if e.kind() == io::ErrorKind::AddrNotAvailable => return Err(ours(&e)),
            Ok(Err(e)) => return Err(failed(Stage::Connect, Cause::Io(e.to_string()))),
            Err(_) => return Err(failed(Stage::Connect, Cause::Timeout)),
        };
        let mut stream = Stream::new(socket, terms);
        if config.tls == TlsMode::Implicit {
            let outcome = stream.handshake(&peer, config.timeouts.start_tls).await;
            outcome.map_err(|words| failed(Stage::StartTls, Cause::Tls(words)))?;
        }
        Ok(Connection::new(stream, peer, config, self.clock.clone()))
    }
}

/// A socket for connections to such an address.
fn bound(to: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpSocket> {
    let socket = if to.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket.set_nodelay(true)?;
    Ok(socket)
}
