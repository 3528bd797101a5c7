//! `sluice dkim`: from a key to a record that receivers find, against real zones in Knot.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sluice_tests::dns::{Dns, Setup, Zone};
use sluice_tests::process::{self, Signal};
use sluice_tests::sluice::{Settings, Sluice};

use crate::TestResult;
use crate::fixture::{FROM, MESSAGE, Scene};

const KEY: &str = "s1._domainkey.example.org";
/// How long a reload may take.
const SOON: Duration = Duration::from_secs(20);

/// A zone for example.org with one line more.
fn zone(line: &str) -> Setup {
    let zone = Zone::new("example.org").with("www", "A", "192.0.2.1");
    let parts: Vec<_> = line.splitn(3, ' ').collect();
    Setup::of(vec![match parts[..] {
        [name, kind, data] => zone.with(name, kind, data),
        _ => zone,
    }])
}

/// A private key by openssl, of this many bits.
fn openssl(path: &Path, bits: u32, mode: u32) -> TestResult {
    let mut command = Command::new("openssl");
    command.args(["genrsa", "-out"]).arg(path).arg(bits.to_string());
    process::run(&mut command, b"")?.success()?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

/// The selector that signs a message that is sent now.
fn signs(scene: &Scene) -> Result<String> {
    let count = scene.mailbox.taken().len() + 1;
    scene.alice()?.submit(FROM, &["bob@example.net"], MESSAGE)?.expect("250")?;
    let taken = scene.mailbox.wait_for(count)?;
    let field = taken.last().and_then(|transaction| transaction.header("DKIM-Signature")).context("no signature")?;
    let tags: String = field.split_whitespace().collect();
    let selector = tags.split(';').find_map(|tag| tag.strip_prefix("s="));
    Ok(selector.context("no selector")?.to_owned())
}

#[test]
fn a_record_is_checked_where_receivers_look_for_it() -> TestResult {
    let mut dns = Dns::start(&zone(""))?;
    let settings = Settings { delivery: dns.config(), ..Settings::default() };
    let sluice = Sluice::start(&settings)?;
    let made = sluice.cli(&["dkim", "generate", "example.org", "--selector", "s1"])?.success()?.stdout;
    let record = sluice.cli(&["dkim", "dns", KEY])?.success()?.stdout.trim().to_owned();
    ensure!(made.contains(&record), "{record} in {made}");
    let other = ["dkim", "generate", "example.org", "--selector", "s2", "--from", "7d"];
    sluice.cli(&other)?.success()?;
    let other = sluice.cli(&["dkim", "dns", "s2._domainkey.example.org"])?.success()?.stdout;
    let cut = record.rsplit_once(" \"").map(|(head, _)| format!("{head} )")).context("a record of two strings")?;
    let alias = "s1._domainkey CNAME elsewhere".to_owned();
    for (line, code, words) in [
        (String::new(), 1, "there is no TXT record. Publish it"),
        (other.trim().replace("s2.", "s1."), 1, "p= is another key: from character"),
        (cut, 1, "expected"),
        (record.replace("v=DKIM1", "v=DKIM2"), 1, "v=DKIM2; expected DKIM1"),
        (format!("{KEY}. TXT \"v=DKIM1; k=rsa; p=\""), 1, "the key is revoked"),
        (alias, 1, "there is no TXT record"),
        (record.clone(), 0, "ok       s1._domainkey.example.org"),
    ] {
        dns.change(&zone(&line))?;
        let said = sluice.cli(&["dkim", "check", "example.org"])?;
        ensure!(said.code == code && said.stdout.contains(words), "{words}, {code} for {line}: {said:?}");
        ensure!(said.stdout.contains("s2._domainkey.example.org (not yet)"), "{said:?}");
        let by_name = sluice.cli(&["dkim", "check", KEY])?;
        ensure!(by_name.code == code, "{line}: {by_name:?}");
    }
    let aliased = record.replace("s1._domainkey.example.org.", "elsewhere.example.org.");
    let zone = Zone::new("example.org").with("s1._domainkey", "CNAME", "elsewhere");
    let parts: Vec<_> = aliased.splitn(3, ' ').collect();
    dns.change(&Setup::of(vec![zone.with(parts[0], parts[1], parts[2])]))?;
    sluice.cli(&["dkim", "check"])?.success()?;
    dns.change(&Setup::default().broken(&["example.org"]))?;
    let said = sluice.cli(&["dkim", "check", KEY])?;
    ensure!(said.code == 1 && said.stdout.contains("UNKNOWN") && said.stdout.contains("Server Failure"), "{said:?}");
    Ok(())
}

#[test]
fn selectors_change_without_a_gap_and_stay_over_a_kill() -> TestResult {
    let mut scene = Scene::new()?;
    let generate = |selector: &str| ["dkim", "generate", "example.org", "--selector", selector].map(str::to_owned);
    let run = |scene: &Scene, words: &[String], more: &[&str]| {
        let words: Vec<&str> = words.iter().map(String::as_str).chain(more.iter().copied()).collect();
        scene.sluice.cli(&words)?.success()
    };
    run(&scene, &generate("s1"), &[])?;
    ensure!(signs(&scene)? == "s1");
    let said = run(&scene, &generate("s2"), &[])?.stdout;
    ensure!(said.contains("It takes over from s1._domainkey.example.org at"), "{said}");
    ensure!(signs(&scene)? == "s1", "until its record may be known");
    run(&scene, &generate("s3"), &["--from", "now"])?;
    ensure!(signs(&scene)? == "s3");
    scene.sluice.kill()?;
    scene.sluice.run()?;
    ensure!(signs(&scene)? == "s3", "after a kill");
    scene.sluice.cli(&["dkim", "retire", "s3._domainkey.example.org"])?.success()?;
    ensure!(signs(&scene)? == "s1", "as long as the other still signs");
    let log = scene.sluice.log();
    for words in ["CreateDkimKey", "RetireDkimKey", "dkimKeys/s3._domainkey.example.org", "rsa of 2048 bits"] {
        ensure!(log.contains(words), "{words} in the log");
    }
    ensure!(!log.contains("PRIVATE KEY"), "a private key in the log");
    Ok(())
}

#[test]
fn keys_from_files_are_checked_at_start_and_read_again() -> TestResult {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("key.pem");
    openssl(&file, 2048, 0o600)?;
    let keys = |selector: &str| {
        format!("[[dkim.keys]]\ndomain = \"example.org\"\nselector = \"{selector}\"\nfile = \"{}\"\n", file.display())
    };
    let mut settings = Settings::default();
    let mut scene = Scene::with(|all| {
        all.sections = keys("f1");
        settings = all.clone();
    })?;
    ensure!(signs(&scene)? == "f1");
    let listed = scene.sluice.cli(&["dkim", "list"])?.success()?.stdout;
    ensure!(listed.contains("f1._domainkey.example.org") && listed.contains("file"), "{listed}");
    let refused = scene.sluice.cli(&["dkim", "delete", "f1._domainkey.example.org", "--force"])?;
    ensure!(refused.code == 65 && refused.stderr.contains("comes from a file"), "{refused:?}");

    settings.sections = keys("f2");
    scene.sluice.configure(&settings)?;
    scene.sluice.process()?.signal(Signal::HUP)?;
    scene.sluice.wait_for_log("were read again", SOON)?;
    ensure!(signs(&scene)? == "f2");

    openssl(&file, 1024, 0o600)?;
    for (mode, words) in [(0o600, "an RSA key of 1024 bits; expected 2048 to 4096"), (0o644, "everybody may read it")] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode))?;
        let said = scene.sluice.cli(&["check-config"])?;
        ensure!(
            said.code == 78 && said.stderr.contains("dkim.keys[0].file") && said.stderr.contains(words),
            "{said:?}"
        );
    }
    scene.sluice.process()?.signal(Signal::HUP)?;
    scene.sluice.wait_for_log("nothing was reloaded", SOON)?;
    ensure!(signs(&scene)? == "f2", "what was in use stays in use");
    Ok(())
}
