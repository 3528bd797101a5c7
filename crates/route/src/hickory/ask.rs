//! Single questions to the DNS: what an answer means, whatever the way it came.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{ResolverBuilder, TokioResolver};

use super::ResolverError;
use crate::mx::{Addresses, Exchange};

/// How long one question may take, with all repetitions.
const PATIENCE: Duration = Duration::from_secs(12);
/// Answers about single names that are kept, so that the many domains of one provider do not ask for its hosts again.
const KEPT_MAX: u64 = 8_192;
/// How long they are kept at most: those with records, and those without.
const KEPT_FOR: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_secs(300));
/// Questions under way at once over one TCP connection to a name server.
const PIPELINED_MAX: usize = 1000;

/// Asks the DNS.
pub(super) struct Asker {
    /// Keeps answers.
    keeping: TokioResolver,
    /// Keeps none, so that a refresh gets a new one.
    fresh: TokioResolver,
    pub(super) questions: AtomicU64,
}

/// Whether an answer that was kept will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    Kept,
    New,
}

/// What came of a question, and for how long that is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked<T> {
    Records(Vec<T>, Duration),
    /// There are none: whether the name exists, and the time that its zone names.
    Nothing {
        exists: bool,
        ttl: Option<Duration>,
    },
    /// It cannot be told now: why.
    Trouble(String),
}

impl Asker {
    /// Asks these name servers, or the system's when there are none.
    pub(super) fn new(name_servers: &[SocketAddr]) -> Result<Self, ResolverError> {
        let resolver = |kept| {
            let mut builder = builder(name_servers)?;
            let options = builder.options_mut();
            // Mail goes by the DNS; what shall go elsewhere has a fixed route.
            options.use_hosts_file = ResolveHosts::Never;
            options.try_tcp_on_error = true;
            options.max_active_requests = PIPELINED_MAX;
            options.cache_size = kept;
            options.positive_max_ttl = Some(KEPT_FOR.0);
            options.negative_max_ttl = Some(KEPT_FOR.1);
            builder.build().map_err(|e| ResolverError(e.to_string()))
        };
        Ok(Self { keeping: resolver(KEPT_MAX)?, fresh: resolver(0)?, questions: AtomicU64::new(0) })
    }

    /// The MX records of a domain.
    pub(super) async fn exchanges(&self, name: &str, freshness: Freshness) -> Asked<Exchange> {
        let read = |data: &RData| {
            let RData::MX(mx) = data else { return None };
            Some(Exchange { preference: mx.preference, name: plain(&mx.exchange.to_ascii()) })
        };
        self.ask(name, RecordType::MX, freshness, read).await
    }

    /// The addresses of a host in both families, and for how long they are good.
    pub(super) async fn addresses(&self, name: &str, freshness: Freshness) -> (Addresses, Option<Duration>) {
        // An address in the place of a name is against RFC 5321 5.1, does occur, and can only mean one thing.
        if let Ok(ip) = name.parse() {
            return (Addresses::Found(vec![ip]), None);
        }
        let (v4, v6) = join(
            self.ask(name, RecordType::A, freshness, RData::ip_addr),
            self.ask(name, RecordType::AAAA, freshness, RData::ip_addr),
        )
        .await;
        combine(v4, v6)
    }

