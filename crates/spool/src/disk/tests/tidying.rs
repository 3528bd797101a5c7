//! Segments come and go: their number stays bounded, and what lives in them stays.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use sluice_mail::{Event, FateKind, ManualClock, Shard};

use super::model::{Run, config};
use super::power::{Faults, PowerFiles};
use crate::contract::{self, after_attempt, attempt, done, fate, id, message, notification, octets};
use crate::disk::Files;
use crate::{Decision, FateLog, Part, QueueView, ShardSource, Window};

const SEGMENT: u64 = 16 << 10;
const WIDE: Window = Window { max_items: 10_000, max_bytes: 1 << 30, max_items_per_domain: 10_000 };

struct Stage {
    files: PowerFiles,
    clock: std::sync::Arc<ManualClock>,
    run: Run,
    next: u64,
}

impl Stage {
    fn new() -> Self {
        let (files, clock) = (PowerFiles::new(1, Faults::default()), contract::clock());
        let run = Run::start(&files, &clock, config(SEGMENT)).unwrap();
        run.disk.window(Shard(0), WIDE);
        Self { files, clock, run, next: 1 }
    }

    fn keep(&mut self, domain: &str) {
        self.run.keep(message(self.next, &[domain], octets(1_000, self.next as u8))).unwrap();
        self.next += 1;
    }

    /// Accepts and delivers so many messages.
    fn deliver(&mut self, count: usize) {
        for _ in 0..count {
            self.keep("quick.example");
            let work = self.run.take().unwrap();
            assert_eq!(self.run.settle(work.id, done(&work.envelope)), Some(Ok(())));
        }
    }

    fn tidy(&mut self) {
        for _ in 0..20 {
            self.run.tidy();
            while self.run.disk.shared.prepared.step().unwrap() {}
        }
    }

    fn segments(&self) -> u64 {
        self.run.disk.stats().segments
    }

    fn on_disk(&self) -> usize {
        self.files.list(&config(SEGMENT).dir).unwrap().len()
    }

    fn restart(self) -> Self {
        let Self { files, clock, run, next } = self;
        drop(run);
        files.power_cycle();
        let run = Run::start(&files, &clock, config(SEGMENT)).unwrap();
        run.disk.window(Shard(0), WIDE);
        Self { files, clock, run, next }
    }
}

#[test]
fn segments_of_delivered_mail_are_used_again() {
    let mut stage = Stage::new();
    for _ in 0..30 {
        stage.deliver(20);
        stage.tidy();
        assert!(stage.segments() <= 3, "{} segments", stage.segments());
        assert!(stage.on_disk() <= 7, "{} files", stage.on_disk());
    }
    let stage = stage.restart();
    assert!(stage.run.kept().unwrap().is_empty());
}

#[test]
fn mail_that_waits_long_holds_no_segments_but_its_own() {
    let mut stage = Stage::new();
    // Some of it dies at once, so that its segment is neither empty nor nearly so.
    for number in 0..10 {
        stage.keep(if number % 2 == 0 { "slow.example" } else { "quick.example" });
        let work = stage.run.take().unwrap();
        let wait = Part::Remaining { envelope: after_attempt(&work.envelope), delay: Duration::from_secs(3_600) };
        let decision = if number % 2 == 0 { Decision::Wait(vec![wait]) } else { done(&work.envelope) };
        assert_eq!(stage.run.settle(work.id, decision), Some(Ok(())));
    }
    for _ in 0..20 {
        stage.deliver(20);
        stage.clock.advance(Duration::from_secs(31));
        stage.tidy();
        assert!(stage.segments() <= 5, "{} segments", stage.segments());
    }
    let stage = stage.restart();
    let kept = stage.run.kept().unwrap();
    assert_eq!(kept.len(), 5);
    for (number, (queue_id, (envelope, body))) in (1..).step_by(2).zip(kept) {
        assert_eq!(queue_id, id(number));
        assert_eq!(envelope.attempts, 1, "the newest record counts");
        assert_eq!(body, octets(1_000, number as u8));
    }
}

