//! How many connections a site is given: Postfix's window with 1/N feedback, and when a site counts as dead.

/// The window of one site.
///
/// A success while the window is in use adds 1/N to a credit, and a whole credit adds a connection. A failed
/// connection or handshake takes 1/N away; the first one lowers the window at once. Failures that add up to a
/// whole window ("a failed cohort") without a success between them mean that the site is dead.
#[derive(Clone, Debug)]
pub(super) struct Window {
    size: u32,
    success: f64,
    failure: f64,
    failed_cohorts: f64,
}

impl Window {
    pub(super) fn new(initial: u32) -> Self {
        Self { size: initial.max(1), success: 0.0, failure: 0.0, failed_cohorts: 0.0 }
    }

    pub(super) fn size(&self) -> u32 {
        self.size
    }

    /// A session succeeded. `in_use`: whether the window could be short now; an idle one does not grow.
    /// Whether it grew.
    pub(super) fn succeeded(&mut self, in_use: bool, max: u32) -> bool {
        self.failed_cohorts = 0.0;
        if !in_use || self.size >= max {
            return false;
        }
        self.success += 1.0 / f64::from(self.size);
        if self.success < 1.0 {
            return false;
        }
        self.success -= 1.0;
        self.failure = 0.0;
        self.size += 1;
        true
    }

    /// A connection or handshake failed. Whether the site is dead now.
    pub(super) fn failed(&mut self, cohort_limit: f64) -> bool {
        let share = 1.0 / f64::from(self.size);
        self.failed_cohorts += share;
        self.failure -= share;
        if self.failure < 0.0 && self.size > 1 {
            self.failure += 1.0;
            self.success = 0.0;
            self.size -= 1;
        }
        // The sum of N times 1/N may come out a hair below 1.
        self.failed_cohorts >= cohort_limit - 1e-9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_by_one_after_a_window_of_successes_in_use() {
        let mut window = Window::new(5);
        for _ in 0..4 {
            assert!(!window.succeeded(true, 20));
        }
        window.succeeded(true, 20);
        window.succeeded(true, 20);
        assert_eq!(window.size(), 6);
        for _ in 0..100 {
            window.succeeded(false, 20);
        }
        assert_eq!(window.size(), 6, "an idle window does not grow");
        for _ in 0..10_000 {
            window.succeeded(true, 20);
        }
        assert_eq!(window.size(), 20, "never over the limit");
    }

    #[test]
    fn the_first_failure_lowers_it_at_once_and_then_credit_is_given() {
        let mut window = Window::new(5);
        assert!(!window.failed(1.0));
        assert_eq!(window.size(), 4);
        assert!(!window.failed(1.0));
        assert_eq!(window.size(), 4);
        assert!(!window.succeeded(true, 20), "a success ends the cohort");
        for _ in 0..3 {
            assert!(!window.failed(1.0));
        }
        assert!(window.size() >= 1);
    }

    #[test]
    fn a_failed_cohort_without_a_success_means_dead() {
        let mut window = Window::new(5);
        let failures = (1..).find(|_| window.failed(1.0)).unwrap();
        assert!((4..=5).contains(&failures), "{failures}");
        assert!(Window::new(1).failed(1.0), "a probe that fails");
    }
}
