//! A million waiting envelopes: what they take in memory, and how long a restart takes.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use sluice_tests::process::Process;
use sluice_tests::sluice::{Settings, Sluice, TRUSTED_DOMAIN};
use sluice_tests::smtp::Client;
use sluice_tests::{ports, wait};

use crate::usage;

/// Recipients, each of a domain of its own, hence envelopes, of one message.
const PER_MESSAGE: u64 = 1000;

/// Has `count` envelopes wait for a host that is down, and tells `out` what they cost.
pub fn run(count: u64, octets: usize, folder: &Path, out: &mut dyn Write) -> Result<()> {
    let mut settings = Settings::to(ports::loopback(ports::free()?));
    settings.delivery = "retry_after = [\"1h\"]\n".to_owned();
    let mut sluice = Sluice::prepare_in(folder, &settings)?;
    sluice.run()?;
    sluice.add_trusted_account()?;
    let start = wait::now();
    submit(count, octets, sluice.ports.trusted)?;
    let pid = sluice.process()?.id();
    let (now, peak) = (megabytes(usage::resident(pid)), megabytes(usage::peak_resident(pid)));
    let took = wait::elapsed(start);
    writeln!(
        out,
        "{count} envelopes accepted in {:.1} s; memory {now:.0} MB now, {peak:.0} MB at most",
        took.as_secs_f64()
    )?;
    settle(sluice.process()?)?;
    let (now, peak) = (megabytes(usage::resident(pid)), megabytes(usage::peak_resident(pid)));
    writeln!(out, "all tried once and waiting; memory {now:.0} MB now, {peak:.0} MB at most")?;
    writeln!(out, "{}", sluice.cli(&["queue"])?.stdout.lines().take(5).collect::<Vec<_>>().join("\n"))?;
    sluice.kill()?;
    let start = wait::now();
    sluice.run()?;
    let took = wait::elapsed(start);
    let pid = sluice.process()?.id();
    settle(sluice.process()?)?;
    let (now, peak) = (megabytes(usage::resident(pid)), megabytes(usage::peak_resident(pid)));
    writeln!(out, "ready {:.1} s after a kill; memory {now:.0} MB now, {peak:.0} MB at most", took.as_secs_f64())?;
    Ok(())
}

fn megabytes(octets: u64) -> f64 {
    octets as f64 / 1e6
}

fn submit(count: u64, octets: usize, address: SocketAddr) -> Result<()> {
    let mut client = Client::open(address)?;
    let line = [b'x'; 62].iter().chain(b"\r\n").copied().collect::<Vec<u8>>();
    let mut content = format!("From: <bench@{TRUSTED_DOMAIN}>\r\nSubject: waiting\r\n\r\n").into_bytes();
    content.extend(line.iter().cycle().take(octets / line.len() * line.len()));
    content.extend_from_slice(b".\r\n");
    for message in 0..count.div_ceil(PER_MESSAGE) {
        let recipients = PER_MESSAGE.min(count - message * PER_MESSAGE);
        let mut commands = format!("MAIL FROM:<bench@{TRUSTED_DOMAIN}>\r\n");
        for recipient in 0..recipients {
            let domain = message * PER_MESSAGE + recipient;
            commands.push_str(&format!("RCPT TO:<someone@d{domain}.example.test>\r\n"));
        }
        commands.push_str("DATA\r\n");
        client.send(commands.as_bytes())?;
        for _ in 0..=recipients {
            client.reply()?.expect("250")?;
        }
        client.reply()?.expect("354")?;
        client.send(&content)?;
        client.reply()?.expect("250")?;
    }
    Ok(())
}

/// Waits until the process has been all but idle for a while: every envelope has been tried.
fn settle(process: &mut Process) -> Result<()> {
    const LOOK: Duration = Duration::from_secs(2);
    let start = wait::now();
    let mut before = usage::cpu_seconds(process.id())?;
    loop {
        std::thread::sleep(LOOK);
        let now = usage::cpu_seconds(process.id())?;
        if now - before < 0.1 {
            return Ok(());
        }
        before = now;
        ensure!(wait::elapsed(start) < Duration::from_secs(300), "it does not come to rest");
    }
}
