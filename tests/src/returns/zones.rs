//! The zones of the scenarios, and the hosts that they lead to. The hosts are servers on aiosmtpd, each at an address
//! of its own in a network that Sluice is allowed; all listen on the same port, as mail hosts do.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use serde_json::json;

use super::world::{host, host_v6};
use crate::aiosmtpd::Plan;
use crate::dns::{Dns, Setup, Zone};

/// The hosts' network, a /16.
pub(super) const NETWORK: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 0);
/// Hosts that take mail.
pub(super) const HOSTS: [&str; 4] = [MX_A, MX_B, MX_LAST, MX_SIX];
/// At `.1`.
pub(crate) const MX_A: &str = "mx-a";
/// At `.2`.
pub(crate) const MX_B: &str = "mx-b";
/// At `.4`.
const MX_LAST: &str = "mx-last";
/// At `::1`.
pub(crate) const MX_SIX: &str = "mx-six";
/// An address literal that leads to [`MX_A`].
pub(crate) const LITERAL: &str = "[127.77.0.1]";

/// Where Sluice itself listens, in the hosts' network.
pub(super) fn own(port: u16) -> SocketAddr {
    host(250, port)
}

/// The hosts that listen; `.3` is dead.
pub(super) fn hosts(plan: &mut Plan, port: u16) {
    plan.add_at(MX_A, host(1, port), &json!({}));
    plan.add_at(MX_B, host(2, port), &json!({}));
    plan.add_at(MX_LAST, host(4, port), &json!({}));
    plan.add_at(MX_SIX, host_v6(port), &json!({}));
}

/// Knot with the zones, unbound before it.
pub(super) fn serve() -> Result<Dns> {
    let hosts = Zone::new("hosts.test")
        .with(MX_A, "A", "127.77.0.1")
        .with(MX_B, "A", "127.77.0.2")
        .with("dead", "A", "127.77.0.3")
        .with(MX_LAST, "A", "127.77.0.4")
        .with(MX_SIX, "AAAA", "::1")
        .with("own", "A", "127.77.0.250")
        .with("ten", "A", "10.0.0.5")
        .with("loop", "A", "127.0.0.1")
        .with("mapped", "AAAA", "::ffff:127.0.0.1")
        .with("other-name", "CNAME", MX_A)
        .with("no-address", "TXT", "nothing");
    let mx = |origin: &str, hosts: &[(u16, &str)]| {
        let record = |zone: Zone, (preference, host): &(u16, &str)| {
            zone.with("@", "MX", &format!("{preference} {host}.hosts.test."))
        };
        hosts.iter().fold(Zone::new(origin), record)
    };
    let alias = mx("alias.test", &[]).with("www", "CNAME", "step").with("step", "CNAME", "mail");
    let alias = alias.with("mail", "MX", "10 mx-a.hosts.test.");
    Dns::start(
        &Setup::of(vec![
            hosts,
            mx("order.test", &[(20, MX_B), (10, MX_A), (30, MX_LAST)]),
            mx("equal.test", &[(10, MX_A), (10, MX_B)]),
            Zone::new("null.test").with("@", "MX", "0 ."),
            alias,
            mx("mx-is-alias.test", &[(10, "other-name")]),
            mx("dead-first.test", &[(10, "dead"), (20, MX_B)]),
            mx("all-dead.test", &[(10, "dead")]),
            mx("six.test", &[(10, MX_SIX)]),
            Zone::new("implicit.test").with("@", "A", "127.77.0.1"),
            mx("private.test", &[(10, "ten"), (20, "loop"), (30, "mapped")]),
            mx("ten.test", &[(10, "ten")]),
            mx("loop.test", &[(10, "loop")]),
            mx("mapped.test", &[(10, "mapped")]),
            mx("some-private.test", &[(10, "ten"), (20, MX_B)]),
            mx("own.test", &[(10, "own")]),
            mx("no-address.test", &[(10, "no-address"), (20, "gone")]),
            Zone::new("no-mail.test").with("@", "TXT", "nothing"),
        ])
        .broken(&["broken.test"])
        .silent(&["silent.test"]),
    )
}
