//! The SMTP protocol as pure machines: the server's session, the receiver of message content, the client's session.
//!
//! Nothing here owns a socket, reads a clock or waits. A shell (`sluice-wire`) moves octets between a machine and its
//! connection, and the host of a machine (the ingress, the delivery) answers its questions.

pub mod client;
pub mod content;
pub mod server;
