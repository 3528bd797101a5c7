//! Where mail for a domain goes: which hosts, in which order, at which addresses.
//!
//! [`Routes`] is the port. [`HickoryRoutes`] asks the DNS; [`FixedRoutes`] holds what the operator wrote down and
//! asks another for the rest.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use sluice_mail::{Failure, Host};

mod cache;
mod fixed;
mod hickory;
mod mx;
mod networks;
mod targets;

pub use fixed::{FixedRoute, FixedRoutes, RelayHost, RelayHostError};
pub use hickory::{HickoryRoutes, ResolverError, Settings};
pub use networks::Networks;
pub use targets::Target;

/// A route, or why there is none: permanently (no such domain) or for now (no answer from the DNS).
pub type Resolved = Result<Arc<Route>, Failure>;

/// Where mail for a host part goes.
pub trait Routes: Send + Sync + 'static {
    /// The answer, when it is at hand without waiting.
    fn at_hand(&self, host: &Host) -> Option<Resolved>;

    /// The answer. Waits for a bounded time.
    fn resolve<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Resolved>;
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
