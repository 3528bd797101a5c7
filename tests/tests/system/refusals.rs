//! Every refusal, through real sockets.

use sluice_tests::smtp::{Client, crlf};

use crate::TestResult;
use crate::fixture::{ALICE, FROM, MESSAGE, PASSWORD, Scene};

#[test]
fn nobody_sends_without_a_right_to() -> TestResult {
    let scene = Scene::new()?;
    let mut client = Client::open(scene.sluice.ports.submission)?;
    client.play(
        "C: MAIL FROM:<alice@example.org>
         S: 530 5.7.0
         C: RCPT TO:<bob@example.net>
         S: 503 5.5.1
         C: DATA
         S: 503 5.5.1
         C: AUTH PLAIN AGFsaWNlAHNlY3JldA==
         S: 538 5.7.11 … STARTTLS
         C: QUIT
         S: 221 2.0.0
         S: -",
    )?;
    scene.under_tls()?.play(
        "C: MAIL FROM:<alice@example.org>
         S: 530 5.7.0 … auth
         C: RCPT TO:<bob@example.net>
         S: 503 5.5.1",
    )
}

#[test]
fn log_ins_that_fail_say_the_same_whoever_asks() -> TestResult {
    let scene = Scene::new()?;
    let wrong = scene.under_tls()?.auth_plain(ALICE, "wrong")?.expect("535 5.7.8")?;
    let unknown = scene.under_tls()?.auth_plain("nobody", "wrong")?.expect("535 5.7.8")?;
    assert_eq!(wrong, unknown);
    let wrong = scene.under_tls()?.auth_login(ALICE, "wrong")?;
    assert_eq!(wrong, unknown);
    scene.under_tls()?.auth_login(ALICE, PASSWORD)?.expect("235 2.7.0")?;
    Ok(())
}

#[test]
fn log_in_commands_that_make_no_sense() -> TestResult {
    let scene = Scene::new()?;
    scene.under_tls()?.play(
        "C: AUTH
         S: 501 5.5.4
         C: AUTH GSSAPI
         S: 504 5.5.4
         C: AUTH PLAIN !!!
         S: 501 5.5.2
         C: AUTH PLAIN
         S: 334
         C: *
         S: 501 5.7.0
         C: AUTH LOGIN
         S: 334
         C: YWxpY2U=
         S: 334
         C: *
         S: 501 5.7.0
         C: NOOP
         S: 250 2.0.0",
    )?;
    let mut client = scene.alice()?;
    client.auth_plain(ALICE, PASSWORD)?.expect("503 5.5.1")?;
    Ok(())
}

#[test]
fn senders_that_are_not_the_accounts() -> TestResult {
    let scene = Scene::new()?;
    scene.alice()?.play(
        "C: MAIL FROM:<mallory@example.com>
         S: 553 5.7.1 … mallory@example.com … alice
         C: MAIL FROM:<mallory@notexample.org>
         S: 553 5.7.1 … mallory@notexample.org
         C: MAIL FROM:<alice@news.example.org>
         S: 250 2.1.0
         C: RSET
         S: 250 2.0.0
         C: MAIL FROM:<>
         S: 250 2.1.0",
    )?;
    let cases: [(&str, &[&str], &str); 9] = [
        ("another's address", &["From: mallory@example.com"], "553 5.7.1"),
        ("one of two", &["From: alice@example.org, mallory@example.com"], "553 5.7.1"),
        ("hidden in a group", &["From: team: alice@example.org, mallory@example.com;"], "553 5.7.1"),
        ("a name that looks right", &["From: \"alice@example.org\" <mallory@example.com>"], "553 5.7.1"),
        ("a comment that looks right", &["From: (alice@example.org) mallory@example.com"], "553 5.7.1"),
        ("folded", &["From: Alice", "\t<mallory@example.com>"], "553 5.7.1"),
        ("two fields", &["From: alice@example.org", "From: alice@example.org"], "5"),
        ("none", &["Subject: no sender"], "5"),
        ("not an address", &["From: alice at example.org"], "5"),
    ];
    let mut client = scene.alice()?;
    for (what, header, reply) in cases {
        let content = crlf(&[header, &["Subject: x", "", "text"]].concat());
        let got = client.submit(FROM, &["bob@example.net"], &content)?;
        assert!(got.text().starts_with(reply), "{what}: {}", got.text());
    }
    let from_mallory = crlf(&["From: mallory@example.com", "", "text"]);
    client.submit("", &["bob@example.net"], &from_mallory)?.expect("553 5.7.1")?;
    client.submit("", &["bob@example.net"], MESSAGE)?.expect("250 2.0.0")?;
    Ok(())
}

