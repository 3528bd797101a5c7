//! Routes from the DNS (RFC 5321 5.1), by hickory-resolver.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, join_all};
use hickory_resolver::config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::{ResolverBuilder, TokioResolver};
use sluice_mail::{Cause, Clock, Domain, Failure, Host, Stage};

use crate::cache::Cache;
use crate::mx::{self, Addresses, Exchange, Exchanges};
use crate::{Networks, Resolved, Routes};

/// How long an answer is believed at least and at most, whatever its TTL says: routes, and permanent failures.
const ROUTE_TTL: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));
const FAILURE_TTL: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(300));
/// How long nobody asks again after a failure for now.
const TROUBLE_TTL: Duration = Duration::from_secs(10);
/// How long the whole of a resolution may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The hosts of a domain that are looked at.
const HOSTS_MAX: usize = 16;
/// Answers kept per process.
const CACHED_MAX: usize = 50_000;

/// What the resolver is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whom to ask; the system's name servers when empty.
    pub name_servers: Vec<SocketAddr>,
    /// Port of the mail hosts, 25 on the Internet.
    pub port: u16,
    /// Addresses that are never connected to.
    pub networks: Networks,
}

/// The resolver could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("the DNS resolver cannot be set up: {0}")]
pub struct ResolverError(String);

/// Routes from the DNS, kept for as long as they are good.
pub struct HickoryRoutes {
    resolver: TokioResolver,
    settings: Settings,
    cache: Cache,
    clock: Arc<dyn Clock>,
}

/// What came of a question about a domain's mail hosts.
struct Answer<T> {
    value: T,
    good_until: Option<Instant>,
}

impl HickoryRoutes {
    /// A resolver by these settings. Asks nothing yet.
    pub fn new(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, ResolverError> {
        let mut builder = builder(&settings.name_servers)?;
        let options = builder.options_mut();
        // Mail goes by the DNS; what shall go elsewhere has a fixed route.
        options.use_hosts_file = ResolveHosts::Never;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.try_tcp_on_error = true;
        let resolver = builder.build().map_err(|e| ResolverError(e.to_string()))?;
        Ok(Self { resolver, settings, cache: Cache::new(CACHED_MAX), clock })
    }

    async fn look_up(&self, host: &Host) -> (Resolved, Option<Instant>) {
        match host {
            Host::Literal(ip) => (self.literal(host, *ip), None),
            Host::Domain(domain) => self.domain(domain).await,
        }
    }

    fn literal(&self, host: &Host, ip: IpAddr) -> Resolved {
        let exchange = Exchange { preference: 0, name: host.to_string() };
        let hosts = vec![(exchange, Addresses::Found(vec![ip]))];
        mx::route(&host.to_string(), hosts, self.settings.port, &self.settings.networks)
    }

    async fn domain(&self, domain: &Domain) -> (Resolved, Option<Instant>) {
        let name = domain.as_str();
        let records = match self.mx_records(name).await {
            Ok(records) => records,
            Err(failure) => return (Err(failure), None),
        };
        let exchanges = match mx::exchanges(records.value, HOSTS_MAX) {
            Exchanges::Null => return (Err(mx::null_mx(name)), records.good_until),
            Exchanges::Implicit => vec![Exchange { preference: 0, name: name.to_owned() }],
            Exchanges::Hosts(exchanges) => exchanges,
        };
        let answers = join_all(exchanges.iter().map(|exchange| self.addresses(&exchange.name))).await;
        let times = answers.iter().map(|answer| answer.good_until).chain([records.good_until]);
        let good_until = times.flatten().min();
        let hosts = exchanges.into_iter().zip(answers.into_iter().map(|answer| answer.value)).collect();
        (mx::route(name, hosts, self.settings.port, &self.settings.networks), good_until)
    }

    async fn mx_records(&self, name: &str) -> Result<Answer<Vec<Exchange>>, Failure> {
        match self.resolver.lookup(absolute(name), RecordType::MX).await {
            Ok(lookup) => {
                let exchange = |data: &RData| {
                    let RData::MX(mx) = data else { return None };
                    Some(Exchange { preference: mx.preference, name: plain(&mx.exchange.to_ascii()) })
                };
                let value = lookup.answers().iter().filter_map(|record| exchange(&record.data)).collect();
                Ok(Answer { value, good_until: Some(lookup.valid_until()) })
            }
            Err(e) if e.is_nx_domain() => Err(mx::no_such_domain(name)),
            Err(e) if e.is_no_records_found() => Ok(Answer { value: Vec::new(), good_until: None }),
            Err(e) => Err(trouble(&format!("the MX records of {name}"), &e)),
        }
    }

    async fn addresses(&self, name: &str) -> Answer<Addresses> {
        match self.resolver.lookup_ip(absolute(name)).await {
            Ok(lookup) => {
                Answer { value: Addresses::Found(lookup.iter().collect()), good_until: Some(lookup.valid_until()) }
            }
            Err(e) if e.is_no_records_found() => Answer { value: Addresses::None, good_until: None },
            Err(e) => {
                let why = trouble_words(&format!("the address of {name}"), &e);
                Answer { value: Addresses::Unknown(why), good_until: None }
            }
        }
    }

    /// Until when the answer is believed.
    fn good_until(&self, answer: &Resolved, ttl_ends: Option<Instant>) -> Instant {
        let now = self.clock.now();
        let ttl = |(least, most)| ttl_ends.map_or(least, |t| t.saturating_duration_since(now).clamp(least, most));
        now + match answer {
            Ok(_) => ttl(ROUTE_TTL),
            Err(Failure { cause: Cause::NoSuchHost(..) | Cause::Prohibited(..), .. }) => ttl(FAILURE_TTL),
            Err(_) => TROUBLE_TTL,
        }
    }
}

impl Routes for HickoryRoutes {
    fn at_hand(&self, host: &Host) -> Option<Resolved> {
        match host {
            Host::Literal(ip) => Some(self.literal(host, *ip)),
            Host::Domain(_) => self.cache.get(self.clock.now(), host),
        }
    }

