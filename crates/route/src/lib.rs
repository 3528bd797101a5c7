//! Where mail for a domain goes: which hosts, in which order, at which addresses.
//!
//! [`Routes`] is the port. [`HickoryRoutes`] asks the DNS; [`FixedRoutes`] holds what the operator wrote down and
//! asks another for the rest.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use sluice_mail::{Failure, Host};

mod cache;
mod fixed;
mod hickory;
mod local;
mod mx;
mod networks;
mod targets;

pub use fixed::{FixedRoute, FixedRoutes, RelayHost, RelayHostError};
pub use hickory::{HickoryRoutes, ResolverError, Settings, TxtError, TxtRecords};
pub use networks::{Networks, PROHIBITED_BY_DEFAULT, prohibited_by_default};
pub use targets::Target;

/// A route, or why there is none: permanently (no such domain) or for now (no answer from the DNS).
pub type Resolved = Result<Arc<Route>, Failure>;

/// Where mail for a host part goes.
pub trait Routes: Send + Sync + 'static {
    /// The answer, when it is at hand without waiting.
    fn at_hand(&self, host: &Host) -> Option<Resolved>;

    /// The answer. Waits for a bounded time.
    fn resolve<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Resolved>;

    /// How the DNS is doing; zeros where none is asked.
    fn numbers(&self) -> Numbers {
        Numbers::default()
    }
}

/// What was asked of the DNS since the start, for metrics. They count from zero again when routes are exchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Questions about MX and address records, also those that a kept answer was found for.
    pub questions: u64,
    /// Domains that could not be looked up for now: no answer, or a server's failure.
    pub failures: u64,
    /// Domains that were looked up again before their answers ended, as they are busy.
    pub refreshes: u64,
    /// How often a known route was used on, as the DNS gave no new one.
    pub stale: u64,
    /// Domains whose answers are kept now.
    pub cached: usize,
}

/// How a session to a route's hosts is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TlsPolicy {
    /// Encrypted when the host offers it; the certificate is not verified.
    #[default]
    Opportunistic,
    /// Never encrypted.
    None,
    /// Encrypted or not at all; the certificate is not verified.
    Required,
    /// Encrypted, and the certificate must be good and the host's own; or not at all.
    Verified,
}

/// How we prove to a smart host who we are.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub username: String,
    /// The secret. In no debug text.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("username", &self.username).finish_non_exhaustive()
    }
}

/// The hosts that take mail for a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The unit of limits and feedback: the names of the most preferred hosts, sorted and joined by commas.
    pub site: Arc<str>,
    /// In order of preference; not empty, and at least one of them has an address.
    pub hops: Vec<Hop>,
    /// How sessions are protected.
    pub tls: TlsPolicy,
    /// Whether TLS comes first of all, before the greeting, as at port 465.
    pub implicit_tls: bool,
    /// How we log in, if at all.
    pub login: Option<Arc<Login>>,
    /// Whether the operator wrote it down; else it is the DNS's.
    pub is_fixed: bool,
}

impl Route {
    #[cfg(test)]
    fn empty() -> Self {
        let (site, hops) = ("".into(), Vec::new());
        Self { site, hops, tls: TlsPolicy::Opportunistic, implicit_tls: false, login: None, is_fixed: false }
    }

    /// Whether a connection made for the other's mail is protected and logged in as this one's has to be. Together
    /// with [`Self::leads_to`] it says whether that connection may carry this route's mail.
    #[must_use]
    pub fn carries_alike(&self, other: &Self) -> bool {
        (self.tls, self.implicit_tls, self.is_fixed) == (other.tls, other.implicit_tls, other.is_fixed)
            && self.login == other.login
    }
}

/// One host of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Its name, or its address as text.
    pub name: Arc<str>,
    /// The lower, the sooner; equal ones share the load.
    pub preference: u16,
    /// May be empty, when only this host could not be resolved.
    pub addresses: Vec<SocketAddr>,
}
