//! Accounting files: what became of each recipient, as another program reads it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use sluice_tests::sink::{Action, Mailbox, Step};
use sluice_tests::wait;

use crate::TestResult;
use crate::fixture::{FROM, MESSAGE, Scene, queue_id};

/// Takes bob's mail, that to busy at the second attempt, and that to gone never.
fn mailbox() -> Mailbox {
    let busy = AtomicUsize::new(0);
    Mailbox::misbehaving(move |_, step| match step {
        Step::Recipient("busy@example.net") if busy.fetch_add(1, Ordering::Relaxed) == 0 => {
            Action::Reply("450 4.2.2 mailbox full")
        }
        Step::Recipient("gone@example.net") => Action::Reply("550 5.1.1 no such user"),
        Step::Connect | Step::Command(_) | Step::Recipient(_) | Step::Dot => Action::Accept,
    })
}

/// The lines of all files that are there, the open one included up to its last whole line.
fn lines(folder: &Path) -> Result<Vec<Value>> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(folder)? {
        let text = fs::read_to_string(entry?.path())?;
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        lines.extend(whole.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>()?);
    }
    Ok(lines)
}

/// The first line of that type for that recipient.
fn find<'a>(lines: &'a [Value], record: &str, recipient: &str) -> Option<&'a Value> {
    lines.iter().find(|line| line["type"] == record && line["recipient"] == recipient)
}

#[test]
fn every_recipient_and_result_is_a_line_and_none_is_lost_by_a_kill() -> TestResult {
    let mut scene = Scene::before(mailbox(), |settings| {
        settings.sections = "[accounting]\nformat = \"json\"\n".to_owned();
    })?;
    let to = ["bob@example.net", "busy@example.net", "gone@example.net"];
    let reply = scene.alice()?.submit(FROM, &to, MESSAGE)?.expect("250 2.0.0")?;
    let id = queue_id(&reply.text()).context("no queue id")?.to_owned();
    let folder = scene.sluice.data_dir().join("acct");
    let expected = [("d", to[0]), ("t", to[1]), ("d", to[1]), ("b", to[2]), ("d", FROM)];
    let told = wait::until(wait::PATIENCE, "every line", || {
        let lines = lines(&folder)?;
        Ok(expected.iter().all(|(record, recipient)| find(&lines, record, recipient).is_some()).then_some(lines))
    })?;
    let bounced = find(&told, "b", to[2]).context("no bounce")?;
    for (name, value) in [
        ("status", "5.1.1"),
        ("class", "bad-mailbox"),
        ("reply", "550 5.1.1 no such user"),
        ("queue_id", &id),
        ("mail_from", FROM),
        ("outcome", "bounced"),
    ] {
        ensure!(bounced[name] == value, "{name}: {bounced}");
    }
    let deferred = find(&told, "t", to[1]).context("no deferral")?;
    ensure!(deferred["class"] == "quota-issues" && deferred["retry_at"].is_string(), "{deferred}");
    let report = find(&told, "d", FROM).context("no report")?;
    ensure!(
        report["queue_id"] == bounced["report"] && report["report_on"] == id && report["mail_from"] == "",
        "{report}"
    );

    scene.sluice.kill()?;
    scene.sluice.run()?;
    scene.alice()?.submit(FROM, &to[..1], MESSAGE)?.expect("250 2.0.0")?;
    wait::for_condition("the mail after the kill", || {
        Ok(lines(&folder)?.iter().filter(|line| line["recipient"] == to[0]).count() >= 2)
    })?;
    scene.sluice.terminate()?;
    let after = lines(&folder)?;
    let ids = |lines: &[Value]| lines.iter().map(|line| line["id"].to_string()).collect::<BTreeSet<_>>();
    ensure!(ids(&after).is_superset(&ids(&told)), "{after:?}");
    ensure!(ids(&after).len() == expected.len() + 1, "{after:?}");
    for entry in fs::read_dir(&folder)? {
        let name = entry?.file_name().into_string().unwrap_or_default();
        ensure!(name.starts_with("acct-") && name.ends_with(".jsonl"), "after an orderly end: {name}");
    }
    Ok(())
}
