//! Hosts that offer STARTTLS and cannot do it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long such a host is spoken to in the clear before TLS is tried again.
const REMEMBERED: Duration = Duration::from_secs(3600);
/// Hosts remembered, per process. When there are more, all are forgotten: each then costs one failed handshake.
const HOSTS_MAX: usize = 10_000;

/// Which hosts failed a TLS handshake lately. Only for opportunistic TLS.
#[derive(Debug, Default)]
pub(crate) struct PlainHosts(Mutex<HashMap<SocketAddr, Instant>>);

impl PlainHosts {
    pub(crate) fn add(&self, now: Instant, host: SocketAddr) {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() >= HOSTS_MAX {
            hosts.clear();
        }
        hosts.insert(host, now + REMEMBERED);
    }

    pub(crate) fn contains(&self, now: Instant, host: SocketAddr) -> bool {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match hosts.get(&host) {
            Some(until) if now < *until => true,
            Some(_) => {
                hosts.remove(&host);
                false
            }
            None => false,
        }
    }
}
