use super::*;
use crate::outcome::note;
use sluice_mail::{Address, AttemptInfo, BodyFlags, Cause, EnhancedCode, Failure, Host, Reply, Stage};
use sluice_queue::Context;
use sluice_spool::{Decision, Part};

const NOW: UnixMs = UnixMs(1_800_000_000_000);
const HOUR: Duration = Duration::from_secs(3600);
const BODY: &[u8] = b"From: Shop <shop@acme.example>\r\nSubject: hi\r\n\r\nthe text\r\n";

fn envelope(recipients: usize) -> Envelope {
    let recipient = |i| Recipient::new(Address::parse(&format!("r{i}@example.net")).unwrap());
    Envelope {
        queue_id: QueueId::new(NOW, 7, 0),
        generation: 0,
        account: "acme".into(),
        campaign: Some("spring".into()),
        tag: None,
        lane: Lane::Bulk,
        mail_from: Some(Address::parse("shop@acme.example").unwrap()),
        recipients: (0..recipients).map(recipient).collect(),
        ret: None,
        envid: None,
        domain: Host::parse("example.net").unwrap(),
        pool: None,
        accepted: NOW,
        expires: NOW.plus(100 * HOUR),
        not_before: NOW,
        flags: BodyFlags::default(),
        size: u32::try_from(BODY.len()).unwrap(),
        body_crc: 0,
        attempts: 0,
        last_reply: None,
        delay_notices: 0,
        report_on: None,
    }
}

/// An attempt in which each recipient got a reply of this code.
fn attempt(mut envelope: Envelope, codes: &[u16], wall: UnixMs) -> Conclusion {
    let result = |code: &u16| match Reply::new(*code, EnhancedCode(5, 1, 1), "so it is") {
        reply if *code < 400 => Ok(reply),
        reply => Err(Failure::new(Stage::Rcpt, Cause::Reply(Reply { enhanced: None, ..reply }))),
    };
    let info = AttemptInfo { mx: Some("mx.example.net".into()), ..AttemptInfo::default() };
    let summary = note(&mut envelope, codes.iter().map(result).collect(), &info, wall, &Context::default());
    let retry_in = (summary.deferred > 0).then_some(HOUR);
    Conclusion::of_attempt(envelope, &summary, info, wall, retry_in)
}

/// The envelope that waits after it.
fn remaining(conclusion: Conclusion) -> Envelope {
    let Decision::Wait(mut parts) = conclusion.decision(Vec::new()) else { panic!() };
    let Some(Part::Remaining { envelope, .. }) = parts.pop() else { panic!() };
    *envelope
}

fn report(conclusion: &Conclusion, due: &Due, original: Result<&[u8], &str>) -> Written {
    written(conclusion, due, "mail.acme.example", original, |_| HOUR).unwrap()
}

fn text(written: &Written) -> String {
    String::from_utf8(written.body.to_vec()).unwrap()
}

#[test]
fn a_loss_is_told_once_and_in_one_report_for_those_that_fail_together() {
    for (codes, told) in [
        (&[250, 250][..], None),
        (&[450, 250], None),
        (&[550, 250], Some(vec![0])),
        (&[550, 250, 450, 554], Some(vec![0, 3])),
    ] {
        let conclusion = attempt(envelope(codes.len()), codes, NOW);
        let due = of_loss(&conclusion, Dsn::Headers).map(|due| due.unwrap().recipients);
        assert_eq!(due, told, "{codes:?}");
    }
    let first = attempt(envelope(3), &[550, 450, 450], NOW);
    let first_due = of_loss(&first, Dsn::Headers).unwrap().unwrap();
    let second = attempt(remaining(first), &[250, 450], NOW.plus(HOUR));
    assert_eq!(of_loss(&second, Dsn::Headers), None, "told before");
    let third = attempt(remaining(second), &[550], NOW.plus(HOUR * 2));
    let third_due = of_loss(&third, Dsn::Headers).unwrap().unwrap();
    assert_eq!(third_due.recipients, [2]);
    assert_ne!(first_due.id, third_due.id);
}

#[test]
fn what_is_given_up_later_is_no_repeat_of_what_was_lost_before() {
    let first = attempt(envelope(2), &[550, 450], NOW);
    let first_due = of_loss(&first, Dsn::Headers).unwrap().unwrap();
    let waiting = remaining(first);
    let end = Conclusion::expired(waiting.clone(), NOW.plus(HOUR * 100));
    let end_due = of_loss(&end, Dsn::Headers).unwrap().unwrap();
    assert_eq!(end_due.recipients, [1]);
    assert_ne!(end_due.id, first_due.id);
    let text = text(&report(&end, &end_due, Ok(BODY)));
    assert!(text.contains("r1@example.net") && !text.contains("r0@example.net"), "{text}");
    assert!(text.contains("450 so it is"), "the peer's last word: {text}");
    let Decision::Done(fate) = end.decision(Vec::new()) else { panic!() };
    let news: Vec<_> = fate.news().map(|result| result.address.as_str().to_owned()).collect();
    assert_eq!((news, fate.attempts), (vec!["r1@example.net".to_owned()], 1));
}

