//! The stage of the scenarios: every peer that they need, and one Sluice whose configuration leads to them.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::case::{Account, Case, HOME, Peer, Shown};
use super::zones;
use crate::aiosmtpd::{Peers, Plan};
use crate::certificate::{self, Authority, Certificate, Validity};
use crate::dns::Dns;
use crate::postfix::{Postfix, Role, Setup};
use crate::sluice::{Settings, Sluice};
use crate::smtp_sink::SmtpSink;
use crate::toxiproxy::Toxiproxy;
use crate::{ports, process, wait};

/// When undelivered mail is given up in this world. Long enough for several tries, and to be looked at between them.
const BOUNCE_AFTER_SECS: u64 = 30;
/// The user name at the smart host.
const USER: &str = "relay";
/// Its password.
pub(super) const PASSWORD: &str = "correct horse";
/// The name of the server behind the smart host.
pub(super) const BEHIND: &str = "behind-the-smart-host";
/// The name of the server that refuses all mail for [`Sender::Deaf`].
pub(super) const DEAF: &str = "deaf";

/// Everything that runs.
pub struct World {
    /// Stops first.
    pub(super) sluice: Sluice,
    /// The senders' mail server.
    pub(super) home: Postfix,
    pub(super) receiver: Option<Postfix>,
    _smart_host: Option<Postfix>,
    pub(super) peers: Peers,
    pub(super) sinks: BTreeMap<&'static str, SmtpSink>,
    pub(super) toxiproxy: Option<Toxiproxy>,
    _dns: Option<Dns>,
    /// A run of the command line is a process: one at a time leaves the machine to Sluice.
    command_line: Mutex<()>,
    listeners: Vec<(Account, SocketAddr)>,
    /// What waits: asked for once for all who want to know at about the same time.
    listing: Mutex<(Option<Instant>, Listing)>,
    _dir: TempDir,
}

/// Queue ids of what waits, with the last reply if it was tried.
pub(super) type Listing = Arc<BTreeMap<String, Option<String>>>;

/// How old a listing may be.
const LISTING_AGE: Duration = Duration::from_millis(300);

/// Routes and what they lead to, while they are being put up.
struct Builder<'a> {
    dir: &'a Path,
    authority: Authority,
    plan: Plan,
    sinks: BTreeMap<&'static str, SmtpSink>,
    routes: String,
    /// Toxics, and the good server behind each.
    proxies: Vec<(&'static str, SocketAddr)>,
    /// Where each account submits.
    listeners: Vec<(Account, SocketAddr)>,
}

impl World {
    /// Puts up what `cases` need, and starts Sluice in front of it.
    pub fn start(cases: &[Case]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        // Postfix's users must be able to enter.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let (plan, sinks, proxies) = (Plan::default(), BTreeMap::new(), Vec::new());
        let authority = Authority::new(dir.path())?;
        let listener = |account| Ok((account, ports::loopback(ports::free()?)));
        let listeners = Account::ALL.into_iter().map(listener).collect::<Result<_>>()?;
        let mut builder =
            Builder { dir: dir.path(), authority, plan, sinks, routes: String::new(), proxies, listeners };
        for case in cases {
            builder.aiosmtpd(case)?;
        }
        let refuses = json!({ "rules": [{ "at": "rcpt", "reply": "550 5.1.1 nobody is at home" }] });
        let deaf = builder.plan.add(DEAF, &refuses)?;
        builder.route("deaf.test", deaf, "");
        let behind = builder.plan.add(BEHIND, &json!({}))?;
        let zones = cases.iter().any(|case| matches!(case.peer, Peer::Zone(_)));
        let port = ports::free()?;
        if zones {
            zones::hosts(&mut builder.plan, port);
        }
        let Builder { plan, .. } = &mut builder;
        let peers = std::mem::take(plan).start()?;
        let toxiproxy = builder.toxiproxy(cases)?;
        let home = builder.home(cases)?;
        let receiver = builder.receiver(cases)?;
        let smart_host = builder.smart_host(cases, behind)?;
        builder.nobody(cases)?;
        let dns = if zones { Some(zones::serve()?) } else { None };
        let settings = builder.settings(dns.as_ref().map(Dns::resolver), port);
        let mut sluice = Sluice::prepare(&settings)?;
        sluice.run()?;
        for account in Account::ALL {
            sluice.add_account(account.id(), "not used by anybody", &[HOME, "deaf.test"])?;
        }
        sluice.cli(&["account", "set", Account::Full.id(), "--dsn", "full"])?.success()?;
        sluice.cli(&["account", "set", Account::Off.id(), "--dsn", "off"])?.success()?;
        let (sinks, listeners) = (builder.sinks, builder.listeners);
        let (command_line, listing) = (Mutex::default(), Mutex::default());
        Ok(Self {
            sluice,
            home,
            receiver,
            _smart_host: smart_host,
            peers,
            sinks,
            toxiproxy,
            _dns: dns,
            command_line,
            listing,
            listeners,
            _dir: dir,
        })
    }