#[test]
fn what_little_lives_is_copied() {
    let mut stage = Stage::new();
    for number in 0..60 {
        stage.keep(if number % 12 == 0 { "slow.example" } else { "quick.example" });
    }
    let mut held = Vec::new();
    while let Some(work) = stage.run.take() {
        if work.envelope.queue_id.to_bytes()[13] % 12 == 1 {
            held.push(work);
        } else {
            assert_eq!(stage.run.settle(work.id, done(&work.envelope)), Some(Ok(())));
        }
    }
    let before = stage.segments();
    stage.tidy();
    assert_eq!(stage.run.disk.stats().compacted, 0, "what is new may be delivered any moment");
    stage.clock.advance(Duration::from_secs(31));
    stage.tidy();
    assert!(stage.segments() < before && stage.segments() <= 3, "{} of {before} segments", stage.segments());
    assert!(stage.run.disk.stats().compacted > 0);
    // Work that was handed out is settled where it is now.
    assert_eq!(held.len(), 5);
    let last = held.pop().unwrap();
    for work in held {
        let body = stage.run.disk.body(work.id).now_or_never().unwrap().unwrap();
        assert_eq!(body, octets(1_000, work.envelope.queue_id.to_bytes()[13]));
        assert_eq!(stage.run.settle(work.id, done(&work.envelope)), Some(Ok(())));
    }
    let stage = stage.restart();
    let kept = stage.run.kept().unwrap();
    assert_eq!(kept.keys().copied().collect::<Vec<_>>(), [last.envelope.queue_id]);
}

#[test]
fn unread_fates_hold_segments_until_they_are_read() {
    let mut stage = Stage::new();
    let commit = |stage: &mut Stage, count: usize| {
        let fates = stage.run.disk.read("audit", count).now_or_never().unwrap().unwrap();
        drop(stage.run.disk.commit("audit", fates.next));
        stage.run.committer.step();
        fates.events.len()
    };
    stage.deliver(1);
    assert_eq!(commit(&mut stage, 10), 1);
    stage.deliver(100);
    stage.tidy();
    let held = stage.segments();
    assert!(held > 5, "{held} segments");
    stage = stage.restart();
    assert_eq!(commit(&mut stage, 60), 60, "none is missing, also after a restart");
    stage.tidy();
    assert!(stage.segments() < held, "what was read is given up");
    assert_eq!(commit(&mut stage, 1_000), 40);
    stage.tidy();
    assert!(stage.segments() <= 3, "{} segments", stage.segments());

    stage.deliver(100);
    stage.clock.advance(Duration::from_secs(7 * 24 * 3600 - 1));
    stage.tidy();
    assert!(stage.segments() > 5, "{} segments", stage.segments());
    stage.clock.advance(Duration::from_secs(1));
    stage.tidy();
    assert!(stage.segments() <= 3, "after a week they are given up unread");
    stage.deliver(1);
    assert_eq!(commit(&mut stage, 1_000) as u64, stage.next - 1 - left_out(&stage), "and reading goes on");
}

/// Delivered before the oldest fate that is left.
fn left_out(stage: &Stage) -> u64 {
    let left = stage.run.disk.read("another", 1_000).now_or_never().unwrap().unwrap();
    stage.next - 1 - left.events.len() as u64
}

/// Wait frames with an attempt, a report and what remains, in segments of which nothing else lives.
fn attempts(stage: &mut Stage, count: usize) {
    for number in 0..count {
        stage.keep("slow.example");
        let work = stage.run.take().unwrap();
        let body = Bytes::from(octets(500, number as u8));
        let envelope = notification(&work.envelope, 1_000 + stage.next, &body);
        let parts = vec![
            Part::Attempt(Box::new(attempt(&work.envelope, contract::START))),
            Part::Notification { envelope, body, fate: None },
            Part::Remaining { envelope: after_attempt(&work.envelope), delay: Duration::from_secs(3_600) },
        ];
        assert_eq!(stage.run.settle(work.id, Decision::Wait(parts)), Some(Ok(())));
        let report = stage.run.take().unwrap();
        assert_eq!(report.envelope.report_on, Some(work.envelope.queue_id));
        assert_eq!(stage.run.settle(report.id, done(&report.envelope)), Some(Ok(())));
    }
}

#[test]
fn unread_attempts_hold_segments_until_they_are_read() {
    let mut stage = Stage::new();
    let read = |stage: &Stage, reader: &str, max: usize| {
        let read = stage.run.disk.read(reader, max).now_or_never().unwrap().unwrap();
        let numbers = read.events.iter().filter(|event| matches!(event, Event::Attempt(_))).count();
        (numbers, read.events.len() - numbers, read.next)
    };
    let (.., start) = read(&stage, "audit", 1);
    drop(stage.run.disk.commit("audit", start));
    stage.run.committer.step();
    attempts(&mut stage, 20);
    for _ in 0..3 {
        stage.deliver(20);
        stage.clock.advance(Duration::from_secs(31));
        stage.tidy();
        stage = stage.restart();
    }
    let held = stage.segments();
    let (told, ended, next) = read(&stage, "audit", 1_000);
    assert_eq!((told, ended), (20, 80), "none is missing");
    drop(stage.run.disk.commit("audit", next));
    stage.run.committer.step();
    stage.tidy();
    stage.clock.advance(Duration::from_secs(31));
    stage.tidy();
    assert!(stage.segments() < held, "{} of {held} segments", stage.segments());
    assert_eq!(stage.run.kept().unwrap().len(), 20, "what waits was copied");
    assert_eq!(stage.restart().run.kept().unwrap().len(), 20);
}

