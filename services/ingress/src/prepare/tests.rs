use std::sync::Arc;
use std::time::Duration;

use sluice_mail::{Address, Domain, Envelope, Host, Lane, Reply};
use sluice_registry::{Account, AccountRules, SenderDomain};
use sluice_sign::{Algorithm, Entry, Key, Owner, Validity};
use sluice_smtp::server::{MailCommand, RcptCommand};
use sluice_spool::NewMessage;

use super::*;

const AT: UnixMs = UnixMs(1_795_464_000_000);
const DATE: &str = "Mon, 23 Nov 2026 20:00:00 +0000";
const FROM: &str = "From: a@example.org\r\nDate: x\r\nMessage-ID: <x@y>\r\n";

fn rules() -> AccountRules {
    let domain = SenderDomain { domain: Domain::parse("example.org").unwrap(), exact: false };
    AccountRules { sender_domains: vec![domain], ..AccountRules::default() }
}

/// A message and everything about it that a test may vary.
struct Case {
    rules: AccountRules,
    mail: MailCommand,
    recipients: Vec<String>,
    hello: &'static str,
    long_line: Option<u32>,
    lifetimes: Option<Lifetimes>,
    keys: KeyRing,
}

impl Default for Case {
    fn default() -> Self {
        let from = Address::parse("bounce@example.org").unwrap();
        Self {
            rules: rules(),
            mail: MailCommand { reverse_path: Some(from), ..MailCommand::default() },
            recipients: vec!["b@example.net".into()],
            hello: "client.example.org",
            long_line: None,
            lifetimes: None,
            keys: KeyRing::default(),
        }
    }
}

impl Case {
    fn prepare(self, message: &str) -> Result<NewMessage, Refusal> {
        let body = Bytes::copy_from_slice(message.as_bytes());
        let header_len = message.find("\r\n\r\n").map_or(body.len(), |i| i + 4);
        let content = Content {
            header_8bit: !body[..header_len].is_ascii(),
            body_8bit: !body[header_len..].is_ascii(),
            long_line: self.long_line,
            body,
            header_len,
        };
        let recipient =
            |address: &String| RcptCommand { address: Address::parse(address).unwrap(), notify: None, orcpt: None };
        let submission = Submission {
            mail: self.mail,
            recipients: self.recipients.iter().map(recipient).collect(),
            content,
            hello: self.hello.into(),
            protocol: "ESMTPSA",
        };
        let account = Account { id: "acme".into(), rules: self.rules, credentials: Vec::new(), version: 1 };
        let sender = Sender { account: Arc::new(account), credential: None };
        let lifetimes = self.lifetimes.unwrap_or_else(|| Duration::from_secs(3_600 * 24).into());
        let facts = Facts {
            hostname: "mx.example.org",
            sender: &sender,
            client: Some([192, 0, 2, 7].into()),
            queue_id: QueueId::new(AT, 42, 0),
            at: AT,
            lifetimes: &lifetimes,
            keys: &self.keys,
        };
        let mut prepared = prepare(submission, &facts)?;
        if !prepared.signing().keys.is_empty() {
            prepared.sign().unwrap();
        }
        Ok(prepared.finish(&facts))
    }

    fn body(self, message: &str) -> String {
        String::from_utf8(self.prepare(message).unwrap().body.to_vec()).unwrap()
    }

    fn envelope(self, message: &str) -> Envelope {
        self.prepare(message).unwrap().envelopes.swap_remove(0)
    }

    fn refused(self, message: &str) -> Reply {
        self.prepare(message).unwrap_err().reply
    }
}

fn received() -> String {
    let id = QueueId::new(AT, 42, 0);
    format!("Received: from client.example.org\r\n\tby mx.example.org with ESMTPSA id {id};\r\n\t{DATE}\r\n")
}

