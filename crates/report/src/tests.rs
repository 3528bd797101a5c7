use std::collections::HashMap;
use std::time::Duration;

use mail_parser::{Message, MessageParser, MimeHeaders, PartType};
use proptest::prelude::*;
use sluice_mail::{Address, EnhancedCode, Lane, Outcome, Recipient, Reply, Trouble};

use super::*;

const ACCEPTED: UnixMs = UnixMs(1_795_464_000_000);
const MESSAGE: &str = "Message-ID: <1@shop.example>\r\nFrom: Ann <ann@shop.example>\r\nTo: bob@example.org\r\n\
                       Subject: Your order\r\n\r\nThank you.\r\n";

fn at(minutes: u64) -> UnixMs {
    ACCEPTED.plus(Duration::from_secs(60 * minutes))
}

fn envelope(mail_from: &str, recipients: Vec<Recipient>) -> Envelope {
    let domain = recipients[0].address.host().clone();
    Envelope {
        queue_id: QueueId::new(ACCEPTED, 7, 0),
        generation: 0,
        account: "shop".into(),
        campaign: None,
        tag: None,
        lane: Lane::Transactional,
        mail_from: Some(Address::parse(mail_from).unwrap()),
        recipients,
        ret: None,
        envid: None,
        domain,
        pool: None,
        accepted: ACCEPTED,
        expires: at(6 * 1440),
        not_before: UnixMs(0),
        flags: BodyFlags::default(),
        size: 0,
        body_crc: 0,
        attempts: 1,
        last_reply: None,
        delay_notices: 0,
        report_on: None,
    }
}

fn troubled(address: &str, reply: Reply, peer: Option<&str>) -> Recipient {
    let trouble = Trouble { reply, is_peers: peer.is_some(), mta: peer.map(Into::into), at: at(1) };
    Recipient { trouble: Some(trouble), ..Recipient::new(Address::parse(address).unwrap()) }
}

fn bounced(address: &str, status: EnhancedCode, reply: Reply, peer: Option<&str>) -> Recipient {
    let outcome = Some(Outcome::Bounced { status, reply: reply.clone() });
    Recipient { outcome, decided_in: 1, ..troubled(address, reply, peer) }
}

fn unknown(address: &str) -> Recipient {
    let reply =
        Reply::new(550, EnhancedCode(5, 1, 1), format!("<{address}>: Recipient address rejected: User unknown"));
    bounced(address, EnhancedCode(5, 1, 1), reply, Some("mx.example.org"))
}

/// A report on all recipients of `envelope`.
fn report(kind: Kind, envelope: &Envelope, original: Original<'_>) -> Report {
    let recipients: Vec<usize> = (0..envelope.recipients.len()).collect();
    write(&Notice {
        kind,
        id: envelope.queue_id.report(1, 0),
        hostname: "mail.shop.example",
        envelope,
        recipients: &recipients,
        at: at(1),
        original,
    })
}

fn failed(envelope: &Envelope, original: Original<'_>) -> Report {
    report(Kind::Failed, envelope, original)
}

fn parse(report: &Report) -> Message<'_> {
    MessageParser::default().parse(&report.body[..]).unwrap()
}

