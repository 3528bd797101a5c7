//! `sluice queue`: what waits, and why.

use anyhow::{Context as _, ensure};
use sluice_tests::sink::{Action, Mailbox, Step};
use sluice_tests::sluice::{Settings, Sluice};
use sluice_tests::smtp::Client;
use sluice_tests::{ports, wait};

use crate::TestResult;
use crate::fixture::{FROM, MESSAGE, Scene, queue_id};

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

#[test]
fn each_recipient_says_why_it_waits_and_what_became_of_it() -> TestResult {
    let mailbox = Mailbox::misbehaving(|_, step| match step {
        Step::Recipient("busy@example.net") => Action::Reply("450 4.2.1 mailbox busy"),
        Step::Recipient("gone@example.net" | "lost@example.com") => Action::Reply("550 5.1.1 no such user"),
        Step::Connect | Step::Command(_) | Step::Recipient(_) | Step::Dot => Action::Accept,
    });
    let scene = Scene::before(mailbox, |settings| settings.delivery = "retry_after = [\"1h\"]\n".to_owned())?;
    let submit = |to: &[&str]| {
        let reply = scene.alice()?.submit(FROM, to, MESSAGE)?.expect("250 2.0.0")?;
        Ok::<_, anyhow::Error>(queue_id(&reply.text()).context("no queue id")?.to_owned())
    };
    let id = submit(&["bob@example.net", "busy@example.net", "gone@example.net"])?;
    let show = |id: &str| Ok::<_, anyhow::Error>(scene.sluice.cli(&["queue", "show", id])?.success()?.stdout);
    let text = wait::until(wait::PATIENCE, "the first attempt", || {
        Ok(Some(show(&id)?).filter(|text| text.contains("waiting")))
    })?;
    for words in [
        "recipient bob@example.net: delivered: 250",
        "recipient busy@example.net: not yet delivered: 450 4.2.1 mailbox busy (said by ",
        "recipient gone@example.net: bounced: 550 5.1.1 no such user",
        "waiting: next try in ",
        "attempts  1",
        "given up  20",
    ] {
        ensure!(text.contains(words), "{words} in:\n{text}");
    }
    let list = scene.sluice.cli(&["queue", "list"])?.success()?.stdout;
    ensure!(list.contains(&id) && list.contains("450 4.2.1 mailbox busy"), "{list}");

    let lost = submit(&["lost@example.com"])?;
    let text = wait::until(wait::PATIENCE, "the bounce", || Ok(Some(show(&lost)?).filter(|t| t.contains("bounced"))))?;
    ensure!(text.contains("recipient lost@example.com: bounced: 550 5.1.1 no such user"), "{text}");
    let (_, report) = text.split_once("reported to sender in ").context("no report")?;
    let report = show(report.split_whitespace().next().context("no id")?)?;
    for words in [&format!("report on {lost}"), "<> (the null sender)", FROM] {
        ensure!(report.contains(words), "{words} in:\n{report}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&scene.sluice.cli(&["queue", "show", "--json", &id])?.success()?.stdout)?;
    ensure!(json[0]["recipients"][1]["trouble"]["is_peers"] == true, "{json}");
    Ok(())
}
