//! What happens to signed mail on its way.

use anyhow::{Context as _, Result, ensure};

use super::table::Row;
use super::world::{
    ALICE, BOTH, CLOSED, HOST, KEYLESS, LATER, LEAVING, PLAIN, REFUSING, RELAYED, STRICT, UPSTREAM, World,
};
use super::{Extent, change, verifier};
use crate::wait;

const ON_THE_WAY: &str = "On the way";
const UPSTREAMS: &str = "Signed before, or not at all";

/// `sluice dkim check` against the real zones.
pub(super) fn check(world: &World) -> Row {
    let got = world.sluice.cli(&["dkim", "check"]).map(|finished| {
        let good = finished.stdout.lines().filter(|line| line.starts_with("ok ")).count();
        format!("{good} records ok, exit code {}", finished.code)
    });
    Row::new("Keys", "sluice dkim check", "8 records ok, exit code 0", got)
}

/// Both signatures of a domain, as they must be.
fn both(domain: &str) -> String {
    format!("rsa-sha256 {domain} pass; ed25519-sha256 {domain} pass")
}

/// All of them, in turn.
pub(super) fn prove(world: &mut World) -> Result<Vec<Row>> {
    let mut rows = vec![
        Row::new(ON_THE_WAY, "put off once", both(BOTH) + " at attempt 2", put_off(world)),
        Row::new(ON_THE_WAY, "kill -9 between accept and delivery", both(BOTH), killed(world)),
        Row::new(ON_THE_WAY, "a report on a loss, by the host", both(HOST), report(world)),
    ];
    if world.extent == Extent::Whole {
        rows.push(Row::new(ON_THE_WAY, "relayed by Postfix", both(BOTH), relayed(world)));
    }
    let up = format!("rsa-sha256 {BOTH} pass");
    rows.push(Row::new(
        UPSTREAMS,
        "signed before",
        format!("{}; {up}, byte by byte", both(BOTH)),
        signed(world, ALICE),
    ));
    rows.push(Row::new(UPSTREAMS, "the same, --leave-signed", format!("{up}, byte by byte"), signed(world, LEAVING)));
    rows.push(Row::new(UPSTREAMS, "not signed, --leave-signed", both(BOTH), unsigned(world, LEAVING, BOTH)));
    rows.push(Row::new(UPSTREAMS, "no key", "no signature", unsigned(world, ALICE, KEYLESS)));
    rows.push(Row::new(UPSTREAMS, "a key, --require-dkim", both(BOTH), unsigned(world, STRICT, BOTH)));
    let refused = unsigned(world, STRICT, KEYLESS).map_err(|error| error.to_string());
    let refused = refused.map_or_else(|reply| reply.split_once("550 5.7.20").map(|_| "550 5.7.20"), |_| None);
    let got = refused.map(str::to_owned).context("it was taken");
    rows.push(Row::new(UPSTREAMS, "no key, --require-dkim", "550 5.7.20", got));
    rows.extend(changes(world)?);
    Ok(rows)
}

fn message(from: &str, to: &str) -> String {
    format!("From: Alice <{from}>\r\nTo: <{to}>\r\nSubject: hello\r\n\r\nHello Bob.\r\n \r\nBye.\r\n\r\n")
}

/// Sends a message from `both.test` and gives what comes of it to where it is looked for.
fn send(world: &World, account: &str, from: &str, to: &str) -> Result<()> {
    let from = format!("alice@{from}");
    let mut client = world.client(account)?;
    client.submit(&from, &[to], message(&from, to).as_bytes())?.expect("250")?;
    Ok(())
}

/// The next message for `name`, after `before` ones.
fn next(world: &World, name: &str, before: usize) -> Result<Vec<u8>> {
    let mut taken = world.sink(name).wait_for(before + 1)?;
    Ok(taken.swap_remove(before).content)
}

fn text_of(world: &World, message: &[u8]) -> Result<String> {
    let found = verifier::verify(world.dns.resolver(), &[message])?;
    Ok(verifier::text(&found[0]))
}

