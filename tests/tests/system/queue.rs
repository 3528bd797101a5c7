//! `sluice queue`: what waits, and why.

use anyhow::{Context as _, ensure};
use sluice_tests::sluice::{Settings, Sluice};
use sluice_tests::smtp::Client;
use sluice_tests::{ports, wait};

use crate::TestResult;
use crate::fixture::queue_id;

#[test]
fn counts_list_and_show() -> TestResult {
    let dead = ports::loopback(ports::free()?);
    let mut settings = Settings::to(dead);
    settings.delivery = "retry_after = [\"1h\"]\n".to_owned();
    let mut sluice = Sluice::start(&settings)?;
    let mut client = Client::open(sluice.ports.trusted)?;
    let letter = b"From: x@ledger.test\r\n\r\ntext\r\n";
    let mut ids = Vec::new();
    for to in ["a@one.example", "b@one.example", "c@two.example"] {
        let reply = client.submit("x@ledger.test", &[to], letter)?.expect("250 2.0.0")?;
        ids.push(queue_id(&reply.text()).context("no queue id")?.to_owned());
    }
    let tried = || {
        let text = sluice.cli(&["queue", "show", &ids[0]])?.success()?.stdout;
        Ok(text.to_lowercase().contains("refused").then_some(text))
    };
    let text = wait::until(wait::PATIENCE, "the first attempt", tried)?;
    for word in ["a@one.example", "x@ledger.test", "waiting", "load", &ids[0], &dead.to_string()] {
        ensure!(text.contains(word), "{word} in:\n{text}");
    }
    let counts = sluice.cli(&["queue"])?.success()?.stdout;
    ensure!(counts.contains("one.example") && counts.contains("two.example"), "{counts}");
    let list = sluice.cli(&["queue", "list"])?.success()?.stdout;
    ensure!(ids.iter().all(|id| list.contains(id)), "{list}");
    let list = sluice.cli(&["queue", "list", "--domain", "two.example"])?.success()?.stdout;
    ensure!(list.contains(&ids[2]) && !list.contains(&ids[0]), "{list}");
    let unknown = sluice.cli(&["queue", "show", "01JDCMZ5P3W7Y2M4Q8R6T0A000"])?;
    ensure!(unknown.code != 0 && unknown.stderr.lines().count() == 1, "{unknown:?}");
    let nonsense = sluice.cli(&["queue", "show", "nonsense"])?;
    ensure!(nonsense.code != 0 && nonsense.stderr.contains("26"), "{nonsense:?}");
    sluice.kill()?;
    sluice.run()?;
    let after = sluice.cli(&["queue", "show", &ids[0]])?.success()?.stdout;
    ensure!(after.contains("a@one.example") && after.to_lowercase().contains("refused"), "after a kill:\n{after}");
    Ok(())
}
