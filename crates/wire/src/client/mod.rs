//! The client's side: opens connections to peers and drives [`sluice_smtp::client::Session`] over them.

mod connection;
mod connector;
mod stream;
mod timer;
mod trust;

pub use connection::{Connection, Content, Progress};
pub use connector::{ConnectError, Connector, Peer};
pub use trust::Security;
