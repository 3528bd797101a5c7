//! One connection's life: find a host that answers, carry envelopes to it, end.

use std::sync::Arc;
use std::time::Instant;

use sluice_mail::{Cause, Failure, Stage};
use sluice_queue::{ConnId, Feedback, Next, Reconnect, speaks_of_site};
use sluice_route::{Target, TlsPolicy};
use sluice_smtp::client::{ClientConfig, Login, TlsMode};
use sluice_spool::Ticket;
use sluice_wire::client::{ConnectError, Peer, Security};
use tokio::sync::Notify;

use crate::config::Source;
use crate::job::{Job, Where};
use crate::line::{Line, Link, Served};
use crate::shared::Shared;
use crate::walk::{Trouble, Walk};

/// A task that owns one place of the dispatcher, and at most one connection at a time. When it is dropped the place
/// is free again.
pub(crate) struct Courier {
    pub(crate) shared: Arc<Shared>,
    pub(crate) id: ConnId,
    pub(crate) door: Arc<Notify>,
    /// Of the last envelope it settled. No content is sent and the task does not end before it is resolved, so at
    /// most one transaction of a connection is undecided at any time.
    ticket: Option<Ticket>,
    /// The place came with leave to connect once.
    has_connected: bool,
    has_ended: bool,
}

impl Courier {
    pub(crate) fn new(shared: Arc<Shared>, id: ConnId) -> Self {
        let door = shared.door(id);
        Self { shared, id, door, ticket: None, has_connected: false, has_ended: false }
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
        let now = self.shared.clock.now();
        self.shared.dispatch(|dispatcher| dispatcher.closed(now, self.id));
    }

    /// Asks the dispatcher for work.
    pub(crate) fn next(&self, accepts: &dyn Fn(&Job) -> bool) -> Next<Job> {
        let now = self.shared.clock.now();
        self.shared.dispatch(|dispatcher| dispatcher.next(now, self.id, accepts))
    }

    /// Withdraws from the dispatcher, to end. `false` when it wants the connection meanwhile.
    pub(crate) fn retire(&self) -> bool {
        self.shared.dispatch(|dispatcher| dispatcher.retire(self.id))
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
        let mut walk = Walk::new(&job.route, &self.shared.sources, config.mx_address_limit, config.mx_session_limit);
        let began = self.shared.clock.now();
        while let Some(target) = walk.next() {
            if !self.may_connect().await {
                // No content was sent: it can begin anew, and no failure so far needs to decide it.
                self.shared.source.give_back(job.id());
                return None;
            }
            let trouble = match self.connect(&job, &target).await {
                Err(trouble) => trouble,
                Ok(link) => {
                    walk.connected();
                    let source = link.source.clone();
                    match Line::new(self, link).serve(job).await {
                        Served::Over => return None,
                        Served::Fresh(next) => return Some(next),
                        Served::NextHost(same, failure) => {
                            job = same;
                            let is_ours = self.is_wish_of_ours(&job, &failure);
                            Trouble { failure, target: Some(target.clone()), source, is_ours }
                        }
                    }
                }
            };
            if !trouble.is_ours && speaks_of_site(&trouble.failure) {
                self.shared.telemetry.opened(Err(&trouble.failure));
            }
            if self.falls_back(&job, &target, &trouble.failure) {
                walk.again(target);
            } else {
                walk.failed(trouble);
            }
        }
        self.give_up(job, walk, began).await;
        None
    }

    /// Waits for leave to connect, which is limited in rate. `false` when nothing more is to be begun.
    async fn may_connect(&mut self) -> bool {
        if !std::mem::replace(&mut self.has_connected, true) {
            return true;
        }
        loop {
            let now = self.shared.clock.now();
            let at = match self.shared.dispatch(|dispatcher| dispatcher.reconnect(now, self.id)) {
                Reconnect::Now => return true,
                Reconnect::At(at) => at,
                Reconnect::Never => return false,
            };
            tokio::select! {
                () = tokio::time::sleep_until(at.into()) => {}
                // A knock from before, or the call to end: it asks again, and is told.
                () = self.door.notified() => {}
            }
        }
    }

