//! Handing out: the window, fairness, wake-ups.

use std::time::Duration;

use futures_util::FutureExt as _;

use super::*;
use crate::{BodyError, Directive};

pub(crate) async fn the_shard_is_owned_before_there_is_work<R: Rig>(rig: &R) {
    let engine = within(rig.open(ROOMY)).await;
    keep(&engine, mail(1, "example.org")).await;
    let shard = own(&engine, WIDE).await;
    assert!(engine.may_send(shard));
    assert!(!engine.may_send(Shard(shard.0.wrapping_add(1))), "a shard that was never owned");
    assert_eq!(take(&engine).await.shard, shard);
    let engine = within(rig.restart(engine, ROOMY)).await;
    assert!(engine.may_send(own(&engine, WIDE).await));
}

pub(crate) async fn the_window_bounds_items<R: Rig>(rig: &R) {
    let engine = within(rig.open(ROOMY)).await;
    let shard = own(&engine, Window { max_items: 2, ..WIDE }).await;
    for (number, domain) in ["a.example", "b.example", "c.example", "d.example", "e.example"].iter().enumerate() {
        keep(&engine, mail(number as u64, domain)).await;
    }
    let work = take_many(&engine, 2).await;
    assert_nothing_comes(&engine).await;
    assert_eq!(counts(&engine), (3, 2, 0));
    settle(&engine, work[0].id, done(&work[0].envelope)).await;
    take(&engine).await;
    assert_nothing_comes(&engine).await;
    engine.window(shard, Window { max_items: 1, ..WIDE });
    settle(&engine, work[1].id, done(&work[1].envelope)).await;
    assert_nothing_comes(&engine).await;
    assert_eq!(counts(&engine), (2, 1, 0), "a smaller window holds as soon as enough is settled");
    engine.window(shard, WIDE);
    take_many(&engine, 2).await;
}

pub(crate) async fn the_window_bounds_bytes_and_nothing_overtakes_a_large_one<R: Rig>(rig: &R) {
    let engine = within(rig.open(ROOMY)).await;
    own(&engine, Window { max_bytes: 10_000, ..WIDE }).await;
    for (len, number) in [4_000, 4_000, 8_000, 100].into_iter().zip(1..) {
        keep(&engine, message(number, &["example.org"], octets(len, 0))).await;
    }
    let small = take_many(&engine, 2).await;
    assert_nothing_comes(&engine).await;
    settle(&engine, small[0].id, done(&small[0].envelope)).await;
    assert_nothing_comes(&engine).await;
    settle(&engine, small[1].id, done(&small[1].envelope)).await;
    assert_eq!(take(&engine).await.envelope.queue_id, id(3), "small ones do not hold it up for ever");
    assert_eq!(take(&engine).await.envelope.queue_id, id(4));
}

pub(crate) async fn one_item_always_fits<R: Rig>(rig: &R) {
    let engine = within(rig.open(ROOMY)).await;
    own(&engine, Window { max_bytes: 1_000, ..WIDE }).await;
    let large = message(1, &["example.org"], octets(300_000, 1));
    keep(&engine, large.clone()).await;
    keep(&engine, mail(2, "example.org")).await;
    let work = take(&engine).await;
    assert!(body_of(&engine, &work).await == large.body);
    assert_nothing_comes(&engine).await;
    settle(&engine, work.id, done(&work.envelope)).await;
    assert_eq!(take(&engine).await.envelope.queue_id, id(2));
}

pub(crate) async fn a_domain_at_its_cap_does_not_hold_up_another<R: Rig>(rig: &R) {
    let engine = within(rig.open(ROOMY)).await;
    own(&engine, Window { max_items_per_domain: 2, ..WIDE }).await;
    for number in 0..20 {
        keep(&engine, mail(number, "slow.example")).await;
    }
    keep(&engine, mail(100, "quick.example")).await;
    let mut work = take_many(&engine, 3).await;
    assert_nothing_comes(&engine).await;
    work.sort_by_key(|work| work.envelope.queue_id);
    let ids: Vec<_> = work.iter().map(|work| work.envelope.queue_id).collect();
    assert_eq!(ids, [id(0), id(1), id(100)]);
    settle(&engine, work[2].id, done(&work[2].envelope)).await;
    keep(&engine, mail(101, "quick.example")).await;
    assert_eq!(take(&engine).await.envelope.queue_id, id(101));
    settle(&engine, work[0].id, done(&work[0].envelope)).await;
    assert_eq!(take(&engine).await.envelope.queue_id, id(2));
    assert_nothing_comes(&engine).await;
}

