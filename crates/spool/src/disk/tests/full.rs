//! No room, and disks that fail.

use std::io;

use bytes::Bytes;
use sluice_mail::FateKind;

use super::model::{Run, Simulation, config};
use super::power::{Faults, PowerFiles};
use crate::contract::{self, after_attempt, attempt, done, fate, message, notification, octets};
use crate::{Decision, EnqueueError, Part, QueueView, SettleError, ShardSource, Spool, Window};

const SEGMENT: u64 = 16 << 10;
const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);
const WIDE: Window = Window { max_items: 10_000, max_bytes: 1 << 30, max_items_per_domain: 10_000 };

/// A disk with room for so many segments, filled up; and how many messages it took.
fn fill(segments: u64) -> (PowerFiles, Run, u64) {
    let files = PowerFiles::new(1, Faults { room: Some(segments * SEGMENT), ..Faults::default() });
    let mut run = Run::start(&files, &contract::clock(), config(SEGMENT)).unwrap();
    run.disk.window(sluice_mail::Shard(0), WIDE);
    for number in 1.. {
        while matches!(run.disk.shared.prepared.step(), Ok(true)) {}
        match run.keep(message(number, &["example.org"], octets(1_000, number as u8))) {
            Ok(_) => {}
            Err(EnqueueError::Full(words)) => {
                assert!(words.contains("disk"), "{words}");
                return (files, run, number - 1);
            }
            Err(error) => panic!("{error}"),
        }
    }
    unreachable!("it is full at last")
}

#[test]
fn a_full_disk_refuses_mail_and_settles_what_it_has() {
    let (files, mut run, count) = fill(6);
    assert!(count > 40, "{count}");
    assert!(matches!(run.disk.room(1), Err(EnqueueError::Full(_))));
    for _ in 0..count {
        let work = run.take().unwrap();
        assert_eq!(run.settle(work.id, done(&work.envelope)), Some(Ok(())));
    }
    assert_eq!(run.disk.totals().ready + run.disk.totals().active, 0);
    run.tidy();
    while matches!(run.disk.shared.prepared.step(), Ok(true)) {}
    assert_eq!(run.disk.room(1), Ok(()), "there is room again");
    run.keep(message(1_000, &["example.org"], octets(1_000, 1))).unwrap();
    drop(run);
    files.power_cycle();
    let run = Run::start(&files, &contract::clock(), config(SEGMENT)).unwrap();
    assert_eq!(run.kept().unwrap().len(), 1);
}

#[test]
fn a_full_disk_lets_mail_wait_again() {
    let (_, mut run, count) = fill(6);
    let mut settled = 0;
    for _ in 0..count.min(30) {
        let work = run.take().unwrap();
        let part =
            Part::Remaining { envelope: after_attempt(&work.envelope), delay: std::time::Duration::from_secs(9) };
        settled += u64::from(run.settle(work.id, Decision::Wait(vec![part])) == Some(Ok(())));
    }
    assert_eq!(settled, count.min(30));
    assert_eq!(run.disk.totals().waiting, settled);
}

