//! Listening sockets: opening them, and taking connections from them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tracing::warn;

/// Connections that the system holds for us before they are accepted.
const BACKLOG: i32 = 1024;

/// How long accepting rests when the process is out of file descriptors or memory.
const REST: Duration = Duration::from_millis(100);

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// Which.
    pub address: SocketAddr,
    /// Why.
    pub source: io::Error,
}

/// Listens on `address`; port 0 lets the system choose. Must be called within a tokio runtime.
pub fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    listen(address).map_err(|source| BindError { address, source })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// The next connection, with Nagle's algorithm off and the peer's address in its plain form (an IPv4 client of an
/// IPv6 socket is an IPv4 client). Errors of single connections are passed over; when the system lacks something,
/// accepting rests for a moment. Cancel-safe.
pub async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if stream.set_nodelay(true).is_ok() {
                    return (stream, SocketAddr::new(peer.ip().to_canonical(), peer.port()));
                }
            }
            Err(e) if concerns_one_connection(&e) => {}
            Err(e) => {
                warn!(error = %e, "cannot accept connections now");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

fn concerns_one_connection(e: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(e.kind(), K::ConnectionAborted | K::ConnectionReset | K::ConnectionRefused | K::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        let error = bind(address).unwrap_err();
        assert!(error.to_string().starts_with(&format!("cannot listen on {address}: ")), "{error}");
    }

    #[tokio::test]
    async fn an_ipv4_client_of_an_ipv6_socket_is_an_ipv4_client() {
        let Ok(listener) = bind("[::]:0".parse().unwrap()) else {
            return; // no IPv6 here
        };
        let port = listener.local_addr().unwrap().port();
        let _client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (stream, peer) = accept(&listener).await;
        assert_eq!(peer.ip().to_string(), "127.0.0.1");
        assert!(stream.nodelay().unwrap());
    }
}
