//! Accepting: what is kept, what is refused.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use sluice_mail::{Address, BodyFlags, Envelope, Lane, QueueId, Recipient};

use super::*;
use crate::{EnqueueError, Part};

pub(crate) async fn an_accepted_message_is_handed_out_once_and_as_it_was<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    let mut message = mail(1, "example.org");
    dress(&mut message.envelopes[0]);
    keep(&engine, message.clone()).await;
    let work = take(&engine).await;
    assert_eq!(work.envelope, message.envelopes[0]);
    assert_eq!(body_of(&engine, &work).await, message.body);
    assert!(engine.may_send(work.shard));
    assert_nothing_comes(&engine).await;
}

/// Gives the envelope everything that an envelope can have.
fn dress(envelope: &mut Envelope) {
    let text = |text: &str| Some(Arc::from(text));
    let marked = Recipient {
        address: Address::parse("\"a b\"@example.org").expect("an address"),
        orcpt: text("rfc822;a+20b@example.org"),
        notify: text("SUCCESS,FAILURE"),
        decided_in: 0,
        outcome: None,
        trouble: Some(Trouble {
            reply: Reply::new(450, EnhancedCode(4, 2, 1), "busy"),
            is_peers: true,
            mta: text("mx.example.org"),
            at: START,
        }),
    };
    envelope.recipients.push(marked);
    envelope.recipients.push(Recipient::new(Address::parse("üser@example.org").expect("an address")));
    envelope.campaign = text("spring");
    envelope.tag = text("letter 7");
    envelope.lane = Lane::Bulk;
    envelope.ret = text("HDRS");
    envelope.envid = text("QQ314159");
    envelope.pool = text("warm");
    envelope.delay_notices = 2;
    envelope.report_on = Some(id(77));
    envelope.flags = BodyFlags { eight_bit: true, smtputf8: true, require_tls: true };
}

pub(crate) async fn every_envelope_of_a_message_is_handed_out_with_its_body<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    let message = message(1, &["a.example", "b.example", "c.example"], octets(100_000, 1));
    keep(&engine, message.clone()).await;
    let mut work = take_many(&engine, 3).await;
    work.sort_by_key(|work| work.envelope.queue_id);
    for (work, envelope) in work.iter().zip(&message.envelopes) {
        assert_eq!(work.envelope, *envelope);
        assert!(body_of(&engine, work).await == message.body);
    }
    assert_nothing_comes(&engine).await;
}

pub(crate) async fn bodies_of_every_size_come_back<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    for (len, number) in [0, 1, 7, 4_096, (64 << 10) - 1, 64 << 10, (64 << 10) + 1, 1_000_003].into_iter().zip(1..) {
        let message = message(number, &["example.org"], octets(len, number as u8));
        keep(&engine, message.clone()).await;
        let work = take(&engine).await;
        assert!(body_of(&engine, &work).await == message.body, "a body of {len} octets");
        settle(&engine, work.id, done(&work.envelope)).await;
    }
}

pub(crate) async fn a_message_is_not_due_before_its_time<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    let mut later = mail(1, "example.org");
    later.envelopes[0].not_before = START.plus(Duration::from_secs(60));
    keep(&engine, later.clone()).await;
    assert_eq!(state_of(&engine, id(1)).await, Some(State::Waiting(later.envelopes[0].not_before)));
    assert_only_new_mail_is_due(&engine, 2, "example.org").await;
    advance(rig, &engine, Duration::from_millis(59_999));
    assert_only_new_mail_is_due(&engine, 3, "example.org").await;
    advance(rig, &engine, Duration::from_millis(1));
    assert_eq!(take(&engine).await.envelope, later.envelopes[0]);
}

pub(crate) async fn at_the_cap_of_envelopes_a_message_is_refused_whole_and_settling_goes_on<R: Rig>(rig: &R) {
    let engine = within(rig.open(Caps { max_envelopes: 3, ..ROOMY })).await;
    own(&engine, WIDE).await;
    keep(&engine, message(1, &["a.example", "b.example"], b"1\r\n".to_vec())).await;
    let refused = within(engine.enqueue(message(2, &["a.example", "b.example"], b"2\r\n".to_vec()))).await;
    assert!(matches!(refused, Err(EnqueueError::Full(_))), "only one more has room: {refused:?}");
    assert_eq!(counts(&engine), (2, 0, 0), "nothing is kept of what was refused");
    assert_eq!(engine.room(1), Ok(()));
    keep(&engine, mail(3, "a.example")).await;
    assert!(matches!(engine.room(1), Err(EnqueueError::Full(_))));

    let work = take_many(&engine, 3).await;
    settle(&engine, work[0].id, remaining_and_notification(&work[0].envelope, 4)).await;
    settle(&engine, work[1].id, remaining_and_notification(&work[1].envelope, 5)).await;
    assert_eq!(counts(&engine), (2, 1, 2), "what follows from accepted mail is kept beyond the cap");
    assert!(matches!(within(engine.enqueue(mail(6, "a.example"))).await, Err(EnqueueError::Full(_))));
    settle(&engine, work[2].id, done(&work[2].envelope)).await;
    for work in take_many(&engine, 2).await {
        settle(&engine, work.id, done(&work.envelope)).await;
    }
    keep(&engine, mail(7, "a.example")).await;
}

