//! The shells that drive SMTP sessions over TCP and TLS. They read, write, wait and upgrade; what is said is
//! decided by the machines of `sluice-smtp` and by the host that a server session asks.

pub mod client;
pub mod server;
pub mod tls;