    fn resolve<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Resolved> {
        Box::pin(async move {
            if let Some(answer) = self.at_hand(host) {
                return answer;
            }
            let late =
                || Failure::new(Stage::Resolve, Cause::Dns(format!("no answer from the DNS about {host} in time")));
            let looked_up = tokio::time::timeout(PATIENCE, self.look_up(host)).await;
            let (answer, ttl_ends) = looked_up.unwrap_or_else(|_| (Err(late()), None));
            self.cache.put(self.good_until(&answer, ttl_ends), host.clone(), answer.clone());
            answer
        })
    }
}

fn builder(name_servers: &[SocketAddr]) -> Result<ResolverBuilder<TokioRuntimeProvider>, ResolverError> {
    if name_servers.is_empty() {
        return TokioResolver::builder_tokio().map_err(|e| ResolverError(format!("/etc/resolv.conf: {e}")));
    }
    let server = |address: &SocketAddr| {
        let at_port = |mut connection: ConnectionConfig| {
            connection.port = address.port();
            connection
        };
        let ways = vec![at_port(ConnectionConfig::udp()), at_port(ConnectionConfig::tcp())];
        NameServerConfig::new(address.ip(), true, ways)
    };
    let config = ResolverConfig::from_parts(None, vec![], name_servers.iter().map(server).collect());
    Ok(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
}

/// Fully qualified, so that no search list is tried.
fn absolute(name: &str) -> String {
    format!("{name}.")
}

fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn trouble(what: &str, error: &NetError) -> Failure {
    Failure::new(Stage::Resolve, Cause::Dns(trouble_words(what, error)))
}

fn trouble_words(what: &str, error: &NetError) -> String {
    if let NetError::Dns(DnsError::ResponseCode(code)) = error {
        format!("the DNS cannot tell {what} now: {code}")
    } else if matches!(error, NetError::Timeout) {
        format!("the DNS does not tell {what} in time")
    } else {
        format!("the DNS cannot tell {what} now: {error}")
    }
}

#[cfg(test)]
mod tests;
