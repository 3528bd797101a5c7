//! Which envelope of a site goes next: two lanes, and deficit round robin over the accounts of a lane.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use sluice_mail::Lane;

use super::Job;

/// What an account may send in one turn, in units of [`cost`].
const QUANTUM: u32 = 8;
/// The dearest envelope: a larger one costs the same, so that a turn is never far away.
const COST_MAX: u32 = 64;
/// One in so many turns is the bulk lane's while the transactional lane has mail, so that bulk never starves.
const BULK_TURN: u32 = 8;

/// The mail that waits for one site.
#[derive(Debug)]
pub(super) struct Lanes<T> {
    transactional: Band<T>,
    bulk: Band<T>,
    turn: u32,
}

#[derive(Debug)]
struct Band<T> {
    accounts: HashMap<Arc<str>, Account<T>>,
    /// The accounts that have mail, in the order of their turns.
    order: VecDeque<Arc<str>>,
    len: usize,
}

#[derive(Debug)]
struct Account<T> {
    credit: u32,
    jobs: VecDeque<(u32, T)>,
}

impl<T> Lanes<T> {
    pub(super) fn new() -> Self {
        Self { transactional: Band::new(), bulk: Band::new(), turn: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.transactional.len + self.bulk.len
    }

    pub(super) fn push(&mut self, job: Job<T>) {
        let band = match job.lane {
            Lane::Transactional => &mut self.transactional,
            Lane::Bulk => &mut self.bulk,
        };
        band.push(job.account, cost(job.bytes), job.item);
    }

    /// How much waits of one account in one lane.
    pub(super) fn len_of(&self, account: &str, lane: Lane) -> usize {
        let band = match lane {
            Lane::Transactional => &self.transactional,
            Lane::Bulk => &self.bulk,
        };
        band.accounts.get(account).map_or(0, |account| account.jobs.len())
    }

    /// The next envelope that `accepts` allows, among the first of each account.
    pub(super) fn pop(&mut self, accepts: &dyn Fn(&T) -> bool) -> Option<T> {
        self.turn = self.turn.wrapping_add(1);
        let bulk_first = self.turn.is_multiple_of(BULK_TURN);
        let (first, second) = if bulk_first {
            (&mut self.bulk, &mut self.transactional)
        } else {
            (&mut self.transactional, &mut self.bulk)
        };
        first.pop(accepts).or_else(|| second.pop(accepts))
    }

    /// Takes out everything that `which` names.
    pub(super) fn take(&mut self, which: &dyn Fn(&T) -> bool, out: &mut Vec<T>) {
        self.transactional.take(which, out);
        self.bulk.take(which, out);
    }
}

/// One unit for the transaction and one for each 32 KiB.
fn cost(bytes: u32) -> u32 {
    (1 + bytes / (32 << 10)).min(COST_MAX)
}

impl<T> Band<T> {
    fn new() -> Self {
        Self { accounts: HashMap::new(), order: VecDeque::new(), len: 0 }
    }

    fn push(&mut self, name: Arc<str>, cost: u32, item: T) {
        self.len += 1;
        if let Some(account) = self.accounts.get_mut(&name) {
            account.jobs.push_back((cost, item));
            return;
        }
        self.order.push_back(name.clone());
        self.accounts.insert(name, Account { credit: QUANTUM, jobs: VecDeque::from([(cost, item)]) });
    }

    fn pop(&mut self, accepts: &dyn Fn(&T) -> bool) -> Option<T> {
        // Accounts in a row whose first envelope this connection may not take.
        let mut refused = 0;
        while refused < self.order.len() {
            let account = self.accounts.get_mut(self.order.front()?)?;
            let (cost, item) = account.jobs.front()?;
            if !accepts(item) {
                refused += 1;
                self.order.rotate_left(1);
            } else if *cost > account.credit {
                account.credit += QUANTUM;
                self.order.rotate_left(1);
            } else {
                account.credit -= cost;
                let (_, item) = account.jobs.pop_front()?;
                self.len -= 1;
                if account.jobs.is_empty() {
                    self.order.pop_front().map(|name| self.accounts.remove(&name));
                }
                return Some(item);
            }
        }
        None
    }

