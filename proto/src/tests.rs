//! Records say the same after a trip through their bytes.

use std::time::Duration;

use prost::Message;
use sluice_mail::{
    Address, AttemptInfo, BodyFlags, EnhancedCode, Envelope, Fate, FateKind, Host, Lane, Outcome, QueueId, Recipient,
    RecipientResult, Reply, UnixMs,
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
        ..envelope()
    };
    for envelope in [full, bare] {
        let bytes = record::Envelope::from(&envelope).encode_to_vec();
        let back = Envelope::try_from(record::Envelope::decode(&*bytes).unwrap()).unwrap();
        assert_eq!(back, envelope);
    }
}

#[test]
fn a_fate_survives_its_bytes() {
    let results =
        outcomes().map(|outcome| RecipientResult { address: Address::parse("a@b.example").unwrap(), outcome });
    for kind in [FateKind::Delivered, FateKind::Bounced, FateKind::Expired, FateKind::Cancelled] {
        let fate = Fate {
            queue_id: QueueId::new(UnixMs(1), 2, 3),
            kind,
            results: results.to_vec(),
            account: "shop".into(),
            campaign: None,
            tag: Some("t".into()),
            domain: Host::parse("b.example").unwrap(),
            attempts: 2,
            accepted: UnixMs(3),
            at: UnixMs(4),
            attempt: AttemptInfo {
                site: Some("s".into()),
                mx: Some("mx.b.example".into()),
                peer: Some("192.0.2.1:25".parse().unwrap()),
                source: None,
                tls: Some("TLSv1.3".into()),
                duration: Duration::from_micros(1234),
            },
        };
        let bytes = record::Fate::from(&fate).encode_to_vec();
        assert_eq!(Fate::try_from(record::Fate::decode(&*bytes).unwrap()).unwrap(), fate);
    }
}

#[test]
fn a_record_that_lacks_what_it_must_have_names_the_field() {
    let mut record = record::Envelope::from(&envelope());
    record.domain = "not a domain".into();
    assert_eq!(Envelope::try_from(record.clone()).unwrap_err().field, "domain");
    record.queue_id = vec![1, 2];
    assert_eq!(Envelope::try_from(record).unwrap_err().field, "queue_id");
}
