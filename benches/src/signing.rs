//! What signing costs, and whether mail that is not signed feels it.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sluice_tests::process;
use sluice_tests::sluice::{Settings, Sluice, TRUSTED_DOMAIN};
use sluice_tests::smtp::Client;
use sluice_tests::smtp_sink::SmtpSink;
use sluice_tests::wait;

use crate::subject::{self, Load, Subject};

/// The account that is not signed, its domain and its password.
const QUIET: &str = "quiet";
const QUIET_DOMAIN: &str = "quiet.test";
const PASSWORD: &str = "a password of the bench";
/// Messages that it sends each time, one at a time.
const LETTERS: usize = 500;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(10);
/// Sessions of the account that sends at full rate, and the messages of one of its runs.
const FLOOD: Load = Load { octets: 4096, sessions: 20, messages: 10_000 };

const COST: &str = "\
| through | messages | accepted/s | end to end/s | of unsigned | CPU µs/message |
|---|---|---|---|---|---|";

const LATENCY: &str = "\
| beside it | its letters | p50 ms | p99 ms | the other's messages |
|---|---|---|---|---|";

/// Prints both tables: 4 KiB unsigned and signed by RSA of 2048 bits; and how long an unsigned account waits for its
/// 250 alone, beside another at full rate, and beside another at full rate that is signed.
pub fn run(messages: u64, folder: &Path, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "{COST}")?;
    let load = Load { octets: 4096, sessions: 20, messages };
    let mut unsigned = None;
    for (name, subject) in [("unsigned", Subject::Sluice), ("signed", Subject::Signing)] {
        let got = subject::measure(subject, load, folder)?;
        let rate = got.end_to_end_rate();
        let of = rate / *unsigned.get_or_insert(rate);
        let cpu = got.cpu_seconds * 1e6 / got.messages as f64;
        writeln!(out, "| {name} | {} | {:.0} | {rate:.0} | {of:.2} | {cpu:.0} |", got.messages, got.accepted_rate())?;
    }
    writeln!(out, "\n{LATENCY}")?;
    for (name, flood) in [("nothing", None), ("unsigned mail", Some(false)), ("signed mail", Some(true))] {
        let (mut times, others) = latencies(folder, flood)?;
        times.sort_unstable();
        let at = |hundredth: usize| times[(times.len() - 1) * hundredth / 100].as_secs_f64() * 1e3;
        writeln!(out, "| {name} | {} | {:.2} | {:.2} | {others} |", times.len(), at(50), at(99))?;
    }
    Ok(())
}

/// How long each letter waited for its 250 from its final dot on, and how many messages came from elsewhere meanwhile.
fn latencies(folder: &Path, flood: Option<bool>) -> Result<(Vec<Duration>, u64)> {
    let sink = SmtpSink::start_discarding(&["-m", "1000"])?;
    let mut sluice = Sluice::prepare_in(folder, &Settings::to(sink.address()))?;
    sluice.run()?;
    sluice.add_trusted_account()?;
    sluice.add_account(QUIET, PASSWORD, &[QUIET_DOMAIN])?;
    if flood == Some(true) {
        sluice.cli(&["dkim", "generate", TRUSTED_DOMAIN])?.success()?;
    }
    let mut client = Client::open_tls(sluice.ports.submissions, &sluice.certificate.certificate)?;
    client.auth_plain(QUIET, PASSWORD)?.expect("235")?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let others = flood.map(|_| scope.spawn(|| flooding(sluice.ports.trusted, &stop)));
        let times = (0..LETTERS).map(|number| letter(&mut client, number)).collect::<Result<Vec<_>>>();
        stop.store(true, Ordering::Relaxed);
        let others = others.map_or(Ok(0), |thread| thread.join().unwrap_or_else(|_| anyhow::bail!("the flood")));
        Ok((times?, others?))
    })
}

fn letter(client: &mut Client, number: usize) -> Result<Duration> {
    std::thread::sleep(PAUSE);
    let from = format!("bench@{QUIET_DOMAIN}");
    let content = format!("From: {from}\r\nSubject: {number}\r\n\r\n{}", "0123456789 abcdef\r\n".repeat(200));
    client.command(&format!("MAIL FROM:<{from}>"))?.expect("250")?;
    client.command("RCPT TO:<sink@example.test>")?.expect("250")?;
    client.command("DATA")?.expect("354")?;
    let begun = wait::now();
    client.send(format!("{content}.\r\n").as_bytes())?;
    client.reply()?.expect("250").context("the unsigned account's letter")?;
    Ok(wait::elapsed(begun))
}

/// One run of the generator after the other; how many messages it sent.
fn flooding(address: SocketAddr, stop: &AtomicBool) -> Result<u64> {
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        let finished = process::run_within(&mut subject::source(FLOOD, address), b"", subject::RUN_MAX)?.success()?;
        ensure!(finished.stderr.is_empty(), "smtp-source: {}", finished.stderr);
        sent += FLOOD.messages;
    }
    Ok(sent)
}
