//! One connection's life: find a host that answers, carry envelopes to it, end.

use std::sync::Arc;
use std::time::Instant;

use sluice_mail::{Cause, EnhancedCode, Failure, Stage, Verdict};
use sluice_queue::{ConnId, Feedback, Next, judge, speaks_of_site, try_next_host};
use sluice_route::{Target, TlsPolicy};
use sluice_smtp::client::TlsMode;
use sluice_spool::Ticket;
use sluice_wire::client::{Connection, Peer};
use tokio::sync::Notify;

use crate::job::{Job, Where};
use crate::line::{Line, Served};
use crate::shared::Shared;

/// A task that owns one place of the dispatcher, and at most one connection at a time. When it is dropped the place
/// is free again.
pub(crate) struct Courier {
    pub(crate) shared: Arc<Shared>,
    pub(crate) id: ConnId,
    pub(crate) door: Arc<Notify>,
    /// Of the last envelope it settled. No content is sent and the task does not end before it is resolved, so at
    /// most one transaction of a connection is undecided at any time.
    ticket: Option<Ticket>,
    has_ended: bool,
}

/// The hosts of one attempt.
struct Walk {
    targets: std::vec::IntoIter<Target>,
    again: Option<Target>,
    sessions_left: usize,
    failures: Vec<(Target, Failure)>,
}

impl Courier {
    pub(crate) fn new(shared: Arc<Shared>, id: ConnId) -> Self {
        let door = shared.door(id);
        Self { shared, id, door, ticket: None, has_ended: false }
    }

    pub(crate) async fn run(mut self) {
        // An id may have been used before, and its door knocked at.
        let mut job = match self.next(&|_| true) {
            Next::Job(job) => Some(job),
            Next::Idle | Next::Quit => None,
        };
        while let Some(next) = job {
            job = self.attempt(next).await;
        }
        self.settled().await;
        self.has_ended = true;
        self.shared.dispatch(|dispatcher| dispatcher.closed(self.id));
    }

    /// Asks the dispatcher for work.
    pub(crate) fn next(&self, accepts: &dyn Fn(&Job) -> bool) -> Next<Job> {
        let now = self.shared.clock.now();
        self.shared.dispatch(|dispatcher| dispatcher.next(now, self.id, accepts))
    }

    /// Tells the dispatcher how the site fares.
    pub(crate) fn report(&self, feedback: Feedback) {
        let now = self.shared.clock.now();
        for diverted in self.shared.dispatch(|dispatcher| dispatcher.report(now, self.id, feedback)) {
            self.shared.divert(diverted);
        }
    }

    /// Waits until the last envelope's outcome is durable. `false` when it never will be: nothing may be sent then.
    pub(crate) async fn settled(&mut self) -> bool {
        let Some(ticket) = self.ticket.as_mut() else { return true };
        let result = ticket.await;
        self.ticket = None;
        self.shared.settled(result)
    }

    /// Whether there is nothing to wait for.
    pub(crate) fn has_settled(&mut self) -> bool {
        self.ticket.is_none()
    }

    pub(crate) async fn conclude(&mut self, job: Job, results: Vec<Result<sluice_mail::Reply, Failure>>, at: Where) {
        self.settled().await;
        let Job { work, route, .. } = job;
        self.ticket = Some(self.shared.conclude(*work, Some(&route.site), results, at));
    }

    /// Whether the envelope may be sent: its shard is ours. Gives it back when not.
    pub(crate) fn may_send(&self, job: &Job) -> bool {
        let may = self.shared.source.may_send(job.shard());
        if !may {
            self.shared.source.give_back(job.id());
        }
        may
    }

    /// An attempt to deliver the envelope begins, if it may; its connection may have to be begun more than once.
    pub(crate) fn begin(&self, job: &mut Job) -> bool {
        let may = self.may_send(job);
        if may && !std::mem::replace(&mut job.is_begun, true) && job.envelope().attempts == 0 {
            self.shared.telemetry.first_attempt(job.envelope(), self.shared.clock.wall());
        }
        may
    }