#[test]
fn adds_received_and_leaves_everything_else_as_it_came() {
    let message =
        format!("{FROM}Subject:  odd \t\r\n folding\r\nX-Odd :blank before colon\r\n\r\n.\r\n..\r\n \r\n\r\n");
    assert_eq!(Case::default().body(&message), received() + &message);
}

#[test]
fn adds_date_and_message_id_only_where_missing() {
    let id = QueueId::new(AT, 42, 0);
    for (header, added) in [
        ("From: a@example.org\r\n", format!("Message-ID: <{id}@mx.example.org>\r\nDate: {DATE}\r\n")),
        ("From: a@example.org\r\ndate: x\r\n", format!("Message-ID: <{id}@mx.example.org>\r\n")),
        ("From: a@example.org\r\nMESSAGE-ID: <x@y>\r\n", format!("Date: {DATE}\r\n")),
    ] {
        for end in ["\r\nbody\r\n", ""] {
            let message = format!("{header}{end}");
            assert_eq!(Case::default().body(&message), format!("{}{added}{message}", received()));
        }
    }
}

#[test]
fn takes_out_what_is_not_for_the_recipients() {
    let message = format!(
        "Return-Path: <x@y>\r\nBcc: secret@example.net,\r\n\tother@example.net\r\n{FROM}x-sluice-tag: t\r\n\
         X-Virtual-MTA: default\r\nX-JOB: j\r\nX-Other: stays\r\nX-Sluice-Expire: 1h\r\nX-Envid: e\r\nResent-Bcc: z@z.z\r\n\
         \r\nBcc: in the body stays\r\n"
    );
    let expect = format!("{}{FROM}X-Other: stays\r\n\r\nBcc: in the body stays\r\n", received());
    assert_eq!(Case::default().body(&message), expect);
}

#[test]
fn an_accounts_own_time_bounds_what_a_message_asks_for() {
    let day = Duration::from_secs(86_400);
    for (own, field, expected) in [
        (None, "", Some(day)),
        (Some(day / 2), "", Some(day / 2)),
        (Some(day * 3), "", Some(day * 3)),
        (Some(day / 2), "X-Sluice-Expire: 1h\r\n", Some(day / 24)),
        (Some(day * 3), "X-Sluice-Expire: 2d\r\n", Some(day * 2)),
        (Some(day / 2), "X-Sluice-Expire: 13h\r\n", None),
        (None, "X-Sluice-Expire: 2d\r\n", None),
    ] {
        let rules = AccountRules { bounce_after: own, ..rules() };
        let kept = Case { rules, ..Case::default() }.prepare(&format!("{FROM}{field}\r\n"));
        let expires = kept.ok().map(|kept| kept.envelopes[0].expires);
        assert_eq!(expires, expected.map(|after| AT.plus(after)), "{own:?} {field}");
    }
}

#[test]
fn each_envelope_is_tried_for_as_long_as_its_lane_and_domain_say() {
    let hour = Duration::from_secs(3_600);
    let lifetimes = Lifetimes::new(hour * 9, move |lane, domain| match (lane, domain.to_string().as_str()) {
        (_, "slow.example") => hour * 9,
        (Lane::Transactional, _) => hour * 2,
        (Lane::Bulk, _) => hour * 5,
    });
    for (field, hours) in [
        ("", Some([2, 9])),
        ("X-Sluice-Lane: bulk\r\n", Some([5, 9])),
        ("X-Sluice-Expire: 1h\r\n", Some([1, 1])),
        ("X-Sluice-Expire: 8h\r\n", Some([2, 8])),
        ("X-Sluice-Expire: 10h\r\n", None),
    ] {
        let case = Case {
            rules: AccountRules { lanes: vec![Lane::Transactional, Lane::Bulk], ..rules() },
            recipients: vec!["a@example.net".into(), "b@slow.example".into()],
            lifetimes: Some(lifetimes.clone()),
            ..Case::default()
        };
        let kept = case.prepare(&format!("{FROM}{field}\r\n")).ok();
        let expires = kept.map(|kept| kept.envelopes.iter().map(|e| e.expires).collect::<Vec<_>>());
        assert_eq!(expires, hours.map(|hours| hours.map(|n| AT.plus(hour * n)).to_vec()), "{field}");
    }
}

