//! Greeting, EHLO, TLS, the end.

use sluice_mail::BodyFlags;

use super::super::{ClientConfig, Event, Session, TlsMode, Transaction};
use super::script::{check, check_with, to};

fn tls(mode: TlsMode) -> ClientConfig {
    ClientConfig { tls: mode, ..ClientConfig::new("us.example") }
}

#[test]
fn greets_and_quits() {
    check(
        &[],
        "
        X: timeout in 300
        S: 220-a
        S: 220 b
        C: EHLO us.example
        X: timeout in 300
        S: 250-b
        S: 250 PIPELINING
        E: ready
        X: no timeout
        X: quit
        X: timeout in 10
        X: cannot begin
        C: QUIT
        S: 221 2.0.0 bye
        E: closed
        X: no timeout
        X: cannot begin
        X: close
        X: quit
        S: 250 still here",
    );
}

#[test]
fn a_quit_needs_no_answer() {
    for end in ["X: close", "X: io reset", "X: wait 10", "S: 500 what", "S: 421 bye", "S: what"] {
        check(
            &[],
            &format!(
                "
            S: 220 a
            C: EHLO us.example
            S: 250 a
            E: ready
            X: quit
            C: QUIT
            {end}
            E: closed"
            ),
        );
    }
}

#[test]
fn quit_before_ready_waits_for_it() {
    check(
        &[],
        "
        X: quit
        S: 220 a
        C: EHLO us.example
        S: 250 a
        C: QUIT
        E: ready
        X: close
        E: closed",
    );
}

#[test]
fn helo_where_ehlo_is_refused() {
    check(
        &[to(&["x@y.org"])],
        "
        S: 220 a
        C: EHLO us.example
        S: 502 5.5.1 no such thing
        C: HELO us.example
        X: timeout in 300
        S: 250 a
        E: ready
        C: MAIL FROM:<a@b.org>
        S: 250 ok
        C: RCPT TO:<x@y.org>",
    );
}

#[test]
fn refusals_before_ready() {
    for (script, failure) in [
        ("S: 554 5.7.1 go away\n C: QUIT", "554 5.7.1 go away (at greeting)"),
        ("S: 450 later\n C: QUIT", "450 later (at greeting)"),
        ("S: 421 4.3.2 busy", "421 4.3.2 busy (at greeting)"),
        ("S: 354 odd", "not SMTP: the peer greets with 354 odd (at greeting)"),
        ("S: SSH-2.0-OpenSSH", "not SMTP: the peer said \"SSH-2.0-OpenSSH\" (at greeting)"),
        ("S! \\0\\n", "not SMTP: the peer said \" \" (at greeting)"),
        ("X: close", "the peer closed the connection (at greeting)"),
        ("X: io reset by peer", "reset by peer (at greeting)"),
        ("X: wait 300", "no answer in time (at greeting)"),
        ("S! 220 \n X: close", "the peer closed the connection (at greeting)"),
    ] {
        check(&[to(&["x@y.org"])], &format!("{script}\n E: done 0: {failure} (unanswered)\n E: closed: {failure}"));
        check(&[], &format!("{script}\n E: closed: {failure}"));
    }
}

#[test]
fn refusals_of_ehlo_and_helo() {
    for (script, failure) in [
        ("S: 450 later\n C: QUIT", "450 later (at ehlo)"),
        ("S: 421 4.3.2 busy", "421 4.3.2 busy (at ehlo)"),
        ("S: 354 odd", "not SMTP: the peer answers EHLO with 354 odd (at ehlo)"),
        ("X: close", "the peer closed the connection (at ehlo)"),
        ("X: wait 299\n X: timeout in 1\n X: wait 1", "no answer in time (at ehlo)"),
        ("S: 500 what\n C: HELO us.example\n S: 550 5.7.1 no\n C: QUIT", "550 5.7.1 no (at ehlo)"),
        ("S: 500 what\n C: HELO us.example\n S: 421 no", "421 no (at ehlo)"),
        ("S: 500 what\n C: HELO us.example\n S: 300 no", "not SMTP: the peer answers HELO with 300 no (at ehlo)"),
        ("S: 500 what\n C: HELO us.example\n X: close", "the peer closed the connection (at ehlo)"),
    ] {
        check(
            &[to(&["x@y.org"])],
            &format!(
                "
            S: 220 a
            C: EHLO us.example
            {script}
            E: done 0: {failure} (unanswered)
            E: closed: {failure}"
            ),
        );
    }
}

