//! The twin: everything in memory, for tests of logic. Durable means nothing here.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use sluice_mail::{Clock, Envelope, Event, Fate, Host, QueueId, Shard, UnixMs};
use tokio::sync::Notify;

use crate::{
    Accepted, BodyError, Decision, Directive, DomainCount, EnqueueError, Entry, Events, FateLog, NewMessage, Part,
    Position, QueueView, Selector, SettleError, ShardEvent, ShardSource, Spool, State, Ticket, Totals, Window, Work,
    WorkId,
};

/// Events kept for [`QueueView::list`] and all readers.
const RECENT_EVENTS: usize = 10_000;

/// An engine without a disk. Bounded in envelopes, in octets of bodies, and by the window.
pub struct Memory {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    max_envelopes: usize,
    max_bytes: u64,
    state: Mutex<Inner>,
    wake: Notify,
}

struct Inner {
    owned_told: bool,
    window: Window,
    kept: BTreeMap<QueueId, Kept>,
    /// Octets of the bodies of all that is kept.
    kept_bytes: u64,
    ready: VecDeque<QueueId>,
    due: BTreeSet<(UnixMs, QueueId)>,
    active: HashMap<WorkId, QueueId>,
    active_bytes: usize,
    active_by_domain: HashMap<Host, usize>,
    next_work: u64,
    events: VecDeque<(u64, Event)>,
    next_event: u64,
    readers: HashMap<String, Reader>,
}

struct Kept {
    envelope: Envelope,
    body: Bytes,
    state: State,
}

#[derive(Default)]
struct Reader {
    read: u64,
    committed: u64,
}