#[test]
fn a_full_disk_takes_reports_and_when_the_reserve_is_used_up_they_wait_for_room() {
    let (files, mut run, count) = fill(6);
    let mut tickets = Vec::new();
    for number in 0..count {
        let Some(work) = run.take() else { break };
        let body = Bytes::from(octets(1_500, number as u8));
        let envelope = notification(&work.envelope, 10_000 + number, &body);
        let bounced = Box::new(fate(&work.envelope, FateKind::Bounced));
        let parts = if number % 2 == 0 {
            vec![Part::Notification { envelope, body, fate: Some(bounced) }]
        } else {
            let remaining = Part::Remaining { envelope: after_attempt(&work.envelope), delay: DAY };
            let told = Part::Attempt(Box::new(attempt(&work.envelope, contract::START)));
            vec![told, Part::Notification { envelope, body, fate: None }, remaining]
        };
        tickets.push(run.disk.settle(work.id, Decision::Wait(parts)));
        run.committer.step();
    }
    let before = tickets.len();
    tickets.retain_mut(|ticket| match futures_util::FutureExt::now_or_never(ticket) {
        Some(settled) => {
            assert_eq!(settled, Ok(()), "a report is never refused");
            false
        }
        None => true,
    });
    assert!(before > tickets.len() && !tickets.is_empty(), "{} of {before} wait", tickets.len());
    let full = run.keep(message(5_000, &["example.org"], octets(1_000, 1)));
    assert!(matches!(full, Err(EnqueueError::Full(_))), "{full:?}");
    files.set_faults(Faults::default());
    for _ in 0..40 {
        while matches!(run.disk.shared.prepared.step(), Ok(true)) {}
        run.committer.step();
    }
    let settled = |ticket: &mut crate::Ticket| futures_util::FutureExt::now_or_never(ticket);
    assert!(tickets.iter_mut().all(|ticket| settled(ticket) == Some(Ok(()))), "all are durable now");
    drop(run);
    files.power_cycle();
    let run = Run::start(&files, &contract::clock(), config(SEGMENT)).unwrap();
    assert_eq!(run.kept().unwrap().len() as u64, before as u64 / 2 + before as u64);
}

#[test]
fn a_report_without_room_does_not_hold_up_what_is_short() {
    let (files, mut run, count) = fill(6);
    let mut waits = Vec::new();
    for number in 0.. {
        let work = run.take().unwrap();
        let body = Bytes::from(octets(3_900, 1));
        let envelope = notification(&work.envelope, 10_000 + number, &body);
        let bounced = Box::new(fate(&work.envelope, FateKind::Bounced));
        let parts = vec![Part::Notification { envelope, body, fate: Some(bounced) }];
        let mut ticket = run.disk.settle(work.id, Decision::Wait(parts));
        run.committer.step();
        match futures_util::FutureExt::now_or_never(&mut ticket) {
            Some(settled) => assert_eq!(settled, Ok(())),
            None => {
                waits.push(ticket);
                break;
            }
        }
    }
    let (mut ended, mut held) = (0, 0);
    for _ in 0..count {
        let Some(work) = run.take() else { break };
        if work.envelope.mail_from.is_none() {
            run.disk.give_back(work.id);
            break;
        }
        match run.settle(work.id, done(&work.envelope)) {
            Some(settled) => {
                assert_eq!(settled, Ok(()));
                ended += 1;
            }
            None => held += 1,
        }
    }
    assert!(ended > 5, "{ended} ended, {held} held");
    files.set_faults(Faults::default());
    for _ in 0..5 {
        while matches!(run.disk.shared.prepared.step(), Ok(true)) {}
        run.committer.step();
    }
    let settled = futures_util::FutureExt::now_or_never(waits.remove(0));
    assert_eq!(settled, Some(Ok(())));
    let known: Vec<_> = run.kept().unwrap().into_keys().collect();
    drop(run);
    files.power_cycle();
    let run = Run::start(&files, &contract::clock(), config(SEGMENT)).unwrap();
    assert_eq!(run.kept().unwrap().into_keys().collect::<Vec<_>>(), known, "what went ahead is durable");
}

#[test]
fn at_every_cap_a_report_is_taken() {
    let files = PowerFiles::new(1, Faults::default());
    let capped = crate::disk::Config { max_envelopes: 1, max_bytes: SEGMENT, ..config(SEGMENT) };
    let mut run = Run::start(&files, &contract::clock(), config(SEGMENT)).unwrap();
    run.keep(message(1, &["example.org"], octets(1_000, 1))).unwrap();
    drop(run);
    let mut run = Run::start(&files, &contract::clock(), capped).unwrap();
    assert!(matches!(run.disk.room(1), Err(EnqueueError::Full(_))));
    let work = run.take().unwrap();
    let body = Bytes::from(octets(1_500, 2));
    let envelope = notification(&work.envelope, 2, &body);
    let remaining = Part::Remaining { envelope: after_attempt(&work.envelope), delay: DAY };
    let parts = vec![Part::Notification { envelope, body, fate: None }, remaining];
    assert_eq!(run.settle(work.id, Decision::Wait(parts)), Some(Ok(())));
    assert_eq!(run.take().unwrap().envelope.report_on, Some(work.envelope.queue_id));
}

