//! Mail that cannot be delivered: some of the scenarios of `make prove-return`, among real peers.

use anyhow::ensure;
use serde_json::json;
use sluice_tests::returns::case::{Case, Expect, Peer};
use sluice_tests::returns::{self, cases};

use crate::TestResult;

#[test]
fn each_letter_is_delivered_or_waits_or_comes_back() -> TestResult {
    let mut out = Vec::new();
    let verdict = returns::run(&cases::some(), &mut out)?;
    ensure!(verdict.holds(), "{}", String::from_utf8_lossy(&out));
    Ok(())
}

#[test]
fn the_proof_sees_what_is_not_as_expected() -> TestResult {
    let refuses = json!({ "rules": [{ "at": "rcpt", "reply": "550 5.1.1 no such user" }] });
    let peer = |behaviour| Peer::Aiosmtpd(behaviour, String::new());
    let wrong = [
        Case::new("wrong", "not-delivered", peer(refuses.clone()), Expect::Delivered),
        Case::new("wrong", "not-returned", peer(json!({})), Expect::Returned("5.1.1", &[])),
        Case::new("wrong", "other-status", peer(refuses.clone()), Expect::Returned("5.2.2", &[])),
        Case::new("wrong", "other-words", peer(refuses), Expect::Returned("5.1.1", &["mailbox full"])),
    ];
    let mut out = Vec::new();
    let verdict = returns::run(&wrong, &mut out)?;
    let text = String::from_utf8_lossy(&out);
    for case in &wrong {
        ensure!(text.contains(&format!("\nFAILED wrong: {}\n", case.name)), "{} held:\n{text}", case.name);
    }
    ensure!(!verdict.holds() && text.contains("\nFAILED the account over all of them: one-report-for-all\n"), "{text}");
    Ok(())
}
