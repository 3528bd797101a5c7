//! Sluice with keys, the DNS with their records, and those who take the mail.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use super::Extent;
use crate::dns::{Dns, Setup, Zone};
use crate::postfix::{Postfix, Role};
use crate::process;
use crate::sink::{Action, Mailbox, Sink, Step};
use crate::sluice::{Settings, Sluice};
use crate::smtp::Client;

/// Has an RSA key.
pub(super) const RSA: &str = "rsa.test";
/// Has an Ed25519 key.
pub(super) const ED: &str = "ed.test";
/// Has both.
pub(super) const BOTH: &str = "both.test";
/// Has both; `bücher.test`.
pub(super) const IDN: &str = "xn--bcher-kva.test";
/// Has none.
pub(super) const KEYLESS: &str = "keyless.test";
/// Changes its key.
pub(super) const ROTATED: &str = "rotated.test";
/// The host's own name.
pub(super) const HOST: &str = "sluice.test";

/// Takes what comes.
pub(super) const PLAIN: &str = "plain.test";
/// Puts off each message once.
pub(super) const LATER: &str = "later.test";
/// Puts off all until [`World::open`].
pub(super) const CLOSED: &str = "closed.test";
/// Is reached through Postfix.
pub(super) const RELAYED: &str = "relayed.test";
/// Has no such user.
pub(super) const REFUSING: &str = "refusing.test";

/// An account that may send from all domains.
pub(super) const ALICE: &str = "alice";
/// The same, whose mail must be signed.
pub(super) const STRICT: &str = "strict";
/// The same, which leaves mail alone that is signed.
pub(super) const LEAVING: &str = "leaving";

const PASSWORD: &str = "correct horse battery";
/// The selector of the key that dkimpy signs with, for [`BOTH`].
pub(super) const UPSTREAM: &str = "up";

/// All that runs.
pub(super) struct World {
    pub(super) extent: Extent,
    /// Stops before all others.
    pub(super) sluice: Sluice,
    _postfix: Option<Postfix>,
    sinks: BTreeMap<&'static str, (Arc<Mailbox>, Sink)>,
    pub(super) dns: Dns,
    is_open: Arc<AtomicBool>,
    dir: TempDir,
}