fn put_off(world: &World) -> Result<String> {
    send(world, ALICE, BOTH, "r@later.test")?;
    let taken = world.sink(LATER).wait_for(1)?.remove(0);
    ensure!(taken.connection > 0 || taken.sequence > 0, "it was not put off");
    Ok(format!("{} at attempt 2", text_of(world, &taken.content)?))
}

fn killed(world: &mut World) -> Result<String> {
    send(world, ALICE, BOTH, "r@closed.test")?;
    world.sluice.kill()?;
    ensure!(world.sink(CLOSED).taken().is_empty(), "it was delivered before");
    world.sluice.run()?;
    world.open();
    text_of(world, &next(world, CLOSED, 0)?)
}

fn relayed(world: &World) -> Result<String> {
    send(world, ALICE, BOTH, "r@relayed.test")?;
    let content = next(world, RELAYED, 0)?;
    let by = String::from_utf8_lossy(&content).contains("by postfix.test (Postfix)");
    ensure!(by, "it did not come through Postfix");
    text_of(world, &content)
}

fn report(world: &World) -> Result<String> {
    send(world, ALICE, BOTH, &format!("nobody@{REFUSING}"))?;
    let content = next(world, BOTH, 0)?;
    ensure!(String::from_utf8_lossy(&content).contains("message/delivery-status"), "no report");
    text_of(world, &content)
}

/// A message that dkimpy has signed simple/simple, so that the slightest change below its field shows.
fn signed(world: &World, account: &str) -> Result<String> {
    let plain =
        "From: alice@both.test\r\nTo:  r@plain.test\r\nSubject: hello\r\n\tagain  \r\nX-Odd :  1\r\n\r\n Hi. \t\r\n";
    let plain = plain.replace("X-Odd :", "X-Odd:");
    let whole = verifier::sign(plain.as_bytes(), &world.upstream_key(), UPSTREAM, BOTH)?;
    let before = world.sink(PLAIN).taken().len();
    world.client(account)?.submit("alice@both.test", &["r@plain.test"], &whole)?.expect("250")?;
    let content = next(world, PLAIN, before)?;
    ensure!(content.ends_with(&whole), "it is not as it was: {}", content.escape_ascii());
    Ok(format!("{}, byte by byte", text_of(world, &content)?))
}

fn unsigned(world: &World, account: &str, from: &str) -> Result<String> {
    let before = world.sink(PLAIN).taken().len();
    send(world, account, from, "r@plain.test")?;
    text_of(world, &next(world, PLAIN, before)?)
}

fn changes(world: &World) -> Result<Vec<Row>> {
    let before = world.sink(PLAIN).taken().len();
    let mut client = world.client(ALICE)?;
    client.submit("alice@both.test", &["r@plain.test"], change::MESSAGE.as_bytes())?.expect("250")?;
    let content = next(world, PLAIN, before)?;
    let changed = change::ALL.iter().map(|change| change.of(&content)).collect::<Result<Vec<_>>>()?;
    let messages: Vec<&[u8]> = changed.iter().map(Vec::as_slice).collect();
    let found = verifier::verify(world.dns.resolver(), &messages)?;
    let word = |is_good: bool| if is_good { "passes" } else { "fails" };
    let rows = change::ALL.iter().zip(&found).map(|(change, signatures)| {
        let expected = format!("rsa {0}, ed25519 {0}", word(change.is_harmless));
        let got: Vec<_> = signatures
            .iter()
            .map(|one| format!("{} {}", one.algorithm.trim_end_matches("-sha256"), word(one.is_good())))
            .collect();
        Row::new("Changed on the way", change.name, expected, Ok(got.join(", ")))
    });
    Ok(rows.collect())
}

/// Waits until nothing is left to be delivered.
pub(super) fn settled(world: &World, name: &str, count: usize) -> Result<()> {
    wait::until(wait::PATIENCE, "all mail to arrive", || Ok((world.sink(name).taken().len() >= count).then_some(())))
}