    /// The TXT records of a name, each with its strings joined.
    pub(super) async fn texts(&self, name: &str) -> Asked<String> {
        let read = |data: &RData| {
            let RData::TXT(txt) = data else { return None };
            Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned())
        };
        self.ask(name, RecordType::TXT, Freshness::New, read).await
    }

    async fn ask<T>(
        &self,
        name: &str,
        kind: RecordType,
        freshness: Freshness,
        read: impl Fn(&RData) -> Option<T>,
    ) -> Asked<T> {
        let resolver = match freshness {
            Freshness::Kept => &self.keeping,
            Freshness::New => &self.fresh,
        };
        self.questions.fetch_add(1, Ordering::Relaxed);
        // Octet by octet, as names with underscores are used; and fully qualified, so that no search list is tried.
        let full = match Name::from_ascii(format!("{name}.")) {
            Ok(full) => full,
            Err(_) => return Asked::Nothing { exists: false, ttl: None },
        };
        match tokio::time::timeout(PATIENCE, resolver.lookup(full, kind)).await {
            Ok(Ok(lookup)) => {
                let ttl = lookup.answers().iter().map(|record| record.ttl).min().unwrap_or(0);
                let records: Vec<_> = lookup.answers().iter().filter_map(|record| read(&record.data)).collect();
                let ttl = Duration::from_secs(ttl.into());
                if records.is_empty() {
                    Asked::Nothing { exists: true, ttl: Some(ttl) }
                } else {
                    Asked::Records(records, ttl)
                }
            }
            Ok(Err(error)) => failed(name, kind, &error),
            Err(_) => failed(name, kind, &NetError::Timeout),
        }
    }
}

/// One family that is known is enough; when there is none, both must be known.
fn combine(v4: Asked<IpAddr>, v6: Asked<IpAddr>) -> (Addresses, Option<Duration>) {
    match (v4, v6) {
        (Asked::Records(mut found, a), Asked::Records(more, b)) => {
            found.extend(more);
            (Addresses::Found(found), Some(a.min(b)))
        }
        (Asked::Records(found, ttl), Asked::Nothing { .. } | Asked::Trouble(_))
        | (Asked::Nothing { .. } | Asked::Trouble(_), Asked::Records(found, ttl)) => {
            (Addresses::Found(found), Some(ttl))
        }
        (Asked::Trouble(why), Asked::Nothing { .. } | Asked::Trouble(_))
        | (Asked::Nothing { .. }, Asked::Trouble(why)) => (Addresses::Unknown(why), None),
        (Asked::Nothing { ttl: a, .. }, Asked::Nothing { ttl: b, .. }) => {
            (Addresses::None, [a, b].into_iter().flatten().min())
        }
    }
}

fn failed<T>(name: &str, kind: RecordType, error: &NetError) -> Asked<T> {
    if let NetError::Dns(DnsError::NoRecordsFound(none)) = error
        && is_an_answer(none)
    {
        let exists = none.response_code != ResponseCode::NXDomain;
        return Asked::Nothing { exists, ttl: none.negative_ttl.map(|ttl| Duration::from_secs(ttl.into())) };
    }
    let what = match () {
        () if kind == RecordType::MX => "the MX records of",
        () if kind == RecordType::TXT => "the TXT records of",
        () => "the address of",
    };
    let what = format!("{what} {name}");
    Asked::Trouble(if let NetError::Dns(DnsError::ResponseCode(code)) = error {
        format!("the DNS cannot tell {what} now: {code}")
    } else if matches!(error, NetError::Timeout) {
        format!("the DNS does not tell {what} in time")
    } else if matches!(error, NetError::Dns(DnsError::NoRecordsFound(_))) {
        format!("the DNS cannot tell {what}: the name server refers to others instead of asking them")
    } else {
        format!("the DNS cannot tell {what} now: {error}")
    })
}

/// A reference to other name servers is no answer: it says that we ask one that does not resolve for us.
fn is_an_answer(none: &NoRecords) -> bool {
    none.soa.is_some() || none.ns.is_none() || none.response_code == ResponseCode::NXDomain
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

fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_no_address_only_when_both_families_say_so() {
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        let some = || Asked::Records(vec![ip], Duration::from_secs(9));
        let none = || Asked::Nothing { exists: true, ttl: None };
        let late = || Asked::Trouble("late".into());
        let unknown = || Addresses::Unknown("late".into());
        for (v4, v6, want) in [
            (some(), some(), Addresses::Found(vec![ip, ip])),
            (some(), none(), Addresses::Found(vec![ip])),
            (late(), some(), Addresses::Found(vec![ip])),
            (none(), none(), Addresses::None),
            (none(), late(), unknown()),
            (late(), none(), unknown()),
            (late(), late(), unknown()),
        ] {
            assert_eq!(combine(v4, v6).0, want);
        }
    }
}
