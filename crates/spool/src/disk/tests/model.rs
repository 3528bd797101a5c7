//! A log that is driven step by step without threads, and what must be true of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use sluice_mail::{Envelope, Event, FateKind, ManualClock, QueueId, Shard, UnixMs};

use super::power::{Faults, PowerFiles};
use crate::contract;
use crate::disk::committer::Committer;
use crate::disk::index::Phase;
use crate::disk::pump::{Pump, Source};
use crate::disk::start::{Parts, assemble};
use crate::disk::tidy::Tidier;
use crate::disk::{Config, Disk, Held, Life, OpenError};
use crate::{
    Accepted, Decision, Directive, EnqueueError, FateLog, NewMessage, Part, QueueView, Selector, SettleError,
    ShardEvent, ShardSource, Spool, Ticket, Window, Work, WorkId,
};

/// Small segments, so that they are begun, copied and given up all the time.
pub(super) fn config(segment_bytes: u64) -> Config {
    Config {
        segment_bytes,
        max_message_bytes: 4_000,
        max_bytes: 24 * segment_bytes,
        recent_fates: 20,
        cached_bytes: 20_000,
        ..Config::new(PathBuf::from("/spool"))
    }
}

/// One run of the engine, driven by hand.
pub(super) struct Run {
    pub(super) disk: Disk,
    pub(super) committer: Committer,
    pub(super) pump: Pump,
}

impl Run {
    pub(super) fn start(files: &PowerFiles, clock: &Arc<ManualClock>, config: Config) -> Result<Self, OpenError> {
        let parts = assemble(config, Arc::new(files.clone()), clock.clone())?;
        let Parts { shared, committer, losses, lock } = parts;
        shared.jobs.run_inline();
        let held = Held { committer: None, others: Vec::new(), lock: Some(lock), losses };
        let life = Arc::new(Life { shared: shared.clone(), held: Mutex::new(held) });
        let pump = Pump::new(shared.clone());
        Ok(Self { disk: Disk { shared, life }, committer, pump })
    }

    /// Accepts a message, made durable at once.
    pub(super) fn keep(&mut self, message: NewMessage) -> Result<Accepted, EnqueueError> {
        let mut accepted = self.disk.enqueue(message);
        if let Some(early) = (&mut accepted).now_or_never() {
            assert!(early.is_err(), "nothing is durable yet");
            return early;
        }
        self.committer.step();
        accepted.now_or_never().unwrap_or(Err(EnqueueError::Closing))
    }

    /// The next work, if there is some.
    pub(super) fn take(&mut self) -> Option<Work> {
        while self.pump.step() {}
        loop {
            match self.disk.next().now_or_never()? {
                ShardEvent::Work(work) => return Some(*work),
                ShardEvent::Owned(..) | ShardEvent::Draining(..) | ShardEvent::Lost(_) => {}
            }
        }
    }

    /// Settles, made durable at once.
    pub(super) fn settle(&mut self, work: WorkId, decision: Decision) -> Option<Result<(), SettleError>> {
        let ticket = self.disk.settle(work, decision);
        self.committer.step();
        ticket.now_or_never()
    }

    pub(super) fn tidy(&mut self) {
        let committer = &mut self.committer;
        let wait = |latch: &crate::disk::queue::Latch| {
            for _ in 0..50 {
                if let Some(outcome) = latch.outcome() {
                    return outcome;
                }
                committer.step();
            }
            false
        };
        Tidier::new(self.disk.shared.clone(), Box::new(wait)).step();
    }

