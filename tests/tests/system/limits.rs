//! Limits per session, account and process, each with the answer that its client sees.

use anyhow::ensure;
use sluice_tests::sluice::Settings;
use sluice_tests::smtp::Client;
use sluice_tests::{ports, wait};

use crate::TestResult;
use crate::fixture::{ALICE, FROM, MESSAGE, Scene};

#[test]
fn sessions_of_the_process() -> TestResult {
    let scene = Scene::with(|settings| settings.ingress = "max_sessions = 3\n".to_owned())?;
    let address = scene.sluice.ports.submission;
    let mut held = (0..3).map(|_| Client::open(address)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut one_more = Client::connect(address)?;
    one_more.play("S: 421 4.3.2\nS: -")?;
    held[0].play("C: QUIT\nS: 221")?;
    wait::for_condition("room for one more", || Ok(Client::open(address).is_ok()))
}

#[test]
fn a_silent_client() -> TestResult {
    let scene =
        Scene::with(|settings| settings.ingress = "command_timeout = \"1s\"\ndata_timeout = \"1s\"\n".to_owned())?;
    let mut client = Client::connect(scene.sluice.ports.submission)?;
    client.play("S: 220\nC: EHLO client.test\nS: 250\nS: 421 4.4.2\nS: -")?;
    let mut client = scene.trusted()?;
    client.play("C: MAIL FROM:<x@ledger.test>\nS: 250\nC: RCPT TO:<bob@example.net>\nS: 250\nC: DATA\nS: 354")?;
    client.play("C: From: x@ledger.test\nS: 421 4.4.2\nS: -")
}

#[test]
fn a_client_that_talks_nonsense() -> TestResult {
    let scene = Scene::new()?;
    let mut client = scene.under_tls()?;
    let last = (0..100)
        .map(|_| client.command("FROB"))
        .take_while(|reply| reply.as_ref().is_ok_and(|r| r.code == 500))
        .count();
    ensure!(last < 100, "a hundred bad commands are too many");
    ensure!(client.rest()?.is_empty(), "closed");
    let mut client = Client::open(scene.sluice.ports.submission)?;
    client.send(&[&[b'x'; 100_000][..], b"\r\n"].concat())?;
    client.play("S: 500 5.5\nC: NOOP\nS: 250 2.0.0")
}

#[test]
fn messages_and_recipients_of_an_account() -> TestResult {
    let scene = Scene::new()?;
    scene.add("slow", &["--messages-per-minute", "3", "--recipients-per-minute", "5"])?;
    let mut client = scene.log_in("slow")?;
    for number in 0..3 {
        client.submit(FROM, &[&format!("r{number}@example.net")], MESSAGE)?.expect("250 2.0.0")?;
    }
    let reply = client.submit(FROM, &["bob@example.net"], MESSAGE)?;
    ensure!(reply.code == 450 || reply.code == 451 || reply.code == 452, "{}", reply.text());
    ensure!(
        reply.text().contains("4.7.") || reply.text().contains("4.5.3") || reply.text().contains("4.3."),
        "{}",
        reply.text()
    );
    scene.alice()?.submit(FROM, &["bob@example.net"], MESSAGE)?.expect("250 2.0.0")?;
    Ok(())
}

#[test]
fn sessions_of_an_account() -> TestResult {
    let scene = Scene::new()?;
    scene.add("narrow", &["--max-sessions", "1"])?;
    let mut first = scene.log_in("narrow")?;
    let refused = scene.under_tls()?.auth_plain("narrow", crate::fixture::PASSWORD)?;
    ensure!(refused.code == 421 || refused.code == 454, "{}", refused.text());
    scene.log_in(ALICE)?;
    first.play("C: QUIT\nS: 221")?;
    wait::for_condition("the place to be free", || Ok(scene.log_in("narrow").is_ok()))
}

#[test]
fn a_full_spool() -> TestResult {
    let mut settings = Settings::to(ports::loopback(ports::free()?));
    settings.sections = "[spool]\nmax_envelopes = 5\n".to_owned();
    let sluice = sluice_tests::sluice::Sluice::start(&settings)?;
    let mut client = Client::open(sluice.ports.trusted)?;
    let letter = b"From: x@ledger.test\r\n\r\ntext\r\n";
    let mut refused = None;
    for number in 0..10 {
        let reply = client.submit("x@ledger.test", &[&format!("r{number}@example.net")], letter)?;
        if reply.code != 250 {
            refused = Some((number, reply));
            break;
        }
    }
    let Some((number, reply)) = refused else { anyhow::bail!("ten were taken") };
    ensure!(number >= 5 && reply.text().starts_with("452 4.3.1"), "{number}: {}", reply.text());
    Ok(())
}

#[test]
fn failed_log_ins_are_slowed_down() -> TestResult {
    let scene = Scene::new()?;
    let mut slowest = std::time::Duration::ZERO;
    for _ in 0..8 {
        let mut client = scene.under_tls()?;
        let start = wait::now();
        let reply = client.auth_plain(ALICE, "wrong")?;
        ensure!(matches!(reply.code, 535 | 454 | 421), "{}", reply.text());
        slowest = slowest.max(wait::elapsed(start));
        if reply.code != 535 || slowest > std::time::Duration::from_millis(900) {
            return Ok(());
        }
    }
    anyhow::bail!("eight wrong passwords in a row, the slowest answer after {slowest:?}")
}