/// What every report must be, whatever it is made of.
fn check_form(report: &Report) {
    let body = &report.body[..];
    assert!(body.ends_with(b"\r\n"));
    for line in body.split(|octet| *octet == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or_else(|| {
            assert!(line.is_empty(), "a line without CR: {:?}", String::from_utf8_lossy(line));
            line
        });
        assert!(line.len() <= 998, "{}", line.len());
        assert!(!line.contains(&b'\r') && !line.contains(&0));
    }
    assert_eq!(report.flags.eight_bit, !body.is_ascii());
    let message = parse(report);
    let top = header_section(body);
    assert!(top.is_ascii() || report.flags.smtputf8);
    let names: Vec<&str> = message.headers().iter().map(|header| header.name()).collect();
    let expect = ["Date", "From", "To", "Subject", "Message-ID"].iter();
    assert_eq!(names[..5], expect.copied().collect::<Vec<_>>());
    let tail = ["Auto-Submitted", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"];
    assert_eq!(names[names.len() - 4..], tail);
    assert!(names.len() == 9 || names[5..7] == ["In-Reply-To", "References"], "{names:?}");
    let report_type = message.content_type().unwrap();
    assert_eq!((report_type.ctype(), report_type.subtype()), ("multipart", Some("report")));
    let PartType::Multipart(parts) = &message.parts[0].body else { panic!("no multipart") };
    assert!(matches!(parts.len(), 2 | 3), "{parts:?}");
}

/// The status part: its per-message fields, then those of each recipient.
fn status_of(report: &Report) -> Vec<HashMap<String, String>> {
    let message = parse(report);
    let part = message.parts.iter().find(|part| {
        part.content_type().and_then(|t| t.subtype()).is_some_and(|subtype| subtype.ends_with("delivery-status"))
    });
    let part = part.expect("a status part");
    let text = String::from_utf8(part.contents().to_vec()).unwrap();
    let text = text.replace("\r\n ", " ");
    let groups = text.trim().split("\r\n\r\n").map(|group| {
        let fields: Vec<_> = group.split("\r\n").map(|line| line.split_once(": ").expect(line)).collect();
        let map: HashMap<_, _> = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(map.len(), fields.len(), "{group}");
        map
    });
    groups.collect()
}

fn text_of(report: &Report) -> String {
    parse(report).body_text(0).unwrap().replace("\r\n", "\n")
}

/// The whole report, octet for octet but for its line ends.
fn golden(name: &str, report: &Report) {
    check_form(report);
    let path = format!("{}/tests/data/{name}.eml", env!("CARGO_MANIFEST_DIR"));
    let got = String::from_utf8(report.body.to_vec()).unwrap().replace("\r\n", "\n");
    let expect = std::fs::read_to_string(&path).unwrap_or_default();
    if got != expect {
        let new = std::env::temp_dir().join(format!("{name}.eml"));
        std::fs::write(&new, &got).unwrap();
        panic!("{path} is not what is written now; that is in {}:\n{got}", new.display());
    }
}

#[test]
fn a_failure() {
    let mut envelope = envelope("ann@shop.example", vec![unknown("bob@example.org")]);
    envelope.envid = Some("order+2B4711".into());
    envelope.recipients[0].orcpt = Some("rfc822;bob+2Bnews@example.org".into());
    golden("failure", &failed(&envelope, Original::Headers(header_section(MESSAGE.as_bytes()))));
}

#[test]
fn several_recipients_and_the_whole_message() {
    let full = Reply { code: 552, enhanced: None, text: "Mailbox full\ncome back\nlater".into() };
    let envelope = envelope(
        "ann@shop.example",
        vec![
            unknown("bob@example.org"),
            bounced("carl@example.org", EnhancedCode(5, 2, 2), full.clone(), Some("[192.0.2.7]")),
            bounced("dora@example.org", EnhancedCode(5, 2, 2), full, Some("[192.0.2.7]")),
        ],
    );
    golden("several", &failed(&envelope, Original::Whole(MESSAGE.as_bytes())));
}

#[test]
fn an_expiry() {
    let own = Reply::new(450, EnhancedCode(4, 4, 1), "no answer in time (at connect)");
    let mut recipient = troubled("bob@example.org", own, None);
    let reply = Reply::new(554, EnhancedCode(5, 4, 7), "given up after 4 days");
    recipient.outcome = Some(Outcome::Bounced { status: EnhancedCode(5, 4, 7), reply });
    let envelope = envelope("ann@shop.example", vec![recipient]);
    let report = write(&Notice {
        kind: Kind::Failed,
        id: envelope.queue_id.report(93, 0),
        hostname: "mail.shop.example",
        envelope: &envelope,
        recipients: &[0],
        at: at(6500),
        original: Original::Missing("it could not be read back"),
    });
    golden("expiry", &report);
}

#[test]
fn trouble_in_our_own_words_names_the_host_and_is_not_taken_for_its_reply() {
    let own = Reply::new(451, EnhancedCode(4, 4, 1), "Connection refused (at connect)");
    let mut recipient = bounced("bob@example.org", EnhancedCode(5, 4, 7), own, None);
    recipient.trouble.as_mut().unwrap().mta = Some("mx.example.org".into());
    let envelope = envelope("ann@shop.example", vec![recipient]);
    let report = failed(&envelope, Original::Missing("it could not be read back"));
    let text = text_of(&report);
    assert!(text.contains("It could not be handed to the mail server mx.example.org:"), "{text}");
    assert!(text.contains("Connection refused") && !text.contains("answered"), "{text}");
    assert_eq!(status_of(&report)[1].get("Remote-MTA"), None);
}

#[test]
fn a_delay() {
    let reply = Reply::new(451, EnhancedCode(4, 7, 1), "Greylisted, come back in five minutes");
    let envelope = envelope("ann@shop.example", vec![troubled("bob@example.org", reply, Some("mx.example.org"))]);
    let kind = Kind::Delayed { until: at(6480) };
    golden("delay", &report(kind, &envelope, Original::Headers(header_section(MESSAGE.as_bytes()))));
}

#[test]
fn an_international_sender_gets_bare_utf8() {
    let mut envelope = envelope("ännchen@bücher.example", vec![unknown("jürgen@example.org")]);
    envelope.flags = BodyFlags { smtputf8: true, eight_bit: true, require_tls: false };
    envelope.recipients[0].orcpt = Some(r"utf-8;j\x{FC}rgen@example.org".into());
    let original = "Message-ID: <1@shop.example>\r\nFrom: ännchen@bücher.example\r\nSubject: Bücher\r\n\r\nHallo\r\n";
    let report = failed(&envelope, Original::Whole(original.as_bytes()));
    assert!(report.flags.smtputf8 && report.flags.eight_bit);
    golden("international", &report);
}

#[test]
fn an_ascii_sender_gets_a_report_that_needs_no_smtputf8() {
    let mut envelope = envelope("ann@shop.example", vec![unknown("jürgen@example.org")]);
    envelope.flags.smtputf8 = true;
    let report = failed(&envelope, Original::Headers("Subject: Bücher\r\n".as_bytes()));
    check_form(&report);
    assert!(!report.flags.smtputf8 && report.flags.eight_bit);
    let status = status_of(&report);
    assert_eq!(status[1]["Final-Recipient"], r"utf-8; j\x{FC}rgen@example.org");
    assert!(status[1]["Diagnostic-Code"].contains("<j?rgen@example.org>"), "{status:?}");
    assert!(text_of(&report).contains("<jürgen@example.org>"));
    let message = parse(&report);
    assert_eq!(message.parts.last().unwrap().content_type().unwrap().subtype(), Some("global-headers"));
}

#[test]
fn the_fields_for_programs() {
    let mut envelope = envelope("ann@shop.example", vec![unknown("a@example.org"), unknown("b@example.org")]);
    envelope.envid = Some("X-1".into());
    let report = failed(&envelope, Original::Missing("it is gone"));
    check_form(&report);
    let status = status_of(&report);
    assert_eq!(status.len(), 3);
    assert_eq!(status[0]["Reporting-MTA"], "dns; mail.shop.example");
    assert_eq!(status[0]["Original-Envelope-Id"], "X-1");
    assert_eq!(status[0]["X-Sluice-Queue-ID"], envelope.queue_id.to_string());
    assert_eq!(status[0]["Arrival-Date"], "Mon, 23 Nov 2026 20:00:00 +0000");
    for (group, address) in status[1..].iter().zip(["a@example.org", "b@example.org"]) {
        let diagnostic = format!("smtp; 550 5.1.1 <{address}>: Recipient address rejected: User unknown");
        for (name, value) in [
            ("Final-Recipient", format!("rfc822; {address}").as_str()),
            ("Action", "failed"),
            ("Status", "5.1.1"),
            ("Remote-MTA", "dns; mx.example.org"),
            ("Diagnostic-Code", &diagnostic),
            ("Last-Attempt-Date", "Mon, 23 Nov 2026 20:01:00 +0000"),
        ] {
            assert_eq!(group[name], value);
        }
        assert_eq!(group.len(), 6, "{group:?}");
    }
    let message = parse(&report);
    assert_eq!(message.message_id(), Some(format!("{}@mail.shop.example", envelope.queue_id.report(1, 0)).as_str()));
    assert_eq!(message.parts.len(), 3);
}

#[test]
fn what_cannot_be_enclosed_comes_back_as_headers() {
    let mut envelope = envelope("ann@shop.example", vec![unknown("a@example.org")]);
    let long = format!("Subject: x\r\n\r\n{}\r\n", "a".repeat(999));
    for body in
        [long.as_str(), "Subject: x\r\n\r\nbare\nline\r\n", "Subject: x\r\n\r\na\rb\r\n", "Subject: x\r\n\r\n\0\r\n"]
    {
        let report = failed(&envelope, Original::Whole(body.as_bytes()));
        check_form(&report);
        assert!(text_of(&report).contains("Only the headers of your message are enclosed"), "{}", text_of(&report));
        let message = parse(&report);
        let last = message.parts.last().unwrap();
        assert_eq!(last.content_type().unwrap().subtype(), Some("rfc822-headers"));
        assert_eq!(last.text_contents().map(str::trim), Some("Subject: x"));
    }
    envelope.flags.require_tls = true;
    let report = failed(&envelope, Original::Whole(MESSAGE.as_bytes()));
    assert!(!String::from_utf8_lossy(&report.body).contains("Thank you"));
    assert!(!report.flags.require_tls);
}

#[test]
fn a_message_with_the_boundary_in_it_is_enclosed_whole() {
    let envelope = envelope("ann@shop.example", vec![unknown("a@example.org")]);
    let id = envelope.queue_id.report(1, 0);
    let body = format!("Subject: x\r\n\r\n--=_{id}_0--\r\n--=_{id}_1\r\n\r\nTo: evil@example.org\r\n");
    let report = failed(&envelope, Original::Whole(body.as_bytes()));
    check_form(&report);
    let message = parse(&report);
    assert_eq!(message.content_type().unwrap().attribute("boundary"), Some(format!("=_{id}_2").as_str()));
    let PartType::Message(inner) = &message.parts.last().unwrap().body else { panic!("{message:?}") };
    assert_eq!(inner.raw_message(), body.as_bytes());
}

#[test]
fn eight_bit_headers_come_back_as_they_were() {
    let envelope = envelope("ann@shop.example", vec![unknown("a@example.org")]);
    let report = failed(&envelope, Original::Headers(b"Subject: B\xfccher\r\n"));
    check_form(&report);
    assert!(report.flags.eight_bit && !report.flags.smtputf8);
    assert!(report.body.windows(17).any(|window| window == b"Subject: B\xfccher\r\n"));
}

#[test]
fn the_same_notice_is_the_same_report() {
    let envelope = envelope("ann@shop.example", vec![unknown("a@example.org")]);
    let one = failed(&envelope, Original::Whole(MESSAGE.as_bytes()));
    assert_eq!(one, failed(&envelope, Original::Whole(MESSAGE.as_bytes())));
}

#[test]
fn a_long_reply_is_cut_for_people_and_programs() {
    let reply = Reply { code: 550, enhanced: None, text: format!("{}\n", "lorem ipsum ".repeat(20)).repeat(200) };
    let recipient = bounced("a@example.org", EnhancedCode(5, 0, 0), reply, Some("mx.example.org"));
    let report = failed(&envelope("ann@shop.example", vec![recipient]), Original::Missing("it is gone"));
    check_form(&report);
    assert!(report.body.len() < 10_000, "{}", report.body.len());
    assert!(text_of(&report).contains("        [...]\n"));
    assert!(status_of(&report)[1]["Diagnostic-Code"].ends_with("[...]"));
}

fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\r\n".to_owned()),
        Just("\n".to_owned()),
        Just("\r".to_owned()),
        Just("\r\n\r\n".to_owned()),
        Just("\0".to_owned()),
        Just("\r\nBcc: evil@example.org\r\n".to_owned()),
        Just("\r\n--=_".to_owned()),
        Just("=?utf-8?q?=0D=0A?=".to_owned()),
        Just("\u{202e}\u{2028}\u{85}".to_owned()),
        Just("+0D+0A+C3".to_owned()),
        Just(r"\x{0D}\x{0A}\x{1F600}".to_owned()),
        Just("x".repeat(1200)),
        Just("ü".repeat(700)),
        Just(" \t ".to_owned()),
        "[ -~]{0,20}",
        "\\PC{0,10}",
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever a peer, a client or a message says: the report has its own fields, its own parts and fit lines.
    #[test]
    fn foreign_words_break_no_report(
        words in [hostile(), hostile(), hostile(), hostile(), hostile()],
        headers in proptest::collection::vec(any::<u8>(), 0..300),
        kinds in (any::<bool>(), any::<bool>(), any::<bool>(), 0..4),
    ) {
        let [reply, mta, envid, orcpt, header] = words;
        let (is_failure, is_peers, is_global, content) = kinds;
        let reply = Reply { code: 550, enhanced: None, text: reply };
        let mut recipient = bounced("bob@example.org", EnhancedCode(5, 0, 0), reply, Some(&mta));
        recipient.trouble.as_mut().unwrap().is_peers = is_peers;
        recipient.orcpt = Some(format!("rfc822;{orcpt}").into());
        let from = if is_global { "ännchen@example.org" } else { "ann@example.org" };
        let mut envelope = envelope(from, vec![recipient]);
        envelope.envid = Some(envid.into());
        envelope.flags.smtputf8 = is_global;
        let text = format!("Subject: {header}\r\nMessage-ID: {header}\r\nX: {header}\r\n\r\n{header}\r\n");
        let original = match content {
            0 => Original::Headers(text.as_bytes()),
            1 => Original::Whole(text.as_bytes()),
            2 => Original::Headers(&headers),
            _ => Original::Whole(&headers),
        };
        let kind = if is_failure { Kind::Failed } else { Kind::Delayed { until: at(9) } };
        let report = report(kind, &envelope, original);
        check_form(&report);
        let status = status_of(&report);
        prop_assert_eq!(status.len(), 2, "{:?}", status);
        let known = ["Original-Recipient", "Final-Recipient", "Action", "Status", "Remote-MTA", "Diagnostic-Code",
            "Last-Attempt-Date", "Will-Retry-Until"];
        prop_assert!(status[1].keys().all(|name| known.contains(&name.as_str())), "{:?}", status);
        prop_assert_eq!(status[1]["Final-Recipient"].as_str(), "rfc822; bob@example.org");
    }
}
