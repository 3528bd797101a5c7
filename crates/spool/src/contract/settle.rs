//! Settling: how work ends, waits, comes back.

use std::time::Duration;

use super::*;
use crate::{Part, SettleError};

/// Until what remains is tried again.
pub(super) const DELAY: Duration = Duration::from_secs(300);

pub(super) fn remaining(envelope: &Envelope) -> Decision {
    Decision::Wait(vec![Part::Remaining { envelope: after_attempt(envelope), delay: DELAY }])
}

/// A report of its own body about `envelope`, and the original's fate when it is to end.
pub(super) fn report(about: &Envelope, number: u64, fate: Option<Fate>) -> (Part, Box<Envelope>, Bytes) {
    let body = Bytes::from(octets(70_000, number as u8));
    let envelope = notification(about, number, &body);
    (Part::Notification { envelope: envelope.clone(), body: body.clone(), fate: fate.map(Box::new) }, envelope, body)
}

pub(crate) async fn done_ends_it<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    keep(&engine, mail(1, "example.org")).await;
    let work = take(&engine).await;
    settle(&engine, work.id, done(&work.envelope)).await;
    assert_eq!(counts(&engine), (0, 0, 0));
    assert_eq!(fates(&engine, "all").await, [fate(&work.envelope, FateKind::Delivered)]);
    assert_only_new_mail_is_due(&engine, 2, "example.org").await;
    advance(rig, &engine, Duration::from_secs(1_000_000));
    assert_only_new_mail_is_due(&engine, 3, "example.org").await;
}

pub(crate) async fn what_remains_comes_back_after_its_delay<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    let message = mail(1, "example.org");
    keep(&engine, message.clone()).await;
    let work = take(&engine).await;
    settle(&engine, work.id, remaining(&work.envelope)).await;
    assert_eq!(counts(&engine), (0, 0, 1));
    assert_eq!(state_of(&engine, id(1)).await, Some(State::Waiting(START.plus(DELAY))));
    assert_eq!(fates(&engine, "all").await, [], "it has not ended");
    advance(rig, &engine, DELAY - Duration::from_millis(1));
    assert_only_new_mail_is_due(&engine, 2, "example.org").await;
    advance(rig, &engine, Duration::from_millis(1));
    let again = take(&engine).await;
    assert_eq!(again.envelope, *after_attempt(&message.envelopes[0]));
    assert_eq!(body_of(&engine, &again).await, message.body);
    assert_ne!(again.id, work.id, "a handle is never used twice");
    assert_nothing_comes(&engine).await;
}

pub(crate) async fn what_waits_again_and_again_keeps_its_body<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    let message = message(1, &["example.org"], octets(200_000, 1));
    keep(&engine, message.clone()).await;
    let mut expected = message.envelopes[0].clone();
    for _ in 0..5 {
        let work = take(&engine).await;
        assert_eq!(work.envelope, expected);
        assert!(body_of(&engine, &work).await == message.body);
        expected = *after_attempt(&expected);
        settle(&engine, work.id, remaining(&work.envelope)).await;
        advance(rig, &engine, DELAY);
    }
    let work = take(&engine).await;
    settle(&engine, work.id, done(&work.envelope)).await;
    assert_eq!(counts(&engine), (0, 0, 0));
}

pub(crate) async fn envelopes_of_one_message_are_settled_apart<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    let message = message(1, &["a.example", "b.example", "c.example"], octets(100_000, 1));
    keep(&engine, message.clone()).await;
    let mut work = take_many(&engine, 3).await;
    work.sort_by_key(|work| work.envelope.queue_id);
    settle(&engine, work[0].id, done(&work[0].envelope)).await;
    settle(&engine, work[1].id, remaining(&work[1].envelope)).await;
    assert!(body_of(&engine, &work[2]).await == message.body);
    assert_eq!(counts(&engine), (0, 1, 1));
    settle(&engine, work[2].id, done(&work[2].envelope)).await;
    advance(rig, &engine, DELAY);
    let last = take(&engine).await;
    assert_eq!(last.envelope, *after_attempt(&message.envelopes[1]));
    assert!(body_of(&engine, &last).await == message.body);
    assert_nothing_comes(&engine).await;
}

pub(crate) async fn a_notification_ends_the_original<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    keep(&engine, mail(1, "example.org")).await;
    let work = take(&engine).await;
    let bounced = fate(&work.envelope, FateKind::Bounced);
    let (part, report, body) = report(&work.envelope, 2, Some(bounced.clone()));
    settle(&engine, work.id, Decision::Wait(vec![part])).await;
    assert_eq!(counts(&engine), (1, 0, 0), "the report is due at once, the original is gone");
    assert_eq!(state_of(&engine, id(1)).await, Some(State::Ended(Box::new(bounced.clone()))));
    assert_eq!(fates(&engine, "all").await, [bounced]);
    let work = take(&engine).await;
    assert_eq!(work.envelope, *report);
    assert!(body_of(&engine, &work).await == body);
    assert_nothing_comes(&engine).await;
}

pub(crate) async fn a_notification_beside_what_remains<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    let message = mail(1, "example.org");
    keep(&engine, message.clone()).await;
    let work = take(&engine).await;
    let (part, report, body) = report(&work.envelope, 2, None);
    let rest = Part::Remaining { envelope: after_attempt(&work.envelope), delay: DELAY };
    settle(&engine, work.id, Decision::Wait(vec![part, rest])).await;
    assert_eq!(counts(&engine), (1, 0, 1));
    assert_eq!(fates(&engine, "all").await, [], "the original has not ended");
    let work = take(&engine).await;
    assert_eq!(work.envelope, *report);
    assert!(body_of(&engine, &work).await == body);
    settle(&engine, work.id, done(&work.envelope)).await;
    advance(rig, &engine, DELAY);
    let work = take(&engine).await;
    assert_eq!(work.envelope, *after_attempt(&message.envelopes[0]));
    assert_eq!(body_of(&engine, &work).await, message.body);
}