#[test]
fn starts_tls_and_forgets_what_was_said_before() {
    for mode in [TlsMode::Opportunistic, TlsMode::Required] {
        check_with(
            tls(mode),
            &[to(&["x@y.org"])],
            "
            S: 220 a
            C: EHLO us.example
            S: 250-a
            S: 250-PIPELINING
            S: 250 STARTTLS
            C: STARTTLS
            X: timeout in 120
            S: 220 go
            E: starttls
            X: timeout in 120
            X: tls ok
            X: timeout in 300
            C: EHLO us.example
            S: 250-a
            S: 250-STARTTLS
            S: 250 SIZE
            E: ready
            C: MAIL FROM:<a@b.org> SIZE=1000",
        );
    }
}

#[test]
fn tls_that_cannot_be() {
    let begin = "
        S: 220 a
        C: EHLO us.example
        S: 250-a
        S: 250 STARTTLS
        C: STARTTLS";
    for (script, failure) in [
        ("S: 220 go\n E: starttls\n X: tls bad certificate", "TLS: bad certificate (at starttls)"),
        ("S: 220 go\n E: starttls\n X: close", "the peer closed the connection (at starttls)"),
        ("S: 220 go\n E: starttls\n X: wait 120", "no answer in time (at starttls)"),
        ("S: 421 no", "421 no (at starttls)"),
        ("S: 354 odd", "not SMTP: the peer answers STARTTLS with 354 odd (at starttls)"),
        ("X: close", "the peer closed the connection (at starttls)"),
    ] {
        for mode in [TlsMode::Opportunistic, TlsMode::Required] {
            let end = format!("E: done 0: {failure} (unanswered)\n E: closed: {failure}");
            check_with(tls(mode), &[to(&["x@y.org"])], &format!("{begin}\n {script}\n {end}"));
        }
    }
    check_with(tls(TlsMode::Opportunistic), &[], &format!("{begin}\n S: 454 not now\n E: ready"));
    for (script, failure) in [
        (format!("{begin}\n S: 454 4.7.0 not now"), "TLS: the peer refuses STARTTLS: 454 4.7.0 not now (at starttls)"),
        ("S: 220 a\n C: EHLO us.example\n S: 250 a".into(), "TLS: the peer does not offer STARTTLS (at starttls)"),
        (
            "S: 220 a\n C: EHLO us.example\n S: 500 a\n C: HELO us.example\n S: 250 a".into(),
            "TLS: the peer does not offer STARTTLS (at starttls)",
        ),
    ] {
        check_with(tls(TlsMode::Required), &[], &format!("{script}\n C: QUIT\n E: closed: {failure}"));
    }
}

#[test]
fn nothing_in_the_clear_passes_the_handshake() {
    // In one piece with the 220, or after it: neither may be read as a reply under TLS.
    check_with(
        tls(TlsMode::Opportunistic),
        &[],
        "
        S: 220 a
        C: EHLO us.example
        S: 250-a
        S: 250 STARTTLS
        C: STARTTLS
        S: 220 go
        S: 250 injected
        E: starttls
        E: closed: not SMTP: the peer sent more before the TLS handshake (at starttls)
        X: tls ok",
    );
}

#[test]
fn an_idle_connection_may_end() {
    let ready = "
        S: 220 a
        C: EHLO us.example
        S: 250 a
        E: ready";
    check(&[], &format!("{ready}\n X: close\n E: closed"));
    check(&[], &format!("{ready}\n X: io reset\n E: closed"));
    check(&[], &format!("{ready}\n S: 421 4.4.2 idle too long\n E: closed"));
    check(
        &[],
        &format!("{ready}\n S: 250 surprise\n E: closed: not SMTP: unasked, the peer says 250 surprise (at rset)"),
    );
}

