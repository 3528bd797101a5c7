//! `sluice account`: who may send.

use anyhow::{Context as _, ensure};
use sluice_tests::sluice::{Settings, Sluice, TRUSTED_ACCOUNT};

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

#[test]
fn rules_change_while_it_runs_and_stay_over_a_restart() -> TestResult {
    let mut scene = Scene::new()?;
    let cli = |arguments: &[&str]| scene.sluice.cli(arguments);
    let mut client = scene.alice()?;
    client.submit(FROM, &["bob@example.net"], MESSAGE)?.expect("250")?;
    cli(&["account", "set", "alice", "--remove-domain", "example.org", "--add-domain", "example.com"])?.success()?;
    client.submit(FROM, &["bob@example.net"], MESSAGE)?.expect("553 5.7.1")?;
    cli(&["account", "set", "alice", "--add-domain", "example.org"])?.success()?;
    client.submit(FROM, &["bob@example.net"], MESSAGE)?.expect("250")?;

    let set = ["account", "set", "alice", "--dsn", "full", "--max-dsns-per-hour", "7", "--retry-after", "1m,1h"];
    let said = cli(&[&set[..], &["--bounce-after", "36h"]].concat())?.success()?.stdout;
    for words in ["Account alice is changed.", "full: ", "7 an hour", "1m, 1h", "1d12h", "example.com, example.org"] {
        ensure!(said.contains(words), "{words} in {said}");
    }
    let long = b"From: alice@example.org\r\nX-Sluice-Expire: 37h\r\n\r\nx\r\n";
    client.submit(FROM, &["bob@example.net"], long)?.expect("554 5.6.0")?;
    for (wrong, words) in [
        (["--dsn", "some"], "headers, full or off"),
        (["--retry-after", "1m,soon"], "such as 5m,10m,1h"),
        (["--bounce-after", "31d"], "between 1s and 30d"),
        (["--pool", "No!"], "account.pools[0]"),
        (["--remove-domain", "example.net"], "does not have example.net"),
    ] {
        let refused = cli(&["account", "set", "alice", "--messages-per-minute", "1", wrong[0], wrong[1]])?;
        ensure!(refused.code != 0 && refused.stderr.contains(words), "{words} in {refused:?}");
    }
    let log = scene.sluice.log();
    let line = log.lines().find(|line| line.contains("UpdateAccount") && line.contains("bounce_after_ms"));
    let line = line.context("no line for the change in the log")?;
    for words in ["accounts/alice", "uid=", "dsn: headers -> full", "max_dsns_per_hour: none -> 7"] {
        ensure!(line.contains(words), "{words} in {line}");
    }
    scene.sluice.kill()?;
    scene.sluice.run()?;
    let shown = scene.sluice.cli(&["account", "show", "alice"])?.success()?.stdout;
    ensure!(said.ends_with(&shown), "after a kill:\n{shown}\nbefore:\n{said}");
    Ok(())
}

#[test]
fn check_config_names_accounts_that_are_missing() -> TestResult {
    let mut sluice = Sluice::prepare(&Settings::default())?;
    let check = |sluice: &Sluice| Ok::<_, anyhow::Error>(sluice.cli(&["check-config"])?.success()?.stdout);
    let said = check(&sluice)?;
    ensure!(said.contains("is good.") && said.contains("does not run"), "{said}");
    sluice.run()?;
    let said = check(&sluice)?;
    ensure!(said.contains(&format!("There is no account {TRUSTED_ACCOUNT}, which ingress.listeners[2]")), "{said}");
    sluice.add_trusted_account()?;
    let said = check(&sluice)?;
    ensure!(said.lines().count() == 1, "{said}");
    Ok(())
}
