//! Logging in at a smart host.

use std::sync::Arc;

use super::super::{ClientConfig, Login, Session, TlsMode};
use super::script::{check_with, to};

fn login() -> ClientConfig {
    let login = Login { username: "ann".into(), password: "secret".into() };
    ClientConfig { tls: TlsMode::Implicit, login: Some(Arc::new(login)), ..ClientConfig::new("us.example") }
}

/// Up to the answer to EHLO, which offers `mechanisms`.
fn begin(mechanisms: &str) -> String {
    format!("S: 220 a\n C: EHLO us.example\n S: 250-a\n S: 250-PIPELINING\n S: 250 {mechanisms}\n")
}

#[test]
fn logs_in_by_the_best_mechanism_before_any_mail() {
    for (mechanisms, script) in [
        ("AUTH LOGIN PLAIN", "C: AUTH PLAIN AGFubgBzZWNyZXQ=\n X: timeout in 300\n S: 235 2.7.0 welcome"),
        // Odd, but understood.
        ("AUTH PLAIN", "C: AUTH PLAIN AGFubgBzZWNyZXQ=\n S: 334\n C: AGFubgBzZWNyZXQ=\n S: 250 ok"),
        (
            "AUTH=LOGIN",
            "C: AUTH LOGIN\n S: 334 VXNlcm5hbWU6\n C: YW5u\n S: 334 UGFzc3dvcmQ6\n C: c2VjcmV0\n S: 235 2.7.0 welcome",
        ),
    ] {
        let script = format!(
            "{} {script}
            E: ready
            C: MAIL FROM:<a@b.org>
            C: RCPT TO:<x@y.org>
            C: DATA",
            begin(mechanisms)
        );
        check_with(login(), &[to(&["x@y.org"])], &script);
    }
}

#[test]
fn a_password_too_long_for_the_first_line_follows() {
    let mut config = login();
    let long = "p".repeat(400);
    config.login = Some(Arc::new(Login { username: "ann".into(), password: long }));
    let response = format!("AGFubgBw{}", "cHBw".repeat(133));
    let script = format!("{} C: AUTH PLAIN\n S: 334\n C: {response}\n S: 235 ok\n E: ready", begin("AUTH PLAIN"));
    check_with(config, &[], &script);
}

#[test]
fn without_a_log_in_nothing_is_sent() {
    let plain = "C: AUTH PLAIN AGFubgBzZWNyZXQ=\n";
    let name = "C: AUTH LOGIN\n S: 334 VXNlcm5hbWU6\n C: YW5u\n";
    for (mechanisms, script, failure) in [
        ("AUTH PLAIN", format!("{plain} S: 535 5.7.8 no\n C: QUIT"), "535 5.7.8 no (at auth)"),
        ("AUTH PLAIN", format!("{plain} S: 534 5.7.9 no\n C: QUIT"), "534 5.7.9 no (at auth)"),
        ("AUTH PLAIN", format!("{plain} S: 454 4.7.0 later\n C: QUIT"), "454 4.7.0 later (at auth)"),
        ("AUTH PLAIN", format!("{plain} S: 421 bye"), "421 bye (at auth)"),
        ("AUTH PLAIN", format!("{plain} X: close"), "the peer closed the connection (at auth)"),
        ("AUTH PLAIN", format!("{plain} X: wait 300"), "no answer in time (at auth)"),
        (
            "AUTH PLAIN",
            format!("{plain} S: 334\n C: AGFubgBzZWNyZXQ=\n S: 334 again"),
            "not SMTP: the peer answers AUTH with 334 again (at auth)",
        ),
        ("AUTH LOGIN", format!("{name} S: 535 5.7.8 who\n C: QUIT"), "535 5.7.8 who (at auth)"),
        ("AUTH LOGIN", format!("{name} S: 235 ok"), "not SMTP: the peer answers AUTH with 235 ok (at auth)"),
        ("AUTH CRAM-MD5", "C: QUIT".into(), "5.7.4 the peer offers neither AUTH PLAIN nor AUTH LOGIN (at auth)"),
        ("SIZE", "C: QUIT".into(), "5.7.4 the peer offers neither AUTH PLAIN nor AUTH LOGIN (at auth)"),
    ] {
        let script = format!(
            "{} {script}
            E: done 0: {failure} (unanswered)
            E: closed: {failure}",
            begin(mechanisms)
        );
        check_with(login(), &[to(&["x@y.org"])], &script);
    }
}

