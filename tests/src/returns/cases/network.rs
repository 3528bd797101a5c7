//! toxiproxy between Sluice and a good server.

use serde_json::json;

use super::{deferred, expired};
use crate::returns::case::{Case, Expect, Letter, Peer, Toxic};

pub(super) fn cases() -> Vec<Case> {
    let case = |name, toxics: Vec<Toxic>, expect| Case::new("toxiproxy", name, Peer::Toxiproxy(toxics), expect);
    let large = Letter::Large(300_000);
    let slowly = || ("bandwidth", "upstream", json!({ "rate": 100 }));
    vec![
        case("latency", vec![("latency", "downstream", json!({ "latency": 300, "jitter": 100 }))], Expect::Delivered),
        case("slow-line", vec![("bandwidth", "upstream", json!({ "rate": 150 }))], Expect::Delivered).letter(large),
        case(
            "small-pieces",
            vec![("slicer", "upstream", json!({ "average_size": 100, "size_variation": 50, "delay": 10 }))],
            Expect::Delivered,
        ),
        case("slow-close", vec![("slow_close", "downstream", json!({ "delay": 3000 }))], Expect::Delivered),
        case(
            "reset-in-the-content",
            vec![slowly(), ("reset_peer", "upstream", json!({ "timeout": 800 }))],
            deferred(&["closed"]),
        )
        .letter(large),
        case(
            "cut-off-in-the-content",
            vec![("limit_data", "upstream", json!({ "bytes": 20_000 }))],
            deferred(&["closed"]),
        )
        .letter(large),
        case("reset-at-once", vec![("reset_peer", "downstream", json!({ "timeout": 0 }))], deferred(&["closed"])),
        case("black-hole", vec![("timeout", "downstream", json!({ "timeout": 0 }))], deferred(&["time"])),
        case("hangs-for-ever", vec![("timeout", "downstream", json!({ "timeout": 0 }))], expired(&["time"])),
        Case::new("toxiproxy", "nobody-listens", Peer::Nobody, expired(&["refused"])),
    ]
}
