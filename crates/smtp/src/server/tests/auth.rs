//! AUTH and STARTTLS.

use super::*;

/// A port where AUTH works at once.
fn always() -> SessionConfig {
    SessionConfig { auth: AuthPolicy::Always, ..SessionConfig::new("mx.test") }
}

const EHLO: &str = "C: EHLO me
    S: 250-mx.test
    S: 250-PIPELINING
    S: 250-SIZE 26214400
    S: 250-8BITMIME
    S: 250-SMTPUTF8
    S: 250-AUTH PLAIN LOGIN
    S: 250 ENHANCEDSTATUSCODES
    ";

#[track_caller]
fn check_after_ehlo(config: &SessionConfig, rest: &str) {
    check(config, &format!("{EHLO}{rest}"));
}

#[test]
fn starttls_then_auth_then_mail() {
    check(
        &submission(),
        "C: EHLO me
         S: 250-mx.test
         S: 250-PIPELINING
         S: 250-SIZE 26214400
         S: 250-8BITMIME
         S: 250-SMTPUTF8
         S: 250-STARTTLS
         S: 250 ENHANCEDSTATUSCODES
         C: MAIL FROM:<a@a.test>
         S: 530 5.7.0 Authentication required: say STARTTLS, then AUTH first
         C: AUTH PLAIN AHVzZXIAcGFzcw==
         S: 538 5.7.11 AUTH needs encryption: say STARTTLS first
         C: STARTTLS x
         S: 501 5.5.4 STARTTLS takes no argument
         C: STARTTLS
         S: 220 2.0.0 Ready to start TLS
         E: starttls
         --
         C: MAIL FROM:<a@a.test>
         S: 503 5.5.1 Say EHLO first
         C: AUTH PLAIN AHVzZXIAcGFzcw==
         S: 503 5.5.1 Say EHLO first
         C: EHLO me
         S: 250-mx.test
         S: 250-PIPELINING
         S: 250-SIZE 26214400
         S: 250-8BITMIME
         S: 250-SMTPUTF8
         S: 250-AUTH PLAIN LOGIN
         S: 250 ENHANCEDSTATUSCODES
         C: STARTTLS
         S: 503 5.5.1 The connection is already encrypted
         C: MAIL FROM:<a@a.test>
         S: 530 5.7.0 Authentication required: say AUTH first
         C: AUTH PLAIN AHVzZXIAcGFzcw==
         E: login PLAIN user pass
         S: 235 2.7.0 Authenticated
         C: MAIL FROM:<a@a.test>
         E: mail <a@a.test>
         S: 250 2.1.0 Sender accepted
         C: RCPT TO:<b@b.test>
         E: rcpt <b@b.test>
         S: 250 2.1.5 Recipient accepted
         C: DATA
         S: 354 Send the message; end it with <CRLF>.<CRLF>
         C: .
         E: message ESMTPSA to b@b.test: 
         S: 250 2.0.0 Message accepted",
    );
}

#[test]
fn what_is_sent_in_the_clear_behind_starttls_is_thrown_away() {
    let mut session = Session::new(Arc::new(submission()), base());
    let mut input = BytesMut::from(&b"EHLO me\r\nSTARTTLS\r\nNOOP\r\nRSET"[..]);
    session.handle_input(base(), &mut input);
    assert!(input.is_empty());
    assert!(session.poll_output().unwrap().ends_with(b"220 2.0.0 Ready to start TLS\r\n"));
    assert!(matches!(session.poll_event(), Some(Event::StartTls)));
    input.extend_from_slice(b"\r\nHELP\r\n");
    session.handle_input(base(), &mut input);
    assert!(input.is_empty());
    session.handle_tls(base());
    session.handle_input(base(), &mut input);
    assert!(session.is_tls() && session.poll_output().is_none());
    input.extend_from_slice(b"NOOP\r\n");
    session.handle_input(base(), &mut input);
    assert_eq!(session.poll_output().unwrap(), &b"250 2.0.0 OK, still here\r\n"[..]);
}

