//! Servers on Python's aiosmtpd that misbehave as they are told, all in one process (`peers/aiosmtpd_peers.py`).

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::mailbox::{PYTHON, script};
use crate::process::Process;
use crate::{ports, wait};

/// Running servers, each with a name.
pub struct Peers {
    _process: Process,
    dir: TempDir,
    addresses: BTreeMap<String, SocketAddr>,
}

/// A message that a server took to its final dot.
#[derive(Clone, Debug)]
pub struct Taken {
    /// MAIL FROM.
    pub mail_from: String,
    /// The recipients that were taken.
    pub recipients: Vec<String>,
    /// The parameters of MAIL.
    pub options: Vec<String>,
    /// Whether it came under TLS.
    pub tls: bool,
    /// Whether it came after AUTH.
    pub login: bool,
    /// Whether the server said 250 to it.
    pub answered: bool,
    /// Lines with CRLF, dots removed.
    pub content: Vec<u8>,
}

/// Servers to be started.
#[derive(Default)]
pub struct Plan {
    peers: Vec<Value>,
    addresses: BTreeMap<String, SocketAddr>,
}

impl Plan {
    /// Adds a server on a free port of loopback: what it does besides its duty, as `peers/aiosmtpd_peers.py` says.
    pub fn add(&mut self, name: &str, behaviour: &Value) -> Result<SocketAddr> {
        let address = ports::loopback(ports::free()?);
        self.add_at(name, address, behaviour);
        Ok(address)
    }

    /// [`Self::add`] at this address.
    pub fn add_at(&mut self, name: &str, address: SocketAddr, behaviour: &Value) {
        let mut peer = json!({ "name": name, "host": address.ip().to_string(), "port": address.port() });
        if let (Some(peer), Some(behaviour)) = (peer.as_object_mut(), behaviour.as_object()) {
            peer.extend(behaviour.clone());
        }
        self.peers.push(peer);
        self.addresses.insert(name.to_owned(), address);
    }

    /// Starts them all.
    pub fn start(self) -> Result<Peers> {
        let dir = tempfile::tempdir()?;
        let spec = dir.path().join("spec.json");
        fs::write(&spec, json!({ "folder": dir.path(), "peers": self.peers }).to_string())?;
        let mut command = Command::new(PYTHON);
        command.arg(script("aiosmtpd_peers.py")).arg(&spec);
        let mut process = Process::start("aiosmtpd", &mut command, &dir.path().join("output.log"))?;
        process
            .wait_for_output("aiosmtpd listens", wait::PATIENCE)
            .context("is the package python3-aiosmtpd installed? deploy/dev/setup.sh --test does it")?;
        Ok(Peers { _process: process, dir, addresses: self.addresses })
    }
}

impl Peers {
    /// Where the server `name` listens.
    pub fn address(&self, name: &str) -> Result<SocketAddr> {
        self.addresses.get(name).copied().with_context(|| format!("no peer {name}"))
    }

    /// What the server `name` took to the final dot, in order.
    pub fn taken(&self, name: &str) -> Result<Vec<Taken>> {
        let folder = self.dir.path().join(name);
        let mut stems: Vec<_> = Vec::new();
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                stems.push(path);
            }
        }
        stems.sort();
        stems.iter().map(|path| read(path)).collect()
    }

    /// From now on the server `name` misbehaves no more.
    pub fn heal(&self, name: &str) -> Result<()> {
        Ok(fs::write(self.dir.path().join(name).join("healed"), "")?)
    }

    /// The commands that the server `name` was given, over all connections: `mail FROM:<a@b>`.
    pub fn commands(&self, name: &str) -> Vec<String> {
        let log = fs::read_to_string(self.dir.path().join(name).join("commands.log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}

fn read(path: &Path) -> Result<Taken> {
    let facts: Value = serde_json::from_slice(&fs::read(path)?)?;
    let texts = |name: &str| {
        let list = facts[name].as_array().into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    Ok(Taken {
        mail_from: facts["mail_from"].as_str().unwrap_or_default().to_owned(),
        recipients: texts("recipients"),
        options: texts("options"),
        tls: facts["tls"] == true,
        login: facts["login"] == true,
        answered: facts["answered"] == true,
        content: fs::read(path.with_extension("eml"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate;
    use crate::smtp::Client;

    #[test]
    fn servers_do_as_they_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let files = certificate::write(dir.path(), "peer", "sluice.test").unwrap();
        let tls = json!({ "certificate": files.certificate, "key": files.key });
        let mut plan = Plan::default();
        let good = plan.add("good", &json!({ "tls": tls.clone(), "offers": ["PIPELINING"] })).unwrap();
        let closed = plan.add("closed", &json!({ "tls": tls, "login": ["relay", "secret"] })).unwrap();
        let rules = json!([
            { "at": "rcpt", "match": "gone@", "reply": "550-5.1.1 no\r\n550 5.1.1 such user" },
            { "at": "dot", "then": "close", "times": 1 },
        ]);
        let odd = plan.add("odd", &json!({ "lacks": ["8BITMIME", "SMTPUTF8"], "rules": rules })).unwrap();
        let junk = plan.add("junk", &json!({ "junk": "HTTP/1.1 400 Bad Request\r\n\r\n" })).unwrap();
        let peers = plan.start().unwrap();

        let mut client = Client::open(good).unwrap().starttls(&files.certificate).unwrap();
        client.submit("", &["a@b.test"], b"\r\n.text\r\n").unwrap().expect("250").unwrap();
        let taken = &peers.taken("good").unwrap()[0];
        assert!(taken.tls && taken.answered && taken.content == b"\r\n.text\r\n", "{taken:?}");
        assert_eq!(taken.recipients, ["a@b.test"]);

        let mut client = Client::open(closed).unwrap().starttls(&files.certificate).unwrap();
        client.auth_plain("relay", "wrong").unwrap().expect("535").unwrap();
        client.auth_plain("relay", "secret").unwrap().expect("235").unwrap();
        client.submit("x@y.test", &["a@b.test"], b"\r\n").unwrap().expect("250").unwrap();

        let mut client = Client::connect(odd).unwrap();
        client.reply().unwrap();
        let offers = client.command("EHLO me.test").unwrap();
        assert!(!offers.text().contains("8BITMIME") && !offers.text().contains("SMTPUTF8"), "{}", offers.text());
        client.submit("x@y.test", &["gone@b.test"], b"").unwrap().expect("550 5.1.1 no / 5.1.1").unwrap();
        client.command("RSET").unwrap();
        assert!(client.submit("x@y.test", &["a@b.test"], b"\r\n").is_err());
        assert!(!peers.taken("odd").unwrap()[0].answered);
        assert!(peers.commands("odd").contains(&"mail FROM:<x@y.test>".to_owned()), "{:?}", peers.commands("odd"));
        assert!(Client::connect(junk).unwrap().reply().is_err());
    }
}