impl Memory {
    /// An empty spool that tells due times by `clock` and holds `max_envelopes` at most.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, max_envelopes: usize) -> Self {
        Self::with_max_bytes(clock, max_envelopes, u64::MAX)
    }

    /// The same, with a bound on the octets of bodies too, each counted once per envelope.
    #[must_use]
    pub fn with_max_bytes(clock: Arc<dyn Clock>, max_envelopes: usize, max_bytes: u64) -> Self {
        let window = Window { max_items: 1_000, max_bytes: 64 << 20, max_items_per_domain: 1_000 };
        let state = Inner {
            owned_told: false,
            window,
            kept: BTreeMap::new(),
            kept_bytes: 0,
            ready: VecDeque::new(),
            due: BTreeSet::new(),
            active: HashMap::new(),
            active_bytes: 0,
            active_by_domain: HashMap::new(),
            next_work: 0,
            events: VecDeque::new(),
            next_event: 1,
            readers: HashMap::new(),
        };
        let shared = Shared { clock, max_envelopes, max_bytes, state: Mutex::new(state), wake: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Looks at the clock again: to be called when a hand-driven clock was moved.
    pub fn clock_moved(&self) {
        self.shared.wake.notify_one();
    }

    /// What a restart does to an engine: what was handed out is due, and readers are where they last committed.
    #[must_use]
    pub fn restarted(self) -> Self {
        let mut state = self.shared.lock();
        state.owned_told = false;
        let active: Vec<_> = state.active.keys().copied().collect();
        for work in active {
            if let Some(id) = state.recall(work) {
                state.set_ready(id);
            }
        }
        state.readers.values_mut().for_each(|reader| reader.read = reader.committed);
        drop(state);
        self
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `envelopes` more with `bytes` more would go beyond the caps.
    fn room(&self, state: &Inner, envelopes: usize, bytes: u64) -> Result<(), EnqueueError> {
        if state.kept.len().saturating_add(envelopes) > self.max_envelopes {
            return Err(EnqueueError::Full(format!("{} envelopes are waiting", state.kept.len())));
        }
        if state.kept_bytes.saturating_add(bytes) > self.max_bytes {
            return Err(EnqueueError::Full(format!("{} octets are waiting", state.kept_bytes)));
        }
        Ok(())
    }
}

impl Inner {
    fn keep(&mut self, envelope: Envelope, body: Bytes) {
        self.kept_bytes += body.len() as u64;
        let replaced = self.kept.insert(envelope.queue_id, Kept { envelope, body, state: State::Ready });
        self.kept_bytes -= replaced.map_or(0, |kept| kept.body.len() as u64);
    }

    fn forget(&mut self, id: QueueId) -> Option<Kept> {
        let kept = self.kept.remove(&id)?;
        self.kept_bytes -= kept.body.len() as u64;
        Some(kept)
    }

    /// Moves what is due by `now` to the ready ones; when the next is due.
    fn ripen(&mut self, now: UnixMs) -> Option<UnixMs> {
        while let Some((at, id)) = self.due.first().copied() {
            if at > now {
                return Some(at);
            }
            self.due.pop_first();
            self.set_ready(id);
        }
        None
    }

    fn set_ready(&mut self, id: QueueId) {
        if let Some(kept) = self.kept.get_mut(&id) {
            kept.state = State::Ready;
            self.ready.push_back(id);
        }
    }

    fn wait(&mut self, id: QueueId, until: UnixMs) {
        if let Some(kept) = self.kept.get_mut(&id) {
            kept.state = State::Waiting(until);
            self.due.insert((until, id));
        }
    }

    /// The first ready envelope whose domain has room in the window, when all of the window has room for it too:
    /// so a large one waits until there is, and is not overtaken for ever.
    fn hand_out(&mut self, shard: Shard) -> Option<Box<Work>> {
        let place =
            self.ready.iter().position(|id| self.kept.get(id).is_some_and(|kept| self.domain_has_room(kept)))?;
        let id = *self.ready.get(place)?;
        if !self.has_room(self.kept.get(&id)?) {
            return None;
        }
        self.ready.remove(place);
        let work = WorkId(self.next_work);
        self.next_work += 1;
        let kept = self.kept.get_mut(&id)?;
        kept.state = State::Active;
        self.active.insert(work, id);
        self.active_bytes += kept.body.len();
        *self.active_by_domain.entry(kept.envelope.domain.clone()).or_default() += 1;
        let body = (kept.body.len() <= 64 << 10).then(|| kept.body.clone());
        Some(Box::new(Work { id: work, shard, envelope: kept.envelope.clone(), body }))
    }

    fn domain_has_room(&self, kept: &Kept) -> bool {
        let outstanding = self.active_by_domain.get(&kept.envelope.domain).copied().unwrap_or(0);
        outstanding < self.window.max_items_per_domain
    }

    /// One envelope always fits, however large.
    fn has_room(&self, kept: &Kept) -> bool {
        self.active.is_empty()
            || self.active.len() < self.window.max_items && self.active_bytes + kept.body.len() <= self.window.max_bytes
    }

    /// Takes outstanding work back.
    fn recall(&mut self, work: WorkId) -> Option<QueueId> {
        let id = self.active.remove(&work)?;
        let kept = self.kept.get(&id)?;
        self.active_bytes -= kept.body.len();
        let outstanding = self.active_by_domain.get_mut(&kept.envelope.domain)?;
        *outstanding -= 1;
        if *outstanding == 0 {
            self.active_by_domain.remove(&kept.envelope.domain);
        }
        Some(id)
    }

    fn decide(&mut self, id: QueueId, decision: Decision, now: UnixMs) {
        match decision {
            Decision::Done(fate) => self.end(id, *fate),
            Decision::Divert { eta } => self.wait(id, now.plus(eta)),
            Decision::Wait(parts) => self.split(id, parts, now),
        }
    }

    fn end(&mut self, id: QueueId, fate: Fate) {
        self.forget(id);
        self.tell(Event::Fate(Box::new(fate)));
    }

    fn tell(&mut self, event: Event) {
        self.events.push_back((self.next_event, event));
        self.next_event += 1;
        if self.events.len() > RECENT_EVENTS {
            self.events.pop_front();
        }
    }

    /// The original stays, as it was and due, unless a part says what remains of it or how it ended.
    fn split(&mut self, id: QueueId, mut parts: Vec<Part>, now: UnixMs) {
        let mut decided = false;
        // It is told before the fate, and not at all when nothing else is said.
        parts.sort_by_key(|part| !matches!(part, Part::Attempt(_)));
        if parts.iter().all(|part| matches!(part, Part::Attempt(_))) {
            parts.clear();
        }
        for part in parts {
            match part {
                Part::Remaining { envelope, delay } => {
                    decided = true;
                    if let Some(kept) = self.kept.get_mut(&id) {
                        kept.envelope = *envelope;
                    }
                    self.wait(id, now.plus(delay));
                }
                Part::Notification { envelope, body, fate } => {
                    let report = envelope.queue_id;
                    self.keep(*envelope, body);
                    self.set_ready(report);
                    if let Some(fate) = fate {
                        decided = true;
                        self.end(id, *fate);
                    }
                }
                Part::Attempt(attempt) => self.tell(Event::Attempt(attempt)),
            }
        }
        if !decided {
            self.set_ready(id);
        }
    }
}

impl Spool for Memory {
    fn enqueue(&self, message: NewMessage) -> BoxFuture<'static, Result<Accepted, EnqueueError>> {
        let shared = self.shared.clone();
        Box::pin(async move {
            let now = shared.clock.wall();
            let mut state = shared.lock();
            let bytes = message.envelopes.len() as u64 * message.body.len() as u64;
            shared.room(&state, message.envelopes.len(), bytes)?;
            let queue_id = message.envelopes.first().map(|e| e.queue_id.message());
            for envelope in message.envelopes {
                let (id, not_before) = (envelope.queue_id, envelope.not_before);
                state.keep(envelope, message.body.clone());
                if not_before > now { state.wait(id, not_before) } else { state.set_ready(id) }
            }
            shared.wake.notify_one();
            queue_id.map(|queue_id| Accepted { queue_id }).ok_or_else(|| EnqueueError::Full("no envelope".into()))
        })
    }

    fn room(&self, bytes: u64) -> Result<(), EnqueueError> {
        self.shared.room(&self.shared.lock(), 1, bytes)
    }
}

impl ShardSource for Memory {
    fn next(&self) -> BoxFuture<'_, ShardEvent> {
        Box::pin(async move {
            loop {
                let woken = self.shared.wake.notified();
                let now = self.shared.clock.wall();
                let next_due = {
                    let mut state = self.shared.lock();
                    if !state.owned_told {
                        state.owned_told = true;
                        return ShardEvent::Owned(Shard(0), 1);
                    }
                    let next_due = state.ripen(now);
                    if let Some(work) = state.hand_out(Shard(0)) {
                        return ShardEvent::Work(work);
                    }
                    next_due
                };
                match next_due {
                    Some(at) => drop(tokio::time::timeout(at.since(now), woken).await),
                    None => woken.await,
                }
            }
        })
    }

    fn body(&self, work: WorkId) -> BoxFuture<'_, Result<Bytes, BodyError>> {
        let state = self.shared.lock();
        let body = state.active.get(&work).and_then(|id| state.kept.get(id)).map(|kept| kept.body.clone());
        Box::pin(std::future::ready(body.ok_or(BodyError::Unknown)))
    }

    fn settle(&self, work: WorkId, decision: Decision) -> Ticket {
        let now = self.shared.clock.wall();
        let mut state = self.shared.lock();
        let settled = state.recall(work).map(|id| state.decide(id, decision, now)).ok_or(SettleError::Unknown);
        self.shared.wake.notify_one();
        Box::pin(std::future::ready(settled))
    }

    fn give_back(&self, work: WorkId) {
        let mut state = self.shared.lock();
        if let Some(id) = state.recall(work) {
            state.set_ready(id);
        }
        self.shared.wake.notify_one();
    }

    fn window(&self, _shard: Shard, window: Window) {
        self.shared.lock().window = window;
        self.shared.wake.notify_one();
    }

    fn may_send(&self, shard: Shard) -> bool {
        shard == Shard(0)
    }
}

