//! The first minute of a newcomer: an empty folder, `sluice run`, and the lines that it prints.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use sluice_tests::process::{self, Process, Signal};
use sluice_tests::{http, ports, sluice, wait};

use crate::TestResult;
use crate::fixture::queue_id;

struct Newcomer {
    process: Process,
    folder: tempfile::TempDir,
    admin: SocketAddr,
    environment: Vec<(&'static str, String)>,
}

impl Newcomer {
    /// `sluice run` in an empty folder; only the ports are ours, so that tests can run side by side.
    fn start(arguments: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = || Ok::<_, anyhow::Error>(ports::loopback(ports::free()?));
        let (submission, submissions, admin, sandbox) = (port()?, port()?, port()?, port()?);
        let listeners = format!(
            "[{{ address = \"{submission}\", tls = \"starttls\" }}, {{ address = \"{submissions}\", tls = \"implicit\" }}]"
        );
        let environment = vec![
            ("SLUICE_INGRESS__LISTENERS", listeners),
            ("SLUICE_ADMIN__ADDRESS", admin.to_string()),
            ("SLUICE_SANDBOX__ADDRESS", sandbox.to_string()),
        ];
        let mut newcomer = Self { process: start(folder.path(), arguments, &environment)?, folder, admin, environment };
        newcomer.wait_until_ready()?;
        Ok(newcomer)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        wait::until(wait::PATIENCE, "the first start", || {
            ensure!(self.process.exited()?.is_none(), "it ended");
            Ok(http::get(self.admin, "/readyz").is_ok_and(|answer| answer.status == 200).then_some(()))
        })
        .with_context(|| self.process.output())
    }

    /// The printed line that starts with `program`, joined if it is continued.
    fn printed(&mut self, program: &str) -> Result<String> {
        self.process.wait_for_output(program, wait::PATIENCE)?;
        let output = self.process.output().replace("\\\n", " ");
        let starts = |line: &&str| line.trim_start().trim_start_matches("$ ").starts_with(program);
        let line = output.lines().find(starts).with_context(|| output.clone())?;
        Ok(line.trim_start().trim_start_matches("$ ").to_owned())
    }

    /// Runs a printed line as the newcomer does who copies it.
    fn copy_and_paste(&self, line: &str) -> Result<String> {
        let mut command = Command::new("bash");
        command.args(["-c", line]).current_dir(self.folder.path()).env("PATH", with_sluice()?);
        let finished = process::run(&mut command, b"")?.success().with_context(|| line.to_owned())?;
        Ok(finished.stdout + &finished.stderr)
    }

    fn sluice(&self, arguments: &[&str]) -> Result<String> {
        let mut command = sluice::command()?;
        command.args(arguments).current_dir(self.folder.path()).envs(self.environment.iter().cloned());
        Ok(process::run(&mut command, b"")?.success()?.stdout)
    }
}

fn start(folder: &Path, arguments: &[&str], environment: &[(&'static str, String)]) -> Result<Process> {
    let mut command = sluice::command()?;
    command.arg("run").args(arguments).current_dir(folder).envs(environment.iter().cloned());
    Process::start("sluice", &mut command, &folder.join("output.txt"))
}

fn with_sluice() -> Result<String> {
    let folder = sluice::binary()?.parent().context("no folder")?.display().to_string();
    Ok(format!("{folder}:{}", std::env::var("PATH").unwrap_or_default()))
}

#[test]
fn the_printed_lines_work_as_they_are() -> TestResult {
    let mut newcomer = Newcomer::start(&[])?;
    let swaks = newcomer.printed("swaks ")?;
    let talk = newcomer.copy_and_paste(&swaks)?;
    let accepted = talk.lines().find(|line| line.contains("250 2.0.0") && queue_id(line).is_some());
    let id = queue_id(accepted.with_context(|| talk.clone())?).context("no queue id")?.to_owned();
    let shown = newcomer.sluice(&["queue", "show", &id])?;
    ensure!(shown.contains(&id), "{shown}");
    let curl = newcomer.printed("curl ")?;
    newcomer.copy_and_paste(&curl)?;
    Ok(())
}

#[test]
fn the_first_start_leaves_a_folder_to_go_on_with() -> TestResult {
    let mut newcomer = Newcomer::start(&[])?;
    let folder = newcomer.folder.path().to_owned();
    let config = fs::read_to_string(folder.join("sluice.toml"))?;
    ensure!(config.lines().filter(|line| line.starts_with('#')).count() > 5, "the file explains itself:\n{config}");
    let data = folder.join("sluice-data");
    let mode = |path: &Path| Ok::<_, anyhow::Error>(fs::metadata(path)?.permissions().mode() & 0o777);
    ensure!(mode(&data)? == 0o700, "{:o}", mode(&data)?);
    for entry in fs::read_dir(&data)? {
        let path = entry?.path();
        if path.to_string_lossy().contains("key") {
            ensure!(mode(&path)? == 0o600, "{}: {:o}", path.display(), mode(&path)?);
        }
    }
    ensure!(newcomer.sluice(&["account", "list"])?.contains("demo"));
    newcomer.sluice(&["check-config"])?;
    let swaks = newcomer.printed("swaks ")?;
    newcomer.process.signal(Signal::TERM)?;
    ensure!(newcomer.process.wait(wait::PATIENCE)?.code() == Some(0), "{}", newcomer.process.output());
    let before = newcomer.process.output().len();
    newcomer.process = start(&folder, &[], &newcomer.environment)?;
    newcomer.wait_until_ready()?;
    let second = newcomer.process.output().split_off(before);
    ensure!(!second.contains("swaks "), "the password is shown once:\n{second}");
    ensure!(fs::read_to_string(folder.join("sluice.toml"))? == config, "the file is the newcomer's now");
    newcomer.copy_and_paste(&swaks).context("the account is kept")?;
    Ok(())
}

#[test]
fn the_sandbox_shows_what_the_printed_line_sent() -> TestResult {
    let mut newcomer = Newcomer::start(&["--sandbox"])?;
    let swaks = newcomer.printed("swaks ")?;
    newcomer.copy_and_paste(&swaks)?;
    let sandbox: SocketAddr = newcomer.environment[2].1.parse()?;
    wait::for_condition("the message in the sandbox", || {
        Ok(http::get(sandbox, "/api/v1/messages")?.json()?["total"].as_u64() == Some(1))
    })
}
