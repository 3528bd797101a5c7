//! A Postfix of one's own: Debian's programs on folders, ports and a configuration of the test; the system's own
//! instance, if any, is neither used nor touched.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::certificate::Certificate;
use crate::mailbox;
use crate::process::{self, Process};
use crate::{ports, wait};

/// What it does with mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Puts mail for anybody into one Maildir.
    Mailbox,
    /// Hands all mail to this server, as Debian's default configuration would.
    Relay(SocketAddr),
}

/// All that may be asked of an instance.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What it does with mail.
    pub role: Role,
    /// With [`Role::Mailbox`]: these addresses have a Maildir each, and no others exist. Empty: anybody exists.
    pub addresses: Vec<String>,
    /// Offers STARTTLS with this certificate.
    pub tls: Option<Certificate>,
    /// Takes mail after AUTH only, under TLS, by Cyrus SASL with this name and password.
    pub login: Option<(String, String)>,
}

impl Setup {
    /// Only the role.
    #[must_use]
    pub fn new(role: Role) -> Self {
        Self { role, addresses: Vec::new(), tls: None, login: None }
    }
}

/// A running instance, stopped when dropped.
pub struct Postfix {
    process: Process,
    address: SocketAddr,
    dir: TempDir,
}

/// The unprivileged user that the mailbox is written as.
const NOBODY: u32 = 65_534;

impl Postfix {
    /// Starts one in a new folder below `parent`, which every user must be able to enter.
    pub fn start(parent: &Path, role: Role) -> Result<Self> {
        Self::start_as(parent, &Setup::new(role))
    }

    /// [`Self::start`] with more to say.
    pub fn start_as(parent: &Path, setup: &Setup) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("postfix-").tempdir_in(parent)?;
        let address = ports::loopback(ports::free()?);
        let etc = layout(dir.path())?;
        let more = [mailboxes(&etc, setup)?, tls(&etc, setup)?, login(&etc, setup)?].concat();
        fs::write(etc.join("main.cf"), main_cf(dir.path(), setup.role) + &more)?;
        fs::write(etc.join("master.cf"), master_cf(address))?;
        let mut command = privileged("postfix");
        command.arg("-c").arg(&etc).arg("start-fg");
        let mut process = Process::start("postfix", &mut command, &dir.path().join("output.log"))?;
        let log = dir.path().join("mail.log");
        wait::until(wait::PATIENCE, "the start of postfix", || {
            if fs::read_to_string(&log).unwrap_or_default().contains("daemon started") {
                return Ok(Some(()));
            }
            match process.exited()? {
                Some(status) => bail!("{status}: {}", process.output()),
                None => Ok(None),
            }
        })?;
        Ok(Self { process, address, dir })
    }

    /// Where it takes mail.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process id of its master.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its mail log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("mail.log")).unwrap_or_default()
    }

    /// The messages in its mailbox, in the order of their arrival, lines with LF.
    pub fn mailbox(&self) -> Result<Vec<Vec<u8>>> {
        mailbox::maildir(&self.dir.path().join("mail/box"))
    }

    /// The messages in the mailbox of `address`, one of [`Setup::addresses`].
    pub fn mailbox_of(&self, address: &str) -> Result<Vec<Vec<u8>>> {
        mailbox::maildir(&self.dir.path().join("mail").join(address))
    }

    /// Waits until its mailbox holds `count` messages.
    pub fn wait_for_mail(&self, count: usize) -> Result<Vec<Vec<u8>>> {
        wait::until(wait::PATIENCE, &format!("{count} messages in the mailbox"), || {
            let mailbox = self.mailbox()?;
            Ok((mailbox.len() >= count).then_some(mailbox))
        })
        .with_context(|| self.log())
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let _ = process::run(privileged("postfix").arg("-c").arg(self.dir.path().join("etc")).arg("abort"), b"");
        let _ = self.process.wait(wait::PATIENCE);
    }
}

/// Postfix starts as root and drops its rights by itself.
fn privileged(program: &str) -> Command {
    let path = format!("/usr/sbin/{program}");
    if rustix::process::geteuid().is_root() {
        return Command::new(path);
    }
    let mut command = Command::new("sudo");
    command.arg("-n").arg(path);
    command
}

fn layout(dir: &Path) -> Result<PathBuf> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    for name in ["etc", "queue", "data", "mail"] {
        fs::create_dir(dir.join(name))?;
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o755))?;
    }
    if rustix::process::geteuid().is_root() {
        chown(dir.join("data"), Some(user_id("postfix")?), None)?;
        chown(dir.join("mail"), Some(NOBODY), Some(NOBODY))?;
    } else {
        for name in ["data", "mail"] {
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o777))?;
        }
    }
    Ok(dir.join("etc"))
}

fn user_id(name: &str) -> Result<u32> {
    let users = fs::read_to_string("/etc/passwd")?;
    let line = users.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    let id = line.and_then(|line| line.split(':').nth(1)).and_then(|id| id.parse().ok());
    id.with_context(|| format!("no user {name}: is the package postfix installed? deploy/dev/setup.sh --test does it"))
}

/// Lines for main.cf that come after others and so win.
fn lines(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", line.trim())).collect()
}

fn mailboxes(etc: &Path, setup: &Setup) -> Result<String> {
    if setup.addresses.is_empty() {
        return Ok(String::new());
    }
    let file = etc.join("mailboxes");
    fs::write(&file, setup.addresses.iter().map(|address| format!("{address} {address}/\n")).collect::<String>())?;
    Ok(lines(&format!("virtual_mailbox_maps = texthash:{}", file.display())))
}

