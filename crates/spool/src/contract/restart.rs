//! Restarting: what was accepted or settled before holds after.

use std::time::Duration;

use super::settle::{DELAY, remaining, report};
use super::*;
use crate::Part;

pub(crate) async fn what_was_handed_out_is_due_at_once<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    let messages = [mail(1, "a.example"), message(2, &["b.example"], octets(100_000, 2))];
    for message in &messages {
        keep(&engine, message.clone()).await;
    }
    take_many(&engine, 2).await;
    assert_due(&restart(rig, engine).await, &messages).await;
}

pub(crate) async fn what_was_not_handed_out_is_due<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    let messages = [mail(1, "a.example"), message(2, &["b.example"], octets(100_000, 2)), mail(3, "b.example")];
    for message in &messages {
        keep(&engine, message.clone()).await;
    }
    assert_due(&restart(rig, engine).await, &messages).await;
}

/// Exactly these are due, in any order.
async fn assert_due(engine: &impl Engine, messages: &[NewMessage]) {
    assert_eq!(counts(engine), (messages.len() as u64, 0, 0));
    let mut work = take_many(engine, messages.len()).await;
    work.sort_by_key(|work| work.envelope.queue_id);
    for (work, message) in work.iter().zip(messages) {
        assert_eq!(work.envelope, message.envelopes[0]);
        assert!(body_of(engine, work).await == message.body);
    }
    assert_nothing_comes(engine).await;
}

pub(crate) async fn what_ended_stays_ended<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    let both = message(1, &["a.example", "b.example"], b"1\r\n".to_vec());
    keep(&engine, both.clone()).await;
    let work = take_many(&engine, 2).await;
    let ends = usize::from(work[1].envelope.queue_id == id(1));
    settle(&engine, work[ends].id, done(&work[ends].envelope)).await;
    let engine = restart(rig, engine).await;
    assert_eq!(counts(&engine), (1, 0, 0));
    let work = take(&engine).await;
    assert_eq!(work.envelope, both.envelopes[1]);
    assert_eq!(body_of(&engine, &work).await, both.body);
    settle(&engine, work.id, done(&work.envelope)).await;
    let engine = restart(rig, engine).await;
    assert_eq!(counts(&engine), (0, 0, 0));
    assert_only_new_mail_is_due(&engine, 2, "a.example").await;
    assert_eq!(fates(&engine, "all").await.len(), 3);
}

pub(crate) async fn what_remains_comes_back_at_its_time<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    let message = message(1, &["example.org"], octets(200_000, 1));
    keep(&engine, message.clone()).await;
    let work = take(&engine).await;
    settle(&engine, work.id, remaining(&work.envelope)).await;
    advance(rig, &engine, DELAY - Duration::from_millis(1));
    let engine = restart(rig, engine).await;
    assert_eq!(state_of(&engine, id(1)).await, Some(State::Waiting(START.plus(DELAY))));
    assert_only_new_mail_is_due(&engine, 2, "example.org").await;
    advance(rig, &engine, Duration::from_millis(1));
    let work = take(&engine).await;
    assert_eq!(work.envelope, *after_attempt(&message.envelopes[0]), "outcomes and attempts are kept");
    assert!(body_of(&engine, &work).await == message.body);
    let engine = restart(rig, engine).await;
    let work = take(&engine).await;
    assert_eq!(work.envelope, *after_attempt(&message.envelopes[0]), "and so they are when it was handed out");
}

pub(crate) async fn a_delayed_message_comes_at_its_time<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    let mut later = mail(1, "example.org");
    later.envelopes[0].not_before = START.plus(DELAY);
    keep(&engine, later.clone()).await;
    let engine = restart(rig, engine).await;
    assert_only_new_mail_is_due(&engine, 2, "example.org").await;
    advance(rig, &engine, DELAY);
    assert_eq!(take(&engine).await.envelope, later.envelopes[0]);
}

