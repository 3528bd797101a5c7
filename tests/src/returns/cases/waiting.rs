//! Waiting mail: an operator's word, and neighbours.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::expired;
use crate::returns::case::{Case, Expect, Peer};
use crate::returns::world::World;
use crate::wait;

pub(super) fn cases() -> Vec<Case> {
    let later = json!({ "rules": [{ "at": "rcpt", "reply": "450 4.2.1 not now" }] });
    let hole = vec![("timeout", "downstream", json!({ "timeout": 0 }))];
    vec![
        Case::new(
            "waiting",
            "retry-now",
            Peer::Aiosmtpd(later, String::new()),
            Expect::Retried(&["450 4.2.1 not now"]),
        ),
        Case::new("waiting", "dead-neighbour", Peer::Toxiproxy(hole), expired(&["time"])).then(others_go_on),
        Case::new("waiting", "fast-neighbour", Peer::Aiosmtpd(json!({}), String::new()), Expect::Delivered),
    ]
}

/// While two hundred letters wait for a host that takes connections and says nothing, letters to another domain go
/// as if nobody else was there.
fn others_go_on(world: &World, case: &Case) -> Result<String> {
    const WAITING: usize = 200;
    const PASSING: usize = 20;
    for number in 0..WAITING {
        world.submit_from("", case, &[&format!("waiting-{number}@{}", case.domain())])?;
    }
    let mut slowest = Duration::ZERO;
    for number in 0..PASSING {
        let to = format!("passing-{number}@fast-neighbour.test");
        let start = wait::now();
        world.submit_from("", case, &[&to])?;
        wait::for_condition("a letter past the dead neighbour", || {
            let taken = world.peers.taken("fast-neighbour")?;
            Ok(taken.iter().any(|taken| taken.recipients.contains(&to)))
        })?;
        slowest = slowest.max(wait::elapsed(start));
    }
    ensure!(slowest < Duration::from_secs(2), "a letter took {slowest:?} while others waited for a dead host");
    Ok(format!("{PASSING} letters passed {WAITING} waiting ones, the slowest in {} ms", slowest.as_millis()))
}