#[test]
fn nobody_is_told_who_does_not_want_it() {
    let with = |change: &dyn Fn(&mut Envelope)| {
        let mut envelope = envelope(2);
        change(&mut envelope);
        attempt(envelope, &[550, 550], NOW)
    };
    let notify = |first: &'static str, second: &'static str| {
        with(&move |e| {
            e.recipients[0].notify = Some(first.into());
            e.recipients[1].notify = Some(second.into());
        })
    };
    for (conclusion, dsn, want) in [
        (with(&|_| {}), Dsn::Headers, Ok(vec![0, 1])),
        (with(&|_| {}), Dsn::Off, Err(Silence::Off)),
        (with(&|e| e.ret = Some("FULL".into())), Dsn::Off, Err(Silence::Off)),
        (with(&|e| e.mail_from = None), Dsn::Full, Err(Silence::NullSender)),
        (notify("NEVER", "SUCCESS,DELAY"), Dsn::Headers, Err(Silence::Notify)),
        (notify("NEVER", "success,failure"), Dsn::Headers, Ok(vec![1])),
        (notify("DELAY, FAILURE", "FAILURE"), Dsn::Full, Ok(vec![0, 1])),
    ] {
        assert_eq!(of_loss(&conclusion, dsn).unwrap().map(|due| due.recipients), want, "{conclusion:?}");
    }
}

#[test]
fn the_sender_says_how_much_comes_back_else_the_account() {
    for (ret, dsn, size, whole) in [
        (None, Dsn::Headers, 10, false),
        (None, Dsn::Full, 10, true),
        (Some("HDRS"), Dsn::Full, 10, false),
        (Some("full"), Dsn::Headers, 10, true),
        (None, Dsn::Full, WHOLE_MAX + 1, false),
    ] {
        let conclusion = attempt(Envelope { ret: ret.map(Into::into), size, ..envelope(1) }, &[550], NOW);
        let due = of_loss(&conclusion, dsn).unwrap().unwrap();
        assert_eq!(due.whole, whole, "{ret:?} {dsn:?}");
        let text = text(&report(&conclusion, &due, Ok(BODY)));
        assert_eq!((text.contains("Subject: hi"), text.contains("the text")), (true, whole));
    }
    let conclusion = attempt(envelope(1), &[550], NOW);
    let due = of_loss(&conclusion, Dsn::Full).unwrap().unwrap();
    let text = text(&report(&conclusion, &due, Err("It is gone.")));
    assert!(text.contains("It is gone.") && !text.contains("Subject: hi"), "{text}");
}

#[test]
fn a_delay_is_told_once_a_period() {
    let every = HOUR * 4;
    let mut waiting = envelope(1);
    let mut told = Vec::new();
    for hour in [0, 1, 3, 4, 5, 7, 13, 14, 16] {
        let mut conclusion = attempt(waiting, &[450], NOW.plus(HOUR * hour));
        if let Some(due) = of_delay(&conclusion, every, Dsn::Headers) {
            told.push((hour, due.unwrap().id));
            conclusion.delay_told(periods(conclusion.envelope(), conclusion.wall(), every));
        }
        waiting = remaining(conclusion);
    }
    assert_eq!(told.iter().map(|(hour, _)| *hour).collect::<Vec<_>>(), [4, 13, 16]);
    told.dedup_by_key(|(_, id)| *id);
    assert_eq!(told.len(), 3);
}

#[test]
fn a_delay_is_told_only_while_it_waits_and_to_whom_it_concerns() {
    let late = NOW.plus(HOUR * 5);
    let every = HOUR * 4;
    let of = |change: &dyn Fn(&mut Envelope), codes: &[u16]| {
        let mut envelope = envelope(codes.len());
        change(&mut envelope);
        of_delay(&attempt(envelope, codes, late), every, Dsn::Full)
    };
    assert_eq!(of(&|_| {}, &[550]), None);
    assert_eq!(of(&|e| e.expires = late, &[450]), None, "it is given up: that is told instead");
    assert_eq!(of(&|e| e.mail_from = None, &[450]), Some(Err(Silence::NullSender)));
    let failure_only = |e: &mut Envelope| e.recipients[0].notify = Some("FAILURE".into());
    assert_eq!(of(&failure_only, &[450]), Some(Err(Silence::Notify)));
    let due = of(&failure_only, &[450, 450, 550]).unwrap().unwrap();
    assert_eq!((due.recipients, due.whole), (vec![1], false));
    assert_eq!(due.kind, Kind::Delayed { until: NOW.plus(HOUR * 100) });
}

