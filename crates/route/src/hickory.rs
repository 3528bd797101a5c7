//! Routes from the DNS (RFC 5321 5.1), by hickory-resolver.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream;
use sluice_mail::{Cause, Clock, Domain, Host};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::cache::Cache;
use crate::mx::{self, Addresses, Exchange, Exchanges};
use crate::{Networks, Numbers, Resolved, Routes};
use ask::{Asked, Asker, Freshness};

mod ask;
mod txt;

pub use txt::{TxtError, TxtRecords};

/// How long an answer is believed at least and at most, whatever its TTL says: routes, and permanent failures.
const ROUTE_LIFE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));
const FAILURE_LIFE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(300));
/// How long nobody asks again after a failure for now.
const TROUBLE_LIFE: Duration = Duration::from_secs(10);
/// The hosts of a domain that are looked at.
const HOSTS_MAX: usize = 16;
/// Of them, those that are asked for at once; each question takes a socket.
const HOSTS_AT_ONCE: usize = 5;
/// Answers kept per process.
const CACHED_MAX: usize = 50_000;
/// Domains looked up at once before their answers end. When there are more they wait for the end.
const REFRESHES_MAX: usize = 16;

/// What the resolver is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whom to ask; the system's name servers when empty.
    pub name_servers: Vec<SocketAddr>,
    /// Port of the mail hosts, 25 on the Internet.
    pub port: u16,
    /// Where nothing is sent to.
    pub networks: Networks,
}

/// The resolver could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("the DNS resolver cannot be set up: {0}")]
pub struct ResolverError(String);

/// Routes from the DNS, kept for as long as they are good. What is asked for often is looked up again before it ends,
/// so that mail to busy domains does not wait for the DNS; and when the DNS gives no answer, a route that was known is
/// used on for a while.
pub struct HickoryRoutes(Arc<Inner>);

struct Inner {
    asker: Asker,
    settings: Settings,
    cache: Cache<Host>,
    clock: Arc<dyn Clock>,
    refreshing: Arc<Semaphore>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    failures: AtomicU64,
    refreshes: AtomicU64,
    stale: AtomicU64,
}

impl HickoryRoutes {
    /// A resolver by these settings. Asks nothing yet.
    pub fn new(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, ResolverError> {
        Ok(Self(Arc::new(Inner {
            asker: Asker::new(&settings.name_servers)?,
            settings,
            cache: Cache::new(CACHED_MAX),
            clock,
            refreshing: Arc::new(Semaphore::new(REFRESHES_MAX)),
            counts: Counts::default(),
        })))
    }

    /// Looks the host up again while others use the answer that is known.
    fn refresh(&self, host: &Host) {
        let (Ok(runtime), Ok(permit)) = (Handle::try_current(), self.0.refreshing.clone().try_acquire_owned()) else {
            return;
        };
        self.0.counts.refreshes.fetch_add(1, Ordering::Relaxed);
        runtime.spawn(self.0.clone().refresh(host.clone(), permit));
    }
}

impl Inner {
    async fn refresh(self: Arc<Self>, host: Host, _permit: OwnedSemaphorePermit) {
        drop(self.learn(&host, Freshness::New).await);
    }

    /// Asks, and keeps the answer.
    async fn learn(&self, host: &Host, freshness: Freshness) -> Resolved {
        let (answer, ttl) = match host {
            Host::Literal(ip) => (self.literal(host, *ip), None),
            Host::Domain(domain) => self.domain(domain, freshness).await,
        };
        let now = self.clock.now();
        if is_for_now(&answer) {
            self.counts.failures.fetch_add(1, Ordering::Relaxed);
            if let Some(route) = self.cache.prolong(now, host) {
                self.counts.stale.fetch_add(1, Ordering::Relaxed);
                return Ok(route);
            }
        }
        self.cache.put(now, life(&answer, ttl), host.clone(), answer.clone());
        answer
    }

    fn literal(&self, host: &Host, ip: IpAddr) -> Resolved {
        let exchange = Exchange { preference: 0, name: host.to_string() };
        let hosts = vec![(exchange, Addresses::Found(vec![ip]))];
        mx::route(&host.to_string(), hosts, self.settings.port, &self.settings.networks)
    }

    /// The route of a domain, and for how long the DNS says that it is good.
    async fn domain(&self, domain: &Domain, freshness: Freshness) -> (Resolved, Option<Duration>) {
        let name = domain.as_str();
        let (records, ttl) = match self.asker.exchanges(name, freshness).await {
            Asked::Records(records, ttl) => (records, Some(ttl)),
            Asked::Nothing { exists: true, ttl } => (Vec::new(), ttl),
            Asked::Nothing { exists: false, ttl } => return (Err(mx::no_such_domain(name)), ttl),
            Asked::Trouble(why) => return (Err(mx::trouble(why)), None),
        };
        let exchanges = match mx::exchanges(records, HOSTS_MAX) {
            Exchanges::Null => return (Err(mx::null_mx(name)), ttl),
            Exchanges::Implicit => vec![Exchange { preference: 0, name: name.to_owned() }],
            Exchanges::Hosts(exchanges) => exchanges,
        };
        let names: Vec<_> = exchanges.iter().map(|exchange| exchange.name.clone()).collect();
        let asked = names.into_iter().map(async |name| self.asker.addresses(&name, freshness).await);
        let answers: Vec<_> = stream::iter(asked).buffered(HOSTS_AT_ONCE).collect().await;
        let (addresses, ttls): (Vec<_>, Vec<_>) = answers.into_iter().unzip();
        // What is not known now is soon asked for again.
        let is_known = !addresses.iter().any(|addresses| matches!(addresses, Addresses::Unknown(_)));
        let ttl = ttls.into_iter().chain([ttl]).flatten().min().filter(|_| is_known);
        let hosts = exchanges.into_iter().zip(addresses).collect();
        (mx::route(name, hosts, self.settings.port, &self.settings.networks), ttl)
    }
}

impl Routes for HickoryRoutes {
    fn at_hand(&self, host: &Host) -> Option<Resolved> {
        if let Host::Literal(ip) = host {
            return Some(self.0.literal(host, *ip));
        }
        let found = self.0.cache.get(self.0.clock.now(), host)?;
        if found.is_due {
            self.refresh(host);
        }
        Some(found.answer)
    }

    fn resolve<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Resolved> {
        Box::pin(async move {
            match self.at_hand(host) {
                Some(answer) => answer,
                None => self.0.learn(host, Freshness::Kept).await,
            }
        })
    }

    fn numbers(&self) -> Numbers {
        let Inner { asker, cache, counts, .. } = &*self.0;
        Numbers {
            questions: asker.questions.load(Ordering::Relaxed),
            failures: counts.failures.load(Ordering::Relaxed),
            refreshes: counts.refreshes.load(Ordering::Relaxed),
            stale: counts.stale.load(Ordering::Relaxed),
            cached: cache.len(),
        }
    }
}

/// For how long an answer is kept, given the time that the DNS names.
fn life(answer: &Resolved, ttl: Option<Duration>) -> Duration {
    let within = |(least, most)| ttl.map_or(least, |ttl| ttl.clamp(least, most));
    match answer {
        Ok(_) => within(ROUTE_LIFE),
        Err(_) if is_for_now(answer) => TROUBLE_LIFE,
        Err(_) => within(FAILURE_LIFE),
    }
}

fn is_for_now(answer: &Resolved) -> bool {
    answer.as_ref().is_err_and(|failure| matches!(failure.cause, Cause::Dns(_)))
}

#[cfg(test)]
mod tests;