#[test]
fn a_decision_without_room_waits_and_goes_on_when_there_is_some() {
    let (files, mut run, count) = fill(3);
    let mut tickets = Vec::new();
    for _ in 0..count {
        let work = run.take().unwrap();
        // A long story, so that the reserve is used up.
        let mut fate = contract::fate(&work.envelope, sluice_mail::FateKind::Delivered);
        fate.about.campaign = Some("x".repeat(3_000).into());
        tickets.push(run.disk.settle(work.id, Decision::Done(Box::new(fate))));
        run.committer.step();
    }
    let is_done = |ticket: &mut crate::Ticket| futures_util::FutureExt::now_or_never(ticket);
    tickets.retain_mut(|ticket| is_done(ticket).is_none());
    assert!(!tickets.is_empty(), "some wait for room");
    let refused = run.keep(message(500, &["example.org"], octets(1_000, 1)));
    assert!(matches!(refused, Err(EnqueueError::Full(_))), "{refused:?}");
    files.set_faults(Faults::default());
    for _ in 0..20 {
        run.committer.step();
    }
    assert!(tickets.iter_mut().all(|ticket| is_done(ticket) == Some(Ok(()))), "all are durable now");
}

#[test]
fn a_failing_write_or_sync_at_any_place_loses_nothing() {
    for n in 1..100 {
        for faults in [
            Faults { fail_sync: Some(n), ..Faults::default() },
            Faults { fail_write: Some((n, io::ErrorKind::StorageFull)), ..Faults::default() },
            Faults { fail_write: Some((n, io::ErrorKind::Other)), ..Faults::default() },
        ] {
            let outcome = Simulation::new(n, Faults::default()).run_with(faults, 150);
            assert_eq!(outcome, Ok(()), "{faults:?}");
        }
    }
}

#[test]
fn a_small_disk_loses_nothing() {
    for seed in 0..100 {
        for segments in [4, 6, 8] {
            let faults = Faults { room: Some(segments * SEGMENT), ..Faults::default() };
            let outcome = Simulation::new(seed, Faults::default()).run_with(faults, 400);
            assert_eq!(outcome, Ok(()), "{segments} segments, seed {seed}");
        }
    }
}

#[test]
fn after_a_failed_sync_nothing_is_promised_any_more() {
    let files = PowerFiles::new(1, Faults::default());
    let mut run = Run::start(&files, &contract::clock(), config(SEGMENT)).unwrap();
    run.keep(message(1, &["example.org"], octets(100, 1))).unwrap();
    let work = run.take().unwrap();
    assert!(run.disk.may_send(work.shard));
    let mut poisoned = run.disk.poisoned();
    assert_eq!(futures_util::FutureExt::now_or_never(&mut poisoned), None);
    files.set_faults(Faults { fail_sync: Some(1), ..Faults::default() });
    let first = run.keep(message(2, &["example.org"], octets(100, 1)));
    assert!(matches!(first, Err(EnqueueError::Poisoned(_))), "{first:?}");
    let second = run.keep(message(3, &["example.org"], octets(100, 1)));
    assert!(matches!(second, Err(EnqueueError::Poisoned(_))), "{second:?}");
    assert!(matches!(run.disk.room(1), Err(EnqueueError::Poisoned(_))));
    let settled = run.settle(work.id, done(&work.envelope));
    assert!(matches!(settled, Some(Err(SettleError::Poisoned(_)))), "{settled:?}");
    assert!(!run.disk.may_send(work.shard));
    let reason = futures_util::FutureExt::now_or_never(poisoned).unwrap();
    assert!(reason.contains("seg-00000001.log") && reason.contains("the disk is broken"), "{reason}");
}