pub(crate) async fn one_domain_and_lane_is_handed_out_in_order<R: Rig>(rig: &R) {
    let engine = within(rig.open(ROOMY)).await;
    for number in 0..10 {
        keep(&engine, mail(number, "example.org")).await;
    }
    own(&engine, WIDE).await;
    for number in 0..10 {
        assert_eq!(take(&engine).await.envelope.queue_id, id(number));
    }
}

pub(crate) async fn who_waits_for_work_learns_of_it<R: Rig>(rig: &R) {
    let engine = within(rig.open(ROOMY)).await;
    let shard = own(&engine, Window { max_items: 1, ..WIDE }).await;
    let (first, ()) = tokio::join!(take(&engine), keep(&engine, mail(1, "example.org")));
    keep(&engine, mail(2, "example.org")).await;
    let (second, ()) = tokio::join!(take(&engine), settle(&engine, first.id, done(&first.envelope)));
    let (second, ()) = tokio::join!(take(&engine), async { engine.give_back(second.id) });
    keep(&engine, mail(3, "example.org")).await;
    let (third, ()) = tokio::join!(take(&engine), async { engine.window(shard, WIDE) });
    assert_eq!(third.envelope.queue_id, id(3));
    let wait = |work: &Work| {
        let part = crate::Part::Remaining { envelope: after_attempt(&work.envelope), delay: Duration::from_secs(300) };
        Decision::Wait(vec![part])
    };
    settle(&engine, second.id, wait(&second)).await;
    let (second, ()) = tokio::join!(take(&engine), async { advance(rig, &engine, Duration::from_secs(300)) });
    settle(&engine, second.id, wait(&second)).await;
    let (second, _) = tokio::join!(take(&engine), async { engine.act(&Selector::default(), Directive::RetryNow) });
    assert_eq!(second.envelope.attempts, 2);
}

pub(crate) async fn a_wait_for_work_that_is_given_up_loses_none<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    let mut seen = Vec::new();
    let note = |event: ShardEvent| match event {
        ShardEvent::Work(work) => work.envelope.queue_id,
        ShardEvent::Owned(..) | ShardEvent::Draining(..) | ShardEvent::Lost(_) => panic!("work is due: {event:?}"),
    };
    for number in 0..100 {
        seen.extend(engine.next().now_or_never().map(note));
        let mut given_up = engine.next();
        seen.extend((&mut given_up).now_or_never().map(note));
        keep(&engine, mail(number, "example.org")).await;
        drop(given_up);
    }
    while seen.len() < 100 {
        seen.push(take(&engine).await.envelope.queue_id);
    }
    seen.sort();
    assert_eq!(seen, (0..100).map(id).collect::<Vec<_>>());
    assert_nothing_comes(&engine).await;
}

pub(crate) async fn the_body_of_work_that_is_not_outstanding_is_unknown<R: Rig>(rig: &R) {
    let engine = open(rig).await;
    keep(&engine, message(1, &["example.org"], octets(100_000, 1))).await;
    assert_eq!(within(engine.body(WorkId(u64::MAX))).await, Err(BodyError::Unknown), "never handed out");
    let work = take(&engine).await;
    engine.give_back(work.id);
    assert_eq!(within(engine.body(work.id)).await, Err(BodyError::Unknown), "given back");
    let work = take(&engine).await;
    settle(&engine, work.id, done(&work.envelope)).await;
    assert_eq!(within(engine.body(work.id)).await, Err(BodyError::Unknown), "settled");
}
