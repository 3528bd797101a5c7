//! Routes that the operator wrote down: by domain, or for all mail (a smart host).

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use sluice_mail::{Cause, Clock, Domain, Failure, Host, Stage};
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use crate::cache::Cache;
use crate::{Hop, Login, Numbers, Resolved, Route, Routes, TlsPolicy};

/// How long the addresses of a relay host's name are kept.
const NAME_LIFE: Duration = Duration::from_secs(60);
/// How long nobody asks again after a failure.
const TROUBLE_LIFE: Duration = Duration::from_secs(10);
/// How long a relay host's name may take to be resolved.
const PATIENCE: Duration = Duration::from_secs(10);

/// `name:port` or `address:port` of a host that takes mail for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayHost {
    name: Arc<str>,
    port: u16,
}

/// The text is no host with a port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected host:port, such as relay.example.org:25, 127.0.0.1:2525 or [::1]:25")]
pub struct RelayHostError;

/// Where mail for a domain is sent instead of its MX hosts. Its addresses may be private ones: the operator said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedRoute {
    /// The domain, or `None` for all that have no route of their own.
    pub domain: Option<Domain>,
    /// To be tried in this order; not empty.
    pub hosts: Vec<RelayHost>,
    /// How sessions are protected.
    pub tls: TlsPolicy,
    /// Whether TLS comes first of all, as at port 465.
    pub implicit_tls: bool,
    /// How we log in, if at all.
    pub login: Option<Arc<Login>>,
}

impl FixedRoute {
    /// A route without a login, encrypted when the hosts offer it.
    #[must_use]
    pub fn new(domain: Option<Domain>, hosts: Vec<RelayHost>) -> Self {
        Self { domain, hosts, tls: TlsPolicy::default(), implicit_tls: false, login: None }
    }
}

/// Routes that were written down, and another's for the rest.
pub struct FixedRoutes {
    relays: Arc<Relays>,
    by_domain: HashMap<Domain, usize>,
    all_others: Option<usize>,
    rest: Option<Arc<dyn Routes>>,
}

struct Relays {
    relays: Vec<Relay>,
    /// What the names of hosts were resolved to, by the place of the relay.
    known: Cache<usize>,
    clock: Arc<dyn Clock>,
}

struct Relay {
    rule: FixedRoute,
    site: Arc<str>,
    /// The route, when all hosts are addresses.
    constant: Option<Arc<Route>>,
    /// Whoever asks the system holds it, so that many mails at once ask once.
    asking: Mutex<()>,
}

impl FixedRoutes {
    /// These routes; the last of two for one domain counts. `rest` is asked for all other mail.
    #[must_use]
    pub fn new(routes: Vec<FixedRoute>, rest: Option<Arc<dyn Routes>>, clock: Arc<dyn Clock>) -> Self {
        let (mut by_domain, mut all_others) = (HashMap::new(), None);
        for (place, route) in routes.iter().enumerate() {
            match route.domain.clone() {
                Some(domain) => drop(by_domain.insert(domain, place)),
                None => all_others = Some(place),
            }
        }
        // A generation of the cache has room for all.
        let known = Cache::new(2 * routes.len());
        let relays = routes.into_iter().map(Relay::new).collect();
        Self { relays: Arc::new(Relays { relays, known, clock }), by_domain, all_others, rest }
    }

    fn place(&self, host: &Host) -> Option<usize> {
        host.domain().and_then(|domain| self.by_domain.get(domain).copied()).or(self.all_others)
    }
}

impl Routes for FixedRoutes {
    fn at_hand(&self, host: &Host) -> Option<Resolved> {
        match (self.place(host), &self.rest) {
            (Some(place), _) => self.relays.at_hand(place),
            (None, Some(rest)) => rest.at_hand(host),
            (None, None) => Some(Err(no_route(host))),
        }
    }

    fn resolve<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Resolved> {
        Box::pin(async move {
            match (self.place(host), &self.rest) {
                (Some(place), _) => self.relays.resolve(place).await,
                (None, Some(rest)) => rest.resolve(host).await,
                (None, None) => Err(no_route(host)),
            }
        })
    }

    fn numbers(&self) -> Numbers {
        self.rest.as_ref().map(|rest| rest.numbers()).unwrap_or_default()
    }
}

impl Relays {
    /// The answer that is known. A busy relay's names are asked for again before it ends, without waiting.
    fn at_hand(self: &Arc<Self>, place: usize) -> Option<Resolved> {
        if let Some(route) = &self.relays[place].constant {
            return Some(Ok(route.clone()));
        }
        let found = self.known.get(self.clock.now(), &place)?;
        if let (true, Ok(runtime)) = (found.is_due, Handle::try_current()) {
            let relays = self.clone();
            runtime.spawn(async move { drop(relays.learn(place).await) });
        }
        Some(found.answer)
    }

