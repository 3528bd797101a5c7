//! Postfix, as the receiver and as a smart host.

use super::{dropped, expired, returned};
use crate::returns::case::{Case, Expect, Letter, Peer, Sender};
use crate::returns::world::PASSWORD;

pub(super) fn cases() -> Vec<Case> {
    let case = |name, expect| Case::new("Postfix", name, Peer::Postfix, expect);
    let unknown = || returned("5.1.1", &["550 5.1.1", "User unknown"]);
    let known = || ("known", Expect::Delivered);
    let smart =
        |name, password, expect| Case::new("Postfix as smart host (SASL)", name, Peer::SmartHost(password), expect);
    vec![
        case("real-mailbox", Expect::Delivered).to(&[known()], 0).under_tls(true),
        case("real-mailbox-large", Expect::Delivered).to(&[known()], 0).letter(Letter::Large(2_000_000)),
        case("unknown-user", unknown()),
        case("known-and-unknown", unknown()).to(&[("who", unknown()), known()], 1),
        case("null-sender-to-unknown", dropped(&["550 5.1.1", "User unknown"])).from(Sender::Null),
        case("null-sender-to-known", Expect::Delivered).from(Sender::Null).to(&[known()], 0),
        smart("log-in", PASSWORD, Expect::Delivered).under_tls(true),
        smart("wrong-password", "not the password", expired(&["535"])),
    ]
}