#[test]
fn who_waits_untried_hears_of_the_delay_too() {
    let every = HOUR * 4;
    let mut waiting = remaining(attempt(envelope(2), &[550, 450], NOW));
    let mut ids = Vec::new();
    for hour in [5, 9] {
        let mut conclusion = Conclusion::postponed(waiting, NOW.plus(HOUR * hour), HOUR);
        assert_eq!(of_loss(&conclusion, Dsn::Headers), None, "told before");
        let due = of_delay(&conclusion, every, Dsn::Headers).unwrap().unwrap();
        assert_eq!(due.recipients, [1]);
        conclusion.delay_told(periods(conclusion.envelope(), conclusion.wall(), every));
        let report = report(&conclusion, &due, Ok(BODY));
        ids.push(due.id);
        let Decision::Wait(mut parts) = conclusion.decision(vec![report]) else { panic!() };
        let Some(Part::Remaining { envelope, delay: HOUR }) = parts.pop() else { panic!() };
        assert!(matches!(&parts[..], [Part::Notification { fate: None, .. }]), "no attempt was made: {parts:?}");
        waiting = *envelope;
    }
    assert_ne!(ids[0], ids[1]);
    assert_eq!((waiting.attempts, waiting.delay_notices), (1, 2));
}

#[test]
fn a_report_goes_to_the_sender_from_nobody_and_is_the_same_when_it_is_made_again() {
    let conclusion = attempt(envelope(2), &[550, 450], NOW);
    let due = of_loss(&conclusion, Dsn::Headers).unwrap().unwrap();
    let first = report(&conclusion, &due, Ok(BODY));
    let own = &first.envelope;
    assert_eq!(own.recipients.iter().map(|r| r.address.as_str()).collect::<Vec<_>>(), ["shop@acme.example"]);
    assert_eq!((own.mail_from.as_ref(), &own.domain), (None, &Host::parse("acme.example").unwrap()));
    assert_eq!((own.lane, own.report_on), (Lane::Transactional, Some(QueueId::new(NOW, 7, 0))));
    assert_eq!((own.accepted, own.expires), (NOW, NOW.plus(HOUR)));
    assert_eq!((own.size as usize, own.body_crc), (first.body.len(), crc32c::crc32c(&first.body)));
    let again = attempt(envelope(2), &[550, 450], NOW);
    let again = report(&again, &of_loss(&again, Dsn::Headers).unwrap().unwrap(), Ok(BODY));
    assert_eq!((&again.envelope, &again.body), (&first.envelope, &first.body));

    let id = own.queue_id;
    let Decision::Wait(parts) = conclusion.decision(vec![first]) else { panic!() };
    let [Part::Attempt(attempt), Part::Notification { fate: None, .. }, Part::Remaining { .. }] = &parts[..] else {
        panic!("{parts:?}")
    };
    assert_eq!(attempt.report, Some(id));
}

#[test]
fn the_report_is_the_record_that_ends_the_envelope() {
    let conclusion = attempt(envelope(1), &[550], NOW);
    let due = of_loss(&conclusion, Dsn::Headers).unwrap().unwrap();
    let report = report(&conclusion, &due, Ok(BODY));
    let Decision::Wait(parts) = conclusion.decision(vec![report]) else { panic!() };
    let [Part::Notification { fate: Some(fate), envelope, .. }] = &parts[..] else { panic!("{parts:?}") };
    assert_eq!(fate.report, Some(envelope.queue_id));
}

#[test]
fn a_report_that_fails_causes_no_other() {
    let own = Envelope { mail_from: None, report_on: Some(QueueId::new(NOW, 9, 0)), ..envelope(1) };
    let refused = attempt(own.clone(), &[550], NOW);
    assert_eq!(of_loss(&refused, Dsn::Full), Some(Err(Silence::NullSender)));
    assert!(is_report_lost(&refused));
    assert!(is_report_lost(&Conclusion::expired(own.clone(), NOW)));
    assert!(!is_report_lost(&attempt(own.clone(), &[450], NOW)));
    assert!(!is_report_lost(&attempt(own, &[250], NOW)));
    assert!(!is_report_lost(&attempt(envelope(1), &[550], NOW)));
}