#[test]
fn without_tls_there_is_neither_starttls_nor_auth() {
    check(
        &SessionConfig::new("mx.test"),
        "C: EHLO me
         S: 250-mx.test
         S: 250-PIPELINING
         S: 250-SIZE 26214400
         S: 250-8BITMIME
         S: 250-SMTPUTF8
         S: 250 ENHANCEDSTATUSCODES
         C: STARTTLS
         S: 502 5.5.1 STARTTLS is not offered here
         C: AUTH LOGIN
         S: 538 5.7.11 AUTH needs encryption, use the port with TLS
         C: MAIL FROM:<a@a.test>
         S: 530 5.7.0 Authentication required, and not offered on this port; it serves trusted networks",
    );
    check(&trusted(), "C: AUTH LOGIN\n S: 502 5.5.1 AUTH is not offered on this port");
}

#[test]
fn plain_in_every_form() {
    check_after_ehlo(
        &always(),
        "C: AUTH
         S: 501 5.5.4 Say AUTH PLAIN or AUTH LOGIN
         C: AUTH PLAIN a b
         S: 501 5.5.4 Say AUTH PLAIN or AUTH LOGIN
         C: AUTH CRAM-MD5
         S: 504 5.5.4 Unknown mechanism; PLAIN and LOGIN are offered
         C: AUTH PLAIN !!!!
         S: 501 5.5.2 That is no base64
         C: AUTH PLAIN AHVz=XIAcGFzcw
         S: 501 5.5.2 That is no base64
         C: AUTH PLAIN =
         S: 501 5.5.2 PLAIN is: identity, NUL, name, NUL, password
         C: AUTH PLAIN dXNlcgBwYXNz
         S: 501 5.5.2 PLAIN is: identity, NUL, name, NUL, password
         C: auth plain
         S: 334 
         C: *
         S: 501 5.7.0 Authentication cancelled
         C: AUTH PLAIN
         S: 334 
         C: AHVzZXIAcGFzcw==
         E: login PLAIN user pass
         S: 235 2.7.0 Authenticated
         C: AUTH PLAIN
         S: 503 5.5.1 Already authenticated
         C: STARTTLS
         S: 502 5.5.1 STARTTLS is not offered here",
    );
}

#[test]
fn padding_may_be_missing() {
    for login in ["AUTH PLAIN AHVzZXIAcGFzcw", "AUTH PLAIN\r\nAHVzZXIAcGFzcw", "AUTH login dXNlcg\r\ncGFzcw"] {
        let mut host = Host::new(&always());
        host.send(format!("EHLO me\r\n{login}\r\n").as_bytes());
        assert_eq!(host.log.last().unwrap(), "S: 235 2.7.0 Authenticated", "{login}");
    }
}

#[test]
fn login_in_every_form() {
    check_after_ehlo(
        &always(),
        "C: AUTH LOGIN
         S: 334 VXNlcm5hbWU6
         C: dXNlcg==
         S: 334 UGFzc3dvcmQ6
         C: d3Jvbmc=
         E: login LOGIN user wrong
         S: 535 5.7.8 Authentication failed: wrong name or password
         C: AUTH LOGIN dXNlcg==
         S: 334 UGFzc3dvcmQ6
         C: *
         S: 501 5.7.0 Authentication cancelled
         C: AUTH LOGIN
         S: 334 VXNlcm5hbWU6
         C: EHLO me
         S: 501 5.5.2 That is no base64
         C: AUTH LOGIN bGF0ZXI=
         S: 334 UGFzc3dvcmQ6
         C: cGFzcw==
         E: login LOGIN later pass
         S: 454 4.7.0 Cannot verify that now; try again later
         C: AUTH LOGIN dXNlcg==
         S: 334 UGFzc3dvcmQ6
         C: cGFzcw==
         E: login LOGIN user pass
         S: 235 2.7.0 Authenticated
         C: MAIL FROM:<a@a.test>
         E: mail <a@a.test>
         S: 250 2.1.0 Sender accepted",
    );
}

