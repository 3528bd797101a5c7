//! MAIL and RCPT: paths and parameters.

use super::*;

/// Says `command` in a session that is ready for it; gives the event or the reply.
fn say(config: &SessionConfig, command: &str) -> String {
    let mut host = Host::new(config);
    host.send(b"EHLO me\r\n");
    if command.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case("RCPT")) {
        host.send("MAIL FROM:<a@a.test>\r\n".as_bytes());
    }
    let seen = host.log.len();
    host.send(format!("{command}\r\n").as_bytes());
    host.log[seen].clone()
}

fn extended() -> SessionConfig {
    let mut config = SessionConfig { dsn: true, require_tls: true, auth: AuthPolicy::Always, ..trusted() };
    config.tls = TlsState::Active;
    config
}

#[test]
fn every_form_is_understood() {
    for (command, event) in [
        ("MAIL FROM:<>", "mail <>"),
        ("mail from:<A@a.Test>", "mail <A@a.Test>"),
        ("MAIL FROM: <a@a.test>", "mail <a@a.test>"),
        ("MAIL\tFROM:<a@a.test> \t", "mail <a@a.test>"),
        ("MAIL FROM:<@x.test,@y.test:a@a.test>", "mail <a@a.test>"),
        (r#"MAIL FROM:<"a b>\""@a.test>"#, r#"mail <"a b>\""@a.test>"#),
        ("MAIL FROM:<a@[192.0.2.1]>", "mail <a@[192.0.2.1]>"),
        ("MAIL FROM:<a@[IPv6:::1]>", "mail <a@[IPv6:::1]>"),
        ("MAIL FROM:<a@a.test> SIZE=26214400", "mail <a@a.test> SIZE=26214400"),
        ("MAIL FROM:<a@a.test> size=0", "mail <a@a.test> SIZE=0"),
        ("MAIL FROM:<a@a.test> BODY=7bit", "mail <a@a.test>"),
        ("MAIL FROM:<a@a.test> BODY=8BITMIME  SIZE=1", "mail <a@a.test> SIZE=1 8BITMIME"),
        ("MAIL FROM:<ü@a.test> SMTPUTF8", "mail <ü@a.test> SMTPUTF8"),
        ("MAIL FROM:<a@a.test> AUTH=<>", "mail <a@a.test>"),
        ("MAIL FROM:<a@a.test> AUTH=e+3Dmc2@example.com", "mail <a@a.test>"),
        ("MAIL FROM:<a@a.test> RET=hdrs ENVID=a+2Bb", "mail <a@a.test> RET=HDRS ENVID=a+2Bb"),
        ("MAIL FROM:<a@a.test> REQUIRETLS", "mail <a@a.test> REQUIRETLS"),
        ("RCPT TO:<a@a.test>", "rcpt <a@a.test>"),
        ("rcpt to: <a@a.test>", "rcpt <a@a.test>"),
        ("RCPT TO:<PostMaster>", "rcpt <postmaster@mx.test>"),
        ("RCPT TO:<@x.test:a@a.test>", "rcpt <a@a.test>"),
        ("RCPT TO:<a@a.test> NOTIFY=success,DELAY", "rcpt <a@a.test> NOTIFY=SUCCESS,DELAY"),
        ("RCPT TO:<a@a.test> ORCPT=rfc822;b+2B@a.test", "rcpt <a@a.test> ORCPT=rfc822;b+2B@a.test"),
    ] {
        assert_eq!(say(&extended(), command), format!("E: {event}"), "{command}");
    }
}

#[test]
fn what_is_malformed_gets_501() {
    for (command, reply) in [
        ("MAIL", "501 5.5.4 Say MAIL FROM:<user@example.org>"),
        ("MAIL FROM", "501 5.5.4 Say MAIL FROM:<user@example.org>"),
        ("MAIL TO:<a@a.test>", "501 5.5.4 Say MAIL FROM:<user@example.org>"),
        ("MAIL FROM :<a@a.test>", "501 5.5.4 Say MAIL FROM:<user@example.org>"),
        ("MAIL FROM:", "501 5.1.7 "),
        ("MAIL FROM:a@a.test", "501 5.1.7 Bad sender address: put the address in angle brackets"),
        ("MAIL FROM:<a@a.test", "501 5.1.7 Bad sender address: the closing angle bracket is missing"),
        ("MAIL FROM:<a>", "501 5.1.7 Bad sender address: the address has no domain"),
        ("MAIL FROM:<postmaster>", "501 5.1.7 Bad sender address: the address has no domain"),
        ("MAIL FROM:<a..b@a.test>", "501 5.1.7 "),
        ("MAIL FROM:<a@a_.-test>", "501 5.1.7 "),
        ("MAIL FROM:<a@a.test>SIZE=1", "501 5.5.4 A blank must follow the address"),
        ("MAIL FROM:<a@a.test>> SIZE=1", "501 5.5.4 A blank must follow the address"),
        ("MAIL FROM:<a@a.test> SIZE", "501 5.5.4 Parameter SIZE has no valid value"),
        ("MAIL FROM:<a@a.test> SIZE=", "501 5.5.4 Malformed parameter SIZE="),
        ("MAIL FROM:<a@a.test> SIZE=1k", "501 5.5.4 Parameter SIZE has no valid value"),
        ("MAIL FROM:<a@a.test> SIZE=-1", "501 5.5.4 "),
        ("MAIL FROM:<a@a.test> SIZE=123456789012345678901", "501 5.5.4 "),
        ("MAIL FROM:<a@a.test> SIZE=1 size=2", "501 5.5.4 Parameter size is given twice"),
        ("MAIL FROM:<a@a.test> BODY=7BIT BODY=8BITMIME", "501 5.5.4 Parameter BODY is given twice"),
        ("MAIL FROM:<a@a.test> BODY=9BIT", "501 5.5.4 BODY is 7BIT or 8BITMIME"),
        ("MAIL FROM:<a@a.test> SMTPUTF8=1", "501 5.5.4 "),
        ("MAIL FROM:<a@a.test> =", "501 5.5.4 Malformed parameter ="),
        ("MAIL FROM:<a@a.test> RET=ALL", "501 5.5.4 "),
        ("MAIL FROM:<a@a.test> ENVID=a+2", "501 5.5.4 "),
        ("MAIL FROM:<a@a.test> AUTH=a+2", "501 5.5.4 "),
        ("RCPT", "501 5.5.4 Say RCPT TO:<user@example.org>"),
        ("RCPT TO:<>", "501 5.1.3 Bad recipient address: it is empty"),
        ("RCPT TO:a@a.test", "501 5.1.3 "),
        ("RCPT TO:<a b@a.test>", "501 5.1.3 "),
        ("RCPT TO:<a@[300.0.0.1]>", "501 5.1.3 "),
        ("RCPT TO:<a@a.test> NOTIFY=NEVER,DELAY", "501 5.5.4 "),
        ("RCPT TO:<a@a.test> NOTIFY=NEVER NOTIFY=NEVER", "501 5.5.4 "),
        ("RCPT TO:<a@a.test> ORCPT=x", "501 5.5.4 "),
    ] {
        let said = say(&extended(), command);
        assert!(said.starts_with(&format!("S: {reply}")), "{command}: {said}");
    }
}

#[test]
fn what_is_not_offered_gets_555_and_what_is_too_much_552_or_553() {
    for (command, reply) in [
        ("MAIL FROM:<a@a.test> FOO", "555 5.5.4 Parameter FOO is not offered here"),
        ("MAIL FROM:<a@a.test> X-Foo=bar", "555 5.5.4 Parameter X-Foo is not offered here"),
        ("MAIL FROM:<a@a.test> RET=FULL", "555 5.5.4 Parameter RET is not offered here"),
        ("MAIL FROM:<a@a.test> REQUIRETLS", "555 5.5.4 Parameter REQUIRETLS is not offered here"),
        ("MAIL FROM:<a@a.test> AUTH=<>", "555 5.5.4 Parameter AUTH is not offered here"),
        ("MAIL FROM:<a@a.test> BODY=BINARYMIME", "555 5.5.4 BODY=BINARYMIME is not offered; 7BIT and 8BITMIME are"),
        ("RCPT TO:<a@a.test> NOTIFY=NEVER", "555 5.5.4 Parameter NOTIFY is not offered here"),
        ("RCPT TO:<a@a.test> SIZE=1", "555 5.5.4 Parameter SIZE is not offered here"),
        ("MAIL FROM:<a@a.test> SIZE=26214401", "552 5.3.4 The message is over the limit of 26214400 octets"),
        (
            "MAIL FROM:<a@a.test> SIZE=99999999999999999999",
            "552 5.3.4 The message is over the limit of 26214400 octets",
        ),
        ("MAIL FROM:<ü@a.test>", "553 5.6.7 An address beyond ASCII needs the parameter SMTPUTF8"),
        ("MAIL FROM:<a@ü.test>", "553 5.6.7 An address beyond ASCII needs the parameter SMTPUTF8"),
        ("RCPT TO:<ü@a.test>", "553 5.6.7 An address beyond ASCII needs the parameter SMTPUTF8 in MAIL"),
    ] {
        assert_eq!(say(&trusted(), command), format!("S: {reply}"), "{command}");
    }
    let long = say(&trusted(), &format!("MAIL FROM:<a@a.test> {}", "X".repeat(1_500)));
    assert!(long.len() < 510, "{long}");
    assert!(say(&trusted(), "MAIL FROM:<a@a.test> ü").is_ascii());
}

#[test]
fn utf8_travels_in_the_protocol_name() {
    check(
        &trusted(),
        "C: EHLO bücher.test
         S: 250-mx.test
         S: 250-PIPELINING
         S: 250-SIZE 26214400
         S: 250-8BITMIME
         S: 250-SMTPUTF8
         S: 250 ENHANCEDSTATUSCODES
         C: MAIL FROM:<ü@a.test> SMTPUTF8 BODY=8BITMIME
         E: mail <ü@a.test> 8BITMIME SMTPUTF8
         S: 250 2.1.0 Sender accepted
         C: RCPT TO:<ö@ö.test>
         E: rcpt <ö@ö.test>
         S: 250 2.1.5 Recipient accepted
         C: DATA
         S: 354 Send the message; end it with <CRLF>.<CRLF>
         C: .
         E: message UTF8SMTP to ö@ö.test: 
         S: 250 2.0.0 Message accepted",
    );
}

#[test]
fn a_refused_sender_leaves_the_session_ready_and_its_recipients_uncounted() {
    let mut config = trusted();
    config.limits.max_bad_commands = 1;
    check(
        &config,
        "C: HELO me
         S: 250 mx.test
         C: MAIL FROM:<refused@a.test>
         E: mail <refused@a.test>
         S: 553 5.7.1 Not yours
         C: RCPT TO:<a@a.test>
         S: 503 5.5.1 Say MAIL first
         C: RCPT TO:<b@a.test>
         S: 503 5.5.1 Say MAIL first
         C: DATA
         S: 503 5.5.1 Say MAIL first
         C: MAIL FROM:<a@a.test>
         E: mail <a@a.test>
         S: 250 2.1.0 Sender accepted
         C: RCPT TO:<gone@a.test>
         E: rcpt <gone@a.test>
         S: 421 4.3.2 Go away
         E: close refused
         C: NOOP",
    );
}