    async fn resolve(self: &Arc<Self>, place: usize) -> Resolved {
        if let Some(answer) = self.at_hand(place) {
            return answer;
        }
        let _asking = self.relays[place].asking.lock().await;
        match self.at_hand(place) {
            Some(answer) => answer,
            None => self.learn(place).await,
        }
    }

    /// Asks the system, and keeps the answer. When there is none, the one that was known is used on for a while.
    async fn learn(&self, place: usize) -> Resolved {
        let answer = self.relays[place].look_up().await;
        let now = self.clock.now();
        if answer.is_err()
            && let Some(route) = self.known.prolong(now, &place)
        {
            return Ok(route);
        }
        let life = if answer.is_ok() { NAME_LIFE } else { TROUBLE_LIFE };
        self.known.put(now, life, place, answer.clone());
        answer
    }
}

impl Relay {
    fn new(rule: FixedRoute) -> Self {
        let names: Vec<_> = rule.hosts.iter().map(ToString::to_string).collect();
        let mut relay = Self { rule, site: names.join(",").into(), constant: None, asking: Mutex::default() };
        let addresses: Option<Vec<_>> = relay.rule.hosts.iter().map(|host| Some(vec![host.address()?])).collect();
        relay.constant = addresses.map(|addresses| Arc::new(relay.route(addresses)));
        relay
    }

    async fn look_up(&self) -> Resolved {
        let answers = join_all(self.rule.hosts.iter().map(RelayHost::addresses)).await;
        let trouble = answers.iter().find_map(|answer| answer.as_ref().err()).cloned();
        let addresses: Vec<_> = answers.into_iter().map(Result::unwrap_or_default).collect();
        match trouble {
            Some(why) if addresses.iter().all(Vec::is_empty) => Err(Failure::new(Stage::Resolve, Cause::Dns(why))),
            Some(_) | None => Ok(Arc::new(self.route(addresses))),
        }
    }

    fn route(&self, addresses: Vec<Vec<SocketAddr>>) -> Route {
        let hop = |(preference, (host, addresses)): (usize, (&RelayHost, Vec<SocketAddr>))| Hop {
            name: host.name.clone(),
            preference: u16::try_from(preference).unwrap_or(u16::MAX),
            addresses,
        };
        let hops = self.rule.hosts.iter().zip(addresses).enumerate().map(hop).collect();
        Route {
            site: self.site.clone(),
            hops,
            tls: self.rule.tls,
            implicit_tls: self.rule.implicit_tls,
            login: self.rule.login.clone(),
            is_fixed: true,
        }
    }
}

impl RelayHost {
    /// The host at this address.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        Self { name: address.ip().to_string().into(), port: address.port() }
    }

    fn address(&self) -> Option<SocketAddr> {
        self.name.parse().ok().map(|ip| SocketAddr::new(ip, self.port))
    }

    /// By the system's resolver, which knows the names of containers and of `/etc/hosts` too.
    async fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        if let Some(address) = self.address() {
            return Ok(vec![address]);
        }
        match tokio::time::timeout(PATIENCE, tokio::net::lookup_host((&*self.name, self.port))).await {
            Ok(Ok(found)) => {
                let found: Vec<_> = found.collect();
                if found.is_empty() { Err(format!("{} has no address", self.name)) } else { Ok(found) }
            }
            Ok(Err(e)) => Err(format!("the address of {} cannot be found: {e}", self.name)),
            Err(_) => Err(format!("the address of {} was not found in time", self.name)),
        }
    }
}

impl FromStr for RelayHost {
    type Err = RelayHostError;

    fn from_str(text: &str) -> Result<Self, RelayHostError> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self::at(address));
        }
        let (name, port) = text.rsplit_once(':').ok_or(RelayHostError)?;
        let name = Domain::parse(name).map_err(|_| RelayHostError)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(RelayHostError)?;
        Ok(Self { name: name.as_str().into(), port })
    }
}

impl fmt::Display for RelayHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address() {
            Some(address) => address.fmt(f),
            None => write!(f, "{}:{}", self.name, self.port),
        }
    }
}

