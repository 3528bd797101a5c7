use super::*;

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

/// What comes of each kind of trouble at each stage, decided cell by cell. `S`, `F`, `M`, `R`: it waits, and speaks of
/// the site, the sender (from), the message, the recipient. With a status: it is given up.
const TABLE: &str = "
            421 450 450+5.1.1 550     550+5.1.1 550+4.2.2 250 354 timeout closed io tls protocol dns nohost  barred  lacks
  resolve   S   S   S         S       S         S         S   S   S       S      S  S   S        S   5.1.2:R 5.4.4:R S
  connect   S   S   S         S       S         S         S   S   S       S      S  S   S        S   5.1.2:R 5.4.4:R S
  greeting  S   S   S         5.0.0:S 5.1.1:S   5.2.2:S   S   S   S       S      S  S   S        S   5.1.2:R 5.4.4:R S
  ehlo      S   S   S         5.0.0:S 5.1.1:S   5.2.2:S   S   S   S       S      S  S   S        S   5.1.2:R 5.4.4:R S
  starttls  S   S   S         S       S         S         S   S   S       S      S  S   S        S   5.1.2:R 5.4.4:R S
  auth      S   S   S         S       S         S         S   S   S       S      S  S   S        S   5.1.2:R 5.4.4:R S
  mail      S   F   F         5.0.0:F 5.1.1:F   5.2.2:F   S   S   S       S      S  S   S        S   5.1.2:R 5.4.4:R 5.6.7:M
  rcpt      S   R   R         5.0.0:R 5.1.1:R   5.2.2:R   S   S   S       S      S  S   S        S   5.1.2:R 5.4.4:R 5.6.7:M
  data      S   M   M         5.0.0:M 5.1.1:M   5.2.2:M   S   S   S       S      S  S   S        S   5.1.2:R 5.4.4:R 5.6.7:M
  body      S   M   M         5.0.0:M 5.1.1:M   5.2.2:M   S   S   M       M      M  S   S        S   5.1.2:R 5.4.4:R 5.6.7:M
  dot       S   M   M         5.0.0:M 5.1.1:M   5.2.2:M   S   S   M       M      M  S   S        S   5.1.2:R 5.4.4:R 5.6.7:M
  rset      S   S   S         S       S         S         S   S   S       S      S  S   S        S   5.1.2:R 5.4.4:R 5.6.7:M
";

fn cause_of(column: &str) -> Cause {
    match column {
        "timeout" => Cause::Timeout,
        "closed" => Cause::Closed,
        "io" => Cause::Io("connection refused".into()),
        "tls" => Cause::Tls("the certificate has expired".into()),
        "protocol" => Cause::Protocol("HTTP/1.1 400".into()),
        "dns" => Cause::Dns("SERVFAIL".into()),
        "nohost" => Cause::NoSuchHost(EnhancedCode(5, 1, 2), "no such domain".into()),
        "barred" => Cause::Prohibited(EnhancedCode(5, 4, 4), "loopback".into()),
        "lacks" => Cause::Unsupported(EnhancedCode(5, 6, 7), "no SMTPUTF8".into()),
        reply => {
            let (code, enhanced) = reply.split_once('+').unwrap_or((reply, ""));
            said(code.parse().unwrap(), EnhancedCode::parse_prefix(enhanced).map(|(code, _)| code))
        }
    }
}

fn wanted(cell: &str) -> String {
    let blame = |letter| match letter {
        "S" => Blame::Site,
        "F" => Blame::Sender,
        "M" => Blame::Message,
        "R" => Blame::Recipient,
        other => panic!("{other}"),
    };
    match cell.split_once(':') {
        Some((status, letter)) => format!("{status} {:?}", blame(letter)),
        None => format!("wait {:?}", blame(cell)),
    }
}

#[test]
fn each_stage_and_each_kind_of_trouble() {
    let mut rows = TABLE.lines().filter(|line| !line.trim().is_empty()).map(str::split_whitespace);
    let columns: Vec<_> = rows.next().unwrap().collect();
    let mut stages = Vec::new();
    for mut row in rows {
        let stage = Stage::parse(row.next().unwrap()).unwrap();
        let cells: Vec<_> = row.collect();
        assert_eq!(cells.len(), columns.len(), "{stage:?}");
        for (column, cell) in columns.iter().zip(cells) {
            check(stage, cause_of(column), &wanted(cell));
        }
        stages.push(stage);
    }
    assert_eq!(stages, Stage::ALL);
}

#[test]
fn replies_that_mean_something_else_than_their_place_says() {
    let code = |a, b, c| Some(EnhancedCode(a, b, c));
    for stage in Stage::ALL {
        check(stage, said(421, code(4, 7, 0)), "wait Site");
        check(stage, said(421, code(5, 7, 0)), "wait Site");
        for odd in [199, 200, 299, 300, 399, 600, 999] {
            check(stage, said(odd, None), "wait Site");
        }
        for login in [534, 535, 538] {
            check(stage, said(login, code(5, 7, 8)), "wait Site");
        }
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
        (Stage::Dot, 552, code(5, 3, 4), "5.3.4 Message"),
        (Stage::Dot, 452, code(4, 3, 1), "wait Message"),
        (Stage::Rcpt, 452, code(4, 5, 3), "wait Recipient"),
        (Stage::Rcpt, 556, None, "5.0.0 Recipient"),
        (Stage::Rcpt, 503, code(5, 5, 1), "5.5.1 Recipient"),
        (Stage::Greeting, 521, None, "5.0.0 Site"),
        (Stage::Mail, 530, code(5, 7, 0), "5.7.0 Sender"),
        (Stage::Data, 503, code(5, 5, 1), "5.5.1 Message"),
    ] {
        check(stage, said(number, enhanced), want);
    }
}

#[test]
fn a_peer_that_asks_for_encryption_gets_it_another_time() {
    for stage in [Stage::Mail, Stage::Rcpt, Stage::Data] {
        let text = "Must issue a STARTTLS command first".into();
        check(stage, Cause::Reply(Reply { code: 530, enhanced: None, text }), "wait Site");
    }
}

#[test]
fn what_a_message_needs_and_the_peer_lacks() {
    for code in [EnhancedCode(5, 6, 7), EnhancedCode(5, 6, 3), EnhancedCode(5, 7, 30), EnhancedCode(5, 3, 4)] {
        check(Stage::Mail, Cause::Unsupported(code, "words".into()), &format!("{code} Message"));
    }
    check(Stage::Auth, Cause::Unsupported(EnhancedCode(5, 7, 4), "no AUTH".into()), "wait Site");
}

#[test]
fn a_5xx_greeting_waits_when_it_is_told_to() {
    let failure = Failure::new(Stage::Greeting, said(554, None));
    let verdict = judge(&failure, &Context { bounce_upon_5xx_greeting: false });
    assert_eq!(verdict, Verdict::Deferred { blame: Blame::Site });
}

#[test]
fn only_connection_and_handshake_count_against_the_site() {
    for stage in Stage::ALL {
        let counts = matches!(stage, Stage::Connect | Stage::Greeting | Stage::Ehlo | Stage::StartTls | Stage::Auth);
        let loops = Cause::Prohibited(EnhancedCode(5, 4, 6), "mail loops".into());
        assert!(!speaks_of_site(&Failure::new(stage, loops)), "{stage:?}");
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
