//! How many octets of messages the process holds at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Shared by all sessions.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicU64,
    max: u64,
}

/// One session's part of a budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    held: u64,
}

/// The budget does not allow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OverBudget;

impl Budget {
    pub(crate) fn new(max: u64) -> Arc<Self> {
        Arc::new(Self { used: AtomicU64::new(0), max })
    }

    /// Octets held now.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// A part of nothing yet.
    pub(crate) fn reservation(self: &Arc<Self>) -> Reservation {
        Reservation { budget: Arc::clone(self), held: 0 }
    }
}

impl Reservation {
    /// Holds `octets` from now on; more than before only if the budget allows it, otherwise it stays as it was.
    pub(crate) fn set(&mut self, octets: usize) -> Result<(), OverBudget> {
        let octets = u64::try_from(octets).unwrap_or(u64::MAX);
        if let Some(more) = octets.checked_sub(self.held) {
            let used = self.budget.used.fetch_add(more, Ordering::Relaxed).saturating_add(more);
            if more > 0 && used > self.budget.max {
                self.budget.used.fetch_sub(more, Ordering::Relaxed);
                return Err(OverBudget);
            }
        } else {
            self.budget.used.fetch_sub(self.held - octets, Ordering::Relaxed);
        }
        self.held = octets;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.held, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_up_to_the_budget_and_gives_back() {
        let budget = Budget::new(100);
        let (mut a, mut b) = (budget.reservation(), budget.reservation());
        assert_eq!(a.set(60), Ok(()));
        assert_eq!(b.set(50), Err(OverBudget));
        assert_eq!(budget.used(), 60);
        assert_eq!(b.set(40), Ok(()));
        assert_eq!(a.set(10), Ok(()));
        assert_eq!(b.set(90), Ok(()));
        drop(b);
        assert_eq!(budget.used(), 10);
        drop(a);
        assert_eq!(budget.used(), 0);
    }
}
