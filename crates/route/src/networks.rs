//! Addresses that the DNS must not lead us to: the operator's own machines and networks. Otherwise any sender
//! could point a domain's MX at them and have us connect there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;

use crate::local;

/// Networks that mail is not sent to by default: those that are nobody's on the Internet. An IPv6 address that leads to
/// an IPv4 one (mapped, compatible, NAT64, 6to4) is looked at as that IPv4 address too.
pub const PROHIBITED_BY_DEFAULT: &[(&str, &str)] = &[
    ("0.0.0.0/8", "this machine itself"),
    ("10.0.0.0/8", "a private address"),
    ("100.64.0.0/10", "an address shared behind a provider's NAT"),
    ("127.0.0.0/8", "a loopback address"),
    ("169.254.0.0/16", "a link-local address"),
    ("172.16.0.0/12", "a private address"),
    ("192.0.0.0/24", "an address reserved for protocols"),
    ("192.168.0.0/16", "a private address"),
    ("224.0.0.0/4", "a multicast address"),
    ("240.0.0.0/4", "a reserved or broadcast address"),
    ("::/128", "this machine itself"),
    ("::1/128", "a loopback address"),
    ("64:ff9b:1::/48", "an address of a local NAT64"),
    ("fc00::/7", "a private address"),
    ("fe80::/10", "a link-local address"),
    ("fec0::/10", "a private address"),
    ("ff00::/8", "a multicast address"),
];

/// [`PROHIBITED_BY_DEFAULT`] as networks.
#[must_use]
pub fn prohibited_by_default() -> Vec<IpNet> {
    PROHIBITED_BY_DEFAULT.iter().filter_map(|(net, _)| net.parse().ok()).collect()
}

/// Where the DNS may not lead us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Networks {
    prohibited: Vec<IpNet>,
    allowed: Vec<IpNet>,
    /// Where we listen ourselves.
    own: Vec<SocketAddr>,
}

/// Why nothing may be sent to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Barred {
    /// It lies in this network.
    Network(IpNet),
    /// We would speak to ourselves.
    Ourselves,
}

impl Default for Networks {
    /// The default networks are barred, without exceptions.
    fn default() -> Self {
        Self::new(prohibited_by_default(), Vec::new())
    }
}

impl Networks {
    /// Nothing is sent to `prohibited` networks, except where they are `allowed`.
    #[must_use]
    pub fn new(prohibited: Vec<IpNet>, allowed: Vec<IpNet>) -> Self {
        Self { prohibited, allowed, own: Vec::new() }
    }

    /// Nor to these, where we listen ourselves, whatever is allowed.
    #[must_use]
    pub fn with_own(self, own: Vec<SocketAddr>) -> Self {
        Self { own, ..self }
    }

    /// Whether and why nothing may be sent to this address.
    pub(crate) fn bars(&self, address: SocketAddr) -> Option<Barred> {
        let inner = embedded_v4(address.ip());
        if self.own.iter().any(|own| is_same(*own, inner, address.port())) {
            return Some(Barred::Ourselves);
        }
        if self.allowed.iter().any(|net| net.contains(&inner)) {
            return None;
        }
        let holds = |net: &&IpNet| net.contains(&inner) || net.contains(&address.ip());
        self.prohibited.iter().find(holds).copied().map(Barred::Network)
    }
}

/// The IPv4 address that an IPv6 address leads to: mapped (`::ffff:a.b.c.d`), compatible (`::a.b.c.d`), by NAT64
/// (`64:ff9b::/96`) or by 6to4 (`2002::/16`).
fn embedded_v4(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let s = v6.segments();
    let low = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match s {
        [0, 0, 0, 0, 0, 0xffff, a, b] => low(a, b),
        [0, 0, 0, 0, 0, 0, a, b] if a != 0 => low(a, b),
        [0x64, 0xff9b, 0, 0, 0, 0, a, b] => low(a, b),
        [0x2002, a, b, ..] => low(a, b),
        _ => address,
    }
}

