//! A DNS of one's own: Knot holds the zones, and unbound in front of it resolves names as a provider's resolver does.
//!
//! ```text
//! sluice --> unbound --> Knot            zones, and the root, so that every other name does not exist
//!                   \--> nobody          zones whose name servers are silent
//! ```
//! A [`Setup`] says what there is; [`Dns::start`] runs it; [`Dns::resolver`] is what `delivery.name_servers` is given.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use crate::process::Process;
use crate::{ports, wait};

/// How long records are good for.
const TTL: u32 = 60;
/// Response codes of the DNS.
const NOERROR: u8 = 0;
/// The server could not find out.
pub const SERVFAIL: u8 = 2;
/// There is no such name.
pub const NXDOMAIN: u8 = 3;

/// A zone, as the lines of its file.
#[derive(Clone, Debug)]
pub struct Zone {
    origin: String,
    lines: Vec<String>,
}

impl Zone {
    /// A zone with nothing but its SOA and NS records, such as `Zone::new("one.example")`.
    #[must_use]
    pub fn new(origin: &str) -> Self {
        Self { origin: origin.to_owned(), lines: Vec::new() }
    }

    /// Adds a record. `name` is below the zone, `@` for the zone itself; names in `data` end with a dot, or are below
    /// the zone too: `.with("@", "MX", "10 mx1")`.
    #[must_use]
    pub fn with(mut self, name: &str, kind: &str, data: &str) -> Self {
        self.lines.push(format!("{name} {kind} {data}"));
        self
    }

    /// A zone whose mail is taken by one host at these addresses: `mx` below the zone.
    #[must_use]
    pub fn at(origin: &str, addresses: &[&str]) -> Self {
        let zone = Self::new(origin).with("@", "MX", "10 mx");
        addresses.iter().fold(zone, |zone, ip| zone.with("mx", if ip.contains(':') { "AAAA" } else { "A" }, ip))
    }

    fn text(&self) -> String {
        let origin = if self.origin == "." { ".".to_owned() } else { format!("{}.", self.origin) };
        let lines: String = self.lines.iter().map(|line| format!("{line}\n")).collect();
        format!(
            "$ORIGIN {origin}\n$TTL {TTL}\n\
             @ SOA ns.dns.invalid. root.dns.invalid. 1 3600 600 86400 {TTL}\n@ NS ns.dns.invalid.\n{lines}"
        )
    }
}

/// What there is in the DNS; all other names do not exist.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Zones that work.
    pub zones: Vec<Zone>,
    /// Zones whose name server cannot load them: SERVFAIL.
    pub broken: Vec<String>,
    /// Zones whose name server never answers: time-outs.
    pub silent: Vec<String>,
}

impl Setup {
    /// These zones.
    #[must_use]
    pub fn of(zones: Vec<Zone>) -> Self {
        Self { zones, ..Self::default() }
    }

    /// And these, which end in SERVFAIL.
    #[must_use]
    pub fn broken(mut self, zones: &[&str]) -> Self {
        self.broken.extend(zones.iter().map(|zone| (*zone).to_owned()));
        self
    }

    /// And these, about which nobody ever answers.
    #[must_use]
    pub fn silent(mut self, zones: &[&str]) -> Self {
        self.silent.extend(zones.iter().map(|zone| (*zone).to_owned()));
        self
    }
}

/// The servers, in a folder of their own; they end with it.
pub struct Dns {
    /// unbound, which stops before Knot does.
    processes: Vec<Process>,
    resolver: SocketAddr,
    authority: SocketAddr,
    /// Bound, and never read.
    black_hole: UdpSocket,
    dir: TempDir,
}

impl Dns {
    /// Starts both servers, and waits until they answer.
    pub fn start(setup: &Setup) -> Result<Self> {
        ensure!(installed(), "Debian's packages knot and unbound are needed");
        let dir = tempfile::Builder::new().prefix("dns-").tempdir()?;
        let black_hole = UdpSocket::bind("127.0.0.1:0")?;
        let mut dns = Self { processes: Vec::new(), resolver: free()?, authority: free()?, black_hole, dir };
        dns.change(setup)?;
        Ok(dns)
    }

    /// Where unbound answers: for `delivery.name_servers`.
    #[must_use]
    pub fn resolver(&self) -> SocketAddr {
        self.resolver
    }

    /// The lines for `[delivery]` that have Sluice ask here.
    #[must_use]
    pub fn config(&self) -> String {
        format!("name_servers = [\"{}\"]\n", self.resolver)
    }

    /// From now on there is this instead; nothing is left in unbound's cache.
    pub fn change(&mut self, setup: &Setup) -> Result<()> {
        self.stop();
        self.write(setup)?;
        let knot = self.run("knotd", &["/usr/sbin/knotd", "-c"], "knot.conf")?;
        self.processes.push(knot);
        self.wait(self.authority)?;
        let unbound = self.run("unbound", &["/usr/sbin/unbound", "-d", "-c"], "unbound.conf")?;
        self.processes.insert(0, unbound);
        self.wait(self.resolver)
    }

    /// Nobody answers any more, until [`Self::change`].
    pub fn stop(&mut self) {
        self.processes.clear();
    }