impl World {
    pub(super) fn start(extent: Extent) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let is_open = Arc::new(AtomicBool::new(false));
        let mut sinks = BTreeMap::new();
        for name in [PLAIN, LATER, CLOSED, RELAYED, REFUSING, BOTH] {
            let mailbox = Arc::new(mailbox(name, &is_open));
            sinks.insert(name, (mailbox.clone(), Sink::start(mailbox)?));
        }
        let mut routes: Vec<_> = sinks.iter().map(|(name, (_, sink))| ((*name).to_owned(), sink.address())).collect();
        let mut postfix = None;
        if extent == Extent::Whole {
            let relay = Postfix::start(dir.path(), Role::Relay(sinks[RELAYED].1.address()))?;
            routes.retain(|(name, _)| name != RELAYED);
            routes.push((RELAYED.to_owned(), relay.address()));
            postfix = Some(relay);
        }
        let dns = Dns::start(&Setup::default())?;
        let mut settings = Settings { routes, ..Settings::default() };
        settings.ingress = "max_message_size = \"30MiB\"\n".to_owned();
        settings.delivery = format!("{}retry_after = [\"1s\"]\n", dns.config());
        let mut sluice = Sluice::prepare(&settings)?;
        sluice.run()?;
        let mut world = Self { extent, sluice, _postfix: postfix, sinks, dns, is_open, dir };
        world.accounts()?;
        world.keys()?;
        Ok(world)
    }

    fn accounts(&self) -> Result<()> {
        for (name, more) in [(ALICE, None), (STRICT, Some("--require-dkim")), (LEAVING, Some("--leave-signed"))] {
            let mut words = vec!["account", "add", name, "--password-stdin"];
            for domain in [RSA, ED, BOTH, IDN, KEYLESS, ROTATED] {
                words.extend_from_slice(&["--domain", domain]);
            }
            words.extend(more);
            self.sluice.cli_with(&words, format!("{PASSWORD}\n").as_bytes())?.success()?;
        }
        Ok(())
    }

    fn keys(&mut self) -> Result<()> {
        for (domain, algorithms) in [
            (RSA, &["rsa"][..]),
            (ED, &["ed25519"]),
            (BOTH, &["rsa", "ed25519"]),
            (IDN, &["rsa", "ed25519"]),
            (HOST, &["rsa", "ed25519"]),
        ] {
            for algorithm in algorithms {
                self.generate(&[domain, "--algorithm", algorithm])?;
            }
        }
        upstream_key(&self.upstream_key())?;
        self.publish()
    }

    /// `sluice dkim generate`.
    pub(super) fn generate(&self, words: &[&str]) -> Result<()> {
        self.sluice.cli(&[&["dkim", "generate"], words].concat())?.success()?;
        Ok(())
    }

    /// Puts the records of all keys into the DNS, as `sluice dkim dns` writes them.
    pub(super) fn publish(&mut self) -> Result<()> {
        let lines = self.sluice.cli(&["dkim", "dns"])?.success()?.stdout;
        let mut zone = Zone::new("test");
        for line in lines.lines().filter(|line| !line.trim().is_empty()) {
            let (name, data) = line.split_once(" 3600 IN TXT ").with_context(|| format!("no record: {line}"))?;
            zone = zone.with(name, "TXT", data);
        }
        let mut public = Command::new("openssl");
        public.args(["rsa", "-pubout", "-outform", "PEM", "-in"]).arg(self.upstream_key());
        let pem = process::run(&mut public, b"")?.success()?.stdout;
        let text: String = pem.lines().filter(|line| !line.starts_with("---")).collect();
        let size = STANDARD.decode(&text).context("a public key")?.len();
        let (head, tail) = text.split_at(size.min(200));
        let name = format!("{UPSTREAM}._domainkey.{BOTH}.");
        zone = zone.with(&name, "TXT", &format!("\"v=DKIM1; k=rsa; p={head}\" \"{tail}\""));
        self.dns.change(&Setup::of(vec![zone]))
    }

    /// Where the private key of [`UPSTREAM`] is.
    pub(super) fn upstream_key(&self) -> PathBuf {
        self.dir.path().join("upstream.pem")
    }

    /// A session of this account.
    pub(super) fn client(&self, account: &str) -> Result<Client> {
        let mut client = Client::open(self.sluice.ports.submission)?.starttls(&self.sluice.certificate.certificate)?;
        client.auth_plain(account, PASSWORD)?.expect("235")?;
        Ok(client)
    }

    /// What came for this domain.
    pub(super) fn sink(&self, name: &str) -> &Mailbox {
        &self.sinks[name].0
    }

    /// From now on [`CLOSED`] takes mail.
    pub(super) fn open(&self) {
        self.is_open.store(true, Ordering::Release);
    }
}

fn mailbox(name: &str, is_open: &Arc<AtomicBool>) -> Mailbox {
    match name {
        LATER => {
            let has_refused = AtomicBool::new(false);
            Mailbox::misbehaving(move |_, step| match step {
                Step::Dot if !has_refused.swap(true, Ordering::AcqRel) => Action::Reply("451 4.3.0 later"),
                Step::Connect | Step::Command(_) | Step::Recipient(_) | Step::Dot => Action::Accept,
            })
        }
        CLOSED => {
            let is_open = Arc::clone(is_open);
            Mailbox::misbehaving(move |_, step| match step {
                Step::Recipient(_) if !is_open.load(Ordering::Acquire) => Action::Reply("451 4.3.0 closed"),
                Step::Connect | Step::Command(_) | Step::Recipient(_) | Step::Dot => Action::Accept,
            })
        }
        REFUSING => Mailbox::misbehaving(|_, step| match step {
            Step::Recipient(_) => Action::Reply("550 5.1.1 no such user"),
            Step::Connect | Step::Command(_) | Step::Dot => Action::Accept,
        }),
        _ => Mailbox::default(),
    }
}

/// An RSA key by openssl.
fn upstream_key(path: &Path) -> Result<()> {
    let mut command = Command::new("openssl");
    command.args(["genrsa", "-traditional", "-out"]).arg(path).arg("2048");
    process::run(&mut command, b"")?.success()?;
    Ok(())
}
