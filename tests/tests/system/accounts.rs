//! `sluice account`: who may send.

use anyhow::ensure;

use crate::TestResult;
use crate::fixture::{FROM, MESSAGE, Scene};

#[test]
fn add_list_change_and_remove() -> TestResult {
    let mut scene = Scene::new()?;
    let cli = |arguments: &[&str]| scene.sluice.cli(arguments);
    let again = ["account", "add", "alice", "--domain", "example.org", "--password-stdin"];
    let again = scene.sluice.cli_with(&again, b"another secret\n")?;
    ensure!(again.code != 0 && again.stderr.contains("alice"), "{again:?}");
    let made = cli(&["account", "add", "carol", "--domain", "example.com"])?.success()?.stdout;
    let passwords: Vec<&str> = made.split_whitespace().filter(|word| word.len() >= 16).collect();
    let listed = cli(&["account", "list"])?.success()?.stdout;
    for word in ["alice", "carol", "example.org", "example.com"] {
        ensure!(listed.contains(word), "{word} in {listed}");
    }
    ensure!(passwords.iter().all(|word| !listed.contains(*word)), "no secret in {listed}");
    let log_in = |password: &str| scene.under_tls()?.auth_plain("carol", password);
    let mut taken = Vec::new();
    for word in &passwords {
        taken.push(log_in(word)?.code == 235);
    }
    ensure!(taken.contains(&true), "the password shown works: {made}");
    scene.sluice.cli_with(&["account", "set-password", "carol", "--password-stdin"], b"new secret\n")?.success()?;
    for word in &passwords {
        ensure!(log_in(word)?.code != 235, "the old password is dropped at once");
    }
    ensure!(log_in("new secret")?.code == 235);
    cli(&["account", "remove", "carol"])?.success()?;
    ensure!(log_in("new secret")?.code == 535);
    ensure!(cli(&["account", "remove", "carol"])?.code != 0);
    ensure!(cli(&["account", "add", "bad name!", "--domain", "example.org"])?.code != 0);
    ensure!(cli(&["account", "add", "x", "--domain", "not a domain"])?.code != 0);
    scene.sluice.terminate()?;
    scene.sluice.run()?;
    ensure!(scene.sluice.cli(&["account", "list"])?.success()?.stdout.contains("alice"), "kept over a restart");
    scene.alice()?.submit(FROM, &["bob@example.net"], MESSAGE)?.expect("250")?;
    Ok(())
}