pub(crate) async fn a_notification_is_settled_as_any_other<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    keep(&engine, mail(1, "example.org")).await;
    let work = take(&engine).await;
    let bounced = fate(&work.envelope, FateKind::Bounced);
    let (part, report, body) = report(&work.envelope, 2, Some(bounced));
    settle(&engine, work.id, Decision::Wait(vec![part])).await;
    let work = take(&engine).await;
    settle(&engine, work.id, remaining(&work.envelope)).await;
    advance(rig, &engine, DELAY);
    let work = take(&engine).await;
    assert_eq!(work.envelope, *after_attempt(&report));
    assert!(body_of(&engine, &work).await == body);
    settle(&engine, work.id, done(&work.envelope)).await;
    let ended: Vec<_> = fates(&engine, "all").await.iter().map(|fate| fate.about.queue_id).collect();
    assert_eq!(ended, [id(1), id(2)]);
    assert_eq!(counts(&engine), (0, 0, 0));
}

pub(crate) async fn a_wait_that_neither_keeps_nor_ends_keeps_it<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    let message = mail(1, "example.org");
    keep(&engine, message.clone()).await;
    let work = take(&engine).await;
    settle(&engine, work.id, Decision::Wait(Vec::new())).await;
    let work = take(&engine).await;
    assert_eq!(work.envelope, message.envelopes[0], "without any part it is due again as it was");
    let (part, report, _) = report(&work.envelope, 2, None);
    settle(&engine, work.id, Decision::Wait(vec![part])).await;
    let mut due = take_many(&engine, 2).await;
    due.sort_by_key(|work| work.envelope.queue_id);
    assert_eq!([&due[0].envelope, &due[1].envelope], [&message.envelopes[0], &*report]);
    assert_eq!(body_of(&engine, &due[0]).await, message.body);
    assert_eq!(fates(&engine, "all").await, []);
}

pub(crate) async fn a_diverted_one_comes_back_as_it_was<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    let message = mail(1, "example.org");
    keep(&engine, message.clone()).await;
    let work = take(&engine).await;
    settle(&engine, work.id, Decision::Divert { eta: DELAY }).await;
    assert_eq!(counts(&engine), (0, 0, 1));
    advance(rig, &engine, DELAY - Duration::from_millis(1));
    assert_only_new_mail_is_due(&engine, 2, "example.org").await;
    advance(rig, &engine, Duration::from_millis(1));
    let work = take(&engine).await;
    let generation = work.envelope.generation;
    assert_eq!(work.envelope, Envelope { generation, ..message.envelopes[0].clone() }, "no attempt is counted");
    assert_eq!(body_of(&engine, &work).await, message.body);
}

pub(crate) async fn what_is_given_back_is_handed_out_again<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    let message = mail(1, "example.org");
    keep(&engine, message.clone()).await;
    let work = take(&engine).await;
    engine.give_back(work.id);
    assert_eq!(counts(&engine), (1, 0, 0));
    let again = take(&engine).await;
    assert_eq!(again.envelope, message.envelopes[0]);
    assert_eq!(body_of(&engine, &again).await, message.body);
    assert_ne!(again.id, work.id, "a handle is never used twice");
    engine.give_back(work.id);
    assert_eq!(counts(&engine), (0, 1, 0), "only outstanding work can be given back");
    settle(&engine, again.id, done(&again.envelope)).await;
    engine.give_back(again.id);
    assert_eq!(counts(&engine), (0, 0, 0));
}

pub(crate) async fn only_outstanding_work_can_be_settled<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    let unknown = Err(SettleError::Unknown);
    keep(&engine, mail(1, "example.org")).await;
    let never = engine.settle(WorkId(u64::MAX), Decision::Divert { eta: DELAY });
    assert_eq!(within(never).await, unknown, "never handed out");
    let given_back = take(&engine).await;
    engine.give_back(given_back.id);
    assert_eq!(within(engine.settle(given_back.id, done(&given_back.envelope))).await, unknown, "given back");
    let work = take(&engine).await;
    let first = engine.settle(work.id, done(&work.envelope));
    let second = engine.settle(work.id, done(&work.envelope));
    assert_eq!((within(first).await, within(second).await), (Ok(()), unknown.clone()), "settled before");
    assert_eq!(within(engine.settle(work.id, remaining(&work.envelope))).await, unknown, "settled before");
    assert_eq!(fates(&engine, "all").await.len(), 1);
    assert_eq!(counts(&engine), (0, 0, 0));

    keep(&engine, mail(2, "example.org")).await;
    let work = take(&engine).await;
    settle(&engine, work.id, remaining(&work.envelope)).await;
    assert_eq!(within(engine.settle(work.id, done(&work.envelope))).await, unknown, "waits");
    assert_eq!(counts(&engine), (0, 0, 1));
}

pub(crate) async fn a_dropped_ticket_changes_nothing<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    for number in 1..=2 {
        keep(&engine, mail(number, "example.org")).await;
    }
    let (first, second) = (take(&engine).await, take(&engine).await);
    drop(engine.settle(first.id, done(&first.envelope)));
    settle(&engine, second.id, done(&second.envelope)).await;
    let ended: Vec<_> = fates(&engine, "all").await.iter().map(|fate| fate.about.queue_id).collect();
    assert_eq!(ended, [id(1), id(2)], "in the order of settling");
    let engine = restart(rig, engine).await;
    assert_only_new_mail_is_due(&engine, 3, "example.org").await;
}
