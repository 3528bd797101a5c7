//! Incoming connections: listening, the PROXY protocol, TLS, and driving a server session over them.

mod arrive;
mod drive;
mod listener;
pub mod proxy;
mod stream;

pub use arrive::{Arrival, ArriveError, Entrance, Peer, TlsUse};
pub use drive::{End, Host, Surroundings, serve};
pub use listener::{BindError, accept, bind};
pub use stream::{HandshakeError, Plain, Stream, TlsInfo};

#[cfg(test)]
mod tests;
