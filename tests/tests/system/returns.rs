//! Mail that cannot be delivered: some of the scenarios of `make prove-return`, among real peers.

use anyhow::ensure;
use sluice_tests::returns::{self, cases};

use crate::TestResult;

#[test]
fn each_letter_is_delivered_or_waits_or_comes_back() -> TestResult {
    let mut out = Vec::new();
    let verdict = returns::run(&cases::some(), &mut out)?;
    ensure!(verdict.holds(), "{}", String::from_utf8_lossy(&out));
    Ok(())
}
