//! Kills, restarts, and the ledger that watches them; `make prove-crash` is the long form.

use anyhow::ensure;
use sluice_tests::crash::{self, Plan, Plant};
use sluice_tests::ports;
use sluice_tests::sink::{Mailbox, Sink};
use sluice_tests::sluice::{Settings, Sluice};
use sluice_tests::smtp::Client;

use crate::TestResult;

#[test]
fn a_few_kills_under_load_lose_and_repeat_nothing() -> TestResult {
    let plan = Plan { kills: 6, kills_per_step: 1, sessions: 6, ..Plan::default() };
    let mut story = Vec::new();
    let judgement = crash::run(&plan, &mut story)?;
    let story = String::from_utf8_lossy(&story).into_owned();
    ensure!(judgement.holds(), "seed {}\n{story}{}", plan.seed, judgement.summary());
    ensure!(judgement.accepted > 100 && judgement.kills == 17, "{}", judgement.summary());
    ensure!(judgement.reports > 10 && judgement.common_reports > 0, "{}", judgement.summary());
    Ok(())
}

fn sees(plant: Plant) -> TestResult {
    let plan = Plan { kills: 5, kills_per_step: 0, sessions: 6, plant: Some(plant), ..Plan::default() };
    let mut story = Vec::new();
    match crash::run(&plan, &mut story) {
        // A log that refuses to start because it sees the damage has been found as well.
        Err(error) => ensure!(plant == Plant::LostTail, "{plant:?}: {error:#}"),
        Ok(judgement) => ensure!(!judgement.holds(), "{plant:?} was not seen, seed {}", plan.seed),
    }
    Ok(())
}

#[test]
fn the_proof_sees_what_is_lost() -> TestResult {
    sees(Plant::LostTail)
}

#[test]
fn the_proof_sees_what_is_repeated() -> TestResult {
    sees(Plant::DoubleDelivery)
}

#[test]
fn the_proof_sees_a_report_that_is_missing() -> TestResult {
    sees(Plant::ForgottenReport)
}

#[test]
fn the_proof_sees_a_report_that_is_doubled() -> TestResult {
    sees(Plant::DoubleReport)
}

#[test]
fn what_was_accepted_before_a_kill_is_delivered_after_it() -> TestResult {
    let next_hop = ports::free()?;
    let mut settings = Settings::to(ports::loopback(next_hop));
    settings.delivery = "retry_after = [\"1s\"]\n".to_owned();
    let mut sluice = Sluice::start(&settings)?;
    let mut client = Client::open(sluice.ports.trusted)?;
    let letter = b"From: sender@ledger.test\r\n\r\ntext\r\n";
    for number in 0..50 {
        client.submit("sender@ledger.test", &[&format!("r{number}@example.net")], letter)?.expect("250 2.0.0")?;
    }
    sluice.kill()?;
    let mailbox = std::sync::Arc::new(Mailbox::default());
    let _sink = Sink::start_on(next_hop, mailbox.clone())?;
    sluice.run()?;
    let mut recipients: Vec<_> = mailbox.wait_for(50)?.into_iter().flat_map(|taken| taken.recipients).collect();
    recipients.sort();
    recipients.dedup();
    ensure!(recipients.len() == 50, "{recipients:?}");
    ensure!(sluice.cli(&["account", "list"])?.success()?.stdout.contains("load"), "accounts are kept too");
    Ok(())
}