fn no_route(host: &Host) -> Failure {
    Failure::new(Stage::Resolve, Cause::Dns(format!("no route leads to {host}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_mail::{ManualClock, UnixMs};
    use std::time::Instant;

    #[expect(clippy::disallowed_methods, reason = "an instant cannot be made without the clock")]
    fn clock() -> Arc<ManualClock> {
        Arc::new(ManualClock::new(Instant::now(), UnixMs(0)))
    }

    fn rule(domain: Option<&str>, hosts: &[&str]) -> FixedRoute {
        let domain = domain.map(|d| Domain::parse(d).unwrap());
        FixedRoute {
            tls: TlsPolicy::None,
            ..FixedRoute::new(domain, hosts.iter().map(|h| h.parse().unwrap()).collect())
        }
    }

    #[test]
    fn reads_hosts_with_ports_and_nothing_else() {
        for text in ["127.0.0.1:2525", "[::1]:25", "relay.example.org:587"] {
            assert_eq!(text.parse::<RelayHost>().unwrap().to_string(), text);
        }
        for text in ["", "relay.example.org", "127.0.0.1", "::1", "a:0", "a:70000", ":25", "a b:25"] {
            assert_eq!(text.parse::<RelayHost>(), Err(RelayHostError), "{text}");
        }
    }

    #[tokio::test]
    async fn a_domains_own_route_comes_before_the_one_for_all() {
        let rules = vec![rule(None, &["127.0.0.1:1"]), rule(Some("example.org"), &["127.0.0.1:2", "127.0.0.1:3"])];
        let routes = FixedRoutes::new(rules, None, clock());
        for (host, site) in [
            ("example.org", "127.0.0.1:2,127.0.0.1:3"),
            ("sub.example.org", "127.0.0.1:1"),
            ("[192.0.2.1]", "127.0.0.1:1"),
        ] {
            let host = Host::parse(host).unwrap();
            let route = routes.at_hand(&host).unwrap().unwrap();
            assert_eq!((&*route.site, route.tls), (site, TlsPolicy::None));
            assert_eq!(routes.resolve(&host).await.unwrap(), route);
        }
        let own = routes.at_hand(&Host::parse("example.org").unwrap()).unwrap().unwrap();
        assert_eq!(own.hops.iter().map(|hop| hop.preference).collect::<Vec<_>>(), [0, 1], "in the order given");
    }

    #[tokio::test]
    async fn names_are_asked_of_the_system_and_kept_for_a_while() {
        let (clock, host) = (clock(), Host::parse("example.org").unwrap());
        let routes = FixedRoutes::new(vec![rule(None, &["localhost:25"])], None, clock.clone());
        assert!(routes.at_hand(&host).is_none());
        let route = routes.resolve(&host).await.unwrap();
        assert!(route.hops[0].addresses.iter().all(|a| a.ip().is_loopback() && a.port() == 25));
        assert_eq!(routes.at_hand(&host), Some(Ok(route)));
        clock.advance(Duration::from_secs(61));
        assert!(routes.at_hand(&host).is_none());
    }

    #[tokio::test]
    async fn a_name_that_cannot_be_found_is_not_asked_for_by_every_mail() {
        let (clock, host) = (clock(), Host::parse("example.org").unwrap());
        let routes = FixedRoutes::new(vec![rule(None, &["no-such-host.invalid:25"])], None, clock.clone());
        let failure = routes.resolve(&host).await.unwrap_err();
        assert!(matches!(&failure.cause, Cause::Dns(why) if why.contains("no-such-host.invalid")), "{failure}");
        assert_eq!(routes.at_hand(&host), Some(Err(failure)));
        clock.advance(Duration::from_secs(10));
        assert_eq!(routes.at_hand(&host), None);
    }

    #[test]
    fn a_route_says_how_its_sessions_are_protected() {
        let login = Arc::new(Login { username: "us".into(), password: "secret".into() });
        let smart = FixedRoute {
            tls: TlsPolicy::Verified,
            implicit_tls: true,
            login: Some(login.clone()),
            ..rule(Some("a.example"), &["192.0.2.1:465"])
        };
        let routes = FixedRoutes::new(vec![smart, rule(None, &["192.0.2.1:465"])], None, clock());
        let [smart, other] =
            ["a.example", "b.example"].map(|host| routes.at_hand(&Host::parse(host).unwrap()).unwrap().unwrap());
        assert_eq!((smart.tls, smart.implicit_tls, &smart.login), (TlsPolicy::Verified, true, &Some(login)));
        assert!(smart.is_fixed && smart.site == other.site, "one host, one set of limits");
        assert!(smart.carries_alike(&smart) && !smart.carries_alike(&other) && !other.carries_alike(&smart));
        assert!(!format!("{smart:?}").contains("secret"));
    }

    #[test]
    fn without_a_route_the_mail_waits() {
        let routes = FixedRoutes::new(vec![], None, clock());
        let answer = routes.at_hand(&Host::parse("example.org").unwrap()).unwrap();
        assert!(matches!(answer.unwrap_err().cause, Cause::Dns(_)));
    }
}