    fn take(&mut self, which: &dyn Fn(&T) -> bool, out: &mut Vec<T>) {
        for account in self.accounts.values_mut() {
            let jobs = std::mem::take(&mut account.jobs);
            let (taken, kept): (VecDeque<_>, VecDeque<_>) = jobs.into_iter().partition(|(_, item)| which(item));
            self.len -= taken.len();
            account.jobs = kept;
            out.extend(taken.into_iter().map(|(_, item)| item));
        }
        self.accounts.retain(|_, account| !account.jobs.is_empty());
        self.order.retain(|name| self.accounts.contains_key(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(jobs: &[(&str, Lane, u32, u32)]) -> Lanes<u32> {
        let mut lanes = Lanes::new();
        for (account, lane, bytes, item) in jobs {
            lanes.push(Job { account: (*account).into(), lane: *lane, bytes: *bytes, item: *item });
        }
        lanes
    }

    fn drain(lanes: &mut Lanes<u32>) -> Vec<u32> {
        std::iter::from_fn(|| lanes.pop(&|_| true)).collect()
    }

    #[test]
    fn a_flood_of_one_account_does_not_hold_up_another() {
        let mut jobs: Vec<_> = (0..1000).map(|i| ("flood", Lane::Bulk, 4096, i)).collect();
        jobs.push(("small", Lane::Bulk, 4096, 5000));
        let order = drain(&mut lanes(&jobs));
        assert_eq!(order.len(), 1001);
        let place = order.iter().position(|i| *i == 5000).unwrap();
        assert!(place <= QUANTUM as usize, "{place}");
        let flood: Vec<_> = order.into_iter().filter(|i| *i != 5000).collect();
        assert!(flood.is_sorted(), "an account's own order is kept");
    }

    #[test]
    fn large_envelopes_use_up_their_accounts_turns() {
        let mut jobs: Vec<_> = (0..50).map(|i| ("large", Lane::Bulk, 1 << 20, i)).collect();
        jobs.extend((100..400).map(|i| ("small", Lane::Bulk, 1000, i)));
        let order = drain(&mut lanes(&jobs));
        let large_early = order[..300].iter().filter(|i| **i < 100).count();
        assert!((5..=20).contains(&large_early), "{large_early} of the first 300");
        assert_eq!(order.len(), 350);
    }

    #[test]
    fn transactional_goes_first_and_bulk_does_not_starve() {
        let mut jobs: Vec<_> = (0..100).map(|i| ("a", Lane::Bulk, 1, i)).collect();
        jobs.extend((1000..1100).map(|i| ("a", Lane::Transactional, 1, i)));
        let order = drain(&mut lanes(&jobs));
        let bulk = order[..80].iter().filter(|i| **i < 1000).count();
        assert_eq!(bulk, 10);
        assert_eq!(order.len(), 200);
    }

    #[test]
    fn what_a_connection_may_not_take_stays_and_is_skipped() {
        let mut lanes = lanes(&[("a", Lane::Bulk, 1, 1), ("b", Lane::Bulk, 1, 2), ("a", Lane::Bulk, 1, 3)]);
        assert_eq!(lanes.pop(&|i| *i == 2), Some(2));
        assert_eq!(lanes.pop(&|i| *i == 2), None);
        assert_eq!(lanes.pop(&|i| *i == 3), None, "only the first of an account is looked at");
        let mut taken = Vec::new();
        lanes.take(&|i| *i == 3, &mut taken);
        assert_eq!((taken, lanes.len()), (vec![3], 1));
        assert_eq!(drain(&mut lanes), [1]);
    }
}
