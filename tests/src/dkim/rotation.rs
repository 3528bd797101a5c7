//! A new key takes over from an old one while mail flows.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::table::Row;
use super::world::{ALICE, PLAIN, ROTATED, World};
use super::{Extent, verifier};
use crate::{process, wait};

/// Sessions that send.
const SESSIONS: usize = 3;
/// A pause after each message of a session, so that dkimpy keeps up.
const PAUSE: Duration = Duration::from_millis(20);
/// How many of each key are enough.
const ENOUGH: usize = 20;

/// Two selectors side by side, one until a moment and one from that moment on.
pub(super) fn prove(world: &mut World) -> Result<Vec<Row>> {
    let case = "two selectors, one ends when the other begins";
    let expected = "old, then new; all verify";
    Ok(vec![Row::new("Rotation under load", case, expected, rotate(world))])
}

fn rotate(world: &mut World) -> Result<String> {
    let seconds = if world.extent == Extent::Whole { 8 } else { 4 };
    let change = process::run(Command::new("date").args(["-u", "-d", &format!("+{seconds} seconds"), "+%FT%TZ"]), b"")?;
    let change = change.success()?.stdout.trim().to_owned();
    for (selector, algorithm) in [("old", "rsa"), ("old-ed", "ed25519")] {
        let words = [ROTATED, "--algorithm", algorithm, "--selector", selector, "--from", "now", "--until", &change];
        world.generate(&words)?;
    }
    for (selector, algorithm) in [("new", "rsa"), ("new-ed", "ed25519")] {
        world.generate(&[ROTATED, "--algorithm", algorithm, "--selector", selector, "--from", &change])?;
    }
    world.publish()?;
    let before = world.sink(PLAIN).taken().len();
    let stop = AtomicBool::new(false);
    let world = &*world;
    let sent = std::thread::scope(|scope| {
        let sessions: Vec<_> = (0..SESSIONS).map(|_| scope.spawn(|| session(world, &stop))).collect();
        let changed = wait::for_condition("mail signed by both keys", || {
            let taken = world.sink(PLAIN).taken();
            let of = |selector: &str| {
                let word = format!("s={selector};");
                taken[before..].iter().filter(|taken| String::from_utf8_lossy(&taken.content).contains(&word)).count()
            };
            Ok(of("old") >= ENOUGH && of("new") >= ENOUGH)
        });
        stop.store(true, Ordering::Release);
        let sent = sessions.into_iter().map(|session| session.join().map_err(|_| anyhow::anyhow!("it broke"))?);
        let sent = sent.sum::<Result<usize>>();
        changed.and(sent)
    })?;
    super::scenarios::settled(world, PLAIN, before + sent)?;
    let taken = world.sink(PLAIN).taken();
    let messages: Vec<_> = taken[before..].iter().map(|taken| taken.content.as_slice()).collect();
    judge(&verifier::verify(world.dns.resolver(), &messages)?).with_context(|| format!("of {sent} messages"))
}

fn judge(found: &[Vec<verifier::Signature>]) -> Result<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for signatures in found {
        let selectors: Vec<_> = signatures.iter().map(|one| one.selector.as_str()).collect();
        ensure!(signatures.iter().all(verifier::Signature::is_good), "{}", verifier::text(signatures));
        ensure!(selectors == ["old", "old-ed"] || selectors == ["new", "new-ed"], "{selectors:?}");
        *counts.entry(selectors[0].to_owned()).or_default() += 1;
    }
    ensure!(counts.len() == 2, "{counts:?}");
    Ok("old, then new; all verify".to_owned())
}

fn session(world: &World, stop: &AtomicBool) -> Result<usize> {
    let from = format!("alice@{ROTATED}");
    let content = format!("From: {from}\r\nTo: r@plain.test\r\nSubject: rotation\r\n\r\nHello.\r\n");
    let mut client = world.client(ALICE)?;
    let mut sent = 0;
    while !stop.load(Ordering::Acquire) {
        client.submit(&from, &["r@plain.test"], content.as_bytes())?.expect("250")?;
        sent += 1;
        std::thread::sleep(PAUSE);
    }
    Ok(sent)
}