fn remaining_and_notification(envelope: &Envelope, number: u64) -> Decision {
    let report = Bytes::from_static(b"Subject: report\r\n\r\n");
    let remaining = Part::Remaining { envelope: after_attempt(envelope), delay: Duration::from_secs(300) };
    let report = Part::Notification { envelope: notification(envelope, number, &report), body: report, fate: None };
    Decision::Wait(vec![remaining, report])
}

pub(crate) async fn at_the_cap_of_bytes_a_message_is_refused_and_settling_goes_on<R: Rig>(rig: &R) {
    let cap: u64 = 8 << 20;
    let engine = within(rig.open(Caps { max_bytes: cap, ..ROOMY })).await;
    own(&engine, WIDE).await;
    assert!(matches!(engine.room(cap + 1), Err(EnqueueError::Full(_))));
    assert_eq!(engine.room(100), Ok(()));
    let mut kept = 0;
    let refused = loop {
        let message = message(kept + 1, &["example.org"], octets(1 << 20, kept as u8));
        match within(engine.enqueue(message)).await {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept << 20 <= cap, "the cap holds");
    };
    assert!(matches!(refused, EnqueueError::Full(_)), "{refused}");
    assert!(kept > 0, "something has room");
    assert!(matches!(engine.room(1 << 20), Err(EnqueueError::Full(_))));
    let kept = take_many(&engine, usize::try_from(kept).expect("a few")).await;
    for (work, number) in kept.iter().zip(100..) {
        settle(&engine, work.id, remaining_and_notification(&work.envelope, number)).await;
    }
    for work in take_many(&engine, kept.len()).await {
        settle(&engine, work.id, done(&work.envelope)).await;
    }
    assert_eq!(counts(&engine), (0, 0, kept.len() as u64));
}

pub(crate) async fn a_full_spool_is_full_after_a_restart<R: Rig>(rig: &R) {
    let caps = Caps { max_envelopes: 2, ..ROOMY };
    let engine = within(rig.open(caps)).await;
    keep(&engine, message(1, &["a.example", "b.example"], b"1\r\n".to_vec())).await;
    let engine = within(rig.restart(engine, caps)).await;
    assert!(matches!(engine.room(1), Err(EnqueueError::Full(_))));
    let refused = within(engine.enqueue(mail(2, "a.example"))).await;
    assert!(matches!(refused, Err(EnqueueError::Full(_))), "{refused:?}");
    own(&engine, WIDE).await;
    let work = take(&engine).await;
    settle(&engine, work.id, done(&work.envelope)).await;
    keep(&engine, mail(3, "a.example")).await;
}

pub(crate) async fn many_at_once_are_all_accepted_and_handed_out_once<R: Rig>(rig: &R) {
    const TASKS: u64 = 50;
    const EACH: u64 = 10;
    let engine = Arc::new(open(rig).await);
    let senders = (0..TASKS).map(|task| {
        let engine = engine.clone();
        tokio::spawn(async move {
            for number in task * EACH..(task + 1) * EACH {
                let domain = format!("d{}.example", number % 7);
                keep(&*engine, message(number, &[&domain, "both.example"], octets(2_000, number as u8))).await;
            }
        })
    });
    let senders: Vec<_> = senders.collect();
    let handed_out = take_all_and_settle(&*engine, TASKS * EACH * 2).await;
    for sender in senders {
        within(sender).await.expect("every message is accepted");
    }
    let accepted = (0..TASKS * EACH).flat_map(|number| [id(number), id(number).envelope(1)]);
    assert_eq!(handed_out, accepted.collect(), "all were handed out");
    assert_eq!(counts(&*engine), (0, 0, 0));
    assert_nothing_comes(&*engine).await;
    assert_eq!(fates(&*engine, "all").await.len() as u64, TASKS * EACH * 2);
    let engine = Arc::into_inner(engine).expect("the senders have ended");
    assert_eq!(counts(&restart(rig, engine).await), (0, 0, 0), "nothing comes up again");
}

/// Settles each as soon as it is handed out, without waiting for the tickets before the end.
async fn take_all_and_settle(engine: &impl Engine, count: u64) -> HashSet<QueueId> {
    let (mut seen, mut tickets) = (HashSet::new(), Vec::new());
    for _ in 0..count {
        let work = take(engine).await;
        assert!(seen.insert(work.envelope.queue_id), "{} is handed out once", work.envelope.queue_id);
        let number = work.envelope.queue_id.to_bytes()[13];
        if let Some(body) = &work.body {
            assert!(body[..] == octets(2_000, number)[..], "each with its own body");
        }
        tickets.push(engine.settle(work.id, done(&work.envelope)));
    }
    for ticket in tickets {
        within(ticket).await.expect("the work is outstanding");
    }
    seen
}
