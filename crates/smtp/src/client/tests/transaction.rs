//! Transactions, one and many.

use sluice_mail::{Address, BodyFlags};

use super::super::{ClientConfig, TlsMode, Transaction};
use super::script::{check, check_with, to};

/// A peer that pipelines, up to ready.
const PIPELINING: &str = "
    S: 220 a
    C: EHLO us.example
    S: 250-a
    S: 250 PIPELINING
    E: ready";

/// A peer that does not.
const PLAIN: &str = "
    S: 220 a
    C: EHLO us.example
    S: 250 a
    E: ready";

fn pipelined(transactions: &[Transaction], script: &str) {
    check(transactions, &format!("{PIPELINING}\n{script}"));
}

fn plain(transactions: &[Transaction], script: &str) {
    check(transactions, &format!("{PLAIN}\n{script}"));
}

#[test]
fn all_commands_go_at_once() {
    pipelined(
        &[to(&["x@y.org", "z@y.org"])],
        "
        C: MAIL FROM:<a@b.org>
        C: RCPT TO:<x@y.org>
        C: RCPT TO:<z@y.org>
        C: DATA
        S: 250 2.1.0 ok
        S: 250 2.1.5 ok
        S: 250 2.1.5 ok
        S: 354 go
        C: <content 0>
        S: 250 2.0.0 kept
        E: done 0: ok 250 2.0.0 kept | ok 250 2.0.0 kept
        X: quit
        C: QUIT",
    );
}

#[test]
fn one_command_after_the_other_without_pipelining() {
    let script = "
        C: MAIL FROM:<a@b.org>
        S: 250 ok
        C: RCPT TO:<x@y.org>
        S: 251 will forward
        C: RCPT TO:<z@y.org>
        S: 250 ok
        C: DATA
        S: 354 go
        C: <content 0>
        S: 250 kept
        C: MAIL FROM:<a@b.org>
        E: done 0: ok 250 kept | ok 250 kept
        S: 250 ok
        C: RCPT TO:<v@y.org>";
    let transactions = [to(&["x@y.org", "z@y.org"]), to(&["v@y.org"])];
    plain(&transactions, script);
    let config = ClientConfig { pipelining: false, tls: TlsMode::Off, ..ClientConfig::new("us.example") };
    check_with(config, &transactions, &format!("{PIPELINING}\n{script}"));
}

#[test]
fn the_next_commands_follow_the_dot() {
    pipelined(
        &[to(&["x@y.org"]), to(&["z@y.org"]), to(&["v@y.org"])],
        "
        C: MAIL FROM:<a@b.org>
        C: RCPT TO:<x@y.org>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 354 go
        C: <content 0>
        C: MAIL FROM:<a@b.org>
        C: RCPT TO:<z@y.org>
        C: DATA
        S: 250 kept 0
        S: 250 ok
        S: 250 ok
        S: 354 go
        E: done 0: ok 250 kept 0
        C: <content 1>
        C: MAIL FROM:<a@b.org>
        C: RCPT TO:<v@y.org>
        C: DATA
        S: 550 5.6.0 not kept 1
        S: 250 ok
        S: 250 ok
        S: 354 go
        E: done 1: 550 5.6.0 not kept 1 (at dot)
        C: <content 2>
        S: 250 kept 2
        E: done 2: ok 250 kept 2",
    );
}

#[test]
fn content_waits_for_its_release() {
    check(
        &[to(&["v@y.org"]), to(&["x@y.org"]), to(&["z@y.org"])],
        "
        X: hold
        S: 220 a
        C: EHLO us.example
        S: 250-a
        S: 250 PIPELINING
        E: ready
        C: MAIL FROM:<a@b.org>
        C: RCPT TO:<v@y.org>
        C: DATA
        S: 550 no
        S: 550 no
        S: 550 no
        E: done 0: 550 no (at mail)
        C: MAIL FROM:<a@b.org>
        C: RCPT TO:<x@y.org>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 354 go
        X: release 0
        C: <content 1>
        C: MAIL FROM:<a@b.org>
        C: RCPT TO:<z@y.org>
        C: DATA
        S: 250 kept
        S: 250 ok
        S: 250 ok
        S: 354 go
        E: done 1: ok 250 kept
        X: no timeout
        X: release 0
        X: release 1
        X: no timeout
        X: release 2
        C: <content 2>
        X: timeout in 600
        S: 250 kept
        E: done 2: ok 250 kept",
    );
}

