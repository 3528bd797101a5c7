//! The account over all scenarios: every letter ended once, and nobody got what nobody sent.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::case::{Case, Expect};
use super::table::Row;
use super::watch::{PATIENCE, Submitted};
use super::world::{DEAF, World};
use crate::wait;

/// Judges the whole; each row is one thing that must hold.
pub(super) fn judge(world: &World, cases: &[Case], letters: &[(usize, Submitted)]) -> Vec<Row> {
    let letters: Vec<_> = letters.iter().map(|(index, letter)| (&cases[*index], letter)).collect();
    let row =
        |name: &str, expected: &str, got| Row::new("the account over all of them", name, expected.to_owned(), got);
    vec![
        row("nothing-waits", "an empty queue", nothing_waits(world)),
        row("none-lost-none-doubled", "each recipient delivered or returned, once", each_once(world, &letters)),
        row("one-report-for-all", "reports are as many as failures, with ids of their own", reports(world, cases)),
        row(
            "no-report-of-a-report",
            "each report to a sender who is not there is tried, and nothing follows",
            no_loop(world, cases),
        ),
    ]
}

/// Reports too are delivered or have ended.
fn nothing_waits(world: &World) -> Result<String> {
    let mut last = String::new();
    let found = wait::until(PATIENCE, "an empty queue", || {
        last = world.cli(&["queue", "list", "--json"])?.success()?.stdout;
        let waiting: Value = serde_json::from_str(&last)?;
        let empty = waiting.as_array().is_some_and(Vec::is_empty);
        if !empty {
            std::thread::sleep(Duration::from_millis(250));
        }
        Ok(empty.then(|| "an empty queue".to_owned()))
    });
    found.with_context(|| last.clone())
}

/// Each recipient of each letter: one copy that a peer said it has, or one report, or, where none can be had, a fate.
fn each_once(world: &World, letters: &[(&Case, &Submitted)]) -> Result<String> {
    let (mut delivered, mut returned, mut dropped) = (0, 0, 0);
    for (case, letter) in letters {
        let shown = world.cli(&["queue", "show", &letter.queue_id, "--json"])?.success()?.stdout;
        let shown: Value = serde_json::from_str(&shown)?;
        let copies = world.copies(case)?;
        let reports = world.reports(case)?;
        for to in &case.to {
            let address = case.address(to);
            // smtp-sink writes down what it refuses in the end, too.
            let counts = match to.expect {
                Expect::Delivered | Expect::DeliveredAt(_) | Expect::Deferred(_) | Expect::Retried(_) => true,
                Expect::Expired(..) | Expect::Returned(..) | Expect::Dropped(_) => false,
            };
            let copies = copies.iter().filter(|copy| counts && copy.answered && copy.recipients.contains(&address));
            let failures = reports.iter().flat_map(|report| report.statuses());
            let failures = failures.filter(|said| said.recipient == address && said.action == "failed");
            let state = state_of(&shown, &address);
            let ended = ["delivered", "bounced", "expired"].contains(&state.as_str());
            ensure!(ended, "{address} of {} is {state:?}", case.name);
            let silent = !case.can_be_told() && state != "delivered";
            match (copies.count(), failures.count()) {
                (1, 0) if state == "delivered" => delivered += 1,
                (0, 1) if state != "delivered" => returned += 1,
                (0, 0) if silent => dropped += 1,
                (copies, failures) => {
                    anyhow::bail!("{address} of {} is {state}: {copies} copies, {failures} reports", case.name)
                }
            }
        }
    }
    Ok(format!("{delivered} delivered, {returned} returned, {dropped} ended without a report, none lost, none doubled"))
}

/// The state of a recipient, or of its envelope.
fn state_of(shown: &Value, address: &str) -> String {
    for envelope in shown.as_array().into_iter().flatten() {
        for recipient in envelope["recipients"].as_array().into_iter().flatten() {
            if recipient["address"] == address {
                let state = recipient["state"].as_str().unwrap_or_default();
                let whole = envelope["state"].as_str().unwrap_or_default();
                return if state.is_empty() || state == "open" { whole } else { state }.to_owned();
            }
        }
    }
    String::new()
}

/// Each mailbox has the reports that it must have, and no two reports are one.
fn reports(world: &World, cases: &[Case]) -> Result<String> {
    let mut ids = BTreeSet::new();
    for case in cases {
        let reports = world.reports(case)?;
        ensure!(reports.len() == case.reports, "{}: {} reports, not {}", case.name, reports.len(), case.reports);
        for report in reports {
            let id = report.header("message-id").to_owned();
            ensure!(ids.insert(id.clone()), "{}: {id} came twice", case.name);
        }
    }
    Ok(format!("{} reports, no two alike", ids.len()))
}

/// Reports to the deaf domain were tried, from the null sender, once each; none came back.
fn no_loop(world: &World, cases: &[Case]) -> Result<String> {
    let deaf = cases.iter().filter(|case| case.reverse_path().ends_with("@deaf.test")).count();
    let tried = world.peers.commands(DEAF);
    let recipients: Vec<_> = tried.iter().filter(|line| line.starts_with("rcpt ")).collect();
    let senders: Vec<_> = tried.iter().filter(|line| line.starts_with("mail ")).collect();
    ensure!(recipients.len() == deaf, "{deaf} reports, but {recipients:?}");
    ensure!(senders.iter().all(|line| line.starts_with("mail FROM:<>")), "{senders:?}");
    Ok(format!("{deaf} reports tried at a domain that refuses them, nothing followed"))
}