#[test]
fn private_fields_are_known_in_any_case_and_with_blanks_before_the_colon() {
    let tail = "X-Other :stays\t\r\n  as it \r\n\tcame\r\nx-other: \t\r\n\r\nX-Sluice-Tag: in the body stays\r\n";
    let message = format!(
        "x-SLUICE-pOOL\t: second\r\n{FROM}X-sluice-LANE : bulk\r\nX-SLUICE-CAMPAIGN \t :\r\n spring\r\nX-SLUICE-TAG :t\r\n\
         x-sluice-expire\t:1h\r\nX-ENVID :e\r\nBCC : secret@example.net,\r\n\tother@example.net\r\nreturn-PATH\t: <x@y>\r\n{tail}"
    );
    let rules = AccountRules {
        lanes: vec![Lane::Transactional, Lane::Bulk],
        pools: vec!["first".into(), "second".into()],
        ..rules()
    };
    let mut kept = Case { rules, ..Case::default() }.prepare(&message).unwrap();
    assert_eq!(String::from_utf8(kept.body.to_vec()).unwrap(), format!("{}{FROM}{tail}", received()));
    let envelope = kept.envelopes.swap_remove(0);
    assert_eq!((envelope.lane, envelope.pool.as_deref()), (Lane::Bulk, Some("second")));
    assert_eq!((envelope.campaign.as_deref(), envelope.tag.as_deref()), (Some("spring"), Some("t")));
    assert_eq!((envelope.envid.as_deref(), envelope.expires), (Some("e"), AT.plus(Duration::from_secs(3_600))));
}

#[test]
fn the_client_address_shows_only_where_the_account_wants_it() {
    let by = "\r\n\tby mx.example.org";
    for (hello, smtputf8, hidden, shown) in [
        ("client.example.org", false, "client.example.org", "client.example.org ([192.0.2.7])"),
        ("[192.168.1.5]", false, "unknown", "[192.168.1.5] ([192.0.2.7])"),
        ("[IPv6:fe80::1]", false, "unknown", "[IPv6:fe80::1] ([192.0.2.7])"),
        ("192.168.1.5", false, "unknown", "192.168.1.5 ([192.0.2.7])"),
        ("192.168.1.5.", false, "unknown", "192.168.1.5. ([192.0.2.7])"),
        ("192.168.001.005", false, "unknown", "192.168.001.005 ([192.0.2.7])"),
        ("192.168.1.5%eth0", false, "unknown", "192.168.1.5%eth0 ([192.0.2.7])"),
        ("192.168.1.5:25", false, "unknown", "192.168.1.5:25 ([192.0.2.7])"),
        ("fe80::1%eth0", false, "unknown", "fe80::1%eth0 ([192.0.2.7])"),
        ("::1%1", false, "unknown", "::1%1 ([192.0.2.7])"),
        ("client.example.org.", false, "client.example.org.", "client.example.org. ([192.0.2.7])"),
        ("7b3f9c2a1d", false, "7b3f9c2a1d", "7b3f9c2a1d ([192.0.2.7])"),
        ("bücher.example", false, "unknown", "unknown ([192.0.2.7])"),
        ("bücher.example", true, "bücher.example", "bücher.example ([192.0.2.7])"),
    ] {
        for (show, expect) in [(false, hidden), (true, shown)] {
            let rules = AccountRules { show_client_address: show, ..rules() };
            let mail = MailCommand { smtputf8, ..Case::default().mail };
            let body = Case { rules, hello, mail, ..Case::default() }.body(&format!("{FROM}\r\n"));
            assert!(body.starts_with(&format!("Received: from {expect}{by}")), "{hello} {show}: {body}");
        }
    }
}