#[test]
fn nobody_acts_for_another_and_odd_names_fail_like_wrong_ones() {
    // "other\0user\0pass", "user\0user\0pass", "\0\0pass", "\0us\ner\0pass"
    check_after_ehlo(
        &always(),
        "C: AUTH PLAIN b3RoZXIAdXNlcgBwYXNz
         S: 535 5.7.8 Authentication failed: nobody can act for another identity
         C: AUTH PLAIN AABwYXNz
         S: 535 5.7.8 Authentication failed: wrong name or password
         C: AUTH PLAIN AHVzCmVyAHBhc3M=
         S: 535 5.7.8 Authentication failed: wrong name or password
         C: AUTH PLAIN dXNlcgB1c2VyAHBhc3M=
         E: login PLAIN user pass
         S: 235 2.7.0 Authenticated",
    );
}

#[test]
fn auth_does_not_come_within_a_message() {
    let config = SessionConfig { authenticated: true, ..always() };
    check_after_ehlo(
        &config,
        "C: MAIL FROM:<a@a.test>
         E: mail <a@a.test>
         S: 250 2.1.0 Sender accepted
         C: AUTH LOGIN
         S: 503 5.5.1 A message is already begun; AUTH comes before MAIL",
    );
}

#[test]
fn starttls_does_not_come_after_auth() {
    let config = SessionConfig { tls: TlsState::Offered, ..always() };
    let mut host = Host::new(&config);
    host.send(b"EHLO me\r\nAUTH PLAIN AHVzZXIAcGFzcw==\r\nSTARTTLS\r\n");
    assert_eq!(host.log.last().unwrap(), "S: 503 5.5.1 STARTTLS comes before AUTH");
}

#[test]
fn failed_logins_are_counted() {
    let mut config = always();
    config.limits.max_auth_failures = 2;
    check_after_ehlo(
        &config,
        "C: AUTH PLAIN AHVzZXIAYQ==
         E: login PLAIN user a
         S: 535 5.7.8 Authentication failed: wrong name or password
         C: NOOP
         S: 250 2.0.0 OK, still here
         C: AUTH PLAIN AHVzZXIAYQ==
         E: login PLAIN user a
         S: 535 5.7.8 Authentication failed: wrong name or password
         S: 421 4.7.0 mx.test Too many failed authentications; closing the connection
         E: close auth_failures
         C: AUTH PLAIN AHVzZXIAcGFzcw==",
    );
}

#[test]
fn the_host_may_end_the_session_instead() {
    check_after_ehlo(
        &always(),
        "C: AUTH PLAIN AGdvbmUAYQ==
         E: login PLAIN gone a
         S: 421 4.7.0 Go away
         E: close refused",
    );
}

#[test]
fn lines_of_auth_may_be_long_but_not_endless() {
    let name = "QUFB".repeat(2_500);
    for (start, line, reply) in [
        ("AUTH PLAIN\r\n", name.clone(), "S: 501 5.5.2 PLAIN is: identity, NUL, name, NUL, password"),
        ("AUTH PLAIN\r\n", name.repeat(2), "S: 500 5.5.6 The line is too long"),
        ("", format!("AUTH PLAIN {name}"), "S: 501 5.5.2 PLAIN is: identity, NUL, name, NUL, password"),
        ("", format!("AUTH PLAIN {}", name.repeat(2)), "S: 500 5.5.6 The line is too long"),
        ("", format!("MAIL FROM:<{name}"), "S: 500 5.5.2 The line is too long"),
    ] {
        for chunk in [1, 1_000, 100_000] {
            let mut host = Host::new(&always());
            host.send(b"EHLO me\r\n");
            host.send(start.as_bytes());
            for piece in format!("{line}\r\nNOOP\r\n").as_bytes().chunks(chunk) {
                host.send(piece);
            }
            assert_eq!(host.log[host.log.len() - 2..], [reply, "S: 250 2.0.0 OK, still here"], "{chunk}");
        }
    }
}

#[test]
fn a_password_is_in_no_debug_text() {
    let mut session = Session::new(Arc::new(always()), base());
    let mut input = BytesMut::from(&b"EHLO me\r\nAUTH PLAIN AHVzZXIAaHVudGVyMg==\r\n"[..]);
    session.handle_input(base(), &mut input);
    let text = format!("{session:?}");
    assert!(text.contains("user") && !text.contains("hunter2"), "{text}");
    assert!(!text.contains("AHVz"), "{text}");
}
