//! Start, stop and reload: what the operator and the service manager see.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sluice_tests::process::{self, Finished, Signal};
use sluice_tests::sink::{Action, Mailbox, Step};
use sluice_tests::sluice::{self, Settings, Sluice};
use sluice_tests::smtp::Client;
use sluice_tests::{certificate, http, ports, wait};

use crate::TestResult;
use crate::fixture::{FROM, MESSAGE, Scene};

/// Runs an instance that must not come up.
fn fails(sluice: &Sluice) -> Result<Finished> {
    let mut command = sluice::command()?;
    command.arg("run").arg("--config").arg(sluice.config()).current_dir(sluice.dir());
    process::run(&mut command, b"")
}

/// One line on standard error that holds each of `words`, and this exit code.
fn one_line(finished: &Finished, code: i32, words: &[&str]) -> TestResult {
    ensure!(finished.code == code, "exit code {}, not {code}: {}", finished.code, finished.stderr);
    let lines: Vec<_> = finished.stderr.lines().filter(|line| !line.trim().is_empty()).collect();
    ensure!(lines.len() == 1, "one clear line, not {lines:#?}");
    for word in words {
        ensure!(lines[0].contains(word), "{word:?} in {:?}", lines[0]);
    }
    Ok(())
}

#[test]
fn a_bad_configuration_is_named_with_its_key() -> TestResult {
    let sluice = Sluice::prepare(&Settings::default())?;
    let good = fs::read_to_string(sluice.config())?;
    let cases: [(&str, &str, &[&str]); 5] = [
        ("hostname = \"sluice.test\"", "hostnam = \"sluice.test\"", &["hostnam"]),
        ("tls = \"implicit\"", "tls = \"sometimes\"", &["ingress.listeners", "sometimes", "implicit"]),
        ("retry_after = [\"1s\"", "retry_after = [\"soon\"", &["retry_after", "soon"]),
        ("[admin]", "[admin", &["sluice.toml"]),
        ("direct = true", "direct = false", &["trusted_networks", "direct"]),
    ];
    for (from, to, words) in cases {
        ensure!(good.contains(from), "{from} is in the configuration");
        fs::write(sluice.config(), good.replacen(from, to, 1))?;
        one_line(&fails(&sluice)?, 78, words).context(to)?;
        one_line(&sluice.cli(&["check-config"])?, 78, words).context(to)?;
    }
    fs::write(sluice.config(), &good)?;
    sluice.cli(&["check-config"])?.success()?;
    ensure!(!sluice.data_dir().exists(), "check-config touches nothing");
    Ok(())
}

#[test]
fn a_taken_port_is_named() -> TestResult {
    let sluice = Sluice::prepare(&Settings::default())?;
    for address in [sluice.ports.submission, sluice.ports.admin] {
        let taken = TcpListener::bind(address)?;
        one_line(&fails(&sluice)?, 69, &[&address.to_string()])?;
        drop(taken);
    }
    Ok(())
}

#[test]
fn an_unreadable_or_wrong_key_is_named() -> TestResult {
    let sluice = Sluice::prepare(&Settings::default())?;
    let key = sluice.certificate.key.clone();
    let name = key.display().to_string();
    fs::write(&key, "this is no key")?;
    let finished = fails(&sluice)?;
    one_line(&finished, finished.code, &[&name])?;
    ensure!(finished.code == 78 || finished.code == 65, "{}", finished.code);
    let other = certificate::write(sluice.dir(), "other", "sluice.test")?;
    fs::copy(&other.key, &key)?;
    let finished = fails(&sluice)?;
    ensure!(finished.code == 78 || finished.code == 65, "a key of another certificate: {finished:?}");
    let checked = sluice.cli(&["check-config"])?;
    ensure!(checked.code == finished.code, "check-config says what a start would: {checked:?}");
    fs::remove_file(&key)?;
    let finished = fails(&sluice)?;
    one_line(&finished, finished.code, &[&name])?;
    ensure!(finished.code != 0);
    Ok(())
}

#[test]
fn a_second_instance_on_the_same_data_is_refused() -> TestResult {
    let mut first = Sluice::prepare(&Settings::default())?;
    first.run()?;
    let second = Sluice::prepare(&Settings::default())?;
    let text = fs::read_to_string(second.config())?;
    let data = first.data_dir().display().to_string();
    fs::write(second.config(), text.replace(&second.data_dir().display().to_string(), &data))?;
    let finished = fails(&second)?;
    one_line(&finished, 75, &[&data])
}

#[test]
fn a_data_folder_that_cannot_be_made_is_named() -> TestResult {
    let sluice = Sluice::prepare(&Settings::default())?;
    fs::write(sluice.data_dir(), "a file, not a folder")?;
    let finished = fails(&sluice)?;
    one_line(&finished, finished.code, &[&sluice.data_dir().display().to_string()])?;
    ensure!([73, 74, 77].contains(&finished.code), "{}", finished.code);
    Ok(())
}

