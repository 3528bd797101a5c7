//! Shopify's toxiproxy: a TCP proxy that is slow, resets, swallows or cuts off as it is told over HTTP.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::Process;
use crate::{http, ports, wait};

/// A running toxiproxy.
pub struct Toxiproxy {
    _process: Process,
    api: SocketAddr,
    _dir: TempDir,
}

impl Toxiproxy {
    /// Starts one.
    pub fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let api = ports::loopback(ports::free()?);
        let mut command = Command::new(binary()?);
        command.args(["-host", "127.0.0.1", "-port", &api.port().to_string()]).env("LOG_LEVEL", "error");
        let mut process = Process::start("toxiproxy", &mut command, &dir.path().join("output.log"))?;
        wait::for_condition("toxiproxy to answer", || {
            if let Some(status) = process.exited()? {
                anyhow::bail!("toxiproxy ended with {status}: {}", process.output());
            }
            Ok(http::get(api, "/version").is_ok())
        })?;
        Ok(Self { _process: process, api, _dir: dir })
    }

    /// A proxy in front of `upstream`, which does no harm yet; where it listens.
    pub fn proxy(&self, name: &str, upstream: SocketAddr) -> Result<SocketAddr> {
        let listen = ports::loopback(ports::free()?);
        let (from, to) = (listen.to_string(), upstream.to_string());
        self.post("/proxies", &json!({ "name": name, "listen": from, "upstream": to, "enabled": true }))?;
        Ok(listen)
    }

    /// Adds a toxic of this kind to what goes to the server (`upstream`) or comes from it (`downstream`).
    pub fn poison(&self, proxy: &str, kind: &str, stream: &str, attributes: &Value) -> Result<()> {
        let toxic = json!({ "type": kind, "stream": stream, "toxicity": 1.0, "attributes": attributes });
        self.post(&format!("/proxies/{proxy}/toxics"), &toxic)
    }

    /// Takes all toxics away, of all proxies if `proxy` is none.
    pub fn heal(&self, proxy: &str) -> Result<()> {
        let toxics = http::get(self.api, &format!("/proxies/{proxy}/toxics"))?.json()?;
        for toxic in toxics.as_array().into_iter().flatten() {
            let name = toxic["name"].as_str().context("a toxic without a name")?;
            let answer = http::request(self.api, "DELETE", &format!("/proxies/{proxy}/toxics/{name}"))?;
            ensure!(answer.status < 300, "toxiproxy: {} {}", answer.status, answer.text());
        }
        Ok(())
    }

    fn post(&self, path: &str, body: &Value) -> Result<()> {
        let answer = http::request_with(self.api, "POST", path, &body.to_string())?;
        ensure!(answer.status < 300, "toxiproxy: {path} {body}: {} {}", answer.status, answer.text());
        Ok(())
    }
}

/// Where `deploy/dev/setup.sh --test` puts it, unless `TOXIPROXY` says otherwise.
fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("TOXIPROXY") {
        return Ok(path.into());
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache")));
    let path = cache.context("no HOME")?.join("sluice/bin/toxiproxy-server");
    ensure!(path.exists(), "no {}: deploy/dev/setup.sh --test builds it", path.display());
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::Client;
    use crate::smtp_sink::SmtpSink;

    #[test]
    fn it_lets_through_what_it_does_not_poison() {
        let sink = SmtpSink::start(&[]).unwrap();
        let toxiproxy = Toxiproxy::start().unwrap();
        let address = toxiproxy.proxy("sink", sink.address()).unwrap();
        Client::open(address).unwrap();
        toxiproxy.poison("sink", "limit_data", "downstream", &json!({ "bytes": 4 })).unwrap();
        assert!(Client::open(address).is_err());
        toxiproxy.heal("sink").unwrap();
        Client::open(address).unwrap();
    }
}
