//! What happens to the content: what is refused, what is added and removed, and that the rest stays as it was.

use anyhow::ensure;
use sluice_tests::smtp::crlf;

use crate::TestResult;
use crate::fixture::{ALICE, FROM, MESSAGE, Scene};

const HEAD: &str = "From: alice@example.org\r\nSubject: x\r\n\r\n";

#[test]
fn only_crlf_ends_a_line_and_only_crlf_dot_crlf_ends_the_content() -> TestResult {
    let scene = Scene::new()?;
    let cases: [(&str, &[u8]); 7] = [
        ("bare LF", b"one\ntwo\r\n"),
        ("bare CR", b"one\rtwo\r\n"),
        ("LF dot LF", b"one\n.\nMAIL FROM:<x@example.org>\r\n"),
        ("LF dot CRLF", b"one\n.\r\nMAIL FROM:<x@example.org>\r\n"),
        ("CR dot CR", b"one\r.\rtwo\r\n"),
        ("CRLF dot LF", b"one\r\n.\ntwo\r\n"),
        ("CR CRLF", b"one\r\r\ntwo\r\n"),
    ];
    for (what, body) in cases {
        let mut client = scene.alice()?;
        client
            .play(&format!("C: MAIL FROM:<{FROM}>\nS: 250\nC: RCPT TO:<bob@example.net>\nS: 250\nC: DATA\nS: 354"))?;
        client.send(&[HEAD.as_bytes(), body, b".\r\n"].concat())?;
        let reply = client.reply()?;
        ensure!(reply.text().starts_with("554 5.6.0"), "{what}: {}", reply.text());
        ensure!(reply.text().contains("line 4") || reply.text().contains("line 5"), "{what}: {}", reply.text());
        // The next reply is to the next command, so nothing within the content was taken for one.
        client.play("C: NOOP\nS: 250 2.0.0\nC: QUIT\nS: 221\nS: -")?;
    }
    ensure!(scene.mailbox.taken().is_empty());
    Ok(())
}

#[test]
fn a_message_over_the_bound() -> TestResult {
    let scene = Scene::with(|settings| settings.ingress = "max_message_size = \"64KiB\"\n".to_owned())?;
    let mut client = scene.alice()?;
    client.command(&format!("MAIL FROM:<{FROM}> SIZE=65537"))?.expect("552 5.3.4")?;
    let mut content = HEAD.as_bytes().to_vec();
    content.extend(b"0123456789012345678901234567890123456789012345678901234567\r\n".iter().cycle().take(60 * 2000));
    client.submit(FROM, &["bob@example.net"], &content)?.expect("552 5.3.4")?;
    client.submit(FROM, &["bob@example.net"], MESSAGE)?.expect("250 2.0.0")?;
    Ok(())
}

#[test]
fn lines_over_998_octets() -> TestResult {
    let scene = Scene::new()?;
    let mut client = scene.alice()?;
    let line = |length: usize| [HEAD.as_bytes(), "x".repeat(length).as_bytes(), b"\r\n"].concat();
    client.submit(FROM, &["bob@example.net"], &line(998))?.expect("250 2.0.0")?;
    let refused = client.submit(FROM, &["bob@example.net"], &line(999))?.expect("554 5.6.0")?;
    ensure!(refused.text().contains("line 4"), "{}", refused.text());
    scene.add("longlines", &["--allow-long-lines"])?;
    let long = line(5000);
    scene.log_in("longlines")?.submit(FROM, &["carol@example.net"], &long)?.expect("250 2.0.0")?;
    let taken = scene.mailbox.wait_for(2)?;
    let kept = taken.iter().find(|transaction| transaction.recipients == ["carol@example.net"]);
    ensure!(kept.is_some_and(|kept| kept.content.ends_with(&long[long.len() - 5002..])), "unchanged");
    Ok(())
}

#[test]
fn a_loop_ends_at_fifty_received_fields() -> TestResult {
    let scene = Scene::new()?;
    let mut client = scene.alice()?;
    let hops = |count: usize| {
        ["Received: from a by b; Mon, 1 Jan 2024 00:00:00 +0000\r\n".repeat(count).as_bytes(), MESSAGE].concat()
    };
    client.submit(FROM, &["bob@example.net"], &hops(50))?.expect("554 5.4.6")?;
    client.submit(FROM, &["bob@example.net"], &hops(10))?.expect("250 2.0.0")?;
    Ok(())
}

#[test]
fn fields_are_added_and_removed_and_nothing_else_is_touched() -> TestResult {
    let scene = Scene::new()?;
    let given = crlf(&[
        "Return-Path: <old@example.com>",
        "From:   Alice  <alice@example.org>",
        "Bcc: secret@example.net,",
        " secret2@example.net",
        "X-Sluice-Campaign: autumn",
        "X-Job: autumn",
        "X-Envid: e1",
        "x-sluice-tag: t",
        "Subject: folded",
        "\tand   spaced  ",
        "X-Odd:no-blank",
        "",
        ".dot",
        "",
        "  text with 8-bit \u{e4}  ",
        "",
    ]);
    let reply = scene.alice()?.submit(FROM, &["bob@example.net"], &given)?.expect("250 2.0.0")?;
    let taken = scene.mailbox.wait_for(1)?.remove(0);
    let text = String::from_utf8_lossy(&taken.content).into_owned();
    let kept = "From:   Alice  <alice@example.org>\r\nSubject: folded\r\n\tand   spaced  \r\nX-Odd:no-blank\r\n\r\n.dot\r\n\r\n  text with 8-bit \u{e4}  \r\n\r\n";
    ensure!(text.ends_with(kept), "{text}");
    let added = &text[..text.len() - kept.len()];
    for field in ["Received: ", "Date: ", "Message-ID: <"] {
        ensure!(added.matches(field).count() == 1, "{field} in {added}");
    }
    for gone in ["secret", "X-Sluice", "x-sluice", "X-Job", "X-Envid", "Return-Path", "127.0.0.1", ALICE] {
        ensure!(!added.contains(gone), "{gone} in {added}");
    }
    let id = crate::fixture::queue_id(&reply.text()).unwrap_or("no id").to_owned();
    ensure!(added.contains(&id), "the queue id {id} stands in Received: {added}");
    Ok(())
}

#[test]
fn date_and_message_id_are_added_only_when_missing() -> TestResult {
    let scene = Scene::new()?;
    let given = crlf(&[
        "From: alice@example.org",
        "Date: Mon, 1 Jan 2024 00:00:00 +0000",
        "Message-ID: <mine@example.org>",
        "",
        "text",
    ]);
    scene.alice()?.submit(FROM, &["bob@example.net"], &given)?.expect("250 2.0.0")?;
    let text = String::from_utf8_lossy(&scene.mailbox.wait_for(1)?.remove(0).content).into_owned();
    ensure!(text.matches("Date:").count() == 1 && text.matches("Message-ID:").count() == 1, "{text}");
    Ok(())
}