impl FateLog for Memory {
    fn read(&self, reader: &str, max: usize) -> BoxFuture<'_, Result<Events, BodyError>> {
        let mut state = self.shared.lock();
        let from = state.readers.get(reader).map_or(0, |reader| reader.read.max(reader.committed));
        let found: Vec<_> = state.events.iter().filter(|(at, _)| *at > from).take(max).cloned().collect();
        let next = found.last().map_or(from, |(at, _)| *at);
        state.readers.entry(reader.to_owned()).or_default().read = next;
        let events = Events { events: found.into_iter().map(|(_, event)| event).collect(), next: Position(next) };
        Box::pin(std::future::ready(Ok(events)))
    }

    fn commit(&self, reader: &str, at: Position) -> BoxFuture<'_, Result<(), SettleError>> {
        let mut state = self.shared.lock();
        let reader = state.readers.entry(reader.to_owned()).or_default();
        reader.committed = reader.committed.max(at.0);
        Box::pin(std::future::ready(Ok(())))
    }

    fn forget(&self, reader: &str) -> BoxFuture<'_, Result<(), SettleError>> {
        self.shared.lock().readers.remove(reader);
        Box::pin(std::future::ready(Ok(())))
    }
}

impl QueueView for Memory {
    fn totals(&self) -> Totals {
        let state = self.shared.lock();
        let mut totals = Totals { bytes: state.kept_bytes, ..Totals::default() };
        for kept in state.kept.values() {
            match kept.state {
                State::Ready => totals.ready += 1,
                State::Active => totals.active += 1,
                State::Waiting(_) => totals.waiting += 1,
                State::Ended(_) => {}
            }
        }
        totals
    }