pub(crate) async fn what_became_due_meanwhile_is_due<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    keep(&engine, mail(1, "example.org")).await;
    let work = take(&engine).await;
    settle(&engine, work.id, remaining(&work.envelope)).await;
    rig.clock().advance(DELAY * 2);
    let engine = restart(rig, engine).await;
    assert_eq!(take(&engine).await.envelope, *after_attempt(&work.envelope));
}

pub(crate) async fn a_notification_is_due_and_the_original_ended<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    for number in 1..=2 {
        keep(&engine, mail(number, "example.org")).await;
    }
    let (first, second) = (take(&engine).await, take(&engine).await);
    let (ending, first_report, body) = report(&first.envelope, 11, Some(fate(&first.envelope, FateKind::Bounced)));
    let (beside, second_report, _) = report(&second.envelope, 12, None);
    let rest = Part::Remaining { envelope: after_attempt(&second.envelope), delay: DELAY };
    settle(&engine, first.id, Decision::Wait(vec![ending])).await;
    settle(&engine, second.id, Decision::Wait(vec![rest, beside])).await;
    let engine = restart(rig, engine).await;
    assert_eq!(counts(&engine), (2, 0, 1));
    let mut work = take_many(&engine, 2).await;
    work.sort_by_key(|work| work.envelope.queue_id);
    assert_eq!([&work[0].envelope, &work[1].envelope], [&*first_report, &*second_report]);
    assert!(body_of(&engine, &work[0]).await == body);
    assert_nothing_comes(&engine).await;
    assert_eq!(fates(&engine, "all").await, [fate(&first.envelope, FateKind::Bounced)]);
    advance(rig, &engine, DELAY);
    assert_eq!(take(&engine).await.envelope, *after_attempt(&second.envelope));
}

pub(crate) async fn a_diverted_one_is_not_lost<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    keep(&engine, mail(1, "example.org")).await;
    let work = take(&engine).await;
    settle(&engine, work.id, Decision::Divert { eta: DELAY }).await;
    let engine = restart(rig, engine).await;
    advance(rig, &engine, DELAY);
    let again = take(&engine).await;
    assert_eq!((again.envelope.queue_id, again.envelope.attempts), (id(1), 0));
    assert_nothing_comes(&engine).await;
}

/// Each restart finds what earlier ones left: some of it ended, some waiting, some handed out, some new.
pub(crate) async fn each_of_many_restarts_keeps_all<R: Rig>(rig: &R) {
    let mut engine = open(rig).await;
    let mut expected: Vec<Envelope> = Vec::new();
    for round in 0..6 {
        for number in 0..4 {
            let message = message(round * 10 + number, &["example.org"], octets(50_000, number as u8));
            expected.push(message.envelopes[0].clone());
            keep(&engine, message).await;
        }
        let work = take_many(&engine, expected.len()).await;
        let (ends, waits) = (&work[0], &work[1]);
        settle(&engine, ends.id, done(&ends.envelope)).await;
        settle(&engine, waits.id, remaining(&waits.envelope)).await;
        expected.retain(|envelope| envelope.queue_id != ends.envelope.queue_id);
        let waiting = expected.iter_mut().find(|envelope| envelope.queue_id == waits.envelope.queue_id);
        *waiting.expect("it was handed out") = *after_attempt(&waits.envelope);
        rig.clock().advance(DELAY);
        engine = restart(rig, engine).await;
        assert_eq!(fates(&engine, "all").await.len() as u64, round + 1);
    }
    let mut work = take_many(&engine, expected.len()).await;
    work.sort_by_key(|work| work.envelope.queue_id);
    expected.sort_by_key(|envelope| envelope.queue_id);
    assert_eq!(work.iter().map(|work| work.envelope.clone()).collect::<Vec<_>>(), expected);
    for work in &work {
        let seed = work.envelope.queue_id.to_bytes()[13] % 10;
        assert!(body_of(&engine, work).await[..] == octets(50_000, seed)[..]);
    }
    assert_nothing_comes(&engine).await;
}