    /// Tries the hosts of the job's route, and serves the first that answers for as long as there is work for it.
    /// Gives a job that has to begin on a fresh connection.
    async fn attempt(&mut self, mut job: Job) -> Option<Job> {
        if !self.begin(&mut job) {
            return None;
        }
        let config = &self.shared.config;
        let targets = job.route.targets(&mut rand::rng(), config.mx_address_limit);
        let mut walk = Walk {
            targets: targets.into_iter(),
            again: None,
            sessions_left: config.mx_session_limit,
            failures: Vec::new(),
        };
        let began = self.shared.clock.now();
        while let Some(target) = walk.next() {
            let connected = self.connect(&job, &target).await;
            let failure = match connected {
                Err(failure) => failure,
                Ok(connection) => {
                    walk.sessions_left -= 1;
                    let line = Line::new(self, connection, target.clone());
                    match line.serve(job).await {
                        Served::Over => return None,
                        Served::Fresh(next) => return Some(next),
                        Served::NextHost(same, failure) => {
                            job = same;
                            failure
                        }
                    }
                }
            };
            if speaks_of_site(&failure) {
                self.shared.telemetry.opened(Err(&failure));
            }
            if self.falls_back(&job, &target, &failure) {
                walk.sessions_left += 1;
                walk.again = Some(target);
            } else {
                walk.failures.push((target, failure));
            }
        }
        self.give_up(job, walk, began).await;
        None
    }

    async fn connect(&mut self, job: &Job, target: &Target) -> Result<Connection, Failure> {
        let shared = &self.shared;
        let mut config = shared.config.session(&shared.hostname, job.route.tls);
        if config.tls == TlsMode::Opportunistic && shared.plain_hosts.contains(shared.clock.now(), target.address) {
            config.tls = TlsMode::Off;
        }
        let peer = Peer { name: target.name.clone(), address: target.address };
        shared.connector.connect(peer, config).await
    }

    /// Whether the same host is to be tried in the clear, as its TLS does not work and is not asked for.
    fn falls_back(&self, job: &Job, target: &Target, failure: &Failure) -> bool {
        let shared = &self.shared;
        let now = shared.clock.now();
        let optional = job.route.tls == TlsPolicy::Opportunistic
            && shared.config.tls == TlsMode::Opportunistic
            && !job.envelope().flags.require_tls;
        let broken = failure.stage == Stage::StartTls && !matches!(failure.cause, Cause::Reply(_));
        if !(optional && broken) || shared.plain_hosts.contains(now, target.address) {
            return false;
        }
        shared.telemetry.tls_failed(target.address, failure);
        shared.plain_hosts.add(now, target.address);
        true
    }

    /// No host would have it.
    async fn give_up(&mut self, job: Job, walk: Walk, began: Instant) {
        if walk.failures.iter().all(|(_, failure)| speaks_of_site(failure)) {
            self.report(Feedback::Bad);
        }
        let (target, failure) = walk.outcome(&self.shared.config.judgement);
        let at = Where {
            mx: target.as_ref().map(|target| target.name.clone()),
            peer: target.map(|target| target.address),
            duration: self.shared.clock.now().saturating_duration_since(began),
            ..Where::default()
        };
        self.conclude_all(job, failure, at).await;
    }

    /// All open recipients failed in one way.
    pub(crate) async fn conclude_all(&mut self, job: Job, failure: Failure, at: Where) {
        let open = job.envelope().open_recipients().count();
        self.conclude(job, vec![Err(failure); open], at).await;
    }
}

impl Drop for Courier {
    /// Cut off, by the end of the process or a panic: the place is free, and whoever comes next to the dispatcher
    /// does what follows. Nothing is started from here.
    fn drop(&mut self) {
        if !self.has_ended {
            self.shared.abandon(self.id);
        }
    }
}

impl Walk {
    /// The next address to try, as long as the failures so far allow another.
    fn next(&mut self) -> Option<Target> {
        if self.sessions_left == 0 || self.failures.last().is_some_and(|(_, failure)| !try_next_host(failure)) {
            return None;
        }
        self.again.take().or_else(|| self.targets.next())
    }

    /// What stands for the whole walk, and the host where it happened: the last failure that lets the mail wait, else
    /// the last.
    fn outcome(mut self, context: &sluice_queue::Context) -> (Option<Target>, Failure) {
        let waits = |(_, failure): &(Target, Failure)| matches!(judge(failure, context), Verdict::Deferred { .. });
        let chosen = match self.failures.iter().rposition(waits) {
            Some(at) => Some(self.failures.swap_remove(at)),
            None => self.failures.pop(),
        };
        let none = || {
            let words = "no host of the route has an address".into();
            (None, Failure::new(Stage::Resolve, Cause::NoSuchHost(EnhancedCode(5, 4, 4), words)))
        };
        chosen.map_or_else(none, |(target, failure)| (Some(target), failure))
    }
}
