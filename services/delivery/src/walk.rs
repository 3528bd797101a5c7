//! The hosts of one attempt, one after the other, and what stands for all of them in the end.

use std::sync::Arc;

use sluice_mail::{Cause, EnhancedCode, Failure, Stage, Verdict};
use sluice_queue::{Context, judge, speaks_of_site, try_next_host};
use sluice_route::{Route, Target};

use crate::sources::Sources;

/// How far an attempt is.
pub(crate) struct Walk {
    targets: std::vec::IntoIter<Target>,
    again: Option<Target>,
    sessions_left: usize,
    failures: Vec<Trouble>,
}

/// What went wrong at a host.
pub(crate) struct Trouble {
    pub(crate) failure: Failure,
    /// `None` when there is no host to go to.
    pub(crate) target: Option<Target>,
    /// Whence it was connected to.
    pub(crate) source: Option<Arc<str>>,
    /// It is our own: it says nothing about the host.
    pub(crate) is_ours: bool,
}

impl Walk {
    /// The route's addresses that can be reached from our sources: `addresses` of them at most, and so many
    /// `sessions`.
    pub(crate) fn new(route: &Route, sources: &Sources, addresses: usize, sessions: usize) -> Self {
        let all = if sources.is_empty() { addresses } else { usize::MAX };
        let mut targets = route.targets(&mut rand::rng(), all);
        let is_anywhere = !targets.is_empty();
        targets.retain(|target| sources.reach(target.address));
        targets.truncate(addresses);
        let failures = if targets.is_empty() { vec![Trouble::nowhere(is_anywhere)] } else { Vec::new() };
        Self { targets: targets.into_iter(), again: None, sessions_left: sessions, failures }
    }

    /// The next address to try, as long as the failures so far allow another.
    pub(crate) fn next(&mut self) -> Option<Target> {
        let is_over = self.failures.last().is_some_and(|trouble| !try_next_host(&trouble.failure));
        if self.sessions_left == 0 || is_over {
            return None;
        }
        self.again.take().or_else(|| self.targets.next())
    }

    /// A host took the connection.
    pub(crate) fn connected(&mut self) {
        self.sessions_left = self.sessions_left.saturating_sub(1);
    }

    /// A host is to be tried once more in another way; the session with it does not count.
    pub(crate) fn again(&mut self, target: Target) {
        self.sessions_left += 1;
        self.again = Some(target);
    }

    pub(crate) fn failed(&mut self, trouble: Trouble) {
        self.failures.push(trouble);
    }

    /// Whether all that went wrong speaks of the site.
    pub(crate) fn speaks_of_site(&self) -> bool {
        let mut theirs = self.failures.iter().filter(|trouble| !trouble.is_ours).peekable();
        theirs.peek().is_some() && theirs.all(|trouble| speaks_of_site(&trouble.failure))
    }

    /// What stands for the whole walk: the last failure that lets the mail wait, else the last.
    pub(crate) fn outcome(mut self, context: &Context) -> Trouble {
        let waits = |trouble: &Trouble| matches!(judge(&trouble.failure, context), Verdict::Deferred { .. });
        let chosen = match self.failures.iter().rposition(waits) {
            Some(at) => Some(self.failures.swap_remove(at)),
            None => self.failures.pop(),
        };
        chosen.unwrap_or_else(|| Trouble::nowhere(false))
    }
}

impl Trouble {
    /// The route has addresses, but none that can be reached from our sources; or none at all.
    fn nowhere(is_anywhere: bool) -> Self {
        let (stage, cause) = if is_anywhere {
            let words = "no source address of ours is of the IP family of the hosts' addresses";
            (Stage::Connect, Cause::Io(words.into()))
        } else {
            let words = "no host of the route has an address";
            (Stage::Resolve, Cause::NoSuchHost(EnhancedCode(5, 4, 4), words.into()))
        };
        Self { failure: Failure::new(stage, cause), target: None, source: None, is_ours: true }
    }
}