/// What is the matter with an address in a prohibited network, in words.
pub(crate) fn describe(ip: IpAddr, net: IpNet) -> String {
    let inner = embedded_v4(ip);
    let known = PROHIBITED_BY_DEFAULT.iter().find(|(of, _)| of.parse().is_ok_and(|of: IpNet| of.contains(&inner)));
    known.map_or_else(|| format!("it lies in {net}"), |(_, what)| (*what).to_owned())
}

/// Whether who connects to this address and port reaches our listener `own`. The unspecified address leads to loopback.
fn is_same(own: SocketAddr, ip: IpAddr, port: u16) -> bool {
    let listener = embedded_v4(own.ip());
    own.port() == port
        && (listener == ip
            || listener.is_unspecified() && local::is_ours(ip)
            || listener.is_loopback() && ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn barred(networks: &Networks, ip: &str) -> bool {
        networks.bars(SocketAddr::new(ip.parse().unwrap(), 25)).is_some()
    }

    #[test]
    fn private_addresses_are_barred_in_every_disguise() {
        let none = Networks::default();
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.8.8.8",
            "10.0.0.5",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.5",
            "::127.0.0.1",
            "64:ff9b::10.0.0.5",
            "2002:7f00:1::",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "fec0::1",
        ] {
            assert!(barred(&none, text), "{text}");
        }
    }

    #[test]
    fn public_addresses_are_not() {
        let none = Networks::default();
        for text in [
            "1.1.1.1",
            "9.9.9.9",
            "100.63.0.1",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.167.0.1",
            "193.0.0.1",
            "223.255.255.255",
            "2001:db8::1",
            "2a00::1",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "2002:101:101::",
        ] {
            assert!(!barred(&none, text), "{text}");
        }
    }

    #[test]
    fn the_operator_may_allow_a_network() {
        let networks =
            Networks::new(prohibited_by_default(), vec!["10.1.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        for (text, is_barred) in
            [("10.1.2.3", false), ("::ffff:10.1.2.3", false), ("10.2.0.1", true), ("fd00::1", false), ("fc00::1", true)]
        {
            assert_eq!(barred(&networks, text), is_barred, "{text}");
        }
    }

    #[test]
    fn an_allowed_ipv6_network_allows_no_ipv4_address_in_disguise() {
        let networks = Networks::new(prohibited_by_default(), vec!["::/0".parse().unwrap()]);
        assert!(!barred(&networks, "fd00::1") && barred(&networks, "::ffff:127.0.0.1"));
    }

    #[test]
    fn the_operator_may_prohibit_other_networks_or_none() {
        let networks = Networks::new(vec!["192.0.2.0/24".parse().unwrap()], vec![]);
        for (text, is_barred) in [("192.0.2.1", true), ("::ffff:192.0.2.1", true), ("127.0.0.1", false)] {
            assert_eq!(barred(&networks, text), is_barred, "{text}");
        }
        assert_eq!(describe("192.0.2.1".parse().unwrap(), networks.prohibited[0]), "it lies in 192.0.2.0/24");
    }

    #[test]
    fn every_default_network_is_one() {
        assert_eq!(prohibited_by_default().len(), PROHIBITED_BY_DEFAULT.len());
    }

    #[test]
    fn our_own_listeners_are_barred_whatever_is_allowed() {
        let all: Vec<IpNet> = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
        for (own, address, is_ours) in [
            ("192.0.2.1:25", "192.0.2.1:25", true),
            ("192.0.2.1:25", "192.0.2.1:26", false),
            ("192.0.2.1:25", "192.0.2.2:25", false),
            ("192.0.2.1:25", "[::ffff:192.0.2.1]:25", true),
            ("0.0.0.0:25", "127.0.0.1:25", true),
            ("0.0.0.0:25", "127.8.8.8:25", true),
            ("0.0.0.0:25", "192.0.2.1:25", false),
            ("[::]:25", "127.0.0.1:25", true),
            ("[::]:25", "[::1]:25", true),
            ("127.0.0.1:25", "0.0.0.0:25", true),
            ("127.0.0.1:25", "127.0.0.2:25", false),
        ] {
            let networks = Networks::new(vec![], all.clone()).with_own(vec![own.parse().unwrap()]);
            let barred = networks.bars(address.parse().unwrap());
            assert_eq!(barred == Some(Barred::Ourselves), is_ours, "{own} {address}");
        }
    }
}