#[test]
fn a_peer_that_repeats_our_password_does_not_make_it_known() {
    let not_shown = "(words that repeat our password)";
    for (mechanism, script, failure) in [
        (
            "PLAIN",
            "C: AUTH PLAIN AGFubgBzZWNyZXQ=\n S: 500 5.5.2 what is AUTH PLAIN AGFubgBzZWNyZXQ=?\n C: QUIT",
            format!("500 5.5.2 {not_shown} (at auth)"),
        ),
        ("PLAIN", "C: AUTH PLAIN AGFubgBzZWNyZXQ=\n S: 421-no\n S: 421 secret", format!("421 {not_shown} (at auth)")),
        (
            "PLAIN",
            "C: AUTH PLAIN AGFubgBzZWNyZXQ=\n S: AUTH PLAIN AGFubgBzZWNyZXQ=",
            "not SMTP: the peer answers AUTH with what is no reply (at auth)".into(),
        ),
        (
            "LOGIN",
            "C: AUTH LOGIN\n S: 334\n C: YW5u\n S: 334\n C: c2VjcmV0\n S: 334 c2VjcmV0",
            format!("not SMTP: the peer answers AUTH with 334 {not_shown} (at auth)"),
        ),
    ] {
        let script = format!("{} {script}\n E: closed: {failure}", begin(&format!("AUTH {mechanism}")));
        check_with(login(), &[], &script);
    }
}

#[test]
fn no_password_is_sent_in_the_clear() {
    for (tls, offer) in [(TlsMode::Off, "STARTTLS"), (TlsMode::Opportunistic, "HELP")] {
        let script = format!(
            "{} C: QUIT
            E: closed: 5.7.4 the session is not encrypted, so no password is sent (at auth)",
            begin(&format!("AUTH PLAIN\n S: 250 {offer}")).replacen("250 AUTH", "250-AUTH", 1)
        );
        check_with(ClientConfig { tls, ..login() }, &[], &script);
    }
    let refused = begin("AUTH PLAIN").replacen("250-PIPELINING", "250-STARTTLS", 1);
    check_with(
        ClientConfig { tls: TlsMode::Opportunistic, ..login() },
        &[],
        &format!(
            "{refused} C: STARTTLS
            S: 454 not now
            C: QUIT
            E: closed: 5.7.4 the session is not encrypted, so no password is sent (at auth)"
        ),
    );
    let allowed = ClientConfig { tls: TlsMode::Off, login_in_clear: true, ..login() };
    let script = format!("{} C: AUTH PLAIN AGFubgBzZWNyZXQ=\n S: 235 ok\n E: ready", begin("AUTH PLAIN"));
    check_with(allowed, &[], &script);
}

#[test]
fn what_auth_offers_counts_only_under_tls() {
    let config = ClientConfig { tls: TlsMode::Required, ..login() };
    check_with(
        config,
        &[],
        "
        S: 220 a
        C: EHLO us.example
        S: 250-a
        S: 250-AUTH PLAIN
        S: 250 STARTTLS
        C: STARTTLS
        S: 220 go
        E: starttls
        X: tls ok
        C: EHLO us.example
        S: 250-a
        S: 250 AUTH LOGIN
        C: AUTH LOGIN",
    );
}

#[test]
#[expect(clippy::disallowed_methods, reason = "an instant cannot be made without the clock")]
fn a_password_is_in_no_debug_text() {
    let now = std::time::Instant::now();
    let mut session = Session::new(login(), now);
    session.handle_input(now, b"220 a\r\n");
    _ = session.poll_output();
    session.handle_input(now, b"250-a\r\n250 AUTH PLAIN\r\n");
    let before = format!("{session:?} {:?}", login());
    let output = session.poll_output().unwrap();
    let octets = format!("{:?}", b"AGFubgBzZWNyZXQ=").replace(['[', ']'], "");
    for text in [before, format!("{output:?} {session:?}")] {
        for secret in ["secret", "AGFubgBzZWNyZXQ", &octets] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