#[test]
fn every_from_address_must_be_the_accounts() {
    for from in [
        "a@example.org",
        "Ann <a@news.example.org>, \"B, C\" <b@EXAMPLE.org>",
        "Team: a@example.org, b@example.org;",
        "\r\n \"x@evil.example\"\r\n <a@example.org>",
    ] {
        assert!(Case::default().prepare(&format!("From: {from}\r\n\r\n")).is_ok(), "{from}");
    }
    for (from, foreign) in [
        ("x@evil.example", "x@evil.example"),
        ("a@example.org, x@evil.example", "x@evil.example"),
        ("a@example.org <x@evil.example>", "evil.example"),
        ("Team: a@example.org, x@evil.example;", "x@evil.example"),
    ] {
        let reply = Case::default().refused(&format!("From: {from}\r\n\r\n"));
        assert!(reply.is_permanent() && reply.text.contains(foreign), "{from}: {reply}");
    }
    let reply = Case::default().refused("From: x@evil.example\r\n\r\n");
    assert_eq!(reply.to_string(), "553 5.7.1 account acme may not send as <x@evil.example> (From field)");
}

#[test]
fn a_from_that_hides_an_address_is_refused_as_another_s() {
    for (from, hidden) in [
        ("a@example.org (<x@evil.example>)", "a comment"),
        ("(a@example.org) x@evil.example", "a comment"),
        ("\"a\\\" <x@evil.example>\" <a@example.org>", "a quoted string"),
    ] {
        let reply = Case::default().refused(&format!("From: {from}\r\n\r\n"));
        let words = format!(
            "553 5.7.1 account acme may not send as <{from}> (From field with {hidden} that looks like an address)"
        );
        assert_eq!(reply.to_string(), words);
    }
}

#[test]
fn a_from_that_is_missing_or_unreadable_or_twice_is_refused() {
    for (message, words) in [
        ("Subject: x\r\n\r\nFrom: a@example.org\r\n", "no From field"),
        ("\r\nFrom: a@example.org\r\n", "no From field"),
        ("From: a@example.org\r\nFROM: b@example.org\r\n\r\n", "a second From field on line 2"),
        ("From: a@example.org\r\nFrom : x@evil.example\r\n\r\n", "a second From field on line 2"),
        ("From : a@example.org\r\n\r\n", "the From field on line 1 has a blank before its colon"),
        ("To: x@y.z\r\nfrom\t:a@example.org\r\nSender: x@evil.example\r\n\r\n", "From field on line 2 has a blank"),
        ("Sender: a@example.org\r\n\r\n", "no From field"),
        ("", "no From field"),
        ("From:\r\n\r\n", "cannot be read"),
        ("From: undisclosed:;\r\n\r\n", "cannot be read"),
        ("From: <a@example.org> <x@evil.example>\r\n\r\n", "cannot be read"),
        ("no header at all\r\n\r\n", "header line 1 is not a field"),
        (" From: a@example.org\r\n\r\n", "header line 1 continues"),
        ("Subject: x\r\nSubject: y\r\nFrom: a@example.org\r\n\r\n", "a second Subject field on line 2"),
    ] {
        let reply = Case::default().refused(message);
        assert!(reply.to_string().starts_with("554 5.6.0 ") && reply.text.contains(words), "{message:?}: {reply}");
    }
}

#[test]
fn a_header_section_has_one_mebibyte_at_most() {
    const MOST: usize = 1 << 20;
    let with = |octets: usize, end: &str| {
        let line = format!("X-Long: {}\r\n", "x".repeat(900));
        let mut header = FROM.to_owned();
        while octets - header.len() - end.len() > 2 * line.len() {
            header.push_str(&line);
        }
        let left = octets - header.len() - end.len();
        header + &format!("X-Last: {}\r\n{end}", "x".repeat(left - 10))
    };
    let body = "x".repeat(MOST);
    assert!(Case::default().prepare(&(with(MOST, "\r\n") + &body)).is_ok());
    // A message without a blank line is a header section as a whole.
    for message in [with(MOST + 1, "\r\n") + &body, with(MOST + 1, "")] {
        let reply = Case::default().refused(&message);
        assert_eq!(reply.to_string(), "554 5.6.0 the header section has 1048577 octets; there may be 1048576");
    }
}

