//! `--sandbox`: nothing reaches the network, and everything can be looked at, with Mailpit's API.

use anyhow::{Context as _, ensure};
use sluice_tests::sink::Mailbox;
use sluice_tests::{http, wait};

use crate::TestResult;
use crate::fixture::{FROM, MESSAGE, Scene};

#[test]
fn mail_is_kept_shown_and_not_sent() -> TestResult {
    let scene = Scene::before(Mailbox::default(), |settings| settings.arguments = vec!["--sandbox".to_owned()])?;
    let page = scene.sluice.ports.sandbox;
    let mut client = scene.alice()?;
    client.submit(FROM, &["bob@example.net", "carol@example.com"], MESSAGE)?.expect("250 2.0.0")?;
    let listed = wait::until(wait::PATIENCE, "the message in the sandbox", || {
        let listed = http::get(page, "/api/v1/messages")?.json()?;
        Ok((listed["total"].as_u64() >= Some(1)).then_some(listed))
    })?;
    let first = &listed["messages"][0];
    ensure!(first["Subject"] == "hello" && first["From"]["Address"] == FROM, "{listed}");
    let id = first["ID"].as_str().context("no ID")?;
    let message = http::get(page, &format!("/api/v1/message/{id}"))?.json()?;
    ensure!(message["Text"].as_str().is_some_and(|text| text.contains("Hello Bob.")), "{message}");
    let raw = http::get(page, &format!("/api/v1/message/{id}/raw"))?;
    ensure!(raw.body.ends_with(MESSAGE), "{}", raw.text());
    let html = http::get(page, "/")?;
    ensure!(html.status == 200 && html.content_type.starts_with("text/html"), "{html:?}");
    ensure!(http::get(page, "/api/v1/message/nosuch")?.status == 404);
    ensure!(scene.mailbox.taken().is_empty(), "nothing is sent, whatever the routes say");
    Ok(())
}

#[test]
fn the_sandbox_forgets_the_oldest() -> TestResult {
    let scene = Scene::before(Mailbox::default(), |settings| {
        settings.arguments = vec!["--sandbox".to_owned()];
        settings.sections = String::new();
    })?;
    let mut client = scene.alice()?;
    for number in 0..20 {
        client.submit(FROM, &[&format!("r{number}@example.net")], MESSAGE)?.expect("250")?;
    }
    wait::for_condition("all of them", || {
        let listed = http::get(scene.sluice.ports.sandbox, "/api/v1/messages?limit=50")?.json()?;
        Ok(listed["messages"].as_array().is_some_and(|messages| messages.len() == 20))
    })?;
    let answer = http::request(scene.sluice.ports.sandbox, "DELETE", "/api/v1/messages")?;
    ensure!(answer.status == 200, "{answer:?}");
    ensure!(http::get(scene.sluice.ports.sandbox, "/api/v1/messages")?.json()?["total"] == 0);
    Ok(())
}
