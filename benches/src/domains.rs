//! Many domains behind slow servers: how much of what the connection limits allow goes through.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sluice_tests::ports;
use sluice_tests::sluice::{Settings, Sluice, TRUSTED_DOMAIN};
use sluice_tests::smtp::Client;

use crate::slow_sink::SlowSink;
use crate::usage;

/// What is sent where.
#[derive(Clone, Copy, Debug)]
pub struct Domains {
    /// Domains, each with a site of its own.
    pub domains: usize,
    /// How long their servers take for each reply.
    pub delay: Duration,
    /// `total_max_smtp_out`.
    pub connections: u32,
    /// Messages in all.
    pub messages: u64,
    /// Octets of a body.
    pub octets: usize,
}

impl Domains {
    /// So many domains, with the default limits and enough mail for half a minute.
    #[must_use]
    pub fn of(domains: usize) -> Self {
        Self { domains, delay: Duration::from_millis(100), connections: 1000, messages: 75_000, octets: 4096 }
    }
}

/// Sessions that submit at once.
const SESSIONS: u64 = 20;
/// Replies of a transaction: to MAIL, RCPT, DATA and the final dot.
const REPLIES: u32 = 4;
/// No run takes longer.
const RUN_MAX: Duration = Duration::from_secs(300);

/// The table's first two lines, in Markdown.
const HEAD: &str = "\
| domains | reply | connections | messages | allowed/s | end to end/s | of allowed | steady/s | of allowed | opened | CPU s | CPU µs/message | peak MB |
|---|---|---|---|---|---|---|---|---|---|---|---|---|";

/// Sends the mail and prints how it went. *Allowed* is one message for each connection in the time of four replies;
/// *steady* is what went through between the tenth and the ninetieth hundredth of the mail.
pub fn run(of: Domains, folder: &Path, out: &mut dyn Write) -> Result<()> {
    // A connection takes a descriptor here too.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    let sink = SlowSink::start(of.domains, ports::free()?, of.delay)?;
    let mut sluice = Sluice::prepare_in(folder, &settings(of, sink.addresses()))?;
    sluice.run()?;
    sluice.add_trusted_account()?;
    let pid = sluice.process()?.id();
    let before = usage::cpu_seconds(pid)?;
    let address = sluice.ports.trusted;
    let marks = std::thread::scope(|scope| {
        let sessions: Vec<_> = (0..SESSIONS).map(|nth| scope.spawn(move || submit(of, nth, address))).collect();
        let marks = sink.wait_for(of.messages, RUN_MAX);
        for session in sessions {
            session.join().map_err(|_| anyhow::anyhow!("a session broke"))??;
        }
        marks
    })
    .with_context(|| format!("{:?}; {}", sink.numbers(), sluice.log()))?;
    let cpu = usage::cpu_seconds(pid)? - before;
    let numbers = sink.numbers();
    let allowed = f64::from(of.connections) / (numbers.reply * REPLIES).as_secs_f64();
    let end = marks.last().map_or(Duration::ZERO, |(at, _)| *at);
    let (overall, steady) = (of.messages as f64 / end.as_secs_f64(), steady(&marks, of.messages));
    writeln!(out, "{HEAD}")?;
    writeln!(
        out,
        "| {} | {:.1} ms | {} of {} | {} | {allowed:.0} | {overall:.0} | {:.0} % | {steady:.0} | {:.0} % | {} | {cpu:.1} | {:.0} | {:.0} |",
        of.domains,
        numbers.reply.as_secs_f64() * 1e3,
        numbers.most_open,
        of.connections,
        of.messages,
        100.0 * overall / allowed,
        100.0 * steady / allowed,
        numbers.connections,
        cpu * 1e6 / of.messages as f64,
        usage::peak_resident(pid) as f64 / 1e6,
    )?;
    Ok(())
}

/// The defaults, but for what is measured.
fn settings(of: Domains, sinks: &[SocketAddr]) -> Settings {
    let routes = sinks.iter().enumerate().map(|(n, address)| (format!("d{n}.example.test"), *address)).collect();
    let delivery = format!("total_max_smtp_out = {}\n", of.connections);
    Settings { routes, delivery, ..Settings::default() }
}

/// One session's part of the mail, domain after domain.
fn submit(of: Domains, nth: u64, address: SocketAddr) -> Result<()> {
    let mut client = Client::open(address)?;
    let line = [b'x'; 62].iter().chain(b"\r\n").copied().collect::<Vec<u8>>();
    let mut content = format!("From: <bench@{TRUSTED_DOMAIN}>\r\nSubject: many\r\n\r\n").into_bytes();
    content.extend(line.iter().cycle().take(of.octets / line.len() * line.len()));
    content.extend_from_slice(b".\r\n");
    for message in (nth..of.messages).step_by(SESSIONS as usize) {
        let domain = message % of.domains as u64;
        let commands =
            format!("MAIL FROM:<bench@{TRUSTED_DOMAIN}>\r\nRCPT TO:<someone@d{domain}.example.test>\r\nDATA\r\n");
        client.send(commands.as_bytes())?;
        for wanted in ["250", "250", "354"] {
            client.reply()?.expect(wanted)?;
        }
        client.send(&content)?;
        client.reply()?.expect("250")?;
    }
    Ok(())
}

fn steady(marks: &[(Duration, u64)], messages: u64) -> f64 {
    let at = |hundredths: u64| marks.iter().find(|(_, count)| *count * 100 >= messages * hundredths);
    let (Some((from, few)), Some((to, many))) = (at(10), at(90)) else { return 0.0 };
    (many - few) as f64 / (*to - *from).as_secs_f64().max(0.001)
}