    /// What unbound says about `name` and `kind` (1 A, 15 MX, 28 AAAA): the response code, or nothing within `limit`.
    pub fn code(&self, name: &str, kind: u16, limit: Duration) -> Result<Option<u8>> {
        ask(self.resolver, name, kind, limit)
    }

    fn run(&self, name: &str, command: &[&str], config: &str) -> Result<Process> {
        let mut child = Command::new(command[0]);
        child.args(&command[1..]).arg(self.dir.path().join(config)).current_dir(self.dir.path());
        Process::start(name, &mut child, &self.log(name))
    }

    fn log(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.log"))
    }

    fn wait(&mut self, address: SocketAddr) -> Result<()> {
        wait::for_condition(&format!("a DNS server to answer at {address}"), || {
            for process in &mut self.processes {
                if let Some(status) = process.exited()? {
                    bail!("a DNS server ended with {status}: {}", process.output());
                }
            }
            Ok(ask(address, ".", SOA, Duration::from_millis(500))? == Some(NOERROR))
        })
    }

    fn write(&self, setup: &Setup) -> Result<()> {
        let dir = self.dir.path();
        let root = Zone::new(".");
        let zones: Vec<&Zone> = setup.zones.iter().chain([&root]).collect();
        let mut listed = String::new();
        for (number, zone) in zones.iter().enumerate() {
            fs::write(dir.join(format!("{number}.zone")), zone.text())?;
            writeln!(listed, "  - domain: \"{}\"\n    file: \"{number}.zone\"", zone.origin)?;
        }
        // Knot knows of these, and cannot load them.
        for zone in &setup.broken {
            writeln!(listed, "  - domain: \"{zone}\"\n    file: \"missing.zone\"")?;
        }
        fs::write(dir.join("knot.conf"), knot_config(dir, self.authority, &listed))?;
        let (authority, nobody) = (self.authority, self.black_hole.local_addr()?);
        let mut sections = String::new();
        let mut section = |kind: &str, zone: &str, server: SocketAddr| {
            let at = format!("{}@{}", server.ip(), server.port());
            writeln!(sections, "{kind}-zone:\n  name: \"{zone}\"\n  {kind}-addr: {at}\n  {kind}-first: no")
        };
        zones.iter().try_for_each(|zone| section("stub", &zone.origin, authority))?;
        // To servers that are no help with a stub zone unbound would ask the zone above.
        setup.broken.iter().try_for_each(|zone| section("forward", zone, authority))?;
        setup.silent.iter().try_for_each(|zone| section("forward", zone, nobody))?;
        Ok(fs::write(dir.join("unbound.conf"), unbound_config(dir, self.resolver, &sections))?)
    }
}

fn knot_config(dir: &Path, listen: SocketAddr, zones: &str) -> String {
    format!(
        r#"server:
  rundir: "{dir}"
  listen: "{ip}@{port}"
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
database:
  storage: "{dir}"
log:
  - target: stderr
    any: info
template:
  - id: default
    storage: "{dir}"
    zonefile-sync: -1
    zonefile-load: whole
    journal-content: none
    semantic-checks: off
zone:
{zones}"#,
        dir = dir.display(),
        ip = listen.ip(),
        port = listen.port(),
    )
}

/// Without validation, as the zones are not signed; and without the zones that unbound answers by itself.
fn unbound_config(dir: &Path, listen: SocketAddr, zones: &str) -> String {
    format!(
        r#"server:
  directory: "{dir}"
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  logfile: ""
  verbosity: 1
  num-threads: 1
  do-daemonize: no
  interface: {ip}@{port}
  access-control: 127.0.0.0/8 allow
  do-ip6: no
  do-not-query-localhost: no
  module-config: "iterator"
  qname-minimisation: no
  local-zone: "test." nodefault
remote-control:
  control-enable: no
{zones}"#,
        dir = dir.display(),
        ip = listen.ip(),
        port = listen.port(),
    )
}

/// SOA, as a number.
const SOA: u16 = 6;

/// Asks a server one question by UDP: its response code, or nothing within `limit`.
fn ask(server: SocketAddr, name: &str, kind: u16, limit: Duration) -> Result<Option<u8>> {
    const ID: [u8; 2] = [0x5a, 0xa5];
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(limit))?;
    socket.connect(server)?;
    // Recursion is desired; one question.
    let mut question = [&ID[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        question.push(u8::try_from(label.len()).context("a label that is too long")?);
        question.extend_from_slice(label.as_bytes());
    }
    question.push(0);
    question.extend_from_slice(&kind.to_be_bytes());
    question.extend_from_slice(&1_u16.to_be_bytes());
    let mut answer = [0; 512];
    // A server that does not listen yet refuses, which is no answer either.
    match socket.send(&question).and_then(|_| socket.recv(&mut answer)) {
        Ok(n) if n >= 12 && answer[..2] == ID => Ok(Some(answer[3] & 0x0f)),
        Ok(_) | Err(_) => Ok(None),
    }
}

/// An address whose port is free for UDP and TCP.
fn free() -> Result<SocketAddr> {
    for _ in 0..100 {
        let address = ports::loopback(ports::free()?);
        if UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no port is free for UDP and TCP")
}

/// True when the servers are there.
#[must_use]
pub fn installed() -> bool {
    ["/usr/sbin/knotd", "/usr/sbin/unbound"].iter().all(|path| Path::new(path).exists())
}