#[test]
fn replies_are_ascii_whatever_the_message_says() {
    let reply = Case::default().refused("From: ü@bücher.example\r\n\r\n");
    assert_eq!(reply.to_string(), "553 5.7.1 account acme may not send as <?@b?cher.example> (From field)");
}

#[test]
fn fifty_received_fields_are_a_loop() {
    let with = |n: usize| "Received: from a by b; x\r\n".repeat(n) + FROM + "\r\n";
    assert!(Case::default().prepare(&with(49)).is_ok());
    let reply = Case::default().refused(&with(50));
    assert!(reply.to_string().starts_with("554 5.4.6 50 Received fields"), "{reply}");
}

#[test]
fn long_lines_pass_only_where_the_account_wants_them() {
    let case = || Case { long_line: Some(7), ..Case::default() };
    let reply = case().refused(&format!("{FROM}\r\n"));
    assert!(reply.to_string().starts_with("554 5.6.0 line 7 has more than 998 octets"), "{reply}");
    let rules = AccountRules { allow_long_lines: true, ..rules() };
    assert!(Case { rules, ..case() }.prepare(&format!("{FROM}\r\n")).is_ok());
}

#[test]
fn flags_go_by_the_octets() {
    let utf8 = || MailCommand { smtputf8: true, body_8bit: true, ..Case::default().mail };
    for (mail, to, message, eight_bit, smtputf8) in [
        (Case::default().mail, "b@example.net", "\r\nascii", false, false),
        (utf8(), "b@example.net", "\r\nascii", false, false),
        (utf8(), "b@example.net", "\r\nä", true, false),
        (Case::default().mail, "b@example.net", "Subject: ä\r\n\r\n", true, false),
        (utf8(), "b@example.net", "Subject: ä\r\n\r\n", true, true),
        (utf8(), "ü@example.net", "\r\nascii", false, true),
    ] {
        let case = Case { mail, recipients: vec![to.into()], ..Case::default() };
        let flags = case.envelope(&format!("{FROM}{message}")).flags;
        assert_eq!((flags.eight_bit, flags.smtputf8), (eight_bit, smtputf8), "{to} {message:?}");
    }
}

#[test]
fn control_fields_steer_the_envelope() {
    let rules = || AccountRules {
        lanes: vec![Lane::Transactional, Lane::Bulk],
        pools: vec!["first".into(), "second".into()],
        ..rules()
    };
    let envelope = |fields: &str| Case { rules: rules(), ..Case::default() }.envelope(&format!("{fields}{FROM}\r\n"));

    let plain = envelope("");
    assert_eq!((plain.lane, plain.pool.as_deref()), (Lane::Transactional, Some("first")));
    assert_eq!((plain.campaign, plain.tag, plain.envid), (None, None, None));
    assert_eq!(plain.expires, AT.plus(Duration::from_secs(86_400)));

    let ours = envelope(
        "X-Sluice-Pool: second\r\nX-Sluice-Lane: BULK\r\nX-Sluice-Campaign: spring\r\n 2026\r\nX-Sluice-Tag: vip\r\n\
         X-Sluice-Expire: 1h30m\r\nX-Envid: a+b=c d\r\n",
    );
    assert_eq!((ours.lane, ours.pool.as_deref()), (Lane::Bulk, Some("second")));
    assert_eq!((ours.campaign.as_deref(), ours.tag.as_deref()), (Some("spring 2026"), Some("vip")));
    assert_eq!(ours.envid.as_deref(), Some("a+2Bb+3Dc+20d"));
    assert_eq!(ours.expires, AT.plus(Duration::from_secs(5_400)));

    let theirs = envelope("X-Virtual-MTA: second\r\nX-Job: j1\r\n");
    assert_eq!((theirs.pool.as_deref(), theirs.campaign.as_deref()), (Some("second"), Some("j1")));

    let both = envelope("X-Job: j1\r\nX-Sluice-Campaign: c1\r\nX-Sluice-Pool:\r\nX-Virtual-MTA: second\r\n");
    assert_eq!((both.campaign.as_deref(), both.pool.as_deref()), (Some("c1"), Some("second")));
}

