//! Debian's smtp-sink, well-behaved or not, and smtp-source.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::process::Process;
use crate::{ports, wait};

/// A running smtp-sink.
pub struct SmtpSink {
    process: Process,
    address: SocketAddr,
    dir: TempDir,
}

impl SmtpSink {
    /// Starts one with `options`, which writes each message it takes into a file of its own.
    pub fn start(options: &[&str]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777))?;
        let template = dir.path().join("message.");
        let template = template.display().to_string();
        let mut all = vec!["-d", template.as_str()];
        all.extend_from_slice(options);
        Self::start_on(ports::free()?, &all, dir)
    }

    /// Starts one with `options` that throws mail away.
    pub fn start_discarding(options: &[&str]) -> Result<Self> {
        Self::start_on(ports::free()?, options, tempfile::tempdir()?)
    }

    fn start_on(port: u16, options: &[&str], dir: TempDir) -> Result<Self> {
        let address = ports::loopback(port);
        let mut command = Command::new("/usr/sbin/smtp-sink");
        if rustix::process::geteuid().is_root() {
            command.args(["-u", "postfix"]);
        }
        command.args(options).arg(address.to_string()).arg("1024");
        let mut process = Process::start("smtp-sink", &mut command, &dir.path().join("output.log"))?;
        wait::for_condition("smtp-sink to listen", || {
            if let Some(status) = process.exited()? {
                anyhow::bail!("smtp-sink ended with {status}: {}", process.output());
            }
            listening(address)
        })?;
        Ok(Self { process, address, dir })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until it ends by itself, as with `-M count`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.process.wait(limit)
    }

    /// Waits until there are `count` messages, and no more.
    pub fn wait_for(&self, count: usize) -> Result<Vec<String>> {
        let taken = wait::until(wait::PATIENCE, &format!("{count} messages in smtp-sink"), || {
            let taken = self.taken()?;
            Ok((taken.len() >= count).then_some(taken))
        })?;
        ensure!(taken.len() == count, "{count} messages, not {taken:?}");
        Ok(taken)
    }

    /// The messages whose content it was sent, as it dumps them: with X-Client-Addr and other lines on top. The ones
    /// that it refused at the final dot are among them.
    pub fn taken(&self) -> Result<Vec<String>> {
        let mut taken = Vec::new();
        for entry in fs::read_dir(self.dir.path())? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("message.")) {
                let text = String::from_utf8_lossy(&fs::read(path)?).into_owned();
                // A file begins with the transaction; the content comes later, or never.
                if text.contains("\n\n") {
                    taken.push(text);
                }
            }
        }
        Ok(taken)
    }
}

/// Whether `address` is listened on, from the kernel's table, so that no connection is counted or disturbed.
pub fn listening(address: SocketAddr) -> Result<bool> {
    let SocketAddr::V4(address) = address else { anyhow::bail!("IPv4 only") };
    let wanted = format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port());
    let any = format!("00000000:{:04X}", address.port());
    let table = fs::read_to_string("/proc/net/tcp")?;
    let listens = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next(), fields.nth(1));
        state == Some("0A") && (local == Some(&wanted) || local == Some(&any))
    };
    Ok(table.lines().any(listens))
}

/// smtp-source with `options`, ready to be run; its messages go to `address`.
#[must_use]
pub fn smtp_source(options: &[&str], address: SocketAddr) -> Command {
    let mut command = Command::new("/usr/sbin/smtp-source");
    command.args(options).arg(address.to_string());
    command
}

/// True when the programs of Debian's postfix package are there.
#[must_use]
pub fn installed() -> bool {
    Path::new("/usr/sbin/smtp-sink").exists()
}
