//! Fates and attempts: read in order, each reader at its own pace.

use std::sync::Arc;

use sluice_mail::QueueId;

use super::settle::{DELAY, report};
use super::*;
use crate::{Part, Position};

/// Accepts and ends messages with these numbers, one after another.
async fn end(engine: &impl Engine, numbers: std::ops::Range<u64>) {
    for number in numbers {
        keep(engine, mail(number, "example.org")).await;
        let work = take(engine).await;
        settle(engine, work.id, done(&work.envelope)).await;
    }
}

/// The ids that `reader` reads next, and its place behind them.
async fn read(engine: &impl Engine, reader: &str, max: usize) -> (Vec<QueueId>, Position) {
    let read = within(engine.read(reader, max)).await.expect("it can be read");
    assert!(read.events.len() <= max);
    (read.events.iter().map(|event| event.about().queue_id).collect(), read.next)
}

async fn commit(engine: &impl Engine, reader: &str, at: Position) {
    within(engine.commit(reader, at)).await.expect("it can be noted");
}

fn ids(numbers: std::ops::Range<u64>) -> Vec<QueueId> {
    numbers.map(id).collect()
}

pub(crate) async fn fates_are_read_in_order_and_whole<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    let mut expected = Vec::new();
    for (kind, number) in
        [FateKind::Delivered, FateKind::Bounced, FateKind::Expired, FateKind::Cancelled].into_iter().zip(1..)
    {
        keep(&engine, mail(number, "example.org")).await;
        let work = take(&engine).await;
        let text = |text: &str| Some(Arc::from(text));
        let mut fate = Fate {
            report: Some(id(9)),
            attempt: AttemptInfo {
                site: text("example"),
                mx: text("mx.example.org"),
                peer: "192.0.2.1:25".parse().ok(),
                source: text("198.51.100.7"),
                tls: text("TLSv1.3 TLS13_AES_256_GCM_SHA384"),
                duration: Duration::from_millis(1_234),
            },
            ..fate(&work.envelope, kind)
        };
        (fate.about.campaign, fate.about.tag) = (text("spring"), text("letter 7"));
        settle(&engine, work.id, Decision::Done(Box::new(fate.clone()))).await;
        expected.push(fate);
    }
    assert_eq!(fates(&engine, "one").await, expected);
    let engine = restart(rig, engine).await;
    assert_eq!(fates(&engine, "one").await, expected, "nothing was committed, so all is read again");
}

pub(crate) async fn every_reader_has_its_own_position<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    end(&engine, 0..4).await;
    let (first, next) = read(&engine, "one", 2).await;
    assert_eq!(first, ids(0..2));
    commit(&engine, "one", next).await;
    assert_eq!(read(&engine, "two", 100).await.0, ids(0..4), "another reader begins at the oldest");
    assert_eq!(read(&engine, "one", 100).await.0, ids(2..4), "and goes on where it was");
}

pub(crate) async fn pages_join_without_gap_and_an_empty_one_keeps_the_place<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    let (none, at) = read(&engine, "one", 10).await;
    assert_eq!(none, []);
    commit(&engine, "one", at).await;
    end(&engine, 0..7).await;
    let (mut seen, mut last) = (Vec::new(), at);
    for expected in [3, 3, 1, 0] {
        let (page, next) = read(&engine, "one", 3).await;
        assert_eq!(page.len(), expected);
        assert!(next > last || page.is_empty(), "positions rise");
        assert!(next >= last, "positions never fall");
        commit(&engine, "one", next).await;
        seen.extend(page);
        last = next;
    }
    assert_eq!(seen, ids(0..7));
    end(&engine, 7..8).await;
    assert_eq!(read(&engine, "one", 3).await.0, ids(7..8));
}

pub(crate) async fn what_was_committed_is_not_read_again_after_a_restart<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    end(&engine, 0..5).await;
    let (_, next) = read(&engine, "one", 2).await;
    commit(&engine, "one", next).await;
    assert_eq!(read(&engine, "one", 2).await.0, ids(2..4), "read, but not committed");
    read(&engine, "two", 3).await;
    let engine = restart(rig, engine).await;
    let (again, next) = read(&engine, "one", 100).await;
    assert_eq!(again, ids(2..5));
    assert_eq!(read(&engine, "two", 100).await.0, ids(0..5), "a reader that committed nothing");
    commit(&engine, "one", next).await;
    end(&engine, 5..6).await;
    let engine = restart(rig, engine).await;
    assert_eq!(read(&engine, "one", 100).await.0, ids(5..6));
}

pub(crate) async fn a_commit_never_goes_back<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    end(&engine, 0..4).await;
    let (_, early) = read(&engine, "one", 1).await;
    let (_, late) = read(&engine, "one", 2).await;
    commit(&engine, "one", late).await;
    commit(&engine, "one", early).await;
    let engine = restart(rig, engine).await;
    assert_eq!(read(&engine, "one", 100).await.0, ids(3..4));
}