#[test]
fn a_peer_that_is_ourselves_gets_nothing() {
    let config = || ClientConfig {
        tls: TlsMode::Off,
        own_names: ["mx.us.example".into(), "us.example".into()].into(),
        ..ClientConfig::new("us.example")
    };
    let words = "mail loops back to this host: the peer calls itself";
    for (script, failure) in [
        ("S: 220 us.example ESMTP", format!("5.4.6 {words} us.example (at greeting)")),
        ("S: 220-MX.us.EXAMPLE. hi\n S: 220 x", format!("5.4.6 {words} MX.us.EXAMPLE (at greeting)")),
        ("S: 220 a\n C: EHLO us.example\n S: 250 us.example", format!("5.4.6 {words} us.example (at ehlo)")),
        (
            "S: 220\n C: EHLO us.example\n S: 250-us.example hello\n S: 250 STARTTLS",
            format!("5.4.6 {words} us.example (at ehlo)"),
        ),
        (
            "S: 220 a\n C: EHLO us.example\n S: 500 what\n C: HELO us.example\n S: 250 us.example",
            format!("5.4.6 {words} us.example (at ehlo)"),
        ),
    ] {
        let end = format!("C: QUIT\n E: done 0: {failure} (unanswered)\n E: closed: {failure}");
        check_with(config(), &[to(&["x@y.org"])], &format!("{script}\n {end}"));
    }
    // Ours is only a part of these, or not where the name stands.
    for (greeting, ehlo) in
        [("not-us.example", "a us.example"), ("us.example.org us.example", "[us.example]"), ("", "")]
    {
        let script = format!("S: 220 {greeting}\n C: EHLO us.example\n S: 250 {ehlo}\n E: ready");
        check_with(config(), &[], &script);
    }
}

#[test]
fn implicit_tls_asks_for_no_other() {
    check_with(
        tls(TlsMode::Implicit),
        &[Transaction { flags: BodyFlags { require_tls: true, ..BodyFlags::default() }, ..to(&["x@y.org"]) }],
        "
        S: 220 a
        C: EHLO us.example
        S: 250-a
        S: 250-STARTTLS
        S: 250 REQUIRETLS
        E: ready
        C: MAIL FROM:<a@b.org> REQUIRETLS",
    );
}

#[test]
fn a_handshake_that_the_peer_rejects_afterwards_has_failed() {
    let begin = "
        S: 220 a
        C: EHLO us.example
        S: 250-a
        S: 250 STARTTLS
        C: STARTTLS
        S: 220 go
        E: starttls
        X: tls ok
        C: EHLO us.example";
    for (end, failure) in [
        ("X: close", "the peer closed the connection (at starttls)"),
        ("X: io received fatal alert", "received fatal alert (at starttls)"),
        ("X: wait 300", "no answer in time (at starttls)"),
        // A word under TLS shows that TLS works.
        ("S: 450 later\n C: QUIT", "450 later (at ehlo)"),
        ("S: 421 later", "421 later (at ehlo)"),
    ] {
        check_with(tls(TlsMode::Opportunistic), &[], &format!("{begin}\n {end}\n E: closed: {failure}"));
    }
}

/// Not in every piece: it is long.
#[test]
#[expect(clippy::disallowed_methods, reason = "an instant cannot be made without the clock")]
fn a_reply_without_end_ends_the_connection() {
    let now = std::time::Instant::now();
    let line = format!("220-{}\r\n", "x".repeat(994));
    for (lines, is_over) in [(60, false), (70, true)] {
        let mut session = Session::new(ClientConfig::new("us.example"), now);
        for _ in 0..lines {
            session.handle_input(now, line.as_bytes());
        }
        session.handle_input(now, b"220 at last\r\n");
        let events: Vec<_> = std::iter::from_fn(|| session.poll_event()).collect();
        assert_eq!(matches!(events[..], [Event::Closed(Some(_))]), is_over, "{events:?}");
        assert_eq!(session.poll_output().is_some(), !is_over);
    }
}

#[test]
fn a_peer_that_speaks_before_it_is_asked_is_understood_when_its_words_fit() {
    check(
        &[to(&["x@y.org"])],
        "
        S: 220 a
        C: EHLO us.example
        S: 250-a
        S: 250 PIPELINING
        S: 250 ok
        S: 250 ok
        S: 354 go
        C: MAIL FROM:<a@b.org>
        C: RCPT TO:<x@y.org>
        C: DATA
        E: ready
        C: <content 0>",
    );
}
