//! The queue as operators see it. Looks at the index in slices, so that the log is never held up for long.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sluice_mail::{Host, QueueId};

use super::Disk;
use super::index::{Phase, Slot};
use super::pump::Source;
use super::shared::Shared;
use super::state::State;
use crate::{BodyError, Directive, DomainCount, Entry, QueueView, Selector, State as EntryState, Totals};

/// Slots looked at under one hold of the lock.
const SLOTS_MAX: u32 = 16 << 10;

impl QueueView for Disk {
    fn totals(&self) -> Totals {
        let state = self.shared.state();
        let counts = state.index.counts();
        Totals { ready: counts.ready, active: counts.active, waiting: counts.waiting, bytes: state.index.bytes() }
    }

    fn count(&self, selector: &Selector, max: usize) -> Vec<DomainCount> {
        let mut counts: HashMap<u32, DomainCount> = HashMap::new();
        each(&self.shared, selector, |state, id| {
            let slot = state.index.slot(id);
            if let Some(count) = entry_of(&mut counts, state, slot) {
                count.add(&state_of(slot), slot.queue_id.accepted());
            }
        });
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
        let (shared, selector) = (Arc::clone(&self.shared), selector.clone());
        let job = self.shared.jobs.run(move || list(&shared, &selector, after, max));
        async move { job.await.unwrap_or_else(|| Err(BodyError::Unreadable("the spool is closed".to_owned()))) }.boxed()
    }

    fn act(&self, selector: &Selector, directive: Directive) -> u64 {
        let now = self.shared.wall();
        let mut taken = 0;
        match directive {
            Directive::RetryNow => each(&self.shared, selector, |state, id| {
                if state.index.slot(id).phase == Phase::Waiting {
                    state.schedule.put(&mut state.index, id, now, now);
                    taken += 1;
                }
            }),
        }
        self.shared.dispatch(self.shared.state());
        taken
    }
}

/// A selector in the index's terms.
struct Wanted {
    message: Option<QueueId>,
    envelope: Option<QueueId>,
    domain: Option<u32>,
    account: Option<u32>,
}

impl Wanted {
    /// `None`: nothing can match.
    fn new(state: &State, selector: &Selector) -> Option<Self> {
        let domain = match &selector.domain {
            Some(domain) => Some(state.index.domains.find(&domain.to_string())?),
            None => None,
        };
        let account = match &selector.account {
            Some(account) => Some(state.index.accounts.find(account)?),
            None => None,
        };
        let is_message = |id: &QueueId| id.message() == *id;
        Some(Self {
            message: selector.queue_id.filter(is_message),
            envelope: selector.queue_id.filter(|id| !is_message(id)),
            domain,
            account,
        })
    }

    fn matches(&self, slot: &Slot) -> bool {
        slot.phase != Phase::Free
            && self.message.is_none_or(|id| slot.queue_id.message() == id)
            && self.envelope.is_none_or(|id| slot.queue_id == id)
            && self.domain.is_none_or(|domain| slot.domain == domain)
            && self.account.is_none_or(|account| slot.account == account)
    }
}

/// Calls `each` for every slot that matches, under the lock.
fn each(shared: &Shared, selector: &Selector, mut each: impl FnMut(&mut State, u32)) {
    let mut from = 0;
    loop {
        let mut state = shared.state();
        let Some(wanted) = Wanted::new(&state, selector) else { return };
        let to = state.index.bound().min(from + SLOTS_MAX);
        for slot in from..to {
            if wanted.matches(state.index.slot(slot)) {
                each(&mut state, slot);
            }
        }
        if to == state.index.bound() {
            return;
        }
        from = to;
    }
}

fn entry_of<'c>(counts: &'c mut HashMap<u32, DomainCount>, state: &State, slot: &Slot) -> Option<&'c mut DomainCount> {
    use std::collections::hash_map::Entry::{Occupied, Vacant};
    match counts.entry(slot.domain) {
        Occupied(entry) => Some(entry.into_mut()),
        Vacant(entry) => {
            let domain = Host::parse(state.index.domains.name(slot.domain)).ok()?;
            Some(entry.insert(DomainCount::empty(domain)))
        }
    }
}

fn list(shared: &Shared, selector: &Selector, after: Option<QueueId>, max: usize) -> Result<Vec<Entry>, BodyError> {
    // The `max` smallest ids after `after`, with the slots they were found in.
    let mut found: BTreeMap<(QueueId, u32), ()> = BTreeMap::new();
    each(shared, selector, |state, id| {
        let queue_id = state.index.slot(id).queue_id;
        if after.is_none_or(|after| queue_id > after) {
            found.insert((queue_id, id), ());
            if found.len() > max {
                found.pop_last();
            }
        }
    });
    let mut entries = Vec::with_capacity(found.len());
    for (queue_id, slot) in found.into_keys() {
        entries.extend(read(shared, queue_id, slot)?);
    }
    if selector.queue_id.is_some() {
        let fates = shared.state().ended.find(|id| selector.names(id) && after.is_none_or(|after| id > after));
        entries.extend(fates.iter().map(Entry::ended).filter(|entry| selector.matches(&entry.envelope)));
        entries.sort_by_key(|entry| entry.envelope.queue_id);
        entries.truncate(max);
    }
    Ok(entries)
}

/// Reads an envelope from disk; `None` when it ended meanwhile.
fn read(shared: &Shared, queue_id: QueueId, slot: u32) -> Result<Option<Entry>, BodyError> {
    let source = || {
        let state = shared.state();
        let found = state.index.slot(slot);
        let here = found.phase != Phase::Free && found.queue_id == queue_id;
        if here { Some((state_of(found), Source::of(&state, slot)?)) } else { None }
    };
    let mut problem = String::new();
    // Twice: it may be copied to another place while it is read.
    for _ in 0..2 {
        let Some((state, source)) = source() else { return Ok(None) };
        match source.envelope() {
            Ok(envelope) => return Ok(Some(Entry { envelope, state })),
            Err(error) => problem = error,
        }
    }
    Err(BodyError::Unreadable(problem))
}

fn state_of(slot: &Slot) -> EntryState {
    match slot.phase {
        Phase::Ready | Phase::Staged | Phase::Free => EntryState::Ready,
        Phase::Active | Phase::Settling => EntryState::Active,
        Phase::Waiting => EntryState::Waiting(slot.due),
    }
}