#[test]
fn environment_and_flags_override_the_file() -> TestResult {
    let mut sluice = Sluice::prepare(&Settings::default())?;
    let other = ports::loopback(ports::free()?);
    let mut command = sluice::command()?;
    command.arg("check-config").arg("--config").arg(sluice.config()).env("SLUICE_ADMIN__ADDRESS", "nonsense");
    one_line(&process::run(&mut command, b"")?, 78, &["SLUICE_ADMIN__ADDRESS", "nonsense"])?;
    let mut command = sluice::command()?;
    command.arg("run").arg("--config").arg(sluice.config()).current_dir(sluice.dir());
    command.env("SLUICE_ADMIN__ADDRESS", other.to_string());
    let mut child = process::Process::start("sluice", &mut command, &sluice.dir().join("other.log"))?;
    wait::for_condition("the other port", || Ok(http::get(other, "/readyz").is_ok_and(|answer| answer.status == 200)))?;
    child.signal(Signal::TERM)?;
    ensure!(child.wait(wait::PATIENCE)?.success(), "{}", child.output());
    sluice.run()
}

#[test]
fn sigterm_drains_and_exits_with_0() -> TestResult {
    let mailbox = Mailbox::misbehaving(|_, step| match step {
        Step::Dot => {
            std::thread::sleep(Duration::from_millis(1500));
            Action::Accept
        }
        Step::Connect | Step::Command(_) | Step::Recipient(_) => Action::Accept,
    });
    let mut scene = Scene::before(mailbox, |_| ())?;
    let mut client = scene.alice()?;
    let mut idle = scene.alice()?;
    client.submit(FROM, &["bob@example.net"], MESSAGE)?.expect("250")?;
    let half = format!("C: MAIL FROM:<{FROM}>\nS: 250\nC: RCPT TO:<carol@example.com>\nS: 250\nC: DATA\nS: 354");
    client.play(&half)?;
    let (admin, submission) = (scene.sluice.ports.admin, scene.sluice.ports.submission);
    scene.sluice.process()?.signal(Signal::TERM)?;
    wait::for_condition("unready or gone", || {
        Ok(http::get(admin, "/readyz").map_or(true, |answer| answer.status == 503))
    })?;
    ensure!(idle.rest()?.starts_with("421 4.3.2"), "an idle session is told");
    let greeted = Client::connect(submission).and_then(|mut client| client.reply());
    ensure!(greeted.is_err() || greeted.is_ok_and(|reply| reply.code == 421), "no new sessions");
    client.send(MESSAGE)?;
    client.play("C: .\nS: 250 2.0.0")?;
    ensure!(client.rest()?.starts_with("421 4.3.2"), "the running transaction ends well, then the session does");
    let status = scene.sluice.process()?.wait(wait::PATIENCE)?;
    ensure!(status.code() == Some(0), "{status}\n{}", scene.sluice.log());
    scene.sluice.run()?;
    let taken = scene.mailbox.wait_for(2)?;
    let mut recipients: Vec<_> = taken.iter().flat_map(|transaction| transaction.recipients.clone()).collect();
    recipients.sort();
    ensure!(recipients == ["bob@example.net", "carol@example.com"], "each once: {recipients:?}");
    Ok(())
}

#[test]
fn a_changed_certificate_is_served_without_a_restart() -> TestResult {
    let scene = Scene::new()?;
    let address = scene.sluice.ports.submissions;
    let before = Client::open_tls(address, &scene.sluice.certificate.certificate)?.peer_certificate();
    certificate::write(scene.sluice.dir(), "certificate", "sluice.test")?;
    wait::for_condition("the new certificate", || {
        Ok(Client::open_tls(address, &scene.sluice.certificate.certificate).is_ok())
    })?;
    let after = Client::open_tls(address, &scene.sluice.certificate.certificate)?.peer_certificate();
    ensure!(before.is_some() && before != after);
    Ok(())
}

#[test]
fn sighup_reloads_and_a_bad_file_changes_nothing() -> TestResult {
    let mut scene = Scene::new()?;
    let mut client = scene.alice()?;
    fs::write(scene.sluice.config(), "nonsense = ")?;
    scene.sluice.process()?.signal(Signal::HUP)?;
    scene.sluice.wait_for_log("sluice.toml", wait::PATIENCE)?;
    client.submit(FROM, &["bob@example.net"], MESSAGE)?.expect("250")?;
    scene.mailbox.wait_for(1)?;
    let other = std::sync::Arc::new(Mailbox::default());
    let sink = sluice_tests::sink::Sink::start(other.clone())?;
    scene.sluice.configure(&Settings::to(sink.address()))?;
    scene.sluice.process()?.signal(Signal::HUP)?;
    wait::for_condition("mail by the new route", || {
        client.submit(FROM, &["carol@example.com"], MESSAGE)?.expect("250")?;
        Ok(!other.taken().is_empty())
    })
}

#[test]
fn the_control_socket_is_the_owners_alone() -> TestResult {
    let mut sluice = Sluice::prepare(&Settings::default())?;
    sluice.run()?;
    let socket = fs::metadata(sluice.data_dir().join("control.sock"))?;
    ensure!(socket.permissions().mode() & 0o777 == 0o600, "{:o}", socket.permissions().mode());
    sluice.terminate()?;
    let finished = sluice.cli(&["account", "list"])?;
    one_line(&finished, 69, &["control.sock"])
}

#[test]
fn version_and_help() -> TestResult {
    let run = |arguments: &[&str]| process::run(Command::new(sluice::binary()?).args(arguments), b"");
    let version = run(&["version"])?.success()?.stdout;
    ensure!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    let help = run(&["--help"])?.success()?.stdout;
    for command in ["run", "check-config", "account", "queue", "version"] {
        ensure!(help.contains(command), "{command} in {help}");
    }
    ensure!(run(&["frobnicate"])?.code == 64);
    Ok(())
}
