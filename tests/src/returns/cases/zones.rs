//! What the DNS says.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use super::{expired, returned};
use crate::returns::case::{Case, Expect, Peer};
use crate::returns::world::World;
use crate::returns::zones::{LITERAL, MX_A, MX_B, MX_SIX};
use crate::wait;

pub(super) fn cases() -> Vec<Case> {
    let at = Expect::DeliveredAt;
    let zone = |name, domain, expect| Case::new("zones (Knot, unbound)", name, Peer::Zone(domain), expect);
    vec![
        zone("mx-order", "order.test", at(MX_A)),
        zone("equal-preferences", "equal.test", Expect::Delivered).then(both_hosts),
        zone("null-mx", "null.test", returned("5.1.10", &["null.test"])),
        zone("no-such-domain", "missing.test", returned("5.1.2", &["missing.test"])),
        zone("servfail", "broken.test", expired(&["broken.test"])),
        zone("silent-dns", "silent.test", expired(&["silent.test"])),
        zone("cname-chain", "www.alias.test", at(MX_A)),
        zone("mx-is-cname", "mx-is-alias.test", at(MX_A)),
        zone("dead-first-mx", "dead-first.test", at(MX_B)),
        zone("only-dead-mx", "all-dead.test", expired(&["refused"])),
        zone("ipv6-only", "six.test", at(MX_SIX)),
        zone("no-mx-but-a", "implicit.test", at(MX_A)),
        zone("address-literal", LITERAL, at(MX_A)),
        zone("private-addresses", "private.test", returned("5.4.4", &["10.0.0.5"])),
        zone("rfc1918", "ten.test", returned("5.4.4", &["10.0.0.5"])),
        zone("loopback", "loop.test", returned("5.4.4", &["127.0.0.1"])),
        zone("mapped-loopback", "mapped.test", returned("5.4.4", &["127.0.0.1"])),
        zone("first-mx-private", "some-private.test", at(MX_B)),
        zone("own-listener", "own.test", returned("5.4.6", &["own"])),
        zone("mx-without-address", "no-address.test", returned("5.4.4", &["no-address.test"])),
        zone("neither-mx-nor-address", "no-mail.test", returned("5.4.4", &["no-mail.test"])),
    ]
}

/// Among hosts of one preference each letter begins anywhere: of twenty, on connections of their own, some go to
/// either.
fn both_hosts(world: &World, case: &Case) -> Result<String> {
    const MORE: usize = 19;
    for number in 0..MORE {
        world.submit_to(case, &[&format!("more-{number}@{}", case.domain())])?;
    }
    let mut places = BTreeMap::new();
    wait::for_condition("twenty letters", || {
        places.clear();
        for copy in world.copies(case)? {
            *places.entry(copy.place).or_insert(0) += 1;
        }
        Ok(places.values().sum::<usize>() == MORE + 1)
    })?;
    ensure!(places.len() == 2, "all at one host: {places:?}");
    Ok(format!("of {} letters {} at {MX_A}, {} at {MX_B}", MORE + 1, places[MX_A], places[MX_B]))
}