#[test]
fn each_recipient_has_its_own_answer() {
    pipelined(&[to(&["u@y.org", "v@y.org", "w@y.org", "x@y.org"])], "
        C: MAIL FROM:<a@b.org>
        C: RCPT TO:<u@y.org>
        C: RCPT TO:<v@y.org>
        C: RCPT TO:<w@y.org>
        C: RCPT TO:<x@y.org>
        C: DATA
        S: 250 ok
        S: 550 5.1.1 no such user
        S: 250 ok
        S: 452 4.5.3 too many recipients
        S: 552 too many recipients
        S: 354 go
        C: <content 0>
        S: 250 2.0.0 kept
        E: done 0: 550 5.1.1 no such user (at rcpt) | ok 250 2.0.0 kept | 452 4.5.3 too many recipients (at rcpt) | 552 too many recipients (at rcpt)");
    plain(
        &[to(&["u@y.org", "v@y.org"])],
        "
        C: MAIL FROM:<a@b.org>
        S: 250 ok
        C: RCPT TO:<u@y.org>
        S: 250 ok
        C: RCPT TO:<v@y.org>
        S: 450-4.2.1 greylisted,
        S: 450 4.2.1 come back
        C: DATA
        S: 354 go
        C: <content 0>
        S: 451 4.3.0 full
        E: done 0: 451 4.3.0 full (at dot) | 450 4.2.1 greylisted, / come back (at rcpt)",
    );
}

#[test]
fn a_refused_sender_leaves_nothing_behind() {
    pipelined(
        &[to(&["x@y.org"]), to(&["z@y.org"])],
        "
        C: MAIL FROM:<a@b.org>
        C: RCPT TO:<x@y.org>
        C: DATA
        S: 550 5.7.1 not you
        S: 503 what
        S: 503 what
        E: done 0: 550 5.7.1 not you (at mail)
        C: MAIL FROM:<a@b.org>
        C: RCPT TO:<z@y.org>
        C: DATA",
    );
    plain(
        &[to(&["x@y.org"]), to(&["z@y.org"])],
        "
        C: MAIL FROM:<a@b.org>
        S: 451 later
        E: done 0: 451 later (at mail)
        C: MAIL FROM:<a@b.org>",
    );
}

#[test]
fn refused_recipients_are_followed_by_rset() {
    pipelined(
        &[to(&["x@y.org", "y@y.org"]), to(&["z@y.org"])],
        "
        C: MAIL FROM:<a@b.org>
        C: RCPT TO:<x@y.org>
        C: RCPT TO:<y@y.org>
        C: DATA
        S: 250 ok
        S: 550 no x
        S: 450 no y
        S: 554 no valid recipients
        E: done 0: 550 no x (at rcpt) | 450 no y (at rcpt)
        C: RSET
        C: MAIL FROM:<a@b.org>
        C: RCPT TO:<z@y.org>
        C: DATA
        X: timeout in 300
        S: 250 reset
        S: 250 ok
        S: 250 ok
        S: 354 go
        C: <content 1>
        S: 250 kept
        E: done 1: ok 250 kept",
    );
    plain(
        &[to(&["x@y.org"]), to(&["z@y.org"])],
        "
        C: MAIL FROM:<a@b.org>
        S: 250 ok
        C: RCPT TO:<x@y.org>
        S: 550 no x
        E: done 0: 550 no x (at rcpt)
        C: RSET
        S: 250 reset
        C: MAIL FROM:<a@b.org>
        S: 250 ok
        C: RCPT TO:<z@y.org>
        S: 250 ok
        C: DATA
        S: 454 not now
        E: done 1: 454 not now (at data)
        X: quit
        C: QUIT",
    );
    pipelined(
        &[to(&["x@y.org"]), to(&["z@y.org"])],
        "
        C: MAIL FROM:<a@b.org>
        C: RCPT TO:<x@y.org>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 451 4.3.0 no room
        E: done 0: 451 4.3.0 no room (at data)
        C: RSET
        C: MAIL FROM:<a@b.org>
        C: RCPT TO:<z@y.org>
        C: DATA
        S: 502 5.5.1 no RSET here
        E: done 1: not SMTP: the peer answers RSET with 502 5.5.1 no RSET here (at rset) (unanswered)
        E: closed: not SMTP: the peer answers RSET with 502 5.5.1 no RSET here (at rset)",
    );
}

#[test]
fn a_354_without_recipients_gets_a_lone_dot() {
    for (answer, mail, failure) in [
        ("250 kept nothing", "250 ok", "550 no (at rcpt)"),
        ("554 no valid recipients", "250 ok", "550 no (at rcpt)"),
        ("250 odd", "550 no sender", "550 no sender (at mail)"),
    ] {
        pipelined(
            &[to(&["x@y.org"]), to(&["z@y.org"])],
            &format!(
                "
            C: MAIL FROM:<a@b.org>
            C: RCPT TO:<x@y.org>
            C: DATA
            S: {mail}
            S: 550 no
            S: 354 go
            C: .
            X: timeout in 600
            S: {answer}
            E: done 0: {failure}
            C: MAIL FROM:<a@b.org>
            C: RCPT TO:<z@y.org>
            C: DATA"
            ),
        );
    }
}

#[test]
fn out_of_order_answers_end_the_connection() {
    for (replies, words) in [
        ("S: 354 go", "the peer answers MAIL with 354 go (at mail)"),
        ("S: 250 ok\n S: 354 go", "the peer answers RCPT with 354 go (at rcpt)"),
        ("S: 250 ok\n S: 250 ok\n S: 250 ok", "the peer answers DATA with 250 ok (at data)"),
        ("S: what", "the peer said \"what\" (at mail)"),
        ("S: 250 ok\n S: 250-\n S: what", "the peer said \"what\" (at rcpt)"),
        (
            "S: 250 ok\n S: 250 ok\n S: 354 go\n C: <content 0>\n S: 354 go",
            "the peer answers the final dot with 354 go (at dot)",
        ),
        ("S: 250 ok\n S: 250 ok\n S: 354 go\n C: <content 0>\n S: 25 ok", "the peer said \"25 ok\" (at dot)"),
    ] {
        let note = if replies == "S: what" { " (unanswered)" } else { "" };
        let commands = "C: MAIL FROM:<a@b.org>\n C: RCPT TO:<x@y.org>\n C: DATA";
        let end = format!("E: done 0: not SMTP: {words}{note}\n E: closed: not SMTP: {words}");
        pipelined(&[to(&["x@y.org"])], &format!("{commands}\n {replies}\n {end}"));
    }
}

#[test]
fn consent_before_the_dot_is_none() {
    let begin = "
        X: stall
        S: 220 a
        C: EHLO us.example
        S: 250-a
        S: 250 PIPELINING
        E: ready
        C: MAIL FROM:<a@b.org>
        C: RCPT TO:<x@y.org>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 354 go
        C: <content 0>";
    for (reply, failure) in [
        ("S: 250 kept", "not SMTP: the peer answers content that is not ended with 250 kept (at body)"),
        ("S: 552 5.3.4 too big", "552 5.3.4 too big (at body)"),
        ("S: 421 4.3.2 going down", "421 4.3.2 going down (at body)"),
        ("X: close", "the peer closed the connection (at body)"),
        ("X: wait 179\n X: progress\n X: wait 179\n X: timeout in 1\n X: wait 1", "no answer in time (at body)"),
    ] {
        check(&[to(&["x@y.org"])], &format!("{begin}\n {reply}\n E: done 0: {failure}\n E: closed: {failure}"));
    }
    // While the gate is closed, too.
    check(
        &[to(&["y@y.org"]), to(&["z@y.org"]), to(&["x@y.org"])],
        "
        S: 220 a
        C: EHLO us.example
        S: 500 a
        C: HELO us.example
        S: 250 a
        E: ready
        C: MAIL FROM:<a@b.org>
        X: hold
        S: 550 0
        E: done 0: 550 0 (at mail)
        C: MAIL FROM:<a@b.org>
        S: 550 1
        E: done 1: 550 1 (at mail)
        C: MAIL FROM:<a@b.org>
        S: 250 ok
        C: RCPT TO:<x@y.org>
        S: 250 ok
        C: DATA
        S: 354 go
        S: 250 kept
        E: done 2: not SMTP: the peer answers content that is not ended with 250 kept (at body)
        E: closed: not SMTP: the peer answers content that is not ended with 250 kept (at body)",
    );
}

#[test]
fn goodbye_and_loss_at_every_stage() {
    let commands = "
        C: MAIL FROM:<a@b.org>
        C: RCPT TO:<x@y.org>
        C: RCPT TO:<y@y.org>
        C: DATA";
    for (before, stage, refused, answered) in [
        ("", "mail", false, false),
        ("S: 250 ok", "rcpt", false, true),
        ("S: 250 ok\n S: 550 no", "rcpt", true, true),
        ("S: 250 ok\n S: 550 no\n S: 250 ok", "data", true, true),
        ("S: 250 ok\n S: 550 no\n S: 250 ok\n S: 354 go\n C: <content 0>", "dot", true, true),
    ] {
        for (end, words) in [
            ("S: 421 4.3.2 bye", "421 4.3.2 bye"),
            ("X: close", "the peer closed the connection"),
            ("X: io broken pipe", "broken pipe"),
            ("X: wait 600", "no answer in time"),
        ] {
            let failure = format!("{words} (at {stage})");
            let first = if refused { "550 no (at rcpt)" } else { &failure };
            let note = if answered { "" } else { " (unanswered)" };
            pipelined(
                &[to(&["x@y.org", "y@y.org"])],
                &format!(
                    "{commands}
                {before}
                {end}
                E: done 0: {first} | {failure}{note}
                E: closed: {failure}"
                ),
            );
        }
    }
}

#[test]
fn the_transaction_behind_is_not_blamed() {
    let begin = "
        C: MAIL FROM:<a@b.org>
        C: RCPT TO:<x@y.org>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 354 go
        C: <content 0>
        C: MAIL FROM:<a@b.org>
        C: RCPT TO:<z@y.org>
        C: DATA";
    for (end, first, second) in [
        ("X: close", "the peer closed the connection (at dot)", "the peer closed the connection (at mail)"),
        ("X: io reset", "reset (at dot)", "reset (at mail)"),
        ("X: wait 600", "no answer in time (at dot)", "no answer in time (at mail)"),
        ("S: 421 4.7.0 bye", "421 4.7.0 bye (at dot)", "421 4.7.0 bye (at mail)"),
        ("S: what", "not SMTP: the peer said \"what\" (at dot)", "the peer closed the connection (at mail)"),
    ] {
        pipelined(
            &[to(&["x@y.org"]), to(&["z@y.org"])],
            &format!(
                "{begin}
            {end}
            E: done 0: {first}
            E: done 1: {second} (unanswered)
            E: closed: {first}"
            ),
        );
    }
    let gone = "the peer closed the connection (at mail)";
    for (end, failure, note) in [
        ("S: 421 4.7.0 bye\n E: done 0: ok 250 kept", "421 4.7.0 bye (at mail)", " (unanswered)"),
        ("E: done 0: ok 250 kept\n S: 421 4.7.0 bye", "421 4.7.0 bye (at mail)", " (unanswered)"),
        ("E: done 0: ok 250 kept\n X: close", gone, " (unanswered)"),
        ("S: 250 ok\n S: 250 ok\n E: done 0: ok 250 kept\n X: close", &gone.replace("mail", "data"), ""),
    ] {
        let script = format!("{begin}\n S: 250 kept\n {end}\n E: done 1: {failure}{note}\n E: closed: {failure}");
        pipelined(&[to(&["x@y.org"]), to(&["z@y.org"])], &script);
    }
}

#[test]
fn odd_forms_of_replies() {
    check(
        &[to(&["x@y.org"])],
        "
        S! 220\\n
        C: EHLO us.example
        S! 250-\\n250-pipelining\\n250 \\n
        C: MAIL FROM:<a@b.org>
        C: RCPT TO:<x@y.org>
        C: DATA
        E: ready
        S! 250\\r\\n250 \\n299-a\\n299\\n354\\n
        E: done 0: not SMTP: the peer answers DATA with 299 a /  (at data)
        E: closed: not SMTP: the peer answers DATA with 299 a /  (at data)",
    );
    check(
        &[to(&["x@y.org"])],
        "
        S! 220\\n
        C: EHLO us.example
        S! 250-\\n250-pipelining\\n250 \\n
        C: MAIL FROM:<a@b.org>
        C: RCPT TO:<x@y.org>
        C: DATA
        E: ready
        S! 250\\r\\n250 \\n354\\n
        C: <content 0>
        S! 250-\\r\\n250\\n
        E: done 0: ok 250  / ",
    );
}

#[test]
fn what_the_peer_lacks_is_not_sent() {
    let smtputf8 = Transaction { flags: BodyFlags { smtputf8: true, ..BodyFlags::default() }, ..to(&["x@y.org"]) };
    let utf8_address = to(&["\u{fc}@y.org"]);
    let require_tls =
        Transaction { flags: BodyFlags { require_tls: true, ..BodyFlags::default() }, ..to(&["x@y.org"]) };
    let big = Transaction { size: 1001, ..to(&["x@y.org", "y@y.org"]) };
    let lacks = "the peer does not offer SMTPUTF8, which this message needs (at mail) (unanswered)";
    check(&[smtputf8, utf8_address, big, require_tls, to(&["z@y.org"])], &format!("
        S: 220 a
        C: EHLO us.example
        S: 250-a
        S: 250-SIZE 1000
        S: 250 REQUIRETLS
        E: ready
        E: done 0: 5.6.7 {lacks}
        E: done 1: 5.6.7 {lacks}
        E: done 2: 5.3.4 the message has 1001 octets and the peer takes 1000 at most (at mail) | 5.3.4 the message has 1001 octets and the peer takes 1000 at most (at mail) (unanswered)
        E: done 3: 5.7.30 the peer does not offer REQUIRETLS, which this message needs (at mail) (unanswered)
        C: MAIL FROM:<a@b.org> SIZE=1000"));
}

#[test]
fn parameters_follow_what_is_offered() {
    let eight_bit = BodyFlags { eight_bit: true, ..BodyFlags::default() };
    let utf8 = BodyFlags { smtputf8: true, ..BodyFlags::default() };
    for (offers, flags, parameters) in [
        ("SIZE", BodyFlags::default(), " SIZE=1000"),
        ("SIZE 0", eight_bit, " SIZE=1000"),
        ("8BITMIME", BodyFlags::default(), ""),
        ("8BITMIME", eight_bit, " BODY=8BITMIME"),
        // Without 8BITMIME the octets go as they are.
        ("HELP", eight_bit, ""),
        ("SMTPUTF8", utf8, " SMTPUTF8"),
        ("SMTPUTF8\n S: 250-8BITMIME\n S: 250-SIZE 5000", utf8, " SIZE=1000 BODY=8BITMIME SMTPUTF8"),
    ] {
        check(
            &[Transaction { flags, mail_from: None, ..to(&["x@y.org"]) }],
            &format!(
                "
            S: 220 a
            C: EHLO us.example
            S: 250-a
            S: 250-{offers}
            S: 250 HELP
            E: ready
            C: MAIL FROM:<>{parameters}"
            ),
        );
    }
    let address = Transaction { mail_from: Some(Address::parse("\u{fc}@b.org").unwrap()), ..to(&["x@y.org"]) };
    check(
        &[address],
        "
        S: 220 a
        C: EHLO us.example
        S: 250-a
        S: 250 SMTPUTF8
        E: ready
        C: MAIL FROM:<\u{fc}@b.org> SMTPUTF8",
    );
}

#[test]
fn eight_bits_go_as_they_are_unless_that_is_not_wanted() {
    let eight_bit = |flags| Transaction { flags, ..to(&["x@y.org"]) };
    let mail = [eight_bit(BodyFlags { eight_bit: true, ..BodyFlags::default() }), to(&["y@y.org"])];
    let strict = || ClientConfig { bounce_8bit: true, tls: TlsMode::Off, ..ClientConfig::new("us.example") };
    check(&mail, &format!("{PLAIN}\n C: MAIL FROM:<a@b.org>\n S: 250 ok\n C: RCPT TO:<x@y.org>"));
    check_with(
        strict(),
        &mail,
        &format!(
            "{PLAIN}
            E: done 0: 5.6.3 the peer does not offer 8BITMIME, which this message needs (at mail) (unanswered)
            C: MAIL FROM:<a@b.org>
            S: 250 ok
            C: RCPT TO:<y@y.org>"
        ),
    );
    check_with(
        strict(),
        &mail,
        "
        S: 220 a
        C: EHLO us.example
        S: 250-a
        S: 250 8BITMIME
        E: ready
        C: MAIL FROM:<a@b.org> BODY=8BITMIME",
    );
}

#[test]
fn replies_in_the_wrong_place_while_content_waits() {
    let begin = "
        C: MAIL FROM:<a@b.org>
        C: RCPT TO:<x@y.org>
        C: DATA
        S: 250 ok
        S: 250 ok";
    for (script, failure) in [
        ("S: 354 go\n S: 421 4.3.2 bye", "421 4.3.2 bye (at body)"),
        ("S: 354 go\n X: close", "the peer closed the connection (at body)"),
        ("S: 354 go\n S: 354 go", "not SMTP: the peer answers content that is not ended with 354 go (at body)"),
        ("S: 150 wait", "not SMTP: the peer said \"150 wait\" (at data)"),
        ("S: 354-go\n S: 250 on", "not SMTP: the peer answers DATA with 250 go / on (at data)"),
        ("S: 421 4.3.2 bye", "421 4.3.2 bye (at data)"),
    ] {
        let script =
            format!("X: hold\n {PIPELINING}\n {begin}\n {script}\n E: done 2: {failure}\n E: closed: {failure}");
        // The first two are released before the gate closes; they have no recipients, so nothing is sent for them.
        let ready = "E: ready\n E: done 0:  (unanswered)\n E: done 1:  (unanswered)";
        check(&[to(&[]), to(&[]), to(&["x@y.org"])], &script.replacen("E: ready", ready, 1));
    }
}

#[test]
fn a_last_line_decides_what_a_reply_means() {
    pipelined(
        &[to(&["x@y.org", "y@y.org"])],
        "
        C: MAIL FROM:<a@b.org>
        C: RCPT TO:<x@y.org>
        C: RCPT TO:<y@y.org>
        C: DATA
        S: 250 ok
        S: 250-fine
        S: 550 5.1.1 no
        S: 550-no
        S: 250 yes
        S: 354 go
        C: <content 0>
        S: 250-kept
        S: 452 4.3.1 or not
        E: done 0: 550 5.1.1 fine / no (at rcpt) | 452 4.3.1 kept / or not (at dot)",
    );
}

#[test]
fn a_transaction_for_nobody_ends_at_once() {
    pipelined(
        &[to(&[]), to(&["x@y.org"])],
        "
        E: done 0:  (unanswered)
        C: MAIL FROM:<a@b.org>
        C: RCPT TO:<x@y.org>
        C: DATA",
    );
}

#[test]
fn each_answer_has_its_own_time() {
    pipelined(
        &[to(&["x@y.org"]), to(&["z@y.org"])],
        "
        C: MAIL FROM:<a@b.org>
        C: RCPT TO:<x@y.org>
        C: DATA
        X: timeout in 300
        X: wait 100
        S: 250 ok
        X: timeout in 300
        X: wait 299
        S: 250 ok
        X: timeout in 120
        X: wait 119
        S! 35
        X: timeout in 1
        S! 4\\n
        C: <content 0>
        C: MAIL FROM:<a@b.org>
        C: RCPT TO:<z@y.org>
        C: DATA
        X: timeout in 600
        S: 250 kept
        E: done 0: ok 250 kept
        X: timeout in 300
        S: 250 ok
        S: 250 ok
        X: timeout in 120
        X: wait 120
        E: done 1: no answer in time (at data)
        E: closed: no answer in time (at data)",
    );
}

#[test]
fn quit_waits_for_what_was_begun() {
    pipelined(
        &[to(&["x@y.org"])],
        "
        C: MAIL FROM:<a@b.org>
        C: RCPT TO:<x@y.org>
        C: DATA
        X: quit
        X: cannot begin
        S: 250 ok
        S: 250 ok
        S: 354 go
        C: <content 0>
        S: 250 kept
        E: done 0: ok 250 kept
        C: QUIT
        S: 221 bye
        E: closed",
    );
}
