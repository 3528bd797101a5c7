//! The client's side: opens connections to peers and drives [`sluice_smtp::client::Session`] over them.

mod connection;
mod connector;
mod stream;
mod timer;

pub use connection::{Connection, Content, Progress};
pub use connector::{Connector, Peer};