#[test]
fn the_mail_commands_envid_counts_before_the_header_field() {
    let mail = MailCommand { envid: Some("from-mail".into()), ..Case::default().mail };
    let envelope = Case { mail, ..Case::default() }.envelope(&format!("X-Envid: from-header\r\n{FROM}\r\n"));
    assert_eq!(envelope.envid.as_deref(), Some("from-mail"));
}

#[test]
fn control_fields_that_make_no_sense_or_are_not_allowed_are_refused() {
    let long = format!("X-Sluice-Tag: {}", "a".repeat(256));
    let long_envid = format!("X-Envid: {}", "=".repeat(34));
    for (field, reply) in [
        ("X-Sluice-Pool: other", "550 5.7.1 account acme may not use pool other"),
        ("X-Virtual-MTA: other", "550 5.7.1 account acme may not use pool other"),
        ("X-Sluice-Lane: bulk", "550 5.7.1 account acme may not use lane bulk"),
        ("X-Sluice-Lane: fast", "550 5.7.1 X-Sluice-Lane: no such lane; expected transactional or bulk"),
        ("X-Sluice-Expire: soon", "554 5.6.0 X-Sluice-Expire: expected a time such as"),
        ("X-Sluice-Expire: 25h", "554 5.6.0 X-Sluice-Expire: expected a time up to 1d,"),
        ("X-Sluice-Expire: 0s", "554 5.6.0 X-Sluice-Expire: expected a time up to 1d,"),
        ("X-Sluice-Tag: a\r\nX-Sluice-Tag: b", "554 5.6.0 X-Sluice-Tag: stands there twice"),
        ("X-Sluice-Tag: a\u{7}b", "554 5.6.0 X-Sluice-Tag: has a control character"),
        (&long, "554 5.6.0 X-Sluice-Tag: is longer than 255 octets"),
        (&long_envid, "554 5.6.0 X-Envid: is longer than 100 octets"),
    ] {
        let got = Case::default().refused(&format!("{field}\r\n{FROM}\r\n")).to_string();
        assert!(got.starts_with(reply), "{field}: {got}");
    }
}

#[test]
fn recipients_are_grouped_by_domain_in_order_and_each_once() {
    let recipients =
        ["a@one.example", "b@two.example", "c@ONE.example", "a@one.example", "A@one.example", "d@[192.0.2.1]"];
    let case = Case { recipients: recipients.map(str::to_owned).to_vec(), ..Case::default() };
    let message = case.prepare(&format!("{FROM}\r\n")).unwrap();
    let groups: Vec<(String, Vec<&str>)> = message
        .envelopes
        .iter()
        .map(|e| (e.domain.to_string(), e.recipients.iter().map(|r| r.address.as_str()).collect()))
        .collect();
    assert_eq!(
        groups,
        [
            ("one.example".into(), vec!["a@one.example", "c@ONE.example", "A@one.example"]),
            ("two.example".into(), vec!["b@two.example"]),
            ("[192.0.2.1]".into(), vec!["d@[192.0.2.1]"]),
        ]
    );
    for (i, envelope) in message.envelopes.iter().enumerate() {
        assert_eq!(envelope.queue_id, QueueId::new(AT, 42, u16::try_from(i).unwrap()));
        assert_eq!((envelope.size as usize, envelope.body_crc), (message.body.len(), crc32c::crc32c(&message.body)));
        assert_eq!((&*envelope.account, envelope.accepted, envelope.attempts), ("acme", AT, 0));
    }
}

