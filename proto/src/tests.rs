//! Records say the same after a trip through their bytes.

use std::time::Duration;

use prost::Message;
use sluice_mail::{
    About, Address, Attempt, AttemptInfo, AttemptResult, BodyFlags, EnhancedCode, Envelope, Fate, FateKind, Host, Lane,
    Outcome, QueueId, Recipient, RecipientResult, Reply, Stage, Tried, Trouble, UnixMs,
};

use crate::record;

fn outcomes() -> [Outcome; 2] {
    let bad = EnhancedCode(5, 1, 1);
    [
        Outcome::Delivered { reply: Reply { code: 250, enhanced: None, text: "queued\nas 7".into() } },
        Outcome::Bounced { status: bad, reply: Reply::new(550, bad, "no such user") },
    ]
}

fn envelope() -> Envelope {
    let [delivered, bounced] = outcomes();
    let recipient = |address: &str, outcome| Recipient {
        address: Address::parse(address).unwrap(),
        orcpt: Some("rfc822;x@example.org".into()),
        notify: Some("SUCCESS,FAILURE".into()),
        outcome,
        decided_in: 2,
        trouble: Some(Trouble {
            reply: Reply::new(450, EnhancedCode(4, 2, 1), "busy"),
            is_peers: true,
            mta: Some("mx.example.org".into()),
            at: UnixMs(7),
        }),
    };
    Envelope {
        queue_id: QueueId::new(UnixMs(1_732_393_200_123), 42, 3),
        generation: 2,
        account: "shop".into(),
        campaign: Some("autumn".into()),
        tag: Some("t".into()),
        lane: Lane::Bulk,
        mail_from: Some(Address::parse("\"a b\"@example.net").unwrap()),
        recipients: vec![
            recipient("a@example.org", Some(delivered)),
            recipient("ü@example.org", Some(bounced)),
            recipient("c@example.org", None),
        ],
        ret: Some("HDRS".into()),
        envid: Some("e1".into()),
        domain: Host::parse("example.org").unwrap(),
        pool: Some("p".into()),
        accepted: UnixMs(1),
        expires: UnixMs(2),
        not_before: UnixMs(3),
        flags: BodyFlags { eight_bit: true, smtputf8: true, require_tls: true },
        size: 4,
        body_crc: 5,
        attempts: 6,
        last_reply: Some("451 later".into()),
        delay_notices: 3,
        report_on: Some(QueueId::new(UnixMs(8), 9, 1)),
    }
}

#[test]
fn an_envelope_survives_its_bytes() {
    let full = envelope();
    let bare = Envelope {
        campaign: None,
        tag: None,
        lane: Lane::Transactional,
        mail_from: None,
        recipients: vec![Recipient::new(Address::parse("a@[IPv6:2001:db8::1]").unwrap())],
        ret: None,
        envid: None,
        domain: Host::parse("[IPv6:2001:db8::1]").unwrap(),
        pool: None,
        flags: BodyFlags::default(),
        last_reply: None,
        report_on: None,
        ..envelope()
    };
    for envelope in [full, bare] {
        let bytes = record::Envelope::from(&envelope).encode_to_vec();
        let back = Envelope::try_from(record::Envelope::decode(&*bytes).unwrap()).unwrap();
        assert_eq!(back, envelope);
    }
}

fn info() -> AttemptInfo {
    AttemptInfo {
        site: Some("s".into()),
        mx: Some("mx.b.example".into()),
        peer: Some("192.0.2.1:25".parse().unwrap()),
        source: None,
        tls: Some("TLSv1.3".into()),
        duration: Duration::from_micros(1234),
    }
}

#[test]
fn a_fate_survives_its_bytes() {
    let results = outcomes().map(|outcome| RecipientResult {
        address: Address::parse("a@b.example").unwrap(),
        orcpt: Some("rfc822;a@b.example".into()),
        outcome,
        decided_in: 2,
    });
    for kind in [FateKind::Delivered, FateKind::Bounced, FateKind::Expired, FateKind::Cancelled] {
        let fate = Fate {
            about: About::envelope(&envelope()),
            kind,
            results: results.to_vec(),
            attempts: 2,
            at: UnixMs(4),
            attempt: info(),
            report: Some(QueueId::new(UnixMs(1), 2, 0)),
        };
        let bytes = record::Fate::from(&fate).encode_to_vec();
        assert_eq!(Fate::try_from(record::Fate::decode(&*bytes).unwrap()).unwrap(), fate);
    }
}

#[test]
fn an_attempt_survives_its_bytes() {
    let deferred =
        Tried::Deferred { reply: Reply::new(450, EnhancedCode(4, 2, 1), "busy"), stage: Stage::Rcpt, of_site: false };
    let results = outcomes().map(Tried::Decided).into_iter().chain([deferred]).map(|tried| AttemptResult {
        address: Address::parse("a@b.example").unwrap(),
        orcpt: None,
        tried,
    });
    let attempt = Attempt {
        about: About { mail_from: None, report_on: None, ..About::envelope(&envelope()) },
        number: 3,
        results: results.collect(),
        at: UnixMs(4),
        retry_at: UnixMs(5),
        attempt: info(),
        report: None,
    };
    let bytes = record::Attempt::from(&attempt).encode_to_vec();
    assert_eq!(Attempt::try_from(record::Attempt::decode(&*bytes).unwrap()).unwrap(), attempt);
}

#[test]
fn a_record_that_lacks_what_it_must_have_names_the_field() {
    let mut record = record::Envelope::from(&envelope());
    record.domain = "not a domain".into();
    assert_eq!(Envelope::try_from(record.clone()).unwrap_err().field, "domain");
    record.queue_id = vec![1, 2];
    assert_eq!(Envelope::try_from(record).unwrap_err().field, "queue_id");
}
