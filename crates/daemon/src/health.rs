//! Whether the process is ready for work, and whether only a restart can mend it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The process's health, written by its parts and read by `/readyz` and `/healthz`. Cheap to clone; all clones are one.
///
/// Each part holds at most one reason under its own name, so the number of reasons is bounded by the number of parts.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<Reasons>>);

#[derive(Debug, Default)]
struct Reasons {
    not_ready: BTreeMap<&'static str, String>,
    failed: BTreeMap<&'static str, String>,
}

/// What `/readyz` or `/healthz` answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// All is well.
    Fine,
    /// Not so, for these reasons, each as `part: why`.
    Not(Vec<String>),
}

impl Health {
    /// Ready and alive until a part says otherwise.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `part` cannot take work now: load balancers should send none.
    pub fn not_ready(&self, part: &'static str, why: impl Into<String>) {
        self.lock().not_ready.insert(part, why.into());
    }

    /// `part` can take work again.
    pub fn ready(&self, part: &'static str) {
        self.lock().not_ready.remove(part);
    }

    /// `part` failed in a way that only a restart mends. It stays so, and the process is not ready either.
    pub fn failed(&self, part: &'static str, why: impl Into<String>) {
        self.lock().failed.insert(part, why.into());
    }

    /// Whether work may be sent here.
    #[must_use]
    pub fn readiness(&self) -> Status {
        let reasons = self.lock();
        Status::of(reasons.failed.iter().chain(&reasons.not_ready))
    }

    /// Whether the process does not need a restart.
    #[must_use]
    pub fn liveness(&self) -> Status {
        Status::of(self.lock().failed.iter())
    }

    fn lock(&self) -> MutexGuard<'_, Reasons> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Status {
    fn of<'a>(reasons: impl Iterator<Item = (&'a &'static str, &'a String)>) -> Self {
        let reasons: Vec<String> = reasons.map(|(part, why)| format!("{part}: {why}")).collect();
        if reasons.is_empty() { Self::Fine } else { Self::Not(reasons) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_comes_and_goes_and_failure_stays() {
        let health = Health::new();
        assert_eq!(health.readiness(), Status::Fine);
        health.not_ready("ingress", "draining");
        assert_eq!(health.readiness(), Status::Not(vec!["ingress: draining".into()]));
        assert_eq!(health.liveness(), Status::Fine);
        health.ready("ingress");
        assert_eq!(health.readiness(), Status::Fine);
        health.failed("spool", "fdatasync: input/output error");
        assert_eq!(health.readiness(), health.liveness());
        assert_eq!(health.liveness(), Status::Not(vec!["spool: fdatasync: input/output error".into()]));
    }
}