#[test]
fn grammar_and_order() -> TestResult {
    let scene = Scene::new()?;
    scene.alice()?.play(
        r#"C: FROBNICATE
           S: 500 5.5
           C: RCPT TO:<bob@example.net>
           S: 503 5.5.1
           C: DATA
           S: 503 5.5.1
           C: MAIL FROM alice@example.org
           S: 501 5.5
           C: MAIL FROM:<alice@example.org
           S: 501 5
           C: MAIL FROM:<alice@-bad-.example.org>
           S: 5
           C: MAIL FROM:<alice@example.org> FROB=1
           S: 555 5.5.4
           C: MAIL FROM:<alice@example.org> BODY=9BIT
           S: 5
           C: MAIL FROM:<alice@example.org> SIZE=99999999999
           S: 552 5.3.4
           C: MAIL FROM:<ältere@example.org>
           S: 553 5.6.7
           C: MAIL FROM:<"odd \\" local"@example.org> SIZE=100 BODY=8BITMIME
           S: 250 2.1.0
           C: MAIL FROM:<alice@example.org>
           S: 503 5.5.1
           C: DATA
           S: 5
           C: RCPT TO:<bob@example.net> FROB
           S: 555 5.5.4
           C: RCPT TO:<bob>
           S: 5
           C: RCPT TO:<>
           S: 5
           C: RCPT TO:<bøb@example.net>
           S: 553 5.6.7
           C: RCPT TO:<@relay.example,@other.example:bob@example.net>
           S: 250 2.1.5
           C: RCPT TO:<"b o b"@example.net>
           S: 250 2.1.5
           C: RCPT TO:<bob@[192.0.2.1]>
           S: 250 2.1.5
           C: RCPT TO:<Postmaster>
           S: 250 2.1.5
           C: VRFY bob
           S: 252 2
           C: EXPN list
           S: 502 5.5.1
           C: HELP
           S: 214 2.0.0
           C: NOOP and more
           S: 250 2.0.0
           C: RSET
           S: 250 2.0.0
           C: STARTTLS
           S: 503 5.5.1
           C: HELO client.test
           S: 250
           C: quit
           S: 221 2.0.0
           S: -"#,
    )
}

#[test]
fn every_reply_but_the_greetings_has_an_enhanced_code() -> TestResult {
    let scene = Scene::new()?;
    let mut client = scene.alice()?;
    for command in
        ["NOOP", "RSET", "VRFY x", "HELP", "FROB", "MAIL", "RCPT", "DATA", "EXPN x", "STARTTLS", "AUTH X", "QUIT"]
    {
        let reply = client.command(command)?;
        let class = reply.code / 100;
        for line in &reply.lines {
            assert!(line.starts_with(&format!("{class}.")), "{command}: {}", reply.text());
            assert!(line.len() > 8, "{command}: a text that helps: {}", reply.text());
        }
    }
    Ok(())
}

#[test]
fn plaintext_before_the_handshake_is_not_taken_for_what_follows_it() -> TestResult {
    let scene = Scene::new()?;
    let mut client = Client::open(scene.sluice.ports.submission)?;
    client.send(b"STARTTLS\r\nNOOP injected\r\n")?;
    client.reply()?.expect("220")?;
    let mut client = client.handshake(&scene.sluice.certificate.certificate)?;
    client.command("EHLO client.test")?.expect("250")?;
    client.command("FROB")?.expect("500")?;
    Ok(())
}

#[test]
fn the_offers_of_ehlo() -> TestResult {
    let scene = Scene::new()?;
    let offers = |client: &mut Client| -> anyhow::Result<Vec<String>> {
        Ok(client.command("EHLO client.test")?.expect("250")?.lines.split_off(1))
    };
    let words = ["PIPELINING", "8BITMIME", "SIZE 26214400", "ENHANCEDSTATUSCODES", "SMTPUTF8"];
    let mut plain = Client::open(scene.sluice.ports.submission)?;
    let before = offers(&mut plain)?;
    let mut secured = scene.under_tls()?;
    let after = offers(&mut secured)?;
    let mut implicit = Client::open_tls(scene.sluice.ports.submissions, &scene.sluice.certificate.certificate)?;
    let from_the_start = offers(&mut implicit)?;
    for word in words {
        for (what, offers) in [("before", &before), ("after", &after), ("implicit", &from_the_start)] {
            assert!(offers.iter().any(|offer| offer == word), "{what} TLS: {word} in {offers:?}");
        }
    }
    assert!(before.iter().any(|offer| offer == "STARTTLS"));
    assert!(!before.iter().any(|offer| offer.starts_with("AUTH")), "{before:?}");
    for offers in [after, from_the_start] {
        assert!(!offers.iter().any(|offer| offer == "STARTTLS"), "{offers:?}");
        assert!(offers.iter().any(|offer| offer == "AUTH PLAIN LOGIN"), "{offers:?}");
    }
    Ok(())
}

#[test]
fn a_pool_or_lane_that_is_not_the_accounts() -> TestResult {
    let scene = Scene::new()?;
    let mut client = scene.alice()?;
    for field in ["X-Sluice-Pool: vip", "X-Virtual-MTA: vip", "X-Sluice-Lane: nosuchlane"] {
        let content = crlf(&["From: alice@example.org", field, "", "text"]);
        let reply = client.submit(FROM, &["bob@example.net"], &content)?;
        assert!(reply.text().starts_with("550 5.7.1"), "{field}: {}", reply.text());
    }
    Ok(())
}

#[test]
fn more_recipients_than_a_thousand() -> TestResult {
    let scene = Scene::new()?;
    let mut client = scene.alice()?;
    client.command(&format!("MAIL FROM:<{FROM}>"))?.expect("250")?;
    for number in 0..1000 {
        client.send(format!("RCPT TO:<r{number}@example.net>\r\n").as_bytes())?;
    }
    for _ in 0..1000 {
        client.reply()?.expect("250 2.1.5")?;
    }
    client.command("RCPT TO:<one-more@example.net>")?.expect("452 4.5.3")?;
    client.play("C: DATA\nS: 354")?;
    client.send(MESSAGE)?;
    client.play("C: .\nS: 250 2.0.0")?;
    let taken = scene.mailbox.wait_for(10)?;
    let recipients: usize = taken.iter().map(|transaction| transaction.recipients.len()).sum();
    assert_eq!(recipients, 1000, "the thousand are delivered");
    assert!(taken.iter().all(|transaction| transaction.recipients.len() <= 100));
    Ok(())
}
