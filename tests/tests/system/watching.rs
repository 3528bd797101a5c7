//! Metrics, health and logs.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use sluice_tests::{http, wait};

use crate::TestResult;
use crate::fixture::{FROM, MESSAGE, Scene};

#[test]
fn metrics_are_prometheus_text_and_their_labels_are_bounded() -> TestResult {
    let scene = Scene::new()?;
    let mut client = scene.alice()?;
    for number in 0..30 {
        client.submit(FROM, &[&format!("r{number}@d{number}.example.net")], MESSAGE)?.expect("250")?;
    }
    client.submit("", &["bob@example.net"], b"From: mallory@example.com\r\n\r\nx\r\n")?.expect("553")?;
    scene.mailbox.wait_for(30)?;
    let answer = http::get(scene.sluice.ports.admin, "/metrics")?;
    ensure!(answer.status == 200 && answer.content_type.starts_with("text/plain"), "{answer:?}");
    let text = answer.text();
    let mut kinds = BTreeMap::new();
    let mut helped = BTreeSet::new();
    let mut series: BTreeMap<&str, usize> = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').context("no kind")?;
            kinds.insert(name, kind);
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            helped.insert(rest.split(' ').next().unwrap_or_default());
        } else {
            let (name, value) = line.rsplit_once(' ').context("no value")?;
            value.parse::<f64>().with_context(|| line.to_owned())?;
            *series.entry(name.split('{').next().unwrap_or_default()).or_default() += 1;
        }
    }
    for (name, kind) in &kinds {
        ensure!(name.starts_with("sluice_") || name.starts_with("process_"), "{name}: the prefix");
        ensure!(helped.contains(name), "{name}: no help");
        ensure!(*kind != "counter" || name.ends_with("_total"), "{name}: a counter ends with _total");
    }
    for (name, count) in &series {
        ensure!(*count < 30, "{name} has {count} series after 30 domains: a label without a bound");
    }
    ensure!(!text.contains("example.net") && !text.contains("alice@"), "no addresses in labels");
    Ok(())
}

#[test]
fn health_and_readiness() -> TestResult {
    let scene = Scene::new()?;
    for path in ["/healthz", "/readyz"] {
        let answer = http::get(scene.sluice.ports.admin, path)?;
        ensure!(answer.status == 200, "{path}: {answer:?}");
    }
    ensure!(http::get(scene.sluice.ports.admin, "/nothing")?.status == 404);
    Ok(())
}

#[test]
fn one_line_per_attempt_tells_the_whole_story() -> TestResult {
    let scene = Scene::with(|settings| settings.top = "[log]\nformat = \"json\"\n".to_owned())?;
    let reply = scene.alice()?.submit(FROM, &["bob@example.net"], MESSAGE)?.expect("250")?;
    let id = crate::fixture::queue_id(&reply.text()).context("no queue id")?.to_owned();
    let sink = scene.sink.address().to_string();
    let told = || {
        let log = scene.sluice.log();
        let line = log.lines().find(|line| line.contains(&id) && line.contains("250 2.0.0 Taken")).map(str::to_owned);
        Ok(line)
    };
    let line = wait::until(wait::PATIENCE, "the attempt's line", told).with_context(|| scene.sluice.log())?;
    let json: serde_json::Value = serde_json::from_str(&line)?;
    ensure!(json.is_object());
    for word in ["example.net", "alice", sink.as_str()] {
        ensure!(line.contains(word), "{word} in {line}");
    }
    for line in scene.sluice.log().lines().filter(|line| !line.trim().is_empty()) {
        ensure!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "not JSON: {line}");
    }
    ensure!(!scene.sluice.log().contains(crate::fixture::PASSWORD), "no secret in the log");
    Ok(())
}