    fn count(&self, selector: &Selector, max: usize) -> Vec<DomainCount> {
        let state = self.shared.lock();
        let mut counts: HashMap<_, DomainCount> = HashMap::new();
        for kept in state.kept.values().filter(|kept| selector.matches(&kept.envelope)) {
            let domain = kept.envelope.domain.clone();
            let count = counts.entry(domain.clone()).or_insert_with(|| DomainCount::empty(domain));
            count.add(&kept.state, kept.envelope.accepted);
        }
        let mut counts: Vec<_> = counts.into_values().collect();
        counts.sort_by(|a, b| b.envelopes().cmp(&a.envelopes()).then_with(|| a.domain.cmp(&b.domain)));
        counts.truncate(max);
        counts
    }

    fn list(
        &self,
        selector: &Selector,
        after: Option<QueueId>,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<Entry>, BodyError>> {
        let state = self.shared.lock();
        let later = |id: QueueId| after.is_none_or(|after| id > after);
        let waiting = state.kept.values().filter(|kept| selector.matches(&kept.envelope));
        let mut entries: Vec<_> = waiting
            .filter(|kept| later(kept.envelope.queue_id))
            .map(|kept| Entry { envelope: kept.envelope.clone(), state: kept.state.clone() })
            .collect();
        if selector.queue_id.is_some() {
            let ended = state.events.iter().filter_map(|(_, event)| ended(event));
            entries.extend(ended.filter(|e| later(e.envelope.queue_id) && selector.matches(&e.envelope)));
            entries.sort_by_key(|e| e.envelope.queue_id);
        }
        entries.truncate(max);
        Box::pin(std::future::ready(Ok(entries)))
    }

    fn act(&self, selector: &Selector, directive: Directive) -> u64 {
        let mut state = self.shared.lock();
        let Directive::RetryNow = directive;
        let waiting = state.kept.values().filter(|kept| selector.matches(&kept.envelope));
        let until = |kept: &Kept| match kept.state {
            State::Waiting(until) => Some((until, kept.envelope.queue_id)),
            State::Ready | State::Active | State::Ended(_) => None,
        };
        let ids: Vec<_> = waiting.filter_map(until).collect();
        for place in &ids {
            state.due.remove(place);
            state.set_ready(place.1);
        }
        self.shared.wake.notify_one();
        ids.len() as u64
    }
}

fn ended(event: &Event) -> Option<Entry> {
    match event {
        Event::Fate(fate) => Some(Entry::ended(fate)),
        Event::Attempt(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sluice_mail::ManualClock;

    use super::Memory;
    use crate::contract::{self, Caps, Rig};

    struct InMemory {
        clock: Arc<ManualClock>,
    }

    impl Rig for InMemory {
        type Engine = Memory;

        async fn open(&self, caps: Caps) -> Memory {
            Memory::with_max_bytes(self.clock.clone(), caps.max_envelopes, caps.max_bytes)
        }

        async fn restart(&self, engine: Memory, _caps: Caps) -> Memory {
            engine.restarted()
        }

        fn clock(&self) -> &ManualClock {
            &self.clock
        }

        fn moved_clock(&self, engine: &Memory) {
            engine.clock_moved();
        }
    }

    contract::contract_tests!(InMemory { clock: contract::clock() });
}
