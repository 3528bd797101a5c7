//! Which due envelope is handed out next: round robin over domains, within the window.

use std::collections::VecDeque;

use sluice_mail::{Lane, UnixMs};

use super::index::{Index, NONE, Phase};
use super::timers::Timers;
use crate::Window;

/// Bounds until the owner sets its own.
const FIRST_WINDOW: Window = Window { max_items: 64, max_bytes: 8 << 20, max_items_per_domain: 16 };
/// Of this many hand-outs of a domain one goes to bulk mail though transactional mail is due.
const BULK_TURN: u8 = 8;

/// First in, first out, linked through [`super::index::Slot::next`].
#[derive(Clone, Copy, Debug)]
struct List {
    head: u32,
    tail: u32,
}

impl List {
    const EMPTY: Self = Self { head: NONE, tail: NONE };

    fn push_back(&mut self, index: &mut Index, slot: u32) {
        index.slot_mut(slot).next = NONE;
        if self.tail == NONE {
            self.head = slot;
        } else {
            index.slot_mut(self.tail).next = slot;
        }
        self.tail = slot;
    }

    fn push_front(&mut self, index: &mut Index, slot: u32) {
        index.slot_mut(slot).next = self.head;
        if self.head == NONE {
            self.tail = slot;
        }
        self.head = slot;
    }

    fn pop_front(&mut self, index: &Index) -> Option<u32> {
        let slot = self.head;
        if slot == NONE {
            return None;
        }
        self.head = index.slot(slot).next;
        if self.head == NONE {
            self.tail = NONE;
        }
        Some(slot)
    }
}

/// A domain's due envelopes.
#[derive(Clone, Debug)]
struct DomainLists {
    ready: [List; 2],
    outstanding: u32,
    turn: u8,
    in_rotation: bool,
}

impl DomainLists {
    const EMPTY: Self = Self { ready: [List::EMPTY; 2], outstanding: 0, turn: 0, in_rotation: false };

    fn has_ready(&self) -> bool {
        self.ready.iter().any(|list| list.head != NONE)
    }

    /// Transactional mail first, bulk now and then.
    fn pop(&mut self, index: &Index) -> Option<u32> {
        self.turn = (self.turn + 1) % BULK_TURN;
        let [first, second] = if self.turn == 0 { [1, 0] } else { [0, 1] };
        self.ready[first].pop_front(index).or_else(|| self.ready[second].pop_front(index))
    }
}

fn lane_place(lane: Lane) -> usize {
    match lane {
        Lane::Transactional => 0,
        Lane::Bulk => 1,
    }
}

/// Timers, ready lists and the window.
pub(super) struct Schedule {
    timers: Timers,
    domains: Vec<DomainLists>,
    /// Domains with ready envelopes that may have more outstanding.
    rotation: VecDeque<u32>,
    window: Window,
    items: usize,
    bytes: usize,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            timers: Timers::default(),
            domains: Vec::new(),
            rotation: VecDeque::new(),
            window: FIRST_WINDOW,
            items: 0,
            bytes: 0,
        }
    }
}

impl Schedule {
    /// New bounds; what is outstanding beyond them stays so.
    pub(super) fn set_window(&mut self, index: &Index, window: Window) {
        self.window = window;
        for domain in 0..index.domains.bound().min(self.domains.len()) {
            self.enter_rotation(domain as u32);
        }
    }

    /// The envelope comes up at `due`; at once when that is not after `now`.
    pub(super) fn put(&mut self, index: &mut Index, slot: u32, due: UnixMs, now: UnixMs) {
        index.slot_mut(slot).due = due;
        if due <= now {
            self.put_ready(index, slot);
        } else {
            index.set_phase(slot, Phase::Waiting);
            self.timers.add(index, slot, due);
        }
    }

    fn put_ready(&mut self, index: &mut Index, slot: u32) {
        index.set_phase(slot, Phase::Ready);
        let (domain, lane) = (index.slot(slot).domain, index.slot(slot).lane);
        self.domain(domain).ready[lane_place(lane)].push_back(index, slot);
        self.enter_rotation(domain);
    }

    /// The envelope was handed out and comes back untried: first in its list.
    pub(super) fn put_back(&mut self, index: &mut Index, slot: u32) {
        self.release(index, slot);
        index.set_phase(slot, Phase::Ready);
        let (domain, lane) = (index.slot(slot).domain, index.slot(slot).lane);
        self.domain(domain).ready[lane_place(lane)].push_front(index, slot);
        self.enter_rotation(domain);
    }

    /// Makes ready what is due, `max` at most; whether there may be more.
    pub(super) fn tick(&mut self, index: &mut Index, now: UnixMs, max: usize) -> bool {
        for _ in 0..max {
            let Some(slot) = self.timers.pop(index, now) else { return false };
            self.put_ready(index, slot);
        }
        true
    }

    /// When a timer is due next.
    pub(super) fn next_due(&self) -> Option<UnixMs> {
        self.timers.next()
    }

    /// Takes the next envelope that the window has room for: it is outstanding from now on.
    pub(super) fn take(&mut self, index: &mut Index) -> Option<u32> {
        while self.items == 0 || self.items < self.window.max_items {
            let domain = *self.rotation.front()?;
            let lists = &mut self.domains[domain as usize];
            let mut slot = None;
            if (lists.outstanding as usize) < self.window.max_items_per_domain {
                slot = lists.pop(index);
            }
            let Some(slot) = slot else {
                lists.in_rotation = false;
                self.rotation.pop_front();
                continue;
            };
            let size = index.slot(slot).body.len as usize;
            if self.items > 0 && self.bytes + size > self.window.max_bytes {
                let lane = lane_place(index.slot(slot).lane);
                lists.ready[lane].push_front(index, slot);
                return None;
            }
            lists.outstanding += 1;
            lists.in_rotation = false;
            self.rotation.pop_front();
            self.items += 1;
            self.bytes += size;
            self.enter_rotation(domain);
            index.set_phase(slot, Phase::Staged);
            let slot_ref = index.slot_mut(slot);
            slot_ref.turn = slot_ref.turn.wrapping_add(1);
            return Some(slot);
        }
        None
    }

    /// The envelope is not outstanding any more.
    pub(super) fn release(&mut self, index: &Index, slot: u32) {
        let slot = index.slot(slot);
        self.items -= 1;
        self.bytes -= slot.body.len as usize;
        self.domain(slot.domain).outstanding -= 1;
        self.enter_rotation(slot.domain);
    }

    fn enter_rotation(&mut self, domain: u32) {
        let cap = self.window.max_items_per_domain;
        let lists = self.domain(domain);
        if !lists.in_rotation && lists.has_ready() && (lists.outstanding as usize) < cap {
            lists.in_rotation = true;
            self.rotation.push_back(domain);
        }
    }

    fn domain(&mut self, domain: u32) -> &mut DomainLists {
        let domain = domain as usize;
        if domain >= self.domains.len() {
            self.domains.resize(domain + 1, DomainLists::EMPTY);
        }
        &mut self.domains[domain]
    }
}