#[test]
fn an_envelope_has_a_hundred_recipients_at_most() {
    let recipients = (0..250).map(|i| format!("r{i}@one.example")).chain(["x@two.example".to_owned()]).collect();
    let envelopes = Case { recipients, ..Case::default() }.prepare(&format!("{FROM}\r\n")).unwrap().envelopes;
    let sizes: Vec<_> = envelopes.iter().map(|e| e.recipients.len()).collect();
    assert_eq!(sizes, [100, 100, 50, 1]);
    assert_eq!(envelopes[2].recipients[49].address.as_str(), "r249@one.example");
    assert!(envelopes[..3].iter().all(|e| e.domain == Host::parse("one.example").unwrap()));
}

#[test]
fn the_null_sender_may_send_when_from_may() {
    let mail = || MailCommand::default();
    let envelope = Case { mail: mail(), ..Case::default() }.envelope(&format!("{FROM}\r\n"));
    assert_eq!(envelope.mail_from, None);
    assert!(Case { mail: mail(), ..Case::default() }.prepare("From: x@evil.example\r\n\r\n").is_err());
}

/// A ring with a key of example.org for everybody.
fn ring() -> KeyRing {
    let domain = Domain::parse("example.org").unwrap();
    let new = Key::generate(domain, "s1".parse().unwrap(), Algorithm::Ed25519, 0).unwrap();
    KeyRing::new([Entry { key: Arc::new(new.key), owner: Owner::Everybody, validity: Validity::default() }])
}

#[test]
fn signatures_stand_before_everything_and_the_rest_is_as_without() {
    for body in ["", "\r\nhello\r\n", &format!("\r\n{}", "0123456789\r\n".repeat(10_000))] {
        let message = format!("{FROM}Subject: x\r\n{body}");
        let plain = Case::default().body(&message);
        let signed = Case { keys: ring(), ..Case::default() }.prepare(&message).unwrap();
        let text = std::str::from_utf8(&signed.body).unwrap();
        assert!(text.starts_with("DKIM-Signature: v=1; a=ed25519-sha256; s=s1; d=example.org;"), "{text}");
        assert!(text.ends_with(&plain));
        let [envelope] = &signed.envelopes[..] else { panic!("one envelope") };
        assert_eq!(envelope.size as usize, signed.body.len());
        assert_eq!(envelope.body_crc, crc32c::crc32c(&signed.body));
    }
}

#[test]
fn mail_without_a_key_passes_unless_the_account_must_sign() {
    let message = format!("{FROM}\r\nx\r\n");
    let strict = || AccountRules { require_dkim: true, ..rules() };
    assert!(!Case::default().body(&message).contains("DKIM-Signature"));
    let refused = Case { rules: strict(), ..Case::default() }.refused(&message);
    assert_eq!((refused.code, refused.enhanced), (550, Some(EnhancedCode(5, 7, 20))));
    assert!(refused.text.contains("no DKIM key for the From domain example.org"), "{}", refused.text);
    assert!(Case { rules: strict(), keys: ring(), ..Case::default() }.body(&message).starts_with("DKIM-Signature"));
}

#[test]
fn mail_that_came_signed_stays_as_it_is_and_is_signed_besides_unless_the_account_says_otherwise() {
    let message = "DKIM-Signature: v=1; d=up.example\r\nFrom: a@example.org\r\n\r\nx\r\n";
    let plain = Case { keys: ring(), rules: AccountRules { leave_signed: true, ..rules() }, ..Case::default() };
    assert_eq!(plain.body(message), received() + message, "no Date or Message-ID is added under a signature");
    let besides = Case { keys: ring(), ..Case::default() }.body(message);
    assert!(besides.starts_with("DKIM-Signature: v=1; a=ed25519") && besides.ends_with(&(received() + message)));
}