fn tls(etc: &Path, setup: &Setup) -> Result<String> {
    let Some(files) = &setup.tls else { return Ok(String::new()) };
    // Read by Postfix before it drops its rights, so the key may stay closed to others.
    let (certificate, key) = (etc.join("certificate.pem"), etc.join("key.pem"));
    fs::copy(&files.certificate, &certificate)?;
    fs::copy(&files.key, &key)?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
    let (certificate, key) = (certificate.display(), key.display());
    Ok(lines(&format!(
        "smtpd_tls_security_level = may
         smtpd_tls_received_header = yes
         smtpd_tls_chain_files = {key}, {certificate}"
    )))
}

fn login(etc: &Path, setup: &Setup) -> Result<String> {
    let Some((name, password)) = &setup.login else { return Ok(String::new()) };
    let (sasl, users) = (etc.join("sasl"), etc.join("sasl/users.db"));
    fs::create_dir_all(&sasl)?;
    let mut command = Command::new("/usr/sbin/saslpasswd2");
    command.args(["-p", "-c", "-u", "postfix.test", "-f"]).arg(&users).arg(name);
    process::run(&mut command, password.as_bytes())?.success()?;
    // Postfix's server asks Cyrus SASL as the user postfix.
    fs::set_permissions(&users, fs::Permissions::from_mode(0o644))?;
    let users = users.display();
    let text = format!(
        "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {users}\nmech_list: PLAIN LOGIN\nlog_level: 0\n"
    );
    fs::write(sasl.join("smtpd.conf"), text)?;
    Ok(lines(&format!(
        "smtpd_sasl_auth_enable = yes
         smtpd_sasl_type = cyrus
         smtpd_sasl_path = smtpd
         cyrus_sasl_config_path = {}
         smtpd_sasl_local_domain = postfix.test
         smtpd_tls_auth_only = yes
         smtpd_sasl_authenticated_header = yes
         mynetworks = 192.0.2.1/32
         smtpd_client_restrictions = permit_sasl_authenticated, reject
         smtpd_relay_restrictions = permit_sasl_authenticated, reject",
        sasl.display()
    )))
}

fn main_cf(dir: &Path, role: Role) -> String {
    let dir = dir.display();
    let mail = match role {
        Role::Mailbox => format!(
            "virtual_mailbox_domains = static:all
             virtual_mailbox_maps = static:box/
             virtual_mailbox_base = {dir}/mail
             virtual_uid_maps = static:{NOBODY}
             virtual_gid_maps = static:{NOBODY}
             virtual_mailbox_limit = 0
             virtual_transport = virtual
             local_header_rewrite_clients ="
        ),
        Role::Relay(next) => format!("relayhost = [{}]:{}", next.ip(), next.port()),
    };
    let text = format!(
        "compatibility_level = 3.6
         queue_directory = {dir}/queue
         data_directory = {dir}/data
         command_directory = /usr/sbin
         daemon_directory = /usr/lib/postfix/sbin
         mail_owner = postfix
         setgid_group = postdrop
         maillog_file = {dir}/mail.log
         maillog_file_prefixes = {dir}
         inet_interfaces = 127.0.0.1
         inet_protocols = ipv4
         myhostname = postfix.test
         mydestination =
         alias_maps =
         mynetworks = 127.0.0.0/8
         smtpd_relay_restrictions = permit_mynetworks, reject
         smtputf8_enable = yes
         message_size_limit = 102400000
         {mail}\n"
    );
    lines(&text)
}

/// Debian's services without chroot, SMTP on a port of our own, and the log writer.
fn master_cf(address: SocketAddr) -> String {
    format!(
        "{address} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate;
    use crate::smtp::Client;

    #[test]
    fn its_mailbox_keeps_what_it_is_given() {
        let postfix = Postfix::start(&std::env::temp_dir(), Role::Mailbox).unwrap();
        let mut client = Client::open(postfix.address()).unwrap();
        let content = "Subject: Grüße\r\n\r\n.\r\n..\r\ntext\r\n".as_bytes();
        client.submit("a@example.org", &["jos\u{e9}@b\u{fc}cher.example"], content).unwrap().expect("250").unwrap();
        let mail = postfix.wait_for_mail(1).unwrap().remove(0);
        assert!(mail.ends_with("Subject: Grüße\n\n.\n..\ntext\n".as_bytes()), "{}", mail.escape_ascii());
    }

    #[test]
    fn it_knows_its_users_and_their_passwords() {
        let dir = tempfile::tempdir().unwrap();
        let mut setup = Setup::new(Role::Mailbox);
        setup.addresses = vec!["a@example.net".to_owned()];
        setup.tls = Some(certificate::write(dir.path(), "postfix", "sluice.test").unwrap());
        let open = Postfix::start_as(&std::env::temp_dir(), &setup).unwrap();
        let mut client = Client::open(open.address()).unwrap();
        client.submit("x@example.org", &["b@example.net"], b"").unwrap().expect("550 5.1.1").unwrap();
        client.command("RSET").unwrap();
        client.submit("x@example.org", &["a@example.net"], b"\r\ntext\r\n").unwrap().expect("250").unwrap();
        wait::for_condition("the mail", || Ok(open.mailbox_of("a@example.net")?.len() == 1)).unwrap();
        setup.login = Some(("relay".to_owned(), "secret".to_owned()));
        let closed = Postfix::start_as(&std::env::temp_dir(), &setup).unwrap();
        let mut client = Client::open(closed.address()).unwrap().starttls(&setup.tls.unwrap().certificate).unwrap();
        client.submit("x@example.org", &["a@example.net"], b"").unwrap().expect("554").unwrap();
        client.command("RSET").unwrap();
        client.auth_plain("relay", "wrong").unwrap().expect("535").unwrap();
        client.auth_plain("relay", "secret").unwrap().expect("235").unwrap();
    }
}
