//! The order in which a route's addresses are tried in one attempt.

use std::net::SocketAddr;
use std::sync::Arc;

use rand::Rng;
use rand::seq::SliceRandom;

use crate::{Hop, Route};

/// One address of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The host's name.
    pub name: Arc<str>,
    /// Where it is.
    pub address: SocketAddr,
}

impl Route {
    /// The addresses to try, `max` at most: hosts by preference, equal ones in random order, so that they share the
    /// load (RFC 5321 5.1); the addresses of a host in random order too, IPv6 and IPv4 by turns, so that a family
    /// that cannot be reached does not use up the attempt.
    pub fn targets(&self, rng: &mut impl Rng, max: usize) -> Vec<Target> {
        let mut hops: Vec<&Hop> = self.hops.iter().collect();
        hops.shuffle(rng);
        hops.sort_by_key(|hop| hop.preference);
        let mut targets = Vec::new();
        for hop in hops {
            let mut addresses = hop.addresses.clone();
            addresses.shuffle(rng);
            for address in alternate(addresses) {
                if targets.len() == max {
                    return targets;
                }
                targets.push(Target { name: hop.name.clone(), address });
            }
        }
        targets
    }

    /// Whether this host at this address is one of the route's own: only then may a connection to it carry the
    /// route's mail.
    #[must_use]
    pub fn leads_to(&self, target: &Target) -> bool {
        self.hops.iter().any(|hop| hop.name == target.name && hop.addresses.contains(&target.address))
    }
}

fn alternate(addresses: Vec<SocketAddr>) -> impl Iterator<Item = SocketAddr> {
    let (v6, v4): (Vec<_>, Vec<_>) = addresses.into_iter().partition(SocketAddr::is_ipv6);
    let turns = v6.len().max(v4.len());
    (0..turns).flat_map(move |i| [v6.get(i).copied(), v4.get(i).copied()]).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TlsPolicy;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;
    use std::collections::HashMap;

    fn hop(name: &str, preference: u16, addresses: &[&str]) -> Hop {
        Hop { name: name.into(), preference, addresses: addresses.iter().map(|a| a.parse().unwrap()).collect() }
    }

    fn route(hops: Vec<Hop>) -> Route {
        Route { site: "s".into(), hops, tls: TlsPolicy::default(), implicit_tls: false, login: None, is_fixed: false }
    }

    #[test]
    fn preference_first_and_equals_share_the_load() {
        let route = route(vec![
            hop("c", 20, &["192.0.2.3:25"]),
            hop("a", 10, &["192.0.2.1:25"]),
            hop("b", 10, &["192.0.2.2:25"]),
        ]);
        let mut rng = SmallRng::seed_from_u64(7);
        let mut first = HashMap::new();
        for _ in 0..1000 {
            let targets = route.targets(&mut rng, 5);
            assert_eq!((targets.len(), &*targets[2].name), (3, "c"));
            *first.entry(targets[0].name.clone()).or_insert(0) += 1;
        }
        assert!(first.values().all(|n| (400..=600).contains(n)), "{first:?}");
    }

    #[test]
    fn the_limit_counts_addresses_and_families_take_turns() {
        let v6 = ["[2001:db8::1]:25", "[2001:db8::2]:25", "[2001:db8::3]:25", "[2001:db8::4]:25", "[2001:db8::5]:25"];
        let mut addresses = v6.to_vec();
        addresses.push("192.0.2.1:25");
        let route = route(vec![hop("a", 1, &addresses), hop("b", 2, &["192.0.2.9:25"])]);
        let targets = route.targets(&mut SmallRng::seed_from_u64(1), 5);
        assert_eq!(targets.len(), 5);
        assert!(targets[1].address.is_ipv4());
    }

    #[test]
    fn leads_only_to_its_own_hosts_at_their_addresses() {
        let route = route(vec![hop("a", 1, &["192.0.2.1:25"]), hop("b", 2, &["192.0.2.2:25"])]);
        for (name, address, own) in [
            ("a", "192.0.2.1:25", true),
            ("b", "192.0.2.2:25", true),
            ("a", "192.0.2.2:25", false),
            ("c", "192.0.2.1:25", false),
            ("a", "192.0.2.1:26", false),
        ] {
            let target = Target { name: name.into(), address: address.parse().unwrap() };
            assert_eq!(route.leads_to(&target), own, "{target:?}");
        }
    }
}