    /// Runs the command line; what it printed.
    pub(super) fn cli(&self, arguments: &[&str]) -> Result<process::Finished> {
        let _one = self.command_line.lock().unwrap_or_else(PoisonError::into_inner);
        self.sluice.cli(arguments)
    }

    /// Where `account` submits.
    pub(super) fn listener(&self, account: Account) -> Result<SocketAddr> {
        let found = self.listeners.iter().find(|(other, _)| *other == account);
        Ok(found.context("no listener")?.1)
    }

    /// What waits, as it was a moment ago.
    pub(super) fn listing(&self) -> Result<Listing> {
        let mut kept = self.listing.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.0.is_none_or(|at| wait::elapsed(at) > LISTING_AGE) {
            let list = self.cli(&["queue", "list", "--json", "--max", "10000"])?.success()?.stdout;
            let list: Value = serde_json::from_str(&list)?;
            let entry = |envelope: &Value| {
                let text = |name: &str| envelope[name].as_str().map(str::to_owned);
                Some((text("queue_id")?, text("last_reply")))
            };
            *kept = (Some(wait::now()), Arc::new(list.as_array().into_iter().flatten().filter_map(entry).collect()));
        }
        Ok(Arc::clone(&kept.1))
    }
}

impl Builder<'_> {
    fn route(&mut self, domain: &str, address: SocketAddr, lines: &str) {
        let text = format!("[[delivery.routes]]\ndomain = \"{domain}\"\nhosts = [\"{address}\"]\n{lines}\n");
        self.routes.push_str(&text);
    }

    /// The servers of one's own of this case, and the route to them.
    fn aiosmtpd(&mut self, case: &Case) -> Result<()> {
        let domain = case.domain();
        match &case.peer {
            Peer::Aiosmtpd(behaviour, lines) => {
                let address = self.plan.add(case.name, behaviour)?;
                self.route(&domain, address, lines);
            }
            Peer::Starttls(shown, policy) => {
                let behaviour = self.handshake(case.name, *shown)?;
                let address = self.plan.add(case.name, &behaviour)?;
                self.route(&domain, address, &format!("tls = \"{policy}\""));
            }
            Peer::SmtpSink(options) => {
                let sink = SmtpSink::start(options)?;
                self.route(&domain, sink.address(), "");
                self.sinks.insert(case.name, sink);
            }
            Peer::Toxiproxy(_) => {
                let address = self.plan.add(case.name, &json!({}))?;
                self.proxies.push((case.name, address));
            }
            Peer::Zone(_) | Peer::Postfix | Peer::SmartHost(_) | Peer::Nobody => {}
        }
        Ok(())
    }

    /// How a server behaves that shows this in its handshake.
    fn handshake(&self, stem: &str, shown: Shown) -> Result<Value> {
        let sign = |names: &[&str], validity| self.authority.sign(self.dir, stem, names, validity);
        let tls = |files: Certificate| json!({ "certificate": files.certificate, "key": files.key });
        Ok(match shown {
            Shown::Good => json!({ "tls": tls(sign(&["127.0.0.1"], Validity::Valid)?) }),
            Shown::Expired => json!({ "tls": tls(sign(&["127.0.0.1"], Validity::Expired)?) }),
            Shown::WrongName => json!({ "tls": tls(sign(&["other.example"], Validity::Valid)?) }),
            Shown::SelfSigned => json!({ "tls": tls(certificate::write(self.dir, stem, "127.0.0.1")?) }),
            Shown::OldVersion => {
                json!({ "tls": tls(sign(&["127.0.0.1"], Validity::Valid)?), "broken_tls": "version" })
            }
            Shown::Junk => json!({ "broken_tls": "junk" }),
            Shown::Close => json!({ "broken_tls": "close" }),
            Shown::Nothing => json!({}),
        })
    }

    fn toxiproxy(&mut self, cases: &[Case]) -> Result<Option<Toxiproxy>> {
        if self.proxies.is_empty() {
            return Ok(None);
        }
        let toxiproxy = Toxiproxy::start()?;
        for (name, upstream) in std::mem::take(&mut self.proxies) {
            let address = toxiproxy.proxy(name, upstream)?;
            self.route(&format!("{name}.test"), address, "");
            let toxics = cases.iter().filter(|case| case.name == name).filter_map(|case| match &case.peer {
                Peer::Toxiproxy(toxics) => Some(toxics),
                Peer::Zone(_)
                | Peer::Aiosmtpd(..)
                | Peer::Starttls(..)
                | Peer::SmtpSink(_)
                | Peer::Postfix
                | Peer::SmartHost(_)
                | Peer::Nobody => None,
            });
            for (kind, stream, attributes) in toxics.flatten() {
                toxiproxy.poison(name, kind, stream, attributes)?;
            }
        }
        Ok(Some(toxiproxy))
    }

    /// The senders' server: a mailbox for each case, and nobody else.
    fn home(&mut self, cases: &[Case]) -> Result<Postfix> {
        let mut setup = Setup::new(Role::Mailbox);
        setup.addresses = cases.iter().map(Case::mailbox).collect();
        let home = Postfix::start_as(self.dir, &setup)?;
        self.route(HOME, home.address(), "");
        Ok(home)
    }

    /// The Postfix that takes mail for `known` at the domains of its cases.
    fn receiver(&mut self, cases: &[Case]) -> Result<Option<Postfix>> {
        let domains: Vec<_> =
            cases.iter().filter(|case| matches!(case.peer, Peer::Postfix)).map(Case::domain).collect();
        if domains.is_empty() {
            return Ok(None);
        }
        let mut setup = Setup::new(Role::Mailbox);
        setup.addresses = domains.iter().map(|domain| format!("known@{domain}")).collect();
        setup.tls = Some(self.authority.sign(self.dir, "receiver", &["127.0.0.1"], Validity::Valid)?);
        let receiver = Postfix::start_as(self.dir, &setup)?;
        for domain in domains {
            self.route(&domain, receiver.address(), "");
        }
        Ok(Some(receiver))
    }

    fn smart_host(&mut self, cases: &[Case], next: SocketAddr) -> Result<Option<Postfix>> {
        let mut smart_host = None;
        for case in cases {
            let Peer::SmartHost(password) = case.peer else { continue };
            if smart_host.is_none() {
                let mut setup = Setup::new(Role::Relay(next));
                setup.tls = Some(self.authority.sign(self.dir, "smart-host", &["127.0.0.1"], Validity::Valid)?);
                setup.login = Some((USER.to_owned(), PASSWORD.to_owned()));
                smart_host = Some(Postfix::start_as(self.dir, &setup)?);
            }
            let file = self.dir.join(format!("{}.password", case.name));
            fs::write(&file, format!("{password}\n"))?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
            let lines = format!("tls = \"verified\"\nusername = \"{USER}\"\npassword_file = \"{}\"", file.display());
            let address = smart_host.as_ref().context("it was started")?.address();
            self.route(&case.domain(), address, &lines);
        }
        Ok(smart_host)
    }

    fn nobody(&mut self, cases: &[Case]) -> Result<()> {
        for case in cases.iter().filter(|case| matches!(case.peer, Peer::Nobody)) {
            self.route(&case.domain(), ports::loopback(ports::free()?), "");
        }
        Ok(())
    }

    fn settings(&self, name_server: Option<SocketAddr>, port: u16) -> Settings {
        let name_server = name_server.unwrap_or_else(|| ports::loopback(9));
        let delivery = format!(
            "name_servers = [\"{name_server}\"]
allowed_networks = [\"{}/16\", \"::1/128\"]
default_smtp_port = {port}
ca_file = \"{}\"
retry_after = [\"1s\", \"1s\", \"2s\", \"2s\", \"3s\"]
bounce_after = \"{BOUNCE_AFTER_SECS}s\"
dead_site_pause = \"1s\"
connect_timeout = \"2s\"
smtp_greeting_timeout = \"3s\"
command_timeout = \"4s\"
data_send_timeout = \"3s\"
smtp_data_termination_timeout = \"6s\"
{}
{}",
            zones::NETWORK,
            self.authority.pem.display(),
            super::cases::DIRECTIVES,
            self.routes,
        );
        // What the DNS must not lead to: a listener of our own where mail hosts are looked for.
        let mut sections = format!("[[ingress.listeners]]\naddress = \"{}\"\n", zones::own(port));
        for (account, address) in &self.listeners {
            sections += &format!(
                "[[ingress.listeners]]\naddress = \"{address}\"\ntls = \"none\"\ndirect = true\n\
                 trusted_networks = [{{ network = \"127.0.0.0/8\", account = \"{}\" }}]\n",
                account.id()
            );
        }
        Settings { delivery, sections, ..Settings::default() }
    }
}

/// `host` of the zones' network, at `port`.
pub(super) fn host(host: u8, port: u16) -> SocketAddr {
    let [a, b, c, _] = zones::NETWORK.octets();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, host)), port)
}

/// The only host that has an IPv6 address.
pub(super) fn host_v6(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port)
}
