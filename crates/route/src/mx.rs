//! From answers of the DNS to a route: what they mean, without asking anything.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use sluice_mail::{Cause, EnhancedCode, Failure, Stage};

use crate::networks::{self, Barred};
use crate::{Hop, Networks, Resolved, Route, TlsPolicy};

/// The domain takes no mail (RFC 7505).
const NULL_MX: EnhancedCode = EnhancedCode(5, 1, 10);
/// The domain does not exist.
const NO_DOMAIN: EnhancedCode = EnhancedCode(5, 1, 2);
/// There is no way to it.
const NO_ROUTE: EnhancedCode = EnhancedCode(5, 4, 4);
/// It leads back to us.
const LOOP: EnhancedCode = EnhancedCode(5, 4, 6);
/// Addresses of one host that are looked at.
const ADDRESSES_MAX: usize = 64;
/// Addresses named to the sender, at most.
const TOLD_MAX: usize = 5;

/// A host name with its preference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub(crate) preference: u16,
    /// Lower case, without a final dot; empty for the root.
    pub(crate) name: String,
}

/// What a domain says about its mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Exchanges {
    /// These hosts take it, in order of preference.
    Hosts(Vec<Exchange>),
    /// It takes none (RFC 7505).
    Null,
    /// Nothing: the domain itself is its host (RFC 5321 5.1).
    Implicit,
}

/// What is known of a host's addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Addresses {
    /// It has these.
    Found(Vec<IpAddr>),
    /// It has none.
    None,
    /// They cannot be found now: why.
    Unknown(String),
}

/// Reads the MX records of a domain. Of more than `max` hosts the most preferred are kept.
pub(crate) fn exchanges(mut records: Vec<Exchange>, max: usize) -> Exchanges {
    if records.is_empty() {
        return Exchanges::Implicit;
    }
    records.retain(|record| !record.name.is_empty());
    if records.is_empty() {
        return Exchanges::Null;
    }
    records.sort_by(|a, b| (a.preference, &a.name).cmp(&(b.preference, &b.name)));
    records.dedup_by(|b, a| a.name == b.name);
    records.truncate(max);
    Exchanges::Hosts(records)
}

/// The route over these hosts, or why there is none.
pub(crate) fn route(domain: &str, hosts: Vec<(Exchange, Addresses)>, port: u16, networks: &Networks) -> Resolved {
    let (mut unknown, mut barred, mut own) = (None, Vec::new(), None);
    let mut hops = Vec::with_capacity(hosts.len());
    for (exchange, addresses) in hosts {
        let found = match addresses {
            Addresses::Found(found) => found,
            Addresses::None => Vec::new(),
            Addresses::Unknown(why) => {
                unknown.get_or_insert((exchange.preference, why));
                Vec::new()
            }
        };
        let mut hop = Hop { name: exchange.name.into(), preference: exchange.preference, addresses: Vec::new() };
        for address in found.into_iter().take(ADDRESSES_MAX).map(|ip| SocketAddr::new(ip, port)) {
            match networks.bars(address) {
                None => hop.addresses.push(address),
                Some(Barred::Network(net)) => barred.push((address.ip(), net)),
                Some(Barred::Ourselves) => own = own.or(Some((hop.preference, address))),
            }
        }
        hops.push(hop);
    }
    if let Some((preference, _)) = own {
        // RFC 5321 5.1: who is a host of the domain itself passes mail on only to those that are preferred to it.
        hops.retain(|hop| hop.preference < preference);
        unknown = unknown.filter(|(of, _)| *of < preference);
    }
    if hops.iter().any(|hop| !hop.addresses.is_empty()) {
        return Ok(Arc::new(Route {
            site: site_of(&hops),
            hops,
            tls: TlsPolicy::Opportunistic,
            implicit_tls: false,
            login: None,
            is_fixed: false,
        }));
    }
    Err(match (unknown, own) {
        (None, Some((_, address))) => looped(domain, address),
        (Some((_, why)), _) => trouble(why),
        (None, None) if !barred.is_empty() => prohibited(domain, &barred),
        (None, None) => nowhere(domain),
    })
}