#[test]
fn reports_and_their_originals_survive_the_copying_of_their_segment() {
    let mut stage = Stage::new();
    let mut expected = Vec::new();
    for number in 0..12 {
        stage.keep("slow.example");
        let work = stage.run.take().unwrap();
        let body = Bytes::from(octets(700, number));
        let envelope = notification(&work.envelope, 1_000 + u64::from(number), &body);
        expected.push((envelope.queue_id, 0, body.clone()));
        let ends = number % 2 == 0;
        let ended = ends.then(|| Box::new(fate(&work.envelope, FateKind::Bounced)));
        let mut parts = vec![Part::Notification { envelope, body, fate: ended }];
        if !ends {
            parts.push(Part::Attempt(Box::new(attempt(&work.envelope, contract::START))));
            let envelope = after_attempt(&work.envelope);
            expected.push((envelope.queue_id, 1, Bytes::from(octets(1_000, work.envelope.queue_id.to_bytes()[13]))));
            parts.push(Part::Remaining { envelope, delay: Duration::from_secs(360_000) });
        }
        assert_eq!(stage.run.settle(work.id, Decision::Wait(parts)), Some(Ok(())));
        // The reports are put off, so that they live among what dies.
        let report = stage.run.take().unwrap();
        let wait = Decision::Divert { eta: Duration::from_secs(360_000) };
        assert_eq!(stage.run.settle(report.id, wait), Some(Ok(())));
        stage.deliver(10);
    }
    expected.sort();
    for round in 0..2 {
        stage.clock.advance(Duration::from_secs(31));
        stage.tidy();
        assert!(round > 0 || stage.run.disk.stats().compacted > 0);
        stage = stage.restart();
        let kept = stage.run.kept().unwrap().into_iter();
        let kept: Vec<_> = kept.map(|(id, (envelope, body))| (id, envelope.attempts, body)).collect();
        assert_eq!(kept, expected);
        // All are due or wait as before, none was handed out twice.
        let totals = stage.run.disk.totals();
        assert_eq!(totals.ready + totals.active + totals.waiting, expected.len() as u64);
        while let Some(work) = stage.run.take() {
            let wait = Decision::Divert { eta: Duration::from_secs(360_000) };
            assert_eq!(stage.run.settle(work.id, wait), Some(Ok(())));
        }
        stage.deliver(30);
    }
}

#[test]
fn without_readers_nothing_is_held() {
    let mut stage = Stage::new();
    stage.deliver(100);
    drop(stage.run.disk.read("looks only", 10).now_or_never());
    stage.tidy();
    assert!(stage.segments() <= 3, "{} segments", stage.segments());
    assert_eq!(stage.run.disk.totals().ready, 0);
    // A reader whose place was given up goes on with what is left.
    assert!(stage.run.disk.read("looks only", 1_000).now_or_never().unwrap().is_ok());
}

#[test]
fn a_forgotten_reader_holds_nothing() {
    let mut stage = Stage::new();
    drop(stage.run.disk.commit("audit", crate::Position(0)));
    stage.run.committer.step();
    stage.deliver(100);
    stage.tidy();
    assert!(stage.segments() > 3, "{} segments", stage.segments());
    drop(stage.run.disk.forget("audit"));
    stage.run.committer.step();
    stage.tidy();
    assert!(stage.segments() <= 3, "{} segments", stage.segments());
}

#[test]
fn a_body_that_is_read_back_keeps_little_else_in_memory() {
    let (files, clock) = (PowerFiles::new(1, Faults::default()), contract::clock());
    let mut run = Run::start(&files, &clock, config(256 << 10)).unwrap();
    let domains: Vec<String> = (0..400).map(|i| format!("d{i}.example")).collect();
    let domains: Vec<&str> = domains.iter().map(String::as_str).collect();
    run.keep(message(1, &domains, octets(1_000, 1))).unwrap();
    drop(run);
    files.power_cycle();
    let mut run = Run::start(&files, &clock, config(256 << 10)).unwrap();
    run.disk.window(Shard(0), WIDE);
    for _ in 0..domains.len() {
        let body = run.take().unwrap().body.unwrap();
        assert_eq!(body, octets(1_000, 1));
        // Of the buffer that it lies in.
        let held = Vec::from(body).capacity();
        assert!(held <= 8 << 10, "{held} octets");
    }
}
