//! Ports of one's own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

/// Below the range from which Linux takes the ports of outgoing connections, so that none is taken between the
/// check here and the child's bind.
const FIRST: u16 = 12_000;
const LAST: u16 = 31_900;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A loopback port that nobody listens on and that no other caller in this process was given.
pub fn free() -> Result<u16> {
    let span = LAST - FIRST;
    let start = (std::process::id() as u16).wrapping_mul(131) % span;
    for _ in 0..span {
        let port = FIRST + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % span;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between {FIRST} and {LAST}")
}

/// `port` on loopback.
#[must_use]
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