/// We are asked to send the mail to ourselves.
fn looped(domain: &str, address: SocketAddr) -> Failure {
    let words = format!("mail for {domain} loops back to this host, which listens at {address} itself");
    Failure::new(Stage::Resolve, Cause::Prohibited(LOOP, words))
}

/// All there is are addresses that nothing is sent to.
fn prohibited(domain: &str, barred: &[(IpAddr, IpNet)]) -> Failure {
    let mut told: Vec<_> =
        barred.iter().take(TOLD_MAX).map(|(ip, net)| format!("{ip} ({})", networks::describe(*ip, *net))).collect();
    told.dedup();
    let words = format!("mail for {domain} would go where nothing is sent to: {}", told.join(", "));
    Failure::new(Stage::Resolve, Cause::Prohibited(NO_ROUTE, words))
}

/// No host has an address.
fn nowhere(domain: &str) -> Failure {
    let words = format!("no mail host of {domain} has an address");
    Failure::new(Stage::Resolve, Cause::NoSuchHost(NO_ROUTE, words))
}

/// It cannot be told now.
pub(crate) fn trouble(why: String) -> Failure {
    Failure::new(Stage::Resolve, Cause::Dns(why))
}

/// The domain does not exist.
pub(crate) fn no_such_domain(domain: &str) -> Failure {
    Failure::new(Stage::Resolve, Cause::NoSuchHost(NO_DOMAIN, format!("the domain {domain} does not exist")))
}

/// The domain takes no mail.
pub(crate) fn null_mx(domain: &str) -> Failure {
    let words = format!("the domain {domain} accepts no mail (null MX)");
    Failure::new(Stage::Resolve, Cause::NoSuchHost(NULL_MX, words))
}

