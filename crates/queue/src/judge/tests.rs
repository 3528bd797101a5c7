use super::*;

const STAGES: [Stage; 12] = [
    Stage::Resolve,
    Stage::Connect,
    Stage::Greeting,
    Stage::Ehlo,
    Stage::StartTls,
    Stage::Auth,
    Stage::Mail,
    Stage::Rcpt,
    Stage::Data,
    Stage::Body,
    Stage::Dot,
    Stage::Rset,
];

fn said(code: u16, enhanced: Option<EnhancedCode>) -> Cause {
    Cause::Reply(Reply { code, enhanced, text: "words".into() })
}

fn check(stage: Stage, cause: Cause, want: &str) {
    let verdict = match judge(&Failure::new(stage, cause.clone()), &Context::default()) {
        Verdict::Delivered => "delivered".to_owned(),
        Verdict::Deferred { blame } => format!("wait {blame:?}"),
        Verdict::Bounced { status, blame } => format!("{status} {blame:?}"),
    };
    assert_eq!(verdict, want, "{stage:?} {cause:?}");
}

#[test]
fn each_stage_and_class_of_reply() {
    for (stage, on_4xx, on_5xx) in [
        (Stage::Resolve, "wait Site", "wait Site"),
        (Stage::Connect, "wait Site", "wait Site"),
        (Stage::Greeting, "wait Site", "5.0.0 Site"),
        (Stage::Ehlo, "wait Site", "5.0.0 Site"),
        (Stage::StartTls, "wait Site", "wait Site"),
        (Stage::Auth, "wait Site", "wait Site"),
        (Stage::Mail, "wait Sender", "5.0.0 Sender"),
        (Stage::Rcpt, "wait Recipient", "5.0.0 Recipient"),
        (Stage::Data, "wait Message", "5.0.0 Message"),
        (Stage::Body, "wait Message", "5.0.0 Message"),
        (Stage::Dot, "wait Message", "5.0.0 Message"),
        (Stage::Rset, "wait Site", "wait Site"),
    ] {
        check(stage, said(450, None), on_4xx);
        check(stage, said(550, None), on_5xx);
    }
}

#[test]
fn each_stage_and_kind_of_trouble_without_a_reply() {
    for stage in STAGES {
        let loss = if matches!(stage, Stage::Body | Stage::Dot) { "wait Message" } else { "wait Site" };
        check(stage, Cause::Timeout, loss);
        check(stage, Cause::Closed, loss);
        check(stage, Cause::Io("connection refused".into()), loss);
        check(stage, Cause::Tls("bad certificate".into()), "wait Site");
        check(stage, Cause::Protocol("HTTP/1.1 400".into()), "wait Site");
        check(stage, Cause::Dns("SERVFAIL".into()), "wait Site");
        check(stage, Cause::NoSuchHost(EnhancedCode(5, 1, 2), "no such domain".into()), "5.1.2 Recipient");
        check(stage, Cause::Unsupported(EnhancedCode(5, 6, 7), "no SMTPUTF8".into()), "5.6.7 Message");
        check(stage, Cause::Prohibited(EnhancedCode(5, 4, 4), "loopback".into()), "5.4.4 Recipient");
    }
}

#[test]
fn replies_that_mean_something_else_than_their_place_says() {
    let code = |a, b, c| Some(EnhancedCode(a, b, c));
    for stage in STAGES {
        check(stage, said(421, code(4, 7, 0)), "wait Site");
        check(stage, said(250, None), "wait Site");
        check(stage, said(354, None), "wait Site");
    }
    for (stage, number, enhanced, want) in [
        (Stage::Rcpt, 552, None, "wait Recipient"),
        (Stage::Rcpt, 552, code(5, 5, 3), "wait Recipient"),
        (Stage::Rcpt, 552, code(5, 2, 2), "5.2.2 Recipient"),
        (Stage::Rcpt, 550, code(4, 2, 2), "5.2.2 Recipient"),
        (Stage::Rcpt, 450, code(5, 1, 1), "wait Recipient"),
        (Stage::Rcpt, 556, code(5, 1, 10), "5.1.10 Recipient"),
        (Stage::Mail, 552, code(5, 3, 4), "5.3.4 Message"),
        (Stage::Mail, 556, None, "5.0.0 Recipient"),
        (Stage::Mail, 550, code(5, 7, 1), "5.7.1 Sender"),
        (Stage::Dot, 554, code(5, 7, 26), "5.7.26 Message"),
    ] {
        check(stage, said(number, enhanced), want);
    }
}

#[test]
fn a_5xx_greeting_waits_when_it_is_told_to() {
    let failure = Failure::new(Stage::Greeting, said(554, None));
    let verdict = judge(&failure, &Context { bounce_upon_5xx_greeting: false });
    assert_eq!(verdict, Verdict::Deferred { blame: Blame::Site });
}

#[test]
fn only_connection_and_handshake_count_against_the_site() {
    for stage in STAGES {
        let counts = matches!(stage, Stage::Connect | Stage::Greeting | Stage::Ehlo | Stage::StartTls);
        assert_eq!(speaks_of_site(&Failure::new(stage, Cause::Timeout)), counts, "{stage:?}");
        assert!(speaks_of_site(&Failure::new(stage, said(421, None))), "{stage:?}");
    }
}

#[test]
fn our_own_words_carry_a_fitting_status() {
    for (stage, cause, want) in [
        (Stage::Connect, Cause::Timeout, "451 4.4.1 no answer in time (at connect)"),
        (Stage::Dot, Cause::Closed, "451 4.4.2 the peer closed the connection (at dot)"),
        (Stage::Resolve, Cause::Dns("SERVFAIL".into()), "451 4.4.3 SERVFAIL (at resolve)"),
        (Stage::Resolve, Cause::NoSuchHost(EnhancedCode(5, 1, 10), "null MX".into()), "556 5.1.10 null MX"),
        (Stage::Mail, Cause::Unsupported(EnhancedCode(5, 6, 7), "no SMTPUTF8".into()), "554 5.6.7 no SMTPUTF8"),
        (Stage::Rcpt, said(550, None), "550 words"),
    ] {
        assert_eq!(reply_of(&Failure::new(stage, cause)).to_string(), want);
    }
}
