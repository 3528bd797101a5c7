//! Addresses that the DNS must not lead us to: the operator's own machines and networks. Otherwise any sender
//! could point a domain's MX at them and have us connect there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The networks that an operator allows although they are private.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    allowed: Vec<IpNet>,
}

impl Networks {
    /// Private networks except `allowed` are barred.
    #[must_use]
    pub fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed }
    }

    /// Whether nothing may be connected to at this address.
    #[must_use]
    pub fn bars(&self, address: IpAddr) -> bool {
        let address = embedded_v4(address);
        let is_private = match address {
            IpAddr::V4(v4) => bars_v4(v4),
            IpAddr::V6(v6) => bars_v6(v6),
        };
        is_private && !self.allowed.iter().any(|net| net.contains(&address))
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
        [0x2002, a, b, ..] if bars_v4(Ipv4Addr::from(u32::from(a) << 16 | u32::from(b))) => low(a, b),
        _ => address,
    }
}

fn bars_v4(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    let is_shared = a == 100 && (64..128).contains(&b);
    a == 0 || a >= 224 || is_shared || ip.is_loopback() || ip.is_private() || ip.is_link_local()
}

fn bars_v6(ip: Ipv6Addr) -> bool {
    let is_site_local = ip.segments()[0] & 0xffc0 == 0xfec0;
    ip.is_unspecified()
        || ip.is_loopback()
        || ip.is_multicast()
        || ip.is_unique_local()
        || ip.is_unicast_link_local()
        || is_site_local
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert!(none.bars(text.parse().unwrap()), "{text}");
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
            assert!(!none.bars(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn the_operator_may_allow_a_network() {
        let networks = Networks::new(vec!["10.1.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        for (text, barred) in
            [("10.1.2.3", false), ("::ffff:10.1.2.3", false), ("10.2.0.1", true), ("fd00::1", false), ("fc00::1", true)]
        {
            assert_eq!(networks.bars(text.parse().unwrap()), barred, "{text}");
        }
    }
}