fn site_of(hops: &[Hop]) -> Arc<str> {
    let lowest = hops.iter().map(|hop| hop.preference).min();
    let names: Vec<_> = hops.iter().filter(|hop| Some(hop.preference) == lowest).map(|hop| &*hop.name).collect();
    names.join(",").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mx(preference: u16, name: &str) -> Exchange {
        Exchange { preference, name: name.into() }
    }

    fn found(ips: &[&str]) -> Addresses {
        Addresses::Found(ips.iter().map(|ip| ip.parse().unwrap()).collect())
    }

    fn check(hosts: Vec<(Exchange, Addresses)>) -> Result<String, String> {
        let route = route("example.org", hosts, 25, &Networks::default());
        route.map(|r| format!("{}: {:?}", r.site, r.hops)).map_err(|f| f.to_string())
    }

    #[test]
    fn sorts_hosts_and_knows_null_and_implicit() {
        assert_eq!(exchanges(vec![], 10), Exchanges::Implicit);
        assert_eq!(exchanges(vec![mx(0, "")], 10), Exchanges::Null);
        assert_eq!(exchanges(vec![mx(0, ""), mx(5, "a")], 10), Exchanges::Hosts(vec![mx(5, "a")]));
        let many = vec![mx(20, "c"), mx(10, "b"), mx(10, "a"), mx(30, "d"), mx(10, "a")];
        assert_eq!(exchanges(many, 3), Exchanges::Hosts(vec![mx(10, "a"), mx(10, "b"), mx(20, "c")]));
    }

    #[test]
    fn the_site_is_the_set_of_most_preferred_hosts() {
        let ip = || found(&["192.0.2.1"]);
        let hosts = vec![(mx(10, "a.example"), ip()), (mx(10, "b.example"), ip()), (mx(20, "c.example"), ip())];
        assert!(check(hosts).unwrap().starts_with("a.example,b.example: "));
    }

    #[test]
    fn one_host_with_an_address_is_enough() {
        let hosts = vec![
            (mx(10, "gone.example"), Addresses::None),
            (mx(20, "late.example"), Addresses::Unknown("SERVFAIL".into())),
            (mx(30, "here.example"), found(&["10.0.0.5", "192.0.2.1", "2001:db8::1"])),
        ];
        let route = check(hosts).unwrap();
        assert!(route.contains("[192.0.2.1:25, [2001:db8::1]:25]"), "{route}");
        assert!(!route.contains("10.0.0.5"), "{route}");
    }

    #[test]
    fn no_host_has_more_addresses_than_are_of_use() {
        let addresses =
            Addresses::Found((0..1000_u32).map(|n| IpAddr::from((0x0100_0000 + n).to_be_bytes())).collect());
        let route = route("example.org", vec![(mx(10, "a"), addresses)], 25, &Networks::default()).unwrap();
        assert_eq!(route.hops[0].addresses.len(), ADDRESSES_MAX);
    }

    #[test]
    fn hosts_that_are_preferred_no_more_than_ourselves_are_dropped() {
        let own = Networks::default().with_own(vec!["192.0.2.9:25".parse().unwrap()]);
        let ours = || found(&["192.0.2.9"]);
        let theirs = || found(&["192.0.2.1"]);
        let late = || Addresses::Unknown("late".into());
        for (hosts, want) in [
            (vec![(mx(5, "a"), theirs()), (mx(10, "us"), ours()), (mx(20, "c"), theirs())], Ok("a")),
            (vec![(mx(10, "us"), ours()), (mx(10, "b"), theirs())], Err("5.4.6")),
            (vec![(mx(10, "us"), ours()), (mx(20, "b"), late())], Err("5.4.6")),
            (vec![(mx(5, "a"), Addresses::None), (mx(10, "us"), ours())], Err("5.4.6")),
            (vec![(mx(5, "a"), found(&["127.0.0.1"])), (mx(10, "us"), ours())], Err("5.4.6")),
            (vec![(mx(5, "a"), late()), (mx(10, "us"), ours())], Err("late")),
        ] {
            let answer = route("example.org", hosts, 25, &own);
            match (answer, want) {
                (Ok(route), Ok(site)) => assert_eq!((&*route.site, route.hops.len()), (site, 1)),
                (Err(failure), Err(words)) => assert!(failure.to_string().starts_with(words), "{failure}"),
                (answer, want) => panic!("{answer:?} instead of {want:?}"),
            }
        }
        let failure = route("example.org", vec![(mx(10, "us"), ours())], 25, &own).unwrap_err();
        assert_eq!(
            failure.to_string(),
            "5.4.6 mail for example.org loops back to this host, which listens at 192.0.2.9:25 itself (at resolve)"
        );
    }

    #[test]
    fn says_why_there_is_no_route() {
        for (hosts, want) in [
            (vec![(mx(1, "a"), Addresses::None)], "5.4.4 no mail host of example.org has an address (at resolve)"),
            (
                vec![(mx(1, "a"), Addresses::None), (mx(2, "b"), Addresses::Unknown("SERVFAIL".into()))],
                "SERVFAIL (at resolve)",
            ),
            (
                vec![(mx(1, "a"), found(&["127.0.0.1"]))],
                "5.4.4 mail for example.org would go where nothing is sent to: 127.0.0.1 (a loopback address) (at resolve)",
            ),
            (
                vec![(mx(1, "a"), found(&["10.0.0.5"])), (mx(2, "b"), found(&["::ffff:127.0.0.1"]))],
                "5.4.4 mail for example.org would go where nothing is sent to: 10.0.0.5 (a private address), \
                 ::ffff:127.0.0.1 (a loopback address) (at resolve)",
            ),
            (vec![(mx(1, "a"), found(&["::1"])), (mx(2, "b"), Addresses::Unknown("late".into()))], "late (at resolve)"),
        ] {
            assert_eq!(check(hosts).unwrap_err(), want);
        }
    }
}
