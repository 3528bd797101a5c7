//! The PROXY protocol, and listeners that trust a network.

use std::net::Ipv4Addr;

use anyhow::ensure;
use sluice_tests::smtp::Client;

use crate::TestResult;
use crate::fixture::{ALICE, FROM, MESSAGE, PASSWORD, Scene};

/// A version 2 header for TCP over IPv4.
fn version_2(source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend_from_slice(&source.octets());
    header.extend_from_slice(&destination.octets());
    header.extend_from_slice(&[0xc3, 0x50, 0x02, 0x4b]);
    header
}

#[test]
fn both_versions_are_understood_and_tell_the_client() -> TestResult {
    let scene = Scene::with(|settings| settings.top = "[log]\nformat = \"json\"\n".to_owned())?;
    let v2 = version_2(Ipv4Addr::new(203, 0, 113, 78), Ipv4Addr::new(192, 0, 2, 1));
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0".to_vec();
    let headers: [(&[u8], Option<&str>); 4] = [
        (b"PROXY TCP4 203.0.113.77 192.0.2.1 50000 587\r\n", Some("203.0.113.77")),
        (b"PROXY TCP6 2001:db8::77 2001:db8::1 50000 587\r\n", Some("2001:db8::77")),
        (&v2, Some("203.0.113.78")),
        (&local, None),
    ];
    for (header, address) in headers {
        let mut client = Client::connect_after(scene.sluice.ports.proxied, header)?;
        client.reply()?.expect("220")?;
        client.command("EHLO client.test")?.expect("250")?;
        let mut client = client.starttls(&scene.sluice.certificate.certificate)?;
        client.auth_plain(ALICE, PASSWORD)?.expect("235")?;
        client.submit(FROM, &["bob@example.net"], MESSAGE)?.expect("250")?;
        if let Some(address) = address {
            scene.sluice.wait_for_log(address, sluice_tests::wait::PATIENCE)?;
        }
    }
    Ok(())
}

#[test]
fn a_proxy_must_say_whom_it_speaks_for_and_others_must_not() -> TestResult {
    let scene = Scene::new()?;
    for preface in
        [&b"EHLO client.test\r\n"[..], b"PROXY TCP4 nonsense\r\n", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 99999999\r\n"]
    {
        let mut client = Client::connect_after(scene.sluice.ports.proxied, preface)?;
        let rest = client.rest()?;
        ensure!(!rest.starts_with("220"), "{rest}");
    }
    let header = b"PROXY TCP4 203.0.113.77 192.0.2.1 50000 587\r\n";
    for address in [scene.sluice.ports.submission, scene.sluice.ports.trusted] {
        let mut client = Client::connect_after(address, header)?;
        let first = client.reply();
        if first.is_ok_and(|reply| reply.code == 220) {
            let refused = client.reply()?;
            ensure!(refused.code / 100 == 5, "PROXY is no command here: {}", refused.text());
        }
    }
    Ok(())
}

#[test]
fn a_trusted_network_sends_as_its_account_alone() -> TestResult {
    let scene = Scene::new()?;
    let mut client = scene.trusted()?;
    client.command(&format!("MAIL FROM:<{FROM}>"))?.expect("553 5.7.1")?;
    let letter = b"From: x@ledger.test\r\n\r\ntext\r\n";
    client.submit("x@ledger.test", &["bob@example.net"], MESSAGE)?.expect("553 5.7.1")?;
    client.submit("x@ledger.test", &["bob@example.net"], letter)?.expect("250 2.0.0")?;
    scene.sluice.cli(&["account", "remove", "load"])?.success()?;
    let refused = scene.trusted()?.submit("x@ledger.test", &["bob@example.net"], letter)?;
    ensure!(refused.code != 250, "the account is gone: {}", refused.text());
    Ok(())
}