    /// Every envelope that is kept, read from the disk.
    pub(super) fn kept(&self) -> Result<BTreeMap<QueueId, (Envelope, Bytes)>, String> {
        let state = self.disk.shared.state();
        let mut kept = BTreeMap::new();
        for slot in 0..state.index.bound() {
            if state.index.slot(slot).phase == Phase::Free {
                continue;
            }
            let queue_id = state.index.slot(slot).queue_id;
            let source = Source::of(&state, slot).ok_or(format!("{queue_id} lies in no segment"))?;
            let problem = |e| format!("{queue_id} cannot be read: {e}");
            let found = (source.envelope().map_err(problem)?, source.body().map_err(problem)?);
            if kept.insert(queue_id, found).is_some() {
                return Err(format!("{queue_id} is there twice"));
            }
        }
        Ok(kept)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sure {
    No,
    Maybe,
    Yes,
}

/// What is known of an envelope.
#[derive(Clone, Debug)]
struct Known {
    body: Bytes,
    born: Sure,
    ended: Sure,
    /// By its last durable record, and by the one that is on its way.
    attempts: u32,
    next_attempts: Option<u32>,
}

/// An event by what it tells: of this envelope the fate, or the attempt of this number.
type Told = (QueueId, Option<u32>);

struct Settling {
    queue_id: QueueId,
    note: Option<QueueId>,
    ends: bool,
    tells: Vec<Told>,
    ticket: Ticket,
}

type Enqueuing = (Vec<QueueId>, BoxFuture<'static, Result<Accepted, EnqueueError>>);

/// A sequence of runs, each ended by a power cut, a kill or a clean end, with checks after each start.
pub(super) struct Simulation {
    rng: StdRng,
    pub(super) files: PowerFiles,
    clock: Arc<ManualClock>,
    config: Config,
    known: BTreeMap<QueueId, Known>,
    /// Envelopes of one message live or die together until it is acknowledged.
    groups: Vec<Vec<QueueId>>,
    next: u64,
    enqueuing: Vec<Enqueuing>,
    settling: Vec<Settling>,
    active: Vec<(WorkId, Envelope)>,
    /// What the reader of events has noted durably, and what it has read since.
    committed: BTreeSet<Told>,
    read: BTreeSet<Told>,
    has_reader: bool,
    /// Durable events since the reader existed.
    due_to_reader: BTreeSet<Told>,
}

impl Simulation {
    pub(super) fn new(seed: u64, faults: Faults) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let segment = [16 << 10, 32 << 10][rng.random_range(0..2)];
        let has_reader = rng.random_bool(0.5);
        Self {
            files: PowerFiles::new(seed, faults),
            clock: contract::clock(),
            config: config(segment),
            known: BTreeMap::new(),
            groups: Vec::new(),
            next: 1,
            enqueuing: Vec::new(),
            settling: Vec::new(),
            active: Vec::new(),
            committed: BTreeSet::new(),
            read: BTreeSet::new(),
            has_reader,
            due_to_reader: BTreeSet::new(),
            rng,
        }
    }

    /// Runs `lives` lives of up to `steps` steps; what was violated.
    pub(super) fn run(&mut self, lives: usize, steps: usize) -> Result<(), String> {
        for life in 0..lives {
            // Early ends show what a start itself must make durable.
            let fuse = if self.rng.random_bool(0.3) { 20 } else { steps as u64 };
            let fuse = self.rng.random_range(1..=fuse);
            let by_cut = self.rng.random_bool(0.7);
            self.files.set_fuse(by_cut.then_some(fuse));
            // The power can go while starting, too.
            match Run::start(&self.files, &self.clock, self.config.clone()) {
                Ok(mut run) => {
                    self.check(&run).map_err(|e| format!("life {life}: {e}"))?;
                    self.live(&mut run, steps).map_err(|e| format!("life {life}: {e}"))?;
                    self.end(run);
                }
                Err(_) if self.files.is_off() => {}
                Err(error) => return Err(format!("life {life}: does not start: {error}")),
            }
            if self.rng.random_bool(0.6) { self.files.power_cycle() } else { self.files.kill() }
        }
        self.files.set_fuse(None);
        let run = Run::start(&self.files, &self.clock, self.config.clone()).map_err(|e| format!("at last: {e}"))?;
        self.check(&run).map_err(|e| format!("at last: {e}"))
    }

    /// One life with a disk that fails, and what is there after it was mended.
    pub(super) fn run_with(&mut self, faults: Faults, steps: usize) -> Result<(), String> {
        self.files.set_faults(faults);
        // It need not start.
        if let Ok(mut run) = Run::start(&self.files, &self.clock, self.config.clone()) {
            self.live(&mut run, steps)?;
            self.end(run);
        }
        self.files.set_faults(Faults::default());
        self.files.power_cycle();
        let run = Run::start(&self.files, &self.clock, self.config.clone()).map_err(|e| e.to_string())?;
        self.check(&run)
    }

    fn live(&mut self, run: &mut Run, steps: usize) -> Result<(), String> {
        run.disk.window(Shard(0), Window { max_items: 12, max_bytes: 30_000, max_items_per_domain: 5 });
        for _ in 0..steps {
            if self.files.is_off() {
                return Ok(());
            }
            match self.rng.random_range(0..100) {
                0..25 => self.enqueue(run),
                25..50 => self.take(run)?,
                50..70 => self.settle(run),
                70..85 => run.committer.step(),
                85..88 => drop(run.pump.step()),
                88..91 => drop(run.disk.shared.prepared.step()),
                91..94 => run.tidy(),
                94..96 => self.clock.advance(Duration::from_secs(100)),
                96..97 => drop(run.disk.act(&Selector::default(), Directive::RetryNow)),
                _ => self.read_events(run)?,
            }
            self.poll();
        }
        Ok(())
    }

    /// A clean end now and then.
    fn end(&mut self, mut run: Run) {
        if !self.files.is_off() && self.rng.random_bool(0.3) {
            run.committer.step();
            run.committer.finish();
            self.poll();
        }
        drop(run);
        self.poll();
        self.enqueuing.clear();
        self.active.clear();
    }

    fn envelope(&mut self, queue_id: QueueId, body: &Bytes) -> Envelope {
        let domain = ["a.example", "b.example", "c.example"][self.rng.random_range(0..3)];
        contract::envelope(queue_id, domain, body)
    }

    fn body(&mut self) -> Bytes {
        let mut body = vec![0; self.rng.random_range(0..3_000)];
        self.rng.fill_bytes(&mut body);
        body.into()
    }

    fn enqueue(&mut self, run: &Run) {
        let body = self.body();
        let id = QueueId::new(UnixMs(1), self.next, 0);
        self.next += 1;
        let count = self.rng.random_range(1..4);
        let envelopes: Vec<_> = (0..count).map(|i| self.envelope(id.envelope(i), &body)).collect();
        let ids: Vec<_> = envelopes.iter().map(|e| e.queue_id).collect();
        for id in &ids {
            self.learn(*id, body.clone());
        }
        let future = run.disk.enqueue(NewMessage { envelopes, body });
        self.groups.push(ids.clone());
        self.enqueuing.push((ids, future));
    }

    fn learn(&mut self, id: QueueId, body: Bytes) {
        let known = Known { body, born: Sure::Maybe, ended: Sure::No, attempts: 0, next_attempts: None };
        self.known.insert(id, known);
    }

    fn take(&mut self, run: &Run) -> Result<(), String> {
        let work = match run.disk.next().now_or_never() {
            Some(ShardEvent::Work(work)) => work,
            Some(ShardEvent::Owned(..) | ShardEvent::Draining(..) | ShardEvent::Lost(_)) | None => return Ok(()),
        };
        let id = work.envelope.queue_id;
        let known = self.known.get(&id).ok_or(format!("{id} was never accepted"))?;
        if known.ended == Sure::Yes {
            return Err(format!("{id} was handed out after its end"));
        }
        if self.active.iter().any(|(_, e)| e.queue_id == id) || known.ended == Sure::Maybe {
            return Err(format!("{id} was handed out twice"));
        }
        if work.envelope.attempts != known.attempts {
            return Err(format!("{id} came with {} attempts, not {}", work.envelope.attempts, known.attempts));
        }
        let body = work.body.clone().or_else(|| run.disk.body(work.id).now_or_never()?.ok());
        if body.as_ref() != Some(&known.body) {
            return Err(format!("{id} came with another body"));
        }
        self.active.push((work.id, work.envelope));
        Ok(())
    }

    fn settle(&mut self, run: &Run) {
        if self.active.is_empty() {
            return;
        }
        let (work, envelope) = self.active.swap_remove(self.rng.random_range(0..self.active.len()));
        let queue_id = envelope.queue_id;
        let fate = contract::fate(&envelope, FateKind::Delivered);
        let mut after = envelope.clone();
        after.attempts += 1;
        let delay = Duration::from_secs(self.rng.random_range(0..300));
        let remaining = Part::Remaining { envelope: Box::new(after), delay };
        let attempt = Part::Attempt(Box::new(contract::attempt(&envelope, UnixMs(1))));
        let (ended, tried) = ((queue_id, None), (queue_id, Some(envelope.attempts + 1)));
        let (decision, ends, note, tells) = match self.rng.random_range(0..13) {
            0..5 => (Decision::Done(Box::new(fate)), true, None, vec![ended]),
            5 => (Decision::Wait(vec![remaining]), false, None, Vec::new()),
            6..8 => (Decision::Wait(vec![attempt, remaining]), false, None, vec![tried]),
            8..10 => {
                let (part, id) = self.notification(&envelope, None);
                (Decision::Wait(vec![attempt, part, remaining]), false, Some(id), vec![tried])
            }
            10 => {
                let (part, id) = self.notification(&envelope, Some(fate));
                (Decision::Wait(vec![part]), true, Some(id), vec![ended])
            }
            11 => {
                let (part, id) = self.notification(&envelope, Some(fate));
                (Decision::Wait(vec![part, attempt]), true, Some(id), vec![tried, ended])
            }
            _ => {
                // Neither leaves a record.
                if self.rng.random_bool(0.5) {
                    drop(run.disk.settle(work, Decision::Divert { eta: delay }));
                } else {
                    run.disk.give_back(work);
                }
                return;
            }
        };
        let known = self.known.get_mut(&queue_id).unwrap();
        if ends {
            known.ended = Sure::Maybe
        } else {
            known.next_attempts = Some(envelope.attempts + 1)
        }
        let ticket = run.disk.settle(work, decision);
        self.settling.push(Settling { queue_id, note, ends, tells, ticket });
    }

    /// Its id is the same when the attempt has to be made again.
    fn notification(&mut self, about: &Envelope, fate: Option<sluice_mail::Fate>) -> (Part, QueueId) {
        let body = self.body();
        let id = about.queue_id.report(about.attempts + 1, 0);
        let envelope = Box::new(self.envelope(id, &body));
        self.learn(id, body.clone());
        (Part::Notification { envelope, body, fate: fate.map(Box::new) }, id)
    }

    /// Learns what was acknowledged.
    fn poll(&mut self) {
        let mut enqueuing = std::mem::take(&mut self.enqueuing);
        enqueuing.retain_mut(|(ids, future)| match future.now_or_never() {
            None => true,
            Some(Ok(_)) => {
                self.groups.retain(|group| group != ids);
                ids.iter().for_each(|id| self.known.get_mut(id).unwrap().born = Sure::Yes);
                false
            }
            Some(Err(EnqueueError::Full(_))) => {
                self.groups.retain(|group| group != ids);
                ids.iter().for_each(|id| drop(self.known.remove(id)));
                false
            }
            Some(Err(EnqueueError::Poisoned(_) | EnqueueError::Closing)) => false,
        });
        self.enqueuing = enqueuing;
        let settling = std::mem::take(&mut self.settling);
        for mut one in settling {
            match (&mut one.ticket).now_or_never() {
                Some(Ok(())) => self.settled(&one),
                Some(Err(_)) => self.settling.push(Settling { ticket: futures_util::future::pending().boxed(), ..one }),
                None => self.settling.push(one),
            }
        }
    }

    fn settled(&mut self, one: &Settling) {
        let known = self.known.get_mut(&one.queue_id).unwrap();
        if one.ends {
            known.ended = Sure::Yes;
        } else {
            known.attempts = known.next_attempts.take().unwrap();
        }
        self.due_to_reader.extend(&one.tells);
        if let Some(note) = one.note {
            self.known.get_mut(&note).unwrap().born = Sure::Yes;
        }
    }

    fn read_events(&mut self, run: &mut Run) -> Result<(), String> {
        if !self.has_reader {
            return Ok(());
        }
        let read = run.disk.read("audit", 7).now_or_never().ok_or("reading events waits")?;
        let read = match read {
            Ok(read) => read,
            Err(_) if self.files.is_off() => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        self.read.extend(read.events.iter().map(told));
        if self.rng.random_bool(0.7) {
            if self.committed.is_empty() {
                // Before the reader first committed nothing was kept for it.
                self.due_to_reader.clear();
            }
            drop(run.disk.commit("audit", read.next));
            run.committer.step();
            self.committed.append(&mut self.read);
        }
        Ok(())
    }

    /// After a start: everything acknowledged is there and nothing else is.
    fn check(&mut self, run: &Run) -> Result<(), String> {
        let kept = run.kept()?;
        for id in kept.keys() {
            if !self.known.contains_key(id) {
                return Err(format!("{id} was never accepted"));
            }
        }
        for group in self.groups.drain(..) {
            let there = group.iter().filter(|id| kept.contains_key(id)).count();
            if there != 0 && there != group.len() {
                return Err(format!("of the {} envelopes of {} only {there} are there", group.len(), group[0]));
            }
        }
        self.check_settling(&kept)?;
        let mut forgotten = Vec::new();
        for (id, known) in &mut self.known {
            match kept.get(id) {
                Some((envelope, body)) => check_kept(*id, known, envelope, body)?,
                None if known.ended == Sure::Maybe => known.ended = Sure::Yes,
                None if known.ended == Sure::Yes => {}
                None if known.born == Sure::Yes => return Err(format!("{id} was accepted and is lost")),
                None => forgotten.push(*id),
            }
        }
        forgotten.iter().for_each(|id| drop(self.known.remove(id)));
        self.read.clear();
        self.check_events(run)
    }

    fn check_settling(&mut self, kept: &BTreeMap<QueueId, (Envelope, Bytes)>) -> Result<(), String> {
        for one in self.settling.drain(..) {
            let known = &self.known[&one.queue_id];
            let done = match kept.get(&one.queue_id) {
                None => true,
                Some((envelope, _)) => !one.ends && Some(envelope.attempts) == known.next_attempts,
            };
            if done {
                self.due_to_reader.extend(&one.tells);
            }
            if let Some(note) = one.note
                && kept.contains_key(&note) != done
            {
                return Err(format!("the decision on {} is done by half", one.queue_id));
            }
        }
        Ok(())
    }

    /// What is told is true and in order, and every event is still to be read, or was read and noted before.
    fn check_events(&mut self, run: &Run) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        loop {
            let read = run.disk.read("check", 1_000).now_or_never().ok_or("reading events waits")?;
            let read = read.map_err(|e| e.to_string())?;
            if read.events.is_empty() {
                break;
            }
            for event in read.events.iter().map(told) {
                self.check_told(event, &seen)?;
                seen.insert(event);
            }
        }
        seen.extend(&self.committed);
        if self.committed.is_empty() {
            return Ok(());
        }
        match self.due_to_reader.iter().find(|event| !seen.contains(event)) {
            Some(event) => Err(format!("{event:?} was never read")),
            None => Ok(()),
        }
    }

    fn check_told(&self, event: Told, before: &BTreeSet<Told>) -> Result<(), String> {
        let (id, attempt) = event;
        let known = self.known.get(&id).ok_or(format!("{event:?} is told, and was never accepted"))?;
        let is_true = match attempt {
            Some(number) => number <= known.attempts || known.ended == Sure::Yes,
            None => known.ended == Sure::Yes,
        };
        // No later one of the same envelope was told before; its fate is the last of all.
        let later = attempt.map_or(u32::MAX, |number| number);
        let overtaken =
            before.contains(&(id, None)) || before.range((id, Some(later))..(id, Some(u32::MAX))).count() > 0;
        if !is_true || overtaken {
            return Err(format!("{event:?} is told: true: {is_true}, overtaken or doubled: {overtaken}"));
        }
        Ok(())
    }
}

fn told(event: &Event) -> Told {
    match event {
        Event::Fate(fate) => (fate.about.queue_id, None),
        Event::Attempt(attempt) => (attempt.about.queue_id, Some(attempt.number)),
    }
}

fn check_kept(id: QueueId, known: &mut Known, envelope: &Envelope, body: &Bytes) -> Result<(), String> {
    if known.ended == Sure::Yes {
        return Err(format!("{id} ended and is back"));
    }
    if *body != known.body {
        return Err(format!("{id} has another body"));
    }
    if envelope.attempts != known.attempts && Some(envelope.attempts) != known.next_attempts {
        return Err(format!("{id} has {} attempts, not {}", envelope.attempts, known.attempts));
    }
    (known.attempts, known.next_attempts) = (envelope.attempts, None);
    (known.born, known.ended) = (Sure::Yes, Sure::No);
    Ok(())
}