    /// Connects to the host from the source whose turn it is, or the next that can be used.
    async fn connect(&mut self, job: &Job, target: &Target) -> Result<Link, Trouble> {
        let shared = &self.shared;
        let tls = shared.config.tls(&job.route, &job.envelope().domain);
        let config = self.session(job, target, tls);
        let security = match job.route.tls {
            TlsPolicy::Verified => Security::Verified,
            TlsPolicy::Opportunistic | TlsPolicy::None | TlsPolicy::Required => Security::Unverified,
        };
        let mut sources = shared.sources.by_turns(&target.name, target.address);
        let mut source = sources.next();
        loop {
            let mut config = config.clone();
            if let Some(name) = source.and_then(|source| source.ehlo_name.clone()) {
                config.helo_name = name;
            }
            let peer = Peer { name: target.name.clone(), address: target.address };
            let from = source.map(|source| source.address);
            let name = source.map(|source| source.name.clone());
            let (failure, is_ours) = match shared.connector.connect(peer, from, security, config).await {
                Ok(connection) => {
                    let local = || connection.local().map(|local| local.ip().to_string().into());
                    let source = name.or_else(local);
                    let (target, route) = (target.clone(), job.route.clone());
                    return Ok(Link { connection, target, route, tls, source });
                }
                Err(ConnectError::Peer(failure)) => (failure, false),
                Err(ConnectError::Source(failure)) => (failure, true),
            };
            if is_ours && let Some(unusable) = source {
                self.tell_of(unusable, &failure);
                source = sources.next();
                if source.is_some() {
                    continue;
                }
            }
            return Err(Trouble { failure, target: Some(target.clone()), source: name, is_ours });
        }
    }

    /// What the session with this host is told.
    fn session(&self, job: &Job, target: &Target, tls: TlsMode) -> ClientConfig {
        let (shared, route) = (&self.shared, &job.route);
        let mut config = shared.config.session(&shared.hostname);
        let is_plain = || !job.needs_tls() && shared.plain_hosts.contains(shared.clock.now(), target.address);
        config.tls = if tls == TlsMode::Opportunistic && is_plain() { TlsMode::Off } else { tls };
        if let Some(login) = &route.login {
            let login = Login { username: login.username.clone(), password: login.password.clone() };
            config.login = Some(Arc::new(login));
            config.login_in_clear = target.address.ip().is_loopback();
        }
        // Where the operator sends mail it may go to ourselves, to another of our listeners.
        if !route.is_fixed {
            config.own_names = shared.sources.own_names.clone();
        }
        config
    }

    fn tell_of(&self, source: &Source, failure: &Failure) {
        if self.shared.sources.is_news(source, self.shared.clock.now()) {
            self.shared.telemetry.source_unusable(&source.name, failure);
        }
    }

    /// Whether the host only lacks TLS that this mail or its domain needs and the site's other mail does not: it is not
    /// to wait for that.
    fn is_wish_of_ours(&self, job: &Job, failure: &Failure) -> bool {
        let config = &self.shared.config;
        let is_domains = || !job.route.is_fixed && config.tls(&job.route, &job.envelope().domain) != config.tls;
        failure.stage == Stage::StartTls && matches!(failure.cause, Cause::Tls(_)) && (job.needs_tls() || is_domains())
    }

    /// Whether the same host is to be tried in the clear, as its TLS does not work and is not asked for.
    fn falls_back(&self, job: &Job, target: &Target, failure: &Failure) -> bool {
        let shared = &self.shared;
        let now = shared.clock.now();
        let is_optional = || {
            let tls = shared.config.tls(&job.route, &job.envelope().domain);
            tls == TlsMode::Opportunistic && !job.needs_tls()
        };
        let is_broken = failure.stage == Stage::StartTls && !matches!(failure.cause, Cause::Reply(_));
        if !is_broken || !is_optional() || shared.plain_hosts.contains(now, target.address) {
            return false;
        }
        shared.telemetry.tls_failed(target.address, failure);
        shared.plain_hosts.add(now, target.address);
        true
    }

    /// No host would have it.
    async fn give_up(&mut self, job: Job, walk: Walk, began: Instant) {
        if walk.speaks_of_site() {
            self.report(Feedback::Bad);
        }
        let Trouble { failure, target, source, .. } = walk.outcome(&self.shared.config.judgement);
        let at = Where {
            mx: target.as_ref().map(|target| target.name.clone()),
            peer: target.map(|target| target.address),
            source,
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