pub(crate) async fn a_forgotten_reader_is_a_new_one<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    within(engine.forget("one")).await.expect("nothing to forget");
    end(&engine, 0..3).await;
    let (_, next) = read(&engine, "one", 100).await;
    commit(&engine, "one", next).await;
    within(engine.forget("one")).await.expect("it can be forgotten");
    assert_eq!(read(&engine, "one", 100).await.0, ids(0..3), "it begins at the oldest");
    commit(&engine, "one", next).await;
    within(engine.forget("one")).await.expect("it can be forgotten again");
    let engine = restart(rig, engine).await;
    let (all, next) = read(&engine, "one", 100).await;
    assert_eq!(all, ids(0..3), "and so after a restart");
    commit(&engine, "one", next).await;
    let engine = restart(rig, engine).await;
    assert_eq!(read(&engine, "one", 100).await.0, [], "what it commits then counts");
}

/// What remains of `envelope`, with the attempt after which it waits.
fn put_off(envelope: &Envelope) -> (Decision, Event) {
    let attempt = Box::new(attempt(envelope, START.plus(DELAY)));
    let remains = Part::Remaining { envelope: after_attempt(envelope), delay: DELAY };
    (Decision::Wait(vec![Part::Attempt(attempt.clone()), remains]), Event::Attempt(attempt))
}

pub(crate) async fn attempts_are_told_in_order_and_before_the_fate<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    let mut expected = Vec::new();
    for number in 1..=2 {
        keep(&engine, mail(number, "example.org")).await;
    }
    for _ in 0..3 {
        for work in take_many(&engine, 2).await {
            let (decision, event) = put_off(&work.envelope);
            settle(&engine, work.id, decision).await;
            expected.push(event);
        }
        advance(rig, &engine, DELAY);
    }
    let (first, second) = (take(&engine).await, take(&engine).await);
    settle(&engine, first.id, done(&first.envelope)).await;
    expected.push(Event::Fate(Box::new(fate(&first.envelope, FateKind::Delivered))));
    // One frame may tell both: an attempt and how the envelope ended.
    let (attempt, bounced) = (attempt(&second.envelope, START), fate(&second.envelope, FateKind::Bounced));
    let (note, ..) = report(&second.envelope, 9, Some(bounced.clone()));
    settle(&engine, second.id, Decision::Wait(vec![note, Part::Attempt(Box::new(attempt.clone()))])).await;
    expected.extend([Event::Attempt(Box::new(attempt)), Event::Fate(Box::new(bounced))]);
    assert_eq!(events(&engine, "one").await, expected);
    assert_eq!(events(&engine, "one").await, []);
    let engine = restart(rig, engine).await;
    assert_eq!(events(&engine, "one").await, expected);
    assert_eq!(state_of(&engine, id(2)).await, Some(State::Ended(Box::new(fate(&second.envelope, FateKind::Bounced)))));
}

pub(crate) async fn an_attempt_that_decides_nothing_is_not_told<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    keep(&engine, mail(1, "example.org")).await;
    let work = take(&engine).await;
    let alone = Part::Attempt(Box::new(attempt(&work.envelope, START)));
    settle(&engine, work.id, Decision::Wait(vec![alone])).await;
    let again = take(&engine).await;
    assert_eq!(again.envelope, work.envelope, "due again as it was");
    assert_eq!(events(&engine, "one").await, []);
}

pub(crate) async fn a_partial_success_is_all_there_or_not_at_all<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    keep(&engine, mail(1, "example.org")).await;
    let work = take(&engine).await;
    let (note, reported, body) = report(&work.envelope, 9, None);
    let attempt = Attempt { report: Some(reported.queue_id), ..attempt(&work.envelope, START.plus(DELAY)) };
    let remains = Part::Remaining { envelope: after_attempt(&work.envelope), delay: DELAY };
    let parts = vec![Part::Attempt(Box::new(attempt.clone())), note, remains];
    settle(&engine, work.id, Decision::Wait(parts)).await;
    assert_eq!(counts(&engine), (1, 0, 1), "the report is due at once, the rest waits");
    assert_eq!(events(&engine, "one").await, [Event::Attempt(Box::new(attempt.clone()))]);
    let engine = restart(rig, engine).await;
    assert_eq!(counts(&engine), (1, 0, 1));
    assert_eq!(events(&engine, "again").await, [Event::Attempt(Box::new(attempt))]);
    let told = take(&engine).await;
    assert_eq!(told.envelope, *reported);
    assert!(body_of(&engine, &told).await == body);
    settle(&engine, told.id, done(&told.envelope)).await;
    advance(rig, &engine, DELAY);
    assert_eq!(take(&engine).await.envelope, *after_attempt(&work.envelope));
}

pub(crate) async fn each_reader_reads_attempts_once<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    for number in 0..6 {
        keep(&engine, mail(number, "example.org")).await;
    }
    for work in take_many(&engine, 6).await {
        let (decision, _) = put_off(&work.envelope);
        settle(&engine, work.id, decision).await;
    }
    let (first, next) = read(&engine, "one", 4).await;
    assert_eq!(first, ids(0..4));
    commit(&engine, "one", next).await;
    assert_eq!(read(&engine, "two", 100).await.0, ids(0..6));
    let engine = restart(rig, engine).await;
    assert_eq!(read(&engine, "one", 100).await.0, ids(4..6));
    assert_eq!(read(&engine, "two", 100).await.0, ids(0..6));
}
