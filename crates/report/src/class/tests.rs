use super::*;

fn reply(code: u16, text: &str) -> Reply {
    let (enhanced, text) = match EnhancedCode::parse_prefix(text) {
        Some((code, rest)) => (Some(code), rest),
        None => (None, text),
    };
    Reply { code, enhanced, text: text.to_owned() }
}

#[test]
fn what_receivers_say() {
    use BounceClass::*;
    for (code, text, class) in [
        (550, "5.1.1 The email account that you tried to reach does not exist.", BadMailbox),
        (550, "No such user here", BadMailbox),
        (550, "5.4.1 Recipient address rejected: Access denied. AS(201806281)", BadMailbox),
        (550, "5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup", BadMailbox),
        (556, "5.1.10 the domain takes no mail", BadDomain),
        (550, "5.1.2 the domain does not exist", BadDomain),
        (550, "5.2.1 The email account that you tried to reach is disabled.", InactiveMailbox),
        (552, "5.2.2 The email account that you tried to reach is over quota", QuotaIssues),
        (452, "4.2.2 Mailbox full", QuotaIssues),
        (421, "4.4.1 no answer in time", NoAnswerFromHost),
        (554, "5.7.1 <a@b.org>: Relay access denied", RelayingIssues),
        (550, "5.4.6 mail loop: the domain's mail host is this server", RoutingErrors),
        (550, "5.4.4 every address of the domain's mail hosts is private", RoutingErrors),
        (421, "4.4.2 Connection dropped", BadConnection),
        (552, "5.3.4 Message size exceeds fixed limit", ContentRelated),
        (550, "5.1.8 <x@y.invalid>: Sender address rejected: Domain not found", InvalidSender),
        (450, "4.4.7 given up after 4 days", MessageExpired),
        (550, "5.7.26 Unauthenticated email is not accepted due to domain's DMARC policy", PolicyRelated),
        (550, "5.7.1 Message rejected due to local policy", PolicyRelated),
        (503, "5.5.1 Bad sequence of commands", ProtocolErrors),
        (502, "Hm", ProtocolErrors),
        (554, "5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org", SpamRelated),
        (550, "5.1.1 <a@b.org> - 192.0.2.1 has sent to too many recipients this hour", PolicyRelated),
        (554, "5.7.0 virus Eicar-Test-Signature found", VirusRelated),
        (550, "nyet", Other),
        (554, "5.0.0 no", Other),
    ] {
        assert_eq!(classify(&reply(code, text), None, None), class, "{text}");
    }
}

#[test]
fn the_stage_helps_when_nothing_else_does() {
    for (stage, class) in [
        (Stage::Connect, BounceClass::NoAnswerFromHost),
        (Stage::Greeting, BounceClass::PolicyRelated),
        (Stage::Mail, BounceClass::InvalidSender),
        (Stage::Rcpt, BounceClass::Other),
    ] {
        assert_eq!(classify(&reply(550, "no"), None, Some(stage)), class, "{stage:?}");
    }
}

/// The published labels of Sisimai's samples, and the classes that say the same.
fn classes_of(label: &str) -> &'static [BounceClass] {
    use BounceClass::*;
    match label {
        "userunknown" | "filtered" => &[BadMailbox],
        "hasmoved" => &[BadMailbox, InactiveMailbox],
        "mailboxfull" | "systemfull" => &[QuotaIssues],
        "hostunknown" => &[BadDomain],
        "notaccept" => &[BadDomain, RoutingErrors],
        "suspend" => &[InactiveMailbox],
        "onhold" => &[InactiveMailbox, Other],
        "expired" => &[MessageExpired, NoAnswerFromHost],
        "rejected" => &[InvalidSender, PolicyRelated],
        "blocked" | "badreputation" => &[SpamRelated, PolicyRelated],
        "spamdetected" => &[SpamRelated],
        "virusdetected" => &[VirusRelated, SpamRelated],
        "networkerror" => &[RoutingErrors, NoAnswerFromHost, BadConnection],
        "failedstarttls" => &[BadConnection],
        "authfailure" | "securityerror" | "policyviolation" | "toomanyconn" | "speeding" => &[PolicyRelated],
        "norelaying" => &[RelayingIssues],
        "mesgtoobig" | "exceedlimit" | "contenterror" | "notcompliantrfc" => &[ContentRelated],
        "syntaxerror" => &[ProtocolErrors],
        "systemerror" | "mailererror" => &[Other],
        other => panic!("{other}"),
    }
}

/// Measured: see the assertion's message. The labels' x.0.9xx statuses are Sisimai's own and not looked at.
#[test]
fn real_replies_are_classed_as_published() {
    let samples = include_str!("../../tests/data/bounce-replies.tsv");
    let (mut right, mut all, mut wrong) = (0, 0, Vec::new());
    for line in samples.lines().filter(|line| !line.starts_with('#')).skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [_, code, status, label, _, _, words] = columns[..] else { panic!("{line}") };
        let status = EnhancedCode::parse_prefix(status).map(|(code, _)| code).filter(|code| code.2 < 900);
        let reply = Reply { code: code.parse().unwrap_or(550), enhanced: status, text: words.to_owned() };
        let class = classify(&reply, None, None);
        all += 1;
        if classes_of(label).contains(&class) {
            right += 1;
        } else {
            wrong.push(format!("{label} -> {}: {status:?} {words:.150}", class.as_str()));
        }
    }
    println!("{right} of {all}\n{}", wrong.join("\n"));
    assert!(all == 106 && right * 100 >= all * 90, "{right} of {all}\n{}", wrong.join("\n"));
}
