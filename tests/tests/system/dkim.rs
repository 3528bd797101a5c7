//! Signatures, as receivers verify them: the part of `make prove-dkim` that is fast enough for every build.

use anyhow::ensure;
use sluice_tests::dkim::{self, Extent};

use crate::TestResult;

#[test]
fn what_is_signed_verifies_and_what_was_changed_does_not() -> TestResult {
    let mut table = Vec::new();
    let verdict = dkim::run(Extent::Short, &mut table)?;
    ensure!(verdict.holds(), "{}", String::from_utf8_lossy(&table));
    Ok(())
}
