//! Which addresses are this machine's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Addresses that are nobody's (RFC 5737, RFC 3849): where even these can be bound, binding says nothing.
const NOBODYS_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 213));
const NOBODYS_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0xd5, 0, 0, 0, 0xd5));

/// Whether who connects to this address reaches this machine. Asks the system without sending anything.
pub(crate) fn is_ours(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified() || is_own_source(ip) || (can_bind(ip) && !can_bind_anything(ip))
}

/// To an address of its own the system speaks from that address; not so to further ones of the same network.
fn is_own_source(ip: IpAddr) -> bool {
    let any = if ip.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let source = UdpSocket::bind(SocketAddr::new(any, 0)).and_then(|socket| {
        // The port does not matter, as nothing is sent.
        socket.connect(SocketAddr::new(ip, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == ip)
}

fn can_bind(ip: IpAddr) -> bool {
    UdpSocket::bind(SocketAddr::new(ip, 0)).is_ok()
}

/// Whether the system lets addresses be bound that are not its own (`ip_nonlocal_bind`).
fn can_bind_anything(like: IpAddr) -> bool {
    can_bind(if like.is_ipv4() { NOBODYS_V4 } else { NOBODYS_V6 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_its_own_addresses() {
        for (ip, ours) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("0.0.0.0", true),
            ("::1", true),
            ("192.0.2.1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_ours(ip.parse().unwrap()), ours, "{ip}");
        }
        let outward = UdpSocket::bind("0.0.0.0:0").unwrap();
        if outward.connect("192.0.2.1:9").is_ok() {
            let ip = outward.local_addr().unwrap().ip();
            assert!(is_ours(ip), "{ip}");
        }
    }
}
