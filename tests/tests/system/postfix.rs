//! A real Postfix as the receiver: its mailbox is read back and compared octet by octet.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result, ensure};
use sluice_tests::postfix::{Postfix, Role};
use sluice_tests::sluice::{Settings, Sluice};
use sluice_tests::smtp::Client;

use crate::TestResult;

/// A header field that tells the messages apart; it and all below must arrive as they were sent.
const FIELD: &str = "X-Case: ";

fn cases() -> BTreeMap<&'static str, (&'static str, Vec<u8>)> {
    let long_value = "word ".repeat(180);
    let long_field = format!("X-Long: {}", format!("{}\r\n\t", long_value.trim_end()).repeat(20)) + "end\r\n";
    let every_octet: Vec<u8> = (0..=255u8).filter(|b| !matches!(b, 0 | b'\r' | b'\n')).collect();
    let lines_of_dots: String = (1..70).map(|n| ".".repeat(n) + "\r\n").collect();
    let bodies: [(&str, &str, Vec<u8>); 10] = [
        ("plain", "bob@example.net", b"\r\nHello.\r\n".to_vec()),
        ("dots", "bob@example.net", format!("\r\n{lines_of_dots}.a\r\na.\r\n..\r\n.\r\n\r\n.\r\n").into_bytes()),
        ("8-bit", "bob@example.net", [b"\r\n", &every_octet[..], b"\r\n"].concat()),
        ("8-bit-header", "bob@example.net", "Subject: Grüße\r\n\r\nx\r\n".as_bytes().to_vec()),
        ("utf8-address", "jos\u{e9}@b\u{fc}cher.example", "\r\ntext\r\n".into()),
        ("empty-body", "bob@example.net", b"\r\n".to_vec()),
        ("no-body", "bob@example.net", Vec::new()),
        ("blank-lines", "bob@example.net", b"\r\n\r\n\r\n  \r\n\t\r\n\r\n".to_vec()),
        ("long-header", "bob@example.net", (long_field + "\r\nx\r\n").into_bytes()),
        (
            "long-lines",
            "\"b o b\"@example.net",
            format!("\r\n{}\r\n", "0123456789".repeat(99)).repeat(300).into_bytes(),
        ),
    ];
    let with_field = |(name, to, rest): (&'static str, &'static str, Vec<u8>)| {
        (name, (to, [format!("{FIELD}{name}\r\n").as_bytes(), &rest].concat()))
    };
    bodies.into_iter().map(with_field).collect()
}

/// From [`FIELD`] on, with the CRLF that SMTP had.
fn below_field(mail: &[u8]) -> Result<(String, Vec<u8>)> {
    let start = mail.windows(FIELD.len()).position(|w| w == FIELD.as_bytes()).context("no X-Case")?;
    let mut rest = Vec::new();
    for line in mail[start..].split_inclusive(|byte| *byte == b'\n') {
        rest.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        rest.extend_from_slice(b"\r\n");
    }
    let name = rest[FIELD.len()..].split(|byte| *byte == b'\r').next().unwrap_or_default();
    Ok((String::from_utf8_lossy(name).into_owned(), rest))
}

#[test]
fn a_static_route_to_a_postfix_mailbox_keeps_every_octet() -> TestResult {
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let postfix = Postfix::start(folder.path(), Role::Mailbox)?;
    let sluice = Sluice::start(&Settings::to(postfix.address()))?;
    let mut client = Client::open(sluice.ports.trusted)?;
    let cases = cases();
    for (name, (to, content)) in &cases {
        let whole = [b"From: sender@ledger.test\r\n", &content[..]].concat();
        client
            .submit("sender@ledger.test", &[to], &whole)
            .and_then(|reply| reply.expect("250 2.0.0"))
            .context(*name)?;
    }
    let mut seen = Vec::new();
    for mail in postfix.wait_for_mail(cases.len())? {
        let (name, arrived) = below_field(&mail)?;
        let (to, content) = &cases[name.as_str()];
        let mut sent = content.clone();
        // A message without a body ends after its header; the empty line between them is Postfix's to add.
        if name == "no-body" && arrived.len() == sent.len() + 2 {
            sent.extend_from_slice(b"\r\n");
        }
        ensure!(arrived == sent, "{name}: sent\n{}\narrived\n{}", sent.escape_ascii(), arrived.escape_ascii());
        let top = String::from_utf8_lossy(&mail[..mail.len() / 2]).into_owned();
        ensure!(top.contains("Return-Path: <sender@ledger.test>"), "{top}");
        ensure!(name != "utf8-address" || top.contains(&format!("Delivered-To: {to}")), "{top}");
        seen.push(name);
    }
    seen.sort();
    ensure!(seen.iter().eq(cases.keys()), "{seen:?}");
    Ok(())
}
