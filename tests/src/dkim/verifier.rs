//! What dkimpy says of messages (`peers/dkim_peer.py`).

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::mailbox::{PYTHON, script};
use crate::process;

/// dkimpy counts in Python; thousands of messages take their time.
const LIMIT: Duration = Duration::from_secs(300);

/// A signature of a message.
#[derive(Clone, Debug)]
pub(super) struct Signature {
    /// Its `d=`.
    pub(super) domain: String,
    /// Its `s=`.
    pub(super) selector: String,
    /// Its `a=`.
    pub(super) algorithm: String,
    /// The names in its `h=`, lower case.
    pub(super) covered: Vec<String>,
    /// Whether it has `l=`.
    pub(super) has_length: bool,
    /// `pass`, or what is wrong.
    pub(super) result: String,
}

impl Signature {
    /// Whether it verifies.
    pub(super) fn is_good(&self) -> bool {
        self.result == "pass"
    }

    /// `rsa-sha256 both.test pass`; what is wrong with its form goes with it.
    pub(super) fn text(&self) -> String {
        let from = self.covered.iter().filter(|name| *name == "from").count();
        let form = match (self.has_length, from) {
            (true, _) => ", but has l=",
            (false, 2) => "",
            (false, _) => ", but From is not oversigned",
        };
        format!("{} {} {}{form}", self.algorithm, self.domain, self.result)
    }
}

/// All of a message, from the top.
pub(super) fn text(signatures: &[Signature]) -> String {
    if signatures.is_empty() {
        return "no signature".to_owned();
    }
    signatures.iter().map(Signature::text).collect::<Vec<_>>().join("; ")
}

/// The signatures of each message, with keys from this DNS.
pub(super) fn verify(resolver: SocketAddr, messages: &[&[u8]]) -> Result<Vec<Vec<Signature>>> {
    let folder = tempfile::tempdir()?;
    for (number, message) in messages.iter().enumerate() {
        fs::write(folder.path().join(format!("{number:06}")), message)?;
    }
    let mut command = Command::new(PYTHON);
    command.arg(script("dkim_peer.py")).args(["verify", &resolver.to_string()]).arg(folder.path());
    let finished = process::run_within(&mut command, b"", LIMIT)?.success();
    let finished = finished.context("is the package python3-dkim installed? deploy/dev/setup.sh --test does it")?;
    let told: BTreeMap<String, Vec<Value>> = serde_json::from_str(&finished.stdout)?;
    ensure!(told.len() == messages.len(), "{} answers on {} messages", told.len(), messages.len());
    Ok(told.into_values().map(|all| all.iter().map(signature).collect()).collect())
}

fn signature(told: &Value) -> Signature {
    let text = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
    let covered = told["covered"].as_array().into_iter().flatten();
    Signature {
        domain: text("domain"),
        selector: text("selector"),
        algorithm: text("algorithm"),
        covered: covered.filter_map(Value::as_str).map(str::to_owned).collect(),
        has_length: told["has_length"] == true,
        result: text("result"),
    }
}

/// The message with a signature by dkimpy before it.
pub(super) fn sign(message: &[u8], key: &Path, selector: &str, domain: &str) -> Result<Vec<u8>> {
    let mut command = Command::new(PYTHON);
    command.arg(script("dkim_peer.py")).arg("sign").arg(key).args([selector, domain]);
    Ok(process::run(&mut command, message)?.success()?.stdout.into_bytes())
}
